/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * One request and its answer. What can be judged from the request's head is judged before its body
 * has come: path, method, who asks and whether they may; then of the body only its length is
 * counted, and over the limit the connection is taken over and refused (http_refusal.c). With the
 * body there, parameters and body are checked against the schema and the handler is called: at once
 * (MAIN), in a thread (THREAD: the message is paused, nothing of the exchange is touched here until
 * the thread has posted the answer back), or with the connection taken over (STREAM).
 *
 * COMING → RUNNING → ANSWERED, and from each the client may go: then the message is gone, and what
 * a thread still brings is thrown away. References: the server's set while the message lives, and
 * the thread's. A time limit of the connection spans COMING, so that a client that sends a byte a
 * minute ends; another the answer's way; a third the idle time after it. Only the handler has none.
 */

#include <string.h>
#include "base/json.h"
#include "net/http_exchange.h"

#define QUEUE_MAX 256

struct HttpExchange {
    gatomicrefcount references;
    HttpServer *server;         /* NULL: the server has ended */
    SoupServerMessage *message; /* NULL: it is gone */
    gsize received;
    gboolean come; /* the body is there */
    const HttpRoute *route;
    const SchemaOperation *operation;
    HttpCall call; /* its strings are owned here */
    /* THREAD: written by the thread, read after */
    JsonNode *answer;
    GError *error;
};

static void
exchange_unref(HttpExchange *exchange)
{
    HttpCall *call = &exchange->call;

    if (!g_atomic_ref_count_dec(&exchange->references))
        return;
    g_free((char *)call->host_uuid);
    g_free((char *)call->client);
    g_free((char *)call->token);
    g_clear_pointer(&call->params, g_hash_table_unref);
    g_clear_pointer(&call->body, json_node_unref);
    g_clear_pointer(&exchange->answer, json_node_unref);
    g_clear_error(&exchange->error);
    g_free(exchange);
}

static HttpPeer *
peer_of(HttpExchange *exchange)
{
    return http_peer_of(soup_server_message_get_remote_address(exchange->message));
}

/* The message is over, for whatever reason. */
static void
exchange_end(HttpExchange *exchange)
{
    if (!exchange->message)
        return;
    g_signal_handlers_disconnect_by_data(exchange->message, exchange);
    g_object_set_data(G_OBJECT(exchange->message), "godwit-exchange", NULL);
    g_clear_object(&exchange->message);
    g_hash_table_remove(exchange->server->exchanges, exchange);
    exchange_unref(exchange);
}

void
http_exchange_abandon(HttpExchange *exchange)
{
    g_atomic_ref_count_inc(&exchange->references);
    exchange_end(exchange);
    exchange->server = NULL;
    exchange_unref(exchange);
}

/* ---- answering
 * ----------------------------------------------------------------------------------- */

static void
answer_text(HttpExchange *exchange, guint status, JsonNode *body)
{
    SoupMessageHeaders *headers = soup_server_message_get_response_headers(exchange->message);

    soup_message_headers_replace(headers, "Cache-Control", "no-store");
    soup_message_headers_replace(headers, "X-Content-Type-Options", "nosniff");
    soup_server_message_set_status(exchange->message, status, NULL);
    if (exchange->come)
        http_peer_set_limit(peer_of(exchange), exchange->server->idle_s);
    if (!body)
        return;
    char *text = json_text(body, FALSE);
    soup_server_message_set_response(exchange->message, "application/json", SOUP_MEMORY_TAKE, text,
                                     strlen(text));
}

static void
answer_error(HttpExchange *exchange, const GError *error)
{
    g_autoptr(JsonNode) body = http_error_body(error);
    SoupMessageHeaders *headers = soup_server_message_get_response_headers(exchange->message);
    guint status = http_status_of(error);

    if (status == SOUP_STATUS_UNAUTHORIZED)
        soup_message_headers_replace(headers, "WWW-Authenticate", "Bearer realm=\"godwit\"");
    if (status == SOUP_STATUS_METHOD_NOT_ALLOWED && !exchange->operation) {
        const char *path = g_uri_get_path(soup_server_message_get_uri(exchange->message));
        g_autofree char *methods = schema_methods(exchange->server->schema, path);
        soup_message_headers_replace(headers, "Allow", methods);
    }
    answer_text(exchange, status, body);
}

static void
answer(HttpExchange *exchange, JsonNode *body, const GError *error)
{
    if (error)
        answer_error(exchange, error);
    else
        answer_text(exchange, body ? exchange->call.status : SOUP_STATUS_NO_CONTENT, body);
}

/* Away from libsoup, for which the message is over then, and so is the exchange. Only while libsoup
 * reads the message. */
static GIOStream *
take_connection(HttpExchange *exchange, GSocket **socket)
{
    g_autoptr(SoupServerMessage) message = g_object_ref(exchange->message);

    *socket = g_object_ref(peer_of(exchange)->socket);
    http_peer_set_limit(peer_of(exchange), 0);
    exchange_end(exchange);
    GIOStream *io = soup_server_message_steal_connection(message);
    g_assert(io);
    return io;
}

/* Over the limit: libsoup is out of it from here on. */
static void
refuse_large(HttpExchange *exchange)
{
    g_autoptr(GError) error = g_error_new(GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                                          "the request's body has over %" G_GSIZE_FORMAT " bytes",
                                          exchange->server->max_body_bytes);
    HttpServer *server = exchange->server;
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GIOStream) io = take_connection(exchange, &socket);

    http_refuse(io, socket, server->name, error);
}

/* ---- who asks
 * ------------------------------------------------------------------------------------ */

/* FALSE where there is an Authorization that isn't a bearer token. */
static gboolean
take_token(HttpExchange *exchange, GError **error)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(exchange->message);
    const char *value = soup_message_headers_get_one(headers, "Authorization");

    if (!value)
        return TRUE;
    if (g_ascii_strncasecmp(value, "Bearer ", 7) == 0) {
        exchange->call.token = g_strstrip(g_strdup(value + 7));
        return TRUE;
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                "only 'Authorization: Bearer TOKEN' is understood; 'godwit login' stores a token");
    return FALSE;
}

static HttpRole
role_of(HttpExchange *exchange)
{
    static const HttpRole roles[] = { HTTP_ANYONE, HTTP_MANAGER, HTTP_HOST };
    const IdentityName *who = &peer_of(exchange)->who;
    HttpServer *server = exchange->server;
    HttpRole role = HTTP_ANYONE;

    if (exchange->call.token && server->token_role)
        role = server->token_role(exchange->call.token, server->service);
    if (role != HTTP_ANYONE)
        return role;
    if (who->role == IDENTITY_HOST)
        exchange->call.host_uuid = g_strdup(who->uuid);
    return roles[who->role];
}

static gboolean
authorize(HttpExchange *exchange, GError **error)
{
    guint allowed = exchange->route->roles;

    if (allowed != HTTP_ANYONE && !take_token(exchange, error))
        return FALSE;
    if (allowed == HTTP_ANYONE)
        take_token(exchange, NULL);
    exchange->call.role = role_of(exchange);
    if (allowed == HTTP_ANYONE || exchange->call.role & allowed)
        return TRUE;
    if (exchange->call.role == HTTP_ANYONE)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                    exchange->call.token ? "the token is not known here; it may have been deleted. "
                                           "'godwit login' stores another"
                                         : "this needs a token; 'godwit login' stores one");
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "%s may not be asked for by this caller", exchange->route->operation);
    return FALSE;
}

/* ---- the request comes
 * ----------------------------------------------------------------------------- */

static gboolean
take_query(const char *query, GHashTable *params, GError **error)
{
    g_auto(GStrv) pairs = g_strsplit(query ? query : "", "&", -1);

    for (guint i = 0; pairs[i]; i++) {
        if (pairs[i][0] == '\0')
            continue;
        g_strdelimit(pairs[i], "+", ' ');
        char *equals = strchr(pairs[i], '=');
        if (equals)
            *equals = '\0';
        g_autofree char *name = g_uri_unescape_string(pairs[i], NULL);
        g_autofree char *value = g_uri_unescape_string(equals ? equals + 1 : "", NULL);
        if (!name || !value || !g_utf8_validate(name, -1, NULL) ||
            !g_utf8_validate(value, -1, NULL)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                        "the query is not percent-encoded UTF-8");
            return FALSE;
        }
        if (g_hash_table_contains(params, name)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: given twice", name);
            return FALSE;
        }
        g_hash_table_insert(params, g_steal_pointer(&name), g_steal_pointer(&value));
    }
    return TRUE;
}

static gboolean
take_head(HttpExchange *exchange, GError **error)
{
    HttpServer *server = exchange->server;
    HttpCall *call = &exchange->call;
    GUri *uri = soup_server_message_get_uri(exchange->message);

    exchange->operation =
        schema_match(server->schema, soup_server_message_get_method(exchange->message),
                     g_uri_get_path(uri), call->params, error);
    if (!exchange->operation)
        return FALSE;
    call->operation = schema_operation_id(exchange->operation);
    exchange->route = g_hash_table_lookup(server->routes, call->operation);
    return authorize(exchange, error) && take_query(g_uri_get_query(uri), call->params, error) &&
           schema_check_parameters(exchange->operation, call->params, error);
}

static void
on_headers(SoupServerMessage *message, gpointer data)
{
    HttpExchange *exchange = data;
    g_autoptr(GError) error = NULL;
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);

    if (soup_server_message_get_status(message) != 0)
        return; /* libsoup found it malformed */
    if (soup_message_headers_get_encoding(headers) == SOUP_ENCODING_CONTENT_LENGTH &&
        soup_message_headers_get_content_length(headers) >
            (goffset)exchange->server->max_body_bytes) {
        refuse_large(exchange);
        return;
    }
    if (take_head(exchange, &error))
        return;
    /* The answer is settled; libsoup sends it after the body, which needn't be kept. */
    soup_message_body_set_accumulate(soup_server_message_get_request_body(message), FALSE);
    answer_error(exchange, error);
}

static void
on_chunk(SoupServerMessage *message, GBytes *chunk, gpointer data)
{
    HttpExchange *exchange = data;

    exchange->received += g_bytes_get_size(chunk);
    if (exchange->received > exchange->server->max_body_bytes)
        refuse_large(exchange);
}

static void
on_body(SoupServerMessage *message, gpointer data)
{
    HttpExchange *exchange = data;

    /* libsoup's own answers and those settled early go out now; for the others answer_text sets it
     * again. */
    exchange->come = TRUE;
    http_peer_set_limit(peer_of(exchange),
                        soup_server_message_get_status(message) ? exchange->server->idle_s : 0);
}

static void
on_over(SoupServerMessage *message, gpointer data)
{
    HttpExchange *exchange = data;

    http_peer_set_limit(peer_of(exchange), exchange->server->idle_s);
    exchange_end(exchange);
}

void
http_exchange_begin(HttpServer *server, SoupServerMessage *message)
{
    HttpExchange *exchange = g_new0(HttpExchange, 1);

    g_atomic_ref_count_init(&exchange->references);
    g_hash_table_add(server->exchanges, exchange);
    exchange->server = server;
    exchange->message = g_object_ref(message);
    exchange->call.params = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    exchange->call.status = SOUP_STATUS_OK;
    exchange->call.client = g_strdup(soup_server_message_get_remote_host(message));
    g_object_set_data(G_OBJECT(message), "godwit-exchange", exchange);
    g_signal_connect(message, "got-headers", G_CALLBACK(on_headers), exchange);
    g_signal_connect(message, "got-chunk", G_CALLBACK(on_chunk), exchange);
    g_signal_connect(message, "got-body", G_CALLBACK(on_body), exchange);
    g_signal_connect(message, "finished", G_CALLBACK(on_over), exchange);
    g_signal_connect(message, "disconnected", G_CALLBACK(on_over), exchange);
    http_peer_set_limit(peer_of(exchange), server->request_s);
}

/* ---- the handler runs
 * ------------------------------------------------------------------------------ */

static gboolean
take_body(HttpExchange *exchange, GError **error)
{
    SoupMessageBody *body = soup_server_message_get_request_body(exchange->message);
    g_autoptr(GBytes) bytes = soup_message_body_flatten(body);
    gsize length;
    const char *text = g_bytes_get_data(bytes, &length);

    if (length > 0) {
        SoupMessageHeaders *headers = soup_server_message_get_request_headers(exchange->message);
        const char *type = soup_message_headers_get_content_type(headers, NULL);
        if (g_strcmp0(type, "application/json") != 0) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                        "the body must be 'Content-Type: application/json', not '%s'",
                        type ? type : "nothing");
            return FALSE;
        }
        exchange->call.body = json_parse_limited(text, length, error);
        if (!exchange->call.body) {
            g_prefix_error(error, "body: ");
            return FALSE;
        }
    }
    return schema_check_body(exchange->operation, exchange->call.body, error);
}

static void
run_main(HttpExchange *exchange)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) body =
        exchange->route->run(&exchange->call, exchange->server->service, &error);

    answer(exchange, body, error);
}

static gboolean
on_worked(gpointer data)
{
    HttpExchange *exchange = data;

    if (exchange->message) {
        answer(exchange, exchange->answer, exchange->error);
        soup_server_message_unpause(exchange->message);
    }
    return G_SOURCE_REMOVE;
}

void
http_exchange_work(HttpExchange *exchange)
{
    /* http_server_free waits for this, so the server is there until the answer is posted. */
    HttpServer *server = exchange->server;
    GSource *source = g_idle_source_new();

    if (g_atomic_int_get(&server->ending))
        exchange->error =
            g_error_new(GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "the service is ending");
    else
        exchange->answer = exchange->route->run(&exchange->call, server->service, &exchange->error);
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_worked, exchange, (GDestroyNotify)exchange_unref);
    g_source_attach(source, server->context);
    g_source_unref(source);
}

static void
run_thread(HttpExchange *exchange)
{
    if (g_thread_pool_unprocessed(exchange->server->pool) >= QUEUE_MAX) {
        g_autoptr(GError) error =
            g_error_new(GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "%d requests wait already; try again in a while", QUEUE_MAX);
        answer_error(exchange, error);
        return;
    }
    soup_server_message_pause(exchange->message);
    g_atomic_ref_count_inc(&exchange->references);
    g_thread_pool_push(exchange->server->pool, exchange, NULL);
}

static void
run_stream(HttpExchange *exchange)
{
    HttpServer *server = exchange->server;
    g_autoptr(GError) error = NULL;

    if (strcmp(soup_server_message_get_method(exchange->message), "HEAD") == 0) {
        soup_server_message_set_response(exchange->message, "text/event-stream", SOUP_MEMORY_STATIC,
                                         "", 0);
        soup_server_message_set_status(exchange->message, SOUP_STATUS_OK, NULL);
        return;
    }
    if (server->streams->len >= server->max_streams) {
        error = g_error_new(GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                            "%u event streams are open already, which is the limit; close one",
                            server->streams->len);
        answer_error(exchange, error);
        return;
    }
    HttpStream *stream = http_stream_new(server);
    if (!exchange->route->stream(&exchange->call, stream, server->service, &error)) {
        http_stream_discard(stream);
        answer_error(exchange, error);
        return;
    }
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GIOStream) io = take_connection(exchange, &socket);
    http_stream_connect(stream, io, socket);
}

void
http_exchange_run(SoupServerMessage *message)
{
    HttpExchange *exchange = g_object_get_data(G_OBJECT(message), "godwit-exchange");
    g_autoptr(GError) error = NULL;

    if (!take_body(exchange, &error)) {
        answer_error(exchange, error);
        return;
    }
    switch (exchange->route->mode) {
    case HTTP_MAIN:
        run_main(exchange);
        break;
    case HTTP_THREAD:
        run_thread(exchange);
        break;
    case HTTP_STREAM:
        run_stream(exchange);
        break;
    }
}
