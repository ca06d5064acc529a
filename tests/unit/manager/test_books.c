/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks, alarms and tokens over a real store, also one that can't be written. */
#include <glib/gstdio.h>
#include <sqlite3.h>

#include "base/error.h"
#include "failing_vfs.h"
#include "manager/alarms.h"
#include "manager/follow.h"
#include "manager/taskbook.h"
#include "manager/tokens.h"
#include "nouns.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct {
    char *dir, *path;
    Ledger *ledger;
    TaskBook *book;
    guint changes, ends;
} Fixture;

static void
count(const Task *task, gboolean ended, gpointer data)
{
    Fixture *fixture = data;

    fixture->changes++;
    fixture->ends += ended ? 1 : 0;
}

static void
open_all(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    fixture->ledger = ledger_open(fixture->path, &error);
    g_assert_no_error(error);
    fixture->book = taskbook_open(fixture->ledger, 3, count, fixture, &error);
    g_assert_no_error(error);
}

static void
close_all(Fixture *fixture)
{
    g_clear_pointer(&fixture->book, taskbook_free);
    g_clear_pointer(&fixture->ledger, ledger_free);
}

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->dir = g_dir_make_tmp("godwit-books-XXXXXX", NULL);
    fixture->path = g_build_filename(fixture->dir, "db", NULL);
    open_all(fixture);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    failing_vfs_arm(0, 0);
    close_all(fixture);
    g_unlink(fixture->path);
    g_assert_cmpint(g_rmdir(fixture->dir), ==, 0);
    g_free(fixture->path);
    g_free(fixture->dir);
}

static const Task *
add(Fixture *fixture, const char *id, gint64 now_ms)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) vm = noun_vm(id, "web", VM_RUNNING); /* a VM of its own */
    g_autoptr(Host) from = noun_host(UUID_H1, "h1", HOST_CONNECTED);
    g_autoptr(Host) to = noun_host(UUID_H2, "h2", HOST_CONNECTED);
    const Task *task = taskbook_add(
        fixture->book, follow_new_task(id, vm, from, to, "standard", NULL, now_ms), &error);

    g_assert_no_error(error);
    return task;
}

static Migration *
report(const char *id, MigrationResult result)
{
    return noun_migration(id, id, UUID_H1, UUID_H2, result);
}

static int
state_of(Fixture *fixture, const char *id)
{
    const Task *task = taskbook_find(fixture->book, id);

    g_assert_nonnull(task);
    return task->state;
}

/* What is stored is there after a restart, progress alone isn't stored. */
static void
test_restart(Fixture *fixture, gconstpointer unused)
{
    Migration *progress = report("id-one", MIGRATION_RUNNING);

    add(fixture, "id-one", 1);
    add(fixture, "id-two", 2);
    taskbook_report(fixture->book, UUID_H1, report("id-one", MIGRATION_RUNNING));
    progress->wire_bytes = 99;
    taskbook_report(fixture->book, UUID_H1, progress);
    taskbook_report(fixture->book, UUID_H1, report("id-two", MIGRATION_COMPLETED));
    g_assert_cmpuint(fixture->changes, ==, 5);
    g_assert_cmpuint(fixture->ends, ==, 1);
    taskbook_wish_cancel(fixture->book, "id-one", TRUE);
    close_all(fixture);
    open_all(fixture);
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_RUNNING);
    g_assert_true(taskbook_find(fixture->book, "id-one")->cancel_requested);
    g_assert_cmpint(state_of(fixture, "id-two"), ==, TASK_SUCCEEDED);
}

static void
test_look_up(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) list = NULL, one = NULL;

    add(fixture, "abcd1", 1);
    add(fixture, "abcd2", 2);
    g_assert_null(taskbook_get(fixture->book, "abcd", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_clear_error(&error);
    g_assert_null(taskbook_get(fixture->book, "abc", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(taskbook_get(fixture->book, "ffff", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_cmpstr(taskbook_get(fixture->book, "abcd2", NULL)->id, ==, "abcd2");
    list = taskbook_list(fixture->book, -1, NULL, 10);
    g_assert_cmpstr(((Task *)list->pdata[0])->id, ==, "abcd2");
    one = taskbook_list(fixture->book, TASK_QUEUED, "ABCD1", 10);
    g_assert_cmpuint(one->len, ==, 1);
}

/* keep is 3: the oldest ended ones go, those that run stay. */
static void
test_bounded(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) list = NULL;

    add(fixture, "id-running", 0);
    for (int i = 1; i <= 6; i++) {
        g_autofree char *id = g_strdup_printf("id-%d", i);

        add(fixture, id, i);
        taskbook_report(fixture->book, UUID_H1, report(id, MIGRATION_COMPLETED));
    }
    list = taskbook_list(fixture->book, -1, NULL, 100);
    g_assert_cmpuint(list->len, ==, 4);
    g_assert_null(taskbook_find(fixture->book, "id-3"));
    g_assert_nonnull(taskbook_find(fixture->book, "id-4"));
    g_assert_nonnull(taskbook_find(fixture->book, "id-running"));
    /* Its host tells it again: too old to come back. */
    taskbook_report(fixture->book, UUID_H1, report("id-1", MIGRATION_COMPLETED));
    g_assert_null(taskbook_find(fixture->book, "id-1"));
    close_all(fixture);
    open_all(fixture);
    g_assert_null(taskbook_find(fixture->book, "id-3"));
}

static void
test_only_the_source_is_heard(Fixture *fixture, gconstpointer unused)
{
    Migration *other = report("id-one", MIGRATION_COMPLETED);

    add(fixture, "id-one", 1);
    taskbook_report(fixture->book, UUID_H2, report("id-one", MIGRATION_COMPLETED));
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_QUEUED);
    taskbook_report(fixture->book, UUID_H2,
                    noun_migration("id-one", "id-one", UUID_H2, UUID_H2, MIGRATION_COMPLETED));
    taskbook_report(fixture->book, UUID_H2,
                    noun_migration("id-one", NULL, NULL, NULL, MIGRATION_COMPLETED));
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_QUEUED);
    g_free(other->to_uuid);
    other->to_uuid = g_strdup(UUID_H3);
    taskbook_report(fixture->book, UUID_H1, other);
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_QUEUED);
    taskbook_report(fixture->book, UUID_H1, record_new(&migration_type)); /* without id */
    taskbook_report(fixture->book, UUID_H2, report("unknown", MIGRATION_RUNNING));
    g_assert_null(taskbook_find(fixture->book, "unknown"));
}

static void
test_adopted(Fixture *fixture, gconstpointer unused)
{
    taskbook_report(fixture->book, UUID_H1, report("id-lost", MIGRATION_RUNNING));
    g_assert_cmpint(state_of(fixture, "id-lost"), ==, TASK_RUNNING);
    taskbook_report(fixture->book, UUID_H1, report("id-lost", MIGRATION_COMPLETED));
    g_assert_cmpint(state_of(fixture, "id-lost"), ==, TASK_SUCCEEDED);
    g_assert_cmpuint(fixture->ends, ==, 1);
}

/* Disk full: nothing new is begun, what runs is followed in memory, and written when there is room.
 */
static void
test_disk_full(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) vm = noun_vm(UUID_WEB, "web", VM_RUNNING);
    g_autoptr(Host) host = noun_host(UUID_H1, "h1", HOST_CONNECTED);

    add(fixture, "id-one", 1);
    failing_vfs_arm(1, SQLITE_FULL);
    g_assert_null(taskbook_add(
        fixture->book, follow_new_task("id-two", vm, host, host, "standard", NULL, 2), &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_test_message("%s", error->message);
    g_assert_null(taskbook_find(fixture->book, "id-two"));
    g_assert_true(g_str_has_prefix(ledger_trouble(fixture->ledger), "full: "));
    taskbook_report(fixture->book, UUID_H1, report("id-one", MIGRATION_COMPLETED));
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_SUCCEEDED);
    failing_vfs_arm(0, 0);
    g_assert_true(ledger_put(fixture->ledger, "x/y", "1", NULL));
    g_assert_null(ledger_trouble(fixture->ledger));
    taskbook_flush(fixture->book);
    close_all(fixture);
    failing_vfs_arm(1,
                    SQLITE_FULL); /* also a start on a full disk tells, and knows what is there */
    open_all(fixture);
    g_assert_true(g_str_has_prefix(ledger_trouble(fixture->ledger), "full: "));
    g_assert_cmpint(state_of(fixture, "id-one"), ==, TASK_SUCCEEDED);
}

static void
on_recovered(gpointer data)
{
    *(gboolean *)data = TRUE;
}

/* Nobody writes anything: the end of the trouble is noticed all the same. */
static void
test_recovers_by_itself(Fixture *fixture, gconstpointer unused)
{
    gboolean recovered = FALSE;

    ledger_on_recovered(fixture->ledger, on_recovered, &recovered);
    failing_vfs_arm(1, SQLITE_FULL);
    g_assert_false(ledger_put(fixture->ledger, "x/y", "1", NULL));
    failing_vfs_arm(0, 0);
    while (!recovered)
        g_main_context_iteration(NULL, TRUE);
    g_assert_null(ledger_trouble(fixture->ledger));
    ledger_on_recovered(fixture->ledger, NULL, NULL);
}

static void
test_admin_tokens(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tokens) tokens = tokens_open(fixture->ledger, FINGERPRINT, &error);
    g_autofree char *first_id = NULL, *second_id = NULL;
    g_autofree char *first = tokens_create(tokens, "first", &first_id, &error);
    g_autofree char *second = tokens_create(tokens, "second", &second_id, &error);
    g_autoptr(GPtrArray) list = NULL;

    g_assert_no_error(error);
    g_assert_true(tokens_is_admin(tokens, first));
    g_assert_false(tokens_is_admin(tokens, "gwa_nonsense"));
    list = tokens_list(tokens);
    g_assert_cmpuint(list->len, ==, 2);
    g_assert_true(tokens_delete(tokens, first_id, &error));
    g_assert_false(tokens_is_admin(tokens, first));
    g_assert_false(tokens_delete(tokens, first_id, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(tokens_delete(tokens, second_id, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_clear_pointer(&tokens, tokens_free);
    tokens = tokens_open(fixture->ledger, FINGERPRINT, NULL);
    g_assert_true(tokens_is_admin(tokens, second));
    g_assert_false(tokens_is_admin(tokens, first));
}

static void
assert_join(Tokens *tokens, const char *token, gint64 now_ms, GodwitError code)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(tokens_check_join(tokens, token, now_ms, &error));
    g_assert_error(error, GODWIT_ERROR, (gint)code);
    g_assert_null(strstr(error->message, token));
}

static void
test_join_tokens(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tokens) tokens = tokens_open(fixture->ledger, FINGERPRINT, &error);
    g_autoptr(Tokens) other = tokens_open(fixture->ledger, "f" FINGERPRINT, &error);
    gint64 expires_ms;
    g_autofree char *token = tokens_create_join(tokens, 60, 1000, &expires_ms, &error);
    g_autofree char *foreign = tokens_create_join(other, 60, 1000, &expires_ms, &error);
    g_autofree char *unknown = g_strdup(token);

    g_assert_no_error(error);
    g_assert_cmpint(expires_ms, ==, 61000);
    g_assert_true(tokens_check_join(tokens, token, 60999, &error));
    g_assert_false(tokens_is_admin(tokens, token));
    assert_join(tokens, token, 61000, GODWIT_ERROR_EXPIRED);
    assert_join(tokens, foreign, 2000, GODWIT_ERROR_UNAUTHORIZED);
    assert_join(tokens, "gwj_x", 2000, GODWIT_ERROR_INVALID);
    unknown[strlen(unknown) - 1] = unknown[strlen(unknown) - 1] == 'A' ? 'Q' : 'A';
    assert_join(tokens, unknown, 2000, GODWIT_ERROR_UNAUTHORIZED);
    g_assert_true(tokens_use_join(tokens, token, "h1", 2000, &error));
    assert_join(tokens, token, 3000, GODWIT_ERROR_EXPIRED);
}

static Alarm *
alarm_of(const char *id)
{
    Alarm *alarm = record_new(&alarm_record_type);

    alarm->id = g_strdup(id);
    alarm->message = g_strdup("look at web");
    return alarm;
}

static void
test_alarms(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(AlarmBook) alarms = alarmbook_open(fixture->ledger, &error);
    g_autoptr(Alarm) read = NULL;

    g_assert_nonnull(alarmbook_raise(alarms, alarm_of("one")));
    g_assert_null(alarmbook_raise(alarms, alarm_of("one"))); /* told again: no news */
    g_assert_null(alarmbook_raise(alarms, record_new(&alarm_record_type)));
    g_clear_pointer(&alarms, alarmbook_free);
    alarms = alarmbook_open(fixture->ledger, &error);
    g_assert_cmpuint(alarmbook_count(alarms), ==, 1);
    read = alarmbook_acknowledge(alarms, "one", &error);
    g_assert_cmpstr(read->message, ==, "look at web");
    g_assert_null(alarmbook_acknowledge(alarms, "one", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_clear_pointer(&alarms, alarmbook_free);
    alarms = alarmbook_open(fixture->ledger, &error);
    g_assert_null(alarmbook_raise(alarms, alarm_of("one"))); /* was read: doesn't come back */
    g_assert_cmpuint(alarmbook_count(alarms), ==, 0);
}

#define ADD(name, func) g_test_add("/books/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL); /* warnings are expected */
    failing_vfs_install();
    ADD("restart", test_restart);
    ADD("look-up", test_look_up);
    ADD("bounded", test_bounded);
    ADD("only-the-source-is-heard", test_only_the_source_is_heard);
    ADD("adopted", test_adopted);
    ADD("disk-full", test_disk_full);
    ADD("recovers-by-itself", test_recovers_by_itself);
    ADD("admin-tokens", test_admin_tokens);
    ADD("join-tokens", test_join_tokens);
    ADD("alarms", test_alarms);
    return g_test_run();
}
