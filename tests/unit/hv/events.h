/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hv/hv.h"

/* What arrived, as "kind uuid number" words, and waiting for it without sleeping. */

typedef struct {
    GMainContext *context;
    GPtrArray *seen; /* char * */
} Events;

static const char *const event_words[] = { "connected", "disconnected", "vm",       "suspended",
                                           "pass",      "network",      "datastore" };

static void
events_note(const HvEvent *event, gpointer data)
{
    Events *events = data;

    g_assert_true(g_main_context_is_owner(events->context));
    g_assert_cmpint(event->monotonic_us, <=, g_get_monotonic_time());
    g_assert_cmpint(event->monotonic_us, >, g_get_monotonic_time() - 60 * G_TIME_SPAN_SECOND);
    g_ptr_array_add(events->seen,
                    g_strdup_printf("%s %s %" G_GINT64_FORMAT, event_words[event->kind],
                                    event->uuid ? event->uuid : "-", event->number));
}

static inline void
events_init(Events *events)
{
    events->context = g_main_context_new();
    events->seen = g_ptr_array_new_with_free_func(g_free);
}

static inline void
events_clear(Events *events)
{
    g_main_context_unref(events->context);
    g_ptr_array_unref(events->seen);
}

static gboolean
events_late(gpointer wanted)
{
    g_error("waited 30 s for the event '%s'", (const char *)wanted);
    return G_SOURCE_REMOVE;
}

/* Runs the context until the event was seen; what was seen until then is forgotten. */
static inline void
events_wait(Events *events, const char *wanted)
{
    g_autoptr(GSource) watchdog = g_timeout_source_new_seconds(30);
    guint found;

    g_source_set_callback(watchdog, events_late, (gpointer)wanted, NULL);
    g_source_attach(watchdog, events->context);
    while (!g_ptr_array_find_with_equal_func(events->seen, wanted, g_str_equal, &found))
        g_main_context_iteration(events->context, TRUE);
    g_source_destroy(watchdog);
    g_ptr_array_remove_range(events->seen, 0, found + 1);
}

/* Delivers what is queued now, and no more. */
static inline void
events_drain(Events *events)
{
    while (g_main_context_iteration(events->context, FALSE))
        ;
}
