/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/agent_config.h"
#include "net/identity.h"

typedef struct {
    const char *url;     /* of the manager, "https://manager:8443" */
    const char *token;   /* gwj_… */
    const char *address; /* that others reach this host by; NULL: the configuration's, or found */
    const char *host_uuid, *host_name;
    gboolean force; /* although joined already */
} JoinRequest;

/**
 * Joins a cluster: fetches the CA certificate and checks it against the token's fingerprint before
 * anything is sent, makes a key here, has its certificate signed, verifies and stores it. Blocks.
 * (transfer full) what was stored; CONFLICT where it is joined already.
 */
Joined *join_cluster(const AgentConfig *config, const JoinRequest *request, GError **error);

/** Forgets the cluster: removes identity and joined.json. CONFLICT while godwitd runs or (without
 * force) migrations are about. */
gboolean leave_cluster(const AgentConfig *config, gboolean force, GError **error);

/** The IP address of this machine from which url's host is reached. (transfer full) */
char *join_local_address(const char *url, GError **error);
