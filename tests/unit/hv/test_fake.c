/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_fake.h"

#include <unistd.h>

#include "base/record.h"
#include "events.h"

#define WEB "4dea22b3-1d52-4d8f-8c3f-000000000001"

typedef struct {
    Events events;
    Hv *hv;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    events_init(&fixture->events);
    fixture->hv = hv_fake_new(fixture->events.context, events_note, &fixture->events);
    hv_fake_add_vm(fixture->hv, WEB, "web1", VM_RUNNING);
    events_wait(&fixture->events, "vm " WEB " 0");
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    hv_free(fixture->hv);
    events_clear(&fixture->events);
}

static void
test_facts(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;
    g_autoptr(Network) network = record_new(&network_type);
    g_autoptr(Datastore) datastore = record_new(&datastore_type);

    network->name = g_strdup("lan");
    hv_fake_add_network(hv, network);
    datastore->name = g_strdup("vms");
    hv_fake_add_datastore(hv, datastore);
    events_wait(&fixture->events, "network - 0");
    events_wait(&fixture->events, "datastore - 0");

    g_autoptr(Facts) facts = hv->ops->facts(hv, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(facts->host->name, ==, "fake");
    g_assert_cmpint(facts->host->vms, ==, 1);
    g_assert_cmpuint(facts->vms->len, ==, 1);
    g_assert_cmpuint(facts->networks->len, ==, 1);
    g_assert_cmpuint(facts->datastores->len, ==, 1);
    g_assert_true(hv->ops->stats(hv, facts->vms, &error));
    g_assert_nonnull(((Vm *)facts->vms->pdata[0])->stats);

    g_autoptr(Vm) vm = hv->ops->vm_by_name(hv, "web1", &error);
    g_assert_cmpstr(vm->uuid, ==, WEB);
    g_assert_null(hv->ops->vm_by_name(hv, "nobody", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

static int
state_now(Hv *hv)
{
    g_autoptr(Vm) vm = hv->ops->vm(hv, WEB, NULL);

    return vm ? vm->state : -1;
}

static void
test_start_and_end(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;

    hv_fake_set_vm_state(hv, WEB, VM_PAUSED);
    g_assert_cmpint(state_now(hv), ==, VM_PAUSED);
    g_assert_true(hv->ops->resume(hv, WEB, &error));
    g_assert_true(hv->ops->resume(hv, WEB, &error));
    g_assert_cmpint(state_now(hv), ==, VM_RUNNING);
    g_assert_true(hv->ops->destroy(hv, WEB, FALSE, &error));
    g_assert_cmpint(state_now(hv), ==, VM_SHUTOFF);
    g_assert_false(hv->ops->resume(hv, WEB, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR);
    g_clear_error(&error);
    g_assert_true(hv->ops->destroy(hv, WEB, TRUE, &error));
    g_assert_cmpint(state_now(hv), ==, -1);
    g_assert_true(hv->ops->destroy(hv, WEB, TRUE, &error));
    g_assert_no_error(error);
}

static void
test_migrate(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    const HvMigrate how = { .vm_uuid = WEB, .rpc_socket = "/r", .stream_socket = "/s" };
    g_autoptr(GError) error = NULL;

    g_assert_true(hv->ops->migrate(hv, &how, &error));
    events_wait(&fixture->events, "suspended " WEB " 0");
    events_wait(&fixture->events, "vm " WEB " 0");
    g_assert_cmpint(state_now(hv), ==, -1);
    g_assert_false(hv->ops->migrate(hv, &how, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

static gboolean
until_aborted(Hv *hv, const HvMigrate *how, gpointer data, GError **error)
{
    const HvJob job = { .active = TRUE, .pass = 2 };

    hv_fake_set_job(hv, how->vm_uuid, &job);
    hv_fake_emit(hv, HV_EVENT_MIGRATION_PASS, how->vm_uuid, 2);
    g_assert_true(hv_fake_wait_abort(hv, how->vm_uuid, 30000));
    hv_fake_set_job(hv, how->vm_uuid, NULL);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "aborted");
    return FALSE;
}

static gpointer
migrate_thread(gpointer data)
{
    const HvMigrate how = { .vm_uuid = WEB };
    Hv *hv = data;
    g_autoptr(GError) error = NULL;

    g_assert_false(hv->ops->migrate(hv, &how, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);
    return NULL;
}

static void
test_abort(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;
    HvJob job;

    hv_fake_on_migrate(hv, until_aborted, NULL);
    GThread *thread = g_thread_new("migrate", migrate_thread, hv);
    events_wait(&fixture->events, "pass " WEB " 2");
    g_assert_true(hv->ops->job(hv, WEB, &job, &error));
    g_assert_true(job.active);
    g_assert_true(hv->ops->set_max_downtime(hv, WEB, 50, &error));
    g_assert_cmpint(hv_fake_max_downtime(hv, WEB), ==, 50);
    g_assert_false(hv_fake_wait_abort(hv, WEB, 0));
    g_assert_true(hv->ops->job_abort(hv, WEB, &error));
    g_thread_join(thread);
    g_assert_true(hv->ops->job(hv, WEB, &job, &error));
    g_assert_false(job.active);
    g_assert_cmpint(state_now(hv), ==, VM_RUNNING);
}

static void
test_faults(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;

    hv_fake_fail(hv, "resume", 2, GODWIT_ERROR_TIMEOUT, "planted");
    g_assert_true(hv->ops->resume(hv, WEB, &error));
    g_assert_false(hv->ops->resume(hv, WEB, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TIMEOUT);
    g_assert_cmpstr(error->message, ==, "planted");
    g_clear_error(&error);
    g_assert_true(hv->ops->resume(hv, WEB, &error));
    g_assert_cmpuint(hv_fake_calls(hv, "resume"), ==, 3);
    g_assert_cmpuint(hv_fake_calls(hv, "destroy"), ==, 0);
    g_assert_cmpuint(hv_fake_calls(hv, NULL), ==, 3);

    hv_fake_fail(hv, NULL, 1, GODWIT_ERROR_HYPERVISOR, "any");
    g_assert_false(hv->ops->destroy(hv, WEB, TRUE, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR);
    g_assert_cmpint(state_now(hv), ==, VM_RUNNING);
}

static void
test_disconnect(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;

    g_assert_true(hv->ops->is_connected(hv));
    hv_fake_set_connected(hv, FALSE);
    events_wait(&fixture->events, "disconnected - 0");
    g_assert_false(hv->ops->is_connected(hv));
    g_assert_null(hv->ops->facts(hv, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    hv_fake_set_connected(hv, TRUE);
    hv_fake_set_connected(hv, TRUE);
    events_wait(&fixture->events, "connected - 0");
    events_drain(&fixture->events);
    g_assert_cmpuint(fixture->events.seen->len, ==, 0);
}

static void
test_rpc(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    char byte = 0;

    g_assert_cmpint(hv_fake_take_rpc(hv), ==, -1);
    int ours = hv->ops->connect_rpc(hv, NULL);
    int theirs = hv_fake_take_rpc(hv);
    g_assert_cmpint(write(ours, "x", 1), ==, 1);
    g_assert_cmpint(read(theirs, &byte, 1), ==, 1);
    g_assert_cmpint(byte, ==, 'x');
    close(ours);
    close(theirs);
    close(hv->ops->connect_rpc(hv, NULL)); /* nobody took its other end: freed with the fake */
}

/* Nothing comes after hv_free, also what was queued before it. */
static void
test_quiet_after_free(void)
{
    Events events;

    events_init(&events);
    Hv *hv = hv_fake_new(events.context, events_note, &events);
    hv_fake_emit(hv, HV_EVENT_VM, WEB, 0);
    hv_free(hv);
    events_drain(&events);
    g_assert_cmpuint(events.seen->len, ==, 0);
    events_clear(&events);
}

#define ADD(name, func) g_test_add("/hv/fake/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("facts", test_facts);
    ADD("start-and-end", test_start_and_end);
    ADD("migrate", test_migrate);
    ADD("abort", test_abort);
    ADD("faults", test_faults);
    ADD("disconnect", test_disconnect);
    ADD("rpc", test_rpc);
    g_test_add_func("/hv/fake/quiet-after-free", test_quiet_after_free);
    return g_test_run();
}
