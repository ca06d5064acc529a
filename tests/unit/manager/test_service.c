/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole program over its API, with hosts whose agents are played: joining, migrating, restarts
 * at bad moments, and what bad input gets.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nouns.h"
#include "rig.h"

#define MIGRATE "{\"vm\":\"web\",\"to\":\"h2\"}"

typedef struct {
    Rig *rig;
    FakeAgent *h1, *h2;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->rig = rig_new();
    fixture->h1 = fake_agent_new(UUID_H1, "h1");
    fixture->h2 = fake_agent_new(UUID_H2, "h2");
    fake_agent_set_vm(fixture->h1, noun_vm(UUID_WEB, "web", VM_RUNNING));
    fake_agent_set_vm(fixture->h1, noun_vm(UUID_DB, "db", VM_SHUTOFF));
    rig_join_both(fixture->rig, fixture->h1, fixture->h2);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    if (g_test_failed()) {
        g_autofree char *log = rig_log(fixture->rig);

        g_test_message("%s", log);
    }
    fake_agent_free(fixture->h1);
    fake_agent_free(fixture->h2);
    rig_free(fixture->rig);
}

/** Asks for a migration of web to h2; (transfer full) the task's id. */
static char *
migrate(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) task = rig_call(fixture->rig, "POST", "/migrations", MIGRATE, &error);

    g_assert_no_error(error);
    return g_strdup(json_at(task, "id"));
}

static void
assert_web_is_on(Fixture *fixture, const char *host)
{
    g_autoptr(JsonNode) vm = rig_get(fixture->rig, "/vms/web");
    g_autoptr(JsonNode) vms = rig_get(fixture->rig, "/vms");

    g_assert_cmpstr(json_at(vm, "host_name"), ==, host);
    g_assert_cmpuint(json_length_of(vms, "vms"), ==, 2);
}

/* ---- coming into being -------------------------------------------------------------- */

static void
assert_nowhere(const char *folder, const char *secret)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *bytes = NULL;
        gsize length;

        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            assert_nowhere(path, secret);
            continue;
        }
        g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
        g_assert_null(memmem(bytes, length, secret, strlen(secret)));
    }
}

static void
test_secrets(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *join = rig_join_token(rig, "{\"valid_s\":60}");
    g_autofree char *log = NULL;
    GStatBuf info;

    assert_nowhere(rig->data, rig->token);
    assert_nowhere(rig->data, join);
    log = rig_log(rig);
    g_assert_null(strstr(log, rig->token));
    g_assert_null(strstr(log, join));
    g_assert_cmpint(g_stat(rig->data, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0700);
}

static void
test_second_manager(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) second =
        g_subprocess_new(G_SUBPROCESS_FLAGS_STDERR_PIPE, &error, g_getenv("GODWIT_MANAGER"),
                         "--config", fixture->rig->config, NULL);
    g_autofree char *text = NULL;

    g_assert_no_error(error);
    g_assert_true(g_subprocess_communicate_utf8(second, NULL, NULL, NULL, &text, &error));
    g_assert_cmpint(g_subprocess_get_exit_status(second), ==, 1);
    g_assert_nonnull(strstr(text, "another godwit-manager (process "));
}

/* ---- bad input ---------------------------------------------------------------------- */

static void
test_bad_input(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *method, *path, *body;
        GodwitError code;
        const char *contains;
    } rows[] = {
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":7}", GODWIT_ERROR_INVALID, "to: " },
        { "POST", "/migrations", "{\"vm\":\"web\"}", GODWIT_ERROR_INVALID, "to: required" },
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h2\",\"force\":true}",
          GODWIT_ERROR_INVALID, "force" },
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h2\",\"policy\":\"bold\"}",
          GODWIT_ERROR_INVALID, "policy" },
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h2\",\"max_bps\":124999}",
          GODWIT_ERROR_INVALID, "max_bps" },
        { "POST", "/migrations", "[]", GODWIT_ERROR_INVALID, "object" },
        { "POST", "/migrations", "{\"vm\":\"\",\"to\":\"h2\"}", GODWIT_ERROR_INVALID, "vm: " },
        { "POST", "/migrations", "{\"vm\":\"nope\",\"to\":\"h2\"}", GODWIT_ERROR_NOT_FOUND,
          "nope" },
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h9\"}", GODWIT_ERROR_NOT_FOUND, "h9" },
        { "POST", "/migrations", "{\"vm\":\"db\",\"to\":\"h2\"}", GODWIT_ERROR_REFUSED, "shutoff" },
        { "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h1\"}", GODWIT_ERROR_REFUSED,
          "already" },
        { "GET", "/vms/nope", NULL, GODWIT_ERROR_NOT_FOUND, "nope" },
        { "GET", "/vms?host=h9", NULL, GODWIT_ERROR_NOT_FOUND, "h9" },
        { "GET", "/vms?colour=red", NULL, GODWIT_ERROR_INVALID, "colour" },
        { "GET", "/hosts/h9", NULL, GODWIT_ERROR_NOT_FOUND, "h9" },
        { "GET", "/tasks?limit=many", NULL, GODWIT_ERROR_INVALID, "limit" },
        { "GET", "/tasks?limit=0", NULL, GODWIT_ERROR_INVALID, "limit" },
        { "GET", "/tasks?state=done", NULL, GODWIT_ERROR_INVALID, "state" },
        { "GET", "/tasks/12", NULL, GODWIT_ERROR_INVALID, "task" },
        { "GET", "/tasks/00000000", NULL, GODWIT_ERROR_NOT_FOUND, "00000000" },
        { "POST", "/tasks/00000000/cancel", NULL, GODWIT_ERROR_NOT_FOUND, "00000000" },
        { "GET", "/migrations/00000000", NULL, GODWIT_ERROR_NOT_FOUND, "00000000" },
        { "GET", "/events?task=00000000", NULL, GODWIT_ERROR_NOT_FOUND, "00000000" },
        { "POST", "/alarms/none/acknowledge", NULL, GODWIT_ERROR_NOT_FOUND, "none" },
        { "DELETE", "/hosts/h1", NULL, GODWIT_ERROR_CONFLICT, "1 VM runs" },
        { "DELETE", "/tokens/0123456789abcdef", NULL, GODWIT_ERROR_NOT_FOUND, "0123456789abcdef" },
        { "POST", "/hosts", "{\"valid_s\":0}", GODWIT_ERROR_INVALID, "valid_s" },
        { "PUT", "/hosts", NULL, GODWIT_ERROR_UNSUPPORTED, "GET" },
        { "GET", "/nothing", NULL, GODWIT_ERROR_NOT_FOUND, "nothing" },
    };
    g_autofree char *huge = g_strnfill(100000, 'x');
    g_autofree char *body = g_strdup_printf("{\"vm\":\"%s\",\"to\":\"h2\"}", huge);

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        rig_fails(fixture->rig, rows[i].method, rows[i].path, rows[i].body, rows[i].code,
                  rows[i].contains);
    rig_fails(fixture->rig, "POST", "/migrations", body, GODWIT_ERROR_TOO_LARGE, "");
    g_assert_cmpuint(fixture->h1->starts, ==, 0);
    assert_web_is_on(fixture, "h1");
}

static void
test_authorization(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    const char *const tokens[] = { NULL, "gwa_nonsense", rig->token };
    HttpClient *good = rig->client;

    for (gsize i = 0; i < 2; i++) {
        HttpClientConfig config = { .base_url = rig->url,
                                    .ca_pem = rig->ca_pem,
                                    .token = tokens[i] };
        g_autoptr(JsonNode) health = NULL, ca = NULL;
        g_autofree char *fingerprint = NULL;

        rig->client = http_client_new(&config, NULL);
        rig_fails(rig, "GET", "/hosts", NULL, GODWIT_ERROR_UNAUTHORIZED, "");
        rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_UNAUTHORIZED, "");
        rig_fails(rig, "GET", "/events", NULL, GODWIT_ERROR_UNAUTHORIZED, "");
        health = rig_get(rig, "/healthz");
        g_assert_cmpstr(json_at(health, "status"), ==, "ok");
        g_assert_cmpint(json_int_at(health, "hosts_connected"), ==, 2);
        ca = rig_get(rig, "/ca");
        fingerprint = g_strndup(json_at(ca, "fingerprint"), 32);
        g_assert_nonnull(strstr(rig->token, fingerprint));
        http_client_free(rig->client);
    }
    rig->client = good;
}

/* A cap reaches the source host, whose report tells it. */
static void
test_cap(Fixture *fixture, gconstpointer unused)
{
    static const char *const order = "{\"vm\":\"web\",\"to\":\"h2\",\"max_bps\":125000}";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) task = rig_call(fixture->rig, "POST", "/migrations", order, &error);
    g_autofree char *path = NULL;
    g_autoptr(JsonNode) report = NULL;

    g_assert_no_error(error);
    path = g_strconcat("/migrations/", json_at(task, "id"), NULL);
    report = rig_get(fixture->rig, path);
    g_assert_cmpint(json_int_at(report, "started_ms"), >, 0); /* the host's own word */
    g_assert_cmpint(json_int_at(report, "max_bps"), ==, 125000);
}

static void
test_tokens(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    HttpClient *first = rig->client;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) made = rig_call(rig, "POST", "/tokens", "{\"name\":\"cli\"}", &error);
    HttpClientConfig config = { .base_url = rig->url,
                                .ca_pem = rig->ca_pem,
                                .token = json_at(made, "token") };
    g_autoptr(JsonNode) list = NULL, hosts = NULL, gone = NULL;
    g_autofree char *path = g_strconcat("/tokens/", json_at(made, "id"), NULL);

    g_assert_no_error(error);
    list = rig_get(rig, "/tokens");
    g_assert_cmpuint(json_length_of(list, "tokens"), ==, 2);
    rig->client = http_client_new(&config, NULL);
    hosts = rig_get(rig, "/hosts");
    g_assert_cmpuint(json_length_of(hosts, "hosts"), ==, 2);
    gone = rig_call(rig, "DELETE", path, NULL, &error);
    g_assert_no_error(error);
    rig_fails(rig, "GET", "/hosts", NULL, GODWIT_ERROR_UNAUTHORIZED, "");
    http_client_free(rig->client);
    rig->client = first;
}

/* ---- joining ------------------------------------------------------------------------ */

typedef struct {
    Rig *rig;
    const char *body;
} Try;

/* The request is not a good one, so the token isn't used up while it is still good. */
static gboolean
has_expired(gpointer data)
{
    const Try *try = data;
    g_autoptr(GError) error = NULL;

    g_assert_null(rig_call(try->rig, "POST", "/join", try->body, &error));
    return g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_EXPIRED);
}

static void
test_join(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    FakeAgent *h3 = fake_agent_new(UUID_H3, "h3");
    FakeAgent *other = fake_agent_new(UUID_DB, "h1"); /* the name of another */
    g_autofree char *token = rig_join_token(rig, NULL);
    g_autofree char *short_token = rig_join_token(rig, "{\"valid_s\":1}");
    g_autofree char *key = NULL, *key2 = NULL, *key3 = NULL;
    g_autofree char *body = rig_join_body(h3, token, NULL, &key);
    g_autofree char *again = rig_join_body(h3, token, NULL, &key2);
    g_autofree char *twin = rig_join_body(other, token, NULL, &key3);
    g_autofree char *garbage = rig_join_body(h3, token, "no request", NULL);
    g_autofree char *late = rig_join_body(h3, short_token, "no request", NULL);
    g_autofree char *admin = rig_join_body(h3, rig->token, "x", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = NULL, host = NULL;
    Try try = { rig, late };

    rig_fails(rig, "POST", "/join", admin, GODWIT_ERROR_INVALID, "token");
    rig_fails(rig, "POST", "/join", garbage, GODWIT_ERROR_INVALID, "csr");
    rig_fails(rig, "POST", "/join", twin, GODWIT_ERROR_CONFLICT, "is named h1");
    node = rig_call(rig, "POST", "/join", body, &error); /* nothing has used the token up */
    g_assert_no_error(error);
    g_assert_cmpstr(json_at(node, "cluster"), ==, "rig");
    rig_fails(rig, "POST", "/join", again, GODWIT_ERROR_EXPIRED, "used already, by host h3");
    rig_wait(has_expired, &try, "the token's end");
    /* godwitd isn't running there. */
    rig_wait_host(rig, "h3", "disconnected");
    host = rig_get(rig, "/hosts/h3");
    g_assert_nonnull(strstr(json_at(host, "state_reason"), "is godwitd running there?"));
    fake_agent_free(h3);
    fake_agent_free(other);
}

/** A certificate for h2 of another cluster's CA. */
static Identity *
foreign_identity(const char *dir, const char *uuid)
{
    g_autoptr(Ca) ca = ca_open(dir, NULL, NULL);
    Identity *identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;

    identity->name.role = IDENTITY_HOST;
    g_strlcpy(identity->name.uuid, uuid, sizeof(identity->name.uuid));
    g_assert_true(identity_request(&identity->key, &request, NULL));
    identity->cert = ca_sign(ca, request, &identity->name, NULL, 30, NULL);
    identity->ca = g_strdup(ca->cert);
    return identity;
}

static gboolean
is_refused(gpointer data)
{
    g_autoptr(JsonNode) host = rig_get(((Fixture *)data)->rig, "/hosts/h2");
    const char *reason = json_at(host, "state_reason");

    return reason != NULL && strstr(reason, "certificate refused at 127.0.0.1:") != NULL;
}

static void
test_foreign_certificates(Fixture *fixture, gconstpointer unused)
{
    FakeAgent *h2 = fixture->h2;
    Identity *own = h2->identity;
    g_autofree char *dir = g_build_filename(fixture->rig->dir, "foreign", NULL);

    /* Of another CA; it would trust ours only if it were asked, so the refusal is the manager's. */
    fake_agent_stop(h2);
    h2->identity = foreign_identity(dir, UUID_H2);
    fake_agent_start(h2);
    rig_wait(is_refused, fixture, "the refusal of a foreign certificate");
    rig_fails(fixture->rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_REFUSED,
              "host h2 is disconnected: certificate refused");
    fake_agent_stop(h2);
    identity_free(h2->identity);
    h2->identity = own;
    fake_agent_start(h2);
    rig_wait_host(fixture->rig, "h2", "connected");
    /* Of our CA, but of another host. */
    fake_agent_stop(h2);
    h2->identity = fixture->h1->identity;
    fake_agent_start(h2);
    rig_wait(is_refused, fixture, "the refusal of another host's certificate");
    h2->identity = own;
}

static void
test_remove_host(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = NULL, hosts = NULL, vms = NULL;

    node = rig_call(rig, "DELETE", "/hosts/h1?force=true", NULL, &error);
    g_assert_no_error(error);
    hosts = rig_get(rig, "/hosts");
    g_assert_cmpuint(json_length_of(hosts, "hosts"), ==, 1);
    vms = rig_get(rig, "/vms");
    g_assert_cmpuint(json_length_of(vms, "vms"), ==, 0);
    g_assert_cmpint(rig_stop(rig, SIGTERM), ==, 0);
    rig_start(rig);
    rig_fails(rig, "GET", "/hosts/h1", NULL, GODWIT_ERROR_NOT_FOUND, "there are h2");
}

/* ---- migrating ---------------------------------------------------------------------- */

typedef struct {
    GPtrArray *tasks; /* owned JsonNode of `task` events */
    guint vms;
    gboolean closed;
} Feed;

static void
on_feed(const char *event, const char *id, const char *text, gpointer data)
{
    Feed *feed = data;

    if (strcmp(event, "task") == 0)
        g_ptr_array_add(feed->tasks, json_parse_limited(text, strlen(text), NULL));
    else
        feed->vms++;
}

static void
on_feed_closed(const GError *error, gpointer data)
{
    ((Feed *)data)->closed = TRUE;
}

static gboolean
has_closed(gpointer data)
{
    return ((Feed *)data)->closed;
}

static gboolean
has_ended(gpointer data)
{
    const Feed *feed = data;

    return feed->tasks->len > 0 &&
           g_strcmp0(json_at(feed->tasks->pdata[feed->tasks->len - 1], "state"), "succeeded") == 0;
}

static gboolean
has_begun(gpointer data)
{
    return ((Feed *)data)->tasks->len > 0;
}

static void
test_migrate(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);
    g_autofree char *path = g_strconcat("/api/v1/events?task=", id, NULL);
    g_autoptr(GCancellable) stop = g_cancellable_new();
    Feed feed = { .tasks = g_ptr_array_new_with_free_func((GDestroyNotify)json_node_unref) };
    g_autoptr(JsonNode) migrations = NULL, again = NULL;

    http_client_stream(rig->client, path, 40, on_feed, on_feed_closed, &feed, stop);
    rig_wait(has_begun, &feed, "the task's present state");
    g_assert_cmpstr(json_at(feed.tasks->pdata[0], "state"), ==, "queued");
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_CONFLICT, "migrated already");
    rig_fails(rig, "DELETE", "/hosts/h1?force=true", NULL, GODWIT_ERROR_CONFLICT, "takes part");
    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    fake_agent_set_vm(fixture->h2, noun_vm(UUID_WEB, "web", VM_PAUSED));
    json_node_unref(rig_wait_task(rig, id, "running"));
    assert_web_is_on(fixture, "h1");
    fake_agent_move(fixture->h1, id, MIGRATION_COMPLETED, NULL);
    rig_wait(has_ended, &feed, "the task's end");
    g_assert_cmpint(json_int_at(feed.tasks->pdata[feed.tasks->len - 1], "migration.wire_bytes"), ==,
                    3000);
    assert_web_is_on(fixture, "h2"); /* though neither host has told its own part yet */
    fake_agent_drop_vm(fixture->h1, UUID_WEB);
    fake_agent_set_vm(fixture->h2, noun_vm(UUID_WEB, "web", VM_RUNNING));
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_REFUSED, "already");
    g_assert_cmpuint(feed.vms, ==, 0); /* only that task's events */
    g_cancellable_cancel(stop);
    rig_wait(has_closed, &feed, "the stream's end");
    g_assert_cmpint(rig_stop(rig, SIGTERM), ==, 0);
    rig_start(rig);
    rig_wait_host(rig, "h2", "connected");
    assert_web_is_on(fixture, "h2");
    migrations = rig_get(rig, "/migrations?vm=web");
    g_assert_cmpuint(json_length_of(migrations, "migrations"), ==, 1);
    again = rig_wait_task(rig, id, "succeeded");
    g_assert_cmpint(json_int_at(again, "migration.wire_bytes"), ==, 3000);
    g_ptr_array_unref(feed.tasks);
}

static void
test_refused_by_its_host(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(JsonNode) tasks = NULL;

    fixture->h1->mode = AGENT_REFUSES;
    rig_fails(fixture->rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_REFUSED,
              "too many at once");
    tasks = rig_get(fixture->rig, "/tasks?state=failed");
    g_assert_cmpuint(json_length_of(tasks, "tasks"), ==, 1);
}

/* No answer to the start: what the question after it says counts. */
static void
test_start_without_answer(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = NULL;
    g_autoptr(JsonNode) tasks = NULL;

    fixture->h1->mode = AGENT_NEVER_GOT;
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_UNREACHABLE, "nothing was started");
    tasks = rig_get(rig, "/tasks?state=failed");
    g_assert_cmpuint(json_length_of(tasks, "tasks"), ==, 1);
    fixture->h1->mode = AGENT_LOST_WORD;
    id = migrate(fixture);
    fake_agent_move(fixture->h1, id, MIGRATION_COMPLETED, NULL);
    json_node_unref(rig_wait_task(rig, id, "succeeded"));
}

/* Not even that is answered: the task waits, and is settled when the host is heard again. */
static void
test_start_stays_open(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autoptr(JsonNode) tasks = NULL;
    g_autoptr(GList) ids = NULL;

    fixture->h1->mode = AGENT_SILENT;
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_UNREACHABLE, "stays queued");
    tasks = rig_get(rig, "/tasks?state=queued");
    g_assert_cmpuint(json_length_of(tasks, "tasks"), ==, 1);
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_CONFLICT, "queued");
    fake_agent_stop(fixture->h1);
    fixture->h1->mode = AGENT_ACCEPTS;
    ids = g_hash_table_get_keys(fixture->h1->migrations);
    ((Migration *)g_hash_table_lookup(fixture->h1->migrations, ids->data))->result =
        MIGRATION_RUNNING;
    fake_agent_start(fixture->h1);
    json_node_unref(rig_wait_task(rig, ids->data, "running"));
}

/* ---- restarts at bad moments -------------------------------------------------------- */

static void
test_killed_in_the_middle(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);
    g_autoptr(JsonNode) task = NULL;

    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    json_node_unref(rig_wait_task(rig, id, "running"));
    g_assert_cmpint(rig_stop(rig, SIGKILL), ==, -1);
    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "switch"); /* nobody hears it */
    rig_start(rig);
    task = rig_wait_task(rig, id, "running");
    rig_wait_host(rig, "h1", "connected");
    rig_wait_host(rig, "h2", "connected");
    fake_agent_move(fixture->h1, id, MIGRATION_COMPLETED, NULL);
    json_node_unref(rig_wait_task(rig, id, "succeeded"));
    assert_web_is_on(fixture, "h2");
}

static void
test_ended_while_down(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);

    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    json_node_unref(rig_wait_task(rig, id, "running"));
    g_assert_cmpint(rig_stop(rig, SIGKILL), ==, -1);
    fake_agent_move(fixture->h1, id, MIGRATION_FAILED, "copy");
    rig_start(rig);
    json_node_unref(rig_wait_task(rig, id, "failed"));
    assert_web_is_on(fixture, "h1");
}

typedef struct {
    gboolean done;
    GError *error;
} Pending;

static void
on_pending(GObject *source, GAsyncResult *result, gpointer data)
{
    Pending *pending = data;
    g_autoptr(JsonNode) node = http_client_call_finish(NULL, result, &pending->error);

    g_assert_null(node);
    pending->done = TRUE;
}

static gboolean
is_done(gpointer data)
{
    return ((Pending *)data)->done;
}

static gboolean
hangs(gpointer data)
{
    FakeAgent *agent = data;
    gboolean hanging;

    g_mutex_lock(&agent->lock);
    hanging = agent->hanging > 0;
    g_mutex_unlock(&agent->lock);
    return hanging;
}

/** The start is asked for and not answered. */
static void
begin_pending(Fixture *fixture, Pending *pending)
{
    g_autoptr(JsonNode) body = json_parse_limited(MIGRATE, strlen(MIGRATE), NULL);

    fixture->h1->mode = AGENT_HANGS;
    http_client_call_async(fixture->rig->client, "POST", "/api/v1/migrations", body, NULL,
                           on_pending, pending);
    rig_wait(hangs, fixture->h1, "the start");
}

/* Killed between storing the task and its host's word: the host never got it. */
static void
test_killed_while_queued(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    Pending pending = { 0 };
    g_autoptr(JsonNode) tasks = NULL, task = NULL;
    g_autofree char *id = NULL;

    begin_pending(fixture, &pending);
    tasks = rig_get(rig, "/tasks?state=queued");
    g_assert_cmpuint(json_length_of(tasks, "tasks"), ==, 1);
    id =
        g_strdup(json_at(json_array_get_element(
                             json_object_get_array_member(json_node_get_object(tasks), "tasks"), 0),
                         "id"));
    g_assert_cmpint(rig_stop(rig, SIGKILL), ==, -1);
    rig_wait(is_done, &pending, "the client's error");
    g_assert_error(pending.error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_error_free(pending.error);
    fake_agent_stop(fixture->h1);
    fake_agent_start(fixture->h1);
    rig_start(rig);
    task = rig_wait_task(rig, id, "failed");
    g_assert_nonnull(strstr(json_at(task, "error.message"), "never started"));
    fixture->h1->mode = AGENT_ACCEPTS;
    rig_wait_host(rig, "h2", "connected");
    g_free(migrate(fixture));
}

/* Asked to end while a request waits for a host: it ends at once, and the client is told. */
static void
test_ends_while_waiting(Fixture *fixture, gconstpointer unused)
{
    Pending pending = { 0 };

    begin_pending(fixture, &pending);
    g_assert_cmpint(rig_stop(fixture->rig, SIGTERM), ==, 0);
    rig_wait(is_done, &pending, "the client's error");
    g_assert_error(pending.error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_error_free(pending.error);
    fake_agent_stop(fixture->h1);
}

static void
test_lost_by_its_host(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);
    g_autoptr(JsonNode) task = NULL, alarms = NULL, health = NULL;

    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    json_node_unref(rig_wait_task(rig, id, "running"));
    fake_agent_stop(fixture->h1);
    g_hash_table_remove_all(fixture->h1->migrations);
    fake_agent_start(fixture->h1);
    task = rig_wait_task(rig, id, "failed");
    g_assert_cmpstr(json_at(task, "error.code"), ==, "unsettled");
    g_assert_cmpstr(json_at(task, "migration.result"), ==, "unsettled");
    alarms = rig_get(rig, "/alarms");
    g_assert_cmpuint(json_length_of(alarms, "alarms"), ==, 1);
    health = rig_get(rig, "/healthz");
    g_assert_cmpstr(json_at(health, "status"), ==, "degraded");
}

/* ---- cancelling --------------------------------------------------------------------- */

static void
test_cancel(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);
    g_autofree char *path = g_strdup_printf("/tasks/%.8s/cancel", id);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) task = NULL;

    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "switch");
    json_node_unref(rig_wait_task(rig, id, "running"));
    fixture->h1->past_return = TRUE;
    rig_fails(rig, "POST", path, NULL, GODWIT_ERROR_CONFLICT, "point of no return");
    fixture->h1->past_return = FALSE;
    task = rig_call(rig, "POST", path, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(json_object_get_boolean_member(json_node_get_object(task), "cancel_requested"));
    g_assert_cmpuint(fixture->h1->cancels, ==, 2);
    fake_agent_move(fixture->h1, id, MIGRATION_CANCELLED, NULL);
    json_node_unref(rig_wait_task(rig, id, "cancelled"));
    rig_fails(rig, "POST", path, NULL, GODWIT_ERROR_CONFLICT, "ended already: cancelled");
}

static gboolean
was_cancelled(gpointer data)
{
    return ((FakeAgent *)data)->cancels > 0;
}

/* Its host isn't there: the wish is kept, over a restart too, and sent when it is back. */
static void
test_cancel_later(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *id = migrate(fixture);
    g_autofree char *path = g_strdup_printf("/tasks/%s/cancel", id);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) task = NULL;

    fake_agent_stop(fixture->h1);
    rig_wait_host(rig, "h1", "disconnected");
    task = rig_call(rig, "POST", path, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(fixture->h1->cancels, ==, 0);
    g_assert_cmpint(rig_stop(rig, SIGKILL), ==, -1);
    rig_start(rig);
    fake_agent_start(fixture->h1);
    rig_wait(was_cancelled, fixture->h1, "the wish at its host");
}

/* ---- the rest ----------------------------------------------------------------------- */

static gboolean
has_alarm(gpointer data)
{
    g_autoptr(JsonNode) alarms = rig_get(data, "/alarms");

    return json_length_of(alarms, "alarms") == 1;
}

static void
test_alarms(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    Alarm *alarm = record_new(&alarm_record_type);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) read = NULL, left = NULL;

    alarm->id = g_strdup("stuck-1");
    alarm->message = g_strdup("look at web");
    g_ptr_array_add(fixture->h2->alarms, alarm);
    text = record_to_string(&alarm_record_type, alarm);
    fake_agent_tell(fixture->h2, "alarm", text);
    rig_wait(has_alarm, rig, "the alarm");
    read = rig_call(rig, "POST", "/alarms/stuck-1/acknowledge", NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_at(read, "host"), ==, "h2");
    /* Told again at the next connection: it doesn't come back. */
    fake_agent_stop(fixture->h2);
    rig_wait_host(rig, "h2", "disconnected");
    fake_agent_start(fixture->h2);
    rig_wait_host(rig, "h2", "connected");
    left = rig_get(rig, "/alarms");
    g_assert_cmpuint(json_length_of(left, "alarms"), ==, 0);
}

static gboolean
is_not_understood(gpointer data)
{
    g_autoptr(JsonNode) host = rig_get(data, "/hosts/h2");
    const char *reason = json_at(host, "state_reason");

    return reason != NULL && strstr(reason, "can't be understood") != NULL;
}

static void
test_agent_talks_nonsense(Fixture *fixture, gconstpointer unused)
{
    fake_agent_tell(fixture->h2, "new-in-version-9", "{}");
    rig_wait_host(fixture->rig, "h2", "connected");
    fake_agent_tell(fixture->h2, "vm", "{\"uuid\":7}");
    rig_wait(is_not_understood, fixture->rig, "the line to be cut");
    rig_wait_host(fixture->rig, "h2", "connected"); /* tried again */
}

static void
test_inventory(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autoptr(JsonNode) networks = rig_get(rig, "/networks");
    g_autoptr(JsonNode) stores = rig_get(rig, "/datastores");
    g_autoptr(JsonNode) on_h1 = rig_get(rig, "/vms?host=h1");
    g_autoptr(JsonNode) on_h2 = rig_get(rig, "/vms?host=" UUID_H2);
    g_autoptr(JsonNode) xml = rig_get(rig, "/vms/web/xml");
    g_autoptr(JsonNode) version = rig_get(rig, "/version");

    g_assert_cmpuint(json_length_of(networks, "networks"), ==, 2);
    g_assert_cmpuint(json_length_of(stores, "datastores"), ==, 0);
    g_assert_cmpuint(json_length_of(on_h1, "vms"), ==, 2);
    g_assert_cmpuint(json_length_of(on_h2, "vms"), ==, 0);
    g_assert_cmpstr(json_at(xml, "xml"), ==, "<domain>" UUID_WEB "</domain>");
    g_assert_cmpstr(json_at(version, "cluster"), ==, "rig");
    fake_agent_stop(fixture->h1);
    rig_wait_host(rig, "h1", "disconnected");
    rig_fails(rig, "GET", "/vms/web/xml", NULL, GODWIT_ERROR_UNREACHABLE, "h1");
    rig_fails(rig, "POST", "/migrations", MIGRATE, GODWIT_ERROR_UNREACHABLE, "h1");
}

/* ---- what it costs (only with -m perf) ------------------------------------------------ */

#define IDLE_S 20

typedef struct {
    glong rss_kb;
    double cpu_s;
} Cost;

static Cost
cost_of(const Rig *rig)
{
    const char *pid = g_subprocess_get_identifier(rig->process);
    g_autofree char *status_path = g_strdup_printf("/proc/%s/status", pid);
    g_autofree char *stat_path = g_strdup_printf("/proc/%s/stat", pid);
    g_autofree char *status = NULL, *stat = NULL;
    unsigned long user, system;
    Cost cost;

    g_assert_true(g_file_get_contents(status_path, &status, NULL, NULL));
    g_assert_true(g_file_get_contents(stat_path, &stat, NULL, NULL));
    cost.rss_kb = strtol(strstr(status, "VmRSS:") + strlen("VmRSS:"), NULL, 10);
    g_assert_cmpint(sscanf(strrchr(stat, ')'),
                           ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system),
                    ==, 2);
    cost.cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return cost;
}

static gboolean
is_later(gpointer data)
{
    return g_get_monotonic_time() > *(gint64 *)data;
}

static void
idle_for(const char *what, const Rig *rig)
{
    Cost before = cost_of(rig), after;
    gint64 end = g_get_monotonic_time() + IDLE_S * G_USEC_PER_SEC;

    rig_wait(is_later, &end, "time to pass");
    after = cost_of(rig);
    g_test_minimized_result((double)after.rss_kb, "%s: resident %ld KiB, CPU %.2f %% over %d s",
                            what, after.rss_kb, 100 * (after.cpu_s - before.cpu_s) / IDLE_S,
                            IDLE_S);
}

static gboolean
all_connected(gpointer data)
{
    g_autoptr(JsonNode) health = rig_get(data, "/healthz");

    return json_int_at(health, "hosts_connected") == json_int_at(health, "hosts_total");
}

static void
test_cost(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autoptr(GPtrArray) agents = g_ptr_array_new_with_free_func((GDestroyNotify)fake_agent_free);

    idle_for("2 hosts, 2 VMs", rig);
    for (int i = 0; i < 100; i++) {
        g_autofree char *uuid = g_uuid_string_random();
        g_autofree char *name = g_strdup_printf("host%d", i);
        FakeAgent *agent = fake_agent_new(uuid, name);

        for (int v = 0; v < 50; v++) {
            g_autofree char *vm_uuid = g_uuid_string_random();
            g_autofree char *vm_name = g_strdup_printf("vm%d-%d", i, v);

            fake_agent_set_vm(agent, noun_vm(vm_uuid, vm_name, VM_RUNNING));
        }
        rig_join(rig, agent);
        g_ptr_array_add(agents, agent);
    }
    rig_wait(all_connected, rig, "all hosts to be connected");
    idle_for("102 hosts, 5002 VMs", rig);
}

#define ADD(name, func) g_test_add("/service/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("secrets", test_secrets);
    ADD("second-manager", test_second_manager);
    ADD("bad-input", test_bad_input);
    ADD("authorization", test_authorization);
    ADD("cap", test_cap);
    ADD("tokens", test_tokens);
    ADD("join", test_join);
    ADD("foreign-certificates", test_foreign_certificates);
    ADD("remove-host", test_remove_host);
    ADD("migrate", test_migrate);
    ADD("refused-by-its-host", test_refused_by_its_host);
    ADD("start-without-answer", test_start_without_answer);
    ADD("start-stays-open", test_start_stays_open);
    ADD("killed-in-the-middle", test_killed_in_the_middle);
    ADD("ended-while-down", test_ended_while_down);
    ADD("killed-while-queued", test_killed_while_queued);
    ADD("ends-while-waiting", test_ends_while_waiting);
    ADD("lost-by-its-host", test_lost_by_its_host);
    ADD("cancel", test_cancel);
    ADD("cancel-later", test_cancel_later);
    ADD("alarms", test_alarms);
    ADD("agent-talks-nonsense", test_agent_talks_nonsense);
    ADD("inventory", test_inventory);
    if (g_test_perf())
        ADD("cost", test_cost);
    return g_test_run();
}
