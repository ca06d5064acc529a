/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * The server's end of an event stream. libsoup would notice a client that has gone only when it
 * next writes, and would not say how much is piled up; so the connection is taken away from it and
 * driven here: one write under way at a time, of all that has gathered since the last, and always
 * one read, whose end tells at once that the client has gone.
 *
 * HELD (the handler is at work, events gather) → OPEN → ENDING (our side closes: what has gathered
 * goes out first) → GONE. From OPEN the client's end, an error or a pile of over PILE_MAX_BYTES
 * leads to GONE; the owner is told of that from the main context, never from inside
 * http_stream_send, because it may just be walking over its streams. After that, or after its own
 * http_stream_close, the owner must not touch the stream. References: the server's list, the read,
 * the write, the telling. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include "net/http_exchange.h"
#include "net/sse.h"

#define PILE_MAX_BYTES (8 * 1024 * 1024)
#define STALL_MS 60000 /* the kernel gives up on a client that takes nothing for so long */

typedef enum { STREAM_HELD, STREAM_OPEN, STREAM_ENDING, STREAM_GONE } StreamState;

struct HttpStream {
    guint references;
    HttpServer *server; /* NULL once off its list */
    StreamState state;
    GIOStream *io;
    GSocket *socket;
    GCancellable *stop; /* ends read and write */
    GString *pile;      /* not yet written */
    GBytes *writing;    /* under way, or NULL */
    guint8 input[64];
    GSource *telling; /* of the owner */
    void (*closed)(HttpStream *stream, gpointer data);
    gpointer closed_data;
};

static HttpStream *
stream_ref(HttpStream *stream)
{
    stream->references++;
    return stream;
}

static void
stream_unref(HttpStream *stream)
{
    if (--stream->references > 0)
        return;
    g_clear_object(&stream->io);
    g_clear_object(&stream->socket);
    g_object_unref(stream->stop);
    g_string_free(stream->pile, TRUE);
    g_clear_pointer(&stream->writing, g_bytes_unref);
    g_clear_pointer(&stream->telling, g_source_unref);
    g_free(stream);
}

HttpStream *
http_stream_new(HttpServer *server)
{
    HttpStream *stream = g_new0(HttpStream, 1);

    stream->references = 1;
    stream->server = server;
    stream->stop = g_cancellable_new();
    stream->pile = g_string_new(NULL);
    g_ptr_array_add(server->streams, stream);
    return stream;
}

/* Off the server's list, with its reference. */
static void
stream_delist(HttpStream *stream)
{
    if (!stream->server)
        return;
    g_ptr_array_remove_fast(stream->server->streams, stream);
    stream->server = NULL;
    stream_unref(stream);
}

/* Ends the connection without waiting for anything. */
static void
stream_cut(HttpStream *stream)
{
    stream->state = STREAM_GONE;
    g_cancellable_cancel(stream->stop);
    if (stream->socket)
        g_socket_shutdown(stream->socket, TRUE, TRUE, NULL);
}

static gboolean
on_tell(gpointer data)
{
    HttpStream *stream = data;

    if (stream->closed)
        stream->closed(stream, stream->closed_data);
    stream_delist(stream);
    return G_SOURCE_REMOVE;
}

/* The client has gone, or is made to go. */
static void
stream_drop(HttpStream *stream, const char *why)
{
    gboolean owned = stream->state == STREAM_OPEN;

    if (stream->state == STREAM_GONE)
        return;
    g_debug("http: an event stream ends: %s", why);
    stream_cut(stream);
    if (!owned) {
        stream_delist(stream);
        return;
    }
    stream->telling = g_idle_source_new();
    g_source_set_priority(stream->telling, G_PRIORITY_DEFAULT);
    g_source_set_callback(stream->telling, on_tell, stream_ref(stream),
                          (GDestroyNotify)stream_unref);
    g_source_attach(stream->telling, stream->server->context);
}

/* ---- reading and writing ------------------------------------------------------------------------
 */

static void stream_read(HttpStream *stream);
static void stream_write(HttpStream *stream);

static void
on_read(GObject *source, GAsyncResult *result, gpointer data)
{
    HttpStream *stream = data;
    g_autoptr(GError) error = NULL;
    gssize length = g_input_stream_read_finish(G_INPUT_STREAM(source), result, &error);

    /* What a client says after its request means nothing here. */
    if (length > 0 && stream->state != STREAM_GONE)
        stream_read(stream);
    else
        stream_drop(stream, error ? error->message : "the client closed it");
    stream_unref(stream);
}

static void
stream_read(HttpStream *stream)
{
    g_input_stream_read_async(g_io_stream_get_input_stream(stream->io), stream->input,
                              sizeof(stream->input), G_PRIORITY_DEFAULT, stream->stop, on_read,
                              stream_ref(stream));
}

static void
on_closed(GObject *source, GAsyncResult *result, gpointer data)
{
    HttpStream *stream = data;

    g_io_stream_close_finish(G_IO_STREAM(source), result, NULL);
    stream_drop(stream, "closed here");
    stream_unref(stream);
}

static void
on_written(GObject *source, GAsyncResult *result, gpointer data)
{
    HttpStream *stream = data;
    g_autoptr(GError) error = NULL;
    gboolean ok = g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, &error);

    g_clear_pointer(&stream->writing, g_bytes_unref);
    if (ok)
        stream_write(stream);
    else
        stream_drop(stream, error->message);
    stream_unref(stream);
}

/* Writes what has gathered, if nothing is under way. */
static void
stream_write(HttpStream *stream)
{
    gboolean live = stream->state == STREAM_OPEN || stream->state == STREAM_ENDING;

    if (!live || stream->writing)
        return;
    if (stream->pile->len > 0) {
        stream->writing = g_string_free_to_bytes(stream->pile);
        stream->pile = g_string_new(NULL);
        g_output_stream_write_all_async(g_io_stream_get_output_stream(stream->io),
                                        g_bytes_get_data(stream->writing, NULL),
                                        g_bytes_get_size(stream->writing), G_PRIORITY_DEFAULT,
                                        stream->stop, on_written, stream_ref(stream));
    } else if (stream->state == STREAM_ENDING) {
        g_io_stream_close_async(stream->io, G_PRIORITY_DEFAULT, stream->stop, on_closed,
                                stream_ref(stream));
    }
}

static void
stream_add(HttpStream *stream, const char *text, gsize length)
{
    gsize under_way = stream->writing ? g_bytes_get_size(stream->writing) : 0;

    if (stream->state != STREAM_HELD && stream->state != STREAM_OPEN)
        return;
    g_string_append_len(stream->pile, text, (gssize)length);
    if (stream->state == STREAM_OPEN && stream->pile->len + under_way > PILE_MAX_BYTES)
        stream_drop(stream, "the client doesn't keep up");
    else
        stream_write(stream);
}

/* ---- for the server
 * ------------------------------------------------------------------------------ */

void
http_stream_connect(HttpStream *stream, GIOStream *io, GSocket *socket)
{
    g_autofree char *head =
        g_strdup_printf("HTTP/1.1 200 OK\r\nServer: %s\r\nContent-Type: text/event-stream\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                        stream->server->name);
    gboolean ending = stream->state == STREAM_ENDING;

    g_assert(ending || stream->state == STREAM_HELD);
    stream->io = g_object_ref(io);
    stream->socket = g_object_ref(socket);
    g_socket_set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, STALL_MS, NULL);
    g_string_prepend(stream->pile, head);
    if (!ending)
        stream->state = STREAM_OPEN;
    stream_read(stream);
    stream_write(stream);
}

void
http_stream_discard(HttpStream *stream)
{
    stream->state = STREAM_GONE;
    stream_delist(stream);
}

void
http_stream_keep_alive(HttpStream *stream)
{
    static const char comment[] = ": keep-alive\n\n";

    stream_add(stream, comment, sizeof(comment) - 1);
}

void
http_stream_abort(HttpStream *stream)
{
    gboolean tell = stream->state == STREAM_OPEN || stream->telling;

    stream_ref(stream);
    stream_cut(stream);
    if (stream->telling)
        g_source_destroy(stream->telling);
    if (tell && stream->closed)
        stream->closed(stream, stream->closed_data);
    stream_delist(stream);
    stream_unref(stream);
}

/* ---- for the owner
 * ------------------------------------------------------------------------------- */

void
http_stream_send(HttpStream *stream, const char *event, const char *data)
{
    GString *text = sse_format(event, NULL, data);

    stream_add(stream, text->str, text->len);
    g_string_free(text, TRUE);
}

void
http_stream_on_closed(HttpStream *stream, void (*func)(HttpStream *stream, gpointer data),
                      gpointer data)
{
    stream->closed = func;
    stream->closed_data = data;
}

void
http_stream_close(HttpStream *stream)
{
    stream->closed = NULL;
    if (stream->state == STREAM_GONE)
        return;
    /* HELD: http_stream_connect finds it ENDING. */
    gboolean open = stream->state == STREAM_OPEN;
    stream->state = STREAM_ENDING;
    if (open)
        stream_write(stream);
}
