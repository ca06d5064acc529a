/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/agent_config.h"
#include "hv/hv.h"
#include "net/identity.h"

/**
 * A running agent: libvirt, migrations, facts, the API's server and the flyway port, tied together.
 * Lives in the main context that is the thread's default when it is made.
 */
typedef struct Agent Agent;

typedef struct {
    const AgentConfig *config;          /* not owned */
    const Identity *identity;           /* not owned */
    guint control_port, migration_port; /* instead of the configuration's; 0 in tests = any free;
                                           G_MAXUINT = as configured */
    /* Makes the hypervisor; NULL: hv_libvirt_new. Tests give hv_fake. */
    Hv *(*make_hv)(const char *uri, GMainContext *context, HvEventFunc func, gpointer data,
                   GError **error);
} AgentSetup;

Agent *agent_new(const AgentSetup *setup, GError **error);
/** Stops answering; migrations go on without us and are found again at the next start. */
void agent_free(Agent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Agent, agent_free)

Hv *agent_hv(Agent *agent);
guint agent_control_port(const Agent *agent);
guint agent_migration_port(const Agent *agent);
