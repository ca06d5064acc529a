/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

const char *const migration_result_nicks[] = { "pending",   "running",   "completed", "failed",
                                               "cancelled", "unsettled", NULL };

static const RecordField migration_stage_fields[] = {
    STRING(MigrationStage, name),   DOUBLE(MigrationStage, start_s), DOUBLE(MigrationStage, took_s),
    STRING(MigrationStage, result), STRING(MigrationStage, detail),
};
RECORD_DEFINE(MigrationStage, migration_stage, "migration stage", migration_stage_fields);

static const RecordField migration_pass_fields[] = {
    INT(MigrationPass, number),
    DOUBLE(MigrationPass, start_s),
    INT(MigrationPass, remaining_bytes),
    INT(MigrationPass, sent_bytes),
    INT(MigrationPass, dirty_bps),
    INT(MigrationPass, bandwidth_bps),
    INT(MigrationPass, downtime_limit_ms),
};
RECORD_DEFINE(MigrationPass, migration_pass, "migration pass", migration_pass_fields);

static const RecordField migration_pages_fields[] = {
    INT(MigrationPages, zero),  INT(MigrationPages, same),       INT(MigrationPages, recalled),
    INT(MigrationPages, delta), INT(MigrationPages, compressed), INT(MigrationPages, raw),
};
RECORD_DEFINE(MigrationPages, migration_pages, "migration pages", migration_pages_fields);

static const RecordField migration_error_fields[] = {
    STRING(MigrationError, code),
    STRING(MigrationError, message),
    STRING(MigrationError, stage),
};
RECORD_DEFINE(MigrationError, migration_error, "migration error", migration_error_fields);

static const RecordField migration_progress_fields[] = {
    INT(MigrationProgress, pass),
    INT(MigrationProgress, done_bytes),
    INT(MigrationProgress, remaining_bytes),
    INT(MigrationProgress, total_bytes),
    INT(MigrationProgress, rate_bps),
    INT(MigrationProgress, dirty_bps),
    DOUBLE(MigrationProgress, eta_s),
    BOOL(MigrationProgress, cut_off),
};
RECORD_DEFINE(MigrationProgress, migration_progress, "migration progress",
              migration_progress_fields);

static const RecordField migration_fields[] = {
    STRING(Migration, id),
    STRING(Migration, vm),
    STRING(Migration, vm_uuid),
    STRING(Migration, from),
    STRING(Migration, from_uuid),
    STRING(Migration, to),
    STRING(Migration, to_uuid),
    STRING(Migration, policy),
    INT(Migration, max_bps),
    ENUM(Migration, result, migration_result_nicks),
    STRING(Migration, stage),
    INT(Migration, started_ms),
    INT(Migration, ended_ms),
    DOUBLE(Migration, total_s),
    DOUBLE(Migration, pause_ms),
    DOUBLE(Migration, blackout_ms),
    INT(Migration, memory_bytes),
    INT(Migration, wire_bytes),
    INT(Migration, resent_bytes),
    INT(Migration, connections),
    INT(Migration, resumes),
    ONE(Migration, pages, migration_pages_type),
    LIST(Migration, passes, migration_pass_type),
    LIST(Migration, stages, migration_stage_type),
    STRINGS(Migration, warnings),
    ONE(Migration, progress, migration_progress_type),
    ONE(Migration, error, migration_error_type),
    BOOL(Migration, cancel_requested),
};
RECORD_DEFINE(Migration, migration, "migration", migration_fields);

gboolean
migration_is_ended(const Migration *migration)
{
    return migration->result == MIGRATION_COMPLETED || migration->result == MIGRATION_FAILED ||
           migration->result == MIGRATION_CANCELLED;
}
