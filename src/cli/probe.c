/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/probe.h"

#include <gio/gio.h>
#include <libsoup/soup.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

#define HEADERS_MAX 8192

void
probe_clear(Probe *probe)
{
    g_clear_pointer(&probe->cert_pem, g_free);
}

/* Looks at whatever certificate comes: judging it is the doctor's work. */
static gboolean
take_certificate(GTlsConnection *tls, GTlsCertificate *certificate, GTlsCertificateFlags flags,
                 gpointer data)
{
    return TRUE;
}

static void
client_event(GSocketClient *client, GSocketClientEvent event, GSocketConnectable *connectable,
             GIOStream *connection, gpointer data)
{
    if (event == G_SOCKET_CLIENT_TLS_HANDSHAKING)
        g_signal_connect(connection, "accept-certificate", G_CALLBACK(take_certificate), NULL);
}

static GTlsConnection *
tls_of(GSocketConnection *connection)
{
    if (G_IS_TCP_WRAPPER_CONNECTION(connection)) {
        GIOStream *base =
            g_tcp_wrapper_connection_get_base_io_stream(G_TCP_WRAPPER_CONNECTION(connection));

        return G_IS_TLS_CONNECTION(base) ? G_TLS_CONNECTION(base) : NULL;
    }
    return NULL;
}

/* The Date header of an answer's head, in milliseconds; 0 where there is none. */
static gint64
date_of(const char *head)
{
    g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);

    for (char **line = lines; *line; line++) {
        g_autoptr(GDateTime) date = NULL;

        if (g_ascii_strncasecmp(*line, "date:", 5) != 0)
            continue;
        date = soup_date_time_new_from_http_string(g_strstrip(*line + 5));
        return date ? g_date_time_to_unix(date) * 1000 : 0;
    }
    return 0;
}

static gboolean
ask_health(GSocketConnection *connection, const char *host, Probe *probe)
{
    g_autofree char *request = g_strdup_printf(
        "GET /api/v1/healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    char head[HEADERS_MAX + 1];
    gsize used = 0;
    gssize n;

    probe->asked_ms = clock_wall_ms();
    if (!g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request,
                                   strlen(request), NULL, NULL, NULL))
        return FALSE;
    do {
        n = g_input_stream_read(g_io_stream_get_input_stream(G_IO_STREAM(connection)), head + used,
                                HEADERS_MAX - used, NULL, NULL);
        if (n > 0 && used == 0)
            probe->answered_ms = clock_wall_ms();
        used += MAX(n, 0);
        head[used] = '\0';
    } while (n > 0 && used < HEADERS_MAX && !strstr(head, "\r\n\r\n"));
    probe->clock_ms = date_of(head);
    return TRUE;
}

gboolean
probe_manager(const char *url, guint timeout_s, Probe *probe, GError **error)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection = NULL;
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_NONE, NULL);
    g_autoptr(GError) local = NULL;
    GTlsConnection *tls;
    GTlsCertificate *certificate;

    memset(probe, 0, sizeof *probe);
    g_socket_client_set_enable_proxy(client, FALSE); /* the cluster is near; HTTPS goes without one, too */
    g_socket_client_set_timeout(client, timeout_s);
    g_socket_client_set_tls(client, TRUE);
    g_signal_connect(client, "event", G_CALLBACK(client_event), NULL);
    if (uri)
        connection = g_socket_client_connect_to_uri(client, url, 8443, NULL, &local);
    if (!connection) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "%s",
                    local ? local->message : "it is not a URL");
        return FALSE;
    }
    tls = tls_of(connection);
    certificate = tls ? g_tls_connection_get_peer_certificate(tls) : NULL;
    if (certificate)
        g_object_get(certificate, "certificate-pem", &probe->cert_pem, NULL);
    ask_health(connection, g_uri_get_host(uri), probe);
    return TRUE;
}

gboolean
probe_port(const char *host, guint port, guint timeout_s, GError **error)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection = NULL;

    g_socket_client_set_enable_proxy(client, FALSE); /* the cluster is near; HTTPS goes without one, too */
    g_socket_client_set_timeout(client, timeout_s);
    connection = g_socket_client_connect_to_host(client, host, port, NULL, error);
    return connection != NULL;
}
