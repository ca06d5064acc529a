/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * A request that is too large is answered before it has come to its end, which libsoup can't do.
 * The connection is taken over: the answer is written, and then what the client still sends is read
 * and thrown away for a short while: closing a socket with unread data would send a reset, and the
 * client would lose the answer with it. The while ends with the client's end, after
 * DRAIN_MAX_BYTES, or after DRAIN_MS. */

#include <string.h>
#include "base/json.h"
#include "net/http_exchange.h"

#define DRAIN_MS 3000
#define DRAIN_MAX_BYTES (64 * 1024 * 1024)

typedef struct {
    GIOStream *io;
    GSocket *socket;
    GCancellable *stop;
    GSource *limit;
    GString *answer;
    gsize drained;
    gboolean written;
    guint under_way; /* operations */
    guint8 input[16 * 1024];
} Refusal;

static void
refusal_done(Refusal *refusal)
{
    if (--refusal->under_way > 0)
        return;
    g_socket_shutdown(refusal->socket, TRUE, TRUE, NULL);
    g_source_destroy(refusal->limit);
    g_source_unref(refusal->limit);
    g_string_free(refusal->answer, TRUE);
    g_object_unref(refusal->stop);
    g_object_unref(refusal->socket);
    g_object_unref(refusal->io);
    g_free(refusal);
}

static gboolean
on_limit(gpointer data)
{
    g_cancellable_cancel(((Refusal *)data)->stop);
    return G_SOURCE_REMOVE;
}

static void refusal_drain(Refusal *refusal);

static void
on_drained(GObject *source, GAsyncResult *result, gpointer data)
{
    Refusal *refusal = data;
    gssize length = g_input_stream_read_finish(G_INPUT_STREAM(source), result, NULL);

    refusal->drained += length > 0 ? (gsize)length : 0;
    if (length > 0 && refusal->drained < DRAIN_MAX_BYTES)
        refusal_drain(refusal);
    refusal_done(refusal);
}

static void
refusal_drain(Refusal *refusal)
{
    refusal->under_way++;
    g_input_stream_read_async(g_io_stream_get_input_stream(refusal->io), refusal->input,
                              sizeof(refusal->input), G_PRIORITY_DEFAULT, refusal->stop, on_drained,
                              refusal);
}

static void
on_answered(GObject *source, GAsyncResult *result, gpointer data)
{
    Refusal *refusal = data;

    /* Our end of the stream: the client sees the answer's end while it may still be sending. */
    if (g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL))
        g_socket_shutdown(refusal->socket, FALSE, TRUE, NULL);
    else
        g_cancellable_cancel(refusal->stop);
    refusal_done(refusal);
}

static GString *
answer_of(const char *server_name, const GError *error)
{
    g_autoptr(JsonNode) body = http_error_body(error);
    g_autofree char *text = json_text(body, FALSE);
    guint status = http_status_of(error);
    GString *answer = g_string_new(NULL);

    g_string_append_printf(answer,
                           "HTTP/1.1 %u %s\r\nServer: %s\r\nContent-Type: application/json\r\n"
                           "Content-Length: %" G_GSIZE_FORMAT
                           "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s",
                           status, soup_status_get_phrase(status), server_name, strlen(text), text);
    return answer;
}

void
http_refuse(GIOStream *io, GSocket *socket, const char *server_name, const GError *error)
{
    Refusal *refusal = g_new0(Refusal, 1);

    refusal->io = g_object_ref(io);
    refusal->socket = g_object_ref(socket);
    refusal->stop = g_cancellable_new();
    refusal->answer = answer_of(server_name, error);
    refusal->limit = g_timeout_source_new(DRAIN_MS);
    g_source_set_callback(refusal->limit, on_limit, refusal, NULL);
    g_source_attach(refusal->limit, g_main_context_get_thread_default());
    refusal->under_way = 1;
    g_output_stream_write_all_async(g_io_stream_get_output_stream(io), refusal->answer->str,
                                    refusal->answer->len, G_PRIORITY_DEFAULT, refusal->stop,
                                    on_answered, refusal);
    refusal_drain(refusal);
}
