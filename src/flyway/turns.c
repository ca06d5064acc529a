/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Several lanes may have bytes for the same connections: QEMU's stream, further channels of it
 * (bulk alike where it is multifd; a few pages that a stopped vCPU waits for where it is
 * post-copy's channel for urgent pages), disks. When a lane opens nothing tells which of these it
 * is. So the rule looks at what lanes do: who sent less goes first. A lane that is seldom heard
 * then finds nobody before it, and lanes that always have more share evenly. (The idea of
 * fq_codel's sparse flows, RFC 8290; the arithmetic is start-time fair queueing: Goyal, Vin, Cheng,
 * SIGCOMM 1996.)
 *
 * Each lane has a tag, a place on a common scale of bytes: where its next frame begins. The lane
 * with the lowest is served, `now` becomes its tag, and the tag grows by the frame. A lane that had
 * nothing to send stays behind `now`; that is no claim to all it has missed: it counts as at most
 * the allowance behind. One frame of any size fits into that, so an urgent one goes before all that
 * are busy, though they may be level with `now`; and who comes back after a long rest is ahead by
 * no more. Of two that rested the one that sent less before goes first. There is no list of who is
 * busy, and nothing to be told when a lane rests: the session asks lanes in order until one has a
 * frame.
 *
 * Disks together are one more party on that scale, however many there are, whose bytes count
 * TURNS_DISKS_COST times; among themselves they have a scale of their own. So beside a stream that
 * always has more they get a fifth of the link, and all that it leaves. Why a fifth: libvirt copies
 * disks before it starts the stream, so beside the stream goes only what the guest writes. If that
 * is less than a fifth it isn't held up at all; if it is more, the copy of memory goes on at four
 * fifths, while the disks, which don't have to be alike before the VM stops, aren't starved. The
 * other way round (disks first) a guest that writes fast would keep its memory from ever becoming
 * alike. When the VM has stopped, and from destination to source, where the return path asks
 * for pages, disks come after streams altogether.
 *
 * A number used for a new lane keeps its tag: it isn't more than the last frame ahead.
 *
 * Limits: 2^64 bytes, with the cost 4 exbibytes of disks: never.
 */
#include "flyway/turns.h"

static guint64
begins(guint64 tag, guint64 now)
{
    return MAX(tag, now > TURNS_ALLOWANCE ? now - TURNS_ALLOWANCE : 0);
}

/* Does lane a have its turn before lane b? */
static gboolean
is_before(const Turns *turns, const LaneKind *kinds, gboolean streams_first, guint a, guint b)
{
    gboolean a_is_disk = kinds[a] == LANE_NBD, b_is_disk = kinds[b] == LANE_NBD;
    guint64 a_begins, b_begins;

    if (a_is_disk && b_is_disk)
        return begins(turns->lanes[a], turns->disks_now) <
               begins(turns->lanes[b], turns->disks_now);
    if (streams_first && a_is_disk != b_is_disk)
        return b_is_disk;
    a_begins = begins(a_is_disk ? turns->at : turns->lanes[a], turns->now);
    b_begins = begins(b_is_disk ? turns->at : turns->lanes[b], turns->now);
    if (a_begins != b_begins)
        return a_begins < b_begins;
    return a_is_disk == b_is_disk ? turns->lanes[a] < turns->lanes[b] : b_is_disk;
}

guint
turns_order(const Turns *turns, const LaneKind kinds[FLYWAY_LANES], gboolean streams_first,
            guint8 order[FLYWAY_LANES])
{
    guint n = 0;

    for (guint lane = 0; lane < FLYWAY_LANES; lane++) {
        guint at = n;

        if (kinds[lane] != LANE_STREAM && kinds[lane] != LANE_NBD)
            continue;
        for (; at > 0 && is_before(turns, kinds, streams_first, lane, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = (guint8)lane;
        n++;
    }
    return n;
}

/* One frame of that cost on a scale. */
static void
advance(guint64 *tag, guint64 *now, guint64 cost)
{
    guint64 start = begins(*tag, *now);

    *now = MAX(*now, start);
    *tag = start + cost;
}

void
turns_sent(Turns *turns, guint lane, LaneKind kind, gsize bytes)
{
    if (kind == LANE_NBD) {
        advance(&turns->lanes[lane], &turns->disks_now, bytes);
        advance(&turns->at, &turns->now, (guint64)bytes * TURNS_DISKS_COST);
    } else {
        advance(&turns->lanes[lane], &turns->now, bytes);
    }
}
