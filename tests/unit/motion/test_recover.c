/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A destination's godwitd that was killed in the switch, and its worker with it: what is left is
 * the journal and what libvirt has. Whatever the source says then, a VM that runs here stays.
 */
#include <glib/gstdio.h>

#include "base/error.h"
#include "base/record.h"
#include "hv/hv_fake.h"
#include "motion/journal.h"
#include "motion/motion.h"

#define ID "11111111-0000-4000-8000-000000000001"
#define VM "22222222-0000-4000-8000-000000000002"
#define HERE "33333333-0000-4000-8000-000000000003"
#define SOURCE "44444444-0000-4000-8000-000000000004"

typedef struct {
    char *state, *run;
    Hv *hv;
    Motion *motion;
    guint alarms;
} Fixture;

static void
on_migration(const Migration *migration, gpointer data)
{
}

static void
on_vm(const char *uuid, gpointer data)
{
}

static void
on_alarm(const Alarm *alarm, gpointer data)
{
    ((Fixture *)data)->alarms++;
}

static void
ignore_hv(const HvEvent *event, gpointer data)
{
}

/* As a godwitd left it that had begun to switch. */
static void
write_journal(Fixture *fixture)
{
    g_autofree char *folder = g_build_filename(fixture->state, "migrations", NULL);
    g_autofree char *path = g_build_filename(folder, ID ".destination.journal", NULL);
    g_autoptr(ReservationRequest) request = record_new(&reservation_request_type);
    JsonNode *detail = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(GError) error = NULL;
    Journal *journal;

    request->id = g_strdup(ID);
    request->from = record_new(&peer_type);
    request->from->uuid = g_strdup(SOURCE);
    request->from->name = g_strdup("h1");
    request->vm = record_new(&vm_type);
    request->vm->uuid = g_strdup(VM);
    request->vm->name = g_strdup("web");
    json_node_take_object(detail, json_object_new());
    json_object_set_member(json_node_get_object(detail), "request",
                           record_to_json(&reservation_request_type, request));
    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    journal = journal_open(path, &error);
    g_assert_no_error(error);
    g_assert_true(journal_write(journal, "accept", "note", detail, NULL));
    g_assert_true(journal_write(journal, "copy", "begin", NULL, NULL));
    g_assert_true(journal_write(journal, "switch", "begin", NULL, NULL));
    journal_close(journal);
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->state = g_dir_make_tmp("recover-XXXXXX", NULL);
    fixture->run = g_dir_make_tmp("recover-XXXXXX", NULL);
    fixture->hv = hv_fake_new(NULL, ignore_hv, NULL);
    write_journal(fixture);
}

static void
restart(Fixture *fixture)
{
    static const char *const addresses[] = { "127.0.0.1", NULL };
    static const Identity identity = { .name = { IDENTITY_HOST, HERE } };
    MotionConfig config = {
        .hv = fixture->hv,
        .identity = &identity,
        .host_name = "h2",
        .state_dir = fixture->state,
        .run_dir = fixture->run,
        .flyway_program = "/bin/false",
        .flyway_user = "nobody",
        .control_address = "127.0.0.1",
        .control_port = 1,
        .migration_addresses = addresses,
        .max_outgoing = 1,
        .max_incoming = 1,
        .keep_reports = 1,
        .notify = { on_migration, on_vm, on_alarm },
        .data = fixture,
    };
    g_autoptr(GError) error = NULL;

    fixture->motion = motion_new(&config, &error);
    g_assert_no_error(error);
}

static void
remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    g_remove(path);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    motion_free(fixture->motion);
    hv_free(fixture->hv);
    remove_tree(fixture->state);
    remove_tree(fixture->run);
    g_free(fixture->state);
    g_free(fixture->run);
}

static IncomingState
settle(Fixture *fixture, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Incoming) incoming = motion_settle(fixture->motion, ID, SOURCE, word, &error);

    g_assert_no_error(error);
    return (IncomingState)incoming->state;
}

static VmState
state_of(Fixture *fixture)
{
    g_autoptr(Vm) vm = fixture->hv->ops->vm(fixture->hv, VM, NULL);

    return vm ? (VmState)vm->state : VM_SHUTOFF;
}

static void
add_vm(Fixture *fixture, VmState state, const char *reason)
{
    g_autoptr(Vm) vm = NULL;

    hv_fake_add_vm(fixture->hv, VM, "web", state);
    vm = fixture->hv->ops->vm(fixture->hv, VM, NULL);
    g_free(vm->state_reason);
    vm->state_reason = g_strdup(reason);
    hv_fake_set_vm(fixture->hv, vm);
}

/* The source, whose libvirtd died as well and left the VM stopped, would take it back. */
static void
test_runs_already(Fixture *fixture, gconstpointer unused)
{
    add_vm(fixture, VM_RUNNING, NULL);
    restart(fixture);
    g_assert_cmpint(settle(fixture, "runs"), ==, INCOMING_RUNNING);
    g_assert_cmpint(state_of(fixture), ==, VM_RUNNING);
    g_assert_cmpuint(hv_fake_calls(fixture->hv, "destroy"), ==, 0);
    g_assert_cmpuint(fixture->alarms, ==, 0);
}

/* libvirt can't say yet: nothing is given up before it can. */
static void
test_libvirt_is_late(Fixture *fixture, gconstpointer unused)
{
    add_vm(fixture, VM_RUNNING, NULL);
    hv_fake_fail(fixture->hv, "vm", 1, GODWIT_ERROR_UNREACHABLE, "not yet");
    restart(fixture);
    g_assert_cmpint(settle(fixture, "runs"), ==, INCOMING_RUNNING);
    g_assert_cmpuint(hv_fake_calls(fixture->hv, "destroy"), ==, 0);
}

/* It waits for its start: the source's word decides. */
static void
test_source_keeps_it(Fixture *fixture, gconstpointer unused)
{
    add_vm(fixture, VM_PAUSED, HV_PAUSED_BY_PERSON);
    restart(fixture);
    g_assert_cmpint(settle(fixture, "runs"), ==, INCOMING_ABORTED);
    g_assert_cmpint(state_of(fixture), ==, VM_SHUTOFF);
}

static void
test_source_has_ended_it(Fixture *fixture, gconstpointer unused)
{
    add_vm(fixture, VM_PAUSED, HV_PAUSED_BY_PERSON);
    restart(fixture);
    g_assert_cmpint(settle(fixture, "gone"), ==, INCOMING_RUNNING);
    g_assert_cmpint(state_of(fixture), ==, VM_RUNNING);
}

static void
test_nothing_came(Fixture *fixture, gconstpointer unused)
{
    restart(fixture);
    g_assert_cmpint(settle(fixture, "runs"), ==, INCOMING_ABORTED);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *fixture, gconstpointer unused);
    } tests[] = {
        { "/recover/runs-already", test_runs_already },
        { "/recover/libvirt-is-late", test_libvirt_is_late },
        { "/recover/source-keeps-it", test_source_keeps_it },
        { "/recover/source-has-ended-it", test_source_has_ended_it },
        { "/recover/nothing-came", test_nothing_came },
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
