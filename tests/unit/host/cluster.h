/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/http_client.h"
#include "net/identity.h"

/** A cluster's CA in a folder of its own, for tests. */
typedef struct {
    char *dir;
    Ca *ca;
} Cluster;

Cluster *cluster_new(void);
void cluster_free(Cluster *cluster);

/** A signed identity. (transfer full) */
Identity *cluster_identity(const Cluster *cluster, IdentityRole role, const char *uuid);
/** A client that trusts `trusts` and shows an identity (NULL: none) to https://127.0.0.1:port. */
HttpClient *cluster_client(const Cluster *trusts, const Identity *identity, guint port);
/** http_client_call, while the default main context goes on. */
JsonNode *call(HttpClient *client, const char *method, const char *path, const char *body,
               GError **error);
