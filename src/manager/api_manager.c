/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

JsonNode *
api_get_health(HttpCall *call, gpointer service, GError **error)
{
    const Manager *manager = service;
    const char *trouble = ledger_trouble(manager->ledger);
    gboolean well = trouble == NULL && alarmbook_count(manager->alarms) == 0;
    guint connected, total;
    JsonNode *node =
        API_STRINGS("status", well ? "ok" : "degraded", "database", trouble ? trouble : "ok");

    inventory_count_hosts(manager->inventory, &connected, &total);
    api_add_int(node, "hosts_connected", connected);
    api_add_int(node, "hosts_total", total);
    return node;
}

JsonNode *
api_get_version(HttpCall *call, gpointer service, GError **error)
{
    const Manager *manager = service;

    return API_STRINGS("version", GODWIT_VERSION, "api", "v1", "cluster", manager->cluster, "uuid",
                       manager->uuid);
}

JsonNode *
api_get_ca(HttpCall *call, gpointer service, GError **error)
{
    const DataDir *dir = ((Manager *)service)->dir;

    return API_STRINGS("ca_pem", dir->ca->cert, "fingerprint", dir->ca_fingerprint);
}

JsonNode *
api_list_tokens(HttpCall *call, gpointer service, GError **error)
{
    return api_list("tokens", &token_info_type, tokens_list(((Manager *)service)->tokens));
}

JsonNode *
api_create_token(HttpCall *call, gpointer service, GError **error)
{
    g_autofree char *id = NULL;
    g_autofree char *token =
        tokens_create(((Manager *)service)->tokens, api_body_string(call, "name"), &id, error);

    if (token == NULL)
        return NULL;
    g_message("token %s (%s) was made, by %s", id, api_body_string(call, "name"), call->client);
    call->status = 201;
    return API_STRINGS("id", id, "token", token);
}

JsonNode *
api_delete_token(HttpCall *call, gpointer service, GError **error)
{
    if (tokens_delete(((Manager *)service)->tokens, api_param(call, "id"), error))
        g_message("token %s was deleted, by %s", api_param(call, "id"), call->client);
    return NULL;
}
