/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include "base/clock.h"

/*
 * libvirt's events become HvEvents. All callbacks run in the libvirt loop's thread and only copy;
 * the time is taken first. Which callbacks there are is one table per kind of object.
 */

static void
emit_vm(HvLibvirtConnection *connection, virDomainPtr domain, HvEventKind kind, gint64 number,
        gint64 now)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) == 0)
        hv_libvirt_connection_emit(connection, kind, uuid, number, now);
}

static int
on_vm_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
    gint64 now = clock_monotonic_us();
    HvLibvirtConnection *connection = data;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (event == VIR_DOMAIN_EVENT_SUSPENDED && (detail == VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED ||
                                                detail == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY))
        emit_vm(connection, domain, HV_EVENT_SUSPENDED_FOR_MIGRATION, 0, now);
    if (event == VIR_DOMAIN_EVENT_DEFINED || event == VIR_DOMAIN_EVENT_STARTED)
        hv_libvirt_connection_remember(connection, domain);
    else if ((event == VIR_DOMAIN_EVENT_UNDEFINED || event == VIR_DOMAIN_EVENT_STOPPED) &&
             virDomainGetUUIDString(domain, uuid) == 0)
        hv_libvirt_connection_forget(connection, uuid);
    emit_vm(connection, domain, HV_EVENT_VM, 0, now);
    return 0;
}

static void
on_vm_pass(virConnectPtr conn, virDomainPtr domain, int iteration, void *data)
{
    emit_vm(data, domain, HV_EVENT_MIGRATION_PASS, iteration, clock_monotonic_us());
}

static void
on_vm_device(virConnectPtr conn, virDomainPtr domain, const char *alias, void *data)
{
    emit_vm(data, domain, HV_EVENT_VM, 0, clock_monotonic_us());
}

static void
on_vm_tray(virConnectPtr conn, virDomainPtr domain, const char *alias, int reason, void *data)
{
    emit_vm(data, domain, HV_EVENT_VM, 0, clock_monotonic_us());
}

static void
on_vm_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri, void *data)
{
    emit_vm(data, domain, HV_EVENT_VM, 0, clock_monotonic_us());
}

static void
on_vm_balloon(virConnectPtr conn, virDomainPtr domain, unsigned long long kib, void *data)
{
    emit_vm(data, domain, HV_EVENT_VM, 0, clock_monotonic_us());
}

static void
on_network(virConnectPtr conn, virNetworkPtr network, int event, int detail, void *data)
{
    hv_libvirt_connection_emit(data, HV_EVENT_NETWORK, NULL, 0, clock_monotonic_us());
}

static void
on_pool(virConnectPtr conn, virStoragePoolPtr pool, int event, int detail, void *data)
{
    hv_libvirt_connection_emit(data, HV_EVENT_DATASTORE, NULL, 0, clock_monotonic_us());
}

static void
on_pool_refresh(virConnectPtr conn, virStoragePoolPtr pool, void *data)
{
    hv_libvirt_connection_emit(data, HV_EVENT_DATASTORE, NULL, 0, clock_monotonic_us());
}

static const struct {
    int id;
    virConnectDomainEventGenericCallback func;
    gboolean required;
} domain_events[] = {
    { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_vm_lifecycle), TRUE },
    { VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_vm_pass), FALSE },
    { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_vm_device), FALSE },
    { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_vm_device), FALSE },
    { VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_vm_tray), FALSE },
    { VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_vm_metadata), FALSE },
    { VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_vm_balloon), FALSE },
};

static const struct {
    int id;
    virConnectStoragePoolEventGenericCallback func;
} pool_events[] = {
    { VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, VIR_STORAGE_POOL_EVENT_CALLBACK(on_pool) },
    { VIR_STORAGE_POOL_EVENT_ID_REFRESH, VIR_STORAGE_POOL_EVENT_CALLBACK(on_pool_refresh) },
};

/* Keeps a callback's id; a refused one gives its reference back (libvirt frees only what it took).
 */
static gboolean
keep(GArray *ids, int id, HvLibvirtConnection *connection)
{
    if (id < 0) {
        g_debug("libvirt has no such event: %s", virGetLastErrorMessage());
        hv_libvirt_connection_unref(connection);
        return FALSE;
    }
    g_array_append_val(ids, id);
    return TRUE;
}

static gboolean
register_domain_events(GArray *ids, virConnectPtr conn, HvLibvirtConnection *connection,
                       GError **error)
{
    virFreeCallback unref = (virFreeCallback)hv_libvirt_connection_unref;

    for (gsize i = 0; i < G_N_ELEMENTS(domain_events); i++) {
        int id =
            virConnectDomainEventRegisterAny(conn, NULL, domain_events[i].id, domain_events[i].func,
                                             hv_libvirt_connection_ref(connection), unref);
        if (id < 0 && domain_events[i].required)
            hv_libvirt_set_error(error, conn, "can't ask for VMs' events");
        if (!keep(ids, id, connection) && domain_events[i].required)
            return FALSE;
    }
    return TRUE;
}

gboolean
hv_libvirt_events_register(HvLibvirtEvents *events, virConnectPtr conn,
                           HvLibvirtConnection *connection, GError **error)
{
    virFreeCallback unref = (virFreeCallback)hv_libvirt_connection_unref;

    events->domain = g_array_new(FALSE, FALSE, sizeof(int));
    events->network = g_array_new(FALSE, FALSE, sizeof(int));
    events->pool = g_array_new(FALSE, FALSE, sizeof(int));
    if (!register_domain_events(events->domain, conn, connection, error))
        return FALSE;
    int id = virConnectNetworkEventRegisterAny(conn, NULL, VIR_NETWORK_EVENT_ID_LIFECYCLE,
                                               VIR_NETWORK_EVENT_CALLBACK(on_network),
                                               hv_libvirt_connection_ref(connection), unref);
    keep(events->network, id, connection);
    for (gsize i = 0; i < G_N_ELEMENTS(pool_events); i++) {
        id = virConnectStoragePoolEventRegisterAny(conn, NULL, pool_events[i].id,
                                                   pool_events[i].func,
                                                   hv_libvirt_connection_ref(connection), unref);
        keep(events->pool, id, connection);
    }
    return TRUE;
}

static void
deregister(GArray **ids, virConnectPtr conn, int (*func)(virConnectPtr conn, int id))
{
    for (guint i = 0; *ids && i < (*ids)->len; i++)
        func(conn, g_array_index(*ids, int, i));
    g_clear_pointer(ids, g_array_unref);
}

void
hv_libvirt_events_deregister(HvLibvirtEvents *events, virConnectPtr conn)
{
    deregister(&events->domain, conn, virConnectDomainEventDeregisterAny);
    deregister(&events->network, conn, virConnectNetworkEventDeregisterAny);
    deregister(&events->pool, conn, virConnectStoragePoolEventDeregisterAny);
}
