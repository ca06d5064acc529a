/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>

#include "base/error.h"
#include "manager/admission.h"
#include "nouns.h"

typedef struct {
    char *dir;
    Ledger *ledger;
    TaskBook *book;
    Inventory *inventory;
} Fixture;

static void
ignore(const Task *task, gboolean ended, gpointer data)
{
}

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    const InventoryNotify notify = { 0 };
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;

    fixture->dir = g_dir_make_tmp("godwit-admission-XXXXXX", NULL);
    path = g_build_filename(fixture->dir, "db", NULL);
    fixture->ledger = ledger_open(path, &error);
    g_assert_no_error(error);
    fixture->book = taskbook_open(fixture->ledger, 10, ignore, NULL, &error);
    g_assert_no_error(error);
    fixture->inventory = inventory_new(&notify);
    for (int i = 0; i < 2; i++) {
        g_autoptr(Host) host = noun_host(i ? UUID_H2 : UUID_H1, i ? "h2" : "h1", HOST_CONNECTING);

        inventory_add_host(fixture->inventory, host);
    }
    inventory_set_facts(fixture->inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_WEB, "web", VM_RUNNING),
                                   noun_vm(UUID_DB, "db", VM_SHUTOFF), NULL));
    inventory_set_facts(fixture->inventory, UUID_H2, noun_facts(UUID_H2, "h2", NULL));
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *path = g_build_filename(fixture->dir, "db", NULL);

    inventory_free(fixture->inventory);
    taskbook_free(fixture->book);
    ledger_free(fixture->ledger);
    g_unlink(path);
    g_assert_cmpint(g_rmdir(fixture->dir), ==, 0);
    g_free(fixture->dir);
}

static Task *
admit(Fixture *fixture, const char *vm, const char *to, GError **error)
{
    const MigrationOrder order = { .vm = vm, .to = to };

    return admission_admit(fixture->inventory, fixture->book, &order, 1000, error);
}

static void
assert_refused(Fixture *fixture, const char *vm, const char *to, GodwitError code,
               const char *contains)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(admit(fixture, vm, to, &error));
    g_assert_error(error, GODWIT_ERROR, (gint)code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, contains));
}

static void
test_admitted(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Task) by_name = admit(fixture, "web", "h2", &error);
    g_autoptr(Task) by_uuid = admit(fixture, UUID_WEB, UUID_H2, &error);

    g_assert_no_error(error);
    g_assert_cmpint(by_name->state, ==, TASK_QUEUED);
    g_assert_true(g_uuid_string_is_valid(by_name->id));
    g_assert_cmpstr(by_name->id, !=, by_uuid->id);
    g_assert_cmpstr(by_name->migration->policy, ==, "standard");
    g_assert_cmpstr(by_uuid->migration->vm, ==, "web");
    g_assert_cmpstr(by_uuid->migration->to_uuid, ==, UUID_H2);
}

/* The cap goes with the task; none is none. */
static void
test_cap(Fixture *fixture, gconstpointer unused)
{
    const MigrationOrder order = { .vm = "web", .to = "h2", .max_bps = 125000 };
    g_autoptr(Task) capped = admission_admit(fixture->inventory, fixture->book, &order, 1000, NULL);
    g_autoptr(Task) free = admit(fixture, "web", "h2", NULL);

    g_assert_cmpint(capped->migration->max_bps, ==, 125000);
    g_assert_cmpint(free->migration->max_bps, ==, 0);
}

static void
test_unknown(Fixture *fixture, gconstpointer unused)
{
    assert_refused(fixture, "nope", "h2", GODWIT_ERROR_NOT_FOUND, "no VM \"nope\"");
    assert_refused(fixture, "web", "h9", GODWIT_ERROR_NOT_FOUND, "no host \"h9\"");
}

static void
test_refused(Fixture *fixture, gconstpointer unused)
{
    Facts *small = noun_facts(UUID_H2, "h2", NULL);

    assert_refused(fixture, "db", "h2", GODWIT_ERROR_REFUSED, "shutoff");
    assert_refused(fixture, "web", "h1", GODWIT_ERROR_REFUSED, "on h1 already");
    small->host->memory_free_bytes = 1024;
    inventory_set_facts(fixture->inventory, UUID_H2, small);
    assert_refused(fixture, "web", "h2", GODWIT_ERROR_REFUSED, "memory");
}

static void
test_busy(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    const Task *task = taskbook_add(fixture->book, admit(fixture, "web", "h2", &error), &error);
    g_autofree char *id = g_strdup(task->id);

    g_assert_no_error(error);
    assert_refused(fixture, "web", "h2", GODWIT_ERROR_CONFLICT, id);
    taskbook_end(fixture->book, id, TASK_CANCELLED, MIGRATION_CANCELLED, NULL);
    task_free(admit(fixture, "web", "h2", &error));
    g_assert_no_error(error);
}

/* The agent says that its VM is in a migration that the manager has not heard of; or of one that
 * has ended. */
static void
test_busy_by_its_host(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    Vm *vm = noun_vm(UUID_WEB, "web", VM_RUNNING);
    const Task *task;

    vm->migration = g_strdup("someone-elses");
    inventory_set_vm(fixture->inventory, UUID_H1, vm);
    assert_refused(fixture, "web", "h2", GODWIT_ERROR_CONFLICT, "someone-elses");
    inventory_set_vm(fixture->inventory, UUID_H1, noun_vm(UUID_WEB, "web", VM_RUNNING));
    task = taskbook_add(fixture->book, admit(fixture, "web", "h2", &error), &error);
    g_assert_no_error(error);
    vm = noun_vm(UUID_WEB, "web", VM_RUNNING);
    vm->migration = g_strdup(task->id);
    inventory_set_vm(fixture->inventory, UUID_H1, vm);
    taskbook_end(fixture->book, task->id, TASK_FAILED, MIGRATION_FAILED, NULL);
    task_free(admit(fixture, "web", "h2", &error));
    g_assert_no_error(error);
}

static void
test_silent_hosts(Fixture *fixture, gconstpointer unused)
{
    inventory_set_state(fixture->inventory, UUID_H2, HOST_DISCONNECTED, "no route");
    assert_refused(fixture, "web", "h2", GODWIT_ERROR_REFUSED, "host h2 is disconnected: no route");
    assert_refused(fixture, "db", "h2", GODWIT_ERROR_REFUSED, "shutoff");
    inventory_set_state(fixture->inventory, UUID_H1, HOST_DISCONNECTED, "cable");
    assert_refused(fixture, "web", "h2", GODWIT_ERROR_UNREACHABLE,
                   "h1, which is disconnected: cable");
    assert_refused(fixture, "nope", "h2", GODWIT_ERROR_NOT_FOUND, "h1, h2");
}

#define ADD(name, func) g_test_add("/admission/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("admitted", test_admitted);
    ADD("cap", test_cap);
    ADD("unknown", test_unknown);
    ADD("refused", test_refused);
    ADD("busy", test_busy);
    ADD("busy-by-its-host", test_busy_by_its_host);
    ADD("silent-hosts", test_silent_hosts);
    return g_test_run();
}
