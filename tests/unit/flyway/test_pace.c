/* SPDX-License-Identifier: Apache-2.0 */
/* The windows of a lane: what the path carries in a round trip, twice, and never less than
 * PACE_LEAST on the link and PACE_LEAST_RAW of the lane's bytes. */
#include "flyway/pace.h"

#define MS 1000
#define S (1000 * MS)

/* Sends and takes so many bytes per us for a while, in steps of step_us; a tenth of them crosses
 * the link where packed. */
static void
run_at(Pace *pace, guint64 rate, gboolean packed, gint64 *now_us, gint64 for_us, gint64 step_us)
{
    gint64 until_us = *now_us + for_us;
    guint64 raw = rate * (guint64)step_us, wire = packed ? raw / 10 : raw;

    pace_sent(pace, raw, wire, *now_us);
    while (*now_us < until_us) {
        *now_us += step_us;
        pace_sent(pace, raw, wire, *now_us);
        pace_taken(pace, raw, *now_us);
    }
    pace_taken(pace, raw, *now_us);
}

static void
test_least(void)
{
    Pace pace = { 0 };

    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW);
    pace_sent(&pace, PACE_LEAST - 1, PACE_LEAST - 1, 5);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW - PACE_LEAST + 1);
    pace_sent(&pace, 1, 1, 5);
    g_assert_cmpuint(pace_room(&pace), ==, 0);
    pace_sent(&pace, 1000, 1000, 6); /* a frame may go beyond it */
    g_assert_cmpuint(pace_room(&pace), ==, 0);
    pace_taken(&pace, PACE_LEAST - 2, 7); /* a frame counts when all of it was taken */
    g_assert_cmpuint(pace_room(&pace), ==, 0);
    pace_taken(&pace, 1, 7);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW - 1001);
    pace_taken(&pace, 1001, 8);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW);
}

/* What is short on the link is still much to unpack. */
static void
test_packed(void)
{
    Pace pace = { 0 };

    pace_sent(&pace, PACE_LEAST_RAW - 10, 100, 5);
    g_assert_cmpuint(pace_room(&pace), ==, 10);
    pace_sent(&pace, 10, 1, 5);
    g_assert_cmpuint(pace_room(&pace), ==, 0);
    pace_taken(&pace, PACE_LEAST_RAW, 6);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW);
}

/* More frames than there are marks: none is forgotten. */
static void
test_many_frames(void)
{
    Pace pace = { 0 };

    for (guint i = 0; i < 3 * PACE_MARKS; i++)
        pace_sent(&pace, 100, 100, 5);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW - 300 * PACE_MARKS);
    pace_taken(&pace, 300 * PACE_MARKS, 6);
    g_assert_cmpuint(pace_room(&pace), ==, PACE_LEAST_RAW);
    g_assert_cmpuint(pace.wire.taken, ==, pace.wire.sent);
}

/* 100 MB/s over 50 ms: 5 MB are on their way in a round trip. */
static void
test_follows_path(void)
{
    Pace pace = { 0 };
    gint64 now_us = 77 * S;
    guint64 least, most;

    pace_trip(&pace, 50 * MS);
    run_at(&pace, 100, FALSE, &now_us, 100 * MS, 5 * MS);
    least = 2 * 100 * 50 * MS;
    most = least + PACE_LEAST_RAW + 2 * 100 * 10 * MS;
    g_assert_cmpuint(pace_room(&pace), >=, least);
    g_assert_cmpuint(pace_room(&pace), <=, most);
    pace_trip(&pace, 0); /* a short path: little */
    g_assert_cmpuint(pace_room(&pace), <, 2 * PACE_LEAST_RAW);
    pace_trip(&pace, 150 * MS);
    g_assert_cmpuint(pace_room(&pace), >=, 3 * least);
}

/* Many bytes at once say nothing of the path until a sample has lasted. */
static void
test_burst(void)
{
    Pace pace = { 0 };

    pace_trip(&pace, 50 * MS);
    pace_sent(&pace, 20 * 1000 * 1000, 1000, 1 * S);
    pace_taken(&pace, 8 * 1000 * 1000, 1 * S + 1);
    pace_taken(&pace, 8 * 1000 * 1000, 1 * S + 9 * MS);
    g_assert_cmpuint(pace_room(&pace), ==, 0);
    pace_taken(&pace, 4 * 1000 * 1000, 1 * S + 10 * MS); /* 20 MB in 10 ms, then */
    g_assert_cmpuint(pace_room(&pace), >=, 2 * 2000 * 50 * MS);
}

/* A lane that had nothing to send doesn't make the path look slow, nor is its pause counted. */
static void
test_idle(void)
{
    Pace pace = { 0 };
    gint64 now_us = 1 * S;
    guint64 room;

    pace_trip(&pace, 50 * MS);
    run_at(&pace, 100, TRUE, &now_us, 100 * MS, 10 * MS);
    room = pace_room(&pace);
    now_us += 3 * S;
    g_assert_cmpuint(pace_room(&pace), ==, room);
    run_at(&pace, 100, TRUE, &now_us, 50 * MS, 10 * MS);
    now_us += 3 * S;
    run_at(&pace, 100, TRUE, &now_us, 50 * MS, 10 * MS);
    g_assert_cmpuint(pace_room(&pace), ==, room);
}

/* A path that has become slow is known as such after two periods, not at once. */
static void
test_forgets(void)
{
    Pace pace = { 0 };
    gint64 now_us = 1 * S;
    guint64 room;

    pace_trip(&pace, 50 * MS);
    run_at(&pace, 100, TRUE, &now_us, 100 * MS, 10 * MS);
    room = pace_room(&pace);
    run_at(&pace, 20, TRUE, &now_us, 1 * S, 10 * MS);
    g_assert_cmpuint(pace_room(&pace), ==, room);
    run_at(&pace, 20, TRUE, &now_us, 5 * S, 10 * MS);
    g_assert_cmpuint(pace_room(&pace), <, room / 3);
    g_assert_cmpuint(pace_room(&pace), >=, 2 * 20 * 50 * MS);
    run_at(&pace, 100, TRUE, &now_us, 100 * MS, 10 * MS); /* fast again: at once */
    g_assert_cmpuint(pace_room(&pace), ==, room);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/pace/least", test_least);
    g_test_add_func("/flyway/pace/packed", test_packed);
    g_test_add_func("/flyway/pace/many-frames", test_many_frames);
    g_test_add_func("/flyway/pace/follows-path", test_follows_path);
    g_test_add_func("/flyway/pace/burst", test_burst);
    g_test_add_func("/flyway/pace/idle", test_idle);
    g_test_add_func("/flyway/pace/forgets", test_forgets);
    return g_test_run();
}
