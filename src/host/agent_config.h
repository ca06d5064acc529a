/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/config.h"
#include "base/log.h"
#include "flyway/recall_service.h"
#include "host/joined.h"

#define AGENT_CONFIG_PATH "/etc/godwit/godwitd.conf"

/** Every key of godwitd.conf; ends with group NULL. man/godwitd.conf.5 is tested against it. */
extern const ConfigKey agent_config_keys[];

/**
 * godwitd.conf, checked, and what follows from it. Read-only after start, so any thread may read
 * it.
 */
typedef struct {
    Config *file; /* owns the const strings below */
    const char *state_dir, *run_dir;
    char *identity_dir; /* state_dir/identity */
    gint64 memory_headroom_bytes;
    const char *control_address;   /* where it listens */
    const char *control_listen[2]; /* the same as a list, for the server */
    guint control_port;
    char *advertise; /* what others connect to; NULL until known (join finds it) */
    const char *const *migration_listen;
    GStrv migration_addresses; /* what peers connect to; never NULL, empty where advertise is NULL
                                  too */
    guint migration_port, max_outgoing, max_incoming;
    const char *libvirt_uri; /* NULL: hv's own choice */
    const char *flyway_user, *flyway_program;
    guint flyway_resume_s, flyway_connections;
    gint64 max_bps; /* of each migration away from here, bytes per second; 0: no cap */
    guint flyway_threads; /* 0: half of the cores */
    char *recall_folder;
    RecallServiceConfig recall; /* without what a running agent adds */
    LogLevel log_level;
} AgentConfig;

/** INVALID names file, group and key. The file must be there only where required. */
AgentConfig *agent_config_load(const char *path, gboolean required, GError **error);
/** The same of a Config made by the caller, which is taken in any case (tests). */
AgentConfig *agent_config_of(Config *file, GError **error);
void agent_config_free(AgentConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AgentConfig, agent_config_free)

/** Fills in what only joining told: the control address, where the file leaves it open. Call before
 * start. */
void agent_config_adopt(AgentConfig *config, const Joined *joined);

/** "0.0.0.0" and "::" */
gboolean address_is_wildcard(const char *address);
