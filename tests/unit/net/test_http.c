/* SPDX-License-Identifier: Apache-2.0 */

/* Client and server over loopback with real TLS. The client runs in the test's thread, the server
 * in its own. */

#include <string.h>
#include "base/json.h"
#include "net/http_client.h"
#include "service.h"

typedef struct {
    Pki *pki;
    Service *service;
    char *url;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Service with = { .client_certificates = GPOINTER_TO_INT(data) };

    fixture->pki = pki_new();
    fixture->service = service_new(fixture->pki, &with, &error);
    g_assert_no_error(error);
    fixture->url = service_url(fixture->service);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    service_free(fixture->service);
    pki_free(fixture->pki);
    g_free(fixture->url);
}

static HttpClient *
client_with(Fixture *fixture, HttpClientConfig config)
{
    g_autoptr(GError) error = NULL;

    config.base_url = fixture->url;
    if (!config.ca_pem)
        config.ca_pem = fixture->pki->ca->cert;
    HttpClient *client = http_client_new(&config, &error);
    g_assert_no_error(error);
    return client;
}

static char *
call(HttpClient *client, const char *method, const char *path, const char *body, GError **error)
{
    g_autoptr(JsonNode) node = body ? json_from_string(body, NULL) : NULL;
    g_autoptr(JsonNode) answer = http_client_call(client, method, path, node, NULL, error);

    return answer ? json_text(answer, FALSE) : NULL;
}

/* One call that must succeed with exactly this text. */
static void
assert_answer(HttpClient *client, const char *method, const char *path, const char *body,
              const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = call(client, method, path, body, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, expected);
}

/* One call that must fail so, with this in the message. */
static void
assert_fails(HttpClient *client, const char *method, const char *path, const char *body,
             GodwitError code, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = call(client, method, path, body, &error);

    g_assert_null(text);
    g_test_message("%s", error->message);
    g_assert_error(error, GODWIT_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, part));
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static void
test_answers(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });

    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
    assert_answer(client, "POST", "/v1/echo", "{\"text\":\"ä\\\"\"}", "{\"text\":\"ä\\\"\"}");
    assert_answer(client, "GET", "/v1/things/a%2Fb", NULL, "{\"id\":\"a/b\",\"limit\":\"\"}");
    assert_answer(client, "GET", "/v1/things/x?limit=7", NULL, "{\"id\":\"x\",\"limit\":\"7\"}");
    assert_answer(client, "DELETE", "/v1/things/x", NULL, "null");
}

static void
test_bad_requests(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });

    assert_fails(client, "GET", "/v1/nothing", NULL, GODWIT_ERROR_NOT_FOUND, "/v1/nothing");
    assert_fails(client, "PUT", "/v1/things/x", NULL, GODWIT_ERROR_UNSUPPORTED,
                 "GET, HEAD, DELETE");
    assert_fails(client, "POST", "/v1/echo", "{\"count\":1}", GODWIT_ERROR_INVALID,
                 "text: required");
    assert_fails(client, "POST", "/v1/echo", NULL, GODWIT_ERROR_INVALID, "body: required");
    assert_fails(client, "POST", "/v1/echo", "{\"text\":1}", GODWIT_ERROR_INVALID,
                 "text: expected a string");
    assert_fails(client, "POST", "/v1/echo", "{\"text\":\"\",\"count\":0}", GODWIT_ERROR_INVALID,
                 "count: must be at least 1");
    assert_fails(client, "POST", "/v1/echo", "{\"text\":\"\",\"speed\":0}", GODWIT_ERROR_INVALID,
                 "unknown field 'speed'");
    assert_fails(client, "POST", "/v1/things/x", "{}", GODWIT_ERROR_UNSUPPORTED,
                 "POST is not possible");
    assert_fails(client, "DELETE", "/v1/things/x", "{}", GODWIT_ERROR_INVALID, "takes none");
    assert_fails(client, "GET", "/v1/things/x?limt=7", NULL, GODWIT_ERROR_INVALID,
                 "unknown query parameter 'limt'");
    assert_fails(client, "GET", "/v1/things/x?limit=many", NULL, GODWIT_ERROR_INVALID,
                 "limit: expected an integer");
    assert_fails(client, "GET", "/v1/things/x?limit=1&limit=2", NULL, GODWIT_ERROR_INVALID,
                 "limit: given twice");
    assert_fails(client, "GET", "/v1/things/abcdefghijklmnopqrstu", NULL, GODWIT_ERROR_INVALID,
                 "at most 20 characters");
    assert_fails(client, "GET", "/v1/fail", NULL, GODWIT_ERROR_REFUSED,
                 "the VM \"web1\" is shut off");
}

static void
test_too_large(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });
    static const gsize sizes[] = { SERVICE_MAX_BODY, 100 * 1000, 3 * 1000 * 1000 };

    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *filling = g_strnfill(sizes[i], 'x');
        g_autofree char *body = g_strdup_printf("{\"text\":\"%s\"}", filling);
        assert_fails(client, "POST", "/v1/echo", body, GODWIT_ERROR_TOO_LARGE, "4096 bytes");
    }
    g_autofree char *filling = g_strnfill(SERVICE_MAX_BODY - 11, 'x');
    g_autofree char *body = g_strdup_printf("{\"text\":\"%s\"}", filling);
    g_assert_cmpuint(strlen(body), ==, SERVICE_MAX_BODY);
    assert_answer(client, "POST", "/v1/echo", body, body);
}

/* ---- who asks ----------------------------------------------------------------------------------
 */

static void
test_tokens(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) none = client_with(fixture, (HttpClientConfig){ 0 });
    g_autoptr(HttpClient) right =
        client_with(fixture, (HttpClientConfig){ .token = SERVICE_TOKEN });
    g_autoptr(HttpClient) wrong = client_with(fixture, (HttpClientConfig){ .token = "gwa_secreu" });

    assert_fails(none, "GET", "/v1/admin", NULL, GODWIT_ERROR_UNAUTHORIZED, "needs a token");
    assert_fails(wrong, "GET", "/v1/admin", NULL, GODWIT_ERROR_UNAUTHORIZED, "not known here");
    assert_answer(right, "GET", "/v1/admin", NULL,
                  "{\"role\":1,\"uuid\":\"\",\"client\":\"127.0.0.1\"}");
    assert_fails(right, "GET", "/v1/who", NULL, GODWIT_ERROR_FORBIDDEN, "getWho");
    assert_answer(wrong, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
}

static void
test_roles(Fixture *fixture, gconstpointer data)
{
    g_autoptr(Identity) host = pki_identity(fixture->pki, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(Identity) manager = pki_identity(fixture->pki, IDENTITY_MANAGER, MANAGER_UUID, 30);
    g_autoptr(HttpClient) as_host = client_with(fixture, (HttpClientConfig){ .identity = host });
    g_autoptr(HttpClient) as_manager =
        client_with(fixture, (HttpClientConfig){ .identity = manager });
    const char *of_host = "{\"role\":4,\"uuid\":\"" HOST_UUID "\",\"client\":\"127.0.0.1\"}";

    /* Again on the kept connection, and on new ones, where GIO may resume the TLS session. */
    for (int i = 0; i < 3; i++) {
        g_autoptr(HttpClient) again = client_with(fixture, (HttpClientConfig){ .identity = host });
        assert_answer(as_host, "GET", "/v1/who", NULL, of_host);
        assert_answer(again, "GET", "/v1/who", NULL, of_host);
        assert_answer(as_manager, "GET", "/v1/who", NULL,
                      "{\"role\":2,\"uuid\":\"\",\"client\":\"127.0.0.1\"}");
        assert_fails(as_host, "GET", "/v1/admin", NULL, GODWIT_ERROR_FORBIDDEN, "getAdmin");
    }
}

/* What a server that demands certificates answers to one that isn't good: nothing. */
static void
assert_shut_out(Fixture *fixture, const Identity *identity)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ .identity = identity });
    g_autoptr(GError) error = NULL;
    g_autofree char *text = call(client, "GET", "/v1/open", NULL, &error);

    g_assert_null(text);
    g_test_message("%s", error->message);
    g_assert_true(g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED) ||
                  g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE));
    g_assert_nonnull(strstr(error->message, "certificate"));
}

static void
test_shut_out(Fixture *fixture, gconstpointer data)
{
    g_autoptr(Pki) others = pki_new();
    g_autoptr(Identity) foreign = pki_identity(others, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(Identity) expired = pki_identity(fixture->pki, IDENTITY_HOST, HOST_UUID, -1);
    g_autoptr(Identity) good = pki_identity(fixture->pki, IDENTITY_HOST, HOST_UUID, 30);
    /* A host's certificate can't sign others. */
    Ca host_as_ca = { .cert = good->cert, .key = good->key };
    g_autoptr(Identity) made = g_new0(Identity, 1);
    g_autofree char *request = NULL;
    g_autoptr(GError) error = NULL;
    IdentityName manager = { IDENTITY_MANAGER, MANAGER_UUID };

    identity_request(&made->key, &request, &error);
    g_autofree char *cert = ca_sign(&host_as_ca, request, &manager, NULL, 30, &error);
    g_assert_no_error(error);
    made->cert = g_strconcat(cert, good->cert, NULL);

    assert_shut_out(fixture, NULL);
    assert_shut_out(fixture, foreign);
    assert_shut_out(fixture, expired);
    assert_shut_out(fixture, made);
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ .identity = good });
    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":4}");
}

static void
test_expect(Fixture *fixture, gconstpointer data)
{
    g_autoptr(Pki) others = pki_new();
    static const struct {
        IdentityName expect;
        const char *part; /* NULL: good */
    } rows[] = {
        { { IDENTITY_NONE, "" }, NULL },
        { { IDENTITY_MANAGER, "" }, NULL },
        { { IDENTITY_MANAGER, MANAGER_UUID }, NULL },
        { { IDENTITY_MANAGER, OTHER_UUID }, "expected was the manager " OTHER_UUID },
        { { IDENTITY_HOST, MANAGER_UUID }, "expected was host" },
        { { IDENTITY_HOST, "" }, "expected was host" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(HttpClient) client =
            client_with(fixture, (HttpClientConfig){ .expect = rows[i].expect });
        if (rows[i].part)
            assert_fails(client, "GET", "/v1/open", NULL, GODWIT_ERROR_UNAUTHORIZED, rows[i].part);
        else
            assert_answer(client, "GET", "/v1/open", NULL,
                          "{\"operation\":\"getOpen\",\"role\":0}");
    }
    g_autoptr(HttpClient) foreign =
        client_with(fixture, (HttpClientConfig){ .ca_pem = others->ca->cert });
    assert_fails(foreign, "GET", "/v1/open", NULL, GODWIT_ERROR_UNAUTHORIZED,
                 "not signed by this cluster's CA");
}

static void
test_fetch_ca(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *fingerprint = identity_fingerprint(fixture->pki->ca->cert, &error);
    g_autofree char *whole = http_client_fetch_ca(fixture->url, fingerprint, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(whole, ==, fixture->pki->ca->cert);
    fingerprint[32] = '\0';
    g_autofree char *first = http_client_fetch_ca(fixture->url, fingerprint, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(first, ==, fixture->pki->ca->cert);
    fingerprint[31] = fingerprint[31] == '0' ? '1' : '0';
    g_assert_null(http_client_fetch_ca(fixture->url, fingerprint, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED);
    g_clear_error(&error);
    g_assert_null(http_client_fetch_ca(fixture->url, "", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

/* ---- threads -----------------------------------------------------------------------------------
 */

static void
on_result(GObject *source, GAsyncResult *result, gpointer data)
{
    *(GAsyncResult **)data = g_object_ref(result);
}

static JsonNode *
wait_result(HttpClient *client, GAsyncResult **result, GError **error)
{
    while (!*result)
        g_main_context_iteration(NULL, TRUE);
    JsonNode *node = http_client_call_finish(client, *result, error);
    g_clear_object(result);
    return node;
}

static void
test_threads(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });
    GAsyncResult *results[3] = { NULL };
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < 3; i++)
        http_client_call_async(client, "GET", "/v1/slow", NULL, NULL, on_result, &results[i]);
    while (g_atomic_int_get(&fixture->service->slow_begun) < 3)
        g_main_context_iteration(NULL, TRUE);
    /* The server answers others meanwhile, and so does the client. */
    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
    g_assert_null(results[0]);
    service_open_gate(fixture->service);
    for (int i = 0; i < 3; i++) {
        g_autoptr(JsonNode) node = wait_result(client, &results[i], &error);
        g_assert_no_error(error);
        g_assert_nonnull(node);
    }
}

static gpointer
cancel_when_begun(gpointer data)
{
    gpointer *pair = data;
    Service *service = pair[0];

    service_wait(service, &service->slow_begun, 1);
    g_cancellable_cancel(pair[1]);
    return NULL;
}

static void
test_client_goes(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });
    g_autoptr(GCancellable) cancel = g_cancellable_new();
    gpointer pair[] = { fixture->service, cancel };
    GThread *thread = g_thread_new("cancel", cancel_when_begun, pair);
    g_autoptr(GError) error = NULL;

    g_assert_null(http_client_call(client, "GET", "/v1/slow", NULL, cancel, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);
    g_thread_join(thread);
    service_open_gate(fixture->service);
    service_wait(fixture->service, &fixture->service->slow_done, 1);
    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
}

static void
test_time_limit(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ .timeout_s = 1 });

    assert_fails(client, "GET", "/v1/slow", NULL, GODWIT_ERROR_TIMEOUT, "no answer within 1 s");
}

static void
test_server_ends_while_thread_works(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });
    GAsyncResult *result = NULL;
    g_autoptr(GError) error = NULL;

    http_client_call_async(client, "GET", "/v1/slow", NULL, NULL, on_result, &result);
    while (g_atomic_int_get(&fixture->service->slow_begun) < 1)
        g_main_context_iteration(NULL, TRUE);
    service_stop(fixture->service);
    g_autoptr(JsonNode) node = wait_result(client, &result, &error);
    g_assert_true(node || g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE));
}

static void
test_client_freed(Fixture *fixture, gconstpointer data)
{
    HttpClient *client = client_with(fixture, (HttpClientConfig){ 0 });
    GAsyncResult *result = NULL;
    g_autoptr(GError) error = NULL;

    http_client_call_async(client, "GET", "/v1/slow", NULL, NULL, on_result, &result);
    http_client_free(client);
    while (!result)
        g_main_context_iteration(NULL, TRUE);
    g_assert_null(g_task_propagate_pointer(G_TASK(result), &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);
    g_object_unref(result);
}

/* ---- nobody there ------------------------------------------------------------------------------
 */

static void
test_unreachable(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ 0 });

    assert_answer(client, "GET", "/v1/open", NULL, "{\"operation\":\"getOpen\",\"role\":0}");
    service_stop(fixture->service);
    assert_fails(client, "GET", "/v1/open", NULL, GODWIT_ERROR_UNREACHABLE, fixture->url);
    assert_fails(client, "POST", "/v1/echo", "{\"text\":\"\"}", GODWIT_ERROR_UNREACHABLE,
                 "does the service run there");
}

/* A port that takes connections and never says a word. */
static void
test_silent_port(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    g_autoptr(GError) error = NULL;
    guint port = g_socket_listener_add_any_inet_port(listener, NULL, &error);

    g_assert_no_error(error);
    g_free(fixture->url);
    fixture->url = g_strdup_printf("https://127.0.0.1:%u", port);
    g_autoptr(HttpClient) client = client_with(fixture, (HttpClientConfig){ .timeout_s = 1 });
    assert_fails(client, "GET", "/v1/open", NULL, GODWIT_ERROR_UNREACHABLE,
                 "no connection within 1 s");
}

static void
test_bad_urls(void)
{
    static const char *const urls[] = { "",         "localhost",  "http://localhost:1",
                                        "https://", "https:///x", "https://[::1" };

    for (gsize i = 0; i < G_N_ELEMENTS(urls); i++) {
        HttpClientConfig config = { .base_url = urls[i], .ca_pem = "" };
        g_autoptr(GError) error = NULL;
        g_assert_null(http_client_new(&config, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

static void
test_port_taken(Fixture *fixture, gconstpointer data)
{
    Service with = { .port = fixture->service->port };
    g_autoptr(GError) error = NULL;

    g_assert_null(service_new(fixture->pki, &with, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_nonnull(strstr(error->message, "is taken"));
}

/* ---- routes and errors -------------------------------------------------------------------------
 */

static JsonNode *
run_nothing(HttpCall *call, gpointer service, GError **error)
{
    return NULL;
}

static void
test_routes_agree(Fixture *fixture, gconstpointer data)
{
    static const HttpRoute missing[] = { { "getOpen", HTTP_ANYONE, HTTP_MAIN, run_nothing, NULL },
                                         { NULL } };
    static const HttpRoute unknown[] = { { "getOpne", HTTP_ANYONE, HTTP_MAIN, run_nothing, NULL },
                                         { NULL } };
    const HttpRoute *const tables[] = { missing, unknown };
    const char *const addresses[] = { "127.0.0.1", NULL };

    for (gsize i = 0; i < G_N_ELEMENTS(tables); i++) {
        HttpServerConfig config = { .name = "test",
                                    .identity = fixture->service->identity,
                                    .addresses = addresses,
                                    .schema = fixture->service->schema,
                                    .routes = tables[i] };
        g_autoptr(GError) error = NULL;
        g_assert_null(http_server_new(&config, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
    }
}

static void
test_statuses(void)
{
    for (int code = 0; code < GODWIT_N_ERRORS; code++) {
        GError error = { GODWIT_ERROR, code, (char *)"text" };
        g_assert_cmpuint(http_status_of(&error), >=, 400);
        g_assert_cmpuint(http_status_of(&error), <, 600);
    }
    GError full = { G_IO_ERROR, G_IO_ERROR_NO_SPACE, (char *)"bad \xff byte" };
    g_assert_cmpuint(http_status_of(&full), ==, 507);
    g_autoptr(JsonNode) body = http_error_body(&full);
    g_autofree char *text = json_text(body, FALSE);
    g_assert_cmpstr(text, ==,
                    "{\"error\":{\"code\":\"no-space\",\"message\":\"bad \xef\xbf\xbd byte\"}}");
}

#define ADD(name, certificates, func)                                                              \
    g_test_add("/http/" name, Fixture, GINT_TO_POINTER(certificates), set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (argc > 1 && strcmp(argv[1], "shut-out") == 0) { /* by itself: see meson.build */
        ADD("shut-out", TRUE, test_shut_out);
        return g_test_run();
    }
    ADD("answers", FALSE, test_answers);
    ADD("bad-requests", FALSE, test_bad_requests);
    ADD("too-large", FALSE, test_too_large);
    ADD("tokens", FALSE, test_tokens);
    ADD("roles", TRUE, test_roles);
    ADD("expect", FALSE, test_expect);
    ADD("fetch-ca", FALSE, test_fetch_ca);
    ADD("threads", FALSE, test_threads);
    ADD("client-goes", FALSE, test_client_goes);
    ADD("time-limit", FALSE, test_time_limit);
    ADD("server-ends-while-thread-works", FALSE, test_server_ends_while_thread_works);
    ADD("client-freed", FALSE, test_client_freed);
    ADD("unreachable", FALSE, test_unreachable);
    ADD("silent-port", FALSE, test_silent_port);
    ADD("port-taken", FALSE, test_port_taken);
    ADD("routes-agree", FALSE, test_routes_agree);
    g_test_add_func("/http/bad-urls", test_bad_urls);
    g_test_add_func("/http/statuses", test_statuses);
    return g_test_run();
}
