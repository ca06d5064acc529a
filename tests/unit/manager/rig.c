/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define PATIENCE_S 30
#define TICK_MS 10

/* ---- waiting ------------------------------------------------------------------------ */

static gboolean
tick(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_CONTINUE;
}

void
rig_wait(RigCondition condition, gpointer data, const char *what)
{
    gint64 limit = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    gboolean due = FALSE;
    guint ticks = g_timeout_add(TICK_MS, tick, &due); /* conditions may lie outside of the loop */

    while (!condition(data)) {
        if (g_get_monotonic_time() > limit)
            g_error("waited %d s in vain for: %s", PATIENCE_S, what);
        due = FALSE;
        while (!due)
            g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(ticks);
}

/* ---- the process -------------------------------------------------------------------- */

static char *
file_of(const Rig *rig, const char *what)
{
    return g_strdup_printf("%s/%s-%u", rig->dir, what, rig->starts);
}

char *
rig_log(const Rig *rig)
{
    g_autofree char *path = file_of(rig, "log");
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static gboolean
answers(gpointer data)
{
    Rig *rig = data;
    g_autofree char *log = rig_log(rig);
    const char *at = strstr(log, "answers at ");
    const char *end = at ? strchr(at, '\n') : NULL;

    if (end == NULL)
        return FALSE;
    at += strlen("answers at ");
    g_free(rig->url);
    rig->url = g_strndup(at, (gsize)(end - at));
    return TRUE;
}

static void
take_token(Rig *rig)
{
    g_autofree char *path = file_of(rig, "out");
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    if (rig->token != NULL) { /* printed once, at the first start */
        g_assert_cmpstr(text, ==, "");
        return;
    }
    g_assert_true(g_str_has_prefix(text, "admin token: gwa_"));
    rig->token = g_strchomp(g_strdup(text + strlen("admin token: ")));
}

/* In the child: it doesn't outlive a test that fails. */
static void
die_with_parent(gpointer unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void
rig_start(Rig *rig)
{
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    g_autofree char *out = NULL, *log = NULL;
    g_autofree char *ca = g_build_filename(rig->data, "ca.pem", NULL);
    g_autoptr(GError) error = NULL;
    HttpClientConfig config = { .timeout_s = 40 };

    rig->starts++;
    out = file_of(rig, "out");
    log = file_of(rig, "log");
    g_subprocess_launcher_set_stdout_file_path(launcher, out);
    g_subprocess_launcher_set_stderr_file_path(launcher, log);
    g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
    rig->process = g_subprocess_launcher_spawn(launcher, &error, g_getenv("GODWIT_MANAGER"),
                                               "--config", rig->config, NULL);
    g_assert_no_error(error);
    rig_wait(answers, rig, "the manager's start");
    take_token(rig);
    if (rig->ca_pem == NULL)
        g_assert_true(g_file_get_contents(ca, &rig->ca_pem, NULL, NULL));
    config.base_url = rig->url;
    config.ca_pem = rig->ca_pem;
    config.token = rig->token;
    rig->client = http_client_new(&config, &error);
    g_assert_no_error(error);
}

static void
on_end(GObject *source, GAsyncResult *result, gpointer data)
{
    g_assert_true(g_subprocess_wait_finish(G_SUBPROCESS(source), result, NULL));
    *(gboolean *)data = TRUE;
}

static gboolean
is_true(gpointer data)
{
    return *(gboolean *)data;
}

int
rig_stop(Rig *rig, int signal_number)
{
    gboolean ended = FALSE;
    int status;

    g_subprocess_wait_async(rig->process, NULL, on_end, &ended);
    g_subprocess_send_signal(rig->process, signal_number);
    rig_wait(is_true, &ended, "the manager's end");
    status =
        g_subprocess_get_if_exited(rig->process) ? g_subprocess_get_exit_status(rig->process) : -1;
    g_clear_object(&rig->process);
    g_clear_pointer(&rig->client, http_client_free);
    return status;
}

Rig *
rig_new(void)
{
    Rig *rig = g_new0(Rig, 1);
    g_autofree char *text = NULL;

    rig->dir = g_dir_make_tmp("godwit-rig-XXXXXX", NULL);
    rig->data = g_build_filename(rig->dir, "data", NULL);
    rig->config = g_build_filename(rig->dir, "manager.conf", NULL);
    text = g_strdup_printf("[manager]\ndata_dir=%s\nname=rig\n"
                           "[http]\naddress=127.0.0.1\nport=0\nmax_body_bytes=64K\n"
                           "[log]\nlevel=debug\n",
                           rig->data);
    g_assert_true(g_file_set_contents(rig->config, text, -1, NULL));
    rig_start(rig);
    return rig;
}

void
rig_free(Rig *rig)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", rig->dir);

    if (rig->process != NULL)
        g_assert_cmpint(rig_stop(rig, SIGTERM), ==, 0);
    g_assert_cmpint(system(command), ==, 0);
    g_free(rig->url);
    g_free(rig->token);
    g_free(rig->ca_pem);
    g_free(rig->config);
    g_free(rig->data);
    g_free(rig->dir);
    g_free(rig);
}

/* ---- calls -------------------------------------------------------------------------- */

typedef struct {
    gboolean done;
    JsonNode *answer;
    GError *error;
} Call;

static void
on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *call = data;

    call->answer = http_client_call_finish(NULL, result, &call->error);
    call->done = TRUE;
}

JsonNode *
rig_call(Rig *rig, const char *method, const char *path, const char *body, GError **error)
{
    g_autofree char *whole = g_strconcat("/api/v1", path, NULL);
    g_autoptr(JsonNode) node = body ? json_parse_limited(body, strlen(body), NULL) : NULL;
    Call call = { 0 };

    g_assert_true(body == NULL || node != NULL);
    http_client_call_async(rig->client, method, whole, node, NULL, on_answer, &call);
    while (!call.done)
        g_main_context_iteration(NULL, TRUE);
    if (call.error != NULL)
        g_propagate_error(error, call.error);
    return call.answer;
}

JsonNode *
rig_get(Rig *rig, const char *path)
{
    g_autoptr(GError) error = NULL;
    JsonNode *node = rig_call(rig, "GET", path, NULL, &error);

    g_assert_no_error(error);
    return node;
}

void
rig_fails(Rig *rig, const char *method, const char *path, const char *body, GodwitError code,
          const char *contains)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = rig_call(rig, method, path, body, &error);

    g_assert_null(node);
    g_test_message("%s %s: %s: %s", method, path, godwit_error_nick(error), error->message);
    g_assert_error(error, GODWIT_ERROR, (gint)code);
    if (strstr(error->message, contains) == NULL)
        g_error("\"%s\" is not in \"%s\"", contains, error->message);
}

/* ---- joining ------------------------------------------------------------------------ */

char *
rig_join_token(Rig *rig, const char *body)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = rig_call(rig, "POST", "/hosts", body, &error);

    g_assert_no_error(error);
    g_assert_nonnull(strstr(json_at(node, "command"), json_at(node, "token")));
    return g_strdup(json_at(node, "token"));
}

char *
rig_join_body(const FakeAgent *agent, const char *token, const char *csr, char **key)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    g_autofree char *request = NULL;

    if (csr == NULL)
        g_assert_true(identity_request(key, &request, NULL));
    json_node_take_object(node, object);
    json_object_set_string_member(object, "token", token);
    json_object_set_string_member(object, "csr", csr ? csr : request);
    json_object_set_string_member(object, "uuid", agent->uuid);
    json_object_set_string_member(object, "name", agent->name);
    json_object_set_string_member(object, "control_address", "127.0.0.1");
    json_object_set_int_member(object, "control_port", agent->port);
    return json_text(node, FALSE);
}

void
rig_join(Rig *rig, FakeAgent *agent)
{
    g_autofree char *token = rig_join_token(rig, NULL);
    Identity *identity = g_new0(Identity, 1);
    g_autofree char *body = rig_join_body(agent, token, NULL, &identity->key);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = rig_call(rig, "POST", "/join", body, &error);

    g_assert_no_error(error);
    identity->cert = g_strdup(json_at(node, "cert_pem"));
    identity->ca = g_strdup(json_at(node, "ca_pem"));
    g_assert_true(identity_verify(identity->cert, rig->ca_pem, NULL));
    g_assert_true(identity_name_of(identity->cert, &identity->name, NULL));
    g_assert_cmpstr(identity->name.uuid, ==, agent->uuid);
    g_assert_cmpint(identity->name.role, ==, IDENTITY_HOST);
    identity_free(agent->identity);
    agent->identity = identity;
    fake_agent_start(agent);
}

/* ---- conditions --------------------------------------------------------------------- */

typedef struct {
    Rig *rig;
    const char *path, *member, *value;
    JsonNode *node;
} Watch;

static gboolean
has_value(gpointer data)
{
    Watch *watch = data;

    g_clear_pointer(&watch->node, json_node_unref);
    watch->node = rig_get(watch->rig, watch->path);
    return g_strcmp0(json_at(watch->node, watch->member), watch->value) == 0;
}

static JsonNode *
wait_for(Rig *rig, const char *path, const char *value)
{
    Watch watch = { .rig = rig, .path = path, .member = "state", .value = value };
    g_autofree char *what = g_strdup_printf("%s: %s", path, value);

    rig_wait(has_value, &watch, what);
    return watch.node;
}

void
rig_wait_host(Rig *rig, const char *host, const char *state)
{
    g_autofree char *path = g_strconcat("/hosts/", host, NULL);
    g_autoptr(JsonNode) node = wait_for(rig, path, state);

    g_assert_nonnull(node);
}

void
rig_join_both(Rig *rig, FakeAgent *h1, FakeAgent *h2)
{
    rig_join(rig, h1);
    rig_join(rig, h2);
    rig_wait_host(rig, "h1", "connected");
    rig_wait_host(rig, "h2", "connected");
}

JsonNode *
rig_wait_task(Rig *rig, const char *id, const char *state)
{
    g_autofree char *path = g_strconcat("/tasks/", id, NULL);

    return wait_for(rig, path, state);
}

static JsonNode *
node_at(JsonNode *node, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);

    for (gsize i = 0; names[i] != NULL && node != NULL; i++)
        node = JSON_NODE_HOLDS_OBJECT(node)
                   ? json_object_get_member(json_node_get_object(node), names[i])
                   : NULL;
    return node;
}

const char *
json_at(JsonNode *node, const char *path)
{
    JsonNode *found = node_at(node, path);

    return found != NULL ? json_node_get_string(found) : NULL;
}

gint64
json_int_at(JsonNode *node, const char *path)
{
    JsonNode *found = node_at(node, path);

    return found != NULL ? json_node_get_int(found) : 0;
}

guint
json_length_of(JsonNode *node, const char *member)
{
    return json_array_get_length(json_object_get_array_member(json_node_get_object(node), member));
}
