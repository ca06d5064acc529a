/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <string.h>

#include "base/record.h"

Cluster *
cluster_new(void)
{
    Cluster *cluster = g_new0(Cluster, 1);
    gboolean created;
    cluster->dir = g_dir_make_tmp("godwit-cluster-XXXXXX", NULL);
    cluster->ca = ca_open(cluster->dir, &created, NULL);
    g_assert_nonnull(cluster->ca);
    return cluster;
}

void
cluster_free(Cluster *cluster)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", cluster->dir);
    g_assert_cmpint(system(command), ==, 0);
    ca_free(cluster->ca);
    g_free(cluster->dir);
    g_free(cluster);
}

Identity *
cluster_identity(const Cluster *cluster, IdentityRole role, const char *uuid)
{
    Identity *identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;
    identity->name.role = role;
    g_strlcpy(identity->name.uuid, uuid, sizeof identity->name.uuid);
    g_assert_true(identity_request(&identity->key, &request, NULL));
    identity->cert = ca_sign(cluster->ca, request, &identity->name, NULL, 30, NULL);
    identity->ca = g_strdup(cluster->ca->cert);
    g_assert_nonnull(identity->cert);
    return identity;
}

HttpClient *
cluster_client(const Cluster *trusts, const Identity *identity, guint port)
{
    g_autofree char *url = g_strdup_printf("https://127.0.0.1:%u", port);
    const HttpClientConfig config = {
        .base_url = url, .ca_pem = trusts->ca->cert, .identity = identity, .timeout_s = 10
    };
    HttpClient *client = http_client_new(&config, NULL);
    g_assert_nonnull(client);
    return client;
}

typedef struct {
    HttpClient *client;
    gboolean done;
    JsonNode *answer;
    GError *error;
} Call;

static void
on_answer(GObject *object, GAsyncResult *result, gpointer data)
{
    Call *running = data;
    running->answer = http_client_call_finish(running->client, result, &running->error);
    running->done = TRUE;
}

JsonNode *
call(HttpClient *client, const char *method, const char *path, const char *body, GError **error)
{
    Call running = { .client = client };
    JsonNode *node = body ? json_parse_limited(body, strlen(body), NULL) : NULL;
    g_assert_true(!body || node);
    http_client_call_async(client, method, path, node, NULL, on_answer, &running);
    while (!running.done)
        g_main_context_iteration(NULL, TRUE);
    g_clear_pointer(&node, json_node_unref);
    if (running.error)
        g_propagate_error(error, running.error);
    return running.answer;
}
