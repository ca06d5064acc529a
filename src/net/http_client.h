/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include "base/error.h"
#include "net/identity.h"
#include "net/sse.h"

/**
 * HTTPS client for JSON. Trust: only certificates signed by `ca` (host names don't matter, identities do: peer says whom we
 * expect). A client belongs to the thread that made it. Errors of the server come back as the GODWIT_ERROR code and message
 * that it sent; no connection: UNREACHABLE with address and reason; wrong certificate: UNAUTHORIZED.
 */
typedef struct HttpClient HttpClient;

typedef struct {
    const char *base_url;      /* "https://10.77.0.2:8443" */
    const char *ca_pem;        /* NULL only for http_client_fetch_ca */
    const Identity *identity;  /* client certificate, or NULL; copied */
    const char *token;         /* bearer, or NULL */
    IdentityName expect;       /* role NONE: anyone of the cluster; uuid "": anyone of that role */
    guint timeout_s;           /* whole request; 0 = 30 */
} HttpClientConfig;

HttpClient *http_client_new(const HttpClientConfig *config, GError **error);
/** Cancels what is under way; its callbacks still come (CANCELLED), from the main context. */
void http_client_free(HttpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpClient, http_client_free)

/** Blocks. body NULL: none (not consumed). Answer (transfer full), NULL with error; an empty answer is a JSON null node. */
JsonNode *http_client_call(HttpClient *client, const char *method, const char *path, JsonNode *body, GCancellable *cancellable, GError **error);

/** Same without blocking the thread's main context. */
void http_client_call_async(HttpClient *client, const char *method, const char *path, JsonNode *body, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer data);
JsonNode *http_client_call_finish(HttpClient *client, GAsyncResult *result, GError **error);

/** Opens an event stream; func for each event, closed once at the end (error NULL: cancelled). Nothing within
 * silence_s seconds (the server sends a comment every 15 s) counts as lost: UNREACHABLE. */
typedef void (*HttpStreamClosed)(const GError *error, gpointer data);
void http_client_stream(HttpClient *client, const char *path, guint silence_s, SseEventFunc func, HttpStreamClosed closed, gpointer data, GCancellable *cancellable);

/** Gets the CA certificate from URL's GET /api/v1/ca without trust and checks it against the fingerprint's first digits (as in a token).
 * (transfer full) PEM; UNAUTHORIZED where it doesn't match (somebody sits between). */
char *http_client_fetch_ca(const char *base_url, const char *fingerprint, GError **error);
