/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_sink.h"

struct HvSink {
    /* read-only after start */
    GMainContext *context;
    HvEventFunc func;
    gpointer data;
    /* atomic */
    gint closed;
};

typedef struct {
    HvSink *sink; /* a reference */
    HvEvent event;
    char *uuid;
} Delivery;

static void
sink_clear(gpointer data)
{
    g_main_context_unref(((HvSink *)data)->context);
}

static void
sink_unref(HvSink *sink)
{
    g_atomic_rc_box_release_full(sink, sink_clear);
}

HvSink *
hv_sink_new(GMainContext *context, HvEventFunc func, gpointer data)
{
    HvSink *sink = g_atomic_rc_box_new0(HvSink);

    sink->context = g_main_context_ref(context ? context : g_main_context_default());
    sink->func = func;
    sink->data = data;
    return sink;
}

static gboolean
delivery_run(gpointer data)
{
    Delivery *delivery = data;

    if (!g_atomic_int_get(&delivery->sink->closed))
        delivery->sink->func(&delivery->event, delivery->sink->data);
    return G_SOURCE_REMOVE;
}

static void
delivery_free(gpointer data)
{
    Delivery *delivery = data;

    sink_unref(delivery->sink);
    g_free(delivery->uuid);
    g_free(delivery);
}

void
hv_sink_emit(HvSink *sink, HvEventKind kind, const char *uuid, gint64 number, gint64 monotonic_us)
{
    if (!sink->func || g_atomic_int_get(&sink->closed))
        return;
    Delivery *delivery = g_new0(Delivery, 1);
    delivery->sink = g_atomic_rc_box_acquire(sink);
    delivery->uuid = g_strdup(uuid);
    delivery->event = (HvEvent){
        .kind = kind, .uuid = delivery->uuid, .number = number, .monotonic_us = monotonic_us
    };
    /* Always by a source: g_main_context_invoke() would run it right here, in the caller's thread,
     * in a moment when nobody runs the context. */
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, delivery_run, delivery, delivery_free);
    g_source_attach(source, sink->context);
}

void
hv_sink_stop(HvSink *sink)
{
    g_atomic_int_set(&sink->closed, 1);
}

void
hv_sink_free(HvSink *sink)
{
    hv_sink_stop(sink);
    sink_unref(sink);
}
