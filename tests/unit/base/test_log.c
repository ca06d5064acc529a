/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

/* The writer can be set once in a process, so each case is a process of its own. */

static void
say_everything(void)
{
    g_debug("a detail");
    g_info("an event");
    g_message("a name with\nline end and \x1b[31mcolour\n");
    g_warning("a warning");
    g_log("GLib-GIO", G_LOG_LEVEL_DEBUG, "chatter");
}

static void
test_info(void)
{
    if (g_test_subprocess()) {
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
        log_init("godwitd", LOG_INFO);
        say_everything();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*Z INFO godwitd: an event\n*");
    g_test_trap_assert_stderr("*Z INFO godwitd: a name with | line end and ?[31mcolour\n*");
    g_test_trap_assert_stderr_unmatched("*\x1b*"); /* in the pattern above '?' is any byte */
    g_test_trap_assert_stderr("*Z WARNING godwitd: a warning\n*");
    g_test_trap_assert_stderr_unmatched("*detail*");
    g_test_trap_assert_stderr_unmatched("*chatter*");
}

static void
test_debug(void)
{
    if (g_test_subprocess()) {
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
        log_init("godwit", LOG_DEBUG);
        say_everything();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*Z DEBUG godwit: a detail\n*");
    g_test_trap_assert_stderr_unmatched("*chatter*");
}

static void
test_warning(void)
{
    if (g_test_subprocess()) {
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
        log_init("godwit", LOG_WARNING);
        say_everything();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*WARNING godwit: a warning*");
    g_test_trap_assert_stderr_unmatched("*INFO*");
}

static void
test_level_parse(void)
{
    LogLevel level = LOG_DEBUG;
    g_assert_true(log_level_parse("warning", &level));
    g_assert_cmpint(level, ==, LOG_WARNING);
    g_assert_true(log_level_parse("info", &level));
    g_assert_cmpint(level, ==, LOG_INFO);
    g_assert_true(log_level_parse("debug", &level));
    g_assert_cmpint(level, ==, LOG_DEBUG);
    g_assert_false(log_level_parse("verbose", &level));
    g_assert_false(log_level_parse(NULL, &level));
    g_assert_cmpint(level, ==, LOG_DEBUG);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/log/info", test_info);
    g_test_add_func("/log/debug", test_debug);
    g_test_add_func("/log/warning", test_warning);
    g_test_add_func("/log/level-parse", test_level_parse);
    return g_test_run();
}
