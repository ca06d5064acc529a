/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * How much of a lane may be on its way at once: enough to keep the path busy, little enough that
 * nothing has to wait long behind it. Pure; times are monotonic microseconds. See pace.c.
 */

/** One kind of bytes: those of the lane, or those that they take on the link. */
typedef struct {
    guint64 sent, taken; /* taken: by the peer's socket, as CREDIT tells */
    guint64 taken_then;  /* at the sample's begin */
    double best[2];      /* bytes per us: the best sample of this period, and of the last */
} PaceFlow;

typedef struct {
    guint64 raw, wire; /* of all sent up to here */
} PaceMark;

#define PACE_MARKS 256 /* frames on their way that are told apart */

typedef struct {
    PaceFlow raw, wire;
    gint64 since_us;  /* begin of the sample; 0: none begun */
    gint64 period_us; /* begin of this period */
    gint64 trip_us;   /* round trip of the connections, without queues; 0: unknown */
    guint first, n;   /* of marks */
    PaceMark marks[PACE_MARKS];
} Pace;

#define PACE_LEAST (512u * 1024)          /* bytes on the link, whatever the path */
#define PACE_LEAST_RAW (2u * 1024 * 1024) /* bytes of the lane */

/** wire: what they take on the link. */
void pace_sent(Pace *pace, guint64 raw, guint64 wire, gint64 now_us);
void pace_taken(Pace *pace, guint64 raw, gint64 now_us);
/** The shortest round trip that the connections have seen. */
void pace_trip(Pace *pace, gint64 trip_us);
/** Bytes of the lane that may be sent now. */
guint64 pace_room(const Pace *pace);
