/* SPDX-License-Identifier: Apache-2.0 */

/* Event streams over loopback with real TLS, from both ends. */

#include <string.h>
#include "net/http_client.h"
#include "service.h"

typedef struct {
    Pki *pki;
    Service *service;
    char *url;
    HttpClient *client;
    GCancellable *cancel;
    GString *seen;
    guint events, closed;
    GError *error;         /* what closed was told */
    guint cancel_at_event; /* 0 = never */
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Service with = { .max_streams = 3 };

    fixture->pki = pki_new();
    fixture->service = service_new(fixture->pki, &with, &error);
    g_assert_no_error(error);
    fixture->url = service_url(fixture->service);
    HttpClientConfig config = { .base_url = fixture->url, .ca_pem = fixture->pki->ca->cert };
    fixture->client = http_client_new(&config, &error);
    g_assert_no_error(error);
    fixture->cancel = g_cancellable_new();
    fixture->seen = g_string_new(NULL);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    http_client_free(fixture->client);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    service_free(fixture->service);
    pki_free(fixture->pki);
    g_object_unref(fixture->cancel);
    g_string_free(fixture->seen, TRUE);
    g_clear_error(&fixture->error);
    g_free(fixture->url);
}

static void
on_event(const char *event, const char *id, const char *data, gpointer user_data)
{
    Fixture *fixture = user_data;

    fixture->events++;
    if (strlen(data) < 100)
        g_string_append_printf(fixture->seen, "[%s %s]", event, data);
    else
        g_string_append_printf(fixture->seen, "[%s %" G_GSIZE_FORMAT "]", event, strlen(data));
    if (fixture->cancel_at_event == fixture->events)
        g_cancellable_cancel(fixture->cancel);
}

static void
on_closed(const GError *error, gpointer user_data)
{
    Fixture *fixture = user_data;

    fixture->closed++;
    g_clear_error(&fixture->error);
    fixture->error = error ? g_error_copy(error) : NULL;
}

static void
open_stream(Fixture *fixture, const char *path, guint silence_s)
{
    http_client_stream(fixture->client, path, silence_s, on_event, on_closed, fixture,
                       fixture->cancel);
}

static void
wait_for(const guint *counter, guint value)
{
    while ((guint)g_atomic_int_get(counter) < value)
        g_main_context_iteration(NULL, TRUE);
}

static void
test_receive(Fixture *fixture, gconstpointer data)
{
    g_autofree char *large = g_strnfill(300 * 1000, 'x');

    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    service_send(fixture->service, "vm", "{\"name\":\n\"web1\"}");
    service_send(fixture->service, "vm", large);
    wait_for(&fixture->events, 3);
    g_assert_cmpstr(fixture->seen->str, ==,
                    "[hello {\"first\": true}][vm {\"name\":\n\"web1\"}][vm 300000]");
    g_assert_cmpuint(fixture->closed, ==, 0);

    service_close_streams(fixture->service);
    wait_for(&fixture->closed, 1);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_assert_nonnull(strstr(fixture->error->message, "the server ended the stream"));
    g_assert_cmpuint(fixture->service->streams_closed, ==, 0);
}

/* What was sent right before our side closes still arrives. */
static void
test_close_flushes(Fixture *fixture, gconstpointer data)
{
    g_autofree char *large = g_strnfill(1000 * 1000, 'x');

    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    for (int i = 0; i < 5; i++)
        service_send(fixture->service, "vm", large);
    service_close_streams(fixture->service);
    wait_for(&fixture->closed, 1);
    g_assert_cmpuint(fixture->events, ==, 6);
}

static void
test_cancel(Fixture *fixture, gconstpointer data)
{
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    g_cancellable_cancel(fixture->cancel);
    wait_for(&fixture->closed, 1);
    g_assert_no_error(fixture->error);
    /* The server notices at once, not only when it next writes. */
    wait_for(&fixture->service->streams_closed, 1);
}

/* The third event cancels: those that came in the same piece with it are not told any more. */
static void
test_cancel_inside_event(Fixture *fixture, gconstpointer data)
{
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    fixture->cancel_at_event = 3;
    service_send_burst(fixture->service, "a", "1", 5);
    wait_for(&fixture->closed, 1);
    g_assert_no_error(fixture->error);
    g_assert_cmpuint(fixture->events, ==, 3);
    g_assert_cmpuint(fixture->closed, ==, 1);
}

static void
test_cancelled_before(Fixture *fixture, gconstpointer data)
{
    g_cancellable_cancel(fixture->cancel);
    open_stream(fixture, "/v1/events", 20);
    g_assert_cmpuint(fixture->closed, ==, 0);
    wait_for(&fixture->closed, 1);
    g_assert_no_error(fixture->error);
    g_assert_cmpuint(fixture->events, ==, 0);
}

static void
test_silence(Fixture *fixture, gconstpointer data)
{
    open_stream(fixture, "/v1/events", 1);
    wait_for(&fixture->closed, 1);
    g_assert_cmpuint(fixture->events, ==, 1);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_assert_nonnull(strstr(fixture->error->message, "nothing was heard for 1 s"));
    wait_for(&fixture->service->streams_closed, 1);
}

static gboolean
send_tick(gpointer data)
{
    service_send(data, "tick", "{}");
    return G_SOURCE_CONTINUE;
}

/* What is heard winds the limit up again: a stream lives longer than its limit. */
static void
test_no_silence(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GSource) ticks = g_timeout_source_new(250);

    g_source_set_callback(ticks, send_tick, fixture->service, NULL);
    g_source_attach(ticks, NULL);
    open_stream(fixture, "/v1/events", 2);
    while (fixture->events < 13 && !fixture->closed)
        g_main_context_iteration(NULL, TRUE);
    g_source_destroy(ticks);
    g_assert_cmpuint(fixture->closed, ==, 0);
}

/* The server's comment every 15 s is heard: with a limit just above it the stream stays. */
static void
test_keep_alive(Fixture *fixture, gconstpointer data)
{
    gint64 begun = g_get_monotonic_time();

    open_stream(fixture, "/v1/events", 18);
    while (g_get_monotonic_time() - begun < 20 * G_USEC_PER_SEC && !fixture->closed) {
        g_autoptr(GSource) tick = g_timeout_source_new(1000);
        g_source_set_dummy_callback(tick);
        g_source_attach(tick, NULL);
        g_main_context_iteration(NULL, TRUE);
        g_source_destroy(tick);
    }
    g_assert_cmpuint(fixture->closed, ==, 0);
}

static void
test_server_goes(Fixture *fixture, gconstpointer data)
{
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    service_stop(fixture->service);
    g_assert_cmpuint(fixture->service->streams_closed, ==, 1);
    wait_for(&fixture->closed, 1);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->closed, 2);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
}

static void
test_client_freed(Fixture *fixture, gconstpointer data)
{
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    http_client_free(g_steal_pointer(&fixture->client));
    wait_for(&fixture->closed, 1);
    g_assert_no_error(fixture->error);
    wait_for(&fixture->service->streams_closed, 1);
}

static void
test_refusals(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *path;
        GodwitError code;
        const char *part;
    } rows[] = {
        { "/v1/refused", GODWIT_ERROR_NOT_FOUND, "no such task" },
        { "/v1/nothing", GODWIT_ERROR_NOT_FOUND, "/v1/nothing" },
        { "/v1/open", GODWIT_ERROR_PROTOCOL, "no event stream" },
        { "no path", GODWIT_ERROR_INVALID, "not a URL" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        open_stream(fixture, rows[i].path, 20);
        wait_for(&fixture->closed, i + 1);
        g_assert_error(fixture->error, GODWIT_ERROR, (int)rows[i].code);
        g_assert_nonnull(strstr(fixture->error->message, rows[i].part));
    }
    g_assert_cmpuint(fixture->events, ==, 0);
}

static void
test_too_many(Fixture *fixture, gconstpointer data)
{
    for (guint i = 0; i < 3; i++)
        open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 3);
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->closed, 1);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_nonnull(strstr(fixture->error->message, "3 event streams"));
    /* One goes, one comes. */
    service_close_streams(fixture->service);
    wait_for(&fixture->closed, 4);
    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 4);
}

/* A client that doesn't read is dropped when 8 MiB are piled up, and nobody else suffers. */
static void
test_slow_client(Fixture *fixture, gconstpointer data)
{
    g_autofree char *large = g_strnfill(1000 * 1000, 'x');
    guint sent = 0;

    open_stream(fixture, "/v1/events", 20);
    wait_for(&fixture->events, 1);
    /* Our main context doesn't run: nothing is read. What the kernel's buffers take is a few MB on
     * top. */
    while (g_atomic_int_get(&fixture->service->streams_closed) == 0) {
        service_send(fixture->service, "vm", large);
        g_assert_cmpuint(++sent, <, 60);
    }
    g_assert_cmpuint(sent, >, 8);
    wait_for(&fixture->closed, 1);
    g_assert_error(fixture->error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    open_stream(fixture, "/v1/events", 20);
    guint before = fixture->events;
    wait_for(&fixture->events, before + 1);
}

#define ADD(name, func) g_test_add("/stream/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("receive", test_receive);
    ADD("close-flushes", test_close_flushes);
    ADD("cancel", test_cancel);
    ADD("cancel-inside-event", test_cancel_inside_event);
    ADD("cancelled-before", test_cancelled_before);
    ADD("silence", test_silence);
    ADD("no-silence", test_no_silence);
    ADD("server-goes", test_server_goes);
    ADD("client-freed", test_client_freed);
    ADD("refusals", test_refusals);
    ADD("too-many", test_too_many);
    ADD("slow-client", test_slow_client);
    if (g_test_slow())
        ADD("keep-alive", test_keep_alive);
    return g_test_run();
}
