/* SPDX-License-Identifier: Apache-2.0 */
#include "../base/random_record.h"
#include "model/model.h"

static const RecordType *const types[] = {
    &host_cpu_type,
    &host_nic_type,
    &host_versions_type,
    &host_recall_type,
    &host_type,
    &network_type,
    &datastore_type,
    &vm_disk_type,
    &vm_nic_type,
    &vm_device_type,
    &vm_stats_type,
    &vm_type,
    &facts_type,
    &migration_stage_type,
    &migration_pass_type,
    &migration_pages_type,
    &migration_error_type,
    &migration_progress_type,
    &migration_type,
    &task_type,
    &peer_type,
    &migration_request_type,
    &reservation_request_type,
    &reservation_type,
    &incoming_type,
    &alarm_record_type,
};

static void
test_round_trips(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        for (int round = 0; round < 30; round++) {
            gpointer record = random_record(types[i]);
            assert_round_trip(types[i], record);
            record_free(types[i], record);
        }
}

static gsize
size_of(RecordKind kind)
{
    switch (kind) {
    case RECORD_BOOL:
    case RECORD_ENUM:
        return sizeof(int);
    default:
        return 8; /* gint64, double, pointers */
    }
}

/* Every member of every struct is in its table: the fields cover the struct but for padding. */
static void
test_tables_are_complete(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        gsize end = 0, n = types[i]->n_fields;
        for (gsize j = 0; j < n; j++) {
            const RecordField *field = &types[i]->fields[j];
            gsize size = size_of(field->kind);
            gsize aligned = (end + size - 1) / size * size;
            if (field->offset != aligned)
                g_error("%s: something before %s is not in the table", types[i]->name, field->name);
            end = field->offset + size;
        }
        g_assert_cmpuint((end + 7) / 8 * 8, ==, (types[i]->size + 7) / 8 * 8);
        g_assert_nonnull(types[i]->destroy);
    }
}

static void
test_nicks(void)
{
    g_assert_cmpstr(host_state_nicks[HOST_DISCONNECTED], ==, "disconnected");
    g_assert_cmpstr(host_state_nicks[HOST_NO_LIBVIRT], ==, "no-libvirt");
    g_assert_null(host_state_nicks[HOST_DISCONNECTED + 1]);
    g_assert_cmpstr(vm_state_nicks[VM_SHUTOFF], ==, "shutoff");
    g_assert_cmpstr(vm_state_nicks[VM_SUSPENDED], ==, "suspended");
    g_assert_null(vm_state_nicks[VM_SUSPENDED + 1]);
    g_assert_cmpstr(migration_result_nicks[MIGRATION_FAILED], ==, "failed");
    g_assert_cmpstr(migration_result_nicks[MIGRATION_UNSETTLED], ==, "unsettled");
    g_assert_null(migration_result_nicks[MIGRATION_UNSETTLED + 1]);
    g_assert_cmpstr(task_state_nicks[TASK_SUCCEEDED], ==, "succeeded");
    g_assert_cmpstr(task_state_nicks[TASK_UNSETTLED], ==, "unsettled");
    g_assert_null(task_state_nicks[TASK_UNSETTLED + 1]);
    g_assert_cmpstr(incoming_state_nicks[INCOMING_PROVED], ==, "proved");
    g_assert_cmpstr(incoming_state_nicks[INCOMING_STUCK], ==, "stuck");
    g_assert_null(incoming_state_nicks[INCOMING_STUCK + 1]);
}

/* Scripts rely on these words (the report of `godwit migrate --output json`). */
static void
test_report_members(void)
{
    static const char *const members[] = { "id",           "vm",         "from",     "to",
                                           "result",       "total_s",    "pause_ms", "blackout_ms",
                                           "memory_bytes", "wire_bytes", "pages",    "passes",
                                           "stages",       "error",      "resumes",  "connections",
                                           "resent_bytes" };
    static const char *const pages[] = { "zero", "same", "recalled", "delta", "compressed", "raw" };
    g_autoptr(Migration) migration = record_new(&migration_type);
    migration->id = g_strdup("i");
    migration->vm = g_strdup("v");
    migration->from = g_strdup("h1");
    migration->to = g_strdup("h2");
    migration->pages = record_new(&migration_pages_type);
    migration->error = record_new(&migration_error_type);
    g_autoptr(JsonNode) node = record_to_json(&migration_type, migration);
    JsonObject *object = json_node_get_object(node);
    for (gsize i = 0; i < G_N_ELEMENTS(members); i++)
        g_assert_true(json_object_has_member(object, members[i]));
    for (gsize i = 0; i < G_N_ELEMENTS(pages); i++)
        g_assert_true(
            json_object_has_member(json_object_get_object_member(object, "pages"), pages[i]));
}

/* A migration that has only begun has all of its numbers and lists already, and no strings. */
static void
test_empty_migration(void)
{
    g_autoptr(Migration) migration = record_new(&migration_type);
    g_autofree char *text = record_to_string(&migration_type, migration);
    g_assert_cmpstr(
        text, ==,
        "{\"max_bps\":0,\"result\":\"pending\",\"started_ms\":0,\"ended_ms\":0,\"total_s\":0.0,"
        "\"pause_ms\":0.0,\"blackout_ms\":0.0,\"memory_bytes\":0,\"wire_bytes\":0,"
        "\"resent_bytes\":0,\"connections\":0,\"resumes\":0,"
        "\"passes\":[],\"stages\":[],\"warnings\":[],\"cancel_requested\":false}");
}

static void
test_ends(void)
{
    static const struct {
        MigrationResult result;
        TaskState state;
        gboolean ended;
    } rows[] = {
        { MIGRATION_PENDING, TASK_QUEUED, FALSE },
        { MIGRATION_RUNNING, TASK_RUNNING, FALSE },
        { MIGRATION_COMPLETED, TASK_SUCCEEDED, TRUE },
        { MIGRATION_FAILED, TASK_FAILED, TRUE },
        { MIGRATION_CANCELLED, TASK_CANCELLED, TRUE },
        { MIGRATION_UNSETTLED, TASK_UNSETTLED, FALSE },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Migration migration = { .result = rows[i].result };
        Task task = { .state = rows[i].state };
        g_assert_cmpint(task_state_of_migration(rows[i].result), ==, rows[i].state);
        g_assert_cmpint(migration_is_ended(&migration), ==, rows[i].ended);
        g_assert_cmpint(task_is_ended(&task), ==, rows[i].ended);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/round-trips", test_round_trips);
    g_test_add_func("/model/tables-are-complete", test_tables_are_complete);
    g_test_add_func("/model/nicks", test_nicks);
    g_test_add_func("/model/report-members", test_report_members);
    g_test_add_func("/model/empty-migration", test_empty_migration);
    g_test_add_func("/model/ends", test_ends);
    return g_test_run();
}
