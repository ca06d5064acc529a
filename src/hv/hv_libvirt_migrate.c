/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

/*
 * Theory of operation
 *
 * Peer to peer: the source's libvirtd itself talks to the destination's, through the unix socket
 * that we name in dconnuri, and tells both QEMUs to use another (the migration URI). We only start
 * it and wait, so it goes on when we die. The call blocks as long as the migration takes; libvirtd
 * serves a connection at most max_client_requests (5) calls at a time, so each migration has a
 * connection of its own and progress, cancel and downtime use the shared one.
 *
 * Disks that aren't shared are copied by the two QEMUs over NBD before memory is, and kept alike
 * until the switch, over a third socket (the disks URI). libvirt makes no file for them.
 *
 * UNSAFE is given only where the caller has proved what libvirt would have to guess: it takes a
 * folder for shared only if its file system is of a kind that it knows (NFS, CephFS, OCFS2, …).
 *
 * Outcomes: TRUE = libvirt confirmed the source's end. UNREACHABLE = our connection to the
 * local libvirtd broke while it ran: the outcome is not known here. CANCELLED = aborted by
 * job_abort (or by virsh). Else libvirt said that it failed.
 */

typedef struct {
    virTypedParameterPtr list;
    int n;
} Params;

static void
params_clear(Params *params)
{
    virTypedParamsFree(params->list, params->n);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Params, params_clear)

unsigned int
hv_libvirt_migrate_flags(const HvMigrate *how, gboolean persistent)
{
    unsigned int flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_ABORT_ON_ERROR;

    if (how->start_paused)
        flags |= VIR_MIGRATE_PAUSED;
    if (how->disks_socket)
        flags |= VIR_MIGRATE_NON_SHARED_DISK;
    if (how->storage_proved)
        flags |= VIR_MIGRATE_UNSAFE;
    /* A transient VM stays one: it has no definition that could move. */
    if (persistent)
        flags |= VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;
    return flags;
}

int
hv_libvirt_migrate_params(const HvMigrate *how, virTypedParameterPtr *list, int *n)
{
    g_autofree char *stream = g_strconcat("unix://", how->stream_socket, NULL);
    g_autofree char *disks = NULL;
    int room = 0;

    if (virTypedParamsAddString(list, n, &room, VIR_MIGRATE_PARAM_URI, stream) < 0)
        return -1;
    if (!how->disks_socket)
        return 0;
    disks = g_strconcat("unix://", how->disks_socket, NULL);
    return virTypedParamsAddString(list, n, &room, VIR_MIGRATE_PARAM_DISKS_URI, disks);
}

gboolean
hv_libvirt_migrate(Hv *hv, const HvMigrate *how, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autofree char *destination = hv_libvirt_uri_of_socket(how->rpc_socket);
    unsigned int flags;
    g_auto(Params) params = { 0 };
    g_autoptr(virConnect) conn = hv_libvirt_connection_open_another(self->connection, error);

    if (!conn)
        return FALSE;
    g_autoptr(virDomain) domain = virDomainLookupByUUIDString(conn, how->vm_uuid);
    if (!domain) {
        hv_libvirt_set_error(error, conn, "can't migrate VM %s", how->vm_uuid);
        return FALSE;
    }
    flags = hv_libvirt_migrate_flags(how, virDomainIsPersistent(domain) == 1);
    if (hv_libvirt_migrate_params(how, &params.list, &params.n) < 0 ||
        virDomainMigrateToURI3(domain, destination, params.list, (unsigned int)params.n, flags) <
            0) {
        hv_libvirt_set_vm_error(error, domain, "can't migrate");
        return FALSE;
    }
    return TRUE;
}

static gint64
param_get(const Params *params, const char *name)
{
    unsigned long long value = 0;

    virTypedParamsGetULLong(params->list, params->n, name, &value);
    return (gint64)MIN(value, (unsigned long long)G_MAXINT64);
}

gboolean
hv_libvirt_job(Hv *hv, const char *uuid, HvJob *job, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);
    g_auto(Params) params = { 0 };
    int type, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

    *job = (HvJob){ 0 };
    if (!domain)
        return FALSE;
    if (virDomainGetJobStats(domain, &type, &params.list, &params.n, 0) < 0) {
        hv_libvirt_set_vm_error(error, domain, "can't read the progress of the migration of");
        return FALSE;
    }
    virTypedParamsGetInt(params.list, params.n, VIR_DOMAIN_JOB_OPERATION, &operation);
    /* Also a job told as completed or failed is still there: peer to peer goes on with Finish and
     * Confirm, and only after that libvirt forgets the job and tells NONE. */
    if (type == VIR_DOMAIN_JOB_NONE || operation != VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
        return TRUE;
    job->active = TRUE;
    job->total_bytes = param_get(&params, VIR_DOMAIN_JOB_MEMORY_TOTAL);
    job->processed_bytes = param_get(&params, VIR_DOMAIN_JOB_MEMORY_PROCESSED);
    job->remaining_bytes = param_get(&params, VIR_DOMAIN_JOB_MEMORY_REMAINING);
    job->rate_bps = param_get(&params, VIR_DOMAIN_JOB_MEMORY_BPS);
    job->dirty_bps = param_get(&params, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE) * /* pages per second */
                     param_get(&params, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
    job->pages_normal = param_get(&params, VIR_DOMAIN_JOB_MEMORY_NORMAL);
    job->pages_zero = param_get(&params, VIR_DOMAIN_JOB_MEMORY_CONSTANT);
    job->pass = param_get(&params, VIR_DOMAIN_JOB_MEMORY_ITERATION);
    job->downtime_ms = param_get(&params, VIR_DOMAIN_JOB_DOWNTIME);
    return TRUE;
}

gboolean
hv_libvirt_job_abort(Hv *hv, const char *uuid, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);

    if (!domain)
        return FALSE;
    if (virDomainAbortJob(domain) == 0)
        return TRUE;
    hv_libvirt_set_vm_error(error, domain, "can't cancel the migration of");
    return FALSE;
}

gboolean
hv_libvirt_set_max_downtime(Hv *hv, const char *uuid, gint64 ms, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virDomain) domain = hv_libvirt_connection_domain(self->connection, uuid, error);

    if (!domain)
        return FALSE;
    if (virDomainMigrateSetMaxDowntime(domain, (unsigned long long)MAX(ms, 1), 0) == 0)
        return TRUE;
    hv_libvirt_set_vm_error(error, domain, "can't set the downtime limit of");
    return FALSE;
}
