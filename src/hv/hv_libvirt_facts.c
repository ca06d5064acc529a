/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/record.h"
#include "hv/hv_nic.h"
#include "hv/hv_xml.h"

/*
 * What this host is and has. libvirt is asked for what only it knows; memory, load and network
 * interfaces come from the kernel, for libvirt has no call for "memory that a new VM could have".
 */

/* ---- host
 * ----------------------------------------------------------------------------------------- */

/* libvirt's numbers: major * 1,000,000 + minor * 1,000 + release. */
static char *
version_text(unsigned long version)
{
    return g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

static HostVersions *
versions_of(virConnectPtr conn)
{
    HostVersions *versions = record_new(&host_versions_type);
    struct utsname kernel;
    unsigned long version;

    versions->godwit = g_strdup(GODWIT_VERSION);
    if (virConnectGetVersion(conn, &version) == 0)
        versions->qemu = version_text(version);
    if (virConnectGetLibVersion(conn, &version) == 0)
        versions->libvirt = version_text(version);
    if (uname(&kernel) == 0)
        versions->kernel = g_strdup(kernel.release);
    return versions;
}

/* "MemAvailable:   123 kB" → bytes; 0 where the kernel doesn't say. */
static gint64
meminfo_bytes(const char *meminfo, const char *key)
{
    const char *line = strstr(meminfo, key);

    return line ? g_ascii_strtoll(line + strlen(key), NULL, 10) * 1024 : 0;
}

static void
read_kernel(Host *host)
{
    g_autofree char *meminfo = NULL, *load = NULL, *uptime = NULL;
    struct utsname name;

    if (g_file_get_contents("/proc/meminfo", &meminfo, NULL, NULL)) {
        host->memory_total_bytes = meminfo_bytes(meminfo, "MemTotal:");
        host->memory_free_bytes = meminfo_bytes(meminfo, "MemAvailable:");
    }
    if (g_file_get_contents("/proc/loadavg", &load, NULL, NULL))
        host->load_1m = g_ascii_strtod(load, NULL);
    if (g_file_get_contents("/proc/uptime", &uptime, NULL, NULL))
        host->uptime_s = (gint64)g_ascii_strtod(uptime, NULL);
    if (uname(&name) == 0)
        host->name = g_strdup(name.nodename);
}

static Host *
capabilities_of(virConnectPtr conn, GError **error)
{
    char *xml = virConnectGetCapabilities(conn);
    if (!xml) {
        hv_libvirt_set_error(error, conn, "can't get the host's capabilities");
        return NULL;
    }
    Host *host = hv_host_xml_parse(xml, error);
    free(xml);
    return host;
}

static Host *
host_of(virConnectPtr conn, GError **error)
{
    g_autoptr(Host) host = capabilities_of(conn, error);
    virNodeInfo node;

    if (!host)
        return NULL;
    if (virNodeGetInfo(conn, &node) == 0) {
        host->cpu->cpus = node.cpus;
        host->cpu->mhz = node.mhz;
    }
    host->nics = hv_nics_read(error);
    if (!host->nics)
        return NULL;
    int running = virConnectNumOfDomains(conn);
    if (running < 0) {
        hv_libvirt_set_error(error, conn, "can't count running VMs");
        return NULL;
    }
    host->vms = running;
    host->versions = versions_of(conn);
    host->state = HOST_CONNECTED;
    read_kernel(host);
    host->clock_ms = clock_wall_ms();
    return g_steal_pointer(&host);
}

static void
remember_uuid(HvLibvirt *self, const char *uuid)
{
    g_mutex_lock(&self->lock);
    if (g_strcmp0(self->host_uuid, uuid) != 0) {
        g_free(self->host_uuid);
        self->host_uuid = g_strdup(uuid);
    }
    g_mutex_unlock(&self->lock);
}

Host *
hv_libvirt_host(Hv *hv, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);
    Host *host = conn ? host_of(conn, error) : NULL;

    if (host)
        remember_uuid(self, host->uuid);
    return host;
}

char *
hv_libvirt_host_uuid(HvLibvirt *self, virConnectPtr conn, GError **error)
{
    g_mutex_lock(&self->lock);
    char *uuid = g_strdup(self->host_uuid);
    g_mutex_unlock(&self->lock);
    if (uuid)
        return uuid;
    g_autoptr(Host) host = capabilities_of(conn, error);
    if (!host)
        return NULL;
    remember_uuid(self, host->uuid);
    return g_strdup(host->uuid ? host->uuid : "");
}

/* ---- networks and datastores
 * ------------------------------------------------------------------------ */

/* An object that vanished since it was listed is left out (NULL without error). */
static Network *
network_of(virNetworkPtr handle, GError **error)
{
    char *xml = virNetworkGetXMLDesc(handle, 0);
    if (!xml)
        return NULL;
    Network *network = hv_network_xml_parse(xml, error);
    free(xml);
    if (!network)
        return NULL;
    int autostart = 0;
    network->active = virNetworkIsActive(handle) == 1;
    network->autostart = virNetworkGetAutostart(handle, &autostart) == 0 && autostart;
    return network;
}

static Datastore *
datastore_of(virStoragePoolPtr handle, GError **error)
{
    char *xml = virStoragePoolGetXMLDesc(handle, 0);
    if (!xml)
        return NULL;
    Datastore *datastore = hv_pool_xml_parse(xml, error);
    free(xml);
    if (!datastore)
        return NULL;
    int autostart = 0;
    datastore->active = virStoragePoolIsActive(handle) == 1;
    datastore->autostart = virStoragePoolGetAutostart(handle, &autostart) == 0 && autostart;
    return datastore;
}

GPtrArray *
hv_libvirt_networks(Hv *hv, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);
    g_autofree char *host = conn ? hv_libvirt_host_uuid(self, conn, error) : NULL;
    virNetworkPtr *handles = NULL;

    if (!host)
        return NULL;
    int n = virConnectListAllNetworks(conn, &handles, 0);
    if (n < 0) {
        hv_libvirt_set_error(error, conn, "can't list networks");
        return NULL;
    }
    GPtrArray *networks = record_list_new(&network_type);
    for (int i = 0; i < n; i++) {
        g_autoptr(virNetwork) handle = handles[i];
        g_autoptr(GError) bad = NULL;
        Network *network = network_of(handle, &bad);
        if (network) {
            network->host = g_strdup(host);
            g_ptr_array_add(networks, network);
        } else if (bad) {
            g_debug("network %s left out: %s", virNetworkGetName(handle), bad->message);
        }
    }
    free(handles);
    return networks;
}

GPtrArray *
hv_libvirt_datastores(Hv *hv, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self->connection, error);
    g_autofree char *host = conn ? hv_libvirt_host_uuid(self, conn, error) : NULL;
    virStoragePoolPtr *handles = NULL;

    if (!host)
        return NULL;
    int n = virConnectListAllStoragePools(conn, &handles, 0);
    if (n < 0) {
        hv_libvirt_set_error(error, conn, "can't list storage pools");
        return NULL;
    }
    GPtrArray *datastores = record_list_new(&datastore_type);
    for (int i = 0; i < n; i++) {
        g_autoptr(virStoragePool) handle = handles[i];
        g_autoptr(GError) bad = NULL;
        Datastore *datastore = datastore_of(handle, &bad);
        if (datastore) {
            datastore->host = g_strdup(host);
            g_ptr_array_add(datastores, datastore);
        } else if (bad) {
            g_debug("storage pool %s left out: %s", virStoragePoolGetName(handle), bad->message);
        }
    }
    free(handles);
    return datastores;
}

/* ---- all
 * ---------------------------------------------------------------------------------------------- */

/* A host whose virtnetworkd or virtstoraged is missing or down still has VMs: the list is empty
 * then, and the host's state_reason says why. */
static GPtrArray *
or_empty(GPtrArray *list, const RecordType *type, GError *cause, Host *host)
{
    if (list)
        return list;
    g_autofree char *before = host->state_reason;
    host->state_reason =
        before ? g_strjoin("; ", before, cause->message, NULL) : g_strdup(cause->message);
    return record_list_new(type);
}

Facts *
hv_libvirt_facts(Hv *hv, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_autoptr(Facts) facts = record_new(&facts_type);
    g_autoptr(GError) no_networks = NULL;
    g_autoptr(GError) no_datastores = NULL;

    facts->host = hv_libvirt_host(hv, error);
    if (!facts->host)
        return NULL;
    GPtrArray *networks = hv_libvirt_networks(hv, &no_networks);
    facts->networks = or_empty(networks, &network_type, no_networks, facts->host);
    GPtrArray *datastores = hv_libvirt_datastores(hv, &no_datastores);
    facts->datastores = or_empty(datastores, &datastore_type, no_datastores, facts->host);
    facts->vms = hv_libvirt_vms(self, error);
    return facts->vms ? g_steal_pointer(&facts) : NULL;
}
