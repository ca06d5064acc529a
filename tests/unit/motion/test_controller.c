/* SPDX-License-Identifier: Apache-2.0 */
#include "motion/controller.h"

#define MB 1000000LL

static void
test_converging(void)
{
    Controller controller = { .policy = POLICY_STANDARD };

    for (gint64 left = 1000 * MB; left > MB; left /= 4)
        g_assert_cmpint(controller_pass(&controller, left), ==, CONTROLLER_FIRST_LIMIT_MS);
}

/** The limit grows only when passes bring nothing, never shrinks, and stops at the policy's cap. */
static void
test_stalled(void)
{
    static const gint64 caps_ms[] = { 500, 2000, 30000 };

    for (int policy = POLICY_GENTLE; policy <= POLICY_URGENT; policy++) {
        Controller controller = { .policy = (Policy)policy };
        gint64 last = controller_pass(&controller, 400 * MB);

        g_assert_cmpint(controller_pass(&controller, 400 * MB), ==, last); /* one bad pass is no stall */
        for (int i = 0; i < 100; i++) {
            gint64 limit = controller_pass(&controller, 400 * MB + i);

            g_assert_cmpint(limit, >=, last);
            g_assert_cmpint(limit, <=, last * 2);
            last = limit;
        }
        g_assert_cmpint(last, ==, caps_ms[policy]);
        g_assert_true(controller.at_cap);
    }
}

static void
test_progress_forgives(void)
{
    Controller controller = { .policy = POLICY_STANDARD };

    controller_pass(&controller, 1000 * MB);
    controller_pass(&controller, 1000 * MB);
    controller_pass(&controller, 500 * MB); /* progress: the stall is forgotten */
    g_assert_cmpint(controller_pass(&controller, 500 * MB), ==, CONTROLLER_FIRST_LIMIT_MS);
    g_assert_cmpint(controller_pass(&controller, 499 * MB), ==, 2 * CONTROLLER_FIRST_LIMIT_MS);
}

static void
test_random(void)
{
    for (int run = 0; run < 1000; run++) {
        Controller controller = { .policy = (Policy)g_test_rand_int_range(0, 3) };
        gint64 last = 0;

        for (int i = 0; i < 200; i++) {
            gint64 limit = controller_pass(&controller, (gint64)(g_test_rand_double() * 1e10));

            g_assert_cmpint(limit, >=, MAX(last, CONTROLLER_FIRST_LIMIT_MS));
            g_assert_cmpint(limit, <=, 30000);
            last = limit;
        }
    }
}

static void
test_policies(void)
{
    Policy policy;

    g_assert_true(policy_parse(NULL, &policy));
    g_assert_cmpint(policy, ==, POLICY_STANDARD);
    g_assert_true(policy_parse("urgent", &policy));
    g_assert_cmpint(policy, ==, POLICY_URGENT);
    g_assert_false(policy_parse("Urgent", &policy));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/controller/converging", test_converging);
    g_test_add_func("/controller/stalled", test_stalled);
    g_test_add_func("/controller/progress-forgives", test_progress_forgives);
    g_test_add_func("/controller/random", test_random);
    g_test_add_func("/controller/policies", test_policies);
    return g_test_run();
}
