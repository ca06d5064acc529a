/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hv/hv.h"

/** Where an Hv's events go: its owner's function, called in its owner's context only. */
typedef struct HvSink HvSink;

/** context NULL = the default one; func NULL = nobody listens. */
HvSink *hv_sink_new(GMainContext *context, HvEventFunc func, gpointer data);
/** Queues an event, in order; uuid is copied. Any thread. */
void hv_sink_emit(HvSink *sink, HvEventKind kind, const char *uuid, gint64 number,
                  gint64 monotonic_us);
/** Nothing is delivered from now on, what is queued is dropped. Call in the context's thread, or
 * func may be at work while this returns. */
void hv_sink_stop(HvSink *sink);
/** Stops it and gives it up. */
void hv_sink_free(HvSink *sink);
