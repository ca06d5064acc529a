/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

static void
test_format(void)
{
    static const struct {
        gint64 ms;
        const char *text;
    } rows[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { 1, "1970-01-01T00:00:00.001Z" },
        { -1, "1969-12-31T23:59:59.999Z" },
        { 1795418641123, "2026-11-23T07:24:01.123Z" },
        { 951782400000, "2000-02-29T00:00:00.000Z" },
        { G_MAXINT64, "(no such time)" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = clock_format(rows[i].ms);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_clocks_go_on(void)
{
    gint64 before = clock_monotonic_us();
    g_assert_cmpint(clock_monotonic_us(), >=, before);
    g_assert_cmpint(clock_wall_ms(), >, 1600000000000);
    g_assert_cmpint(clock_wall_ms(), <, 16000000000000);
}

static void
test_offset_of_shortest_trip(void)
{
    /* The peer's clock is 1,000,000 behind ours. */
    static const ClockSample samples[] = {
        { .sent_us = 5000000, .peer_us = 4000900, .received_us = 5001000 }, /* slow way back */
        { .sent_us = 6000000, .peer_us = 5000050, .received_us = 6000100 },
        { .sent_us = 7000000, .peer_us = 6000300, .received_us = 7004000 },
    };
    gint64 uncertainty = -1;
    g_assert_cmpint(clock_offset_us(samples, 3, &uncertainty), ==, 1000000);
    g_assert_cmpint(uncertainty, ==, 50);
    g_assert_cmpint(clock_offset_us(samples, 1, &uncertainty), ==, 999600);
    g_assert_cmpint(uncertainty, ==, 500);
    g_assert_cmpint(clock_offset_us(samples, 3, NULL), ==, 1000000);
}

/* Whatever the ways there and back take, the true offset lies within the uncertainty. */
static void
test_offset_within_uncertainty(void)
{
    for (int round = 0; round < 2000; round++) {
        gint64 truth = (gint64)g_test_rand_int() * 1000;
        ClockSample samples[5];
        gsize n = (gsize)g_test_rand_int_range(1, 6);
        for (gsize i = 0; i < n; i++) {
            gint64 sent = g_test_rand_int_range(0, G_MAXINT32);
            gint64 there = sent + g_test_rand_int_range(0, 20000);
            samples[i].sent_us = sent;
            samples[i].peer_us = there - truth;
            samples[i].received_us = there + g_test_rand_int_range(0, 20000);
        }
        gint64 uncertainty;
        gint64 offset = clock_offset_us(samples, n, &uncertainty);
        g_assert_cmpint(ABS(offset - truth), <=, uncertainty);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/format", test_format);
    g_test_add_func("/clock/go-on", test_clocks_go_on);
    g_test_add_func("/clock/offset-of-shortest-trip", test_offset_of_shortest_trip);
    g_test_add_func("/clock/offset-within-uncertainty", test_offset_within_uncertainty);
    return g_test_run();
}
