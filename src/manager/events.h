/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"
#include "net/http_server.h"

/** The clients of GET /api/v1/events. Main context only. */
typedef struct EventHub EventHub;

EventHub *eventhub_new(void);
/** Call it before the server is freed; streams end with the server. */
void eventhub_free(EventHub *hub);

/** task NULL: everything; else only the events of that task, of which the first is sent at once. */
void eventhub_add(EventHub *hub, HttpStream *stream, const Task *task);
/** To everybody who wants everything. record is turned into JSON only where somebody listens. */
void eventhub_send(EventHub *hub, const char *event, const RecordType *type, gconstpointer record);
void eventhub_send_removed(EventHub *hub, const char *event, const char *member, const char *id);
/** Also to those who want only this task. */
void eventhub_send_task(EventHub *hub, const Task *task);
