/* SPDX-License-Identifier: Apache-2.0 */
/* Joining, against a fake manager over real TLS: the API's own description, handlers of this file.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "cluster.h"
#include "host/join.h"
#include "host/run_dir.h"
#include "net/http_server.h"
#include "schema/openapi.h"

#define MANAGER "00000000-0000-4000-8000-00000000000a"
#define SELF "00000000-0000-4000-8000-000000000001"
#define OTHER "00000000-0000-4000-8000-000000000002"

typedef enum { HONEST, SIGNS_FOR_OTHER, SENDS_OTHER_CA, SAYS_EXPIRED } Manners;

typedef struct {
    Cluster *cluster, *foreign;
    char *root;
    AgentConfig *config;
    /* the fake manager */
    Manners manners;
    Schema *schema;
    GArray *routes;
    Identity *identity;
    HttpServer *server;
    guint joins;
    char *body; /* of the last join */
    char *url, *token;
} Fixture;

static JsonNode *
object_of(const char *a, const char *value_a, const char *b, const char *value_b)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, json_object_new());
    json_object_set_string_member(json_node_get_object(node), a, value_a);
    json_object_set_string_member(json_node_get_object(node), b, value_b);
    return node;
}

static JsonNode *
run_nothing(HttpCall *call, gpointer service, GError **error)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED, "the fake manager can't %s",
                call->operation);
    return NULL;
}

static JsonNode *
run_ca(HttpCall *call, gpointer service, GError **error)
{
    Fixture *fixture = service;
    g_autofree char *fingerprint = identity_fingerprint(fixture->cluster->ca->cert, NULL);
    return object_of("ca_pem", fixture->cluster->ca->cert, "fingerprint", fingerprint);
}

static JsonNode *
run_join(HttpCall *call, gpointer service, GError **error)
{
    Fixture *fixture = service;
    fixture->joins++;
    g_free(fixture->body);
    fixture->body = json_text(call->body, FALSE);
    if (fixture->manners == SAYS_EXPIRED) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_EXPIRED, "the token was used before");
        return NULL;
    }
    IdentityName name = { .role = IDENTITY_HOST };
    g_strlcpy(name.uuid, fixture->manners == SIGNS_FOR_OTHER ? OTHER : SELF, sizeof name.uuid);
    const char *csr = json_object_get_string_member(json_node_get_object(call->body), "csr");
    g_autofree char *cert = ca_sign(fixture->cluster->ca, csr, &name, NULL, 30, error);
    if (!cert)
        return NULL;
    Cluster *ca = fixture->manners == SENDS_OTHER_CA ? fixture->foreign : fixture->cluster;
    JsonNode *answer = object_of("cert_pem", cert, "ca_pem", ca->ca->cert);
    json_object_set_string_member(json_node_get_object(answer), "cluster", "test");
    json_object_set_string_member(json_node_get_object(answer), "manager_uuid", MANAGER);
    return answer;
}

/* Every operation of the description has a route, as the server demands. */
static void
make_routes(Fixture *fixture)
{
    g_autoptr(GPtrArray) ids = schema_operation_ids(fixture->schema);
    fixture->routes = g_array_new(TRUE, TRUE, sizeof(HttpRoute));
    for (guint i = 0; i < ids->len; i++) {
        const char *id = g_ptr_array_index(ids, i);
        HttpRoute route = { .operation = id, .mode = HTTP_MAIN, .run = run_nothing };
        if (strcmp(id, "getCa") == 0)
            route.run = run_ca;
        else if (strcmp(id, "joinHost") == 0)
            route.run = run_join;
        g_array_append_val(fixture->routes, route);
    }
}

static void
start_manager(Fixture *fixture, IdentityRole role)
{
    static const char *const loopback[] = { "127.0.0.1", NULL };
    g_autoptr(GError) error = NULL;
    fixture->schema = schema_new(schema_openapi_json, schema_openapi_json_length, &error);
    g_assert_no_error(error);
    make_routes(fixture);
    fixture->identity = cluster_identity(fixture->cluster, role, MANAGER);
    const HttpServerConfig config = {
        .name = "fake-manager",
        .identity = fixture->identity,
        .addresses = loopback,
        .max_body_bytes = 65536,
        .threads = 1,
        .max_streams = 1,
        .schema = fixture->schema,
        .routes = (HttpRoute *)(void *)fixture->routes->data,
        .service = fixture,
    };
    fixture->server = http_server_new(&config, &error);
    g_assert_no_error(error);
    fixture->url = g_strdup_printf("https://127.0.0.1:%u", http_server_port(fixture->server));
}

static void
stop_manager(Fixture *fixture)
{
    g_clear_pointer(&fixture->server, http_server_free);
    g_clear_pointer(&fixture->schema, schema_free);
    g_clear_pointer(&fixture->routes, g_array_unref);
    g_clear_pointer(&fixture->identity, identity_free);
    g_clear_pointer(&fixture->url, g_free);
}

static void
set_up(Fixture *fixture, gconstpointer role)
{
    fixture->cluster = cluster_new();
    fixture->foreign = cluster_new();
    fixture->root = g_dir_make_tmp("godwit-join-XXXXXX", NULL);
    g_autofree char *state = g_build_filename(fixture->root, "state", NULL);
    g_autofree char *run = g_build_filename(fixture->root, "run", NULL);
    Config *file = config_load(NULL, agent_config_keys, FALSE, NULL);
    g_assert_true(config_set(file, "godwitd", "state_dir", state, NULL));
    g_assert_true(config_set(file, "godwitd", "run_dir", run, NULL));
    fixture->config = agent_config_of(file, NULL);
    start_manager(fixture, role ? IDENTITY_HOST : IDENTITY_MANAGER);
    g_autofree char *fingerprint = identity_fingerprint(fixture->cluster->ca->cert, NULL);
    fixture->token = token_new("gwj_", fingerprint);
}

static void
tear_down(Fixture *fixture, gconstpointer role)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", fixture->root);
    g_assert_cmpint(system(command), ==, 0);
    stop_manager(fixture);
    cluster_free(fixture->cluster);
    cluster_free(fixture->foreign);
    agent_config_free(fixture->config);
    g_free(fixture->root);
    g_free(fixture->body);
    g_free(fixture->token);
}

/* ---- join_cluster blocks, and the fake manager needs the main loop: so it has a thread --------
 */

typedef struct {
    const AgentConfig *config;
    JoinRequest request;
    Joined *joined;
    GError *error;
    gint done;
} Work;

static gpointer
join_in_thread(gpointer data)
{
    Work *work = data;
    work->joined = join_cluster(work->config, &work->request, &work->error);
    g_atomic_int_set(&work->done, 1);
    g_main_context_wakeup(NULL);
    return NULL;
}

static Joined *
join_as(Fixture *fixture, const JoinRequest *request, GError **error)
{
    Work work = { .config = fixture->config, .request = *request };
    GThread *thread = g_thread_new("join", join_in_thread, &work);
    while (!g_atomic_int_get(&work.done))
        g_main_context_iteration(NULL, TRUE);
    g_thread_join(thread);
    if (work.error) {
        g_test_message("%s", work.error->message);
        g_propagate_error(error, work.error);
    }
    return work.joined;
}

static JoinRequest
request_of(const Fixture *fixture)
{
    return (JoinRequest){ .url = fixture->url,
                          .token = fixture->token,
                          .address = "192.0.2.9",
                          .host_uuid = SELF,
                          .host_name = "h1" };
}

static void
assert_refused(Fixture *fixture, const JoinRequest *request, GodwitError code, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Joined) joined = join_as(fixture, request, &error);
    g_assert_null(joined);
    g_assert_error(error, GODWIT_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, word));
    g_autoptr(Joined) stored = joined_load(fixture->config->state_dir, NULL);
    g_assert_null(stored);
    g_assert_null(identity_load(fixture->config->identity_dir, NULL));
}

static void
test_joins(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    JoinRequest request = request_of(fixture);
    g_autoptr(Joined) joined = join_as(fixture, &request, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(joined->control_address, ==, "192.0.2.9");
    g_assert_cmpstr(joined->cluster, ==, "test");
    g_assert_nonnull(strstr(fixture->body, "\"uuid\":\"" SELF "\""));
    g_assert_nonnull(strstr(fixture->body, "\"name\":\"h1\""));
    g_assert_nonnull(strstr(fixture->body, "\"control_port\":16570"));
    g_assert_null(strstr(fixture->body, "PRIVATE KEY")); /* it never leaves */

    g_autoptr(Identity) identity = identity_load(fixture->config->identity_dir, &error);
    g_assert_no_error(error);
    g_assert_cmpint(identity->name.role, ==, IDENTITY_HOST);
    g_assert_cmpstr(identity->name.uuid, ==, SELF);
    g_autofree char *key = g_build_filename(fixture->config->identity_dir, "key.pem", NULL);
    GStatBuf status;
    g_assert_cmpint(g_stat(key, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, 0600);
    g_autoptr(Joined) stored = joined_load(fixture->config->state_dir, NULL);
    g_assert_true(record_equal(&joined_type, joined, stored));
}

static void
test_joined_already(Fixture *fixture, gconstpointer data)
{
    JoinRequest request = request_of(fixture);
    g_autoptr(GError) error = NULL;
    g_autoptr(Joined) first = join_as(fixture, &request, NULL);
    g_assert_nonnull(first);
    g_assert_null(join_as(fixture, &request, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_nonnull(strstr(error->message, "--force"));
    g_assert_cmpuint(fixture->joins, ==, 1);
    request.force = TRUE;
    g_autoptr(Joined) second = join_as(fixture, &request, NULL);
    g_assert_nonnull(second);
    g_assert_cmpuint(fixture->joins, ==, 2);
}

static void
test_wrong_fingerprint(Fixture *fixture, gconstpointer data)
{
    g_autofree char *fingerprint = identity_fingerprint(fixture->foreign->ca->cert, NULL);
    g_autofree char *token = token_new("gwj_", fingerprint);
    JoinRequest request = request_of(fixture);
    request.token = token;
    assert_refused(fixture, &request, GODWIT_ERROR_UNAUTHORIZED, "");
    g_assert_cmpuint(fixture->joins, ==, 0); /* the token was not shown to it */
}

static void
test_bad_manners(Fixture *fixture, gconstpointer data)
{
    static const struct {
        Manners manners;
        GodwitError code;
        const char *word;
    } cases[] = {
        { SIGNS_FOR_OTHER, GODWIT_ERROR_PROTOCOL, OTHER },
        { SENDS_OTHER_CA, GODWIT_ERROR_UNAUTHORIZED, "another CA" },
        { SAYS_EXPIRED, GODWIT_ERROR_EXPIRED, "used before" },
    };
    JoinRequest request = request_of(fixture);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        fixture->manners = cases[i].manners;
        assert_refused(fixture, &request, cases[i].code, cases[i].word);
        g_assert_cmpuint(fixture->joins, ==, i + 1);
    }
}

/* A joined host that sits between can't play the manager. */
static void
test_host_as_manager(Fixture *fixture, gconstpointer data)
{
    JoinRequest request = request_of(fixture);
    assert_refused(fixture, &request, GODWIT_ERROR_UNAUTHORIZED, "");
    g_assert_cmpuint(fixture->joins, ==, 0);
}

static void
test_bad_requests(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *url, *token, *address;
        GodwitError code;
        const char *word;
    } cases[] = {
        { "manager:8443", NULL, NULL, GODWIT_ERROR_INVALID, "https://" },
        { "http://manager:8443", NULL, NULL, GODWIT_ERROR_INVALID, "https://" },
        { "https://manager/x", NULL, NULL, GODWIT_ERROR_INVALID, "https://" },
        { NULL, "gwj_short", NULL, GODWIT_ERROR_INVALID, "" },
        { NULL, "gwa_0123", NULL, GODWIT_ERROR_INVALID, "" },
        { NULL, NULL, "0.0.0.0", GODWIT_ERROR_INVALID, "0.0.0.0" },
        { NULL, NULL, "", GODWIT_ERROR_INVALID, "--address" }, /* found: loopback */
        { "https://127.0.0.1:1", NULL, NULL, GODWIT_ERROR_UNREACHABLE, "127.0.0.1" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        JoinRequest request = request_of(fixture);
        request.url = cases[i].url ? cases[i].url : request.url;
        request.token = cases[i].token ? cases[i].token : request.token;
        if (cases[i].address)
            request.address = *cases[i].address ? cases[i].address : NULL;
        assert_refused(fixture, &request, cases[i].code, cases[i].word);
    }
    g_assert_cmpuint(fixture->joins, ==, 0);
}

static void
test_leaves(Fixture *fixture, gconstpointer data)
{
    const AgentConfig *config = fixture->config;
    g_autoptr(GError) error = NULL;
    g_assert_false(leave_cluster(config, FALSE, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    JoinRequest request = request_of(fixture);
    g_autoptr(Joined) joined = join_as(fixture, &request, NULL);
    g_assert_nonnull(joined);

    fd_auto int lock = run_dir_lock(config, NULL);
    g_assert_false(leave_cluster(config, TRUE, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_clear_error(&error);
    fd_close_p(&lock);

    g_autofree char *folder = g_build_filename(config->run_dir, "migration", "x", NULL);
    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
    g_assert_false(leave_cluster(config, FALSE, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    g_assert_true(leave_cluster(config, FALSE, NULL));
    g_assert_null(joined_load(config->state_dir, NULL));
    g_assert_null(identity_load(config->identity_dir, NULL));
}

#define ADD(path, data, func) g_test_add("/host/join/" path, Fixture, data, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("joins", NULL, test_joins);
    ADD("already", NULL, test_joined_already);
    ADD("wrong-fingerprint", NULL, test_wrong_fingerprint);
    ADD("bad-manners", NULL, test_bad_manners);
    ADD("host-as-manager", "host", test_host_as_manager);
    ADD("bad-requests", NULL, test_bad_requests);
    ADD("leaves", NULL, test_leaves);
    return g_test_run();
}
