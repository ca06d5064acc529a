/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * How much of a lane may be on its way at once: enough to keep the path busy, little enough that
 * nothing has to wait long behind it. Pure; times are monotonic microseconds. See pace.c.
 */
typedef struct {
    guint64 sent, taken; /* bytes of the lane; taken: by the peer's socket, as CREDIT tells */
    gint64 since_us;     /* begin of the sample; 0: none begun */
    guint64 taken_then;  /* at since_us */
    double best[2];      /* bytes per us: the best sample of this period, and of the last */
    gint64 period_us;    /* begin of this period */
    gint64 trip_us;      /* round trip of the connections, without queues; 0: unknown */
} Pace;

#define PACE_LEAST (512u * 1024) /* bytes, whatever the path */

void pace_sent(Pace *pace, guint64 bytes, gint64 now_us);
void pace_taken(Pace *pace, guint64 bytes, gint64 now_us);
/** The shortest round trip that the connections have seen. */
void pace_trip(Pace *pace, gint64 trip_us);
/** Bytes that may be sent now. */
guint64 pace_room(const Pace *pace);
