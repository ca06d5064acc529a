/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A listener is first greeted with `facts`, each known `migration` and the kept `alarm`s, and then
 * sent each change. Until the facts were read for the first time nobody is greeted, and who isn't
 * greeted gets no changes: the greeting will hold them.
 *
 * Progress of a migration changes far more often than anybody wants to see. Per migration the hub
 * remembers when it sent last and what; a change of stage or result goes out at once, mere progress
 * PROGRESS_MS after the last send, by a timer that sends the newest state. The entry is dropped
 * when the migration has ended.
 *
 * A listener that doesn't read is dropped by the server (net/http_server.h), not here.
 */
#include "host/event_hub.h"

#include "base/clock.h"

#define PROGRESS_MS 500
#define ALARMS_KEPT 100

typedef struct {
    EventHub *hub;
    Migration *newest; /* not sent yet, or NULL */
    char *stage;       /* as sent last */
    int result;
    gboolean cancel_requested;
    gint64 sent_us;
    GSource *timer;
} Track;

struct EventHub {
    EventHubSource source;
    gpointer user_data;
    GPtrArray *greeted, *waiting; /* HttpStream, not freed by the arrays */
    GHashTable *tracks;           /* migration id → Track */
    GQueue alarms;                /* Alarm, oldest first */
};

static void
track_free(gpointer data)
{
    Track *track = data;
    if (track->timer) {
        g_source_destroy(track->timer);
        g_source_unref(track->timer);
    }
    migration_free(track->newest);
    g_free(track->stage);
    g_free(track);
}

EventHub *
event_hub_new(const EventHubSource *source, gpointer user_data)
{
    EventHub *hub = g_new0(EventHub, 1);
    hub->source = *source;
    hub->user_data = user_data;
    hub->greeted = g_ptr_array_new();
    hub->waiting = g_ptr_array_new();
    hub->tracks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, track_free);
    g_queue_init(&hub->alarms);
    return hub;
}

void
event_hub_free(EventHub *hub)
{
    if (!hub)
        return;
    g_ptr_array_unref(hub->greeted);
    g_ptr_array_unref(hub->waiting);
    g_hash_table_unref(hub->tracks);
    g_queue_clear_full(&hub->alarms, (GDestroyNotify)alarm_record_free);
    g_free(hub);
}

/* ---- listeners ------------------------------------------------------------------------------- */

static void
send_to(HttpStream *stream, const char *event, const RecordType *type, gconstpointer record)
{
    g_autofree char *text = record_to_string(type, record);
    http_stream_send(stream, event, text);
}

static void
greet(EventHub *hub, HttpStream *stream, const Facts *facts)
{
    g_autoptr(GPtrArray) migrations = hub->source.migrations(hub->user_data);
    send_to(stream, "facts", &facts_type, facts);
    for (guint i = 0; migrations && i < migrations->len; i++)
        send_to(stream, "migration", &migration_type, g_ptr_array_index(migrations, i));
    for (GList *at = hub->alarms.head; at; at = at->next)
        send_to(stream, "alarm", &alarm_record_type, at->data);
}

static void
tell_count(EventHub *hub)
{
    if (hub->source.listeners_changed)
        hub->source.listeners_changed(hub->greeted->len + hub->waiting->len, hub->user_data);
}

static void
on_closed(HttpStream *stream, gpointer data)
{
    EventHub *hub = data;
    g_ptr_array_remove(hub->greeted, stream);
    g_ptr_array_remove(hub->waiting, stream);
    tell_count(hub);
}

void
event_hub_add(EventHub *hub, HttpStream *stream)
{
    const Facts *facts = hub->source.facts(hub->user_data);
    http_stream_on_closed(stream, on_closed, hub);
    if (facts)
        greet(hub, stream, facts);
    g_ptr_array_add(facts ? hub->greeted : hub->waiting, stream);
    tell_count(hub);
}

void
event_hub_greet(EventHub *hub)
{
    const Facts *facts = hub->source.facts(hub->user_data);
    if (!facts)
        return;
    while (hub->waiting->len > 0) {
        HttpStream *stream = g_ptr_array_steal_index(hub->waiting, 0);
        g_ptr_array_add(hub->greeted, stream);
        greet(hub, stream, facts);
    }
}

/* A stream whose reader is too slow is dropped by sending to it, which takes it out of `greeted`:
 * so walk a copy. */
static void
send_all(EventHub *hub, const char *event, const char *text)
{
    g_autoptr(GPtrArray) streams = g_ptr_array_copy(hub->greeted, NULL, NULL);
    for (guint i = 0; i < streams->len; i++)
        if (g_ptr_array_find(hub->greeted, g_ptr_array_index(streams, i), NULL))
            http_stream_send(g_ptr_array_index(streams, i), event, text);
}

void
event_hub_send(EventHub *hub, const char *event, JsonNode *data)
{
    if (hub->greeted->len == 0)
        return;
    g_autofree char *text = json_text(data, FALSE);
    send_all(hub, event, text);
}

void
event_hub_alarm(EventHub *hub, const Alarm *alarm)
{
    g_autofree char *text = record_to_string(&alarm_record_type, alarm);
    for (GList *at = hub->alarms.head; at; at = at->next) {
        Alarm *known = at->data;
        if (g_strcmp0(known->id, alarm->id) == 0) { /* said anew: only its text may have changed */
            alarm_record_free(known);
            g_queue_delete_link(&hub->alarms, at);
            break;
        }
    }
    g_queue_push_tail(&hub->alarms, record_copy(&alarm_record_type, alarm));
    if (hub->alarms.length > ALARMS_KEPT)
        alarm_record_free(g_queue_pop_head(&hub->alarms));
    send_all(hub, "alarm", text);
}

/* ---- migrations ------------------------------------------------------------------------------ */

static void
send_migration(EventHub *hub, Track *track, const Migration *migration)
{
    g_free(track->stage);
    track->stage = g_strdup(migration->stage);
    track->result = migration->result;
    track->cancel_requested = migration->cancel_requested;
    track->sent_us = clock_monotonic_us();
    if (hub->greeted->len == 0)
        return;
    g_autofree char *text = record_to_string(&migration_type, migration);
    send_all(hub, "migration", text);
}

static gboolean
on_progress_due(gpointer data)
{
    Track *track = data;
    g_clear_pointer(&track->timer, g_source_unref);
    g_autoptr(Migration) newest = g_steal_pointer(&track->newest);
    if (newest)
        send_migration(track->hub, track, newest);
    return G_SOURCE_REMOVE;
}

static void
hold_back(Track *track, const Migration *migration, gint64 wait_ms)
{
    migration_free(track->newest);
    track->newest = record_copy(&migration_type, migration);
    if (track->timer)
        return;
    track->timer = g_timeout_source_new(wait_ms);
    g_source_set_callback(track->timer, on_progress_due, track, NULL);
    g_source_attach(track->timer, g_main_context_get_thread_default());
}

void
event_hub_migration(EventHub *hub, const Migration *migration)
{
    Track *track = g_hash_table_lookup(hub->tracks, migration->id);
    gboolean first = !track;
    if (first) {
        track = g_new0(Track, 1);
        track->hub = hub;
        g_hash_table_insert(hub->tracks, g_strdup(migration->id), track);
    }
    gint64 since_ms = (clock_monotonic_us() - track->sent_us) / 1000;
    gboolean news = first || track->result != migration->result ||
                    track->cancel_requested != migration->cancel_requested ||
                    g_strcmp0(track->stage, migration->stage) != 0;
    if (!news && since_ms < PROGRESS_MS) {
        hold_back(track, migration, PROGRESS_MS - since_ms);
        return;
    }
    g_clear_pointer(&track->newest, migration_free);
    send_migration(hub, track, migration);
    if (migration_is_ended(migration))
        g_hash_table_remove(hub->tracks, migration->id);
}
