/* SPDX-License-Identifier: Apache-2.0 */

/* The server as seen by clients that don't behave: bytes over TLS, written by hand. */

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include "base/error.h"
#include "net/http_server.h"
#include "service.h"

typedef struct {
    Pki *pki;
    Service *service;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    const Service *with = data;

    fixture->pki = pki_new();
    fixture->service = service_new(fixture->pki, with, &error);
    g_assert_no_error(error);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    service_free(fixture->service);
    pki_free(fixture->pki);
}

static GSocketConnection *
connect_tcp(Fixture *fixture)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GError) error = NULL;
    GSocketConnection *connection = g_socket_client_connect_to_host(
        client, "127.0.0.1", (guint16)fixture->service->port, NULL, &error);

    g_assert_no_error(error);
    g_socket_set_timeout(g_socket_connection_get_socket(connection), 20);
    return connection;
}

static gboolean
accept_any(GTlsConnection *tls, GTlsCertificate *certificate, GTlsCertificateFlags flags,
           gpointer data)
{
    return TRUE;
}

static GIOStream *
connect_tls(Fixture *fixture)
{
    g_autoptr(GSocketConnection) tcp = connect_tcp(fixture);
    g_autoptr(GError) error = NULL;
    GIOStream *tls = g_tls_client_connection_new(G_IO_STREAM(tcp), NULL, &error);

    g_assert_no_error(error);
    g_signal_connect(tls, "accept-certificate", G_CALLBACK(accept_any), NULL);
    g_tls_connection_set_require_close_notify(G_TLS_CONNECTION(tls), FALSE);
    g_assert_true(g_tls_connection_handshake(G_TLS_CONNECTION(tls), NULL, &error));
    g_assert_no_error(error);
    return tls;
}

static void
write_text(GIOStream *stream, const char *text)
{
    g_output_stream_write_all(g_io_stream_get_output_stream(stream), text, strlen(text), NULL, NULL,
                              NULL);
}

/* Everything until the server closes. */
static char *
read_all(GIOStream *stream)
{
    GString *text = g_string_new(NULL);
    char piece[4096];
    gssize length;

    while ((length = g_input_stream_read(g_io_stream_get_input_stream(stream), piece, sizeof(piece),
                                         NULL, NULL)) > 0)
        g_string_append_len(text, piece, length);
    return g_string_free(text, FALSE);
}

static char *
ask(Fixture *fixture, const char *request)
{
    g_autoptr(GIOStream) stream = connect_tls(fixture);

    write_text(stream, request);
    return read_all(stream);
}

#define HEAD "Host: x\r\nConnection: close\r\n"
#define JSON HEAD "Content-Type: application/json\r\n"

static void
test_requests(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *request;
        const char *parts[4];
    } rows[] = {
        { "GET /v1/open HTTP/1.1\r\n" HEAD "\r\n",
          { "HTTP/1.1 200 OK\r\n", "Server: test\r\n", "Cache-Control: no-store\r\n",
            "\"operation\":\"getOpen\"" } },
        { "PUT /v1/things/x HTTP/1.1\r\n" HEAD "Content-Length: 0\r\n\r\n",
          { "HTTP/1.1 405 ", "Allow: GET, HEAD, DELETE\r\n", "\"code\":\"unsupported\"" } },
        { "GET /v1/admin HTTP/1.1\r\n" HEAD "\r\n",
          { "HTTP/1.1 401 ", "WWW-Authenticate: Bearer", "\"code\":\"unauthorized\"" } },
        { "GET /v1/admin HTTP/1.1\r\n" HEAD "Authorization: bearer  " SERVICE_TOKEN " \r\n\r\n",
          { "HTTP/1.1 200 " } },
        { "GET /v1/admin HTTP/1.1\r\n" HEAD "Authorization: Basic eDp5\r\n\r\n",
          { "HTTP/1.1 401 ", "Bearer TOKEN" } },
        { "GET /v1/open HTTP/1.1\r\n" HEAD "Authorization: Basic eDp5\r\n\r\n",
          { "HTTP/1.1 200 " } },
        { "DELETE /v1/things/x HTTP/1.1\r\n" HEAD "\r\n", { "HTTP/1.1 204 " } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 12\r\n\r\n{\"text\":\"a\"}",
          { "HTTP/1.1 201 ", "{\"text\":\"a\"}" } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 12\r\n\r\n{\"text\":\"a\",",
          { "HTTP/1.1 400 ", "\"code\":\"invalid\"", "byte 12" } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 0\r\n\r\n",
          { "HTTP/1.1 400 ", "body: required, but missing" } },
        { "POST /v1/echo HTTP/1.1\r\n" HEAD "Content-Length: 12\r\n\r\n{\"text\":\"a\"}",
          { "HTTP/1.1 400 ", "Content-Type: application/json'" } },
        { "POST /v1/echo HTTP/1.1\r\n" HEAD
          "Content-Type: text/plain\r\nContent-Length: 12\r\n\r\n{\"text\":\"a\"}",
          { "HTTP/1.1 400 ", "not 'text/plain'" } },
        { "POST /v1/echo HTTP/1.1\r\n" HEAD
          "Content-Type: application/json; charset=utf-8\r\nContent-Length: "
          "12\r\n\r\n{\"text\":\"a\"}",
          { "HTTP/1.1 201 " } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON
          "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"tex\r\n7\r\nt\":\"a\"}\r\n0\r\n\r\n",
          { "HTTP/1.1 201 ", "{\"text\":\"a\"}" } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 5000\r\n\r\n",
          { "HTTP/1.1 413 ", "\"code\":\"too-large\"" } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 9223372036854775807\r\n\r\n",
          { "HTTP/1.1 413 " } },
        { "POST /v1/echo HTTP/1.1\r\n" JSON "Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
          { "HTTP/1.1 413 " } },
        { "POST /v1/nothing HTTP/1.1\r\n" JSON "Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",
          { "HTTP/1.1 404 " } },
        { "GET /v1/things/a?limit=%zz HTTP/1.1\r\n" HEAD "\r\n", { "HTTP/1.1 400 " } },
        { "GET /v1/things/a%2Fb HTTP/1.1\r\n" HEAD "\r\n", { "HTTP/1.1 200 ", "\"id\":\"a/b\"" } },
        { "GET /v1/../open HTTP/1.1\r\n" HEAD "\r\n", { "HTTP/1.1 404 " } },
        { "GET nonsense\r\n\r\n", { " 400 Bad Request\r\n" } },
        { "GET /v1/open HTTP/1.1\r\n\r\n", { "HTTP/1.1 400 " } },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *answer = ask(fixture, rows[i].request);
        g_test_message("%s → %s", rows[i].request, answer);
        for (gsize j = 0; j < 4 && rows[i].parts[j]; j++)
            g_assert_nonnull(strstr(answer, rows[i].parts[j]));
    }
}

static void
test_head(Fixture *fixture, gconstpointer data)
{
    g_autofree char *open = ask(fixture, "HEAD /v1/open HTTP/1.1\r\n" HEAD "\r\n");
    g_autofree char *events = ask(fixture, "HEAD /v1/events HTTP/1.1\r\n" HEAD "\r\n");

    g_assert_true(g_str_has_prefix(open, "HTTP/1.1 200 "));
    g_assert_true(g_str_has_suffix(open, "\r\n\r\n"));
    g_assert_true(g_str_has_prefix(events, "HTTP/1.1 200 "));
    g_assert_nonnull(strstr(events, "text/event-stream"));
    g_assert_true(g_str_has_suffix(events, "\r\n\r\n"));
}

/* A chunked body has no length to judge beforehand: it is cut off when it has become too long. */
static void
test_endless_chunks(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GIOStream) stream = connect_tls(fixture);

    write_text(stream, "POST /v1/echo HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 200; i++)
        write_text(stream,
                   "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
    g_autofree char *answer = read_all(stream);
    g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 413 "));
    g_assert_nonnull(strstr(answer, "4096 bytes"));
}

static void
test_kept_connection(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GIOStream) stream = connect_tls(fixture);

    write_text(stream, "GET /v1/open HTTP/1.1\r\nHost: x\r\n\r\n");
    write_text(stream, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    write_text(stream, "GET /v1/things/z HTTP/1.1\r\n" HEAD "\r\n");
    g_autofree char *answer = read_all(stream);
    g_assert_nonnull(strstr(answer, "HTTP/1.1 200 "));
    g_test_message("%s", answer);
    g_assert_nonnull(strstr(answer, "HTTP/1.1 404 "));
    g_assert_nonnull(strstr(answer, "\"id\":\"z\""));
}

/* A client that leaves in the middle of anything. */
static void
test_leavers(Fixture *fixture, gconstpointer data)
{
    static const char *const begun[] = {
        "",
        "GET /v1/op",
        "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 12\r\n\r\n{\"te",
        "GET /v1/slow HTTP/1.1\r\n" HEAD "\r\n",
        "GET /v1/events HTTP/1.1\r\n" HEAD "\r\n",
        "POST /v1/echo HTTP/1.1\r\n" JSON "Content-Length: 5000\r\n\r\n",
    };

    for (int round = 0; round < 3; round++) {
        for (gsize i = 0; i < G_N_ELEMENTS(begun); i++) {
            g_autoptr(GIOStream) stream = connect_tls(fixture);
            write_text(stream, begun[i]);
            g_io_stream_close(stream, NULL, NULL);
        }
    }
    service_wait(fixture->service, &fixture->service->slow_begun, 3);
    service_wait(fixture->service, &fixture->service->streams_closed, 3);
    service_open_gate(fixture->service);
    service_wait(fixture->service, &fixture->service->slow_done, 3);
    g_autofree char *answer = ask(fixture, "GET /v1/open HTTP/1.1\r\n" HEAD "\r\n");
    g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 200 "));
}

/* ---- time limits --------------------------------------------------------------------------------
 */

static const Service hasty = { .request_s = 1, .idle_s = 1 };

static double
seconds_until_closed(GIOStream *stream)
{
    gint64 begun = g_get_monotonic_time();

    g_free(read_all(stream));
    return (double)(g_get_monotonic_time() - begun) / G_USEC_PER_SEC;
}

static void
assert_closed_soon(GIOStream *stream)
{
    double seconds = seconds_until_closed(stream);

    g_assert_cmpfloat(seconds, >, 0.5);
    g_assert_cmpfloat(seconds, <, 10);
}

static void
test_no_handshake(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GSocketConnection) silent = connect_tcp(fixture);
    assert_closed_soon(G_IO_STREAM(silent));
    g_autoptr(GSocketConnection) half = connect_tcp(fixture);
    write_text(G_IO_STREAM(half), "\x16\x03\x01");
    assert_closed_soon(G_IO_STREAM(half));
    g_autoptr(GSocketConnection) plain = connect_tcp(fixture);
    write_text(G_IO_STREAM(plain), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    g_assert_cmpfloat(seconds_until_closed(G_IO_STREAM(plain)), <, 10);
}

static void
test_idle(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GIOStream) silent = connect_tls(fixture);
    assert_closed_soon(silent);
    g_autoptr(GIOStream) kept = connect_tls(fixture);
    write_text(kept, "GET /v1/open HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_closed_soon(kept);
}

/* A byte now and then keeps the socket busy, but not the request alive. */
static void
test_slow_loris(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GIOStream) stream = connect_tls(fixture);
    GSocket *socket = g_socket_connection_get_socket(G_SOCKET_CONNECTION(({
        GIOStream *base = NULL;
        g_object_get(stream, "base-io-stream", &base, NULL);
        g_object_unref(base);
        base;
    })));
    gint64 begun = g_get_monotonic_time();

    write_text(stream, "GET /v1/open HTTP/1.1\r\nHost: x\r\nX: ");
    /* Wakes on the server's end, or every 200 ms for another byte. */
    while (!g_socket_condition_timed_wait(socket, G_IO_IN | G_IO_HUP, 200 * 1000, NULL, NULL) ||
           g_input_stream_read(g_io_stream_get_input_stream(stream), (char[16]){ 0 }, 16, NULL,
                               NULL) > 0) {
        g_assert_cmpint(g_get_monotonic_time() - begun, <, 10 * G_USEC_PER_SEC);
        write_text(stream, "x");
    }
    g_assert_cmpint(g_get_monotonic_time() - begun, <, 10 * G_USEC_PER_SEC);
}

/* ---- versions of TLS ----------------------------------------------------------------------------
 */

/* Does a client get its answer with these protocols, showing its certificate? */
static gboolean
is_answered(Fixture *fixture, const Identity *identity, const char *priority)
{
    static const char request[] = "GET /v1/open HTTP/1.1\r\n" HEAD "\r\n";
    g_autoptr(GSocketConnection) tcp = connect_tcp(fixture);
    gnutls_datum_t cert = { (unsigned char *)identity->cert, (unsigned int)strlen(identity->cert) };
    gnutls_datum_t key = { (unsigned char *)identity->key, (unsigned int)strlen(identity->key) };
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    char answer[16] = "";

    g_assert_cmpint(gnutls_certificate_allocate_credentials(&credentials), >=, 0);
    g_assert_cmpint(
        gnutls_certificate_set_x509_key_mem(credentials, &cert, &key, GNUTLS_X509_FMT_PEM), >=, 0);
    g_assert_cmpint(gnutls_init(&session, GNUTLS_CLIENT), >=, 0);
    g_assert_cmpint(gnutls_priority_set_direct(session, priority, NULL), >=, 0);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    g_socket_set_blocking(g_socket_connection_get_socket(tcp), TRUE);
    int fd = g_socket_get_fd(g_socket_connection_get_socket(tcp));
    g_assert_cmpint(fcntl(fd, F_SETFL, 0), ==, 0); /* GSocket's are never blocking underneath */
    gnutls_transport_set_int(session, fd);
    gboolean ok = gnutls_handshake(session) >= 0 &&
                  gnutls_record_send(session, request, sizeof(request) - 1) > 0 &&
                  gnutls_record_recv(session, answer, sizeof(answer) - 1) > 0;
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    return ok && g_str_has_prefix(answer, "HTTP/1.1 200");
}

static void
test_tls_versions(Fixture *fixture, gconstpointer data)
{
    const Service *with = data;
    g_autoptr(Identity) host = pki_identity(fixture->pki, IDENTITY_HOST, HOST_UUID, 30);

    g_assert_true(is_answered(fixture, host, "NORMAL"));
    g_assert_true(is_answered(fixture, host, "NORMAL:-VERS-ALL:+VERS-TLS1.3"));
    /* Between agents never; browsers and curl may still come with 1.2, but not with less. */
    g_assert_cmpint(is_answered(fixture, host, "NORMAL:-VERS-ALL:+VERS-TLS1.2"), ==,
                    !with->client_certificates);
    g_assert_false(is_answered(fixture, host, "NORMAL:-VERS-ALL:+VERS-TLS1.1"));
}

static const Service agent = { .client_certificates = TRUE };
static const Service usual = { .max_streams = 8 };

#define ADD(name, with, func) g_test_add("/wire/" name, Fixture, &with, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("requests", usual, test_requests);
    ADD("head", usual, test_head);
    ADD("endless-chunks", usual, test_endless_chunks);
    ADD("kept-connection", usual, test_kept_connection);
    ADD("leavers", usual, test_leavers);
    ADD("no-handshake", hasty, test_no_handshake);
    ADD("idle", hasty, test_idle);
    ADD("slow-loris", hasty, test_slow_loris);
    ADD("tls-versions/agent", agent, test_tls_versions);
    ADD("tls-versions/manager", usual, test_tls_versions);
    return g_test_run();
}
