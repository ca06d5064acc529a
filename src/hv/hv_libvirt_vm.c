/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/record.h"
#include "hv/hv_xml.h"

/* ---- state
 * ------------------------------------------------------------------------------------------- */

static const char *const running_reasons[] = {
    [VIR_DOMAIN_RUNNING_BOOTED] = "booted",
    [VIR_DOMAIN_RUNNING_MIGRATED] = "moved here",
    [VIR_DOMAIN_RUNNING_RESTORED] = "restored from a file",
    [VIR_DOMAIN_RUNNING_FROM_SNAPSHOT] = "reverted to a snapshot",
    [VIR_DOMAIN_RUNNING_UNPAUSED] = "resumed",
    [VIR_DOMAIN_RUNNING_MIGRATION_CANCELED] = "its migration was cancelled",
    [VIR_DOMAIN_RUNNING_SAVE_CANCELED] = "its saving was cancelled",
    [VIR_DOMAIN_RUNNING_WAKEUP] = "woken up",
    [VIR_DOMAIN_RUNNING_CRASHED] = "resumed from a crash",
    [VIR_DOMAIN_RUNNING_POSTCOPY] = "post-copy migration goes on",
    [VIR_DOMAIN_RUNNING_POSTCOPY_FAILED] = "post-copy migration failed",
};
static const char *const paused_reasons[] = {
    [VIR_DOMAIN_PAUSED_USER] = HV_PAUSED_BY_PERSON,
    [VIR_DOMAIN_PAUSED_MIGRATION] = HV_PAUSED_FOR_MIGRATION,
    [VIR_DOMAIN_PAUSED_SAVE] = "being saved",
    [VIR_DOMAIN_PAUSED_DUMP] = "being dumped",
    [VIR_DOMAIN_PAUSED_IOERROR] = "disk I/O error",
    [VIR_DOMAIN_PAUSED_WATCHDOG] = "watchdog",
    [VIR_DOMAIN_PAUSED_FROM_SNAPSHOT] = "reverted to a paused snapshot",
    [VIR_DOMAIN_PAUSED_SHUTTING_DOWN] = "shutting down",
    [VIR_DOMAIN_PAUSED_SNAPSHOT] = "a snapshot is being taken",
    [VIR_DOMAIN_PAUSED_CRASHED] = "crashed",
    [VIR_DOMAIN_PAUSED_STARTING_UP] = "starting up",
    [VIR_DOMAIN_PAUSED_POSTCOPY] = "post-copy migration goes on",
    [VIR_DOMAIN_PAUSED_POSTCOPY_FAILED] = "post-copy migration failed",
};
static const char *const shutoff_reasons[] = {
    [VIR_DOMAIN_SHUTOFF_SHUTDOWN] = "shut down",
    [VIR_DOMAIN_SHUTOFF_DESTROYED] = "destroyed",
    [VIR_DOMAIN_SHUTOFF_CRASHED] = "crashed",
    [VIR_DOMAIN_SHUTOFF_MIGRATED] = "moved away",
    [VIR_DOMAIN_SHUTOFF_SAVED] = "saved",
    [VIR_DOMAIN_SHUTOFF_FAILED] = "failed to start",
    [VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT] = "reverted to a snapshot",
    [VIR_DOMAIN_SHUTOFF_DAEMON] = "lost by libvirt",
};

/* One row per state of libvirt's, by its number. */
static const struct {
    VmState state;
    const char *word; /* instead of a reason */
    const char *const *reasons;
    gsize n_reasons;
} states[] = {
    [VIR_DOMAIN_NOSTATE] = { VM_SHUTOFF, NULL, NULL, 0 },
    [VIR_DOMAIN_RUNNING] = { VM_RUNNING, NULL, running_reasons, G_N_ELEMENTS(running_reasons) },
    [VIR_DOMAIN_BLOCKED] = { VM_RUNNING, "blocked on a resource", NULL, 0 },
    [VIR_DOMAIN_PAUSED] = { VM_PAUSED, NULL, paused_reasons, G_N_ELEMENTS(paused_reasons) },
    [VIR_DOMAIN_SHUTDOWN] = { VM_RUNNING, "shutting down", NULL, 0 },
    [VIR_DOMAIN_SHUTOFF] = { VM_SHUTOFF, NULL, shutoff_reasons, G_N_ELEMENTS(shutoff_reasons) },
    [VIR_DOMAIN_CRASHED] = { VM_CRASHED, "crashed", NULL, 0 },
    [VIR_DOMAIN_PMSUSPENDED] = { VM_SUSPENDED, "suspended by its own system", NULL, 0 },
};

static void
fill_state(Vm *vm, int state, int reason)
{
    gsize i = state >= 0 && (gsize)state < G_N_ELEMENTS(states) ? (gsize)state : 0;
    const char *word = states[i].word;

    if (reason >= 0 && (gsize)reason < states[i].n_reasons)
        word = states[i].reasons[reason];
    vm->state = (int)states[i].state;
    vm->state_reason = g_strdup(word);
}

/* ---- one VM, all VMs
 * ------------------------------------------------------------------------------------ */

static Vm *
vm_of(virDomainPtr domain, const char *host, GError **error)
{
    int state, reason, autostart = 0;
    char *xml = virDomainGetXMLDesc(domain, 0); /* of an active one: as it runs */

    if (!xml) {
        hv_libvirt_set_vm_error(error, domain, "can't read");
        return NULL;
    }
    g_autoptr(Vm) vm = hv_domain_xml_parse(xml, error);
    free(xml);
    if (!vm)
        return NULL;
    if (virDomainGetState(domain, &state, &reason, 0) < 0) {
        hv_libvirt_set_vm_error(error, domain, "can't read the state of");
        return NULL;
    }
    fill_state(vm, state, reason);
    vm->persistent = virDomainIsPersistent(domain) == 1;
    vm->autostart = virDomainGetAutostart(domain, &autostart) == 0 && autostart;
    vm->host = g_strdup(host);
    return g_steal_pointer(&vm);
}

GPtrArray *
hv_libvirt_vms(HvLibvirt *self, GError **error)
{
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);
    g_autofree char *host = conn ? hv_libvirt_host_uuid(self, conn, error) : NULL;
    virDomainPtr *handles = NULL;

    if (!host)
        return NULL;
    int n = virConnectListAllDomains(conn, &handles, 0);
    if (n < 0) {
        hv_libvirt_set_error(error, conn, "can't list VMs");
        return NULL;
    }
    GPtrArray *vms = record_list_new(&vm_type);
    for (int i = 0; i < n; i++) {
        g_autoptr(virDomain) handle = handles[i];
        g_autoptr(GError) bad = NULL;
        Vm *vm = vm_of(handle, host, &bad);
        if (vm)
            g_ptr_array_add(vms, vm);
        else /* gone since it was listed; an event tells */
            g_debug("VM left out: %s", bad->message);
    }
    free(handles);
    return vms;
}

/* A handle from the cache may be of a VM that is gone: the error of the first real call decides. */
static Vm *
vm_or_forget(HvLibvirt *self, virDomainPtr domain, const char *uuid, GError **error)
{
    virConnectPtr conn = virDomainGetConnect(domain);
    g_autofree char *host = hv_libvirt_host_uuid(self, conn, error);
    Vm *vm = host ? vm_of(domain, host, error) : NULL;

    if (!vm && uuid)
        hv_libvirt_connection_forget(self->connection, uuid);
    return vm;
}

Vm *
hv_libvirt_vm(Hv *hv, const char *uuid, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);

    return domain ? vm_or_forget(self, domain, uuid, error) : NULL;
}

Vm *
hv_libvirt_vm_by_name(Hv *hv, const char *name, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);

    if (!conn)
        return NULL;
    g_autoptr(virDomain) domain = virDomainLookupByName(conn, name);
    if (!domain) {
        hv_libvirt_set_error(error, conn, "can't find VM %s", name);
        return NULL;
    }
    return vm_or_forget(self, domain, NULL, error);
}

char *
hv_libvirt_vm_xml(Hv *hv, const char *uuid, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);

    if (!domain)
        return NULL;
    char *xml = virDomainGetXMLDesc(domain, 0);
    if (!xml) {
        hv_libvirt_set_vm_error(error, domain, "can't read");
        hv_libvirt_connection_forget(self->connection, uuid);
        return NULL;
    }
    char *copy = g_strdup(xml);
    free(xml);
    return copy;
}

/* ---- statistics
 * -------------------------------------------------------------------------------------------- */

static gint64
stat_get(virDomainStatsRecordPtr record, const char *name)
{
    unsigned long long value = 0;

    virTypedParamsGetULLong(record->params, record->nparams, name, &value);
    return (gint64)MIN(value, (unsigned long long)G_MAXINT64);
}

/* Sum of "block.0.rd.bytes", "block.1.rd.bytes", … */
static gint64
stat_sum(virDomainStatsRecordPtr record, const char *group, const char *name)
{
    unsigned int count = 0;
    gint64 sum = 0;
    g_autofree char *counter = g_strconcat(group, ".count", NULL);

    virTypedParamsGetUInt(record->params, record->nparams, counter, &count);
    for (unsigned int i = 0; i < count; i++) {
        g_autofree char *key = g_strdup_printf("%s.%u.%s", group, i, name);
        sum += stat_get(record, key);
    }
    return sum;
}

static VmStats *
stats_of(virDomainStatsRecordPtr record)
{
    VmStats *stats = record_new(&vm_stats_type);

    stats->cpu_time_ns = stat_get(record, "cpu.time");
    stats->memory_rss_bytes = stat_get(record, "balloon.rss") * 1024;
    stats->disk_read_bytes = stat_sum(record, "block", "rd.bytes");
    stats->disk_write_bytes = stat_sum(record, "block", "wr.bytes");
    stats->net_rx_bytes = stat_sum(record, "net", "rx.bytes");
    stats->net_tx_bytes = stat_sum(record, "net", "tx.bytes");
    stats->taken_ms = clock_wall_ms();
    return stats;
}

static void
put_stats(GPtrArray *vms, virDomainStatsRecordPtr record)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(record->dom, uuid) < 0)
        return;
    for (guint i = 0; i < vms->len; i++) {
        Vm *vm = g_ptr_array_index(vms, i);
        if (g_strcmp0(vm->uuid, uuid) == 0) {
            vm_stats_free(vm->stats);
            vm->stats = stats_of(record);
        }
    }
}

gboolean
hv_libvirt_stats(Hv *hv, GPtrArray *vms, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);
    virDomainStatsRecordPtr *records = NULL;

    if (!conn)
        return FALSE;
    /* NOWAIT: a VM whose QEMU is busy gives what is known without asking it, and holds nobody up.
     */
    int n = virConnectGetAllDomainStats(conn,
                                        VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON |
                                            VIR_DOMAIN_STATS_BLOCK | VIR_DOMAIN_STATS_INTERFACE,
                                        &records,
                                        VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE |
                                            VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0) {
        hv_libvirt_set_error(error, conn, "can't read VMs' statistics");
        return FALSE;
    }
    for (int i = 0; i < n; i++)
        put_stats(vms, records[i]);
    virDomainStatsRecordListFree(records);
    return TRUE;
}

/* ---- start and end
 * ------------------------------------------------------------------------------------------- */

static gboolean
is_gone(void)
{
    const virError *last = virGetLastError();

    return last && last->code == VIR_ERR_NO_DOMAIN;
}

gboolean
hv_libvirt_resume(Hv *hv, const char *uuid, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);
    g_autoptr(GError) failed = NULL;
    int state;

    if (!domain)
        return FALSE;
    /* In the guest's pause: one round trip where all is well. Only a refusal makes us ask why. */
    if (virDomainResume(domain) == 0)
        return TRUE;
    hv_libvirt_set_vm_error(&failed, domain, "can't resume");
    if (virDomainGetState(domain, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failed));
    return FALSE;
}

/* Removes the definition, and what libvirt keeps about it (managed save, snapshots' records). NVRAM
 * and TPM state stay: they are the guest's data and may lie on storage that the VM's other host
 * uses. */
static int
undefine(virDomainPtr domain)
{
    static const unsigned int flags[] = {
        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
            VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
            VIR_DOMAIN_UNDEFINE_KEEP_TPM,
        /* daemons before libvirt 8.9 know no KEEP_TPM, and refuse flags that they don't know */
        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
            VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM,
        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    };
    int result = -1;

    for (gsize i = 0; i < G_N_ELEMENTS(flags) && result < 0; i++) {
        const virError *last = i ? virGetLastError() : NULL;
        if (i && !(last && last->code == VIR_ERR_INVALID_ARG))
            break;
        result = virDomainUndefineFlags(domain, flags[i]);
    }
    return result;
}

/* First the process, then the definition: the other way round libvirt would take it for a transient
 * VM, and remove its TPM state with the process. */
static gboolean
end_domain(virDomainPtr domain, gboolean remove, GError **error)
{
    if (virDomainDestroy(domain) < 0 && !is_gone()) {
        g_autoptr(GError) failed = NULL;
        hv_libvirt_set_vm_error(&failed, domain, "can't end");
        int active = virDomainIsActive(domain);
        if (active != 0 && !(active < 0 && is_gone())) { /* else it had ended before */
            g_propagate_error(error, g_steal_pointer(&failed));
            return FALSE;
        }
    }
    if (!remove)
        return TRUE;
    int persistent = virDomainIsPersistent(domain);
    if ((persistent < 0 && is_gone()) ||
        persistent == 0) /* a transient one went with its process */
        return TRUE;
    if (persistent < 0 || (undefine(domain) < 0 && !is_gone())) {
        hv_libvirt_set_vm_error(error, domain, "can't undefine");
        return FALSE;
    }
    return TRUE;
}

gboolean
hv_libvirt_destroy(Hv *hv, const char *uuid, gboolean remove, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(GError) failed = NULL;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, &failed);

    if (!domain && g_error_matches(failed, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
        return TRUE;
    if (!domain) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return FALSE;
    }
    return end_domain(domain, remove, error);
}
