/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

const char *const task_state_nicks[] = { "queued",    "running",   "succeeded", "failed",
                                         "cancelled", "unsettled", NULL };

static const RecordField task_fields[] = {
    STRING(Task, id),
    STRING(Task, kind),
    STRING(Task, summary),
    ENUM(Task, state, task_state_nicks),
    INT(Task, created_ms),
    INT(Task, started_ms),
    INT(Task, ended_ms),
    BOOL(Task, cancel_requested),
    ONE(Task, error, migration_error_type),
    ONE(Task, migration, migration_type),
};
RECORD_DEFINE(Task, task, "task", task_fields);

gboolean
task_is_ended(const Task *task)
{
    return task->state == TASK_SUCCEEDED || task->state == TASK_FAILED ||
           task->state == TASK_CANCELLED;
}

TaskState
task_state_of_migration(MigrationResult result)
{
    switch (result) {
    case MIGRATION_PENDING:
        return TASK_QUEUED;
    case MIGRATION_RUNNING:
        return TASK_RUNNING;
    case MIGRATION_COMPLETED:
        return TASK_SUCCEEDED;
    case MIGRATION_FAILED:
        return TASK_FAILED;
    case MIGRATION_CANCELLED:
        return TASK_CANCELLED;
    case MIGRATION_UNSETTLED:
        return TASK_UNSETTLED;
    }
    g_assert_not_reached();
}
