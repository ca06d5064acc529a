/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/config.h"

#define SETTINGS_PATH "/etc/godwit/manager.conf"

/** All keys of manager.conf; man/manager.conf.5 describes the same ones, a test compares them. */
extern const ConfigKey settings_keys[];

/** What the table alone can't say: addresses are IP addresses, the log level is one. */
gboolean settings_check(const Config *config, GError **error);
