/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * The client's end of an event stream: one request whose answer has no end. States: asking (the
 * client's time limit runs) → reading (the silence limit runs, and every byte winds it up again) →
 * closed, told exactly once, from the main context. An answer other than 200 is read to its end for
 * the error in it. After a cancellation no event is told any more, even if it has come already. */

#include "base/error.h"
#include "net/http_client.h"
#include "net/http_request.h"

#define PIECE_BYTES (16 * 1024)

typedef struct {
    HttpRequest *request;
    GInputStream *stream;
    SseParser *parser;
    guint silence_s;
    SseEventFunc func;
    HttpStreamClosed closed;
    gpointer data;
    GError *invalid; /* the path was none */
} Subscription;

/* Tells the end and frees. error NULL: cancelled. */
static void
subscription_end(Subscription *subscription, const GError *error)
{
    gboolean cancelled = error && g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);

    subscription->closed(cancelled ? NULL : error, subscription->data);
    g_clear_object(&subscription->stream);
    sse_parser_free(subscription->parser);
    http_request_free(subscription->request);
    g_free(subscription);
}

static void
subscription_fail(Subscription *subscription, const GError *error)
{
    HttpRequest *request = subscription->request;
    g_autoptr(GError) told = http_request_error(request, error);

    if (request->timed_out && subscription->stream) {
        g_clear_error(&told);
        g_set_error(&told, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "%s: nothing was heard for %u s",
                    request->what, subscription->silence_s);
    }
    subscription_end(subscription, told);
}

static gboolean
is_stopped(const Subscription *subscription)
{
    return g_cancellable_is_cancelled(subscription->request->stop);
}

static void
on_event(const char *event, const char *id, const char *data, gpointer user_data)
{
    Subscription *subscription = user_data;

    if (!is_stopped(subscription))
        subscription->func(event, id, data, subscription->data);
}

static void subscription_read(Subscription *subscription);

static void
on_piece(GObject *source, GAsyncResult *result, gpointer data)
{
    Subscription *subscription = data;
    HttpRequest *request = subscription->request;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) piece =
        g_input_stream_read_bytes_finish(G_INPUT_STREAM(source), result, &error);
    gsize length = piece ? g_bytes_get_size(piece) : 0;

    if (piece && length == 0)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "%s: the server ended the stream", request->what);
    if (!error) {
        http_request_set_limit(request, subscription->silence_s);
        sse_parser_feed(subscription->parser, g_bytes_get_data(piece, NULL), length, &error);
    }
    if (error)
        subscription_fail(subscription, error);
    else
        subscription_read(subscription);
}

static void
subscription_read(Subscription *subscription)
{
    g_input_stream_read_bytes_async(subscription->stream, PIECE_BYTES, G_PRIORITY_DEFAULT,
                                    subscription->request->stop, on_piece, subscription);
}

/* The answer was no stream: what does it say? */
static void
on_refusal(GString *text, const GError *error, gpointer data)
{
    Subscription *subscription = data;
    g_autoptr(GError) wrong = error ? g_error_copy(error) : NULL;
    g_autoptr(JsonNode) node =
        text ? http_request_answer(subscription->request, text, &wrong) : NULL;

    if (node)
        g_set_error(&wrong, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "%s: the answer is no event stream", subscription->request->what);
    subscription_end(subscription, wrong);
}

static void
on_sent(GObject *source, GAsyncResult *result, gpointer data)
{
    Subscription *subscription = data;
    HttpRequest *request = subscription->request;
    g_autoptr(GError) error = NULL;
    g_autoptr(GInputStream) stream = soup_session_send_finish(SOUP_SESSION(source), result, &error);

    if (!stream) {
        subscription_fail(subscription, error);
        return;
    }
    const char *type = soup_message_headers_get_content_type(
        soup_message_get_response_headers(request->message), NULL);
    if (soup_message_get_status(request->message) != 200 ||
        g_strcmp0(type, "text/event-stream") != 0) {
        http_request_read(request, stream, on_refusal, subscription);
        return;
    }
    subscription->stream = g_steal_pointer(&stream);
    http_request_set_limit(request, subscription->silence_s);
    subscription_read(subscription);
}

/* A request that couldn't even be made: told from the main context like everything else. */
static gboolean
on_invalid(gpointer data)
{
    Subscription *subscription = data;

    subscription->closed(subscription->invalid, subscription->data);
    g_error_free(subscription->invalid);
    g_free(subscription);
    return G_SOURCE_REMOVE;
}

static void
tell_later(Subscription *subscription)
{
    GSource *source = g_idle_source_new();

    g_source_set_callback(source, on_invalid, subscription, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    g_source_unref(source);
}

void
http_client_stream(HttpClient *client, const char *path, guint silence_s, SseEventFunc func,
                   HttpStreamClosed closed, gpointer data, GCancellable *cancellable)
{
    Subscription *subscription = g_new0(Subscription, 1);

    subscription->silence_s = silence_s;
    subscription->func = func;
    subscription->closed = closed;
    subscription->data = data;
    subscription->request =
        http_request_new(client, "GET", path, NULL, cancellable, &subscription->invalid);
    if (!subscription->request) {
        tell_later(subscription);
        return;
    }
    HttpRequest *request = subscription->request;
    subscription->parser = sse_parser_new(on_event, subscription);
    soup_message_headers_replace(soup_message_get_request_headers(request->message), "Accept",
                                 "text/event-stream");
    /* It never becomes free again: none of the kept connections is wanted. */
    soup_message_add_flags(request->message, SOUP_MESSAGE_NEW_CONNECTION);
    soup_session_send_async(client->session, request->message, G_PRIORITY_DEFAULT, request->stop,
                            on_sent, subscription);
}
