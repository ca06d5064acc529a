/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The agent keeps the key in memory only, so it is given at each connection (either side may have
 * been restarted), and again where the agent's word on itself, which comes at least every 30 s,
 * says that it still has none: that is the repetition where a call failed. An agent that knows no
 * recall says nothing of it (Host.recall is NULL) and isn't asked to take a key.
 *
 * The key is never in a log, a fact or an event. In the database it stands beside the tokens'
 * hashes; the folder is the manager's alone.
 */
#include "manager/cluster_key.h"

#include <string.h>

#include "base/error.h"

#define KEY "manager/recall-key"
#define KEY_DIGITS 64

static gboolean
is_key(const char *text)
{
    return strlen(text) == KEY_DIGITS && strspn(text, "0123456789abcdef") == KEY_DIGITS;
}

gboolean
cluster_key_load(Manager *manager, GError **error)
{
    g_autoptr(GError) problem = NULL;

    manager->recall_key = ledger_get(manager->ledger, KEY, &problem);
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (manager->recall_key != NULL && is_key(manager->recall_key))
        return TRUE;
    if (manager->recall_key != NULL)
        g_warning("the stored recall key is damaged: a new one is made, and what hosts remember of "
                  "VMs' memory can't be read any more");
    cluster_key_wipe(manager);
    manager->recall_key = random_hex_256();
    if (!ledger_put(manager->ledger, KEY, manager->recall_key, &problem)) {
        g_warning("there is no recall until the manager is started again: its key can't be kept: "
                  "%s",
                  problem->message);
        cluster_key_wipe(manager);
    }
    return TRUE;
}

void
cluster_key_wipe(Manager *manager)
{
    if (manager->recall_key != NULL)
        explicit_bzero(manager->recall_key, strlen(manager->recall_key));
    g_clear_pointer(&manager->recall_key, g_free);
}

/* ---- giving ------------------------------------------------------------------------- */

typedef struct {
    Manager *manager;
    char *host_uuid;
} Giving;

static void
giving_free(Giving *giving)
{
    giving->manager->under_way--;
    g_free(giving->host_uuid);
    g_free(giving);
}

static void
on_taken(JsonNode *answer, const GError *error, gpointer data)
{
    Giving *giving = data;

    if (error != NULL && !g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED))
        g_message("host %s migrates without recall for now, its key could not be handed over: %s",
                  giving->host_uuid, error->message);
    giving_free(giving);
}

static gboolean
give(gpointer data)
{
    Giving *giving = data;
    HostLink *line = manager_line(giving->manager, giving->host_uuid);
    g_autoptr(JsonNode) body = NULL;

    if (line == NULL) {
        giving_free(giving);
        return G_SOURCE_REMOVE;
    }
    body = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(body, json_object_new());
    json_object_set_string_member(json_node_get_object(body), "key", giving->manager->recall_key);
    host_link_call(line, "PUT", "/v1/recall/key", body, on_taken, giving);
    return G_SOURCE_REMOVE;
}

void
cluster_key_give_soon(Manager *manager, const char *host_uuid)
{
    Giving *giving;

    if (manager->recall_key == NULL)
        return;
    giving = g_new0(Giving, 1);
    giving->manager = manager;
    giving->host_uuid = g_strdup(host_uuid);
    manager->under_way++;
    g_idle_add_full(G_PRIORITY_DEFAULT, give, giving, NULL);
}
