/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** What an agent tells, taken into inventory, tasks and alarms. A hook of HostLink; data: Manager.
 */
gboolean hearing_event(const char *host_uuid, const char *event, const char *text, gpointer data,
                       GError **error);
