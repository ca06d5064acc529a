/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cap on what the streams send, between two sessions in one process (duo.h) whose clock the
 * test turns: so waiting takes no time.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "duo.h"
#include "rpc_message.h"

#define RATE 1000000 /* bytes per second */
#define SLOW 125000
#define BURST (2 * FRAME_SIZE_MAX)
#define STEP_US 20000

typedef struct {
    Duo duo;
    GRand *rand;
    int from[2], to[2]; /* of two streams */
    gsize taken[2];
    guint8 bytes[65536];
} Capped;

static void
up(Capped *c, guint connections, gboolean packs, gint64 rate)
{
    Session *source;

    *c = (Capped){ .rand = g_rand_new_with_seed(1) };
    duo_open(&c->duo, connections);
    source = c->duo.sessions[0];
    bucket_init(&source->bucket, rate, FRAME_SIZE_MAX, clock_monotonic_us());
    if (!packs)
        source->abilities &= ~(guint64)FLYWAY_ABILITY_PAGES;
    for (guint i = 0; i < 2; i++) {
        c->from[i] = open_lane(&c->duo, RIG_STREAM);
        c->to[i] = c->duo.peers[RIG_STREAM][i];
        g_assert_cmpint(source->lanes[i].packer != NULL, ==, packs);
    }
    c->duo.wait_us = 1000; /* the streams' ends aren't polled */
    for (gsize i = 0; i < sizeof c->bytes; i++)
        c->bytes[i] = (guint8)g_rand_int(c->rand);
}

static void
down(Capped *c)
{
    g_rand_free(c->rand);
    close(c->from[0]);
    close(c->from[1]);
    duo_down(&c->duo);
}

/* Both ends have as much to send as is taken; it can't be packed. */
static void
flow(Capped *c)
{
    guint8 taken[65536];

    for (guint i = 0; i < 2; i++) {
        ssize_t n;

        (void)!write(c->from[i], c->bytes, sizeof c->bytes);
        n = read(c->to[i], taken, sizeof taken);
        c->taken[i] += n > 0 ? (gsize)n : 0;
    }
    round_of(&c->duo);
}

/* Rounds until the source waits for tokens and what it has sent has arrived. */
static void
settle(Capped *c)
{
    gsize before = 0;

    UNTIL(&c->duo, (flow(c), c->duo.sessions[0]->capped));
    do {
        before = c->taken[0] + c->taken[1];
        for (guint i = 0; i < 20; i++)
            flow(c);
    } while (c->taken[0] + c->taken[1] > before);
}

/* As much as the rate says, neither more nor much less, and to each stream its half. */
static void
test_rate(void)
{
    for (guint packs = 0; packs < 2; packs++) {
        for (guint connections = 1; connections <= 3; connections += 2) {
            gint64 began_us;
            gsize wire;
            Capped c;

            up(&c, connections, packs, RATE);
            settle(&c);
            began_us = clock_monotonic_us();
            wire = session_wire_bytes(c.duo.sessions[0]);
            for (guint i = 0; i < 3 * SECOND / STEP_US; i++) {
                turn(STEP_US);
                for (guint j = 0; j < 6; j++)
                    flow(&c);
            }
            settle(&c);
            wire = session_wire_bytes(c.duo.sessions[0]) - wire;
            began_us = clock_monotonic_us() - began_us;
            g_test_message("%u: %zu bytes in %d ms; %zu, %zu", connections, wire,
                           (int)(began_us / 1000), c.taken[0], c.taken[1]);
            g_assert_cmpint(began_us, >=, 3 * SECOND);
            g_assert_cmpfloat((double)wire, <=,
                              1.05 * RATE * (double)began_us / 1e6 + BURST + FRAME_SIZE_MAX);
            g_assert_cmpfloat((double)wire, >=, 0.9 * RATE * (double)began_us / 1e6 - BURST);
            g_assert_cmpint(ABS((gssize)c.taken[0] - (gssize)c.taken[1]), <=, BURST);
            g_assert_cmpuint(MIN(c.taken[0], c.taken[1]), >, RATE);
            down(&c);
        }
    }
}

/* Without tokens nothing is done before there are some: neither polled for, nor read. */
static void
test_sleeps(void)
{
    for (guint packs = 0; packs < 2; packs++) {
        struct pollfd entries[SESSION_POLL_MAX];
        Session *source;
        gint64 now_us, wake_us;
        guint64 sent;
        Capped c;

        up(&c, 1, packs, SLOW);
        settle(&c);
        source = c.duo.sessions[0];
        sent = line_next_number(source->line);
        session_poll(source, entries, SESSION_POLL_MAX);
        for (guint i = 0; i < 2; i++)
            g_assert_cmpint(entries[source->lanes[i].poll_index].events & POLLIN, ==, 0);
        now_us = clock_monotonic_us();
        wake_us = session_wake_us(source, now_us);
        g_assert_cmpint(wake_us, >, now_us + 1000);
        g_assert_cmpint(wake_us, <=, bucket_wake_us(&source->bucket));
        turn(bucket_wake_us(&source->bucket) - now_us);
        g_assert_cmpint(session_wake_us(source, clock_monotonic_us()), <=, clock_monotonic_us());
        UNTIL(&c.duo, (flow(&c), line_next_number(source->line) > sent));
        down(&c);
    }
}

/* libvirt's RPC goes on while streams wait, and once the VM has stopped so do they. */
static void
test_free(void)
{
    g_autoptr(GByteArray) call = g_byte_array_new();
    guint8 got[512];
    gsize before, n = 0;
    int rpc;
    Capped c;

    up(&c, 2, TRUE, SLOW);
    settle(&c);
    rpc = open_lane(&c.duo, RIG_RPC);
    rpc_append(call, &(RpcMessage){ RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 });
    g_assert_cmpint(write(rpc, call->data, call->len), ==, (gssize)call->len);
    while (n < call->len) {
        gssize more;

        flow(&c);
        more = recv(c.duo.peers[RIG_RPC][0], got + n, sizeof got - n, MSG_DONTWAIT);
        n += more > 0 ? (gsize)more : 0;
    }
    g_assert_cmpmem(got, n, call->data, call->len);
    g_assert_true(c.duo.sessions[0]->capped);
    before = c.taken[0];
    session_hurry(c.duo.sessions[0]);
    UNTIL(&c.duo, (flow(&c), c.taken[0] > before + (8 << 20)));
    g_assert_false(c.duo.sessions[0]->capped);
    close(rpc);
    down(&c);
}

/* What was lost is sent again at once, but not for nothing. */
static void
test_lost(void)
{
    gint64 began_us;
    gsize wire;
    Session *source, *destination;
    Capped c;

    up(&c, 1, FALSE, RATE);
    settle(&c);
    source = c.duo.sessions[0];
    destination = c.duo.sessions[1];
    began_us = clock_monotonic_us();
    wire = session_wire_bytes(source);
    for (guint cut = 1; cut <= 20; cut++) {
        turn(20 * STEP_US);
        c.duo.sessions[1] = NULL; /* the source's round only: all it sends is lost */
        flow(&c);
        c.duo.sessions[1] = destination;
        cut_all(&c.duo);
        UNTIL(&c.duo, (flow(&c), source->cuts == cut));
        UNTIL(&c.duo, (flow(&c), source->capped && line_kept_bytes(source->line) == 0));
    }
    settle(&c);
    wire = session_wire_bytes(source) - wire;
    began_us = clock_monotonic_us() - began_us;
    g_test_message("%zu bytes in %d ms, %d of them again", wire, (int)(began_us / 1000),
                   (int)line_resent_bytes(source->line));
    g_assert_cmpuint(line_resent_bytes(source->line), >, 1000000);
    g_assert_cmpfloat((double)wire, <=,
                      1.05 * RATE * (double)began_us / 1e6 + BURST + FRAME_SIZE_MAX + 20 * 8192);
    down(&c);
}

/* The policy takes the cap for the link's rate: what can be packed is packed. */
static void
test_policy(void)
{
    Capped c;

    up(&c, 1, TRUE, RATE);
    for (gsize i = 0; i < sizeof c.bytes; i++)
        c.bytes[i] = (guint8) "0123456789abcdef"[g_rand_int_range(c.rand, 0, 16)];
    for (guint i = 0; i < 5 * SECOND / STEP_US; i++) {
        turn(STEP_US);
        for (guint j = 0; j < 6; j++)
            flow(&c);
    }
    g_test_message("%s", packer_way(c.duo.sessions[0]->lanes[0].packer));
    g_assert_cmpuint(c.taken[0] + c.taken[1], >, session_wire_bytes(c.duo.sessions[0]) * 3 / 2);
    down(&c);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/cap/rate", test_rate);
    g_test_add_func("/flyway/cap/sleeps", test_sleeps);
    g_test_add_func("/flyway/cap/free", test_free);
    g_test_add_func("/flyway/cap/lost", test_lost);
    g_test_add_func("/flyway/cap/policy", test_policy);
    return g_test_run();
}
