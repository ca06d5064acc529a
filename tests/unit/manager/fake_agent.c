/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_agent.h"

#include <string.h>

#include "base/clock.h"
#include "nouns.h"
#include "schema/agent.h"

static guint
free_port(void)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    guint port = g_socket_listener_add_any_inet_port(listener, NULL, NULL);

    g_socket_listener_close(listener);
    g_assert_cmpuint(port, >, 0);
    return port;
}

FakeAgent *
fake_agent_new(const char *uuid, const char *name)
{
    FakeAgent *agent = g_new0(FakeAgent, 1);
    g_autoptr(GError) error = NULL;

    agent->uuid = g_strdup(uuid);
    agent->name = g_strdup(name);
    agent->port = free_port();
    agent->facts = noun_facts(uuid, name, NULL);
    agent->alarms = record_list_new(&alarm_record_type);
    agent->migrations =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)migration_free);
    agent->streams = g_ptr_array_new();
    agent->schema = schema_new(schema_agent_json, schema_agent_json_length, &error);
    g_assert_no_error(error);
    g_mutex_init(&agent->lock);
    g_cond_init(&agent->stopped);
    return agent;
}

void
fake_agent_free(FakeAgent *agent)
{
    fake_agent_stop(agent);
    schema_free(agent->schema);
    identity_free(agent->identity);
    facts_free(agent->facts);
    g_ptr_array_unref(agent->alarms);
    g_ptr_array_unref(agent->streams);
    g_hash_table_unref(agent->migrations);
    g_mutex_clear(&agent->lock);
    g_cond_clear(&agent->stopped);
    g_free(agent->uuid);
    g_free(agent->name);
    g_free(agent->recall_key);
    g_free(agent->cleared);
    g_free(agent);
}

/* ---- the API ------------------------------------------------------------------------ */

static JsonNode *
unsupported(HttpCall *call, gpointer service, GError **error)
{
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED, "not in this agent");
    return NULL;
}

static void
on_gone(HttpStream *stream, gpointer data)
{
    g_ptr_array_remove(((FakeAgent *)data)->streams, stream);
}

static gboolean
stream_events(HttpCall *call, HttpStream *stream, gpointer service, GError **error)
{
    FakeAgent *agent = service;
    g_autofree char *facts = record_to_string(&facts_type, agent->facts);
    GHashTableIter iter;
    gpointer migration;

    g_ptr_array_add(agent->streams, stream);
    http_stream_on_closed(stream, on_gone, agent);
    http_stream_send(stream, "facts", facts);
    g_hash_table_iter_init(&iter, agent->migrations);
    while (g_hash_table_iter_next(&iter, NULL, &migration)) {
        g_autofree char *text = record_to_string(&migration_type, migration);

        http_stream_send(stream, "migration", text);
    }
    for (guint i = 0; i < agent->alarms->len; i++) {
        g_autofree char *text = record_to_string(&alarm_record_type, agent->alarms->pdata[i]);

        http_stream_send(stream, "alarm", text);
    }
    return TRUE;
}

static JsonNode *
get_vm_xml(HttpCall *call, gpointer service, GError **error)
{
    g_autofree char *text = g_strdup_printf("{\"xml\":\"<domain>%s</domain>\"}",
                                            (char *)g_hash_table_lookup(call->params, "uuid"));

    return json_parse_limited(text, strlen(text), error);
}

static gboolean
broken(GError **error)
{
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "the way is broken");
    return TRUE;
}

static void
hang(FakeAgent *agent)
{
    g_mutex_lock(&agent->lock);
    agent->hanging++;
    while (!agent->stopping)
        g_cond_wait(&agent->stopped, &agent->lock);
    agent->hanging--;
    g_mutex_unlock(&agent->lock);
}

static Migration *
begin(FakeAgent *agent, JsonNode *body)
{
    g_autoptr(MigrationRequest) request = record_from_json(&migration_request_type, body, NULL);
    Migration *migration = noun_migration(request->id, request->vm_uuid, agent->uuid,
                                          request->to->uuid, MIGRATION_PENDING);

    migration->started_ms = clock_wall_ms();
    migration->to = g_strdup(request->to->name);
    migration->policy = g_strdup(request->policy);
    migration->max_bps = request->max_bps;
    g_hash_table_insert(agent->migrations, g_strdup(request->id), migration);
    return migration;
}

/* THREAD, because it may hang; the test's main loop waits for it wherever it looks at what is
 * changed here. */
static JsonNode *
start_outgoing(HttpCall *call, gpointer service, GError **error)
{
    FakeAgent *agent = service;

    agent->starts++;
    call->status = 202;
    switch (agent->mode) {
    case AGENT_ACCEPTS:
        return record_to_json(&migration_type, begin(agent, call->body));
    case AGENT_REFUSES:
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED, "too many at once");
        return NULL;
    case AGENT_HANGS:
        hang(agent);
        broken(error);
        return NULL;
    case AGENT_LOST_WORD:
    case AGENT_SILENT:
        begin(agent, call->body);
        broken(error);
        return NULL;
    case AGENT_NEVER_GOT:
        broken(error);
        return NULL;
    }
    g_assert_not_reached();
}

static Migration *
known(FakeAgent *agent, HttpCall *call, GError **error)
{
    const char *id = g_hash_table_lookup(call->params, "id");
    Migration *migration = g_hash_table_lookup(agent->migrations, id);

    if (agent->mode == AGENT_SILENT)
        broken(error);
    else if (migration == NULL)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "no migration %s", id);
    return agent->mode == AGENT_SILENT ? NULL : migration;
}

static JsonNode *
get_outgoing(HttpCall *call, gpointer service, GError **error)
{
    Migration *migration = known(service, call, error);

    return migration ? record_to_json(&migration_type, migration) : NULL;
}

static JsonNode *
cancel_outgoing(HttpCall *call, gpointer service, GError **error)
{
    FakeAgent *agent = service;
    Migration *migration = known(agent, call, error);

    agent->cancels++;
    if (migration == NULL)
        return NULL;
    if (agent->past_return) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                            "past the point of no return");
        return NULL;
    }
    migration->cancel_requested = TRUE;
    call->status = 202;
    return record_to_json(&migration_type, migration);
}

static JsonNode *
put_recall_key(HttpCall *call, gpointer service, GError **error)
{
    FakeAgent *agent = service;

    agent->keys++;
    if (agent->refuses_key) {
        agent->refuses_key = FALSE;
        broken(error);
        return NULL;
    }
    g_free(agent->recall_key);
    agent->recall_key =
        g_strdup(json_object_get_string_member(json_node_get_object(call->body), "key"));
    return NULL;
}

static JsonNode *
clear_recall(HttpCall *call, gpointer service, GError **error)
{
    FakeAgent *agent = service;
    const char *vm = g_hash_table_lookup(call->params, "vm");

    g_free(agent->cleared);
    agent->cleared = g_strdup(vm ? vm : "");
    return json_parse_limited("{\"sets\":3}", 10, error);
}

static const HttpRoute routes[] = {
    { "getVersion", HTTP_MANAGER, HTTP_MAIN, unsupported },
    { "getClock", HTTP_MANAGER, HTTP_MAIN, unsupported },
    { "getFacts", HTTP_MANAGER, HTTP_MAIN, unsupported },
    { "streamEvents", HTTP_MANAGER, HTTP_STREAM, NULL, stream_events },
    { "getVmXml", HTTP_MANAGER, HTTP_MAIN, get_vm_xml },
    { "getStats", HTTP_MANAGER, HTTP_MAIN, unsupported },
    { "putRecallKey", HTTP_MANAGER, HTTP_MAIN, put_recall_key },
    { "clearRecall", HTTP_MANAGER, HTTP_MAIN, clear_recall },
    { "startOutgoing", HTTP_MANAGER, HTTP_THREAD, start_outgoing },
    { "listOutgoing", HTTP_MANAGER, HTTP_MAIN, unsupported },
    { "getOutgoing", HTTP_MANAGER, HTTP_MAIN, get_outgoing },
    { "cancelOutgoing", HTTP_MANAGER, HTTP_MAIN, cancel_outgoing },
    { "reserveIncoming", HTTP_HOST, HTTP_MAIN, unsupported },
    { "getIncoming", HTTP_HOST, HTTP_MAIN, unsupported },
    { "settleIncoming", HTTP_HOST, HTTP_MAIN, unsupported },
    { NULL },
};

void
fake_agent_start(FakeAgent *agent)
{
    static const char *const addresses[] = { "127.0.0.1", NULL };
    const HttpServerConfig config = {
        .name = "fake-agent",
        .identity = agent->identity,
        .client_certificates = TRUE,
        .addresses = addresses,
        .port = agent->port,
        .max_body_bytes = 1 << 20,
        .threads = 4,
        .max_streams = 10,
        .schema = agent->schema,
        .routes = routes,
        .service = agent,
    };
    g_autoptr(GError) error = NULL;

    agent->stopping = FALSE;
    agent->server = http_server_new(&config, &error);
    g_assert_no_error(error);
}

void
fake_agent_stop(FakeAgent *agent)
{
    g_mutex_lock(&agent->lock);
    agent->stopping = TRUE;
    g_cond_broadcast(&agent->stopped);
    g_mutex_unlock(&agent->lock);
    g_clear_pointer(&agent->server, http_server_free);
    g_ptr_array_set_size(agent->streams, 0);
}

/* ---- what it tells ------------------------------------------------------------------ */

void
fake_agent_tell(FakeAgent *agent, const char *event, const char *text)
{
    for (guint i = 0; i < agent->streams->len; i++)
        http_stream_send(agent->streams->pdata[i], event, text);
}

static void
remove_vm(FakeAgent *agent, const char *vm_uuid)
{
    for (guint i = 0; i < agent->facts->vms->len; i++) {
        if (strcmp(((Vm *)agent->facts->vms->pdata[i])->uuid, vm_uuid) == 0) {
            g_ptr_array_remove_index(agent->facts->vms, i);
            return;
        }
    }
}

void
fake_agent_set_vm(FakeAgent *agent, Vm *vm)
{
    g_autofree char *text = record_to_string(&vm_type, vm);

    remove_vm(agent, vm->uuid);
    g_ptr_array_add(agent->facts->vms, vm);
    fake_agent_tell(agent, "vm", text);
}

void
fake_agent_drop_vm(FakeAgent *agent, const char *vm_uuid)
{
    g_autofree char *text = g_strdup_printf("{\"uuid\":\"%s\"}", vm_uuid);

    remove_vm(agent, vm_uuid);
    fake_agent_tell(agent, "vm-removed", text);
}

void
fake_agent_move(FakeAgent *agent, const char *id, MigrationResult result, const char *stage)
{
    Migration *migration = g_hash_table_lookup(agent->migrations, id);
    g_autofree char *text = NULL;

    g_assert_nonnull(migration);
    migration->result = (int)result;
    migration->wire_bytes += 1000;
    g_free(migration->stage);
    migration->stage = g_strdup(stage);
    if (migration_is_ended(migration))
        migration->ended_ms = clock_wall_ms();
    text = record_to_string(&migration_type, migration);
    fake_agent_tell(agent, "migration", text);
}
