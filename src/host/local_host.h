/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hv/hv.h"

/** This host as its libvirt tells it (UUID, name, versions): connects, waits up to timeout_s for
 * the answer, disconnects. Blocks. UNREACHABLE says what to start. */
Host *local_host_ask(const char *uri, guint timeout_s, GError **error);
