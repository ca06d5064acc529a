/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

#include "base/clock.h"
#include "manager/members.h"

#define JOIN_VALID_S 3600

JsonNode *
api_join_host(HttpCall *call, gpointer service, GError **error)
{
    Manager *manager = service;
    const JoinRequest request = {
        .token = api_body_string(call, "token"),
        .csr = api_body_string(call, "csr"),
        .uuid = api_body_string(call, "uuid"),
        .name = api_body_string(call, "name"),
        .control_address = api_body_string(call, "control_address"),
        .control_port = api_body_int(call, "control_port", 0),
    };
    g_autofree char *cert = NULL;
    g_autoptr(GError) problem = NULL;

    cert = members_join(manager, &request, &problem);
    if (cert == NULL) {
        g_message("a host that calls itself %s (from %s) was not let in: %s", request.name,
                  call->client, problem->message);
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    return API_STRINGS("cert_pem", cert, "ca_pem", manager->dir->ca->cert, "cluster",
                       manager->cluster, "manager_uuid", manager->uuid);
}

JsonNode *
api_list_hosts(HttpCall *call, gpointer service, GError **error)
{
    return api_list("hosts", &host_type, inventory_hosts(((Manager *)service)->inventory));
}

JsonNode *
api_create_host_token(HttpCall *call, gpointer service, GError **error)
{
    Manager *manager = service;
    gint64 expires_ms = 0;
    g_autofree char *token =
        tokens_create_join(manager->tokens, api_body_int(call, "valid_s", JOIN_VALID_S),
                           clock_wall_ms(), &expires_ms, error);
    g_autofree char *url = NULL;
    g_autofree char *command = NULL;
    JsonNode *node;

    if (token == NULL)
        return NULL;
    url = manager_url(manager);
    command = g_strdup_printf("godwitd join %s --token %s", url, token);
    node = API_STRINGS("token", token, "command", command);
    api_add_int(node, "expires_ms", expires_ms);
    call->status = 201;
    return node;
}

JsonNode *
api_get_host(HttpCall *call, gpointer service, GError **error)
{
    const Host *host =
        inventory_host(((Manager *)service)->inventory, api_param(call, "host"), error);

    return host != NULL ? record_to_json(&host_type, host) : NULL;
}

JsonNode *
api_remove_host(HttpCall *call, gpointer service, GError **error)
{
    Manager *manager = service;
    const Host *host = inventory_host(manager->inventory, api_param(call, "host"), error);
    gboolean force = g_strcmp0(api_param(call, "force"), "true") == 0;

    if (host != NULL)
        members_remove(manager, host, force, error);
    return NULL;
}
