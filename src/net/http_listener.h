/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include "base/error.h"
#include "net/identity.h"

/**
 * Listens on addresses and brings connections through the TLS handshake. Lives in the
 * thread-default main context of the thread that made it.
 */
typedef struct HttpListener HttpListener;

/** One connection; kept as long as its remote address object is. */
typedef struct {
    GSocket *socket;
    IdentityName who; /* of the client's certificate; role NONE = it showed none */
    GSource *limit;   /* ends the connection, see http_peer_set_limit */
} HttpPeer;

typedef struct {
    const Identity *identity; /* the server's; copied */
    gboolean
        client_certificates; /* demand one of identity->ca, and TLS 1.3; else TLS 1.2 will do */
    const char *const *addresses;
    guint port;        /* 0 = any free, the same on all addresses */
    guint handshake_s; /* time limit */
    /* stream: the TLS connection (borrowed). http_peer_of(remote) is set. */
    void (*connected)(GIOStream *stream, GSocketAddress *local, GSocketAddress *remote,
                      gpointer data);
    gpointer data;
} HttpListenerConfig;

HttpListener *http_listener_new(const HttpListenerConfig *config, GError **error);
/** Stops listening; handshakes under way end without a word. */
void http_listener_free(HttpListener *listener);
guint http_listener_port(const HttpListener *listener);

/** What is known of the connection with this remote address object. (borrowed) */
HttpPeer *http_peer_of(GSocketAddress *remote);
/** The connection is shut down in so many seconds from now, in place of what was set before; 0: it
 * isn't. */
void http_peer_set_limit(HttpPeer *peer, guint seconds);
