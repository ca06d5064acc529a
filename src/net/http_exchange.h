/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libsoup/soup.h>
#include "net/http_listener.h"
#include "net/http_server.h"

/** Inside of the server: what its parts share. All belongs to the server's main context unless
 * said. */

struct HttpServer {
    /* read-only after http_server_new */
    char *name;
    const Schema *schema;
    GHashTable *routes; /* operationId → HttpRoute */
    gpointer service;
    HttpRole (*token_role)(const char *token, gpointer service);
    gsize max_body_bytes;
    guint max_streams;
    guint request_s, idle_s; /* time limits */
    GMainContext *context;
    GThreadPool *pool; /* of HttpExchange */

    SoupServer *soup;
    int quiet; /* the other end of the socket that libsoup listens on */
    HttpListener *listener;
    GHashTable *exchanges; /* set of HttpExchange under way */
    GPtrArray *streams;    /* HttpStream, each has a reference here */
    GSource *keep_alive;
    gint ending; /* atomic: threads look at it */
};

typedef struct HttpExchange HttpExchange;

/** A request begins (its first byte, or its connection). */
void http_exchange_begin(HttpServer *server, SoupServerMessage *message);
/** Its body has come. */
void http_exchange_run(SoupServerMessage *message);
/** In a thread of the pool. */
void http_exchange_work(HttpExchange *exchange);
/** The server ends: forget it and the message. */
void http_exchange_abandon(HttpExchange *exchange);

/** A stream that isn't connected yet: what is sent to it is kept. */
HttpStream *http_stream_new(HttpServer *server);
/** Begins to send, after the answer's head. Takes over the connection. */
void http_stream_connect(HttpStream *stream, GIOStream *io, GSocket *socket);
/** For one that was refused: forgets it. */
void http_stream_discard(HttpStream *stream);
/** A comment line, so that the client hears something. */
void http_stream_keep_alive(HttpStream *stream);
/** The server ends: tells the owner, closes at once. */
void http_stream_abort(HttpStream *stream);

/** Takes over a connection whose request is still being sent, answers it with the error and closes
 * it. */
void http_refuse(GIOStream *io, GSocket *socket, const char *server_name, const GError *error);
