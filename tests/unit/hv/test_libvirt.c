/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/record.h"
#include "events.h"
#include "hv/hv_libvirt.h"

/*
 * The real implementation against the driver test:///default that is built into libvirt's client
 * library: no daemon. A second connection in the process plays the person with virsh. What needs a
 * daemon (migration, reconnecting for good) is tested in the lab.
 */

#define TEST_VM "6695eb01-f6a4-8304-79aa-97f2502e193f"

typedef struct {
    Events events;
    Hv *hv;
    virConnectPtr virsh;
    virDomainPtr domain;
} Fixture;

static const char new_vm[] =
    "<domain type='test'><name>new</name><uuid>4dea22b3-1d52-4d8f-8c3f-000000000001</uuid>"
    "<memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>";
#define NEW_VM "4dea22b3-1d52-4d8f-8c3f-000000000001"

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    events_init(&fixture->events);
    fixture->hv = hv_libvirt_new("test:///default", fixture->events.context, events_note,
                                 &fixture->events, &error);
    g_assert_no_error(error);
    events_wait(&fixture->events, "connected - 0");
    g_assert_true(fixture->hv->ops->is_connected(fixture->hv));
    fixture->virsh = virConnectOpen("test:///default");
    g_assert_nonnull(fixture->virsh);
    fixture->domain = virDomainLookupByUUIDString(fixture->virsh, TEST_VM);
    g_assert_nonnull(fixture->domain);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    virDomainFree(fixture->domain);
    virConnectClose(fixture->virsh);
    hv_free(fixture->hv);
    events_clear(&fixture->events);
}

static void
test_facts(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;
    g_autoptr(Facts) facts = hv->ops->facts(hv, &error);

    g_assert_no_error(error);
    g_assert_null(facts->host->state_reason);
    g_assert_cmpint(facts->host->cpu->cpus, ==, 16);
    g_assert_cmpint(facts->host->cpu->sockets, ==, 2);
    g_assert_cmpint(facts->host->memory_total_bytes, >, facts->host->memory_free_bytes);
    g_assert_cmpint(facts->host->memory_free_bytes, >, 0);
    g_assert_cmpint(facts->host->vms, ==, 1);
    g_assert_cmpstr(facts->host->versions->godwit, ==, GODWIT_VERSION);
    g_assert_nonnull(facts->host->versions->libvirt);
    g_assert_cmpstr(facts->host->name, ==, g_get_host_name());
    g_assert_cmpuint(facts->networks->len, ==, 1);
    Network *network = g_ptr_array_index(facts->networks, 0);
    g_assert_cmpstr(network->name, ==, "default");
    g_assert_true(network->active);
    g_assert_cmpuint(facts->datastores->len, ==, 1);
    Datastore *datastore = g_ptr_array_index(facts->datastores, 0);
    g_assert_cmpstr(datastore->type, ==, "dir");
    g_assert_cmpint(datastore->capacity_bytes, >, 0);
    g_assert_cmpuint(facts->vms->len, ==, 1);
    Vm *vm = g_ptr_array_index(facts->vms, 0);
    g_assert_cmpstr(vm->uuid, ==, TEST_VM);
    g_assert_cmpint(vm->state, ==, VM_RUNNING);
    g_assert_true(vm->persistent);
    g_assert_true(hv->ops->stats(hv, facts->vms, &error));
    g_assert_nonnull(vm->stats);
}

static void
assert_state(Hv *hv, VmState state, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) vm = hv->ops->vm(hv, TEST_VM, &error);

    g_assert_no_error(error);
    g_assert_cmpint(vm->state, ==, (int)state);
    g_assert_cmpstr(vm->state_reason, ==, reason);
}

static void
test_lifecycle(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(virDomainSuspend(fixture->domain), ==, 0);
    events_wait(&fixture->events, "vm " TEST_VM " 0");
    assert_state(hv, VM_PAUSED, "paused by a person");
    g_assert_true(hv->ops->resume(hv, TEST_VM, &error));
    events_wait(&fixture->events, "vm " TEST_VM " 0");
    assert_state(hv, VM_RUNNING, "resumed");
    g_assert_true(hv->ops->resume(hv, TEST_VM, &error));

    g_assert_true(hv->ops->destroy(hv, TEST_VM, FALSE, &error));
    events_wait(&fixture->events, "vm " TEST_VM " 0");
    assert_state(hv, VM_SHUTOFF, "destroyed");
    g_assert_true(hv->ops->destroy(hv, TEST_VM, FALSE, &error)); /* ended already */
    g_assert_no_error(error);
    g_assert_false(hv->ops->resume(hv, TEST_VM, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR);
    g_assert_nonnull(strstr(error->message, "can't resume VM test: libvirt says: "));
    g_assert_null(strstr(error->message, "says: nothing"));
}

static void
test_define_and_remove(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;
    g_autoptr(virDomain) made = virDomainDefineXML(fixture->virsh, new_vm);

    g_assert_nonnull(made);
    events_wait(&fixture->events, "vm " NEW_VM " 0");
    g_autoptr(Vm) vm = hv->ops->vm_by_name(hv, "new", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(vm->uuid, ==, NEW_VM);
    g_assert_cmpint(vm->state, ==, VM_SHUTOFF);
    g_autofree char *xml = hv->ops->vm_xml(hv, NEW_VM, &error);
    g_assert_nonnull(strstr(xml, "<name>new</name>"));
    g_assert_cmpint(virDomainCreate(made), ==, 0);

    g_assert_true(hv->ops->destroy(hv, NEW_VM, TRUE, &error));
    g_assert_no_error(error);
    g_assert_null(hv->ops->vm(hv, NEW_VM, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_true(hv->ops->destroy(hv, NEW_VM, TRUE, &error)); /* gone already */
    g_assert_null(hv->ops->vm_xml(hv, NEW_VM, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

/* A VM that vanishes behind our back, its handle still in the cache. */
static void
test_stale_handle(Fixture *fixture, gconstpointer data)
{
    Hv *hv = fixture->hv;
    g_autoptr(GError) error = NULL;
    g_autoptr(virDomain) made = virDomainCreateXML(fixture->virsh, new_vm, 0);

    g_assert_nonnull(made);
    g_autoptr(Vm) vm = hv->ops->vm(hv, NEW_VM, &error);
    g_assert_nonnull(vm);
    g_assert_false(vm->persistent);
    g_assert_cmpint(virDomainDestroy(made), ==, 0);
    g_assert_false(hv->ops->resume(hv, NEW_VM, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_true(hv->ops->destroy(hv, NEW_VM, TRUE, NULL));
}

static void
test_network_and_pool_events(Fixture *fixture, gconstpointer data)
{
    g_autoptr(virNetwork) network = virNetworkLookupByName(fixture->virsh, "default");
    g_autoptr(virStoragePool) pool = virStoragePoolLookupByName(fixture->virsh, "default-pool");
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(virNetworkDestroy(network), ==, 0);
    events_wait(&fixture->events, "network - 0");
    g_assert_cmpint(virStoragePoolDestroy(pool), ==, 0);
    events_wait(&fixture->events, "datastore - 0");
    g_autoptr(GPtrArray) networks = fixture->hv->ops->networks(fixture->hv, &error);
    g_assert_no_error(error);
    g_assert_false(((Network *)networks->pdata[0])->active);
    g_autoptr(GPtrArray) datastores = fixture->hv->ops->datastores(fixture->hv, &error);
    g_assert_no_error(error);
    g_assert_false(((Datastore *)datastores->pdata[0])->active);
}

static void
test_no_socket(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(fixture->hv->ops->connect_rpc(fixture->hv, &error), ==, -1);
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED);
}

/* ---- without libvirt ----------------------------------------------------------------------------
 */

typedef struct {
    char *folder, *path, *uri;
    struct sockaddr_un address;
} Daemon;

static void
daemon_set_up(Daemon *daemon, gconstpointer data)
{
    daemon->folder = g_dir_make_tmp("godwit-hv-XXXXXX", NULL);
    daemon->path = g_build_filename(daemon->folder, "a b-sock", NULL);
    daemon->uri = hv_libvirt_uri_of_socket(daemon->path);
    daemon->address.sun_family = AF_UNIX;
    g_strlcpy(daemon->address.sun_path, daemon->path, sizeof daemon->address.sun_path);
}

static void
daemon_tear_down(Daemon *daemon, gconstpointer data)
{
    g_unlink(daemon->path);
    g_rmdir(daemon->folder);
    g_free(daemon->folder);
    g_free(daemon->path);
    g_free(daemon->uri);
}

static int
daemon_listen(Daemon *daemon)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&daemon->address, sizeof daemon->address), ==, 0);
    g_assert_cmpint(listen(fd, 5), ==, 0);
    return fd;
}

static void
test_unreachable(Daemon *daemon, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Hv) hv = hv_libvirt_new(daemon->uri, NULL, NULL, NULL, &error);

    g_assert_no_error(error);
    g_assert_false(hv->ops->is_connected(hv));
    g_assert_null(hv->ops->facts(hv, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_assert_nonnull(strstr(error->message, daemon->path));
    g_assert_nonnull(strstr(error->message, "systemctl status libvirtd"));
    g_clear_error(&error);
    const HvMigrate how = { .vm_uuid = TEST_VM, .rpc_socket = "/r", .stream_socket = "/s" };
    g_assert_false(hv->ops->migrate(hv, &how, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
    g_clear_error(&error);
    g_assert_cmpint(hv->ops->connect_rpc(hv, &error), ==, -1);
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE);
}

/* A daemon that appears later is met; one that accepts and then says nothing doesn't hold hv_free
 * up for long. (That a new socket ends the delay between attempts is seen in the lab: here it would
 * be a race.) */
static void
test_daemon_appears_and_hangs(Daemon *daemon, gconstpointer data)
{
    g_autoptr(Hv) hv = hv_libvirt_new(daemon->uri, NULL, NULL, NULL, NULL);
    char greeting;

    g_assert_null(hv->ops->facts(hv, NULL));
    fd_auto int listening = daemon_listen(daemon);
    fd_auto int client = accept(listening, NULL, NULL);
    g_assert_cmpint(client, >=, 0);
    g_assert_cmpint(recv(client, &greeting, 1, 0), ==, 1); /* libvirt's first call */
    g_assert_false(hv->ops->is_connected(hv));

    gint64 before = g_get_monotonic_time();
    hv_free(g_steal_pointer(&hv));
    g_assert_cmpint(g_get_monotonic_time() - before, <, 10 * G_TIME_SPAN_SECOND);
}

static void
test_connect_rpc(Daemon *daemon, gconstpointer data)
{
    fd_auto int listening = daemon_listen(daemon);
    g_autoptr(GError) error = NULL;
    g_autoptr(Hv) hv = hv_libvirt_new(daemon->uri, NULL, NULL, NULL, &error);
    fd_auto int ours = hv->ops->connect_rpc(hv, &error);

    g_assert_no_error(error);
    g_assert_cmpint(ours, >=, 0);
    g_assert_cmpint(write(ours, "godwit", 6), ==, 6);
    for (gboolean met = FALSE; !met;) { /* the keeper's connection comes to the same socket */
        fd_auto int client = accept(listening, NULL, NULL);
        char text[6] = "";
        g_assert_cmpint(client, >=, 0);
        met = recv(client, text, sizeof text, MSG_WAITALL) == 6 && memcmp(text, "godwit", 6) == 0;
    }
}

static void
test_place(Daemon *daemon, gconstpointer data)
{
    g_autofree char *modular = g_build_filename(daemon->folder, "virtqemud-sock", NULL);
    g_autofree char *monolithic = g_build_filename(daemon->folder, "libvirt-sock", NULL);
    g_autofree char *modular_uri = g_strconcat("qemu+unix:///system?socket=", modular, NULL);
    const struct {
        const char *uri;
        gboolean has_modular;
        const char *wanted_uri, *wanted_socket;
    } rows[] = {
        { NULL, FALSE, NULL, monolithic },
        { NULL, TRUE, modular_uri, modular },
        { "qemu:///system", TRUE, modular_uri, modular },
        { "qemu:///session", TRUE, "qemu:///session", NULL },
        { "qemu+unix:///system", TRUE, "qemu+unix:///system", modular },
        { "qemu+unix:///system?socket=/a%20b/s&mode=direct", TRUE,
          "qemu+unix:///system?socket=/a%20b/s&mode=direct", "/a b/s" },
        { "test:///default", TRUE, "test:///default", NULL },
        { "not a uri", TRUE, "not a uri", NULL },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(HvLibvirtPlace) place = { 0 };
        if (rows[i].has_modular)
            g_file_set_contents(modular, "", 0, NULL);
        hv_libvirt_place_find(&place, rows[i].uri, daemon->folder);
        g_assert_cmpstr(place.socket, ==, rows[i].wanted_socket);
        if (rows[i].wanted_uri)
            g_assert_cmpstr(place.uri, ==, rows[i].wanted_uri);
    }
    g_unlink(modular);
}

static void
test_remote_uri(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(hv_libvirt_new("qemu+ssh://h2/system", NULL, NULL, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

#define ADD(name, func) g_test_add("/hv/libvirt/" name, Fixture, NULL, set_up, func, tear_down)
#define ADD_DAEMON(name, func)                                                                     \
    g_test_add("/hv/libvirt/" name, Daemon, NULL, daemon_set_up, func, daemon_tear_down)

/* What libvirt is asked for: disks only where they are to be copied. */
static void
test_migrate_params(void)
{
    const HvMigrate rows[] = {
        { .stream_socket = "/run/s", .start_paused = TRUE, .storage_proved = TRUE },
        { .stream_socket = "/run/s", .disks_socket = "/run/d" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gboolean disks = rows[i].disks_socket != NULL;
        virTypedParameterPtr list = NULL;
        const char *stream = NULL, *uri = NULL;
        unsigned int flags = hv_libvirt_migrate_flags(&rows[i], disks);
        int n = 0;

        g_assert_cmpint(hv_libvirt_migrate_params(&rows[i], &list, &n), ==, 0);
        g_assert_cmpint(n, ==, disks ? 2 : 1);
        g_assert_cmpint(virTypedParamsGetString(list, n, VIR_MIGRATE_PARAM_URI, &stream), ==, 1);
        g_assert_cmpstr(stream, ==, "unix:///run/s");
        virTypedParamsGetString(list, n, VIR_MIGRATE_PARAM_DISKS_URI, &uri);
        g_assert_cmpstr(uri, ==, disks ? "unix:///run/d" : NULL);
        virTypedParamsFree(list, n);
        g_assert_cmpint((flags & VIR_MIGRATE_NON_SHARED_DISK) != 0, ==, disks);
        g_assert_cmpint((flags & VIR_MIGRATE_PERSIST_DEST) != 0, ==, disks);
        g_assert_cmpint((flags & VIR_MIGRATE_PAUSED) != 0, ==, !disks);
        g_assert_cmpint((flags & VIR_MIGRATE_UNSAFE) != 0, ==, !disks);
        g_assert_true(flags & VIR_MIGRATE_PEER2PEER);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("facts", test_facts);
    ADD("lifecycle", test_lifecycle);
    ADD("define-and-remove", test_define_and_remove);
    ADD("stale-handle", test_stale_handle);
    ADD("network-and-pool-events", test_network_and_pool_events);
    ADD("no-socket", test_no_socket);
    ADD_DAEMON("unreachable", test_unreachable);
    ADD_DAEMON("appears-and-hangs", test_daemon_appears_and_hangs);
    ADD_DAEMON("connect-rpc", test_connect_rpc);
    ADD_DAEMON("place", test_place);
    g_test_add_func("/hv/libvirt/remote-uri", test_remote_uri);
    g_test_add_func("/hv/libvirt/migrate-params", test_migrate_params);
    return g_test_run();
}
