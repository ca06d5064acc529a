/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn it is: turns.c, with lanes that have more always, seldom or in bursts. */
#include "flyway/turns.h"

#define FRAME 65536

typedef struct {
    Turns turns;
    LaneKind kinds[FLYWAY_LANES];
    gsize waits[FLYWAY_LANES]; /* bytes that it has to send; G_MAXSIZE: always more */
    gsize sent[FLYWAY_LANES];
    gsize frame[FLYWAY_LANES]; /* its frames' size; 0: FRAME */
    gboolean streams_first;
} World;

/* One frame; its lane, -1: nobody has anything. */
static int
serve(World *world)
{
    guint8 order[FLYWAY_LANES];
    guint n = turns_order(&world->turns, world->kinds, world->streams_first, order);

    for (guint i = 0; i < n; i++) {
        guint lane = order[i];
        gsize size = MIN(world->waits[lane], world->frame[lane] > 0 ? world->frame[lane] : FRAME);

        if (size == 0)
            continue;
        if (world->waits[lane] != G_MAXSIZE)
            world->waits[lane] -= size;
        world->sent[lane] += size;
        turns_sent(&world->turns, lane, world->kinds[lane], size);
        return (int)lane;
    }
    return -1;
}

static void
serve_times(World *world, guint times)
{
    for (guint i = 0; i < times; i++)
        g_assert_cmpint(serve(world), >=, 0);
}

static void
add(World *world, guint lane, LaneKind kind, gsize waits)
{
    world->kinds[lane] = kind;
    world->waits[lane] = waits;
}

static void
assert_share(const World *world, guint lane, gsize of, double wanted)
{
    g_test_message("lane %u: %zu of %zu", lane, world->sent[lane], of);
    g_assert_cmpfloat((double)world->sent[lane], >, (double)of * wanted * 0.97);
    g_assert_cmpfloat((double)world->sent[lane], <, (double)of * wanted * 1.03);
}

static void
test_who_takes_part(void)
{
    const LaneKind kinds[FLYWAY_LANES] = { 0, LANE_RPC, LANE_NBD, LANE_STREAM, LANE_NBD };
    Turns turns = { 0 };
    guint8 order[FLYWAY_LANES];

    g_assert_cmpuint(turns_order(&turns, kinds, FALSE, order), ==, 3);
    g_assert_cmpuint(order[0], ==, 3); /* level: streams before disks */
    g_assert_cmpuint(order[1], ==, 2);
    g_assert_cmpuint(order[2], ==, 4);
}

/* Multifd's channels, with frames of different sizes: by bytes, at any time. */
static void
test_equal(void)
{
    World world = { 0 };

    for (guint lane = 0; lane < 5; lane++) {
        add(&world, lane, LANE_STREAM, G_MAXSIZE);
        world.frame[lane] = lane % 2 ? FRAME : FRAME_SIZE_MAX;
    }
    for (guint i = 0; i < 2000; i++) {
        gsize least = G_MAXSIZE, most = 0;

        serve_times(&world, 1);
        for (guint lane = 0; lane < 5; lane++) {
            least = MIN(least, world.sent[lane]);
            most = MAX(most, world.sent[lane]);
        }
        g_assert_cmpuint(most - least, <=, FRAME_SIZE_MAX);
    }
}

/* Post-copy's channel for urgent pages, whichever number it has: it never waits for another frame
 * than the one that is being sent. */
static void
test_sparse(void)
{
    for (guint urgent = 0; urgent < 4; urgent++) {
        World world = { 0 };

        for (guint lane = 0; lane < 4; lane++)
            add(&world, lane, LANE_STREAM, G_MAXSIZE);
        add(&world, 4, LANE_NBD, G_MAXSIZE);
        world.waits[urgent] = 0;
        serve_times(&world, 20);
        for (guint round = 0; round < 500; round++) {
            serve_times(&world, 1 + round % 7);
            for (guint page = 0; page <= round % 3; page++) {
                world.waits[urgent] = 4200;
                g_assert_cmpint(serve(&world), ==, (int)urgent);
            }
        }
    }
}

/* So it is where the bulk ahead of it pauses at times, as pace and credit make it. */
static void
test_sparse_beside_pauses(void)
{
    World world = { 0 };

    add(&world, 0, LANE_STREAM, 10 * FRAME);
    add(&world, 1, LANE_STREAM, G_MAXSIZE);
    add(&world, 2, LANE_STREAM, 0);
    serve_times(&world, 20);
    for (guint round = 0; round < 500; round++) {
        serve_times(&world, 20);
        world.waits[0] = 10 * FRAME;
        world.waits[2] = 4200;
        g_assert_cmpint(serve(&world), ==, 2);
        serve_times(&world, 20);
        g_assert_cmpuint(world.waits[0], ==, 0);
    }
}

/* Who is no longer sparse has no more than its share. */
static void
test_rest_is_no_claim(void)
{
    World world = { 0 };
    gsize before;

    add(&world, 0, LANE_STREAM, G_MAXSIZE);
    add(&world, 1, LANE_STREAM, 0);
    serve_times(&world, 1000);
    world.waits[1] = G_MAXSIZE;
    before = world.sent[0];
    serve_times(&world, 40);
    g_assert_cmpuint(world.sent[1], <=, world.sent[0] - before + TURNS_ALLOWANCE + 2 * FRAME);
    g_assert_cmpuint(world.sent[1], >=, world.sent[0] - before);
    /* Nor a new lane under an old number. */
    add(&world, 1, LANE_STREAM, 0);
    serve_times(&world, 10);
    world.waits[1] = 100;
    g_assert_cmpint(serve(&world), ==, 1);
}

/* Beside a stream that always has more, disks get a fifth together, however many, each its part. */
static void
test_disks(void)
{
    for (guint disks = 1; disks <= FLYWAY_NBD_LANES; disks += 11) {
        World world = { 0 };
        gsize all = 0;

        add(&world, 3, LANE_STREAM, G_MAXSIZE);
        world.frame[3] = FRAME_SIZE_MAX;
        for (guint i = 0; i < disks; i++)
            add(&world, 4 + i, LANE_NBD, G_MAXSIZE);
        serve_times(&world, 5000);
        for (guint lane = 0; lane < FLYWAY_LANES; lane++)
            all += world.sent[lane];
        assert_share(&world, 3, all, 0.8);
        for (guint i = 0; i < disks; i++)
            assert_share(&world, 4 + i, all, 0.2 / disks);
    }
}

/* What the stream leaves is theirs, and a disk that writes little doesn't wait. */
static void
test_disks_take_the_rest(void)
{
    World world = { 0 };

    add(&world, 0, LANE_STREAM, 0);
    add(&world, 1, LANE_NBD, G_MAXSIZE);
    add(&world, 2, LANE_NBD, 0);
    serve_times(&world, 100);
    g_assert_cmpuint(world.sent[1], ==, 100 * FRAME);
    for (guint i = 0; i < 100; i++) {
        world.waits[0] = world.waits[2] = 4096;
        g_assert_cmpint(serve(&world), ==, 0); /* a stream that has little, too */
        serve_times(&world, 1);
        g_assert_cmpuint(world.waits[2], ==, 0);
        serve_times(&world, 3);
    }
    world.waits[0] = G_MAXSIZE;
    world.waits[1] = 0;
    serve_times(&world, 50);
    for (guint i = 0; i < 100; i++) {
        world.waits[2] = 4096;
        serve_times(&world, 2);
        g_assert_cmpuint(world.waits[2], ==, 0);
        serve_times(&world, 8);
    }
}

/* When the VM has stopped, and for the return path. */
static void
test_streams_first(void)
{
    World world = { .streams_first = TRUE };

    add(&world, 0, LANE_NBD, G_MAXSIZE);
    add(&world, 1, LANE_STREAM, 100 * FRAME);
    add(&world, 2, LANE_STREAM, 100 * FRAME);
    for (guint i = 0; i < 200; i++)
        g_assert_cmpint(serve(&world), !=, 0);
    g_assert_cmpint(serve(&world), ==, 0);
    world.waits[1] = 16;
    g_assert_cmpint(serve(&world), ==, 1);
    g_assert_cmpint(serve(&world), ==, 0);
}

static void
test_nobody(void)
{
    World world = { 0 };

    g_assert_cmpint(serve(&world), ==, -1);
    add(&world, 5, LANE_STREAM, 0);
    g_assert_cmpint(serve(&world), ==, -1);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/turns/who-takes-part", test_who_takes_part);
    g_test_add_func("/flyway/turns/equal", test_equal);
    g_test_add_func("/flyway/turns/sparse", test_sparse);
    g_test_add_func("/flyway/turns/sparse-beside-pauses", test_sparse_beside_pauses);
    g_test_add_func("/flyway/turns/rest-is-no-claim", test_rest_is_no_claim);
    g_test_add_func("/flyway/turns/disks", test_disks);
    g_test_add_func("/flyway/turns/disks-take-the-rest", test_disks_take_the_rest);
    g_test_add_func("/flyway/turns/streams-first", test_streams_first);
    g_test_add_func("/flyway/turns/nobody", test_nobody);
    return g_test_run();
}
