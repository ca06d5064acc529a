/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * How a task follows its migration: pure, without store or network. The source host's word is what
 * counts; the task is the manager's memory of it.
 */
typedef enum {
    FOLLOW_NOTHING,  /* the report says nothing new, or may not be followed any more */
    FOLLOW_PROGRESS, /* bytes and rates only: tell those who watch, no need to keep it */
    FOLLOW_STAGE,    /* stage, state, wish to cancel or warnings: keep it */
    FOLLOW_ENDED,    /* the task has ended with this report */
} FollowChange;

/** A queued task for a migration that was asked for. All strings are copied. */
Task *follow_new_task(const char *id, const Vm *vm, const Host *from, const Host *to,
                      const char *policy, GStrv warnings, gint64 now_ms);
/** A task for a migration that a host tells of and the manager doesn't know (its store was lost).
 */
Task *follow_adopt(Migration *report /* (transfer full) */);
/** Takes the source host's report (transfer full). */
FollowChange follow_report(Task *task, Migration *report, gint64 now_ms);
/** Ends the task without a report of its host: state is TASK_FAILED or TASK_CANCELLED, result what
 * that means for the VM. Nothing happens to a task that has ended. */
FollowChange follow_end(Task *task, TaskState state, MigrationResult result, const GError *error,
                        gint64 now_ms);
/** Has the source host ever told of this migration? */
gboolean follow_was_heard(const Task *task);
