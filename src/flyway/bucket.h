/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * A cap on bytes per second: a token bucket that may go into debt. Who finds tokens in it may send
 * one frame of any size, and takes its bytes out afterwards; then nobody sends before the debt is
 * paid. Pure; times are monotonic microseconds, and never go back.
 */
typedef struct {
    gint64 rate_bps; /* bytes per second; 0: no cap, there are always tokens */
    gint64 burst;    /* bytes: so many tokens gather at most */
    gint64 level;    /* millionths of a byte, at at_us; 0 and below: none */
    gint64 at_us;
} Bucket;

#define BUCKET_RATE_MOST G_GINT64_CONSTANT(125000000000) /* bytes per second */

/** Full. rate_bps 0 or less: no cap; more than BUCKET_RATE_MOST is that. The burst is what the rate
 * gives in 20 ms, but at least two frames of frame_bytes. */
void bucket_init(Bucket *bucket, gint64 rate_bps, gsize frame_bytes, gint64 now_us);
/** There is no cap from now on. */
void bucket_lift(Bucket *bucket);
gboolean bucket_has(Bucket *bucket, gint64 now_us);
void bucket_take(Bucket *bucket, gsize bytes, gint64 now_us);
/** When there are tokens (again), if nothing is taken until then; may be in the past. */
gint64 bucket_wake_us(const Bucket *bucket);
