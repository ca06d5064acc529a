/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/bucket.h"

#define SECOND G_GINT64_CONSTANT(1000000)

static void
test_none(void)
{
    for (gint64 rate = -1; rate <= 0; rate++) {
        Bucket bucket;

        bucket_init(&bucket, rate, 1000, 5);
        bucket_take(&bucket, G_MAXUINT32, 5);
        g_assert_true(bucket_has(&bucket, 5));
        g_assert_cmpint(bucket_wake_us(&bucket), ==, 5);
    }
}

/* A frame may be sent while there is any token; then the debt is waited for, to the microsecond. */
static void
test_debt(void)
{
    Bucket bucket;
    gint64 wake_us;

    bucket_init(&bucket, 1000000, 1000, 100); /* 20 ms: 20 kB */
    g_assert_true(bucket_has(&bucket, 100));
    g_assert_cmpint(bucket_wake_us(&bucket), <=, 100);
    bucket_take(&bucket, 19999, 100);
    g_assert_true(bucket_has(&bucket, 100));
    bucket_take(&bucket, 1001, 100); /* 1000 more than there are */
    wake_us = bucket_wake_us(&bucket);
    g_assert_cmpint(wake_us, ==, 100 + 1000 + 1);
    g_assert_false(bucket_has(&bucket, wake_us - 1));
    g_assert_true(bucket_has(&bucket, wake_us));
    bucket_take(&bucket, 5000000, wake_us);
    g_assert_false(bucket_has(&bucket, wake_us + 4 * SECOND));
    bucket_lift(&bucket);
    g_assert_true(bucket_has(&bucket, wake_us));
}

/* The burst: 20 ms, but two frames at least; no more of them gather, however long it rests. */
static void
test_burst(void)
{
    static const struct {
        gint64 rate;
        gsize frame;
        gint64 burst;
    } cases[] = { { 1000000, 1000, 20000 },
                  { 1000000, 131072, 262144 },
                  { BUCKET_RATE_MOST, 131072, 2500000000 },
                  { G_MAXINT64, 131072, 2500000000 } };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Bucket bucket;

        bucket_init(&bucket, cases[i].rate, cases[i].frame, 0);
        g_assert_true(bucket_has(&bucket, G_MAXINT64 / 2)); /* a long rest overflows nothing */
        bucket_take(&bucket, (gsize)cases[i].burst - 1, G_MAXINT64 / 2);
        g_assert_true(bucket_has(&bucket, G_MAXINT64 / 2));
        bucket_take(&bucket, 1, G_MAXINT64 / 2);
        g_assert_false(bucket_has(&bucket, G_MAXINT64 / 2));
        g_assert_false(bucket_has(&bucket, 0)); /* time doesn't go back */
    }
}

/* Whatever is asked when: never above rate x time + burst + one frame, and near it when greedy. */
static void
test_rate(void)
{
    for (guint32 seed = 1; seed <= 50; seed++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        gint64 rate = g_rand_int_range(rand, 125000, G_MAXINT32), now_us = 0;
        gdouble sent = 0;
        Bucket bucket;

        bucket_init(&bucket, rate, 131072, 0);
        while (now_us < 10 * SECOND) {
            while (bucket_has(&bucket, now_us)) {
                gsize frame = (gsize)g_rand_int_range(rand, 1, 131072);

                bucket_take(&bucket, frame, now_us);
                sent += (gdouble)frame;
            }
            g_assert_cmpfloat(sent, <=,
                              (double)rate * (double)now_us / 1e6 + (double)bucket.burst + 131072);
            if (g_rand_boolean(rand))
                now_us = bucket_wake_us(&bucket);
            else
                now_us += g_rand_int_range(rand, 1, 5000);
        }
        g_assert_cmpfloat(sent, >=, (double)rate * (double)now_us / 1e6);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/bucket/none", test_none);
    g_test_add_func("/flyway/bucket/debt", test_debt);
    g_test_add_func("/flyway/bucket/burst", test_burst);
    g_test_add_func("/flyway/bucket/rate", test_rate);
    return g_test_run();
}
