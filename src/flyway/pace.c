/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The peer's window is large, for paths of 150 ms; filled on a short path it would be a queue, and
 * what stands in it when the VM is stopped adds to the blackout. So no more is on its way than
 * twice what the path carries in a round trip: twice rate x (trip + work) + slack, as in BBR
 * (Cardwell et al., ACM Queue 14(5), 2016). The rate is that of CREDIT, so the slowest part counts,
 * be it link, worker or the QEMU that takes the bytes: the best sample of the last two periods. The
 * trip is TCP's own minimum, which queues of ours don't lengthen, so the window can't feed itself.
 *
 * There are two such windows, since packed bytes are short on the link and long to unpack: one of
 * bytes on the link, and a wider one of the lane's, for which the other end needs longer. CREDIT
 * tells of the lane's; marks tell what they were on the link.
 *
 * A sample lasts at least SAMPLE_US and is thrown away where little was on its way: then the lane
 * had nothing to send and says nothing about the path.
 */
#include "flyway/pace.h"

#define SAMPLE_US (10 * 1000)
#define PERIOD_US (2 * G_USEC_PER_SEC)

/* What stands between two ends beside the path. */
typedef struct {
    gint64 work_us; /* both workers' rounds, and packing; for the lane's bytes unpacking, too */
    guint slack, least;
} PaceRule;

static const PaceRule wire_rule = { 2 * 1000, 256 * 1024, PACE_LEAST };
static const PaceRule raw_rule = { 10 * 1000, 512 * 1024, PACE_LEAST_RAW };

/* More than was sent can be taken only where the peer makes its window larger. */
static guint64
room_of(const Pace *pace, const PaceFlow *flow, const PaceRule *rule)
{
    double best = MAX(flow->best[0], flow->best[1]);
    double bytes = 2 * best * (double)(pace->trip_us + rule->work_us) + rule->slack;
    guint64 most = MAX((guint64)bytes, rule->least);
    guint64 on_way = flow->sent > flow->taken ? flow->sent - flow->taken : 0;

    return on_way < most ? most - on_way : 0;
}

static void
begin_sample(Pace *pace, gint64 now_us)
{
    pace->since_us = now_us;
    pace->raw.taken_then = pace->raw.taken;
    pace->wire.taken_then = pace->wire.taken;
}

/* Without a place for one more the last one covers what follows. */
static void
mark(Pace *pace)
{
    if (pace->n < PACE_MARKS)
        pace->n++;
    pace->marks[(pace->first + pace->n - 1) % PACE_MARKS] =
        (PaceMark){ pace->raw.sent, pace->wire.sent };
}

void
pace_sent(Pace *pace, guint64 raw, guint64 wire, gint64 now_us)
{
    if (pace->raw.sent == pace->raw.taken) /* it was idle */
        begin_sample(pace, now_us);
    pace->raw.sent += raw;
    pace->wire.sent += wire;
    mark(pace);
}

static void
sample(PaceFlow *flow, gint64 took_us, gboolean next_period)
{
    if (next_period) {
        flow->best[1] = flow->best[0];
        flow->best[0] = 0;
    }
    flow->best[0] = MAX(flow->best[0], (double)(flow->taken - flow->taken_then) / (double)took_us);
}

void
pace_taken(Pace *pace, guint64 raw, gint64 now_us)
{
    gint64 took_us = now_us - pace->since_us;
    gboolean next_period = now_us - pace->period_us >= PERIOD_US;

    pace->raw.taken += raw;
    while (pace->n > 0 && pace->marks[pace->first].raw <= pace->raw.taken) {
        pace->wire.taken = pace->marks[pace->first].wire;
        pace->first = (pace->first + 1) % PACE_MARKS;
        pace->n--;
    }
    if (took_us < SAMPLE_US)
        return;
    if (next_period)
        pace->period_us = now_us;
    sample(&pace->raw, took_us, next_period);
    sample(&pace->wire, took_us, next_period);
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
    return room_of(pace, &pace->wire, &wire_rule) > 0 ? room_of(pace, &pace->raw, &raw_rule) : 0;
}
