/* SPDX-License-Identifier: Apache-2.0 */
/* The whole agent over real TLS, with a fake hypervisor and a fake motion. */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "cluster.h"
#include "flyway/worker.h"
#include "host/agent.h"
#include "host/api.h"
#include "hv/hv_fake.h"
#include "motion_fake.h"
#include "schema/agent.h"

#define MANAGER "00000000-0000-4000-8000-00000000000a"
#define SELF "00000000-0000-4000-8000-000000000001"
#define PEER "00000000-0000-4000-8000-000000000002"
#define OTHER "00000000-0000-4000-8000-000000000003"
#define VM "00000000-0000-4000-8000-0000000000aa"
#define ID "00000000-0000-4000-8000-0000000000ff"

typedef struct {
    Cluster *cluster;
    AgentConfig *config;
    char *folder; /* recall's */
    Identity *self;
    Agent *agent;
    Identity *manager_id, *peer_id;
    HttpClient *manager, *peer;
    /* the event stream */
    GCancellable *cancel;
    GPtrArray *events; /* "event data" */
    gboolean closed;
} Fixture;

static Hv *
make_hv(const char *uri, GMainContext *context, HvEventFunc func, gpointer data, GError **error)
{
    Hv *hv = hv_fake_new(context, func, data);
    hv_fake_add_vm(hv, VM, "web1", VM_RUNNING);
    return hv;
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    motion_fake_reset();
    Config *file = config_load(NULL, agent_config_keys, FALSE, NULL);
    fixture->folder = g_dir_make_tmp("agent-XXXXXX", NULL);
    g_assert_true(config_set(file, "control", "address", "127.0.0.1", NULL));
    g_assert_true(config_set(file, "recall", "folder", fixture->folder, NULL));
    fixture->config = agent_config_of(file, NULL);
    fixture->cluster = cluster_new();
    fixture->self = cluster_identity(fixture->cluster, IDENTITY_HOST, SELF);
    fixture->manager_id = cluster_identity(fixture->cluster, IDENTITY_MANAGER, MANAGER);
    fixture->peer_id = cluster_identity(fixture->cluster, IDENTITY_HOST, PEER);
    const AgentSetup setup = { .config = fixture->config,
                               .identity = fixture->self,
                               .make_hv = make_hv };
    g_autoptr(GError) error = NULL;
    fixture->agent = agent_new(&setup, &error);
    g_assert_no_error(error);
    guint port = agent_control_port(fixture->agent);
    fixture->manager = cluster_client(fixture->cluster, fixture->manager_id, port);
    fixture->peer = cluster_client(fixture->cluster, fixture->peer_id, port);
    fixture->events = g_ptr_array_new_with_free_func(g_free);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    if (fixture->cancel) {
        g_cancellable_cancel(fixture->cancel);
        while (!fixture->closed)
            g_main_context_iteration(NULL, TRUE);
        g_clear_object(&fixture->cancel);
    }
    http_client_free(fixture->manager);
    http_client_free(fixture->peer);
    agent_free(fixture->agent);
    g_assert_null(motion_fake.now);
    g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
    g_free(fixture->folder);
    identity_free(fixture->self);
    identity_free(fixture->manager_id);
    identity_free(fixture->peer_id);
    agent_config_free(fixture->config);
    cluster_free(fixture->cluster);
    g_ptr_array_unref(fixture->events);
    motion_fake_reset();
}

/* The answer must be a refusal with that code; its message holds the word. */
static void
assert_refused(HttpClient *client, const char *method, const char *path, const char *body,
               GodwitError code, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = call(client, method, path, body, &error);
    g_test_message("%s %s: %s", method, path, error ? error->message : "answered");
    g_assert_null(answer);
    g_assert_error(error, GODWIT_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, word));
}

static JsonObject *
get(HttpClient *client, const char *path, JsonNode **answer)
{
    g_autoptr(GError) error = NULL;
    *answer = call(client, "GET", path, NULL, &error);
    g_assert_no_error(error);
    return JSON_NODE_HOLDS_OBJECT(*answer) ? json_node_get_object(*answer) : NULL;
}

/* ---- who is answered ------------------------------------------------------------------------ */

static void
test_certificates(Fixture *fixture, gconstpointer data)
{
    guint port = agent_control_port(fixture->agent);
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *version = get(fixture->manager, "/v1/version", &answer);
    g_assert_cmpstr(json_object_get_string_member(version, "program"), ==, "godwitd");
    g_assert_cmpstr(json_object_get_string_member(version, "uuid"), ==, SELF);

    g_autoptr(GError) error = NULL;
    g_autoptr(HttpClient) nobody = cluster_client(fixture->cluster, NULL, port);
    g_assert_null(call(nobody, "GET", "/v1/version", NULL, &error));
    g_test_message("no certificate: %s", error->message);
    g_clear_error(&error);

    Cluster *foreign = cluster_new();
    g_autoptr(Identity) stranger = cluster_identity(foreign, IDENTITY_MANAGER, MANAGER);
    g_autoptr(HttpClient) intruder = cluster_client(fixture->cluster, stranger, port);
    g_assert_null(call(intruder, "GET", "/v1/version", NULL, &error));
    g_test_message("foreign certificate: %s", error->message);
    g_clear_error(&error);

    /* and the client doesn't take an agent of another cluster for one of its own */
    g_autoptr(HttpClient) misled = cluster_client(foreign, stranger, port);
    g_assert_null(call(misled, "GET", "/v1/version", NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED);
    cluster_free(foreign);
}

static guint
roles_of(JsonObject *operation)
{
    JsonArray *words = json_object_get_array_member(operation, "x-roles");
    guint roles = 0;
    for (guint i = 0; i < json_array_get_length(words); i++) {
        const char *word = json_array_get_string_element(words, i);
        roles |= strcmp(word, "manager") == 0 ? HTTP_MANAGER : 0;
        roles |= strcmp(word, "host") == 0 ? HTTP_HOST : 0;
    }
    return roles;
}

static const HttpRoute *
route_of(const char *operation)
{
    for (const HttpRoute *route = api_routes; route->operation; route++)
        if (strcmp(route->operation, operation) == 0)
            return route;
    return NULL;
}

/* The program lets in exactly whom the description names. */
static void
test_roles_are_the_descriptions(void)
{
    g_autoptr(JsonNode) schema =
        json_parse_limited(schema_agent_json, schema_agent_json_length, NULL);
    JsonObject *paths = json_object_get_object_member(json_node_get_object(schema), "paths");
    g_autoptr(GList) names = json_object_get_members(paths);
    guint found = 0;
    for (GList *name = names; name; name = name->next) {
        JsonObject *path = json_object_get_object_member(paths, name->data);
        g_autoptr(GList) methods = json_object_get_members(path);
        for (GList *method = methods; method; method = method->next, found++) {
            JsonObject *operation = json_object_get_object_member(path, method->data);
            const char *id = json_object_get_string_member(operation, "operationId");
            const HttpRoute *route = route_of(id);
            g_test_message("%s", id);
            g_assert_nonnull(route);
            g_assert_cmpuint(route->roles, ==, roles_of(operation));
            g_assert_cmpuint(route->roles, !=, 0);
        }
    }
    for (const HttpRoute *route = api_routes; route->operation; route++)
        found--;
    g_assert_cmpuint(found, ==, 0);
}

static void
test_forbidden(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *method, *path, *body;
        gboolean manager; /* tried as */
    } cases[] = {
        { "GET", "/v1/facts", NULL, FALSE },
        { "GET", "/v1/vms/" VM "/xml", NULL, FALSE },
        { "GET", "/v1/stats", NULL, FALSE },
        { "GET", "/v1/outgoing", NULL, FALSE },
        { "POST", "/v1/outgoing", "{}", FALSE },
        { "POST", "/v1/outgoing/" ID "/cancel", NULL, FALSE },
        { "GET", "/v1/events", NULL, FALSE },
        { "PUT", "/v1/recall/key", "{}", FALSE },
        { "DELETE", "/v1/recall", NULL, FALSE },
        { "POST", "/v1/incoming", "{}", TRUE },
        { "POST", "/v1/incoming/" ID "/settle", "{\"source\":\"gone\"}", TRUE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_refused(cases[i].manager ? fixture->manager : fixture->peer, cases[i].method,
                       cases[i].path, cases[i].body, GODWIT_ERROR_FORBIDDEN, "");
    g_assert_cmpuint(motion_fake.started, ==, 0);
    g_assert_null(motion_fake.peer);
}

/* ---- what is answered ----------------------------------------------------------------------- */

static void
test_facts(Fixture *fixture, gconstpointer data)
{
    g_autoptr(JsonNode) answer = NULL;
    get(fixture->manager, "/v1/facts", &answer);
    g_autoptr(Facts) facts = record_from_json(&facts_type, answer, NULL);
    g_assert_cmpstr(facts->host->uuid, ==, SELF);
    g_assert_cmpstr(((Vm *)g_ptr_array_index(facts->vms, 0))->name, ==, "web1");

    g_autoptr(JsonNode) xml = NULL;
    g_assert_true(json_object_has_member(get(fixture->manager, "/v1/vms/" VM "/xml", &xml), "xml"));
    assert_refused(fixture->manager, "GET", "/v1/vms/" OTHER "/xml", NULL, GODWIT_ERROR_NOT_FOUND,
                   "");
    assert_refused(fixture->manager, "GET", "/v1/vms/web1/xml", NULL, GODWIT_ERROR_INVALID, "uuid");

    hv_fake_set_connected(agent_hv(fixture->agent), FALSE);
    assert_refused(fixture->manager, "GET", "/v1/facts", NULL, GODWIT_ERROR_UNREACHABLE, "");
}

static void
test_outgoing(Fixture *fixture, gconstpointer data)
{
    static const char request[] =
        "{\"id\":\"" ID "\",\"vm_uuid\":\"" VM "\",\"policy\":\"standard\",\"to\":{\"uuid\":\"" PEER
        "\",\"name\":\"h2\",\"control_address\":\"10.0.0.2\",\"control_port\":16570}}";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) accepted = call(fixture->manager, "POST", "/v1/outgoing", request, &error);
    g_assert_no_error(error);
    g_assert_nonnull(accepted);
    g_assert_cmpuint(motion_fake.started, ==, 1);
    assert_refused(fixture->manager, "POST", "/v1/outgoing", "{\"id\":\"" ID "\"}",
                   GODWIT_ERROR_INVALID, "vm_uuid");

    g_autoptr(JsonNode) list = NULL;
    get(fixture->manager, "/v1/outgoing", &list);
    g_assert_cmpuint(json_array_get_length(json_node_get_array(list)), ==, 1);
    g_autoptr(JsonNode) theirs = NULL;
    get(fixture->peer, "/v1/outgoing/" ID, &theirs); /* its destination may ask */
    g_autoptr(Identity) other_id = cluster_identity(fixture->cluster, IDENTITY_HOST, OTHER);
    g_autoptr(HttpClient) other =
        cluster_client(fixture->cluster, other_id, agent_control_port(fixture->agent));
    assert_refused(other, "GET", "/v1/outgoing/" ID, NULL, GODWIT_ERROR_FORBIDDEN, OTHER);
    assert_refused(fixture->manager, "GET", "/v1/outgoing/" OTHER, NULL, GODWIT_ERROR_NOT_FOUND,
                   OTHER);

    g_autoptr(JsonNode) cancelled =
        call(fixture->manager, "POST", "/v1/outgoing/" ID "/cancel", NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(cancelled);
    g_assert_cmpuint(motion_fake.cancelled, ==, 1);
}

static void
test_incoming(Fixture *fixture, gconstpointer data)
{
    static const char format[] =
        "{\"id\":\"" ID
        "\",\"from\":{\"uuid\":\"%s\",\"name\":\"h2\",\"control_address\":\"10.0.0.2\","
        "\"control_port\":16570},\"vm\":{\"uuid\":\"" VM "\",\"name\":\"web1\",\"new\":{\"x\":1}},"
        "\"host\":{\"uuid\":\"%s\",\"name\":\"h2\"}}";
    g_autofree char *honest = g_strdup_printf(format, PEER, PEER);
    g_autofree char *liar = g_strdup_printf(format, OTHER, OTHER);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) reserved = call(fixture->peer, "POST", "/v1/incoming", honest, &error);
    g_assert_no_error(error); /* facts that this version doesn't know are let through */
    g_assert_nonnull(reserved);
    g_assert_cmpstr(motion_fake.peer, ==, PEER);
    assert_refused(fixture->peer, "POST", "/v1/incoming", liar, GODWIT_ERROR_FORBIDDEN, OTHER);

    g_autoptr(JsonNode) settled =
        call(fixture->peer, "POST", "/v1/incoming/" ID "/settle", "{\"source\":\"runs\"}", &error);
    g_assert_no_error(error);
    g_assert_nonnull(settled);
    g_assert_cmpstr(motion_fake.word, ==, "runs");
    assert_refused(fixture->peer, "POST", "/v1/incoming/" ID "/settle", "{\"source\":\"dunno\"}",
                   GODWIT_ERROR_INVALID, "source");

    g_autoptr(JsonNode) answer = NULL;
    get(fixture->peer, "/v1/incoming/" ID, &answer);
    g_assert_cmpstr(motion_fake.peer, ==, PEER);
    g_autoptr(JsonNode) to_manager = NULL;
    get(fixture->manager, "/v1/incoming/" ID, &to_manager);
    g_assert_null(motion_fake.peer); /* the manager may see every one */
}

/* ---- events --------------------------------------------------------------------------------- */

static void
on_event(const char *event, const char *id, const char *data, gpointer user_data)
{
    Fixture *fixture = user_data;
    g_ptr_array_add(fixture->events, g_strdup_printf("%s %s", event, data));
}

static void
on_stream_closed(const GError *error, gpointer user_data)
{
    Fixture *fixture = user_data;
    fixture->closed = TRUE;
}

static void
listen_to_events(Fixture *fixture)
{
    fixture->cancel = g_cancellable_new();
    http_client_stream(fixture->manager, "/v1/events", 40, on_event, on_stream_closed, fixture,
                       fixture->cancel);
}

/* Index of the first event at or after `from` that begins with start and holds word. */
static guint
wait_event(Fixture *fixture, guint from, const char *start, const char *word)
{
    g_test_message("waiting for %s %s", start, word);
    for (;;) {
        for (guint i = from; i < fixture->events->len; i++) {
            const char *line = g_ptr_array_index(fixture->events, i);
            if (g_str_has_prefix(line, start) && strstr(line, word))
                return i;
        }
        g_assert_false(fixture->closed);
        g_main_context_iteration(NULL, TRUE);
    }
}

static Migration *
migration_at(const char *stage, gint64 done)
{
    Migration *migration = record_new(&migration_type);
    migration->id = g_strdup(ID);
    migration->result = MIGRATION_RUNNING;
    migration->stage = g_strdup(stage);
    migration->progress = record_new(&migration_progress_type);
    migration->progress->done_bytes = done;
    return migration;
}

static void
tell_migration(Migration *migration)
{
    motion_fake.config.notify.migration_changed(migration, motion_fake.config.data);
    migration_free(migration);
}

static void
test_events(Fixture *fixture, gconstpointer data)
{
    motion_fake.migration = migration_at("copy", 0);
    listen_to_events(fixture);
    g_assert_cmpuint(wait_event(fixture, 0, "facts ", "web1"), ==, 0);
    g_assert_cmpuint(wait_event(fixture, 0, "migration ", ID), ==, 1);
    Hv *hv = agent_hv(fixture->agent);
    hv_fake_set_vm_state(hv, VM, VM_PAUSED);
    wait_event(fixture, 2, "vm ", "paused");
    hv_fake_remove_vm(hv, VM);
    wait_event(fixture, 2, "vm-removed ", VM);
    g_assert_cmpuint(motion_fake.events, >=, 2); /* motion hears of them, too */
    hv_fake_set_connected(hv, FALSE);
    wait_event(fixture, 2, "host ", "no-libvirt");
}

static void
test_progress_is_thinned(Fixture *fixture, gconstpointer data)
{
    listen_to_events(fixture);
    wait_event(fixture, 0, "facts ", "web1");
    gint64 start = g_get_monotonic_time();
    for (gint64 done = 0; done < 1000; done++)
        tell_migration(migration_at("copy", done));
    wait_event(fixture, 1, "migration ", "\"done_bytes\":999");
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 400 * 1000);
    tell_migration(migration_at("switch", 1000)); /* a stage is told at once, after what was held */
    guint at = wait_event(fixture, 1, "migration ", "\"switch\"");
    guint told = 0;
    for (guint i = 0; i <= at; i++)
        told += g_str_has_prefix(g_ptr_array_index(fixture->events, i), "migration ");
    g_assert_cmpuint(told, <=, 4);
    g_assert_cmpuint(told, >=, 3); /* first, newest, switch */
}

static void
test_alarm_outlives_absence(Fixture *fixture, gconstpointer data)
{
    Alarm alarm = { .id = (char *)"a1", .message = (char *)"look here" };
    motion_fake.config.notify.alarm(&alarm, motion_fake.config.data);
    motion_fake.config.notify.alarm(&alarm, motion_fake.config.data); /* the same, once */
    listen_to_events(fixture);
    guint first = wait_event(fixture, 0, "alarm ", "look here");
    alarm.id = (char *)"a2";
    motion_fake.config.notify.alarm(&alarm, motion_fake.config.data);
    g_assert_cmpuint(wait_event(fixture, 0, "alarm ", "a2"), ==, first + 1);
}

static void
test_flyway_port(Fixture *fixture, gconstpointer data)
{
    guint8 preamble[FLYWAY_PREAMBLE_SIZE] = { 0 };
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection = g_socket_client_connect_to_host(
        client, "127.0.0.1", agent_migration_port(fixture->agent), NULL, NULL);
    g_assert_nonnull(connection);
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    g_assert_true(g_output_stream_write_all(out, preamble, sizeof preamble, NULL, NULL, NULL));
    while (motion_fake.connections == 0)
        g_main_context_iteration(NULL, TRUE);
}

/* ---- recall --------------------------------------------------------------------------------- */

static gint64
clear_recall(Fixture *fixture, const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = call(fixture->manager, "DELETE", path, NULL, &error);
    g_assert_no_error(error);
    return json_object_get_int_member(json_node_get_object(answer), "sets");
}

static void
test_recall(Fixture *fixture, gconstpointer data)
{
    static const char key[] =
        "{\"key\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}";
    const RecallOrder order = { .migration = ID, .vm = VM, .peer = PEER, .memory_bytes = 1 << 28 };
    g_autoptr(GError) error = NULL;
    listen_to_events(fixture);
    wait_event(fixture, 0, "facts ", "\"keyed\":false");
    g_assert_null(recall_service_begin(motion_fake.config.recall, &order, &error));
    g_clear_error(&error);
    assert_refused(fixture->manager, "PUT", "/v1/recall/key", "{\"key\":\"0123\"}",
                   GODWIT_ERROR_INVALID, "key");

    g_autoptr(JsonNode) taken = call(fixture->manager, "PUT", "/v1/recall/key", key, &error);
    g_assert_no_error(error);
    g_assert_nonnull(taken);
    guint at = wait_event(fixture, 1, "host ", "\"keyed\":true");
    const char *host = g_ptr_array_index(fixture->events, at);
    g_assert_nonnull(strstr(host, "\"active\":true"));
    for (guint i = 0; i < fixture->events->len; i++)
        g_assert_null(strstr(g_ptr_array_index(fixture->events, i), "89abcdef"));

    /* motion works with the same service */
    g_autoptr(RecallLoan) loan = recall_service_begin(motion_fake.config.recall, &order, &error);
    g_assert_no_error(error);
    g_assert_cmpint(clear_recall(fixture, "/v1/recall?vm=" OTHER), ==, 0);
    g_assert_cmpint(clear_recall(fixture, "/v1/recall?vm=" VM), ==, loan->ticket.pages_fd >= 0);
    g_assert_cmpint(clear_recall(fixture, "/v1/recall"), ==, 0);
    assert_refused(fixture->manager, "DELETE", "/v1/recall?vm=web1", NULL, GODWIT_ERROR_INVALID,
                   "vm");
    /* tear_down finds the folder empty: the key is not on the disk */
}

#define ADD(path, func) g_test_add("/host/api/" path, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL |
                           G_LOG_FATAL_MASK); /* warnings are the agent's job */
    ADD("certificates", test_certificates);
    g_test_add_func("/host/api/roles", test_roles_are_the_descriptions);
    ADD("forbidden", test_forbidden);
    ADD("facts", test_facts);
    ADD("outgoing", test_outgoing);
    ADD("incoming", test_incoming);
    ADD("recall", test_recall);
    ADD("events", test_events);
    ADD("progress-thinned", test_progress_is_thinned);
    ADD("alarm-outlives-absence", test_alarm_outlives_absence);
    ADD("flyway-port", test_flyway_port);
    return g_test_run();
}
