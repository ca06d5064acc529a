/* SPDX-License-Identifier: Apache-2.0 */
/* The numbered frames: what one side sends over connections that come and go arrives once, in
 * order. */
#include "flyway/line.h"

#include <errno.h>
#include <string.h>

#define N_FRAMES 20000
#define SLOTS 4
#define IN_FLIGHT_MAX 64

/* A frame on its way over a slot; the frames here are just their number, repeated. */
typedef struct {
    guint64 number;
    gsize size;
} Packet;

typedef struct {
    Packet packets[IN_FLIGHT_MAX];
    guint from, n;
} Pipe;

typedef struct {
    Line *sender, *receiver;
    Pipe pipes[SLOTS];
    guint64 taken;
    gsize size_max;
    GRand *random;
} World;

static void
fill_frame(guint8 *out, guint64 number, gsize size)
{
    for (gsize i = 0; i + 8 <= size; i += 8)
        memcpy(out + i, &number, 8);
}

static void
check_frame(const guint8 *bytes, guint64 number, gsize size)
{
    guint64 last;

    memcpy(&last, bytes, 8);
    g_assert_cmpuint(last, ==, number);
    memcpy(&last, bytes + (size / 8 - 1) * 8, 8);
    g_assert_cmpuint(last, ==, number);
}

static void
put_packet(Pipe *pipe, const guint8 *bytes, gsize size)
{
    Packet *packet = &pipe->packets[(pipe->from + pipe->n++) % IN_FLIGHT_MAX];

    memcpy(&packet->number, bytes, 8);
    packet->size = size;
    check_frame(bytes, packet->number, size);
}

static void
send_one(World *world, int slot)
{
    Pipe *pipe = &world->pipes[slot];
    gsize size;
    const guint8 *again;

    if (pipe->n == IN_FLIGHT_MAX)
        return;
    again = line_resend(world->sender, slot, FRAME_SIZE_MAX, &size);
    if (again != NULL) {
        put_packet(pipe, again, size);
    } else if (line_has_room(world->sender) && line_next_number(world->sender) <= N_FRAMES) {
        guint8 *room = line_room(world->sender);

        size = 8 * (gsize)g_rand_int_range(world->random, 1, (gint32)world->size_max / 8);
        fill_frame(room, line_next_number(world->sender), size);
        put_packet(pipe, room, size);
        line_add(world->sender, size, slot);
    }
}

static void
take_held(World *world)
{
    const guint8 *bytes;
    gsize size;

    while ((bytes = line_held(world->receiver, &size)) != NULL) {
        check_frame(bytes, ++world->taken, size);
        line_took(world->receiver);
    }
}

static void
receive_one(World *world, int slot)
{
    static guint8 bytes[FRAME_SIZE_MAX];
    Pipe *pipe = &world->pipes[slot];
    Packet packet = pipe->packets[pipe->from];

    if (pipe->n == 0)
        return;
    pipe->from = (pipe->from + 1) % IN_FLIGHT_MAX;
    pipe->n--;
    fill_frame(bytes, packet.number, packet.size);
    switch (line_place(world->receiver, packet.number)) {
    case LINE_NEXT:
        g_assert_cmpuint(packet.number, ==, ++world->taken);
        line_took(world->receiver);
        take_held(world);
        break;
    case LINE_EARLY:
        g_assert_cmpint(line_hold(world->receiver, packet.number, bytes, packet.size), ==, 0);
        break;
    case LINE_OLD:
        g_assert_cmpuint(packet.number, <=, world->taken);
        break;
    case LINE_WRONG:
        g_assert_not_reached();
    }
}

static void
lose(World *world, int slot)
{
    world->pipes[slot].n = 0;
    line_lost(world->sender, slot);
}

static void
run_world(guint32 seed, gsize size_max, int loss_percent, int ack_percent)
{
    World world = { .sender = line_new(), .receiver = line_new(), .size_max = size_max };

    world.random = g_rand_new_with_seed(seed);
    while (world.taken < N_FRAMES) {
        int slot = g_rand_int_range(world.random, 0, SLOTS);

        send_one(&world, g_rand_int_range(world.random, 0, SLOTS));
        if (g_rand_boolean(world.random))
            receive_one(&world, slot);
        if (g_rand_int_range(world.random, 0, 1000) < loss_percent)
            lose(&world, slot);
        if (g_rand_int_range(world.random, 0, 100) < ack_percent)
            g_assert_cmpint(line_acked(world.sender, line_taken_below(world.receiver)), ==, 0);
        g_assert_cmpuint(line_kept_bytes(world.sender), <=, LINE_KEEP_BYTES);
    }
    g_assert_cmpint(line_acked(world.sender, line_taken_below(world.receiver)), ==, 0);
    g_assert_cmpuint(line_kept_bytes(world.sender), ==, 0);
    g_assert_false(line_resends(world.sender));
    g_assert_true((line_resent_bytes(world.sender) > 0) == (loss_percent > 0));
    g_rand_free(world.random);
    line_free(world.sender);
    line_free(world.receiver);
}

static void
test_carries(void)
{
    run_world(1, 4096, 0, 50);
    run_world(2, 4096, 10, 50);
    run_world(3, FRAME_SIZE_MAX, 10, 20);
    run_world(4, FRAME_SIZE_MAX, 30, 1); /* the ring fills */
    run_world(5, 64, 5, 1);              /* its entries fill */
}

static void
add_frames(Line *line, guint n, gsize size, int slot)
{
    for (guint i = 0; i < n; i++) {
        fill_frame(line_room(line), line_next_number(line), size);
        line_add(line, size, slot);
    }
}

static void
test_bounds(void)
{
    g_autoptr(Line) line = line_new();
    guint n = 0;

    add_frames(line, LINE_FRAMES_MAX, 64, 0);
    g_assert_false(line_has_room(line));
    g_assert_cmpint(line_acked(line, 2), ==, 0);
    g_assert_true(line_has_room(line));
    g_assert_cmpint(line_acked(line, LINE_FRAMES_MAX + 1), ==, 0);
    for (; line_has_room(line); n++)
        add_frames(line, 1, FRAME_SIZE_MAX, 0);
    g_assert_cmpuint(n, ==, LINE_KEEP_BYTES / FRAME_SIZE_MAX);
    /* One acknowledged makes room for one, at the ring's start. */
    g_assert_cmpint(line_acked(line, LINE_FRAMES_MAX + 2), ==, 0);
    g_assert_true(line_has_room(line));
    add_frames(line, 1, FRAME_SIZE_MAX, 0);
    g_assert_false(line_has_room(line));
}

static void
test_again(void)
{
    g_autoptr(Line) line = line_new();
    gsize size;

    add_frames(line, 3, 80, 0);
    add_frames(line, 3, 160, 1);
    g_assert_null(line_resend(line, 0, FRAME_SIZE_MAX, &size));
    line_lost(line, 2); /* nothing went there */
    g_assert_false(line_resends(line));
    line_lost(line, 1);
    g_assert_true(line_resends(line));
    g_assert_null(line_resend(line, 0, 159, &size)); /* no room */
    check_frame(line_resend(line, 0, 160, &size), 4, 160);
    g_assert_cmpuint(size, ==, 160);
    g_assert_cmpint(line_acked(line, 6), ==, 0); /* 5 arrived after all */
    check_frame(line_resend(line, 0, 160, &size), 6, 160);
    g_assert_false(line_resends(line));
    g_assert_cmpuint(line_resent_bytes(line), ==, 320);
    line_lost(line, 0);
    g_assert_cmpint(line_acked(line, 7), ==, 0);
    g_assert_false(line_resends(line));
}

/* New frames may be made while others wait to be sent again; those stay first. */
static void
test_between(void)
{
    g_autoptr(Line) line = line_new();
    gsize size;

    add_frames(line, 3, 80, 0);
    line_lost(line, 0);
    add_frames(line, 1, 80, 1);
    for (guint64 number = 1; number <= 3; number++)
        check_frame(line_resend(line, 1, 80, &size), number, 80);
    g_assert_false(line_resends(line));
    line_free(NULL);
}

static void
test_hostile(void)
{
    g_autoptr(Line) line = line_new();
    g_autofree guint8 *frame = g_malloc0(FRAME_SIZE_MAX);
    guint64 number = 2;

    g_assert_cmpint(line_acked(line, 2), ==, -EPROTO);
    g_assert_cmpint(line_acked(line, 1), ==, 0);
    g_assert_cmpint(line_place(line, 0), ==, LINE_OLD);
    g_assert_cmpint(line_place(line, 1 + LINE_FRAMES_MAX), ==, LINE_WRONG);
    g_assert_cmpint(line_place(line, G_MAXUINT64), ==, LINE_WRONG);
    g_assert_cmpint(line_hold(line, 2, frame, FRAME_SIZE_MAX), ==, 0);
    g_assert_cmpint(line_hold(line, 2, frame, FRAME_SIZE_MAX), ==, 0); /* twice: counted once */
    while (line_hold(line, ++number, frame, FRAME_SIZE_MAX) == 0)
        ;
    g_assert_cmpuint(number - 2, ==, LINE_KEEP_BYTES / FRAME_SIZE_MAX);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/line/carries", test_carries);
    g_test_add_func("/flyway/line/bounds", test_bounds);
    g_test_add_func("/flyway/line/again", test_again);
    g_test_add_func("/flyway/line/between", test_between);
    g_test_add_func("/flyway/line/hostile", test_hostile);
    return g_test_run();
}
