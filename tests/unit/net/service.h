/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/http_server.h"
#include "pki.h"

/** A server for tests, in a thread of its own, and what its handlers have seen. */
typedef struct {
    Pki *pki;
    Schema *schema;
    Identity *identity;
    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    HttpServer *server;
    GError *error; /* of http_server_new */
    gboolean client_certificates;
    guint request_s, idle_s, max_streams, port;

    GMutex lock;
    GCond changed;
    /* under lock */
    gboolean ready;
    gboolean gate_open; /* slow handlers wait for it */
    guint slow_begun, slow_done;
    guint streams_closed;
    GPtrArray *streams; /* owned by the service's thread */
} Service;

#define SERVICE_TOKEN "gwa_secret"
#define SERVICE_MAX_BODY 4096

/** Starts it; fields of *with that tell how (client_certificates, request_s, idle_s, max_streams,
 * port) are taken over. NULL with error if the server couldn't be made. */
Service *service_new(Pki *pki, const Service *with, GError **error);
void service_free(Service *service);
/** Stops the server, leaving the rest. */
void service_stop(Service *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Service, service_free)

/** "https://127.0.0.1:PORT" (transfer full) */
char *service_url(const Service *service);
/** Lets slow handlers go on. */
void service_open_gate(Service *service);
/** Waits until *counter >= value. */
void service_wait(Service *service, const guint *counter, guint value);
/** Sends an event of so many bytes to all streams / closes them, in the service's thread; returns
 * when done. */
void service_send(Service *service, const char *event, const char *data);
/** Several at once: all but the first leave in one piece. */
void service_send_burst(Service *service, const char *event, const char *data, guint times);
void service_close_streams(Service *service);
