/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes first of several lanes, between two sessions in one process (duo.h). A cap is the
 * bottleneck; the test itself gives tokens for exactly one frame, or turns the clock.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "duo.h"

#define NOTHING 1 /* bytes per second */
#define RATE 1000000
#define LANES_MAX 4
#define STEP_US 20000

typedef struct {
    Duo duo;
    FlywaySide side; /* that sends */
    guint n;
    int from[LANES_MAX], to[LANES_MAX];
    gboolean busy[LANES_MAX]; /* has always more to send */
    gsize taken[LANES_MAX];
    guint8 bytes[65536];
} Busy;

static void
throttle(Busy *b, gint64 rate)
{
    bucket_init(&b->duo.sessions[b->side]->bucket, rate, FRAME_SIZE_MAX, clock_monotonic_us());
}

/* Lanes as whichs says: RIG_STREAM, RIG_NBD; terminated by RIG_RPC. */
static void
up(Busy *b, FlywaySide side, const guint *whichs)
{
    *b = (Busy){ .side = side };
    duo_open(&b->duo, 1);
    for (; whichs[b->n] != RIG_RPC; b->n++) {
        Session *source = b->duo.sessions[0];
        guint which = whichs[b->n];
        int ends[2];

        source->abilities &= ~(guint64)FLYWAY_ABILITY_PAGES; /* as DATA */
        ends[0] = open_lane(&b->duo, which);
        ends[1] = b->duo.peers[which][b->duo.n_peers[which] - 1];
        UNTIL(&b->duo, source->lanes[b->n].state == LANE_OPEN);
        b->from[b->n] = ends[side];
        b->to[b->n] = ends[!side];
    }
    b->duo.wait_us = 1000; /* the lanes' ends aren't polled */
    memset(b->bytes, 7, sizeof b->bytes);
}

static void
down(Busy *b)
{
    for (guint i = 0; i < b->n; i++)
        close(b->side == FLYWAY_SOURCE ? b->from[i] : b->to[i]);
    duo_down(&b->duo);
}

static void
flow(Busy *b)
{
    guint8 taken[65536];

    for (guint i = 0; i < b->n; i++) {
        ssize_t n;

        if (b->busy[i])
            (void)!send(b->from[i], b->bytes, sizeof b->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        n = recv(b->to[i], taken, sizeof taken, MSG_DONTWAIT);
        b->taken[i] += n > 0 ? (gsize)n : 0;
    }
    round_of(&b->duo);
}

/* Rounds until the sender waits for tokens and what it has sent has arrived. */
static void
settle(Busy *b)
{
    gsize before, now = 0;

    UNTIL(&b->duo, (flow(b), b->duo.sessions[b->side]->capped));
    do {
        before = now;
        now = 0;
        for (guint i = 0; i < 10; i++)
            flow(b);
        for (guint i = 0; i < b->n; i++)
            now += b->taken[i];
    } while (now > before);
}

static guint64
sent(const Busy *b, guint lane)
{
    return b->duo.sessions[b->side]->lanes[lane].pace.raw.sent;
}

/* Tokens for one frame; which lane sent it. */
static guint
one_frame(Busy *b)
{
    Session *session = b->duo.sessions[b->side];
    guint64 before[LANES_MAX];
    guint lane = b->n;

    settle(b);
    for (guint i = 0; i < b->n; i++)
        before[i] = sent(b, i);
    session->bucket.level = 1;
    UNTIL(&b->duo, (flow(b), session->bucket.level < 0));
    for (guint i = 0; i < b->n; i++) {
        if (sent(b, i) == before[i])
            continue;
        g_assert_cmpuint(lane, ==, b->n); /* one only */
        lane = i;
    }
    return lane;
}

/* A channel that has little to send, as post-copy's for urgent pages, before those that have always
 * more, however it is numbered. */
static void
test_urgent(void)
{
    static const guint whichs[] = { RIG_STREAM, RIG_STREAM, RIG_STREAM, RIG_NBD, RIG_RPC };

    for (guint urgent = 0; urgent < 3; urgent++) {
        Busy b;

        up(&b, FLYWAY_SOURCE, whichs);
        for (guint i = 0; i < b.n; i++)
            b.busy[i] = i != urgent;
        UNTIL(&b.duo, (flow(&b), b.taken[3] > (1 << 20)));
        throttle(&b, NOTHING);
        for (guint i = 0; i < 12; i++) {
            for (guint k = 0; k < i % 4; k++)
                g_assert_cmpuint(one_frame(&b), !=, urgent);
            settle(&b);
            g_assert_cmpint(send(b.from[urgent], b.bytes, 4200, 0), ==, 4200);
            g_assert_cmpuint(one_frame(&b), ==, urgent);
        }
        UNTIL(&b.duo, (flow(&b), b.taken[urgent] == 12 * 4200));
        down(&b);
    }
}

/* Disks count in the cap, and have a fifth of it beside a stream. */
static void
test_disks(void)
{
    static const guint whichs[] = { RIG_STREAM, RIG_NBD, RIG_NBD, RIG_RPC };
    gsize began[3], all = 0;
    gint64 began_us;
    guint64 wire;
    Busy b;

    up(&b, FLYWAY_SOURCE, whichs);
    b.busy[0] = b.busy[1] = b.busy[2] = TRUE;
    UNTIL(&b.duo, (flow(&b), b.taken[2] > (1 << 20)));
    throttle(&b, RATE);
    settle(&b);
    memcpy(began, b.taken, sizeof began);
    wire = session_wire_bytes(b.duo.sessions[0]);
    began_us = clock_monotonic_us();
    for (guint i = 0; i < 8 * SECOND / STEP_US; i++) {
        turn(STEP_US);
        for (guint k = 0; k < 6; k++)
            flow(&b);
    }
    settle(&b);
    wire = session_wire_bytes(b.duo.sessions[0]) - wire;
    g_assert_cmpfloat((double)wire, <=,
                      1.05 * RATE * (double)(clock_monotonic_us() - began_us) / 1e6 +
                          3 * FRAME_SIZE_MAX);
    for (guint i = 0; i < 3; i++)
        all += b.taken[i] - began[i];
    g_test_message("%zu, %zu, %zu", b.taken[0] - began[0], b.taken[1] - began[1],
                   b.taken[2] - began[2]);
    g_assert_cmpfloat((double)(b.taken[0] - began[0]) / (double)all, >, 0.75);
    g_assert_cmpfloat((double)(b.taken[0] - began[0]) / (double)all, <, 0.85);
    for (guint i = 1; i < 3; i++)
        g_assert_cmpfloat((double)(b.taken[i] - began[i]) / (double)all, >, 0.07);
    down(&b);
}

/* The VM has stopped: what is left of the stream goes before what is left of disks. */
static void
test_stopped(void)
{
    static const guint whichs[] = { RIG_STREAM, RIG_NBD, RIG_RPC };
    Busy b;

    up(&b, FLYWAY_SOURCE, whichs);
    b.busy[0] = b.busy[1] = TRUE;
    UNTIL(&b.duo, (flow(&b), b.taken[1] > (1 << 20)));
    session_hurry(b.duo.sessions[0]);
    throttle(&b, NOTHING);
    for (guint i = 0; i < 20; i++)
        g_assert_cmpuint(one_frame(&b), ==, 0);
    b.busy[0] = FALSE;
    while (one_frame(&b) == 0)
        ;
    for (guint i = 0; i < 5; i++)
        g_assert_cmpuint(one_frame(&b), ==, 1);
    down(&b);
}

/* Pages asked for by a vCPU of the destination, beside answers about disks. */
static void
test_return_path(void)
{
    static const guint whichs[] = { RIG_NBD, RIG_STREAM, RIG_NBD, RIG_RPC };
    Busy b;

    up(&b, FLYWAY_DESTINATION, whichs);
    b.busy[0] = b.busy[2] = TRUE;
    UNTIL(&b.duo, (flow(&b), b.taken[2] > (1 << 20)));
    throttle(&b, NOTHING);
    for (guint i = 0; i < 12; i++) {
        for (guint k = 0; k < i % 3; k++)
            g_assert_cmpuint(one_frame(&b), !=, 1);
        settle(&b);
        /* Even a flood of them. */
        for (guint k = 0; k < 8; k++) {
            g_assert_cmpint(send(b.from[1], b.bytes, 40000, 0), ==, 40000);
            g_assert_cmpuint(one_frame(&b), ==, 1);
        }
    }
    down(&b);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/order/urgent", test_urgent);
    g_test_add_func("/flyway/order/disks", test_disks);
    g_test_add_func("/flyway/order/stopped", test_stopped);
    g_test_add_func("/flyway/order/return-path", test_return_path);
    return g_test_run();
}
