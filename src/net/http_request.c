/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * One request of an HttpClient. libsoup would trust the system's certificate authorities; here its
 * session has no TLS database at all, so every certificate is "unknown" to it and comes to
 * check_certificate, which alone decides: signed by our CA, valid now, and of whom we expect. Host
 * names play no part.
 *
 * A request ends for one of five reasons: it was answered, the connection failed, the certificate
 * was refused, the time limit passed, the user cancelled. The last three go through `stop`, the
 * only cancellable that libsoup knows of, and http_request_error tells them apart afterwards. */

#include "net/http_request.h"

#include <string.h>
#include "base/json.h"

#define ANSWER_MAX_BYTES (64 * 1024 * 1024)
#define PIECE_BYTES (64 * 1024)

/* ---- trust ------------------------------------------------------------------------------------
 */

static gboolean
is_expected(const IdentityName *expect, const IdentityName *name, GError **error)
{
    static const char *const words[] = { "nobody", "the manager", "host" };

    if (expect->role == IDENTITY_NONE)
        return TRUE;
    gboolean same_uuid =
        expect->uuid[0] == '\0' || g_ascii_strcasecmp(expect->uuid, name->uuid) == 0;
    if (expect->role == name->role && same_uuid)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                "%s %s answers there, expected was %s%s%s", words[name->role], name->uuid,
                words[expect->role], *expect->uuid ? " " : "", expect->uuid);
    return FALSE;
}

static gboolean
check_certificate(SoupMessage *message, GTlsCertificate *certificate, GTlsCertificateFlags flags,
                  gpointer data)
{
    HttpRequest *request = data;
    g_autofree char *pem = NULL;
    IdentityName name;

    if (!request->client->ca_pem)
        return TRUE;
    g_clear_error(&request->refused);
    g_object_get(certificate, "certificate-pem", &pem, NULL);
    return identity_verify(pem, request->client->ca_pem, &request->refused) &&
           identity_name_of(pem, &name, &request->refused) &&
           is_expected(&request->client->expect, &name, &request->refused);
}

/* ---- making one --------------------------------------------------------------------------------
 */

static void
on_starting(SoupMessage *message, gpointer data)
{
    ((HttpRequest *)data)->connected = TRUE;
}

static void
on_cancelled(GCancellable *cancel, gpointer data)
{
    g_cancellable_cancel(data);
}

static gboolean
on_limit(gpointer data)
{
    HttpRequest *request = data;

    request->timed_out = TRUE;
    g_cancellable_cancel(request->stop);
    return G_SOURCE_REMOVE;
}

void
http_request_set_limit(HttpRequest *request, guint seconds)
{
    request->limit_s = seconds;
    if (!request->limit) {
        request->limit = g_timeout_source_new_seconds(seconds);
        g_source_set_callback(request->limit, on_limit, request, NULL);
        g_source_attach(request->limit, g_main_context_get_thread_default());
    }
    g_source_set_ready_time(request->limit,
                            g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC);
}

static void
fill_message(HttpRequest *request, JsonNode *body)
{
    SoupMessage *message = request->message;
    SoupMessageHeaders *headers = soup_message_get_request_headers(message);

    soup_message_headers_replace(headers, "Accept", "application/json");
    if (request->client->token) {
        g_autofree char *bearer = g_strconcat("Bearer ", request->client->token, NULL);
        soup_message_headers_replace(headers, "Authorization", bearer);
    }
    if (body) {
        char *text = json_text(body, FALSE);
        g_autoptr(GBytes) bytes = g_bytes_new_take(text, strlen(text));
        soup_message_set_request_body_from_bytes(message, "application/json", bytes);
    }
    soup_message_add_flags(message, SOUP_MESSAGE_NO_REDIRECT);
    /* On a kept connection that the server is just closing a POST would fail without our knowing
     * whether it was done. */
    if (strcmp(soup_message_get_method(message), "GET") != 0)
        soup_message_add_flags(message, SOUP_MESSAGE_NEW_CONNECTION);
    if (request->client->certificate)
        soup_message_set_tls_client_certificate(message, request->client->certificate);
    g_signal_connect(message, "accept-certificate", G_CALLBACK(check_certificate), request);
    g_signal_connect(message, "starting", G_CALLBACK(on_starting), request);
}

HttpRequest *
http_request_new(HttpClient *client, const char *method, const char *path, JsonNode *body,
                 GCancellable *cancel, GError **error)
{
    g_autofree char *url = g_strconcat(client->base_url, path, NULL);
    SoupMessage *message = *path == '/' ? soup_message_new(method, url) : NULL;

    if (!message) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "'%s' is not a URL", url);
        return NULL;
    }
    HttpRequest *request = g_new0(HttpRequest, 1);
    request->client = http_client_ref(client);
    g_hash_table_add(client->requests, request);
    request->message = message;
    request->what = g_strdup_printf("%s %s", method, url);
    request->stop = g_cancellable_new();
    fill_message(request, body);
    http_request_set_limit(request, client->timeout_s);
    if (cancel) {
        request->cancel = g_object_ref(cancel);
        request->cancel_id = g_cancellable_connect(cancel, G_CALLBACK(on_cancelled),
                                                   g_object_ref(request->stop), g_object_unref);
    }
    return request;
}

void
http_request_free(HttpRequest *request)
{
    g_hash_table_remove(request->client->requests, request);
    if (request->cancel)
        g_cancellable_disconnect(request->cancel, request->cancel_id);
    g_clear_object(&request->cancel);
    g_source_destroy(request->limit);
    g_source_unref(request->limit);
    g_signal_handlers_disconnect_by_data(request->message, request);
    g_object_unref(request->message);
    g_object_unref(request->stop);
    g_clear_error(&request->refused);
    g_free(request->what);
    http_client_unref(request->client);
    g_free(request);
}

/* ---- failures ----------------------------------------------------------------------------------
 */

static GError *
limit_error(const HttpRequest *request)
{
    if (request->connected)
        return g_error_new(GODWIT_ERROR, GODWIT_ERROR_TIMEOUT,
                           "%s: no answer within %" G_GINT64_FORMAT " s", request->what,
                           request->limit_s);
    return g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                       "%s: no connection within %" G_GINT64_FORMAT
                       " s; is the machine up, and does a firewall let it through?",
                       request->what, request->limit_s);
}

/* The server may have refused our certificate: in TLS 1.3 that shows only after the handshake,
 * often as a bare end. */
static const char *
hint_of(const HttpRequest *request, const GError *error)
{
    gboolean ended = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED) ||
                     g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT) ||
                     g_error_matches(error, G_TLS_ERROR, G_TLS_ERROR_EOF);

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
        return "; does the service run there, and is the port right?";
    if (!ended || !request->connected)
        return "";
    return request->client->certificate
               ? "; it was stopped, or it refused our certificate: its log says why"
               : "; it was stopped, or it demands a certificate of its cluster";
}

GError *
http_request_error(HttpRequest *request, const GError *error)
{
    if (request->refused)
        return g_error_new(GODWIT_ERROR,
                           request->refused->code == GODWIT_ERROR_INTERNAL
                               ? GODWIT_ERROR_INTERNAL
                               : GODWIT_ERROR_UNAUTHORIZED,
                           "%s: %s", request->what, request->refused->message);
    if (request->timed_out)
        return limit_error(request);
    if (error->domain == GODWIT_ERROR)
        return g_error_copy(error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return g_error_new(GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "%s: cancelled", request->what);
    if (g_error_matches(error, G_TLS_ERROR, G_TLS_ERROR_CERTIFICATE_REQUIRED) ||
        g_error_matches(error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE))
        return g_error_new(
            GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
            "%s: the server demands a certificate of its cluster, and ours is none: %s",
            request->what, error->message);
    return g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "%s: %s%s", request->what,
                       error->message, hint_of(request, error));
}

/* ---- the answer --------------------------------------------------------------------------------
 */

typedef struct {
    HttpRequest *request;
    GInputStream *stream;
    GString *text;
    HttpReadDone done;
    gpointer data;
} Reading;

static void
reading_end(Reading *reading, const GError *error)
{
    g_autoptr(GError) told = error ? http_request_error(reading->request, error) : NULL;

    reading->done(told ? NULL : reading->text, told, reading->data);
    g_string_free(reading->text, TRUE);
    g_object_unref(reading->stream);
    g_free(reading);
}

static void read_more(Reading *reading);

static void
on_piece(GObject *source, GAsyncResult *result, gpointer data)
{
    Reading *reading = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) piece =
        g_input_stream_read_bytes_finish(G_INPUT_STREAM(source), result, &error);
    gsize length = piece ? g_bytes_get_size(piece) : 0;

    if (reading->text->len + length > ANSWER_MAX_BYTES)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                    "%s: the answer has over %d bytes", reading->request->what, ANSWER_MAX_BYTES);
    if (error || length == 0) {
        reading_end(reading, error);
        return;
    }
    g_string_append_len(reading->text, g_bytes_get_data(piece, NULL), (gssize)length);
    read_more(reading);
}

static void
read_more(Reading *reading)
{
    g_input_stream_read_bytes_async(reading->stream, PIECE_BYTES, G_PRIORITY_DEFAULT,
                                    reading->request->stop, on_piece, reading);
}

void
http_request_read(HttpRequest *request, GInputStream *stream, HttpReadDone done, gpointer data)
{
    Reading *reading = g_new0(Reading, 1);

    reading->request = request;
    reading->stream = g_object_ref(stream);
    reading->text = g_string_new(NULL);
    reading->done = done;
    reading->data = data;
    read_more(reading);
}

static const char *
text_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node)
                                                                   : NULL;
}

/* The error that {"error": {"code", "message"}} says; where it says none, the status. */
static void
set_error_of(const HttpRequest *request, JsonNode *node, GError **error)
{
    JsonObject *object = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonNode *member = object ? json_object_get_member(object, "error") : NULL;
    JsonObject *inner =
        member && JSON_NODE_HOLDS_OBJECT(member) ? json_node_get_object(member) : NULL;
    const char *code = inner ? text_member(inner, "code") : NULL;
    const char *message = inner ? text_member(inner, "message") : NULL;

    if (code && message)
        g_set_error_literal(error, GODWIT_ERROR, godwit_error_from_nick(code), message);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "%s: answered with status %u %s; is this a Godwit server?", request->what,
                    soup_message_get_status(request->message),
                    soup_message_get_reason_phrase(request->message));
}

JsonNode *
http_request_answer(HttpRequest *request, const GString *text, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(JsonNode) node = text->len ? json_parse_limited(text->str, text->len, &local) : NULL;

    if (!SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(request->message))) {
        set_error_of(request, node, error);
        return NULL;
    }
    if (local) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL, "%s: the answer is not JSON: %s",
                    request->what, local->message);
        return NULL;
    }
    return node ? g_steal_pointer(&node) : json_node_new(JSON_NODE_NULL);
}
