/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line, the plain lines, the report page: pure functions over a task. */
#include <glib.h>
#include <locale.h>
#include <string.h>

#include "base/record.h"
#include "cli/finding.h"
#include "cli/follow.h"
#include "cli/progress.h"
#include "cli/report.h"

#define NOW G_GINT64_CONSTANT(1795419852000) /* 2026-11-23 07:44:12 UTC */

static const PageStyle plain = { 0, FALSE, NOW };

static Task *
task_of(const char *json)
{
    g_autofree char *text = g_strdelimit(g_strdup(json), "'", '"');
    g_autoptr(GError) error = NULL;
    Task *task = record_from_string(&task_type, text, -1, &error);

    g_assert_no_error(error);
    return task;
}

#define COPYING                                                                                    \
    "{'id': '5e3f0000-0000-4000-8000-000000000001', 'kind': 'migrate', 'summary': 'migrate web1 "  \
    "from h1 to h2', 'state': 'running',"                                                          \
    " 'created_ms': 1795419800000, 'started_ms': 1795419800500, 'migration': {'id': "              \
    "'5e3f0000-0000-4000-8000-000000000001',"                                                      \
    " 'vm': 'web1', 'from': 'h1', 'to': 'h2', 'result': 'running', 'stage': 'copy',"               \
    " 'progress': {'pass': 3, 'done_bytes': 1288490189, 'remaining_bytes': 356515840, "            \
    "'total_bytes': 1645006029,"                                                                   \
    " 'rate_bps': 117000000, 'dirty_bps': 12000000, 'eta_s': 3.4}}}"

#define DONE                                                                                       \
    "{'id': '5e3f0000-0000-4000-8000-000000000001', 'kind': 'migrate', 'summary': 'migrate web1 "  \
    "from h1 to h2', 'state': 'succeeded',"                                                        \
    " 'created_ms': 1795419800000, 'started_ms': 1795419800500, 'ended_ms': 1795419807100, "       \
    "'migration': {'id': 'x', 'vm': 'web1',"                                                       \
    " 'vm_uuid': '7d4b1c2e-8a54-4f0c-9d20-0d3f4a1f6b77', 'from': 'h1', 'to': 'h2', 'policy': "     \
    "'standard', 'max_bps': 62500000, 'result': 'completed',"                                                           \
    " 'started_ms': 1795419800500, 'ended_ms': 1795419807100, 'total_s': 6.6, 'pause_ms': 43, "    \
    "'blackout_ms': 80.5,"                                                                         \
    " 'memory_bytes': 1073741824, 'wire_bytes': 536870912, 'resent_bytes': 1258291, "              \
    "'connections': 2, 'resumes': 2, 'pages': {'zero': 100, 'raw': 300}, "                         \
    "'warnings': ['a warning'],"                                                                   \
    " 'passes': [{'number': 1, 'start_s': 0.4, 'remaining_bytes': 1073741824, "                    \
    "'downtime_limit_ms': 300},"                                                                   \
    "            {'number': 2, 'start_s': 4.4, 'remaining_bytes': 1048576, 'sent_bytes': "         \
    "500000000, 'dirty_bps': 5000000,"                                                             \
    "             'bandwidth_bps': 117000000, 'downtime_limit_ms': 50}],"                          \
    " 'stages': [{'name': 'admit', 'start_s': 0, 'took_s': 0.01, 'result': 'ok'},"                 \
    "            {'name': 'copy', 'start_s': 0.3, 'took_s': 6, 'result': 'ok', 'detail': '2 "      \
    "passes'}]}}"

#define FAILED                                                                                     \
    "{'id': '5e3f0000-0000-4000-8000-000000000001', 'kind': 'migrate', 'summary': 'migrate web1 "  \
    "from h1 to h2', 'state': 'failed',"                                                           \
    " 'created_ms': 1795419800000, 'ended_ms': 1795419807100, 'error': {'code': 'unreachable', "   \
    "'stage': 'open',"                                                                             \
    " 'message': 'h2 does not answer at 10.77.0.12:16571'}, 'migration': {'id': 'x', 'vm': "       \
    "'web1', 'from': 'h1', 'to': 'h2',"                                                            \
    " 'result': 'failed', 'pause_ms': -1, 'blackout_ms': -1}}"

static void
test_line(void)
{
    g_autoptr(Task) task = task_of(COPYING);
    g_autofree char *line = progress_line(task, 0);

    g_assert_cmpstr(
        line, ==,
        "web1: copy, pass 3, 1.2 GiB done, 340 MiB left, 117 MB/s, dirtied 12 MB/s, 4 s to go");
}

/* Where all connections are lost, that is said first, and said in plain lines when it changes. */
static void
test_line_cut_off(void)
{
    g_autoptr(Task) task = task_of(COPYING), other = task_of(DONE);
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();
    ProgressSeen seen = { 0 };
    g_autofree char *before = progress_change(&seen, task, NOW), *after = NULL, *again = NULL;
    g_autofree char *line = NULL, *narrow = NULL, *all = NULL, *back = NULL;

    g_assert_null(strstr(before, "lost"));
    task->migration->progress->cut_off = TRUE;
    line = progress_line(task, 0);
    g_assert_true(
        g_str_has_prefix(line, "web1: copy, connection lost, resuming, pass 3, 1.2 GiB done"));
    narrow = progress_line(task, 40);
    g_assert_cmpstr(narrow, ==, "web1: copy, connection lost, resuming");
    after = progress_change(&seen, task, NOW);
    again = progress_change(&seen, task, NOW);
    g_assert_nonnull(strstr(after, "connection lost, resuming"));
    g_assert_null(again);
    g_ptr_array_add(tasks, task);
    g_ptr_array_add(tasks, other);
    all = progress_line_of_all(tasks, 0);
    g_assert_cmpstr(all, ==, "1 running, 1 succeeded | web1: copy, connection lost, 340 MiB left");
    task->migration->progress->cut_off = FALSE;
    back = progress_change(&seen, task, NOW);
    g_assert_nonnull(back);
    g_assert_null(strstr(back, "lost"));
    progress_seen_clear(&seen);
}

/* The line never wraps, and what matters most stays longest. */
static void
test_line_fits(void)
{
    g_autoptr(Task) task = task_of(COPYING);

    for (int width = 4; width < 120; width++) {
        g_autofree char *line = progress_line(task, width);

        g_assert_cmpint(text_width(line), <=, width);
        if (width >= 24)
            g_assert_nonnull(strstr(line, "340 MiB left"));
        if (width >= 12)
            g_assert_true(g_str_has_prefix(line, "web1: copy"));
    }
}

static void
test_line_hostile(void)
{
    g_autoptr(Task) task = task_of(COPYING);
    g_autofree char *line = NULL;

    g_free(task->migration->vm);
    task->migration->vm = g_strdup("a\033[2Jb\n");
    task->migration->progress->eta_s = -1;
    task->migration->progress->remaining_bytes = -5;
    task->migration->progress->rate_bps = G_MAXINT64;
    line = progress_line(task, 0);
    g_autoptr(Task) begun = task_of(COPYING);
    migration_progress_free(begun->migration->progress);
    begun->migration->progress = record_new(&migration_progress_type);
    g_autofree char *empty = progress_line(begun, 0);
    g_assert_cmpstr(empty, ==, "web1: copy");
    g_assert_null(strchr(line, '\033'));
    g_assert_null(strchr(line, '\n'));
    g_assert_nonnull(strstr(line, "time left unknown"));
    g_assert_nonnull(strstr(line, "0 B left"));
}

static void
test_line_of_all(void)
{
    g_autoptr(Task) a = task_of(COPYING), b = task_of(DONE), c = task_of(FAILED);
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();
    g_autofree char *line = NULL;

    g_ptr_array_add(tasks, a);
    g_ptr_array_add(tasks, b);
    g_ptr_array_add(tasks, c);
    line = progress_line_of_all(tasks, 0);
    g_assert_cmpstr(line, ==, "1 running, 1 succeeded, 1 failed | web1: copy, 340 MiB left");
    for (int width = 5; width < 70; width++) {
        g_autofree char *cut = progress_line_of_all(tasks, width);

        g_assert_cmpint(text_width(cut), <=, width);
    }
}

static void
test_changes(void)
{
    g_autoptr(Task) task = task_of(COPYING);
    ProgressSeen seen = { 0 };
    g_autofree char *first = progress_change(&seen, task, NOW),
                    *again = progress_change(&seen, task, NOW);
    g_autofree char *bytes = NULL, *pass = NULL, *stage = NULL, *cancel = NULL, *end = NULL,
                    *quiet = NULL;

    g_assert_true(g_str_has_prefix(first, "07:44:12 web1: copy, pass 3"));
    g_assert_null(again);
    task->migration->progress->done_bytes += 4096;
    bytes = progress_change(&seen, task, NOW);
    g_assert_null(bytes);
    task->migration->progress->pass = 4;
    pass = progress_change(&seen, task, NOW);
    g_assert_nonnull(strstr(pass, "pass 4"));
    g_free(task->migration->stage);
    task->migration->stage = g_strdup("switch");
    stage = progress_change(&seen, task, NOW);
    g_assert_cmpstr(stage, ==, "07:44:12 web1: switch");
    task->migration->progress->pass = 5;
    quiet = progress_change(&seen, task, NOW);
    g_assert_null(quiet);
    task->cancel_requested = TRUE;
    cancel = progress_change(&seen, task, NOW);
    g_assert_cmpstr(cancel, ==, "07:44:12 web1: switch, cancelling");
    task->state = TASK_SUCCEEDED;
    end = progress_change(&seen, task, NOW);
    g_assert_cmpstr(end, ==, "07:44:12 web1: succeeded");
    progress_seen_clear(&seen);
}

static void
assert_lines(const char *text, const char *const *lines)
{
    for (; *lines; lines++) {
        if (!strstr(text, *lines))
            g_error("\"%s\" is not in:\n%s", *lines, text);
    }
}

static void
test_page_done(void)
{
    g_autoptr(Task) task = task_of(DONE);
    g_autofree char *page = report_page(task, &plain);
    static const char *const lines[] = {
        "Task 5e3f0000-0000-4000-8000-000000000001: migrate web1 from h1 to h2\n",
        "  Result      completed\n",
        "  VM          web1 (7d4b1c2e-8a54-4f0c-9d20-0d3f4a1f6b77)\n",
        "  Policy      standard\n",
        "  Bandwidth   at most 62.5 MB/s\n",
        "  Started     2026-11-23 07:43:20 (51 s ago)\n",
        "  Total       6.6 s\n",
        "  Pause       43 ms",
        "  Blackout    81 ms",
        "  Memory      1 GiB\n",
        "  Wire        512 MiB, 0.50 of the memory\n",
        "  Connection  lost and resumed 2 times, 1.2 MiB sent twice\n",
        "  STAGE   START   TOOK  RESULT  DETAIL\n",
        "  copy   300 ms  6.0 s  ok      2 passes\n",
        "  PASS   START   LEFT     SENT  BANDWIDTH  DIRTIED   LIMIT\n",
        "     1  400 ms  1 GiB      0 B          -        -  300 ms\n",
        "  zero    100  25.0 %  as a mark\n",
        "  raw     300  75.0 %  as they are\n",
        "Warnings\n  a warning\n",
        NULL,
    };

    g_assert_null(strstr(page, "Error"));
    g_assert_null(strchr(page, '\033'));
    assert_lines(page, lines);
}

/* What packing has saved is told if it has. */
static void
test_page_ratio(void)
{
    g_autoptr(Task) task = task_of(DONE);
    MigrationPages *pages = task->migration->pages;
    g_autofree char *page = NULL;

    pages->zero = 1000000;
    pages->compressed = 262144; /* 1 GiB */
    pages->delta = 131072;
    pages->raw = 0;
    page = report_page(task, &plain);
    g_assert_nonnull(strstr(page, "  Wire        512 MiB, 0.50 of the memory, "
                                  "3.0 times less than the pages that aren't zero\n"));
}

/* Of the connection there is a line only if it was lost. */
static void
test_page_connection(void)
{
    g_autoptr(Task) task = task_of(DONE);
    g_autofree char *once = NULL, *never = NULL;

    task->migration->resumes = 1;
    once = report_page(task, &plain);
    g_assert_nonnull(strstr(once, "  Connection  lost and resumed once, 1.2 MiB sent twice\n"));
    task->migration->resumes = 0;
    never = report_page(task, &plain);
    g_assert_null(strstr(never, "Connection"));
}

static void
test_page_failed(void)
{
    g_autoptr(Task) task = task_of(FAILED);
    g_autofree char *page = report_page(task, &plain);
    static const char *const lines[] = {
        "  Result      failed\n", "\nError\n  Stage       open\n  Code        unreachable\n",
        "  h2 does not answer at 10.77.0.12:16571\n  \"godwit doctor\"", NULL
    };

    assert_lines(page, lines);
    g_assert_null(strstr(page, "Pause"));
}

static void
test_page_running(void)
{
    g_autoptr(Task) task = task_of(COPYING);
    PageStyle style = { 60, TRUE, NOW };
    g_autofree char *page = report_page(task, &plain), *coloured = report_page(task, &style);
    g_autofree char *cut_off = NULL;
    static const char *const lines[] = { "  Result      running\n",
                                         "\nProgress\n  Stage       copy, pass 3\n",
                                         "  Bytes       1.2 GiB done, 340 MiB left\n", NULL };

    assert_lines(page, lines);
    g_assert_nonnull(strchr(coloured, '\033'));
    g_assert_null(strstr(page, "lost"));
    task->migration->progress->cut_off = TRUE;
    cut_off = report_page(task, &plain);
    g_assert_nonnull(strstr(cut_off, "  Link        connection lost, resuming\n"));
}

/* A task of which little is known must not be a trap. */
static void
test_page_bare(void)
{
    for (int state = TASK_QUEUED; state <= TASK_UNSETTLED; state++) {
        Task task = { .id = (char *)"abcd", .state = state };
        Migration migration = { .id = (char *)"abcd", .pause_ms = -1 };
        g_autofree char *page = report_page(&task, &plain), *end = report_short(&task),
                        *with = NULL, *line = progress_line(&task, 20);

        g_assert_nonnull(strstr(page, task_state_nicks[state]));
        g_assert_true(g_str_has_suffix(end, "\n"));
        g_assert_cmpint(text_width(line), <=, 20);
        task.migration = &migration;
        with = report_page(&task, &plain);
        g_assert_nonnull(with);
    }
}

static void
test_short(void)
{
    g_autoptr(Task) done = task_of(DONE), failed = task_of(FAILED);
    g_autofree char *good = report_short(done), *bad = report_short(failed);

    g_assert_cmpstr(good, ==,
                    "web1 moved from h1 to h2 in 6.6 s; pause 43 ms, blackout 81 ms; 512 MiB on "
                    "the wire for 1 GiB of memory.\n");
    g_assert_true(g_str_has_prefix(
        bad,
        "web1 was not moved: it stays on h1.\nopen: h2 does not answer at 10.77.0.12:16571\n"));
}

static void
test_statuses(void)
{
    static const struct {
        int statuses[3], all;
    } cases[] = { { { 0, 0, 0 }, 0 }, { { 0, 3, 0 }, 3 }, { { 3, 3, 0 }, 3 },
                  { { 3, 4, 0 }, 1 }, { { 1, 0, 4 }, 1 }, { { 4, 1, 4 }, 1 } };
    g_autoptr(Task) done = task_of(DONE), failed = task_of(FAILED);

    g_assert_cmpint(follow_status(done), ==, 0);
    g_assert_cmpint(follow_status(failed), ==, 4);
    g_free(failed->error->code);
    failed->error->code = g_strdup("refused");
    g_assert_cmpint(follow_status(failed), ==, 3);
    failed->state = TASK_CANCELLED;
    g_assert_cmpint(follow_status(failed), ==, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GArray) statuses = g_array_new(FALSE, FALSE, sizeof(int));

        g_array_append_vals(statuses, cases[i].statuses, 3);
        g_assert_cmpint(follow_status_of_all(statuses), ==, cases[i].all);
    }
}

int
main(int argc, char **argv)
{
    setlocale(LC_ALL, "C.UTF-8");
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/progress/line", test_line);
    g_test_add_func("/cli/progress/fits", test_line_fits);
    g_test_add_func("/cli/progress/hostile", test_line_hostile);
    g_test_add_func("/cli/progress/cut-off", test_line_cut_off);
    g_test_add_func("/cli/progress/several", test_line_of_all);
    g_test_add_func("/cli/progress/changes", test_changes);
    g_test_add_func("/cli/report/ratio", test_page_ratio);
    g_test_add_func("/cli/report/done", test_page_done);
    g_test_add_func("/cli/report/failed", test_page_failed);
    g_test_add_func("/cli/report/running", test_page_running);
    g_test_add_func("/cli/report/connection", test_page_connection);
    g_test_add_func("/cli/report/bare", test_page_bare);
    g_test_add_func("/cli/report/short", test_short);
    g_test_add_func("/cli/report/statuses", test_statuses);
    return g_test_run();
}
