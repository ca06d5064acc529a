/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

#define LIMIT_DEFAULT 100 /* as in schema/openapi.yaml */

/* MAIN handlers look and answer; THREAD handlers wait for a host, see errand.h. */
const HttpRoute api_routes[] = {
    { "getHealth", HTTP_ANYONE, HTTP_MAIN, api_get_health },
    { "getVersion", HTTP_ANYONE, HTTP_MAIN, api_get_version },
    { "getCa", HTTP_ANYONE, HTTP_MAIN, api_get_ca },
    { "joinHost", HTTP_ANYONE, HTTP_MAIN, api_join_host },
    { "listHosts", HTTP_ADMIN, HTTP_MAIN, api_list_hosts },
    { "createHostToken", HTTP_ADMIN, HTTP_MAIN, api_create_host_token },
    { "getHost", HTTP_ADMIN, HTTP_MAIN, api_get_host },
    { "removeHost", HTTP_ADMIN, HTTP_MAIN, api_remove_host },
    { "clearRecall", HTTP_ADMIN, HTTP_THREAD, api_clear_recall },
    { "listVms", HTTP_ADMIN, HTTP_MAIN, api_list_vms },
    { "getVm", HTTP_ADMIN, HTTP_MAIN, api_get_vm },
    { "getVmXml", HTTP_ADMIN, HTTP_THREAD, api_get_vm_xml },
    { "listNetworks", HTTP_ADMIN, HTTP_MAIN, api_list_networks },
    { "listDatastores", HTTP_ADMIN, HTTP_MAIN, api_list_datastores },
    { "createMigration", HTTP_ADMIN, HTTP_THREAD, api_create_migration },
    { "listMigrations", HTTP_ADMIN, HTTP_MAIN, api_list_migrations },
    { "getMigration", HTTP_ADMIN, HTTP_MAIN, api_get_migration },
    { "listTasks", HTTP_ADMIN, HTTP_MAIN, api_list_tasks },
    { "getTask", HTTP_ADMIN, HTTP_MAIN, api_get_task },
    { "cancelTask", HTTP_ADMIN, HTTP_THREAD, api_cancel_task },
    { "listAlarms", HTTP_ADMIN, HTTP_MAIN, api_list_alarms },
    { "acknowledgeAlarm", HTTP_ADMIN, HTTP_MAIN, api_acknowledge_alarm },
    { "streamEvents", HTTP_ADMIN, HTTP_STREAM, NULL, api_stream_events },
    { "listTokens", HTTP_ADMIN, HTTP_MAIN, api_list_tokens },
    { "createToken", HTTP_ADMIN, HTTP_MAIN, api_create_token },
    { "deleteToken", HTTP_ADMIN, HTTP_MAIN, api_delete_token },
    { NULL },
};

const char *
api_param(const HttpCall *call, const char *name)
{
    return g_hash_table_lookup(call->params, name);
}

guint
api_limit(const HttpCall *call)
{
    const char *limit = api_param(call, "limit");

    return limit != NULL ? (guint)g_ascii_strtoull(limit, NULL, 10) : LIMIT_DEFAULT;
}

static JsonNode *
body_member(const HttpCall *call, const char *name)
{
    JsonObject *body = call->body != NULL && JSON_NODE_HOLDS_OBJECT(call->body)
                           ? json_node_get_object(call->body)
                           : NULL;

    return body != NULL ? json_object_get_member(body, name) : NULL;
}

const char *
api_body_string(const HttpCall *call, const char *name)
{
    JsonNode *member = body_member(call, name);

    return member != NULL ? json_node_get_string(member) : NULL;
}

gint64
api_body_int(const HttpCall *call, const char *name, gint64 fallback)
{
    JsonNode *member = body_member(call, name);

    return member != NULL ? json_node_get_int(member) : fallback;
}

static JsonNode *
new_object(void)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, json_object_new());
    return node;
}

JsonNode *
api_list(const char *member, const RecordType *type, GPtrArray *list)
{
    g_autoptr(GPtrArray) mine = list;
    JsonNode *node = new_object();

    json_object_set_member(json_node_get_object(node), member, record_list_to_json(type, mine));
    return node;
}

JsonNode *
api_strings(const char *const *pairs)
{
    JsonNode *node = new_object();

    for (gsize i = 0; pairs[i] != NULL; i += 2)
        json_object_set_string_member(json_node_get_object(node), pairs[i], pairs[i + 1]);
    return node;
}

void
api_add_int(JsonNode *object, const char *name, gint64 value)
{
    json_object_set_int_member(json_node_get_object(object), name, value);
}
