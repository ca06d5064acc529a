/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * libsoup could listen by itself, but it keeps connections whose handshake fails for ever (its
 * SoupServerConnection and first message hold each other), has no time limit for a handshake and
 * tells nobody's name. So this module does it and hands finished connections over.
 *
 * A connection is, in this order: WAITING (accepted; nothing came yet, which costs a descriptor but
 * no thread), SHAKING (GIO does the handshake in a thread of its pool) and done: handed over or
 * closed. One time limit spans both. The client's certificate is judged in the handshake, by the CA
 * of our own identity alone. No more than CONNECTIONS_MAX are in these two states; beyond that
 * nothing more is accepted until one is done, and others wait in the kernel's queue. When accept
 * fails (no descriptors left) it is tried again a second later, without spinning. */

#include "net/http_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#define CONNECTIONS_MAX 128
#define BACKLOG 128
#define RETRY_MS 1000

struct HttpListener {
    /* read-only after http_listener_new */
    GTlsCertificate *certificate;
    char *ca_pem;
    gboolean client_certificates;
    guint handshake_s;
    guint port;
    GMainContext *context;
    void (*connected)(GIOStream *stream, GSocketAddress *local, GSocketAddress *remote,
                      gpointer data);
    gpointer data;
    GPtrArray *sockets; /* GSocket */

    GPtrArray *sources; /* GSource, one for each socket; empty while nothing is accepted */
    GSource *retry;
    GHashTable *connections; /* set of Connection */
};

typedef struct {
    HttpListener *listener; /* NULL: it was freed meanwhile */
    GSocket *socket;
    GTlsConnection *tls; /* SHAKING */
    GCancellable *stop;
    GSource *limit, *readable;
    IdentityName who;
} Connection;

/* ---- what stays with a connection --------------------------------------------------------------
 */

static GQuark
peer_quark(void)
{
    return g_quark_from_static_string("godwit-http-peer");
}

static void
peer_free(gpointer data)
{
    HttpPeer *peer = data;

    http_peer_set_limit(peer, 0);
    g_object_unref(peer->socket);
    g_free(peer);
}

static gboolean
on_peer_limit(gpointer data)
{
    HttpPeer *peer = data;

    g_debug("http: a connection is ended: its client takes too long");
    g_socket_shutdown(peer->socket, TRUE, TRUE, NULL);
    return G_SOURCE_REMOVE;
}

void
http_peer_set_limit(HttpPeer *peer, guint seconds)
{
    if (peer->limit) {
        g_source_destroy(peer->limit);
        g_clear_pointer(&peer->limit, g_source_unref);
    }
    if (seconds == 0)
        return;
    peer->limit = g_timeout_source_new_seconds(seconds);
    g_source_set_callback(peer->limit, on_peer_limit, peer, NULL);
    g_source_attach(peer->limit, g_main_context_get_thread_default());
}

static void
peer_attach(GSocketAddress *remote, GSocket *socket, const IdentityName *who)
{
    HttpPeer *peer = g_new0(HttpPeer, 1);

    peer->socket = g_object_ref(socket);
    peer->who = *who;
    g_object_set_qdata_full(G_OBJECT(remote), peer_quark(), peer, peer_free);
}

HttpPeer *
http_peer_of(GSocketAddress *remote)
{
    HttpPeer *peer = g_object_get_qdata(G_OBJECT(remote), peer_quark());

    g_assert(peer);
    return peer;
}

/* ---- one connection ----------------------------------------------------------------------------
 */

static void listener_resume(HttpListener *listener);

static void
source_clear(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_source_unref(*source);
    *source = NULL;
}

static void
connection_free(Connection *connection)
{
    HttpListener *listener = connection->listener;

    source_clear(&connection->limit);
    source_clear(&connection->readable);
    if (connection->tls)
        g_signal_handlers_disconnect_by_data(connection->tls, connection);
    g_clear_object(&connection->tls);
    g_clear_object(&connection->stop);
    g_clear_object(&connection->socket);
    g_free(connection);
    if (listener)
        listener_resume(listener);
}

static void
connection_done(Connection *connection)
{
    if (connection->listener)
        g_hash_table_remove(connection->listener->connections, connection);
    connection_free(connection);
}

static gboolean
judge(Connection *connection, GTlsCertificate *certificate, GError **error)
{
    g_autofree char *pem = NULL;

    g_object_get(certificate, "certificate-pem", &pem, NULL);
    return identity_verify(pem, connection->listener->ca_pem, error) &&
           identity_name_of(pem, &connection->who, error);
}

static gboolean
on_accept_certificate(GTlsConnection *tls, GTlsCertificate *certificate, GTlsCertificateFlags flags,
                      gpointer data)
{
    Connection *connection = data;
    g_autoptr(GError) error = NULL;

    if (connection->listener && judge(connection, certificate, &error))
        return TRUE;
    /* Said aloud: the client itself only sees its connection end. */
    g_info("http: a client's certificate was refused: %s", error ? error->message : "ending");
    return FALSE;
}

/* Is what was negotiated good enough? Resumed sessions come here without on_accept_certificate. */
static gboolean
connection_is_good(Connection *connection, GError **error)
{
    GTlsCertificate *certificate = g_tls_connection_get_peer_certificate(connection->tls);
    gboolean certified = connection->listener->client_certificates;
    GTlsProtocolVersion needed =
        certified ? G_TLS_PROTOCOL_VERSION_TLS_1_3 : G_TLS_PROTOCOL_VERSION_TLS_1_2;

    if (g_tls_connection_get_protocol_version(connection->tls) < needed) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                    "the client's version of TLS is too old");
        return FALSE;
    }
    if (!certified)
        return TRUE;
    if (!certificate) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                    "the client showed no certificate");
        return FALSE;
    }
    return judge(connection, certificate, error);
}

static void
on_shaken(GObject *source, GAsyncResult *result, gpointer data)
{
    Connection *connection = data;
    HttpListener *listener = connection->listener;
    g_autoptr(GError) error = NULL;
    gboolean ok = g_tls_connection_handshake_finish(connection->tls, result, &error);

    if (!listener || !ok || !connection_is_good(connection, &error)) {
        g_debug("http: a handshake failed: %s", error ? error->message : "ending");
        g_socket_shutdown(connection->socket, TRUE, TRUE, NULL);
        connection_done(connection);
        return;
    }
    g_autoptr(GSocketAddress) local = g_socket_get_local_address(connection->socket, NULL);
    g_autoptr(GSocketAddress) remote = g_socket_get_remote_address(connection->socket, NULL);
    g_autoptr(GIOStream) stream = g_object_ref(G_IO_STREAM(connection->tls));
    if (local && remote)
        peer_attach(remote, connection->socket, &connection->who);
    connection_done(connection);
    if (local && remote)
        listener->connected(stream, local, remote, listener->data);
}

static gboolean
on_limit(gpointer data)
{
    Connection *connection = data;

    /* SHAKING: on_shaken comes with CANCELLED, and ends it. */
    if (connection->tls)
        g_cancellable_cancel(connection->stop);
    else
        connection_done(connection);
    return G_SOURCE_REMOVE;
}

static GTlsConnection *
tls_new(HttpListener *listener, GSocket *socket)
{
    static const char *const protocols[] = { "http/1.1", NULL };
    g_autoptr(GSocketConnection) base = g_socket_connection_factory_create_connection(socket);
    g_autoptr(GIOStream) stream =
        g_tls_server_connection_new(G_IO_STREAM(base), listener->certificate, NULL);

    if (!stream)
        return NULL;
    g_object_set(
        stream, "authentication-mode",
        listener->client_certificates ? G_TLS_AUTHENTICATION_REQUIRED : G_TLS_AUTHENTICATION_NONE,
        "database", NULL, "require-close-notify", FALSE, "advertised-protocols", protocols, NULL);
    return G_TLS_CONNECTION(g_steal_pointer(&stream));
}

static gboolean
on_readable(GSocket *socket, GIOCondition condition, gpointer data)
{
    Connection *connection = data;

    source_clear(&connection->readable);
    connection->tls = tls_new(connection->listener, socket);
    if (!connection->tls) {
        connection_done(connection);
        return G_SOURCE_REMOVE;
    }
    g_signal_connect(connection->tls, "accept-certificate", G_CALLBACK(on_accept_certificate),
                     connection);
    g_tls_connection_handshake_async(connection->tls, G_PRIORITY_DEFAULT, connection->stop,
                                     on_shaken, connection);
    return G_SOURCE_REMOVE;
}

static void
connection_new(HttpListener *listener, GSocket *socket)
{
    Connection *connection = g_new0(Connection, 1);

    connection->listener = listener;
    connection->socket = g_object_ref(socket);
    connection->stop = g_cancellable_new();
    g_hash_table_add(listener->connections, connection);
    g_socket_set_blocking(socket, FALSE);
    g_socket_set_keepalive(socket, TRUE);
    g_socket_set_option(socket, IPPROTO_TCP, TCP_NODELAY, TRUE, NULL);

    connection->limit = g_timeout_source_new_seconds(listener->handshake_s);
    g_source_set_callback(connection->limit, on_limit, connection, NULL);
    g_source_attach(connection->limit, listener->context);
    connection->readable = g_socket_create_source(socket, G_IO_IN, NULL);
    g_source_set_callback(connection->readable, G_SOURCE_FUNC(on_readable), connection, NULL);
    g_source_attach(connection->readable, listener->context);
}

/* ---- accepting ---------------------------------------------------------------------------------
 */

static void
listener_pause(HttpListener *listener)
{
    for (guint i = 0; i < listener->sources->len; i++)
        g_source_destroy(listener->sources->pdata[i]);
    g_ptr_array_set_size(listener->sources, 0);
}

static gboolean
on_retry(gpointer data)
{
    HttpListener *listener = data;

    source_clear(&listener->retry);
    listener_resume(listener);
    return G_SOURCE_REMOVE;
}

static void
listener_retry_later(HttpListener *listener)
{
    listener_pause(listener);
    listener->retry = g_timeout_source_new(RETRY_MS);
    g_source_set_callback(listener->retry, on_retry, listener, NULL);
    g_source_attach(listener->retry, listener->context);
}

static gboolean
on_incoming(GSocket *listening, GIOCondition condition, gpointer data)
{
    HttpListener *listener = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocket) socket = g_socket_accept(listening, NULL, &error);

    if (socket) {
        connection_new(listener, socket);
        if (g_hash_table_size(listener->connections) >= CONNECTIONS_MAX)
            listener_pause(listener);
    } else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        g_debug("http: accepting a connection failed, again in a second: %s", error->message);
        listener_retry_later(listener);
    }
    return listener->sources->len ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
listener_resume(HttpListener *listener)
{
    if (listener->sources->len || listener->retry ||
        g_hash_table_size(listener->connections) >= CONNECTIONS_MAX)
        return;
    for (guint i = 0; i < listener->sockets->len; i++) {
        GSource *source = g_socket_create_source(listener->sockets->pdata[i], G_IO_IN, NULL);
        g_source_set_callback(source, G_SOURCE_FUNC(on_incoming), listener, NULL);
        g_source_attach(source, listener->context);
        g_ptr_array_add(listener->sources, source);
    }
}

/* ---- listening ---------------------------------------------------------------------------------
 */

static gboolean
listen_failed(const char *address, guint port, const GError *reason, GError **error)
{
    if (g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE))
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "port %u of %s is taken; is it running already? 'ss -ltnp sport = :%u' shows "
                    "by whom, another port "
                    "can be set in the configuration",
                    port, address, port);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "can't listen on port %u of %s: %s; is it an address of this machine?", port,
                    address, reason->message);
    return FALSE;
}

static GSocket *
socket_listen(GSocketAddress *address, gboolean ipv6_only, GError **error)
{
    g_autoptr(GSocket) socket = g_socket_new(g_socket_address_get_family(address),
                                             G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, error);

    if (!socket)
        return NULL;
    g_socket_set_blocking(socket, FALSE);
    g_socket_set_listen_backlog(socket, BACKLOG);
    if (g_socket_get_family(socket) == G_SOCKET_FAMILY_IPV6)
        g_socket_set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, ipv6_only, NULL);
    return g_socket_bind(socket, address, TRUE, error) && g_socket_listen(socket, error)
               ? g_steal_pointer(&socket)
               : NULL;
}

static gboolean
listen_on(HttpListener *listener, const char *text, gboolean ipv6_only, GError **error)
{
    g_autoptr(GInetAddress) ip = g_inet_address_new_from_string(text);
    g_autoptr(GError) local = NULL;

    if (!ip) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "can't listen on '%s': it is not an IP address", text);
        return FALSE;
    }
    g_autoptr(GSocketAddress) address = g_inet_socket_address_new(ip, (guint16)listener->port);
    g_autoptr(GSocket) socket = socket_listen(address, ipv6_only, &local);
    if (!socket)
        return listen_failed(text, listener->port, local, error);
    g_autoptr(GSocketAddress) bound = g_socket_get_local_address(socket, &local);
    if (!bound)
        return listen_failed(text, listener->port, local, error);
    listener->port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    g_ptr_array_add(listener->sockets, g_steal_pointer(&socket));
    return TRUE;
}

static gboolean
listen_on_all(HttpListener *listener, const char *const *addresses, GError **error)
{
    gboolean any_ipv4 = FALSE;

    for (guint i = 0; addresses[i]; i++)
        any_ipv4 = any_ipv4 || strchr(addresses[i], '.');
    for (guint i = 0; addresses[i]; i++) {
        /* "::" alone is for IPv4 too; beside an IPv4 address it would be in its way. */
        if (!listen_on(listener, addresses[i], any_ipv4, error))
            return FALSE;
    }
    if (listener->sockets->len > 0)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "there is no address to listen on");
    return FALSE;
}

/* Certificate, key, and the CA after them, so that whoever connects can look at it. */
static GTlsCertificate *
certificate_of(const Identity *identity, GError **error)
{
    g_autofree char *pem =
        g_strconcat(identity->cert, "\n", identity->ca, "\n", identity->key, NULL);
    g_autoptr(GError) local = NULL;
    GTlsCertificate *certificate = g_tls_certificate_new_from_pem(pem, -1, &local);

    memset(pem, 0, strlen(pem));
    if (!certificate)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "our own certificate can't be used: %s", local->message);
    return certificate;
}

HttpListener *
http_listener_new(const HttpListenerConfig *config, GError **error)
{
    HttpListener *listener = g_new0(HttpListener, 1);

    listener->ca_pem = g_strdup(config->identity->ca);
    listener->client_certificates = config->client_certificates;
    listener->handshake_s = config->handshake_s;
    listener->port = config->port;
    listener->context = g_main_context_ref_thread_default();
    listener->connected = config->connected;
    listener->data = config->data;
    listener->sockets = g_ptr_array_new_with_free_func(g_object_unref);
    listener->sources = g_ptr_array_new_with_free_func((GDestroyNotify)g_source_unref);
    listener->connections = g_hash_table_new(NULL, NULL);
    listener->certificate = certificate_of(config->identity, error);
    if (!listener->certificate || !listen_on_all(listener, config->addresses, error)) {
        http_listener_free(listener);
        return NULL;
    }
    listener_resume(listener);
    return listener;
}

void
http_listener_free(HttpListener *listener)
{
    GHashTableIter iter;
    gpointer data;

    if (!listener)
        return;
    listener_pause(listener);
    source_clear(&listener->retry);
    g_hash_table_iter_init(&iter, listener->connections);
    while (g_hash_table_iter_next(&iter, &data, NULL)) {
        Connection *connection = data;
        connection->listener = NULL;
        g_hash_table_iter_remove(&iter);
        if (connection->tls)
            g_cancellable_cancel(connection->stop); /* on_shaken frees it, later */
        else
            connection_free(connection);
    }
    g_hash_table_unref(listener->connections);
    g_ptr_array_unref(listener->sources);
    g_ptr_array_unref(listener->sockets);
    g_clear_object(&listener->certificate);
    g_main_context_unref(listener->context);
    g_free(listener->ca_pem);
    g_free(listener);
}

guint
http_listener_port(const HttpListener *listener)
{
    return listener->port;
}
