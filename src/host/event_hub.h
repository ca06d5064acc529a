/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"
#include "net/http_server.h"

/**
 * Who listens on /v1/events, and what they are sent. Main loop only.
 */
typedef struct EventHub EventHub;

typedef struct {
    /* What a new listener gets first (not owned); NULL: nothing yet, event_hub_greet will be
     * called. */
    const Facts *(*facts)(gpointer user_data);
    GPtrArray *(*migrations)(gpointer user_data); /* (transfer full) Migration; NULL = none */
    void (*listeners_changed)(guint listeners, gpointer user_data);
} EventHubSource;

EventHub *event_hub_new(const EventHubSource *source, gpointer user_data);
void event_hub_free(EventHub *hub);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EventHub, event_hub_free)

/** The hub owns the stream until it is closed. */
void event_hub_add(EventHub *hub, HttpStream *stream);
/** The facts are there now: greets those who wait for them. */
void event_hub_greet(EventHub *hub);

void event_hub_send(EventHub *hub, const char *event, JsonNode *data);
/** At once where stage, result or the wish to cancel changed; otherwise at most twice a second
 * each, the newest state winning. */
void event_hub_migration(EventHub *hub, const Migration *migration);
/** Kept (the last ALARMS_KEPT) and told to later listeners too: a manager that was away must hear
 * of it. */
void event_hub_alarm(EventHub *hub, const Alarm *alarm);
