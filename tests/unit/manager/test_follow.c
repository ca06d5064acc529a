/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "manager/follow.h"
#include "nouns.h"

#define ID "cccccccc-cccc-4ccc-8ccc-cccccccccccc"

static Task *
new_task(void)
{
    g_autoptr(Vm) vm = noun_vm(UUID_WEB, "web", VM_RUNNING);
    g_autoptr(Host) from = noun_host(UUID_H1, "h1", HOST_CONNECTED);
    g_autoptr(Host) to = noun_host(UUID_H2, "h2", HOST_CONNECTED);
    char *warnings[] = { (char *)"a warning", NULL };

    return follow_new_task(ID, vm, from, to, "standard", warnings, 500);
}

static Migration *
report(MigrationResult result)
{
    return noun_migration(ID, UUID_WEB, UUID_H1, UUID_H2, result);
}

static void
test_new_task(void)
{
    g_autoptr(Task) task = new_task();

    g_assert_cmpint(task->state, ==, TASK_QUEUED);
    g_assert_cmpstr(task->summary, ==, "migrate web from h1 to h2");
    g_assert_cmpint(task->migration->result, ==, MIGRATION_PENDING);
    g_assert_cmpfloat(task->migration->pause_ms, <, 0);
    g_assert_false(follow_was_heard(task));
}

/* Every pair of a task's state and a report's result, and where it must lead. */
static void
test_moves(void)
{
    static const MigrationResult results[] = { MIGRATION_PENDING,   MIGRATION_RUNNING,
                                               MIGRATION_COMPLETED, MIGRATION_FAILED,
                                               MIGRATION_CANCELLED, MIGRATION_UNSETTLED };
    static const TaskState after[6][6] = {
        /* from \ report:   pending      running       completed       failed       cancelled
           unsettled */
        [TASK_QUEUED] = { TASK_QUEUED, TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED,
                          TASK_UNSETTLED },
        [TASK_RUNNING] = { TASK_RUNNING, TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED,
                           TASK_UNSETTLED },
        [TASK_SUCCEEDED] = { TASK_SUCCEEDED, TASK_SUCCEEDED, TASK_SUCCEEDED, TASK_SUCCEEDED,
                             TASK_SUCCEEDED, TASK_SUCCEEDED },
        [TASK_FAILED] = { TASK_FAILED, TASK_FAILED, TASK_FAILED, TASK_FAILED, TASK_FAILED,
                          TASK_FAILED },
        [TASK_CANCELLED] = { TASK_CANCELLED, TASK_CANCELLED, TASK_CANCELLED, TASK_CANCELLED,
                             TASK_CANCELLED, TASK_CANCELLED },
        [TASK_UNSETTLED] = { TASK_UNSETTLED, TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED,
                             TASK_CANCELLED, TASK_UNSETTLED },
    };

    for (gsize from = 0; from < 6; from++) {
        for (gsize to = 0; to < 6; to++) {
            g_autoptr(Task) task = new_task();
            MigrationResult result = results[to];

            if (from != TASK_QUEUED)
                follow_report(task,
                              report(from == TASK_RUNNING     ? MIGRATION_RUNNING
                                     : from == TASK_SUCCEEDED ? MIGRATION_COMPLETED
                                     : from == TASK_FAILED    ? MIGRATION_FAILED
                                     : from == TASK_CANCELLED ? MIGRATION_CANCELLED
                                                              : MIGRATION_UNSETTLED),
                              900);
            g_assert_cmpint(task->state, ==, (int)from);
            follow_report(task, report(result), 1000);
            g_assert_cmpint(task->state, ==, (int)after[from][to]);
            g_assert_true(task_is_ended(task) == (task->ended_ms != 0));
        }
    }
}

static void
test_changes(void)
{
    g_autoptr(Task) task = new_task();
    Migration *progress = report(MIGRATION_RUNNING);
    Migration *stage = report(MIGRATION_RUNNING);

    g_assert_cmpint(follow_report(task, report(MIGRATION_RUNNING), 600), ==, FOLLOW_STAGE);
    g_assert_cmpint(task->started_ms, ==, 1000);
    progress->wire_bytes = 17;
    g_assert_cmpint(follow_report(task, progress, 700), ==, FOLLOW_PROGRESS);
    g_assert_cmpint(task->migration->wire_bytes, ==, 17);
    stage->stage = g_strdup("copy");
    g_assert_cmpint(follow_report(task, stage, 800), ==, FOLLOW_STAGE);
    g_assert_cmpint(follow_report(task, report(MIGRATION_COMPLETED), 900), ==, FOLLOW_ENDED);
    g_assert_cmpint(task->ended_ms, ==, 900);
    g_assert_cmpint(follow_report(task, report(MIGRATION_RUNNING), 950), ==, FOLLOW_NOTHING);
    /* What the host left out is still known, warnings of the admission too. */
    g_assert_cmpstr(task->migration->from, ==, "h1");
    g_assert_cmpstr(task->migration->warnings[0], ==, "a warning");
    g_assert_null(task->migration->warnings[1]);
}

static void
test_error_is_taken(void)
{
    g_autoptr(Task) task = new_task();
    Migration *failed = report(MIGRATION_FAILED);

    failed->error = record_new(&migration_error_type);
    failed->error->code = g_strdup("no-space");
    failed->error->message = g_strdup("disk full");
    g_assert_cmpint(follow_report(task, failed, 600), ==, FOLLOW_ENDED);
    g_assert_cmpstr(task->error->code, ==, "no-space");
}

/* Ended because its host never knew it, and then the host tells of it after all. */
static void
test_heard_after_all(void)
{
    g_autoptr(Task) task = new_task();
    g_autoptr(GError) error = g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "never started");

    g_assert_cmpint(follow_end(task, TASK_FAILED, MIGRATION_FAILED, error, 600), ==, FOLLOW_ENDED);
    g_assert_cmpstr(task->error->code, ==, "unreachable");
    g_assert_cmpint(task->ended_ms, ==, 600);
    g_assert_cmpint(follow_end(task, TASK_CANCELLED, MIGRATION_CANCELLED, NULL, 650), ==,
                    FOLLOW_NOTHING);
    g_assert_cmpint(follow_report(task, report(MIGRATION_PENDING), 700), ==, FOLLOW_NOTHING);
    g_assert_cmpint(follow_report(task, report(MIGRATION_RUNNING), 700), ==, FOLLOW_STAGE);
    g_assert_cmpint(task->state, ==, TASK_RUNNING);
    g_assert_cmpint(task->ended_ms, ==, 0);
    g_assert_null(task->error);
}

static void
test_wish_to_cancel_stays(void)
{
    g_autoptr(Task) task = new_task();

    task->cancel_requested = TRUE;
    follow_report(task, report(MIGRATION_RUNNING), 600);
    g_assert_true(task->cancel_requested);
    g_assert_false(task->migration->cancel_requested);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/follow/new-task", test_new_task);
    g_test_add_func("/follow/moves", test_moves);
    g_test_add_func("/follow/changes", test_changes);
    g_test_add_func("/follow/error-is-taken", test_error_is_taken);
    g_test_add_func("/follow/heard-after-all", test_heard_after_all);
    g_test_add_func("/follow/wish-to-cancel-stays", test_wish_to_cancel_stays);
    return g_test_run();
}
