/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * A client has two libsoup sessions: one for the main context of its thread, one for a private
 * context that only http_client_call runs, so that a blocking call doesn't let anything else of the
 * thread happen meanwhile. A libsoup session is tied to the context it is made in. Connections are
 * kept for a short while, shorter than the server keeps them.
 *
 * Requests under way hold a reference on the client: http_client_free cancels them, and their
 * callbacks come later, from the main context, with CANCELLED. */

#include "net/http_client.h"

#include <string.h>
#include "base/json.h"
#include "net/http_request.h"

#define TIMEOUT_DEFAULT_S 30
#define IDLE_S 20
#define CONNECTIONS_MAX 64
#define FINGERPRINT_MIN 32

/* ---- the client --------------------------------------------------------------------------------
 */

static SoupSession *
session_new(void)
{
    SoupSession *session = soup_session_new_with_options(
        "user-agent", "godwit/" GODWIT_VERSION, "idle-timeout", IDLE_S, "timeout", 0, "max-conns",
        CONNECTIONS_MAX, "max-conns-per-host", CONNECTIONS_MAX, NULL);

    soup_session_set_tls_database(session, NULL); /* trust nothing by itself, see http_request.c */
    soup_session_set_proxy_resolver(session, NULL);
    soup_session_remove_feature_by_type(session, SOUP_TYPE_CONTENT_DECODER);
    return session;
}

static gboolean
check_url(const char *base_url, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(base_url, SOUP_HTTP_URI_FLAGS, NULL);

    if (uri && strcmp(g_uri_get_scheme(uri), "https") == 0 && g_uri_get_host(uri) &&
        *g_uri_get_host(uri))
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "'%s' is not a URL like https://ADDRESS:PORT", base_url);
    return FALSE;
}

static gboolean
take_identity(HttpClient *client, const Identity *identity, GError **error)
{
    g_autofree char *pem = g_strconcat(identity->cert, "\n", identity->key, NULL);
    g_autoptr(GError) local = NULL;

    client->certificate = g_tls_certificate_new_from_pem(pem, -1, &local);
    memset(pem, 0, strlen(pem));
    if (client->certificate)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "our own certificate can't be used: %s",
                local->message);
    return FALSE;
}

static HttpClient *
client_new(const HttpClientConfig *config, GError **error)
{
    HttpClient *client = g_new0(HttpClient, 1);

    g_atomic_ref_count_init(&client->references);
    client->base_url = g_strdup(config->base_url);
    while (g_str_has_suffix(client->base_url, "/"))
        client->base_url[strlen(client->base_url) - 1] = '\0';
    client->ca_pem = g_strdup(config->ca_pem);
    client->token = g_strdup(config->token);
    client->expect = config->expect;
    client->timeout_s = config->timeout_s ? config->timeout_s : TIMEOUT_DEFAULT_S;
    client->requests = g_hash_table_new(NULL, NULL);
    client->session = session_new();
    client->waiting = g_main_context_new();
    g_main_context_push_thread_default(client->waiting);
    client->waiting_session = session_new();
    g_main_context_pop_thread_default(client->waiting);
    if (!check_url(config->base_url, error) ||
        (config->identity && !take_identity(client, config->identity, error))) {
        http_client_free(client);
        return NULL;
    }
    return client;
}

HttpClient *
http_client_new(const HttpClientConfig *config, GError **error)
{
    g_assert(config->ca_pem);
    return client_new(config, error);
}

HttpClient *
http_client_ref(HttpClient *client)
{
    g_atomic_ref_count_inc(&client->references);
    return client;
}

void
http_client_unref(HttpClient *client)
{
    if (!g_atomic_ref_count_dec(&client->references))
        return;
    g_object_unref(client->session);
    g_main_context_push_thread_default(client->waiting);
    g_object_unref(client->waiting_session);
    g_main_context_pop_thread_default(client->waiting);
    g_main_context_unref(client->waiting);
    g_hash_table_unref(client->requests);
    g_clear_object(&client->certificate);
    if (client->token)
        memset(client->token, 0, strlen(client->token));
    g_free(client->token);
    g_free(client->ca_pem);
    g_free(client->base_url);
    g_free(client);
}

void
http_client_free(HttpClient *client)
{
    GHashTableIter iter;
    gpointer request;

    if (!client)
        return;
    g_hash_table_iter_init(&iter, client->requests);
    while (g_hash_table_iter_next(&iter, &request, NULL))
        g_cancellable_cancel(((HttpRequest *)request)->stop);
    http_client_unref(client);
}

/* ---- calls -------------------------------------------------------------------------------------
 */

static void
on_text(GString *text, const GError *error, gpointer data)
{
    g_autoptr(GTask) task = data;
    GError *wrong = NULL;
    JsonNode *node = text ? http_request_answer(g_task_get_task_data(task), text, &wrong) : NULL;

    if (node)
        g_task_return_pointer(task, node, (GDestroyNotify)json_node_unref);
    else
        g_task_return_error(task, wrong ? wrong : g_error_copy(error));
}

static void
on_sent(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GTask) task = data;
    HttpRequest *request = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    g_autoptr(GInputStream) stream = soup_session_send_finish(SOUP_SESSION(source), result, &error);

    if (stream)
        http_request_read(request, stream, on_text, g_steal_pointer(&task));
    else
        g_task_return_error(task, http_request_error(request, error));
}

static void
call_start(HttpClient *client, SoupSession *session, HttpRequest *request, GTask *task)
{
    g_task_set_check_cancellable(task, FALSE); /* the request's own error says more */
    g_task_set_task_data(task, request, (GDestroyNotify)http_request_free);
    soup_session_send_async(session, request->message, G_PRIORITY_DEFAULT, request->stop, on_sent,
                            task);
}

void
http_client_call_async(HttpClient *client, const char *method, const char *path, JsonNode *body,
                       GCancellable *cancellable, GAsyncReadyCallback callback, gpointer data)
{
    g_autoptr(GError) error = NULL;
    GTask *task = g_task_new(NULL, NULL, callback, data);
    HttpRequest *request = http_request_new(client, method, path, body, cancellable, &error);

    if (request) {
        call_start(client, client->session, request, task);
        return;
    }
    g_task_return_error(task, g_steal_pointer(&error));
    g_object_unref(task);
}

JsonNode *
http_client_call_finish(HttpClient *client, GAsyncResult *result, GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}

static void
on_waited(GObject *source, GAsyncResult *result, gpointer data)
{
    *(GAsyncResult **)data = g_object_ref(result);
}

JsonNode *
http_client_call(HttpClient *client, const char *method, const char *path, JsonNode *body,
                 GCancellable *cancellable, GError **error)
{
    g_autoptr(GAsyncResult) result = NULL;

    g_main_context_push_thread_default(client->waiting);
    HttpRequest *request = http_request_new(client, method, path, body, cancellable, error);
    if (request) {
        call_start(client, client->waiting_session, request,
                   g_task_new(NULL, NULL, on_waited, &result));
        while (!result)
            g_main_context_iteration(client->waiting, TRUE);
    }
    g_main_context_pop_thread_default(client->waiting);
    return result ? g_task_propagate_pointer(G_TASK(result), error) : NULL;
}

/* ---- the CA ------------------------------------------------------------------------------------
 */

/* Does the CA in the answer have the fingerprint? (transfer full) its PEM. */
static char *
ca_of_answer(JsonNode *answer, const char *base_url, const char *fingerprint, GError **error)
{
    JsonObject *object = JSON_NODE_HOLDS_OBJECT(answer) ? json_node_get_object(answer) : NULL;
    JsonNode *member = object ? json_object_get_member(object, "ca_pem") : NULL;

    if (!member || json_node_get_value_type(member) != G_TYPE_STRING) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "%s shows no CA certificate; is it a Godwit manager?", base_url);
        return NULL;
    }
    g_autofree char *actual = identity_fingerprint(json_node_get_string(member), error);
    if (!actual)
        return NULL;
    if (g_ascii_strncasecmp(actual, fingerprint, strlen(fingerprint)) == 0)
        return json_node_dup_string(member);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                "%s has a CA with the fingerprint %s, the token expects %s: it is another "
                "cluster's manager, or somebody "
                "sits between. Nothing was sent to it",
                base_url, actual, fingerprint);
    return NULL;
}

char *
http_client_fetch_ca(const char *base_url, const char *fingerprint, GError **error)
{
    HttpClientConfig config = { .base_url = base_url };

    if (strlen(fingerprint) < FINGERPRINT_MIN || strlen(fingerprint) > 64) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "a CA's fingerprint has 64 hex digits, of which at least %d are needed",
                    FINGERPRINT_MIN);
        return NULL;
    }
    g_autoptr(HttpClient) client = client_new(&config, error);
    g_autoptr(JsonNode) answer =
        client ? http_client_call(client, "GET", "/api/v1/ca", NULL, NULL, error) : NULL;
    return answer ? ca_of_answer(answer, base_url, fingerprint, error) : NULL;
}
