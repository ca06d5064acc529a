/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <string.h>
#include "base/json.h"

static const char description[] =
    "{'openapi': '3.0.3', 'paths': {"
    " '/v1/open': {'get': {'operationId': 'getOpen'}},"
    " '/v1/who': {'get': {'operationId': 'getWho'}},"
    " '/v1/admin': {'get': {'operationId': 'getAdmin'}},"
    " '/v1/echo': {'post': {'operationId': 'postEcho', 'requestBody': {'required': true, "
    "'content': {'application/json': "
    "   {'schema': {'type': 'object', 'required': ['text'], 'properties': "
    "     {'text': {'type': 'string'}, 'count': {'type': 'integer', 'minimum': 1}}}}}}}},"
    " '/v1/things/{id}': {"
    "   'parameters': [{'name': 'id', 'in': 'path', 'required': true, 'schema': {'type': 'string', "
    "'maxLength': 20}}],"
    "   'get': {'operationId': 'getThing', 'parameters': "
    "     [{'name': 'limit', 'in': 'query', 'schema': {'type': 'integer'}}]},"
    "   'delete': {'operationId': 'deleteThing'}},"
    " '/v1/slow': {'get': {'operationId': 'getSlow'}},"
    " '/v1/fail': {'get': {'operationId': 'getFail'}},"
    " '/v1/refused': {'get': {'operationId': 'streamRefused'}},"
    " '/v1/events': {'get': {'operationId': 'streamEvents'}},"
    " '/api/v1/ca': {'get': {'operationId': 'getCa'}}}}";

G_GNUC_PRINTF(1, 2)
static JsonNode *
node_of(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_strdelimit(text, "'", '"');
    JsonNode *node = json_from_string(text, NULL);
    g_assert_nonnull(node);
    return node;
}

static JsonNode *
run_open(HttpCall *call, gpointer data, GError **error)
{
    return node_of("{'operation': '%s', 'role': %d}", call->operation, call->role);
}

static JsonNode *
run_who(HttpCall *call, gpointer data, GError **error)
{
    return node_of("{'role': %d, 'uuid': '%s', 'client': '%s'}", call->role,
                   call->host_uuid ? call->host_uuid : "", call->client);
}

static JsonNode *
run_echo(HttpCall *call, gpointer data, GError **error)
{
    call->status = 201;
    return json_node_copy(call->body);
}

static JsonNode *
run_thing(HttpCall *call, gpointer data, GError **error)
{
    const char *limit = g_hash_table_lookup(call->params, "limit");

    return node_of("{'id': '%s', 'limit': '%s'}", (char *)g_hash_table_lookup(call->params, "id"),
                   limit ? limit : "");
}

static JsonNode *
run_delete(HttpCall *call, gpointer data, GError **error)
{
    return NULL;
}

static JsonNode *
run_slow(HttpCall *call, gpointer data, GError **error)
{
    Service *service = data;

    g_mutex_lock(&service->lock);
    service->slow_begun++;
    g_cond_broadcast(&service->changed);
    g_main_context_wakeup(NULL); /* the test may be waiting there */
    while (!service->gate_open)
        g_cond_wait(&service->changed, &service->lock);
    service->slow_done++;
    g_cond_broadcast(&service->changed);
    g_mutex_unlock(&service->lock);
    return node_of("{'slow': true}");
}

static JsonNode *
run_fail(HttpCall *call, gpointer data, GError **error)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED, "the VM \"web1\" is shut off");
    return NULL;
}

static JsonNode *
run_ca(HttpCall *call, gpointer data, GError **error)
{
    Service *service = data;
    JsonNode *node = node_of("{}");

    json_object_set_string_member(json_node_get_object(node), "ca_pem", service->pki->ca->cert);
    return node;
}

static void
on_closed(HttpStream *stream, gpointer data)
{
    Service *service = data;

    g_assert_true(g_ptr_array_remove(service->streams, stream));
    g_mutex_lock(&service->lock);
    service->streams_closed++;
    g_cond_broadcast(&service->changed);
    g_main_context_wakeup(NULL);
    g_mutex_unlock(&service->lock);
}

static gboolean
run_events(HttpCall *call, HttpStream *stream, gpointer data, GError **error)
{
    Service *service = data;

    g_ptr_array_add(service->streams, stream);
    http_stream_on_closed(stream, on_closed, service);
    http_stream_send(stream, "hello", "{\"first\": true}");
    return TRUE;
}

static gboolean
run_refused(HttpCall *call, HttpStream *stream, gpointer data, GError **error)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "no such task");
    return FALSE;
}

static const HttpRoute routes[] = {
    { "getOpen", HTTP_ANYONE, HTTP_MAIN, run_open, NULL },
    { "getCa", HTTP_ANYONE, HTTP_MAIN, run_ca, NULL },
    { "getWho", HTTP_MANAGER | HTTP_HOST, HTTP_MAIN, run_who, NULL },
    { "getAdmin", HTTP_ADMIN | HTTP_MANAGER, HTTP_MAIN, run_who, NULL },
    { "postEcho", HTTP_ANYONE, HTTP_MAIN, run_echo, NULL },
    { "getThing", HTTP_ANYONE, HTTP_MAIN, run_thing, NULL },
    { "deleteThing", HTTP_ANYONE, HTTP_MAIN, run_delete, NULL },
    { "getSlow", HTTP_ANYONE, HTTP_THREAD, run_slow, NULL },
    { "getFail", HTTP_ANYONE, HTTP_THREAD, run_fail, NULL },
    { "streamEvents", HTTP_ANYONE, HTTP_STREAM, NULL, run_events },
    { "streamRefused", HTTP_ANYONE, HTTP_STREAM, NULL, run_refused },
    { NULL },
};

static HttpRole
token_role(const char *token, gpointer data)
{
    return strcmp(token, SERVICE_TOKEN) == 0 ? HTTP_ADMIN : HTTP_ANYONE;
}

static gpointer
service_thread(gpointer data)
{
    Service *service = data;
    const char *const addresses[] = { "127.0.0.1", NULL };
    HttpServerConfig config = {
        .name = "test",
        .identity = service->identity,
        .client_certificates = service->client_certificates,
        .addresses = addresses,
        .port = service->port,
        .max_body_bytes = SERVICE_MAX_BODY,
        .threads = 4,
        .max_streams = service->max_streams,
        .request_s = service->request_s,
        .idle_s = service->idle_s,
        .schema = service->schema,
        .routes = routes,
        .service = service,
        .token_role = token_role,
    };

    g_main_context_push_thread_default(service->context);
    service->server = http_server_new(&config, &service->error);
    if (service->server)
        service->port = http_server_port(service->server);
    g_mutex_lock(&service->lock);
    service->ready = TRUE;
    g_cond_broadcast(&service->changed);
    g_mutex_unlock(&service->lock);
    if (service->server)
        g_main_loop_run(service->loop);
    http_server_free(service->server);
    while (g_main_context_iteration(service->context, FALSE))
        ;
    g_main_context_pop_thread_default(service->context);
    return NULL;
}

Service *
service_new(Pki *pki, const Service *with, GError **error)
{
    Service *service = g_new0(Service, 1);
    g_autofree char *json = g_strdelimit(g_strdup(description), "'", '"');

    service->pki = pki;
    service->client_certificates = with->client_certificates;
    service->request_s = with->request_s;
    service->idle_s = with->idle_s;
    service->port = with->port;
    service->max_streams = with->max_streams ? with->max_streams : 8;
    service->schema = schema_new(json, strlen(json), &service->error);
    g_assert_no_error(service->error);
    service->identity = pki_identity(pki, IDENTITY_MANAGER, MANAGER_UUID, 30);
    service->context = g_main_context_new();
    service->loop = g_main_loop_new(service->context, FALSE);
    service->streams = g_ptr_array_new();
    g_mutex_init(&service->lock);
    g_cond_init(&service->changed);
    service->thread = g_thread_new("service", service_thread, service);
    g_mutex_lock(&service->lock);
    while (!service->ready)
        g_cond_wait(&service->changed, &service->lock);
    g_mutex_unlock(&service->lock);
    if (service->server)
        return service;
    g_propagate_error(error, g_steal_pointer(&service->error));
    service_free(service);
    return NULL;
}

static gboolean
quit(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_REMOVE;
}

void
service_stop(Service *service)
{
    if (!service->thread)
        return;
    service_open_gate(service);
    g_main_context_invoke(service->context, quit, service->loop);
    g_thread_join(g_steal_pointer(&service->thread));
}

void
service_free(Service *service)
{
    service_stop(service);
    g_main_loop_unref(service->loop);
    g_main_context_unref(service->context);
    g_ptr_array_unref(service->streams);
    identity_free(service->identity);
    schema_free(service->schema);
    g_mutex_clear(&service->lock);
    g_cond_clear(&service->changed);
    g_free(service);
}

char *
service_url(const Service *service)
{
    return g_strdup_printf("https://127.0.0.1:%u", service->port);
}

void
service_open_gate(Service *service)
{
    g_mutex_lock(&service->lock);
    service->gate_open = TRUE;
    g_cond_broadcast(&service->changed);
    g_mutex_unlock(&service->lock);
}

void
service_wait(Service *service, const guint *counter, guint value)
{
    gint64 until = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    g_mutex_lock(&service->lock);
    while (*counter < value)
        g_assert_true(g_cond_wait_until(&service->changed, &service->lock, until));
    g_mutex_unlock(&service->lock);
}

typedef struct {
    Service *service;
    const char *event, *data; /* event NULL: close */
    guint times;
    gboolean done;
} Order;

static gboolean
on_order(gpointer data)
{
    Order *order = data;
    GPtrArray *streams = order->service->streams;

    for (guint i = 0; i < streams->len; i++) {
        for (guint j = 0; j < order->times; j++)
            http_stream_send(streams->pdata[i], order->event, order->data);
        if (!order->event)
            http_stream_close(streams->pdata[i]);
    }
    if (!order->event)
        g_ptr_array_set_size(streams, 0);
    g_mutex_lock(&order->service->lock);
    order->done = TRUE;
    g_cond_broadcast(&order->service->changed);
    g_mutex_unlock(&order->service->lock);
    return G_SOURCE_REMOVE;
}

static void
give_order(Order order)
{
    Service *service = order.service;

    g_main_context_invoke(service->context, on_order, &order);
    g_mutex_lock(&service->lock);
    while (!order.done)
        g_cond_wait(&service->changed, &service->lock);
    g_mutex_unlock(&service->lock);
}

void
service_send(Service *service, const char *event, const char *data)
{
    give_order((Order){ service, event, data, 1, FALSE });
}

void
service_send_burst(Service *service, const char *event, const char *data, guint times)
{
    give_order((Order){ service, event, data, times, FALSE });
}

void
service_close_streams(Service *service)
{
    give_order((Order){ .service = service });
}
