/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/error.h"
#include "base/units.h"

static void
test_bytes(void)
{
    static const struct {
        guint64 bytes;
        const char *text;
    } rows[] = {
        { 0, "0 B" },
        { 17, "17 B" },
        { 1023, "1023 B" },
        { 1024, "1 KiB" },
        { 1536, "1.5 KiB" },
        { 1536ull << 20, "1.5 GiB" },
        { 512ull << 20, "512 MiB" },
        { (1ull << 20) - 1, "1 MiB" }, /* not "1024 KiB" */
        { 1945ull << 20, "1.9 GiB" },
        { G_MAXUINT64, "16 EiB" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = units_bytes(rows[i].bytes);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_rate(void)
{
    static const struct {
        double rate;
        const char *text;
    } rows[] = {
        { 0, "0 B/s" },    { 117e6, "117 MB/s" }, { 1.25e9, "1.3 GB/s" },  { 999.96e3, "1 MB/s" },
        { -1, "unknown" }, { NAN, "unknown" },    { INFINITY, "unknown" }, { 4.2e15, "4200 TB/s" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = units_rate(rows[i].rate);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
test_duration(void)
{
    static const struct {
        gint64 us;
        const char *text;
    } rows[] = {
        { 0, "0 µs" },
        { 850, "850 µs" },
        { 3400, "3.4 ms" },
        { 43000, "43 ms" },
        { 999600, "1.0 s" }, /* not "1000 ms" */
        { 4100000, "4.1 s" },
        { 59960000, "1 min 00 s" },
        { 125000000, "2 min 05 s" },
        { 3599600000, "1 h 00 min" },
        { 11220000000, "3 h 07 min" },
        { -43000, "-43 ms" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = units_duration(rows[i].us);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
    g_autofree char *least = units_duration(G_MININT64);
    g_assert_true(g_str_has_prefix(least, "-"));
}

static void
test_parse(void)
{
    static const struct {
        const char *text;
        guint64 bytes;
    } rows[] = {
        { "0", 0 },
        { "512", 512 },
        { "512M", 512ull << 20 },
        { "512MiB", 512ull << 20 },
        { " 512 mib ", 512ull << 20 },
        { "1.5GiB", 1536ull << 20 },
        { "2T", 2ull << 40 },
        { "7B", 7 },
        { "9007199254740993", 9007199254740993 }, /* more bits than a double has */
        { "18446744073709551615", G_MAXUINT64 },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        guint64 bytes = 1;
        g_assert_true(units_parse_bytes(rows[i].text, &bytes, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(bytes, ==, rows[i].bytes);
    }
}

static void
test_parse_refuses(void)
{
    static const char *const bad[] = {
        "",    " ",   "M",     "-1",  "1.2.3M", "1e3", "512MB",        "5 5",
        "1Mi", "0x1", "1 M B", "inf", "nan",    ".",   "99999999999T", "18446744073709551616"
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        guint64 bytes = 4711;
        g_assert_false(units_parse_bytes(bad[i], &bytes, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_cmpuint(bytes, ==, 4711);
    }
}

static void
test_parse_seconds(void)
{
    static const struct {
        const char *text;
        gint64 seconds;
    } cases[] = { { "90", 90 },     { "90s", 90 }, { "15m", 900 }, { "2h", 7200 },
                  { "7d", 604800 }, { "", 0 },     { "h", 0 },     { "-3m", 0 },
                  { "0", 0 },       { "1.5h", 0 }, { "5 m", 0 },   { "99999999999999999999", 0 } };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        gint64 seconds = 0;
        gboolean ok = units_parse_seconds(cases[i].text, &seconds, NULL);

        g_assert_cmpint(ok, ==, cases[i].seconds > 0);
        g_assert_cmpint(seconds, ==, cases[i].seconds);
    }
}

static void
test_parse_rate(void)
{
    static const struct {
        const char *text;
        gint64 rate; /* 0: refused */
    } cases[] = {
        { "500mbit", 62500000 },
        { "1gbit", 125000000 },
        { "1Gbit/s", 125000000 },
        { "2.5gbit", 312500000 },
        { "60MB/s", 60000000 },
        { "60MB", 60000000 },
        { " 60 MB/s ", 60000000 },
        { "1000kbit", 125000 },
        { "1mbit", UNITS_RATE_LEAST },
        { "1000gbit", UNITS_RATE_MOST },
        { "200kB/s", 200000 },
        { "200KB", 200000 },
        { "1GB/s", 1000000000 },
        { "10MiB/s", 10485760 },
        { "1GiB", 1073741824 },
        { "200KiB", 204800 },
        { "", 0 },
        { "500", 0 },
        { "mbit", 0 },
        { "60Mb/s", 0 },
        { "60mb", 0 },
        { "60M", 0 },
        { "-1gbit", 0 },
        { "1.2.3gbit", 0 },
        { "1gbits", 0 },
        { "0mbit", 0 },
        { "999kbit", 0 },
        { "1001gbit", 0 },
        { "1gbit/m", 0 },
        { ".gbit", 0 },
        { "/s", 0 },
        { "11111111111111111111111111111111111111gbit", 0 },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        gint64 rate = 0;

        g_assert_cmpint(units_parse_rate(cases[i].text, &rate, &error), ==, cases[i].rate > 0);
        g_assert_cmpint(rate, ==, cases[i].rate);
        if (cases[i].rate == 0)
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/units/bytes", test_bytes);
    g_test_add_func("/units/rate", test_rate);
    g_test_add_func("/units/duration", test_duration);
    g_test_add_func("/units/parse", test_parse);
    g_test_add_func("/units/parse-refuses", test_parse_refuses);
    g_test_add_func("/units/parse-seconds", test_parse_seconds);
    g_test_add_func("/units/parse-rate", test_parse_rate);
    return g_test_run();
}
