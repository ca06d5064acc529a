/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** CLOCK_MONOTONIC in microseconds (the same clock as g_get_monotonic_time). */
gint64 clock_monotonic_us(void);
/** Wall clock, milliseconds since 1970 UTC. */
gint64 clock_wall_ms(void);
/** RFC 3339 in UTC with milliseconds, "2026-11-23T07:24:01.123Z". (transfer full) */
char *clock_format(gint64 wall_ms);

/** One exchange of clocks with a peer: all monotonic, microseconds. */
typedef struct {
    gint64 sent_us;     /* here, before asking */
    gint64 peer_us;     /* there, when answering */
    gint64 received_us; /* here, with the answer */
} ClockSample;

/** Offset to add to the peer's monotonic time to get ours, from the sample with the shortest
 * round trip (Cristian's algorithm); *uncertainty_us gets half of that round trip. n >= 1. */
gint64 clock_offset_us(const ClockSample *samples, gsize n, gint64 *uncertainty_us);
