/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include "base/error.h"
#include "net/identity.h"
#include "net/schema.h"

/**
 * HTTPS server (libsoup 3): JSON in, JSON out, server-sent events. Routes are a const table of operationIds of a Schema; every
 * request is matched, authenticated and checked against the schema before a handler sees it. Lives in the thread-default main
 * context of the thread that made it; THREAD handlers run in a bounded pool of http_threads threads.
 *
 * Errors become {"error": {"code", "message"}} with the status of this table:
 *   invalid 400, unauthorized 401, forbidden 403, not-found 404, unsupported 405, timeout 504, conflict 409, expired 410, too-large 413,
 *   refused 422, no-space 507, unreachable 502, hypervisor 502, unsettled 500, internal 500, cancelled 409, protocol 400
 */
typedef enum {
    HTTP_ANYONE = 0,        /* no authentication */
    HTTP_ADMIN = 1 << 0,    /* bearer token of kind admin */
    HTTP_MANAGER = 1 << 1,  /* client certificate of the manager */
    HTTP_HOST = 1 << 2,     /* client certificate of a host */
} HttpRole;

typedef struct {
    const char *operation;  /* operationId */
    HttpRole role;          /* who */
    const char *host_uuid;  /* HTTP_HOST: which; lower case */
    GHashTable *params;     /* path and query, name → value */
    JsonNode *body;         /* checked; NULL = none */
    const char *client;     /* address, for logs */
    const char *token;      /* bearer token as sent, or NULL */
    guint status;           /* handler may set: 200 (default), 201, 202 */
} HttpCall;

typedef struct HttpStream HttpStream;

typedef struct {
    const char *operation;
    guint roles;            /* HttpRole bits; 0 = anyone */
    enum { HTTP_MAIN, HTTP_THREAD, HTTP_STREAM } mode;
    /* MAIN, THREAD: (transfer full) the answer, or NULL with error. NULL without error = 204. */
    JsonNode *(*run)(HttpCall *call, gpointer service, GError **error);
    /* STREAM: the stream is ours (main context) until http_stream_free; FALSE with error refuses. */
    gboolean (*stream)(HttpCall *call, HttpStream *stream, gpointer service, GError **error);
} HttpRoute;

typedef struct {
    const char *name;        /* for the Server header and logs */
    const Identity *identity; /* server certificate; copied */
    gboolean client_certificates; /* TRUE: a certificate of identity->ca is demanded in the handshake (agents) */
    const char *const *addresses; /* IP addresses to listen on; "0.0.0.0", "::" for all */
    guint port;              /* 0 = any free (tests) */
    gsize max_body_bytes;    /* over it: too-large, before it is read to the end */
    guint threads;           /* for HTTP_THREAD handlers */
    guint max_streams;
    guint request_s;         /* a handshake, and then a request, must have come within so many seconds; 0 = 30 */
    guint idle_s;            /* a kept connection without a request is closed after so many; 0 = 60 */
    const Schema *schema;
    const HttpRoute *routes; /* ends with operation NULL */
    gpointer service;        /* for handlers */
    /* Bearer tokens: which role a token has; HTTP_ANYONE (0) = not known. NULL: none are accepted. */
    HttpRole (*token_role)(const char *token, gpointer service);
} HttpServerConfig;

typedef struct HttpServer HttpServer;
/** Fails where a schema operation has no route or a route no operation, or the port is taken (CONFLICT: says which, and what to do). */
HttpServer *http_server_new(const HttpServerConfig *config, GError **error);
guint http_server_port(const HttpServer *server);
void http_server_free(HttpServer *server); /* ends streams and waits for THREAD handlers */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpServer, http_server_free)

guint http_status_of(const GError *error);
/** {"error": {"code", "message"}} (transfer full) */
JsonNode *http_error_body(const GError *error);

/** Sends one event. Main context only. A client that lets more than 8 MiB pile up is dropped. */
void http_stream_send(HttpStream *stream, const char *event, const char *data);
/** Called when the client has gone or was dropped: stop using the stream, it is freed after. */
void http_stream_on_closed(HttpStream *stream, void (*func)(HttpStream *stream, gpointer data), gpointer data);
void http_stream_close(HttpStream *stream);
