/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which stages are run, journalled and undone, for a failure at each of them. */
#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"
#include "motion/runner.h"

#define N 5

typedef struct {
    Runner runner;
    GString *trace;
    int fail_at; /* -1 = nowhere */
    gboolean ok, posted;
    GError *error;
    char *folder, *path;
    const Stage *stages;
} Side;

static gboolean
run_named(Side *side, int number, GError **error)
{
    g_string_append_printf(side->trace, "r%d ", number);
    if (side->fail_at != number)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR, "planted at %d", number);
    return FALSE;
}

#define RUN(n)                                                                                     \
    static gboolean run##n(gpointer self, GError **error)                                          \
    {                                                                                              \
        return run_named(self, n, error);                                                          \
    }
#define UNDO(n)                                                                                    \
    static void undo##n(gpointer self)                                                             \
    {                                                                                              \
        g_string_append_printf(((Side *)self)->trace, "u%d ", n);                                  \
    }
RUN(0) RUN(1) RUN(2) RUN(3) RUN(4)
UNDO(0) UNDO(2) UNDO(3) UNDO(4)

static const Stage stages[N] = {
    { "s0", run0, undo0, 0, FALSE }, { "s1", run1, NULL, 0, FALSE }, { "s2", run2, undo2, 0, FALSE },
    { "s3", run3, undo3, 0, TRUE },  { "s4", run4, undo4, 0, FALSE },
};

static void
begun(gpointer self, const Stage *stage)
{
    /* journalled before it is run? the journal's line is checked at the end; here only the order */
    g_string_append_printf(((Side *)self)->trace, "b%c ", stage->name[1]);
}

static void
ended(gpointer self, const Stage *stage, const GError *error)
{
    g_string_append_printf(((Side *)self)->trace, "%c%c ", error ? 'f' : 'd', stage->name[1]);
}

static const StageWatch watch = { begun, ended, NULL };

static gpointer
side_main(gpointer self)
{
    Side *side = self;

    side->ok = runner_run(&side->runner, side->stages, N, 0, &side->error);
    return NULL;
}

static Side *
side_new(int fail_at)
{
    Side *side = g_new0(Side, 1);

    side->trace = g_string_new(NULL);
    side->fail_at = fail_at;
    side->stages = stages;
    side->folder = g_dir_make_tmp("runner-XXXXXX", NULL);
    side->path = g_build_filename(side->folder, "j", NULL);
    runner_init(&side->runner, side, &watch);
    side->runner.journal = journal_open(side->path, NULL);
    return side;
}

static void
side_run(Side *side, GThreadFunc function)
{
    runner_start(&side->runner, "test", function);
    runner_clear(&side->runner);
}

static void
side_free(Side *side)
{
    g_remove(side->path);
    g_rmdir(side->folder);
    g_free(side->path);
    g_free(side->folder);
    g_string_free(side->trace, TRUE);
    g_clear_error(&side->error);
    g_free(side);
}

static void
test_order(void)
{
    static const char *const expected[N + 1] = {
        "b0 r0 f0 u0 ",
        "b0 r0 d0 b1 r1 f1 u0 ",
        "b0 r0 d0 b1 r1 d1 b2 r2 f2 u2 u0 ",
        "b0 r0 d0 b1 r1 d1 b2 r2 d2 b3 r3 f3 u3 u2 u0 ",
        "b0 r0 d0 b1 r1 d1 b2 r2 d2 b3 r3 d3 b4 r4 f4 ", /* past the point of no return */
        "b0 r0 d0 b1 r1 d1 b2 r2 d2 b3 r3 d3 b4 r4 d4 ",
    };

    for (int fail_at = 0; fail_at <= N; fail_at++) {
        Side *side = side_new(fail_at);

        side_run(side, side_main);
        g_assert_cmpstr(side->trace->str, ==, expected[fail_at]);
        g_assert_cmpint(side->ok, ==, fail_at == N);
        side_free(side);
    }
}

static void
test_journalled(void)
{
    Side *side = side_new(2);
    g_autoptr(GPtrArray) lines = NULL;

    side_run(side, side_main);
    lines = journal_read(side->path, NULL);
    g_assert_nonnull(journal_last(lines, "s2", "begin"));
    g_assert_null(journal_last(lines, "s2", "done"));
    g_assert_nonnull(journal_last(lines, "s2", "undone"));
    g_assert_nonnull(journal_last(lines, "s0", "undone"));
    g_assert_null(journal_last(lines, "s3", "begin"));
    side_free(side);
}

/** No journal, no step: the stage isn't run where the disk is full. */
static void
test_full_disk(void)
{
    Side *side;

    if (!g_file_test("/dev/full", G_FILE_TEST_EXISTS)) {
        g_test_skip("no /dev/full here");
        return;
    }
    side = side_new(-1);
    journal_close(side->runner.journal);
    side->runner.journal = journal_open("/dev/full", NULL);
    if (side->runner.journal) {
        side_run(side, side_main);
        g_assert_false(side->ok);
        g_assert_null(strstr(side->trace->str, "r0"));
    } else {
        runner_clear(&side->runner);
    }
    side_free(side);
}

static gboolean
never(gpointer self, GError **error)
{
    return FALSE;
}

static gboolean
is_posted(gpointer self, GError **error)
{
    return ((Side *)self)->posted;
}

static gboolean
post_it(gpointer data)
{
    ((Side *)data)->posted = TRUE;
    return G_SOURCE_REMOVE;
}

static gpointer
main_waits(gpointer self)
{
    Side *side = self;

    side->ok = runner_wait(&side->runner, is_posted, 0, "the post", &side->error);
    return NULL;
}

static gpointer
main_times_out(gpointer self)
{
    Side *side = self;

    side->ok = runner_wait(&side->runner, never, 1, "what never comes", &side->error);
    return NULL;
}

static gpointer
main_waits_for_ever(gpointer self)
{
    Side *side = self;

    side->ok = runner_wait(&side->runner, never, 0, "what never comes", &side->error);
    return NULL;
}

static void
test_waits(void)
{
    Side *side = side_new(-1);

    runner_start(&side->runner, "test", main_waits);
    runner_post(&side->runner, post_it, side, NULL);
    runner_clear(&side->runner);
    g_assert_true(side->ok);
    side_free(side);

    side = side_new(-1);
    side_run(side, main_times_out);
    g_assert_error(side->error, GODWIT_ERROR, GODWIT_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(side->error->message, "what never comes"));
    side_free(side);

    side = side_new(-1);
    runner_start(&side->runner, "test", main_waits_for_ever);
    runner_leave(&side->runner);
    runner_clear(&side->runner);
    g_assert_error(side->error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);
    side_free(side);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/runner/order", test_order);
    g_test_add_func("/runner/journalled", test_journalled);
    g_test_add_func("/runner/full-disk", test_full_disk);
    g_test_add_func("/runner/waits", test_waits);
    return g_test_run();
}
