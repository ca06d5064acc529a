/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The level rises with time up to the burst, and is brought up to date when it is asked for. It is
 * counted in millionths of a byte, which is what a rate in bytes per second gives in a microsecond:
 * so nothing is lost by rounding, however often it is asked, and the time of the next token is
 * exact; a loop that sleeps until then finds one and never turns for nothing.
 *
 * Debt makes it unnecessary to know a frame's size before it is made. Over any time t no more than
 * rate x t + burst + one frame is sent.
 *
 * Bounds: burst < 2^32 bytes and rate < 2^37 bytes per second, so that a level fits; the debt is
 * what was sent at once without asking (the line's, after a loss: 32 MiB).
 */
#include "flyway/bucket.h"

#define MICRO G_GINT64_CONSTANT(1000000)
#define BURST_US (20 * 1000)

void
bucket_init(Bucket *bucket, gint64 rate_bps, gsize frame_bytes, gint64 now_us)
{
    gint64 rate = CLAMP(rate_bps, 0, BUCKET_RATE_MOST);
    gint64 burst = MAX(rate * BURST_US / MICRO, 2 * (gint64)frame_bytes);

    *bucket = (Bucket){ rate, burst, burst * MICRO, now_us };
}

void
bucket_lift(Bucket *bucket)
{
    bucket->rate_bps = 0;
}

static void
fill(Bucket *bucket, gint64 now_us)
{
    gint64 full = bucket->burst * MICRO;
    gint64 elapsed_us = MAX(now_us - bucket->at_us, 0);

    if (elapsed_us > (full - bucket->level) / bucket->rate_bps)
        bucket->level = full;
    else
        bucket->level += elapsed_us * bucket->rate_bps;
    bucket->at_us += elapsed_us;
}

gboolean
bucket_has(Bucket *bucket, gint64 now_us)
{
    if (bucket->rate_bps == 0)
        return TRUE;
    fill(bucket, now_us);
    return bucket->level > 0;
}

void
bucket_take(Bucket *bucket, gsize bytes, gint64 now_us)
{
    if (bucket->rate_bps == 0)
        return;
    fill(bucket, now_us);
    bucket->level -= (gint64)bytes * MICRO;
}

gint64
bucket_wake_us(const Bucket *bucket)
{
    if (bucket->rate_bps == 0 || bucket->level > 0)
        return bucket->at_us;
    return bucket->at_us - bucket->level / bucket->rate_bps + 1;
}
