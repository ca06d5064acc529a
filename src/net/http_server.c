/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * The server is four parts: http_listener.c brings connections through TLS and says who the client
 * is, libsoup speaks HTTP/1.1 on them, http_exchange.c takes each request to its handler and back,
 * http_stream.c and http_refusal.c drive the connections that were taken away from libsoup. Here
 * they are put together, and taken apart in an order in which nobody meets something freed: no new
 * connections, threads end, streams end, requests are forgotten, libsoup ends.
 *
 * The routes are checked against the schema when the server is made: an operation without a route,
 * or the reverse, is an error then and not a surprise later. */

#include "net/http_server.h"

#include <errno.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/json.h"
#include "net/http_exchange.h"

#define REQUEST_S 30
#define IDLE_S 60
#define KEEP_ALIVE_S 15

/* ---- errors
 * ---------------------------------------------------------------------------------------- */

guint
http_status_of(const GError *error)
{
    static const guint statuses[GODWIT_N_ERRORS] = {
        [GODWIT_ERROR_INVALID] = 400,     [GODWIT_ERROR_NOT_FOUND] = 404,
        [GODWIT_ERROR_CONFLICT] = 409,    [GODWIT_ERROR_REFUSED] = 422,
        [GODWIT_ERROR_UNREACHABLE] = 502, [GODWIT_ERROR_UNAUTHORIZED] = 401,
        [GODWIT_ERROR_FORBIDDEN] = 403,   [GODWIT_ERROR_EXPIRED] = 410,
        [GODWIT_ERROR_UNSUPPORTED] = 405, [GODWIT_ERROR_NO_SPACE] = 507,
        [GODWIT_ERROR_TOO_LARGE] = 413,   [GODWIT_ERROR_TIMEOUT] = 504,
        [GODWIT_ERROR_CANCELLED] = 409,   [GODWIT_ERROR_PROTOCOL] = 400,
        [GODWIT_ERROR_HYPERVISOR] = 502,  [GODWIT_ERROR_UNSETTLED] = 500,
        [GODWIT_ERROR_INTERNAL] = 500,
    };

    /* By the word, so that GIO's own errors are mapped as everywhere. */
    return statuses[godwit_error_from_nick(godwit_error_nick(error))];
}

JsonNode *
http_error_body(const GError *error)
{
    JsonObject *body = json_object_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_object_member(body, "error", json_error(error));
    json_node_take_object(node, body);
    return node;
}

/* ---- routes
 * ---------------------------------------------------------------------------------------- */

static gboolean
take_routes(HttpServer *server, const HttpRoute *routes, GError **error)
{
    g_autoptr(GPtrArray) ids = schema_operation_ids(server->schema);

    for (; routes->operation; routes++) {
        g_assert((routes->mode == HTTP_STREAM ? routes->run == NULL : routes->stream == NULL));
        g_assert(routes->run || routes->stream);
        if (!g_ptr_array_find_with_equal_func(ids, routes->operation, g_str_equal, NULL) ||
            !g_hash_table_insert(server->routes, (gpointer)routes->operation, (gpointer)routes)) {
            g_set_error(
                error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                "the route '%s' is not an operation of the API description, or stands there twice",
                routes->operation);
            return FALSE;
        }
    }
    for (guint i = 0; i < ids->len; i++) {
        if (g_hash_table_contains(server->routes, ids->pdata[i]))
            continue;
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                    "the operation '%s' of the API description has no route",
                    (const char *)ids->pdata[i]);
        return FALSE;
    }
    return TRUE;
}

/* ---- putting together
 * ------------------------------------------------------------------------------- */

static void
on_connected(GIOStream *stream, GSocketAddress *local, GSocketAddress *remote, gpointer data)
{
    HttpServer *server = data;
    g_autoptr(GError) error = NULL;

    if (!soup_server_accept_iostream(server->soup, stream, local, remote, &error))
        g_debug("http: libsoup doesn't take a connection: %s", error->message);
}

static void
on_request_started(SoupServer *soup, SoupServerMessage *message, gpointer data)
{
    http_exchange_begin(data, message);
}

static void
on_request(SoupServer *soup, SoupServerMessage *message, const char *path, GHashTable *query,
           gpointer data)
{
    http_exchange_run(message);
}

/* Before libsoup closes a connection that failed: its TLS farewell would wait for a client that
 * takes nothing. */
static void
on_request_aborted(SoupServer *soup, SoupServerMessage *message, gpointer data)
{
    g_socket_shutdown(http_peer_of(soup_server_message_get_remote_address(message))->socket, TRUE,
                      TRUE, NULL);
}

static void
work(gpointer item, gpointer data)
{
    http_exchange_work(item);
}

static gboolean
on_keep_alive(gpointer data)
{
    HttpServer *server = data;

    for (guint i = 0; i < server->streams->len; i++)
        http_stream_keep_alive(server->streams->pdata[i]);
    return G_SOURCE_CONTINUE;
}

static HttpListener *
listen_with(HttpServer *server, const HttpServerConfig *config, GError **error)
{
    HttpListenerConfig listening = {
        .identity = config->identity,
        .client_certificates = config->client_certificates,
        .addresses = config->addresses,
        .port = config->port,
        .handshake_s = server->request_s,
        .connected = on_connected,
        .data = server,
    };

    return http_listener_new(&listening, error);
}

/* libsoup keeps a connection after its first request only while it listens on something itself. So
 * it gets a socket from which nothing ever comes: one end of a pair, of which we hold the other. */
static gboolean
soup_listen_quietly(HttpServer *server, GError **error)
{
    int pair[2];
    g_autoptr(GError) local = NULL;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "can't make a pair of sockets: %s",
                    g_strerror(errno));
        return FALSE;
    }
    server->quiet = pair[0];
    g_autoptr(GSocket) socket = g_socket_new_from_fd(pair[1], &local);
    if (socket && soup_server_listen_socket(server->soup, socket, 0, &local))
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "libsoup doesn't listen: %s",
                local->message);
    return FALSE;
}

static void
soup_start(HttpServer *server)
{
    server->soup = soup_server_new("server-header", server->name, "raw-paths", TRUE, NULL);
    g_signal_connect(server->soup, "request-started", G_CALLBACK(on_request_started), server);
    g_signal_connect(server->soup, "request-aborted", G_CALLBACK(on_request_aborted), server);
    soup_server_add_handler(server->soup, NULL, on_request, server, NULL);
}

HttpServer *
http_server_new(const HttpServerConfig *config, GError **error)
{
    HttpServer *server = g_new0(HttpServer, 1);

    server->name = g_strdup(config->name);
    server->schema = config->schema;
    server->routes = g_hash_table_new(g_str_hash, g_str_equal);
    server->service = config->service;
    server->token_role = config->token_role;
    server->max_body_bytes = config->max_body_bytes;
    server->max_streams = config->max_streams;
    server->request_s = config->request_s ? config->request_s : REQUEST_S;
    server->idle_s = config->idle_s ? config->idle_s : IDLE_S;
    server->context = g_main_context_ref_thread_default();
    server->pool = g_thread_pool_new(work, NULL, (gint)MAX(config->threads, 1), FALSE, NULL);
    server->exchanges = g_hash_table_new(NULL, NULL);
    server->streams = g_ptr_array_new();
    server->quiet = -1;
    soup_start(server);
    if (take_routes(server, config->routes, error) && soup_listen_quietly(server, error))
        server->listener = listen_with(server, config, error);
    if (!server->listener) {
        http_server_free(server);
        return NULL;
    }
    server->keep_alive = g_timeout_source_new_seconds(KEEP_ALIVE_S);
    g_source_set_callback(server->keep_alive, on_keep_alive, server, NULL);
    g_source_attach(server->keep_alive, server->context);
    return server;
}

guint
http_server_port(const HttpServer *server)
{
    return http_listener_port(server->listener);
}

void
http_server_free(HttpServer *server)
{
    if (!server)
        return;
    http_listener_free(server->listener);
    g_atomic_int_set(&server->ending, TRUE);
    g_thread_pool_free(server->pool, FALSE, TRUE);
    if (server->keep_alive) {
        g_source_destroy(server->keep_alive);
        g_source_unref(server->keep_alive);
    }
    while (server->streams->len > 0)
        http_stream_abort(server->streams->pdata[server->streams->len - 1]);
    g_autoptr(GList) exchanges = g_hash_table_get_keys(server->exchanges);
    for (GList *at = exchanges; at; at = at->next)
        http_exchange_abandon(at->data);
    soup_server_disconnect(server->soup);
    g_object_unref(server->soup);
    fd_close_p(&server->quiet);
    g_ptr_array_unref(server->streams);
    g_hash_table_unref(server->exchanges);
    g_hash_table_unref(server->routes);
    g_main_context_unref(server->context);
    g_free(server->name);
    g_free(server);
}
