/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A task is QUEUED when it is stored, before the source host is asked. From then on it moves only
 * by what that host says (follow_report), or by the manager's own knowledge that the host has never
 * begun or has lost it (follow_end). Reports may come twice and in any order between two
 * connections of one host; the table of moves makes that harmless:
 *
 *     QUEUED ──▶ RUNNING ──▶ SUCCEEDED | FAILED | CANCELLED     ended: nothing moves it any more
 *        └──────────┴──▶ UNSETTLED ──▶ RUNNING or any end       the host found out after all
 *
 * One exception: a task that was ended because its host never knew of it (FAILED or CANCELLED,
 * never heard) follows that host's word if it comes after all: where a VM is is what its host says.
 */
#include "manager/follow.h"

#include <string.h>

#include "base/error.h"

#define BIT(state) (1u << (state))
#define ENDS (BIT(TASK_SUCCEEDED) | BIT(TASK_FAILED) | BIT(TASK_CANCELLED))

/* Which states may follow which. */
static const guint moves[] = {
    [TASK_QUEUED] = BIT(TASK_RUNNING) | BIT(TASK_UNSETTLED) | ENDS,
    [TASK_RUNNING] = BIT(TASK_UNSETTLED) | ENDS,
    [TASK_UNSETTLED] = BIT(TASK_RUNNING) | ENDS,
    [TASK_SUCCEEDED] = 0,
    [TASK_FAILED] = 0,
    [TASK_CANCELLED] = 0,
};

/** The one setter of a task's state. */
static gboolean
task_move(Task *task, TaskState state)
{
    if ((int)state == task->state)
        return FALSE;
    if (!(moves[task->state] & BIT(state)))
        return FALSE;
    g_debug("task %s: %s -> %s", task->id, task_state_nicks[task->state], task_state_nicks[state]);
    task->state = (int)state;
    return TRUE;
}

static char *
summary_of(const Migration *migration)
{
    return g_strdup_printf("migrate %s from %s to %s", migration->vm ? migration->vm : "a VM",
                           migration->from ? migration->from : "a host",
                           migration->to ? migration->to : "a host");
}

Task *
follow_new_task(const char *id, const Vm *vm, const Host *from, const Host *to, const char *policy,
                GStrv warnings, gint64 now_ms)
{
    Task *task = record_new(&task_type);
    Migration *migration = record_new(&migration_type);

    migration->id = g_strdup(id);
    migration->vm = g_strdup(vm->name);
    migration->vm_uuid = g_strdup(vm->uuid);
    migration->from = g_strdup(from->name);
    migration->from_uuid = g_strdup(from->uuid);
    migration->to = g_strdup(to->name);
    migration->to_uuid = g_strdup(to->uuid);
    migration->policy = g_strdup(policy);
    migration->result = MIGRATION_PENDING;
    migration->pause_ms = migration->blackout_ms = -1;
    migration->memory_bytes = vm->memory_bytes;
    migration->warnings = g_strdupv(warnings);

    task->id = g_strdup(id);
    task->kind = g_strdup("migrate");
    task->summary = summary_of(migration);
    task->state = TASK_QUEUED;
    task->created_ms = now_ms;
    task->migration = migration;
    return task;
}

Task *
follow_adopt(Migration *report)
{
    Task *task = record_new(&task_type);

    task->id = g_strdup(report->id);
    task->kind = g_strdup("migrate");
    task->summary = summary_of(report);
    task->state = (int)task_state_of_migration((MigrationResult)report->result);
    task->created_ms = task->started_ms = report->started_ms;
    task->ended_ms = report->ended_ms;
    task->cancel_requested = report->cancel_requested;
    task->error = record_copy(&migration_error_type, report->error);
    task->migration = report;
    return task;
}

gboolean
follow_was_heard(const Task *task)
{
    return task->migration != NULL && task->migration->started_ms != 0;
}

/** The warnings of both, each once: the manager's own checks warned before the host was asked. */
static void
keep_warnings(Migration *report, const Migration *before)
{
    g_autoptr(GStrvBuilder) all = g_strv_builder_new();

    if (before == NULL || before->warnings == NULL || before->warnings[0] == NULL)
        return;
    g_strv_builder_addv(all, (const char **)before->warnings);
    for (gsize i = 0; report->warnings != NULL && report->warnings[i] != NULL; i++)
        if (!g_strv_contains((const char *const *)before->warnings, report->warnings[i]))
            g_strv_builder_add(all, report->warnings[i]);
    g_strfreev(report->warnings);
    report->warnings = g_strv_builder_end(all);
}

/** What a host may leave out, from what the manager knows. */
static void
keep_names(Migration *report, const Migration *before)
{
    const struct {
        char **to;
        const char *from;
    } names[] = {
        { &report->vm, before->vm },         { &report->vm_uuid, before->vm_uuid },
        { &report->from, before->from },     { &report->from_uuid, before->from_uuid },
        { &report->to, before->to },         { &report->to_uuid, before->to_uuid },
        { &report->policy, before->policy },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (*names[i].to == NULL)
            *names[i].to = g_strdup(names[i].from);
}

static gboolean
same_standing(const Migration *a, const Migration *b)
{
    return a->result == b->result && g_strcmp0(a->stage, b->stage) == 0 &&
           a->cancel_requested == b->cancel_requested &&
           (a->started_ms != 0) == (b->started_ms != 0) &&
           (a->stages ? a->stages->len : 0) == (b->stages ? b->stages->len : 0) &&
           record_equal(&migration_error_type, a->error, b->error);
}

static void
take_times(Task *task, const Migration *report, gint64 now_ms)
{
    if (task->started_ms == 0 && report->result != MIGRATION_PENDING)
        task->started_ms = report->started_ms ? report->started_ms : now_ms;
    task->ended_ms = 0;
    if (task_is_ended(task))
        task->ended_ms = report->ended_ms ? report->ended_ms : now_ms;
}

/** May this report still be followed? Late reports of an ended task may not. */
static gboolean
may_follow(const Task *task, const Migration *report)
{
    TaskState state = task_state_of_migration((MigrationResult)report->result);

    if (task_is_ended(task))
        return task->state != TASK_SUCCEEDED && !follow_was_heard(task) && report->started_ms != 0;
    return (int)state == task->state || (moves[task->state] & BIT(state)) != 0;
}

FollowChange
follow_report(Task *task, Migration *report, gint64 now_ms)
{
    g_autoptr(Migration) taken = report;
    FollowChange change;

    if (!may_follow(task, taken) ||
        (task->migration != NULL && record_equal(&migration_type, task->migration, taken)))
        return FOLLOW_NOTHING;
    if (task_is_ended(task))
        task->state = TASK_QUEUED; /* heard of after all: see above */
    keep_names(taken, task->migration);
    keep_warnings(taken, task->migration);
    change = task->migration != NULL && same_standing(task->migration, taken) ? FOLLOW_PROGRESS
                                                                              : FOLLOW_STAGE;
    if (task_move(task, task_state_of_migration((MigrationResult)taken->result)))
        change = task_is_ended(task) ? FOLLOW_ENDED : FOLLOW_STAGE;
    take_times(task, taken, now_ms);
    /* A wish of a person that its host has not heard of yet stays a wish. */
    task->cancel_requested = task->cancel_requested || taken->cancel_requested;
    migration_error_free(task->error);
    task->error = record_copy(&migration_error_type, taken->error);
    migration_free(task->migration);
    task->migration = g_steal_pointer(&taken);
    return change;
}

FollowChange
follow_end(Task *task, TaskState state, MigrationResult result, const GError *error, gint64 now_ms)
{
    if (!task_move(task, state))
        return FOLLOW_NOTHING;
    task->ended_ms = now_ms;
    migration_error_free(task->error);
    task->error = NULL;
    if (error != NULL) {
        task->error = record_new(&migration_error_type);
        task->error->code = g_strdup(godwit_error_nick(error));
        task->error->message = g_strdup(error->message);
        task->error->stage = task->migration ? g_strdup(task->migration->stage) : NULL;
    }
    if (task->migration != NULL) {
        task->migration->result = (int)result;
        task->migration->ended_ms = now_ms;
        migration_error_free(task->migration->error);
        task->migration->error = record_copy(&migration_error_type, task->error);
    }
    return FOLLOW_ENDED;
}
