/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/settings.h"

#include <gio/gio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

const ConfigKey settings_keys[] = {
    { "manager", "data_dir", CONFIG_STRING, "/var/lib/godwit-manager", 0, 0,
      "Folder of the CA and the database; only the manager's user may read it." },
    { "manager", "name", CONFIG_STRING, "godwit", 0, 0, "The cluster's name, for people." },
    { "http", "address", CONFIG_STRINGS, "0.0.0.0", 0, 0,
      "IP addresses to listen on for clients and for hosts that join; 0.0.0.0 and :: are all." },
    { "http", "port", CONFIG_INT, "8443", 0, 65535,
      "TCP port to listen on; 0 takes any free one." },
    { "http", "threads", CONFIG_INT, "16", 1, 256,
      "How many requests may wait for a host's answer at once." },
    { "http", "max_body_bytes", CONFIG_BYTES, "1M", 1024, 16 * 1024 * 1024,
      "Larger requests are refused." },
    { "tasks", "keep", CONFIG_INT, "1000", 1, 100000,
      "How many ended tasks are kept with their reports; the oldest go first." },
    { "log", "level", CONFIG_STRING, "info", 0, 0, "warning, info or debug." },
    { NULL },
};

gboolean
settings_check(const Config *config, GError **error)
{
    const char *const *addresses = config_strings(config, "http", "address");
    const char *level = config_string(config, "log", "level");
    const char *data_dir = config_string(config, "manager", "data_dir");
    LogLevel parsed;

    for (gsize i = 0; addresses[i] != NULL; i++) {
        if (!g_hostname_is_ip_address(addresses[i])) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                        "[http] address: \"%s\" is not an IP address; names can't be listened on",
                        addresses[i]);
            return FALSE;
        }
    }
    if (addresses[0] == NULL) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                            "[http] address: give at least one, 0.0.0.0 for all");
        return FALSE;
    }
    if (level == NULL || !log_level_parse(level, &parsed)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "[log] level: \"%s\" is none of warning, info, debug", level ? level : "");
        return FALSE;
    }
    if (data_dir == NULL || !g_path_is_absolute(data_dir)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "[manager] data_dir: \"%s\" is not an absolute path", data_dir ? data_dir : "");
        return FALSE;
    }
    return TRUE;
}
