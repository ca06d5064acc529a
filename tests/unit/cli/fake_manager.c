/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_manager.h"

#include <glib/gstdio.h>
#include <string.h>

#include "base/json.h"
#include "schema/openapi.h"

#define UUID "0f0e0d0c-0b0a-4908-8706-050403020100"

typedef struct {
    char *json; /* NULL: refused */
    GError *refusal;
} Answer;

struct FakeManager {
    char *dir, *token, *url;
    Ca *ca;
    Identity *identity;
    Schema *schema;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    guint port;

    /* Owned by the thread. */
    HttpServer *server;
    GPtrArray *streams;

    GMutex lock;
    GCond changed;
    /* Under lock. */
    gboolean ready;
    guint streams_opened;
    GHashTable *answers; /* "operation" or "operation who" → Answer */
    GHashTable *calls;   /* operation → count */
    GHashTable *last;    /* operation → JSON text */
    char *greet_event, *greet_data;
};

static void
answer_free(gpointer data)
{
    Answer *answer = data;

    g_free(answer->json);
    g_clear_error(&answer->refusal);
    g_free(answer);
}

static char *
quotes(const char *json)
{
    return g_strdelimit(g_strdup(json), "'", '"');
}

/* ---- handlers (server's thread)
 * ------------------------------------------------------------------- */

static char *
params_text(GHashTable *params)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    GHashTableIter iter;
    gpointer name, value;

    g_hash_table_iter_init(&iter, params);
    while (g_hash_table_iter_next(&iter, &name, &value))
        json_object_set_string_member(object, name, value);
    json_node_take_object(node, object);
    return json_text(node, FALSE);
}

/* Answer for any value of the call's parameters or body members, else the operation's. */
static const Answer *
find_answer(FakeManager *fake, const HttpCall *call)
{
    GHashTableIter iter;
    gpointer key, value;
    const Answer *answer;

    g_hash_table_iter_init(&iter, fake->answers);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const char *who = strchr(key, ' ');
        gboolean same = who && strncmp(key, call->operation, who - (char *)key) == 0 &&
                        strlen(call->operation) == (gsize)(who - (char *)key);
        GHashTableIter params;
        gpointer param;

        if (!same)
            continue;
        g_hash_table_iter_init(&params, call->params);
        while (g_hash_table_iter_next(&params, NULL, &param)) {
            if (strcmp(param, who + 1) == 0)
                return value;
        }
        if (call->body && g_strcmp0(json_object_get_string_member_with_default(
                                        json_node_get_object(call->body), "vm", NULL),
                                    who + 1) == 0)
            return value;
    }
    answer = g_hash_table_lookup(fake->answers, call->operation);
    return answer;
}

static JsonNode *
run(HttpCall *call, gpointer service, GError **error)
{
    FakeManager *fake = service;
    const Answer *answer;
    JsonNode *node = NULL;

    g_mutex_lock(&fake->lock);
    g_hash_table_replace(
        fake->calls, g_strdup(call->operation),
        GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(fake->calls, call->operation)) + 1));
    g_hash_table_replace(fake->last, g_strdup(call->operation),
                         call->body ? json_text(call->body, FALSE) : params_text(call->params));
    answer = find_answer(fake, call);
    if (!answer)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "nothing of that name for %s",
                    call->operation);
    else if (answer->refusal)
        g_propagate_error(error, g_error_copy(answer->refusal));
    else if (*answer->json)
        node = json_parse_limited(answer->json, strlen(answer->json), error);
    g_mutex_unlock(&fake->lock);
    return node;
}

static void
stream_closed(HttpStream *stream, gpointer data)
{
    g_ptr_array_remove(((FakeManager *)data)->streams, stream);
}

static gboolean
stream(HttpCall *call, HttpStream *events, gpointer service, GError **error)
{
    FakeManager *fake = service;
    const Answer *answer;

    g_mutex_lock(&fake->lock);
    answer = g_hash_table_lookup(fake->answers, call->operation);
    if (answer && answer->refusal) {
        g_propagate_error(error, g_error_copy(answer->refusal));
        g_mutex_unlock(&fake->lock);
        return FALSE;
    }
    g_ptr_array_add(fake->streams, events);
    http_stream_on_closed(events, stream_closed, fake);
    if (fake->greet_event)
        http_stream_send(events, fake->greet_event, fake->greet_data);
    fake->streams_opened++;
    g_cond_broadcast(&fake->changed);
    g_mutex_unlock(&fake->lock);
    return TRUE;
}

static HttpRole
token_role(const char *token, gpointer service)
{
    return strcmp(token, ((FakeManager *)service)->token) == 0 ? HTTP_ADMIN : HTTP_ANYONE;
}

#define ROUTE(operation, roles)                                                                    \
    {                                                                                              \
        operation, roles, HTTP_MAIN, run, NULL                                                     \
    }
static const HttpRoute routes[] = {
    ROUTE("getHealth", HTTP_ANYONE),
    ROUTE("getVersion", HTTP_ANYONE),
    ROUTE("getCa", HTTP_ANYONE),
    ROUTE("joinHost", HTTP_ANYONE),
    ROUTE("listHosts", HTTP_ADMIN),
    ROUTE("createHostToken", HTTP_ADMIN),
    ROUTE("getHost", HTTP_ADMIN),
    ROUTE("removeHost", HTTP_ADMIN),
    ROUTE("clearRecall", HTTP_ADMIN),
    ROUTE("listVms", HTTP_ADMIN),
    ROUTE("getVm", HTTP_ADMIN),
    ROUTE("getVmXml", HTTP_ADMIN),
    ROUTE("listNetworks", HTTP_ADMIN),
    ROUTE("listDatastores", HTTP_ADMIN),
    ROUTE("createMigration", HTTP_ADMIN),
    ROUTE("listMigrations", HTTP_ADMIN),
    ROUTE("getMigration", HTTP_ADMIN),
    ROUTE("listTasks", HTTP_ADMIN),
    ROUTE("getTask", HTTP_ADMIN),
    ROUTE("cancelTask", HTTP_ADMIN),
    ROUTE("listAlarms", HTTP_ADMIN),
    ROUTE("acknowledgeAlarm", HTTP_ADMIN),
    ROUTE("createToken", HTTP_ADMIN),
    ROUTE("listTokens", HTTP_ADMIN),
    ROUTE("deleteToken", HTTP_ADMIN),
    { "streamEvents", HTTP_ADMIN, HTTP_STREAM, NULL, stream },
    { NULL },
};

/* ---- the thread
 * ----------------------------------------------------------------------------------- */

static gpointer
serve(gpointer data)
{
    FakeManager *fake = data;
    const char *const addresses[] = { "127.0.0.1", NULL };
    g_autoptr(GError) error = NULL;
    HttpServerConfig config = {
        .name = "fake",
        .identity = fake->identity,
        .addresses = addresses,
        .port = fake->port,
        .max_body_bytes = 65536,
        .threads = 1,
        .max_streams = 8,
        .schema = fake->schema,
        .routes = routes,
        .service = fake,
        .token_role = token_role,
    };

    g_main_context_push_thread_default(fake->context);
    fake->server = http_server_new(&config, &error);
    g_assert_no_error(error);
    fake->port = http_server_port(fake->server);
    g_mutex_lock(&fake->lock);
    fake->ready = TRUE;
    g_cond_broadcast(&fake->changed);
    g_mutex_unlock(&fake->lock);
    g_main_loop_run(fake->loop);
    http_server_free(fake->server);
    while (g_main_context_iteration(fake->context, FALSE))
        ;
    g_main_context_pop_thread_default(fake->context);
    return NULL;
}

void
fake_manager_start(FakeManager *fake)
{
    fake->ready = FALSE;
    fake->context = g_main_context_new();
    fake->loop = g_main_loop_new(fake->context, FALSE);
    fake->thread = g_thread_new("fake-manager", serve, fake);
    g_mutex_lock(&fake->lock);
    while (!fake->ready)
        g_cond_wait(&fake->changed, &fake->lock);
    g_mutex_unlock(&fake->lock);
}

static gboolean
quit(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_REMOVE;
}

void
fake_manager_stop(FakeManager *fake)
{
    g_autoptr(GSource) source = g_idle_source_new();

    /* By the loop itself: it may not have begun to run yet. */
    g_source_set_callback(source, quit, fake->loop, NULL);
    g_source_attach(source, fake->context);
    g_thread_join(fake->thread);
    fake->thread = NULL;
    g_main_loop_unref(fake->loop);
    g_main_context_unref(fake->context);
    g_ptr_array_set_size(fake->streams, 0);
}

/* A function in the server's thread, waited for. */
typedef struct {
    FakeManager *fake;
    const char *event;
    char *data;
    gboolean done;
} Errand;

static gboolean
run_errand(gpointer data)
{
    Errand *errand = data;
    GPtrArray *streams = errand->fake->streams;

    for (guint i = 0; i < streams->len; i++) {
        if (errand->event)
            http_stream_send(g_ptr_array_index(streams, i), errand->event, errand->data);
        else
            http_stream_close(g_ptr_array_index(streams, i));
    }
    if (!errand->event)
        g_ptr_array_set_size(streams, 0); /* who closes a stream doesn't touch it again */
    g_mutex_lock(&errand->fake->lock);
    errand->done = TRUE;
    g_cond_broadcast(&errand->fake->changed);
    g_mutex_unlock(&errand->fake->lock);
    return G_SOURCE_REMOVE;
}

static void
errand_do(FakeManager *fake, const char *event, const char *json)
{
    g_autofree char *data = json ? quotes(json) : NULL;
    Errand errand = { fake, event, data, FALSE };

    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_callback(source, run_errand, &errand, NULL);
    g_source_attach(source, fake->context);
    g_mutex_lock(&fake->lock);
    while (!errand.done)
        g_cond_wait(&fake->changed, &fake->lock);
    g_mutex_unlock(&fake->lock);
}

void
fake_manager_send(FakeManager *fake, const char *event, const char *json)
{
    errand_do(fake, event, json);
}

void
fake_manager_cut(FakeManager *fake)
{
    errand_do(fake, NULL, NULL);
}

void
fake_manager_wait_streams(FakeManager *fake, guint opened)
{
    g_mutex_lock(&fake->lock);
    while (fake->streams_opened < opened)
        g_cond_wait(&fake->changed, &fake->lock);
    g_mutex_unlock(&fake->lock);
}

/* ---- answers
 * -------------------------------------------------------------------------------------- */

static void
set_answer(FakeManager *fake, const char *operation, const char *who, const char *json,
           GError *refusal)
{
    Answer *answer = g_new0(Answer, 1);

    answer->json = json ? quotes(json) : NULL;
    answer->refusal = refusal;
    g_mutex_lock(&fake->lock);
    g_hash_table_replace(fake->answers,
                         who ? g_strdup_printf("%s %s", operation, who) : g_strdup(operation),
                         answer);
    g_mutex_unlock(&fake->lock);
}

void
fake_manager_answer(FakeManager *fake, const char *operation, const char *json)
{
    set_answer(fake, operation, NULL, json, NULL);
}

void
fake_manager_answer_for(FakeManager *fake, const char *operation, const char *who, const char *json)
{
    set_answer(fake, operation, who, json, NULL);
}

void
fake_manager_refuse(FakeManager *fake, const char *operation, const char *who, GodwitError code,
                    const char *message)
{
    set_answer(fake, operation, who, NULL, g_error_new_literal(GODWIT_ERROR, code, message));
}

void
fake_manager_greet(FakeManager *fake, const char *event, const char *json)
{
    g_mutex_lock(&fake->lock);
    g_free(fake->greet_event);
    g_free(fake->greet_data);
    fake->greet_event = g_strdup(event);
    fake->greet_data = json ? quotes(json) : NULL;
    g_mutex_unlock(&fake->lock);
}

guint
fake_manager_calls(FakeManager *fake, const char *operation)
{
    guint calls;

    g_mutex_lock(&fake->lock);
    calls = GPOINTER_TO_UINT(g_hash_table_lookup(fake->calls, operation));
    g_mutex_unlock(&fake->lock);
    return calls;
}

char *
fake_manager_last(FakeManager *fake, const char *operation)
{
    char *last;

    g_mutex_lock(&fake->lock);
    last = g_strdup(g_hash_table_lookup(fake->last, operation));
    g_mutex_unlock(&fake->lock);
    return last;
}

/* ---- making
 * --------------------------------------------------------------------------------------- */

static void
answer_ca(FakeManager *fake, const char *fingerprint)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    g_autofree char *text = NULL;

    json_object_set_string_member(object, "ca_pem", fake->ca->cert);
    json_object_set_string_member(object, "fingerprint", fingerprint);
    json_node_take_object(node, object);
    text = json_text(node, FALSE);
    fake_manager_answer(fake, "getCa", text);
}

static Identity *
make_identity(FakeManager *fake)
{
    Identity *identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;
    g_autoptr(GError) error = NULL;

    identity->name.role = IDENTITY_MANAGER;
    g_strlcpy(identity->name.uuid, UUID, sizeof identity->name.uuid);
    g_assert_true(identity_request(&identity->key, &request, &error));
    identity->cert = ca_sign(fake->ca, request, &identity->name, NULL, 90, &error);
    g_assert_no_error(error);
    identity->ca = g_strdup(fake->ca->cert);
    return identity;
}

FakeManager *
fake_manager_new(void)
{
    FakeManager *fake = g_new0(FakeManager, 1);
    g_autofree char *fingerprint = NULL, *ca_dir = NULL, *ca_file = NULL;
    g_autoptr(GError) error = NULL;

    g_mutex_init(&fake->lock);
    g_cond_init(&fake->changed);
    fake->answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, answer_free);
    fake->calls = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    fake->last = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    fake->streams = g_ptr_array_new();
    fake->dir = g_dir_make_tmp("godwit-cli-XXXXXX", &error);
    g_assert_no_error(error);
    ca_dir = g_build_filename(fake->dir, "ca", NULL);
    g_assert_cmpint(g_mkdir(ca_dir, 0700), ==, 0);
    fake->ca = ca_open(ca_dir, NULL, &error);
    g_assert_no_error(error);
    ca_file = g_build_filename(fake->dir, "ca.pem", NULL);
    g_assert_true(g_file_set_contents(ca_file, fake->ca->cert, -1, NULL));
    fingerprint = identity_fingerprint(fake->ca->cert, &error);
    fake->token = token_new("gwa_", fingerprint);
    fake->identity = make_identity(fake);
    fake->schema = schema_new(schema_openapi_json, schema_openapi_json_length, &error);
    g_assert_no_error(error);
    answer_ca(fake, fingerprint);
    fake_manager_answer(
        fake, "getHealth",
        "{'status': 'ok', 'database': 'ok', 'hosts_connected': 2, 'hosts_total': 2}");
    fake_manager_answer(fake, "getVersion",
                        "{'version': '" GODWIT_VERSION
                        "', 'api': 'v1', 'cluster': 'lab', 'uuid': '" UUID "'}");
    fake_manager_answer(
        fake, "listTokens",
        "{'tokens': [{'id': '0c1f5b1c7d116f0c', 'name': 'first admin', 'created_ms': 1000}]}");
    fake_manager_start(fake);
    fake->url = g_strdup_printf("https://127.0.0.1:%u", fake->port);
    return fake;
}

static void
remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    g_remove(path);
}

void
fake_manager_free(FakeManager *fake)
{
    if (fake->thread)
        fake_manager_stop(fake);
    remove_tree(fake->dir);
    g_ptr_array_unref(fake->streams);
    g_hash_table_unref(fake->answers);
    g_hash_table_unref(fake->calls);
    g_hash_table_unref(fake->last);
    schema_free(fake->schema);
    identity_free(fake->identity);
    ca_free(fake->ca);
    g_free(fake->greet_event);
    g_free(fake->greet_data);
    g_free(fake->dir);
    g_free(fake->token);
    g_free(fake->url);
    g_mutex_clear(&fake->lock);
    g_cond_clear(&fake->changed);
    g_free(fake);
}

const char *
fake_manager_url(const FakeManager *fake)
{
    return fake->url;
}

const char *
fake_manager_token(const FakeManager *fake)
{
    return fake->token;
}

const char *
fake_manager_ca(const FakeManager *fake)
{
    return fake->ca->cert;
}

const char *
fake_manager_dir(const FakeManager *fake)
{
    return fake->dir;
}
