/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libsoup/soup.h>
#include "net/http_client.h"

/** Inside of the client: what calls (http_client.c) and streams (http_subscription.c) share. */

struct HttpClient {
    /* read-only after http_client_new */
    gatomicrefcount references; /* the user's, and one for each request under way */
    char *base_url;             /* without '/' at its end */
    char *ca_pem;               /* NULL: any certificate is good (http_client_fetch_ca) */
    char *token;
    IdentityName expect;
    guint timeout_s;
    GTlsCertificate *certificate; /* our own, or NULL */
    SoupSession *session;         /* of the thread's main context */
    GMainContext *waiting;        /* of http_client_call, which runs only it */
    SoupSession *waiting_session;
    /* owned by the client's thread */
    GHashTable *requests; /* set of HttpRequest under way */
};

/** One request until its answer's headers are there. */
typedef struct {
    HttpClient *client; /* reference */
    SoupMessage *message;
    char *what;           /* "POST https://10.77.0.2:8443/api/v1/migrations", for messages */
    GCancellable *stop;   /* ours: by the user's, by a time limit */
    GCancellable *cancel; /* the user's, or NULL */
    gulong cancel_id;
    GSource *limit; /* cancels stop when time is up */
    gint64 limit_s;
    gboolean timed_out;
    gboolean connected; /* it was sent on an open connection */
    GError *refused;    /* the server's certificate, why not */
} HttpRequest;

HttpClient *http_client_ref(HttpClient *client);
void http_client_unref(HttpClient *client);

/** NULL with INVALID. body NULL: none. limit_s from now on. Runs in the thread-default main
 * context. */
HttpRequest *http_request_new(HttpClient *client, const char *method, const char *path,
                              JsonNode *body, GCancellable *cancel, GError **error);
void http_request_free(HttpRequest *request);
/** From now on seconds are left, after which request->stop is cancelled and timed_out set. */
void http_request_set_limit(HttpRequest *request, guint seconds);
/** What a failure of libsoup means, as GODWIT_ERROR (transfer full). */
GError *http_request_error(HttpRequest *request, const GError *error);

/** Reads the whole answer, then calls done on the request's main context: text NULL with error
 * (both borrowed). */
typedef void (*HttpReadDone)(GString *text, const GError *error, gpointer data);
void http_request_read(HttpRequest *request, GInputStream *stream, HttpReadDone done,
                       gpointer data);
/** JSON of an answer, or the error that it says. (transfer full) */
JsonNode *http_request_answer(HttpRequest *request, const GString *text, GError **error);
