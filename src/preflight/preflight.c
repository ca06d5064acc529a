/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Each check is one row of `checks`: an id, a severity and a pure function that looks at the facts
 * of both hosts and adds one finding per thing that speaks against the move. A check that needs
 * facts which are not there (source or destination unknown) finds nothing: the side that has them
 * asks again, the destination at reserve.
 */
#include "preflight/preflight.h"

#include <string.h>

#include "base/error.h"
#include "base/units.h"

typedef struct {
    const PreflightInput *input;
    const char *id;
    PreflightSeverity severity;
    GPtrArray *findings;
} Context;

typedef struct {
    const char *id;
    PreflightSeverity severity;
    void (*check)(Context *context);
} Check;

void
preflight_finding_free(PreflightFinding *finding)
{
    g_free(finding->message);
    g_free(finding);
}

static void G_GNUC_PRINTF(2, 3) found(Context *context, const char *format, ...)
{
    PreflightFinding *finding = g_new0(PreflightFinding, 1);
    va_list arguments;

    finding->id = context->id;
    finding->severity = context->severity;
    va_start(arguments, format);
    finding->message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(context->findings, finding);
}

static const Host *
destination_host(const Context *context)
{
    return context->input->destination ? context->input->destination->host : NULL;
}

static guint
length(const GPtrArray *list)
{
    return list ? list->len : 0;
}

static void
check_vm_running(Context *context)
{
    const Vm *vm = context->input->vm;
    const char *remedy =
        vm->state == VM_PAUSED ? "resume it first: virsh resume" : "start it first: virsh start";

    if (vm->state != VM_RUNNING)
        found(context, "VM %s is %s; only a running VM can be moved live; %s %s", vm->name,
              vm_state_nicks[vm->state], remedy, vm->name);
}

static void
check_different_host(Context *context)
{
    const Host *host = destination_host(context);
    const Vm *vm = context->input->vm;

    if (host && g_strcmp0(host->uuid, vm->host) == 0)
        found(context, "VM %s is on %s already; choose another host (godwit host list)", vm->name,
              host->name);
}

static void
check_destination_up(Context *context)
{
    const Host *host = destination_host(context);

    if (host && host->state != HOST_CONNECTED)
        found(context, "host %s is %s%s%s; see godwit doctor", host->name,
              host_state_nicks[host->state], host->state_reason ? ": " : "",
              host->state_reason ? host->state_reason : "");
}

static void
check_name_free(Context *context)
{
    const Facts *there = context->input->destination;
    const Vm *vm = context->input->vm;

    for (guint i = 0; there && i < length(there->vms); i++) {
        const Vm *other = there->vms->pdata[i];

        if (strcmp(other->name, vm->name) == 0 && strcmp(other->uuid, vm->uuid) != 0)
            found(context,
                  "host %s has another VM named %s (UUID %s, %s); rename one of them: virsh "
                  "domrename %s NEW-NAME",
                  there->host->name, vm->name, other->uuid, vm_state_nicks[other->state], vm->name);
    }
}

static void
check_uuid_free(Context *context)
{
    const Facts *there = context->input->destination;
    const Vm *vm = context->input->vm;

    if (there && g_strcmp0(there->host->uuid, vm->host) == 0)
        return; /* different-host says it */
    for (guint i = 0; there && i < length(there->vms); i++) {
        const Vm *other = there->vms->pdata[i];

        if (strcmp(other->uuid, vm->uuid) == 0)
            found(context,
                  "host %s has a VM with the same UUID %s (%s, %s); if that is an old definition, "
                  "remove it "
                  "there: virsh undefine %s",
                  there->host->name, vm->uuid, other->name, vm_state_nicks[other->state],
                  other->name);
    }
}

static void
check_memory(Context *context)
{
    const Host *host = destination_host(context);
    const Vm *vm = context->input->vm;
    gint64 free_bytes;

    if (!host || g_strcmp0(host->uuid, vm->host) == 0)
        return;
    free_bytes = host->memory_free_bytes - host->memory_reserved_bytes -
                 context->input->destination_headroom_bytes;
    if (free_bytes < vm->memory_max_bytes) {
        g_autofree char *needed = units_bytes((guint64)vm->memory_max_bytes);
        g_autofree char *there = units_bytes((guint64)MAX(free_bytes, 0));
        g_autofree char *reserved = units_bytes((guint64)host->memory_reserved_bytes);

        found(context,
              "host %s has %s of memory free for VMs (%s reserved for others on their way), VM %s "
              "needs %s; free memory "
              "there or choose another host",
              host->name, there, reserved, vm->name, needed);
    }
}

static gboolean
path_below(const char *path, const char *folder)
{
    gsize n = folder ? strlen(folder) : 0;

    return n > 0 && strncmp(path, folder, n) == 0 && (path[n] == '/' || folder[n - 1] == '/');
}

/** The active datastore of facts that holds path, or NULL. */
static const Datastore *
datastore_of(const Facts *facts, const char *path)
{
    for (guint i = 0; i < length(facts->datastores); i++) {
        const Datastore *store = facts->datastores->pdata[i];

        if (store->active && path_below(path, store->path))
            return store;
    }
    return NULL;
}

static void
check_datastore(Context *context)
{
    const PreflightInput *input = context->input;

    if (!input->source || !input->destination)
        return;
    for (guint i = 0; i < length(input->vm->disks); i++) {
        const VmDisk *disk = input->vm->disks->pdata[i];
        const Datastore *here;

        if (!disk->source || g_strcmp0(disk->type, "file") != 0)
            continue;
        here = datastore_of(input->source, disk->source);
        if (here && !datastore_of(input->destination, disk->source))
            found(context,
                  "disk %s of VM %s is %s on datastore %s, which host %s doesn't have at %s; mount "
                  "it there and start "
                  "its storage pool: virsh pool-start %s",
                  disk->target, input->vm->name, disk->source, here->name,
                  input->destination->host->name, here->path, here->name);
    }
}

static const Network *
network_named(const Facts *facts, const char *name)
{
    for (guint i = 0; i < length(facts->networks); i++) {
        const Network *network = facts->networks->pdata[i];

        if (g_strcmp0(network->name, name) == 0)
            return network;
    }
    return NULL;
}

static gboolean
host_has_nic(const Host *host, const char *name)
{
    for (guint i = 0; i < length(host->nics); i++) {
        if (g_strcmp0(((const HostNic *)host->nics->pdata[i])->name, name) == 0)
            return TRUE;
    }
    return FALSE;
}

static void
check_one_nic(Context *context, const VmNic *nic)
{
    const Facts *there = context->input->destination;
    const char *vm = context->input->vm->name, *host = there->host->name;
    const Network *network;

    /* The name comes first: libvirt tells a running VM's network as the bridge it led to here. */
    if (!nic->network) {
        if (g_strcmp0(nic->type, "bridge") == 0 && nic->bridge &&
            !host_has_nic(there->host, nic->bridge))
            found(context,
                  "interface %s of VM %s is on bridge %s, which host %s doesn't have; create it "
                  "there",
                  nic->mac, vm, nic->bridge, host);
        return;
    }
    network = network_named(there, nic->network);
    if (!network)
        found(context,
              "interface %s of VM %s is on network %s, which host %s doesn't have; define a "
              "network of that name there: "
              "virsh net-define",
              nic->mac, vm, nic->network, host);
    else if (!network->active)
        found(context,
              "network %s of VM %s is not active on host %s; start it there: virsh net-start %s",
              nic->network, vm, host, nic->network);
    else if (nic->port_group &&
             !(network->port_groups &&
               g_strv_contains((const char *const *)network->port_groups, nic->port_group)))
        found(context,
              "network %s on host %s has no port group %s, which VM %s uses; add it there: virsh "
              "net-edit %s",
              nic->network, host, nic->port_group, vm, nic->network);
}

static void
check_network(Context *context)
{
    if (!context->input->destination)
        return;
    for (guint i = 0; i < length(context->input->vm->nics); i++)
        check_one_nic(context, context->input->vm->nics->pdata[i]);
}

static void
check_machine_type(Context *context)
{
    const Host *host = destination_host(context);
    const Vm *vm = context->input->vm;

    if (host && host->machine_types && host->machine_types[0] && vm->machine &&
        !g_strv_contains((const char *const *)host->machine_types, vm->machine))
        found(context,
              "host %s doesn't know machine type %s of VM %s (its QEMU is %s); update QEMU there",
              host->name, vm->machine, vm->name,
              host->versions && host->versions->qemu ? host->versions->qemu : "unknown");
}

static const Check checks[] = {
    { "vm-running", PREFLIGHT_BLOCKS, check_vm_running },
    { "different-host", PREFLIGHT_BLOCKS, check_different_host },
    { "destination-up", PREFLIGHT_BLOCKS, check_destination_up },
    { "name-free", PREFLIGHT_BLOCKS, check_name_free },
    { "uuid-free", PREFLIGHT_BLOCKS, check_uuid_free },
    { "memory", PREFLIGHT_BLOCKS, check_memory },
    { "datastore", PREFLIGHT_BLOCKS, check_datastore },
    { "network", PREFLIGHT_BLOCKS, check_network },
    { "machine-type", PREFLIGHT_BLOCKS, check_machine_type },
};

GPtrArray *
preflight_check(const PreflightInput *input)
{
    GPtrArray *findings = g_ptr_array_new_with_free_func((GDestroyNotify)preflight_finding_free);

    for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
        Context context = { input, checks[i].id, checks[i].severity, findings };

        checks[i].check(&context);
    }
    return findings;
}

gboolean
preflight_admit(const PreflightInput *input, GStrv *warnings, GError **error)
{
    g_autoptr(GPtrArray) findings = preflight_check(input);
    g_autoptr(GString) blocking = g_string_new(NULL);
    g_autoptr(GStrvBuilder) warning = g_strv_builder_new();

    for (guint i = 0; i < findings->len; i++) {
        const PreflightFinding *finding = findings->pdata[i];

        if (finding->severity == PREFLIGHT_WARNS)
            g_strv_builder_add(warning, finding->message);
        else
            g_string_append_printf(blocking, "%s%s (check %s)", blocking->len ? "; " : "",
                                   finding->message, finding->id);
    }
    if (warnings)
        *warnings = g_strv_builder_end(warning);
    if (blocking->len == 0)
        return TRUE;
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED, blocking->str);
    return FALSE;
}
