/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_xml.h"

#include <string.h>

#include "base/error.h"
#include "base/record.h"

/* ---- disks -------------------------------------------------------------------------------------
 */

/* Where the name of a disk's source is, by disk type. */
static const struct {
    const char *type, *attribute;
} disk_sources[] = {
    { "file", "file" },    { "block", "dev" },      { "dir", "dir" },
    { "network", "name" }, { "vhostuser", "path" }, { "vhostvdpa", "dev" },
};

static char *
pci_address(xmlNode *address)
{
    static const char *const parts[] = { "domain", "bus", "slot", "function" };
    guint64 value[G_N_ELEMENTS(parts)] = { 0 };

    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *text = hv_xml_attribute(address, parts[i]);
        value[i] = text ? g_ascii_strtoull(text, NULL, 0) : 0;
    }
    return g_strdup_printf("%04x:%02x:%02x.%x", (guint)value[0] & 0xffff, (guint)value[1] & 0xff,
                           (guint)value[2] & 0x1f, (guint)value[3] & 7);
}

static char *
volume_source(xmlNode *source)
{
    g_autofree char *pool = hv_xml_attribute(source, "pool");
    g_autofree char *volume = hv_xml_attribute(source, "volume");

    return g_strdup_printf("%s/%s", pool ? pool : "?", volume ? volume : "?");
}

static char *
nvme_source(xmlNode *source)
{
    g_autofree char *pci = pci_address(hv_xml_child(source, "address"));
    g_autofree char *namespace = hv_xml_attribute(source, "namespace");

    return g_strdup_printf("%s/%s", pci, namespace ? namespace : "?");
}

/* NULL only where there is no medium: what we can't name must not look like an empty drive. */
static char *
disk_source(const char *type, xmlNode *source)
{
    if (!source)
        return NULL;
    if (strcmp(type, "volume") == 0)
        return volume_source(source);
    if (strcmp(type, "nvme") == 0)
        return nvme_source(source);
    for (gsize i = 0; i < G_N_ELEMENTS(disk_sources); i++) {
        if (strcmp(type, disk_sources[i].type) == 0)
            return hv_xml_attribute(source, disk_sources[i].attribute);
    }
    return g_strdup("?");
}

static char *
host_and_port(xmlNode *host)
{
    g_autofree char *name = hv_xml_attribute(host, "name");
    g_autofree char *port = hv_xml_attribute(host, "port");

    if (!name)
        return hv_xml_attribute(host, "socket");
    gboolean bracket = strchr(name, ':') != NULL;
    return g_strconcat(bracket ? "[" : "", name, bracket ? "]" : "", port ? ":" : NULL, port, NULL);
}

static GStrv
disk_hosts(xmlNode *source)
{
    g_autoptr(GStrvBuilder) hosts = g_strv_builder_new();

    hv_xml_each(host, source, "host")
    {
        g_autofree char *text = host_and_port(host);
        if (text)
            g_strv_builder_add(hosts, text);
    }
    return g_strv_builder_end(hosts);
}

static VmDisk *
disk_parse(xmlNode *node)
{
    VmDisk *disk = record_new(&vm_disk_type);
    xmlNode *source = hv_xml_child(node, "source");
    xmlNode *driver = hv_xml_child(node, "driver");

    disk->target = hv_xml_attribute(hv_xml_child(node, "target"), "dev");
    disk->device = hv_xml_attribute(node, "device");
    if (!disk->device)
        disk->device = g_strdup("disk");
    disk->type = hv_xml_attribute(node, "type");
    if (!disk->type)
        disk->type = g_strdup("file");
    disk->source = disk_source(disk->type, source);
    disk->protocol = hv_xml_attribute(source, "protocol");
    disk->hosts = disk_hosts(source);
    disk->format = hv_xml_attribute(driver, "type");
    disk->cache = hv_xml_attribute(driver, "cache");
    disk->read_only = hv_xml_child(node, "readonly") != NULL;
    disk->shareable = hv_xml_child(node, "shareable") != NULL;
    return disk;
}

/* ---- interfaces
 * ---------------------------------------------------------------------------------- */

static VmNic *
nic_parse(xmlNode *node)
{
    VmNic *nic = record_new(&vm_nic_type);
    xmlNode *source = hv_xml_child(node, "source");

    nic->mac = hv_xml_attribute(hv_xml_child(node, "mac"), "address");
    nic->type = hv_xml_attribute(node, "type");
    nic->network = hv_xml_attribute(source, "network");
    nic->port_group = hv_xml_attribute(source, "portgroup");
    nic->bridge = hv_xml_attribute(source, "bridge");
    if (!nic->bridge && g_strcmp0(nic->type, "direct") == 0)
        nic->bridge = hv_xml_attribute(source, "dev"); /* the host interface macvtap sits on */
    nic->target = hv_xml_attribute(hv_xml_child(node, "target"), "dev");
    nic->model = hv_xml_attribute(hv_xml_child(node, "model"), "type");
    return nic;
}

/* ---- devices that matter to a move
 * ------------------------------------------------------------------
 *
 * One row per element; detail returns the text, or NULL where this one doesn't matter. (transfer
 * full) */

static char *
usb_name(xmlNode *source)
{
    g_autofree char *vendor = hv_xml_attribute(hv_xml_child(source, "vendor"), "id");
    g_autofree char *product = hv_xml_attribute(hv_xml_child(source, "product"), "id");
    xmlNode *address = hv_xml_child(source, "address");
    g_autofree char *bus = hv_xml_attribute(address, "bus");
    g_autofree char *device = hv_xml_attribute(address, "device");

    if (vendor && product)
        return g_strdup_printf("usb %s:%s", vendor, product);
    return g_strdup_printf("usb bus %s device %s", bus ? bus : "?", device ? device : "?");
}

static char *
hostdev_detail(xmlNode *node)
{
    g_autofree char *type = hv_xml_attribute(node, "type");
    xmlNode *source = hv_xml_child(node, "source");
    xmlNode *address = hv_xml_child(source, "address");

    if (g_strcmp0(type, "usb") == 0)
        return usb_name(source);
    if (g_strcmp0(type, "mdev") == 0) {
        g_autofree char *uuid = hv_xml_attribute(address, "uuid");
        return g_strdup_printf("mdev %s", uuid ? uuid : "?");
    }
    if (g_strcmp0(type, "scsi") == 0 || g_strcmp0(type, "scsi_host") == 0) {
        g_autofree char *adapter = hv_xml_attribute(hv_xml_child(source, "adapter"), "name");
        g_autofree char *wwpn = hv_xml_attribute(source, "wwpn");
        g_autofree char *name = hv_xml_attribute(source, "name");
        return g_strdup_printf("%s %s", type, adapter ? adapter : wwpn ? wwpn : name ? name : "?");
    }
    if (address && g_strcmp0(type, "pci") == 0) {
        g_autofree char *pci = pci_address(address);
        return g_strdup_printf("pci %s", pci);
    }
    return g_strdup(type ? type : "?");
}

/* Interfaces that are a piece of the host's hardware or belong to another process. */
static char *
hostdev_interface_detail(xmlNode *node)
{
    if (!hv_xml_attribute_is(node, "type", "hostdev"))
        return NULL;
    g_autofree char *pci = pci_address(hv_xml_child(hv_xml_child(node, "source"), "address"));
    return g_strdup_printf("pci %s (interface)", pci);
}

static char *
vdpa_detail(xmlNode *node)
{
    gboolean is_vdpa = hv_xml_attribute_is(node, "type", "vdpa");

    return is_vdpa ? hv_xml_attribute(hv_xml_child(node, "source"), "dev") : NULL;
}

static char *
vhostuser_detail(xmlNode *node)
{
    gboolean is_vhostuser = hv_xml_attribute_is(node, "type", "vhostuser");

    return is_vhostuser ? hv_xml_attribute(hv_xml_child(node, "source"), "path") : NULL;
}

static char *
filesystem_detail(xmlNode *node)
{
    static const char *const names[] = {
        "dir", "file", "dev", "name", "socket", "volume", "usage"
    };
    xmlNode *source = hv_xml_child(node, "source");

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        char *value = hv_xml_attribute(source, names[i]);
        if (value)
            return value;
    }
    return g_strdup("?");
}

static char *
tpm_detail(xmlNode *node)
{
    char *type = hv_xml_attribute(hv_xml_child(node, "backend"), "type");

    return type ? type : g_strdup("?");
}

static char *
memory_detail(xmlNode *node)
{
    char *model = hv_xml_attribute(node, "model");

    return model ? model : g_strdup("?");
}

static char *
shmem_detail(xmlNode *node)
{
    char *name = hv_xml_attribute(node, "name");

    return name ? name : g_strdup("?");
}

static char *
vsock_detail(xmlNode *node)
{
    g_autofree char *cid = hv_xml_attribute(hv_xml_child(node, "cid"), "address");

    return cid ? g_strdup_printf("cid %s", cid) : g_strdup("cid auto");
}

static char *
redirdev_detail(xmlNode *node)
{
    g_autofree char *bus = hv_xml_attribute(node, "bus");
    g_autofree char *type = hv_xml_attribute(node, "type");

    return g_strdup_printf("%s %s", bus ? bus : "usb", type ? type : "?");
}

static char *
smartcard_detail(xmlNode *node)
{
    char *mode = hv_xml_attribute(node, "mode");

    return mode ? mode : g_strdup("?");
}

/* Character devices tied to something of this host. Pseudo terminals and libvirt's own sockets are
 * made anew. */
static char *
character_detail(xmlNode *node)
{
    static const char *const tied[] = { "dev", "file", "pipe", "tcp", "udp", NULL };
    g_autofree char *type = hv_xml_attribute(node, "type");
    xmlNode *source = hv_xml_child(node, "source");
    g_autofree char *path = hv_xml_attribute(source, "path");

    if (!type || !g_strv_contains(tied, type))
        return NULL;
    if (path)
        return g_strdup_printf("%s %s", type, path);
    g_autofree char *host = hv_xml_attribute(source, "host");
    g_autofree char *service = hv_xml_attribute(source, "service");
    return g_strdup_printf("%s %s:%s", type, host ? host : "", service ? service : "?");
}

/* A display bound to one address needs that address on the other host. */
static char *
graphics_detail(xmlNode *node)
{
    static const char *const anywhere[] = {
        "0.0.0.0", "::", "127.0.0.1", "::1", "localhost", NULL
    };
    g_autofree char *type = hv_xml_attribute(node, "type");
    g_autofree char *address = hv_xml_attribute(hv_xml_child(node, "listen"), "address");

    if (!address)
        address = hv_xml_attribute(node, "listen");
    if (!address || g_strv_contains(anywhere, address))
        return NULL;
    return g_strdup_printf("%s %s", type ? type : "?", address);
}

static const struct {
    const char *element;
    const char *kind;
    char *(*detail)(xmlNode *node);
} device_rows[] = {
    { "hostdev", "hostdev", hostdev_detail },
    { "interface", "hostdev", hostdev_interface_detail },
    { "interface", "vdpa", vdpa_detail },
    { "interface", "vhostuser", vhostuser_detail },
    { "filesystem", "filesystem", filesystem_detail },
    { "redirdev", "redirdev", redirdev_detail },
    { "tpm", "tpm", tpm_detail },
    { "memory", "memory", memory_detail },
    { "shmem", "shmem", shmem_detail },
    { "vsock", "vsock", vsock_detail },
    { "smartcard", "smartcard", smartcard_detail },
    { "graphics", "graphics", graphics_detail },
    { "serial", "serial", character_detail },
    { "parallel", "parallel", character_detail },
    { "console", "console", character_detail },
    { "channel", "channel", character_detail },
};

static void
add_device(GPtrArray *devices, const char *kind, char *detail)
{
    VmDevice *device = record_new(&vm_device_type);

    device->kind = g_strdup(kind);
    device->detail = detail;
    g_ptr_array_add(devices, device);
}

static GPtrArray *
devices_parse(xmlNode *domain)
{
    GPtrArray *devices = record_list_new(&vm_device_type);
    xmlNode *parent = hv_xml_child(domain, "devices");

    for (gsize i = 0; i < G_N_ELEMENTS(device_rows); i++) {
        hv_xml_each(node, parent, device_rows[i].element)
        {
            char *detail = device_rows[i].detail(node);
            if (detail)
                add_device(devices, device_rows[i].kind, detail);
        }
    }
    char *nvram = hv_xml_text(hv_xml_child(hv_xml_child(domain, "os"), "nvram"));
    if (nvram)
        add_device(devices, "nvram", nvram);
    char *security = hv_xml_attribute(hv_xml_child(domain, "launchSecurity"), "type");
    if (security)
        add_device(devices, "launch-security", security);
    if (hv_xml_child(
            domain,
            "commandline")) /* <qemu:commandline>: nobody but its author knows what it needs */
        add_device(devices, "qemu-commandline", NULL);
    return devices;
}

/* ---- what people tell Godwit of the VM ----
 *
 *     <metadata>
 *       <godwit:vm xmlns:godwit="godwit:vm"> <godwit:recall group="web"/> </godwit:vm>
 *     </metadata> */

#define METADATA_NAMESPACE "godwit:vm"
#define GROUP_MAX 64u

/* A group that isn't a plain word is none: then the VM shares with nobody. */
static gboolean
is_group(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    return *name && strlen(name) <= GROUP_MAX && strspn(name, plain) == strlen(name);
}

static char *
recall_group(xmlNode *domain)
{
    hv_xml_each(node, hv_xml_child(domain, "metadata"), "vm")
    {
        if (!node->ns || g_strcmp0((const char *)node->ns->href, METADATA_NAMESPACE) != 0)
            continue;
        g_autofree char *name = hv_xml_attribute(hv_xml_child(node, "recall"), "group");
        if (name && is_group(name))
            return g_steal_pointer(&name);
    }
    return NULL;
}

/* ---- the domain
 * -------------------------------------------------------------------------------------- */

static void
parse_numbers(Vm *vm, xmlNode *domain)
{
    xmlNode *vcpu = hv_xml_child(domain, "vcpu");
    xmlNode *current = hv_xml_child(domain, "currentMemory");

    vm->memory_max_bytes = hv_xml_bytes(hv_xml_child(domain, "memory"), 1024);
    vm->memory_bytes = current ? hv_xml_bytes(current, 1024) : vm->memory_max_bytes;
    vm->vcpus = hv_xml_attribute_integer(vcpu, "current", hv_xml_integer(vcpu, 1));
}

static void
parse_lists(Vm *vm, xmlNode *domain)
{
    xmlNode *devices = hv_xml_child(domain, "devices");

    vm->disks = record_list_new(&vm_disk_type);
    hv_xml_each(disk, devices, "disk") g_ptr_array_add(vm->disks, disk_parse(disk));
    vm->nics = record_list_new(&vm_nic_type);
    hv_xml_each(nic, devices, "interface") g_ptr_array_add(vm->nics, nic_parse(nic));
    vm->devices = devices_parse(domain);
}

Vm *
hv_domain_xml_parse(const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = hv_xml_read(xml, "domain", error);
    if (!doc)
        return NULL;
    xmlNode *domain = xmlDocGetRootElement(doc);
    xmlNode *cpu = hv_xml_child(domain, "cpu");
    g_autoptr(Vm) vm = record_new(&vm_type);

    vm->name = hv_xml_text(hv_xml_child(domain, "name"));
    g_autofree char *uuid = hv_xml_text(hv_xml_child(domain, "uuid"));
    if (!vm->name || !uuid || !g_uuid_string_is_valid(uuid)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "<domain> XML of VM %s lacks a name or a valid UUID",
                    vm->name ? vm->name
                    : uuid   ? uuid
                             : "(unnamed)");
        return NULL;
    }
    vm->uuid = g_ascii_strdown(uuid, -1);
    vm->domain_type = hv_xml_attribute(domain, "type");
    vm->title = hv_xml_text(hv_xml_child(domain, "title"));
    vm->description = hv_xml_text(hv_xml_child(domain, "description"));
    vm->recall_group = recall_group(domain);
    vm->machine = hv_xml_attribute(hv_xml_child(hv_xml_child(domain, "os"), "type"), "machine");
    vm->cpu_mode = hv_xml_attribute(cpu, "mode");
    vm->cpu_model = hv_xml_text(hv_xml_child(cpu, "model"));
    parse_numbers(vm, domain);
    parse_lists(vm, domain);
    return g_steal_pointer(&vm);
}
