/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of godwitd.conf's keys, and what follows from their values.
 *
 * Addresses: others connect to `advertise`; where it isn't set, to the address that the agent
 * listens on; where that is a wildcard, to the address that join found and stored. The migration
 * addresses default to the same. Listening on a wildcard is never told to a peer.
 */
#include "host/agent_config.h"

#include <gio/gio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "flyway/protocol.h"
#include "flyway/worker.h"

const ConfigKey agent_config_keys[] = {
    { "godwitd", "state_dir", CONFIG_STRING, "/var/lib/godwit", 0, 0,
      "Folder for the host's identity and the journals and reports of its migrations." },
    { "godwitd", "run_dir", CONFIG_STRING, "/run/godwit", 0, 0,
      "Folder for sockets; must not be cleared while migrations run." },
    { "godwitd", "memory_headroom", CONFIG_BYTES, "256M", 0, G_GINT64_CONSTANT(1) << 50,
      "Memory that incoming VMs never get." },
    { "control", "address", CONFIG_STRING, "0.0.0.0", 0, 0,
      "IP address on which the manager and other agents are answered." },
    { "control", "port", CONFIG_INT, "16570", 1, 65535, "TCP port for the same." },
    { "control", "advertise", CONFIG_STRING, NULL, 0, 0,
      "Address or name that others connect to; unset: the address above, or the one found at "
      "join." },
    { "migration", "addresses", CONFIG_STRINGS, NULL, 0, 0,
      "IP addresses on which migrations arrive, in order of preference; unset: as for control." },
    { "migration", "port", CONFIG_INT, "16571", 1, 65535, "TCP port for migrations." },
    { "migration", "max_outgoing", CONFIG_INT, "4", 1, 64, "VMs that may leave at the same time." },
    { "migration", "max_incoming", CONFIG_INT, "4", 1, 64,
      "VMs that may arrive at the same time." },
    { "migration", "bandwidth", CONFIG_STRING, NULL, 0, 0,
      "What the memory of one VM that leaves may take of the network, as 500mbit or 60MB/s; unset: "
      "no limit." },
    { "libvirt", "uri", CONFIG_STRING, NULL, 0, 0,
      "libvirt connection; unset: qemu:///system, by libvirtd's or virtqemud's socket." },
    { "flyway", "user", CONFIG_STRING, "godwit-flyway", 0, 0,
      "System user without rights as whom the migration workers run." },
    { "flyway", "program", CONFIG_STRING, GODWIT_LIBEXEC_DIR "/godwit/godwit-flyway", 0, 0,
      "The worker program." },
    { "flyway", "resume_s", CONFIG_INT, "20", 1, 300,
      "Seconds that a migration whose connections were lost is given to go on." },
    { "flyway", "connections", CONFIG_INT, "1", 1, FLYWAY_LINKS,
      "Connections that a migration away from here uses, at least one for each address of the "
      "destination." },
    { "flyway", "threads", CONFIG_INT, "0", 0, FLYWAY_THREADS,
      "Threads that pack the pages of a migration away from here; 0: half of the cores." },
    { "recall", "enabled", CONFIG_BOOL, "true", 0, 0,
      "Keep pages of VMs that move, so that they needn't cross the link again." },
    { "recall", "folder", CONFIG_STRING, NULL, 0, 0,
      "Folder for them, on a local disk; unset: recall in state_dir." },
    { "recall", "max_bytes", CONFIG_STRING, "auto", 0, 0,
      "What the folder may take; auto: a tenth of its file system, at most 64G; 0: nothing is "
      "kept." },
    { "recall", "max_age", CONFIG_STRING, "7d", 0, 0,
      "How long pages are kept: 90s, 15m, 2h, 7d." },
    { "recall", "share", CONFIG_STRING, "group", 0, 0,
      "Of which VMs a VM's pages may be used: vm, group or cluster." },
    { "log", "level", CONFIG_STRING, "info", 0, 0, "warning, info or debug." },
    { NULL },
};

gboolean
address_is_wildcard(const char *address)
{
    g_autoptr(GInetAddress) parsed = g_inet_address_new_from_string(address);
    return parsed && g_inet_address_get_is_any(parsed);
}

static gboolean
refuse(GError **error, const char *key, const char *value, const char *what)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "godwitd.conf: %s = %s: %s", key, value,
                what);
    return FALSE;
}

static gboolean
check_path(const char *key, const char *value, GError **error)
{
    return g_path_is_absolute(value) || refuse(error, key, value, "expected an absolute path");
}

static gboolean
check_recall(AgentConfig *self, GError **error)
{
    const char *bytes = config_string(self->file, "recall", "max_bytes");
    const char *age = config_string(self->file, "recall", "max_age");
    const char *share = config_string(self->file, "recall", "share");
    gint64 seconds;

    if (!check_path("[recall] folder", self->recall.folder, error))
        return FALSE;
    self->recall.limits.max_bytes = RECALL_AUTO;
    if (strcmp(bytes, "auto") != 0 &&
        (!units_parse_bytes(bytes, &self->recall.limits.max_bytes, NULL) ||
         self->recall.limits.max_bytes > G_MAXINT64))
        return refuse(error, "[recall] max_bytes", bytes, "expected auto, or a size as 20G");
    if (!units_parse_seconds(age, &seconds, NULL))
        return refuse(error, "[recall] max_age", age, "expected a time as 90s, 15m, 2h or 7d");
    self->recall.limits.max_age_ms = seconds * 1000;
    if (!recall_share_parse(share, &self->recall.share))
        return refuse(error, "[recall] share", share, "expected vm, group or cluster");
    return TRUE;
}

static gboolean
check_bandwidth(AgentConfig *self, GError **error)
{
    const char *rate = config_string(self->file, "migration", "bandwidth");

    return rate == NULL || units_parse_rate(rate, &self->max_bps, NULL) ||
           refuse(error, "[migration] bandwidth", rate,
                  "expected a rate of at least 1mbit, as 500mbit, 1gbit or 60MB/s");
}

static gboolean
check_values(AgentConfig *self, GError **error)
{
    if (!check_path("[godwitd] state_dir", self->state_dir, error) ||
        !check_path("[godwitd] run_dir", self->run_dir, error) ||
        !check_path("[flyway] program", self->flyway_program, error))
        return FALSE;
    if (!g_hostname_is_ip_address(self->control_address))
        return refuse(error, "[control] address", self->control_address,
                      "expected an IP address of this host, or 0.0.0.0 or :: for all");
    if (self->advertise && address_is_wildcard(self->advertise))
        return refuse(error, "[control] advertise", self->advertise,
                      "expected the one address or name that other machines use for this host");
    for (const char *const *address = self->migration_listen; *address; address++)
        if (!g_hostname_is_ip_address(*address))
            return refuse(error, "[migration] addresses", *address,
                          "expected IP addresses of this host, separated by commas");
    if (!*self->flyway_user)
        return refuse(error, "[flyway] user", "", "expected the name of a system user");
    const char *level = config_string(self->file, "log", "level");
    if (!log_level_parse(level, &self->log_level))
        return refuse(error, "[log] level", level, "expected warning, info or debug");
    return check_bandwidth(self, error) && check_recall(self, error);
}

/* What is told to peers: the listening addresses, each wildcard replaced by the advertised address.
 */
static void
derive_addresses(AgentConfig *self)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    gboolean advertised = FALSE;
    for (const char *const *address = self->migration_listen; *address; address++) {
        if (!address_is_wildcard(*address))
            g_strv_builder_add(builder, *address);
        else if (self->advertise && !advertised) {
            g_strv_builder_add(builder, self->advertise);
            advertised = TRUE;
        }
    }
    g_strfreev(self->migration_addresses);
    self->migration_addresses = g_strv_builder_end(builder);
}

AgentConfig *
agent_config_of(Config *file, GError **error)
{
    g_autoptr(AgentConfig) self = g_new0(AgentConfig, 1);
    self->file = file;
    self->state_dir = config_string(file, "godwitd", "state_dir");
    self->run_dir = config_string(file, "godwitd", "run_dir");
    self->identity_dir = g_build_filename(self->state_dir, "identity", NULL);
    self->memory_headroom_bytes = config_int(file, "godwitd", "memory_headroom");
    self->control_address = config_string(file, "control", "address");
    self->control_port = config_int(file, "control", "port");
    self->advertise = g_strdup(config_string(file, "control", "advertise"));
    self->migration_listen = config_strings(file, "migration", "addresses");
    self->migration_port = config_int(file, "migration", "port");
    self->max_outgoing = config_int(file, "migration", "max_outgoing");
    self->max_incoming = config_int(file, "migration", "max_incoming");
    self->libvirt_uri = config_string(file, "libvirt", "uri");
    self->flyway_user = config_string(file, "flyway", "user");
    self->flyway_program = config_string(file, "flyway", "program");
    self->flyway_resume_s = config_int(file, "flyway", "resume_s");
    self->flyway_connections = config_int(file, "flyway", "connections");
    self->flyway_threads = config_int(file, "flyway", "threads");
    const char *folder = config_string(file, "recall", "folder");
    self->recall_folder =
        folder ? g_strdup(folder) : g_build_filename(self->state_dir, "recall", NULL);
    self->recall.enabled = config_bool(file, "recall", "enabled");
    self->recall.folder = self->recall_folder;
    if (!self->migration_listen[0])
        self->migration_listen = self->control_listen;
    self->control_listen[0] = self->control_address;
    if (!check_values(self, error))
        return NULL;
    if (!self->advertise && !address_is_wildcard(self->control_address))
        self->advertise = g_strdup(self->control_address);
    derive_addresses(self);
    return g_steal_pointer(&self);
}

AgentConfig *
agent_config_load(const char *path, gboolean required, GError **error)
{
    Config *file = config_load(path, agent_config_keys, required, error);
    return file ? agent_config_of(file, error) : NULL;
}

void
agent_config_free(AgentConfig *self)
{
    if (!self)
        return;
    config_free(self->file);
    g_free(self->identity_dir);
    g_free(self->advertise);
    g_free(self->recall_folder);
    g_strfreev(self->migration_addresses);
    g_free(self);
}

void
agent_config_adopt(AgentConfig *self, const Joined *joined)
{
    if (self->advertise || !joined->control_address)
        return;
    self->advertise = g_strdup(joined->control_address);
    derive_addresses(self);
}
