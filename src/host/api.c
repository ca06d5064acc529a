/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of the agent's API, one for each operation of schema/agent.yaml. The server has checked
 * certificate, role and request before a handler runs.
 *
 * Modes follow motion.h: what belongs to the main loop and returns quickly is MAIN; what blocks
 * (libvirt, motion's destination side) is THREAD. Beyond the role, a host may only see and do what
 * concerns a migration of its own: for incoming ones motion compares the certificate's UUID, for
 * outgoing ones getOutgoing does.
 */
#include "host/api.h"

#include <string.h>

#include "base/clock.h"
#include "base/hex.h"

#define API_VERSION 1

static JsonNode *
object_node(JsonObject **object)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    *object = json_object_new();
    json_node_take_object(node, *object);
    return node;
}

static Motion *
motion_of(gpointer service)
{
    return ((ApiService *)service)->facts->motion;
}

static const char *
param(const HttpCall *call, const char *name)
{
    return g_hash_table_lookup(call->params, name);
}

static JsonNode *
get_version(HttpCall *call, gpointer service, GError **error)
{
    const ApiService *api = service;
    JsonObject *object;
    JsonNode *node = object_node(&object);
    json_object_set_string_member(object, "program", "godwitd");
    json_object_set_string_member(object, "version", GODWIT_VERSION);
    json_object_set_int_member(object, "api", API_VERSION);
    json_object_set_string_member(object, "uuid", api->facts->host_uuid);
    json_object_set_string_member(object, "name", g_get_host_name());
    return node;
}

static JsonNode *
get_clock(HttpCall *call, gpointer service, GError **error)
{
    JsonObject *object;
    JsonNode *node = object_node(&object);
    json_object_set_int_member(object, "monotonic_us", clock_monotonic_us());
    json_object_set_int_member(object, "wall_ms", clock_wall_ms());
    return node;
}

static JsonNode *
get_facts(HttpCall *call, gpointer service, GError **error)
{
    const ApiService *api = service;
    g_autoptr(Facts) facts = facts_read(api->facts, error);
    return facts ? record_to_json(&facts_type, facts) : NULL;
}

static gboolean
stream_events(HttpCall *call, HttpStream *stream, gpointer service, GError **error)
{
    const ApiService *api = service;
    event_hub_add(api->hub, stream);
    return TRUE;
}

static JsonNode *
get_vm_xml(HttpCall *call, gpointer service, GError **error)
{
    const ApiService *api = service;
    Hv *hv = api->facts->hv;
    g_autofree char *uuid = g_ascii_strdown(param(call, "uuid"), -1);
    g_autofree char *xml = hv->ops->vm_xml(hv, uuid, error);
    if (!xml)
        return NULL;
    JsonObject *object;
    JsonNode *node = object_node(&object);
    json_object_set_string_member(object, "xml", xml);
    return node;
}

static JsonNode *
get_stats(HttpCall *call, gpointer service, GError **error)
{
    const ApiService *api = service;
    Hv *hv = api->facts->hv;
    g_autoptr(GPtrArray) vms = facts_feed_running(api->feed);
    if (vms->len > 0 && !hv->ops->stats(hv, vms, error))
        return NULL;
    JsonArray *array = json_array_new();
    for (guint i = 0; i < vms->len; i++) {
        const Vm *vm = g_ptr_array_index(vms, i);
        if (!vm->stats)
            continue; /* stopped meanwhile */
        JsonNode *node = record_to_json(&vm_stats_type, vm->stats);
        json_object_set_string_member(json_node_get_object(node), "uuid", vm->uuid);
        json_array_add_element(array, node);
    }
    JsonNode *answer = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(answer, array);
    return answer;
}

/* ---- recall: THREAD, its lock may be held while large files are removed ---------------------- */

static JsonNode *
put_recall_key(HttpCall *call, gpointer service, GError **error)
{
    const char *hex = json_object_get_string_member(json_node_get_object(call->body), "key");
    guint8 key[RECALL_KEY_SIZE];
    if (!hex_decode(hex, key, sizeof key)) { /* the schema has refused it already */
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                            "a recall key is 64 hex digits");
        return NULL;
    }
    recall_service_set_key(((const ApiService *)service)->facts->recall, key);
    explicit_bzero(key, sizeof key);
    return NULL;
}

static JsonNode *
clear_recall(HttpCall *call, gpointer service, GError **error)
{
    const char *vm = param(call, "vm");
    g_autofree char *uuid = vm ? g_ascii_strdown(vm, -1) : NULL;
    JsonObject *object;
    JsonNode *node = object_node(&object);
    json_object_set_int_member(
        object, "sets", recall_service_clear(((const ApiService *)service)->facts->recall, uuid));
    return node;
}

/* ---- migrations away from here --------------------------------------------------------------- */

static JsonNode *
list_outgoing(HttpCall *call, gpointer service, GError **error)
{
    g_autoptr(GPtrArray) migrations = motion_list(motion_of(service));
    return record_list_to_json(&migration_type, migrations);
}

static JsonNode *
start_outgoing(HttpCall *call, gpointer service, GError **error)
{
    g_autoptr(MigrationRequest) request =
        record_from_json(&migration_request_type, call->body, error);
    if (!request)
        return NULL;
    g_autoptr(Migration) migration = motion_start(motion_of(service), request, error);
    if (!migration)
        return NULL;
    call->status = 202;
    return record_to_json(&migration_type, migration);
}

static JsonNode *
get_outgoing(HttpCall *call, gpointer service, GError **error)
{
    g_autoptr(Migration) migration = motion_get(motion_of(service), param(call, "id"), error);
    if (!migration)
        return NULL;
    if (call->role == HTTP_HOST && g_strcmp0(migration->to_uuid, call->host_uuid) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "migration %s does not go to host %s: only its destination and the manager may "
                    "ask for it",
                    migration->id, call->host_uuid);
        return NULL;
    }
    return record_to_json(&migration_type, migration);
}

static JsonNode *
cancel_outgoing(HttpCall *call, gpointer service, GError **error)
{
    const char *id = param(call, "id");
    if (!motion_cancel(motion_of(service), id, error))
        return NULL;
    g_autoptr(Migration) migration = motion_get(motion_of(service), id, error);
    if (!migration)
        return NULL;
    call->status = 202;
    return record_to_json(&migration_type, migration);
}

/* ---- migrations to here ---------------------------------------------------------------------- */

static JsonNode *
reserve_incoming(HttpCall *call, gpointer service, GError **error)
{
    g_autoptr(ReservationRequest) request =
        record_from_json(&reservation_request_type, call->body, error);
    if (!request)
        return NULL;
    if (g_ascii_strcasecmp(request->from->uuid, call->host_uuid) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "the request says that it comes from host %s, its certificate is host %s's",
                    request->from->uuid, call->host_uuid);
        return NULL;
    }
    g_autoptr(Reservation) reservation =
        motion_reserve(motion_of(service), request, call->host_uuid, error);
    if (!reservation)
        return NULL;
    call->status = 201;
    return record_to_json(&reservation_type, reservation);
}

static JsonNode *
get_incoming(HttpCall *call, gpointer service, GError **error)
{
    const char *peer = call->role == HTTP_HOST ? call->host_uuid : NULL;
    g_autoptr(Incoming) incoming =
        motion_incoming(motion_of(service), param(call, "id"), peer, error);
    return incoming ? record_to_json(&incoming_type, incoming) : NULL;
}

static JsonNode *
settle_incoming(HttpCall *call, gpointer service, GError **error)
{
    const char *word = json_object_get_string_member(json_node_get_object(call->body), "source");
    g_autoptr(Incoming) incoming =
        motion_settle(motion_of(service), param(call, "id"), call->host_uuid, word, error);
    return incoming ? record_to_json(&incoming_type, incoming) : NULL;
}

const HttpRoute api_routes[] = {
    { "getVersion", HTTP_MANAGER | HTTP_HOST, HTTP_MAIN, .run = get_version },
    { "getClock", HTTP_MANAGER | HTTP_HOST, HTTP_MAIN, .run = get_clock },
    { "getFacts", HTTP_MANAGER, HTTP_THREAD, .run = get_facts },
    { "streamEvents", HTTP_MANAGER, HTTP_STREAM, .stream = stream_events },
    { "getVmXml", HTTP_MANAGER, HTTP_THREAD, .run = get_vm_xml },
    { "getStats", HTTP_MANAGER, HTTP_THREAD, .run = get_stats },
    { "putRecallKey", HTTP_MANAGER, HTTP_THREAD, .run = put_recall_key },
    { "clearRecall", HTTP_MANAGER, HTTP_THREAD, .run = clear_recall },
    { "listOutgoing", HTTP_MANAGER, HTTP_MAIN, .run = list_outgoing },
    { "startOutgoing", HTTP_MANAGER, HTTP_MAIN, .run = start_outgoing },
    { "getOutgoing", HTTP_MANAGER | HTTP_HOST, HTTP_MAIN, .run = get_outgoing },
    { "cancelOutgoing", HTTP_MANAGER, HTTP_MAIN, .run = cancel_outgoing },
    { "reserveIncoming", HTTP_HOST, HTTP_THREAD, .run = reserve_incoming },
    { "getIncoming", HTTP_MANAGER | HTTP_HOST, HTTP_THREAD, .run = get_incoming },
    { "settleIncoming", HTTP_HOST, HTTP_THREAD, .run = settle_incoming },
    { NULL },
};
