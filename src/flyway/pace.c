/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The peer's window is large, for paths of 150 ms; filled on a short path it would be a queue, and
 * what stands in it when the VM is stopped adds to the blackout. So no more is on its way than
 * twice what the path carries in a round trip: twice rate x (trip + WORK_US) + SLACK, as in BBR
 * (Cardwell et al., ACM Queue 14(5), 2016). The rate is that of CREDIT, so the slowest part counts,
 * be it link, worker or the QEMU that takes the bytes: the best sample of the last two periods. The
 * trip is TCP's own minimum, which queues of ours don't lengthen, so the window can't feed itself.
 *
 * A sample lasts at least SAMPLE_US and is thrown away where little was on its way: then the lane
 * had nothing to send and says nothing about the path.
 */
#include "flyway/pace.h"

#define SAMPLE_US (10 * 1000)
#define PERIOD_US (2 * G_USEC_PER_SEC)
#define WORK_US (2 * 1000) /* both workers' rounds, and packing */
#define SLACK (256u * 1024)

static guint64
window(const Pace *pace)
{
    double best = MAX(pace->best[0], pace->best[1]);
    double bytes = 2 * best * (double)(pace->trip_us + WORK_US) + SLACK;

    return MAX((guint64)bytes, PACE_LEAST);
}

static void
begin_sample(Pace *pace, gint64 now_us)
{
    pace->since_us = now_us;
    pace->taken_then = pace->taken;
}

void
pace_sent(Pace *pace, guint64 bytes, gint64 now_us)
{
    if (pace->sent == pace->taken) /* it was idle */
        begin_sample(pace, now_us);
    pace->sent += bytes;
}

void
pace_taken(Pace *pace, guint64 bytes, gint64 now_us)
{
    gint64 took_us = now_us - pace->since_us;
    double rate;

    pace->taken += bytes;
    if (took_us < SAMPLE_US)
        return;
    rate = (double)(pace->taken - pace->taken_then) / (double)took_us;
    if (now_us - pace->period_us >= PERIOD_US) {
        pace->best[1] = pace->best[0];
        pace->best[0] = 0;
        pace->period_us = now_us;
    }
    pace->best[0] = MAX(pace->best[0], rate);
    begin_sample(pace, now_us);
}

void
pace_trip(Pace *pace, gint64 trip_us)
{
    pace->trip_us = trip_us;
}

guint64
pace_room(const Pace *pace)
{
    guint64 on_way = pace->sent - pace->taken, most = window(pace);

    return on_way < most ? most - on_way : 0;
}
