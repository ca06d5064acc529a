/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_fake.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/record.h"
#include "hv/hv_sink.h"

/*
 * Theory of operation
 *
 * Everything is under one lock, except while a test's migrate function runs. Each operation begins
 * with begin(): it counts the call, and decides whether this one is to fail.
 */

typedef struct {
    guint calls;
    guint fails_at; /* number of the call that is to fail; 0 = none */
    GodwitError code;
    char *message;
} Operation;

typedef struct {
    Vm *vm;
    HvJob job;
    gboolean aborted;
    gint64 max_downtime_ms;
} FakeVm;

typedef struct {
    Hv hv; /* first */
    HvSink *sink;
    /* under lock */
    GMutex lock;
    GCond aborted;
    gboolean connected;
    Facts *facts;           /* host, networks, datastores; vms is built when asked */
    GHashTable *vms;        /* UUID → FakeVm */
    GHashTable *operations; /* name → Operation; "" = any */
    HvFakeMigrate migrate;
    gpointer migrate_data;
    GQueue rpc; /* GINT_TO_POINTER(descriptor), our ends */
} HvFake;

static void
operation_free(gpointer data)
{
    Operation *operation = data;

    g_free(operation->message);
    g_free(operation);
}

static void
fake_vm_free(gpointer data)
{
    FakeVm *fake = data;

    vm_free(fake->vm);
    g_free(fake);
}

static Operation *
operation_get(HvFake *self, const char *name)
{
    Operation *operation = g_hash_table_lookup(self->operations, name ? name : "");

    if (!operation) {
        operation = g_new0(Operation, 1);
        g_hash_table_insert(self->operations, g_strdup(name ? name : ""), operation);
    }
    return operation;
}

/* Counts a call; TRUE where it fails as ordered. */
static gboolean
operation_fails(Operation *operation, GError **error)
{
    if (++operation->calls != operation->fails_at)
        return FALSE;
    g_set_error_literal(error, GODWIT_ERROR, (int)operation->code, operation->message);
    return TRUE;
}

/* Locks. FALSE with error: the call fails (lock held all the same). */
static gboolean
begin(HvFake *self, const char *name, GError **error)
{
    g_mutex_lock(&self->lock);
    if (operation_fails(operation_get(self, name), error)) {
        operation_get(self, NULL)->calls++;
        return FALSE;
    }
    if (operation_fails(operation_get(self, NULL), error))
        return FALSE;
    if (!self->connected) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "libvirt doesn't answer (the fake is disconnected)");
        return FALSE;
    }
    return TRUE;
}

static FakeVm *
find(HvFake *self, const char *uuid, GError **error)
{
    FakeVm *fake = g_hash_table_lookup(self->vms, uuid);

    if (!fake)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "can't find VM %s", uuid);
    return fake;
}

static void
emit(HvFake *self, HvEventKind kind, const char *uuid)
{
    hv_sink_emit(self->sink, kind, uuid, 0, clock_monotonic_us());
}

/* ---- reading
 * ------------------------------------------------------------------------------------------- */

static gboolean
fake_is_connected(Hv *hv)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    gboolean connected = self->connected;
    g_mutex_unlock(&self->lock);
    return connected;
}

static GPtrArray *
list_copy(const RecordType *type, GPtrArray *list)
{
    GPtrArray *copy = record_list_new(type);

    for (guint i = 0; i < list->len; i++)
        g_ptr_array_add(copy, record_copy(type, g_ptr_array_index(list, i)));
    return copy;
}

static Host *
host_copy(HvFake *self)
{
    Host *host = record_copy(&host_type, self->facts->host);
    GHashTableIter iter;
    gpointer value;

    host->vms = 0;
    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        int state = ((FakeVm *)value)->vm->state;
        host->vms += state == VM_RUNNING || state == VM_PAUSED || state == VM_SUSPENDED;
    }
    host->clock_ms = clock_wall_ms();
    return host;
}

static GPtrArray *
vms_copy(HvFake *self)
{
    GPtrArray *vms = record_list_new(&vm_type);
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(vms, record_copy(&vm_type, ((FakeVm *)value)->vm));
    return vms;
}

static Facts *
fake_facts(Hv *hv, GError **error)
{
    HvFake *self = (HvFake *)hv;
    Facts *facts = NULL;

    if (begin(self, "facts", error)) {
        facts = record_new(&facts_type);
        facts->host = host_copy(self);
        facts->networks = list_copy(&network_type, self->facts->networks);
        facts->datastores = list_copy(&datastore_type, self->facts->datastores);
        facts->vms = vms_copy(self);
    }
    g_mutex_unlock(&self->lock);
    return facts;
}

static Host *
fake_host(Hv *hv, GError **error)
{
    HvFake *self = (HvFake *)hv;
    Host *host = begin(self, "host", error) ? host_copy(self) : NULL;

    g_mutex_unlock(&self->lock);
    return host;
}

static GPtrArray *
fake_networks(Hv *hv, GError **error)
{
    HvFake *self = (HvFake *)hv;
    gboolean ok = begin(self, "networks", error);
    GPtrArray *networks = ok ? list_copy(&network_type, self->facts->networks) : NULL;

    g_mutex_unlock(&self->lock);
    return networks;
}

static GPtrArray *
fake_datastores(Hv *hv, GError **error)
{
    HvFake *self = (HvFake *)hv;
    gboolean ok = begin(self, "datastores", error);
    GPtrArray *datastores = ok ? list_copy(&datastore_type, self->facts->datastores) : NULL;

    g_mutex_unlock(&self->lock);
    return datastores;
}

static Vm *
fake_vm(Hv *hv, const char *uuid, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "vm", error) ? find(self, uuid, error) : NULL;
    Vm *vm = fake ? record_copy(&vm_type, fake->vm) : NULL;

    g_mutex_unlock(&self->lock);
    return vm;
}

static Vm *
fake_vm_by_name(Hv *hv, const char *name, GError **error)
{
    HvFake *self = (HvFake *)hv;
    Vm *vm = NULL;
    GHashTableIter iter;
    gpointer value;

    if (begin(self, "vm_by_name", error)) {
        g_hash_table_iter_init(&iter, self->vms);
        while (!vm && g_hash_table_iter_next(&iter, NULL, &value)) {
            if (strcmp(((FakeVm *)value)->vm->name, name) == 0)
                vm = record_copy(&vm_type, ((FakeVm *)value)->vm);
        }
        if (!vm)
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "can't find VM %s", name);
    }
    g_mutex_unlock(&self->lock);
    return vm;
}

static char *
fake_vm_xml(Hv *hv, const char *uuid, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "vm_xml", error) ? find(self, uuid, error) : NULL;
    char *xml = fake ? g_markup_printf_escaped("<domain type='qemu'><name>%s</name>"
                                               "<uuid>%s</uuid></domain>",
                                               fake->vm->name, uuid)
                     : NULL;

    g_mutex_unlock(&self->lock);
    return xml;
}

static gboolean
fake_stats(Hv *hv, GPtrArray *vms, GError **error)
{
    HvFake *self = (HvFake *)hv;
    gboolean ok = begin(self, "stats", error);

    for (guint i = 0; ok && i < vms->len; i++) {
        Vm *vm = g_ptr_array_index(vms, i);
        FakeVm *fake = g_hash_table_lookup(self->vms, vm->uuid);
        if (!fake || fake->vm->state != VM_RUNNING)
            continue;
        vm_stats_free(vm->stats);
        vm->stats = fake->vm->stats ? record_copy(&vm_stats_type, fake->vm->stats)
                                    : record_new(&vm_stats_type);
        vm->stats->taken_ms = clock_wall_ms();
    }
    g_mutex_unlock(&self->lock);
    return ok;
}

/* ---- acting
 * ------------------------------------------------------------------------------------------------
 */

/* What libvirt does to the source in a migration that goes well. */
static gboolean
move_away(HvFake *self, const char *uuid)
{
    emit(self, HV_EVENT_SUSPENDED_FOR_MIGRATION, uuid);
    emit(self, HV_EVENT_VM, uuid);
    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->vms, uuid);
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_VM, uuid);
    return TRUE;
}

static gboolean
fake_migrate(Hv *hv, const HvMigrate *how, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "migrate", error) ? find(self, how->vm_uuid, error) : NULL;
    HvFakeMigrate migrate = self->migrate;
    gpointer data = self->migrate_data;

    if (fake && fake->vm->state != VM_RUNNING) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR,
                    "can't migrate VM %s: domain is not running", fake->vm->name);
        fake = NULL;
    }
    if (fake)
        fake->aborted = FALSE;
    g_mutex_unlock(&self->lock);
    if (!fake)
        return FALSE;
    return migrate ? migrate(hv, how, data, error) : move_away(self, how->vm_uuid);
}

static gboolean
fake_job(Hv *hv, const char *uuid, HvJob *job, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "job", error) ? find(self, uuid, error) : NULL;

    *job = fake ? fake->job : (HvJob){ 0 };
    g_mutex_unlock(&self->lock);
    return fake != NULL;
}

static gboolean
fake_job_abort(Hv *hv, const char *uuid, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "job_abort", error) ? find(self, uuid, error) : NULL;

    if (fake) {
        fake->aborted = TRUE;
        g_cond_broadcast(&self->aborted);
    }
    g_mutex_unlock(&self->lock);
    return fake != NULL;
}

static gboolean
fake_set_max_downtime(Hv *hv, const char *uuid, gint64 ms, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "set_max_downtime", error) ? find(self, uuid, error) : NULL;

    if (fake)
        fake->max_downtime_ms = ms;
    g_mutex_unlock(&self->lock);
    return fake != NULL;
}

static gboolean
fake_resume(Hv *hv, const char *uuid, GError **error)
{
    HvFake *self = (HvFake *)hv;
    FakeVm *fake = begin(self, "resume", error) ? find(self, uuid, error) : NULL;
    gboolean ok = fake && (fake->vm->state == VM_PAUSED || fake->vm->state == VM_RUNNING);

    if (ok && fake->vm->state == VM_PAUSED) {
        fake->vm->state = VM_RUNNING;
        emit(self, HV_EVENT_VM, uuid);
    } else if (fake && !ok) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR,
                    "can't resume VM %s: domain is not running", fake->vm->name);
    }
    g_mutex_unlock(&self->lock);
    return ok;
}

static gboolean
fake_destroy(Hv *hv, const char *uuid, gboolean undefine, GError **error)
{
    HvFake *self = (HvFake *)hv;
    gboolean ok = begin(self, "destroy", error);
    FakeVm *fake = ok ? g_hash_table_lookup(self->vms, uuid) : NULL;

    if (fake) {
        if (undefine || !fake->vm->persistent)
            g_hash_table_remove(self->vms, uuid);
        else
            fake->vm->state = VM_SHUTOFF;
        emit(self, HV_EVENT_VM, uuid);
    }
    g_mutex_unlock(&self->lock);
    return ok;
}

static int
fake_connect_rpc(Hv *hv, GError **error)
{
    HvFake *self = (HvFake *)hv;
    int ends[2] = { -1, -1 };

    if (begin(self, "connect_rpc", error)) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0)
            g_queue_push_tail(&self->rpc, GINT_TO_POINTER(ends[1]));
        else
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "socketpair: %s",
                        g_strerror(errno));
    }
    g_mutex_unlock(&self->lock);
    return ends[0];
}

static void
fake_free(Hv *hv)
{
    HvFake *self = (HvFake *)hv;

    hv_sink_free(self->sink);
    while (!g_queue_is_empty(&self->rpc))
        close(GPOINTER_TO_INT(g_queue_pop_head(&self->rpc)));
    g_hash_table_unref(self->vms);
    g_hash_table_unref(self->operations);
    facts_free(self->facts);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->aborted);
    g_free(self);
}

static const HvOps ops = {
    .free = fake_free,
    .is_connected = fake_is_connected,
    .facts = fake_facts,
    .host = fake_host,
    .networks = fake_networks,
    .datastores = fake_datastores,
    .vm = fake_vm,
    .vm_by_name = fake_vm_by_name,
    .vm_xml = fake_vm_xml,
    .stats = fake_stats,
    .migrate = fake_migrate,
    .job = fake_job,
    .job_abort = fake_job_abort,
    .set_max_downtime = fake_set_max_downtime,
    .resume = fake_resume,
    .destroy = fake_destroy,
    .connect_rpc = fake_connect_rpc,
};

static Host *
small_host(void)
{
    Host *host = record_new(&host_type);

    host->uuid = g_strdup("fa4e0000-0000-4000-8000-000000000001");
    host->name = g_strdup("fake");
    host->state = HOST_CONNECTED;
    host->cpu = record_new(&host_cpu_type);
    host->cpu->model = g_strdup("EPYC");
    host->cpu->vendor = g_strdup("AMD");
    host->cpu->arch = g_strdup("x86_64");
    host->cpu->sockets = 1;
    host->cpu->cores = 4;
    host->cpu->threads = 1;
    host->cpu->cpus = 4;
    host->memory_total_bytes = G_GINT64_CONSTANT(16) << 30;
    host->memory_free_bytes = G_GINT64_CONSTANT(8) << 30;
    host->nics = record_list_new(&host_nic_type);
    host->versions = record_new(&host_versions_type);
    host->versions->qemu = g_strdup("7.2.22");
    host->versions->libvirt = g_strdup("9.0.0");
    return host;
}

Hv *
hv_fake_new(GMainContext *context, HvEventFunc func, gpointer data)
{
    HvFake *self = g_new0(HvFake, 1);

    self->hv.ops = &ops;
    self->sink = hv_sink_new(context, func, data);
    g_mutex_init(&self->lock);
    g_cond_init(&self->aborted);
    self->connected = TRUE;
    self->facts = record_new(&facts_type);
    self->facts->host = small_host();
    self->facts->networks = record_list_new(&network_type);
    self->facts->datastores = record_list_new(&datastore_type);
    self->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, fake_vm_free);
    self->operations = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, operation_free);
    g_queue_init(&self->rpc);
    return &self->hv;
}

/* ---- for the test
 * --------------------------------------------------------------------------------------------- */

void
hv_fake_set_host(Hv *hv, const Host *host)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    host_free(self->facts->host);
    self->facts->host = record_copy(&host_type, host);
    g_mutex_unlock(&self->lock);
}

void
hv_fake_add_network(Hv *hv, const Network *network)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    g_ptr_array_add(self->facts->networks, record_copy(&network_type, network));
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_NETWORK, NULL);
}

void
hv_fake_add_datastore(Hv *hv, const Datastore *datastore)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    g_ptr_array_add(self->facts->datastores, record_copy(&datastore_type, datastore));
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_DATASTORE, NULL);
}

void
hv_fake_set_vm(Hv *hv, const Vm *vm)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    FakeVm *fake = g_hash_table_lookup(self->vms, vm->uuid);
    if (!fake) {
        fake = g_new0(FakeVm, 1);
        g_hash_table_insert(self->vms, g_strdup(vm->uuid), fake);
    }
    vm_free(fake->vm);
    fake->vm = record_copy(&vm_type, vm);
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_VM, vm->uuid);
}

void
hv_fake_add_vm(Hv *hv, const char *uuid, const char *name, VmState state)
{
    HvFake *self = (HvFake *)hv;
    g_autoptr(Vm) vm = record_new(&vm_type);

    vm->uuid = g_strdup(uuid);
    vm->name = g_strdup(name);
    g_mutex_lock(&self->lock);
    vm->host = g_strdup(self->facts->host->uuid);
    g_mutex_unlock(&self->lock);
    vm->state = (int)state;
    vm->persistent = TRUE;
    vm->vcpus = 1;
    vm->memory_bytes = vm->memory_max_bytes = 512 << 20;
    vm->machine = g_strdup("pc-q35-7.2");
    vm->domain_type = g_strdup("qemu");
    hv_fake_set_vm(hv, vm);
}

void
hv_fake_set_vm_state(Hv *hv, const char *uuid, VmState state)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    FakeVm *fake = g_hash_table_lookup(self->vms, uuid);
    if (fake)
        fake->vm->state = (int)state;
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_VM, uuid);
}

void
hv_fake_remove_vm(Hv *hv, const char *uuid)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->vms, uuid);
    g_mutex_unlock(&self->lock);
    emit(self, HV_EVENT_VM, uuid);
}

void
hv_fake_on_migrate(Hv *hv, HvFakeMigrate func, gpointer data)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    self->migrate = func;
    self->migrate_data = data;
    g_mutex_unlock(&self->lock);
}

void
hv_fake_set_job(Hv *hv, const char *uuid, const HvJob *job)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    FakeVm *fake = g_hash_table_lookup(self->vms, uuid);
    if (fake)
        fake->job = job ? *job : (HvJob){ 0 };
    g_mutex_unlock(&self->lock);
}

gboolean
hv_fake_wait_abort(Hv *hv, const char *uuid, gint64 ms)
{
    HvFake *self = (HvFake *)hv;
    gint64 until = g_get_monotonic_time() + ms * 1000;
    gboolean aborted = FALSE, in_time = TRUE;

    g_mutex_lock(&self->lock);
    for (;;) {
        FakeVm *fake = g_hash_table_lookup(self->vms, uuid);
        aborted = fake && fake->aborted;
        if (aborted || !in_time)
            break;
        in_time = g_cond_wait_until(&self->aborted, &self->lock, until);
    }
    g_mutex_unlock(&self->lock);
    return aborted;
}

gint64
hv_fake_max_downtime(Hv *hv, const char *uuid)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    FakeVm *fake = g_hash_table_lookup(self->vms, uuid);
    gint64 ms = fake ? fake->max_downtime_ms : 0;
    g_mutex_unlock(&self->lock);
    return ms;
}

void
hv_fake_fail(Hv *hv, const char *operation, guint nth, GodwitError code, const char *message)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    Operation *order = operation_get(self, operation);
    order->fails_at = order->calls + nth;
    order->code = code;
    g_free(order->message);
    order->message = g_strdup(message);
    g_mutex_unlock(&self->lock);
}

guint
hv_fake_calls(Hv *hv, const char *operation)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    guint calls = operation_get(self, operation)->calls;
    g_mutex_unlock(&self->lock);
    return calls;
}

void
hv_fake_set_connected(Hv *hv, gboolean connected)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    gboolean change = self->connected != connected;
    self->connected = connected;
    g_mutex_unlock(&self->lock);
    if (change)
        emit(self, connected ? HV_EVENT_CONNECTED : HV_EVENT_DISCONNECTED, NULL);
}

void
hv_fake_emit(Hv *hv, HvEventKind kind, const char *uuid, gint64 number)
{
    hv_sink_emit(((HvFake *)hv)->sink, kind, uuid, number, clock_monotonic_us());
}

int
hv_fake_take_rpc(Hv *hv)
{
    HvFake *self = (HvFake *)hv;

    g_mutex_lock(&self->lock);
    int fd = g_queue_is_empty(&self->rpc) ? -1 : GPOINTER_TO_INT(g_queue_pop_head(&self->rpc));
    g_mutex_unlock(&self->lock);
    return fd;
}
