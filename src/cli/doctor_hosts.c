/* SPDX-License-Identifier: Apache-2.0 */
#include <gio/gio.h>
#include <string.h>

#include "cli/doctor.h"

#include "base/units.h"

#define CLOCK_WARN_MS 2000
#define CLOCK_ERROR_MS 60000

/* ---- one host
 * -------------------------------------------------------------------------------------- */

static void
judge_state(const Host *host, GPtrArray *findings)
{
    const char *reason = host->state_reason ? host->state_reason : "it does not say why";
    g_autofree char *remedy = g_strdup_printf(
        "On %s: does godwitd run (systemctl status godwitd)? Is TCP port %" G_GINT64_FORMAT
        " of %s open from the manager?",
        host->name, host->control_port, host->control_address ? host->control_address : "it");
    g_autofree char *libvirt = g_strdup_printf(
        "On %s: does libvirtd or virtqemud run (systemctl status libvirtd virtqemud)? "
        "\"godwit doctor\" there looks at its sockets.",
        host->name);

    switch (host->state) {
    case HOST_CONNECTED:
        found_ok(findings, "host-connected", host->name, "agent and libvirt answer");
        break;
    case HOST_CONNECTING:
        found_warn(findings, "host-connected", host->name, remedy,
                   "has not been heard since the manager's start (%s)", reason);
        break;
    case HOST_NO_LIBVIRT:
        found_error(findings, "host-libvirt", host->name, libvirt,
                    "its libvirt does not answer: %s", reason);
        break;
    default:
        found_error(findings, "host-connected", host->name, remedy, "is not connected: %s", reason);
    }
}

static void
judge_host_clock(const Host *host, GPtrArray *findings)
{
    gint64 offset_ms = host->clock_offset_ms;
    g_autofree char *text = units_duration(ABS(offset_ms) * 1000);
    const char *side = offset_ms > 0 ? "ahead of" : "behind";
    const char *remedy = "Let chronyd or systemd-timesyncd keep its clock: certificates depend on "
                         "it, and guests' clocks jump after a move.";

    if (host->clock_ms == 0)
        return;
    if (ABS(offset_ms) > CLOCK_ERROR_MS)
        found_error(findings, "host-clock", host->name, remedy, "its clock is %s %s the manager's",
                    text, side);
    else if (ABS(offset_ms) > CLOCK_WARN_MS)
        found_warn(findings, "host-clock", host->name, remedy, "its clock is %s %s the manager's",
                   text, side);
    else
        found_ok(findings, "host-clock", host->name, "its clock agrees with the manager's");
}

/* The interface that has this address ("10.77.0.11" of "10.77.0.11/24"), or NULL; *prefix is its
 * length. */
static const HostNic *
nic_of_address(const Host *host, const char *address, guint *prefix)
{
    for (guint i = 0; host->nics && i < host->nics->len; i++) {
        const HostNic *nic = g_ptr_array_index(host->nics, i);

        for (char **a = nic->addresses; a && *a; a++) {
            gsize length = strcspn(*a, "/");

            if (strlen(address) != length || strncmp(*a, address, length) != 0)
                continue;
            *prefix = (*a)[length] == '/' ? (guint)g_ascii_strtoull(*a + length + 1, NULL, 10) : 0;
            return nic;
        }
    }
    return NULL;
}

static void
judge_migration_address(const Host *host, const char *address, GPtrArray *findings)
{
    g_autofree char *remedy =
        g_strdup_printf("Correct addresses= under [migration] in /etc/godwit/godwitd.conf on %s, "
                        "or the interface; then restart godwitd.",
                        host->name);
    guint prefix = 0;
    const HostNic *nic = nic_of_address(host, address, &prefix);

    if (!host->nics || host->nics->len == 0)
        return;
    if (!nic)
        found_error(findings, "migration-address", host->name, remedy,
                    "no interface has its migration address %s", address);
    else if (!nic->up)
        found_error(findings, "migration-address", host->name, remedy,
                    "the interface %s of its migration address %s is down", nic->name, address);
    else
        found_ok(findings, "migration-address", host->name, "receives migrations at %s (%s)",
                 address, nic->name);
}

static void
judge_migration_addresses(const Host *host, GPtrArray *findings)
{
    if (!host->migration_addresses || !host->migration_addresses[0]) {
        found_error(
            findings, "migration-address", host->name,
            "Set addresses= under [migration] in its /etc/godwit/godwitd.conf and restart godwitd.",
            "has no migration address: nothing can move there");
        return;
    }
    for (char **address = host->migration_addresses; *address; address++)
        judge_migration_address(host, *address, findings);
}

/* ---- hosts against each other
 * ----------------------------------------------------------------------- */

/* Do both addresses lie in one network of this prefix length? Only IPv4 and IPv6 in their usual
 * form. */
static gboolean
same_network(const char *a, const char *b, guint prefix)
{
    g_autoptr(GInetAddress) first = g_inet_address_new_from_string(a),
                            second = g_inet_address_new_from_string(b);

    if (!first || !second ||
        g_inet_address_get_family(first) != g_inet_address_get_family(second) ||
        prefix > g_inet_address_get_native_size(first) * 8)
        return FALSE;
    for (guint bit = 0; bit < prefix; bit++) {
        guint8 x = g_inet_address_to_bytes(first)[bit / 8],
               y = g_inet_address_to_bytes(second)[bit / 8];

        if ((x ^ y) & (0x80 >> bit % 8))
            return FALSE;
    }
    return TRUE;
}

static gboolean
shares_network(const Host *a, const Host *b)
{
    for (char **x = a->migration_addresses; x && *x; x++) {
        guint prefix = 0;
        const HostNic *nic = nic_of_address(a, *x, &prefix);

        for (char **y = b->migration_addresses; y && *y; y++) {
            if (nic && prefix > 0 && same_network(*x, *y, prefix))
                return TRUE;
        }
    }
    return FALSE;
}

/* MTU of the interface of a host's first migration address; 0 = unknown. */
static gint64
migration_mtu(const Host *host)
{
    guint prefix;
    const HostNic *nic = host->migration_addresses && host->migration_addresses[0]
                             ? nic_of_address(host, host->migration_addresses[0], &prefix)
                             : NULL;

    return nic ? nic->mtu : 0;
}

static void
judge_pair(const Host *a, const Host *b, GPtrArray *findings)
{
    g_autofree char *about = g_strdup_printf("%s, %s", a->name, b->name);
    gint64 mtu_a = migration_mtu(a), mtu_b = migration_mtu(b);

    if (a->migration_addresses && a->migration_addresses[0] && b->migration_addresses &&
        b->migration_addresses[0] && a->nics && b->nics && !shares_network(a, b))
        found_warn(
            findings, "migration-network", about,
            "If a router joins them that is fine; otherwise give both an address in one network.",
            "their migration addresses lie in different networks");
    if (mtu_a > 0 && mtu_b > 0 && mtu_a != mtu_b)
        found_warn(findings, "migration-mtu", about,
                   "Set the same MTU on both, and on the switch: large frames are lost silently "
                   "otherwise.",
                   "the MTU of their migration interfaces differs: %" G_GINT64_FORMAT
                   " and %" G_GINT64_FORMAT,
                   mtu_a, mtu_b);
}

/* "7.2" of "7.2.22" (transfer full) */
static char *
major_minor(const char *version)
{
    gsize first = strcspn(version, ".");
    gsize rest = version[first] ? strcspn(version + first + 1, ".") + 1 : 0;

    return g_strndup(version, first + rest);
}

typedef const char *(*VersionOf)(const HostVersions *versions);

static const char *
godwit_of(const HostVersions *v)
{
    return v->godwit;
}

static const char *
qemu_of(const HostVersions *v)
{
    return v->qemu;
}

static const char *
libvirt_of(const HostVersions *v)
{
    return v->libvirt;
}

/* Which hosts have which version; a warning where there is more than one. */
static void
judge_versions(GPtrArray *hosts, const char *what, VersionOf version_of, GPtrArray *findings)
{
    g_autoptr(GHashTable) first_of = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GString) list = g_string_new(NULL);
    g_autofree char *check = g_strdup_printf("version-%s", what);
    guint known = 0;

    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);
        const char *version = host->versions ? version_of(host->versions) : NULL;

        if (!version)
            continue;
        known++;
        g_hash_table_add(first_of, major_minor(version));
        g_string_append_printf(list, "%s%s %s", list->len ? ", " : "", host->name, version);
    }
    if (known < 2)
        return;
    if (g_hash_table_size(first_of) > 1)
        found_warn(findings, g_intern_string(check), "hosts",
                   "Bring all hosts to one version: VMs may not be able to move back from a newer "
                   "one to an older one.",
                   "they run different versions of %s: %s", what, list->str);
    else
        found_ok(findings, g_intern_string(check), "hosts", "all run the same version of %s", what);
}

void
doctor_judge_hosts(const DoctorFacts *facts, GPtrArray *findings)
{
    if (!facts->hosts)
        return;
    if (facts->hosts->len == 0)
        found_warn(findings, "hosts", "hosts", "\"godwit host add\" prints how to add one.",
                   "there are none yet");
    else if (facts->hosts->len == 1)
        found_warn(findings, "hosts", "hosts", "\"godwit host add\" prints how to add another.",
                   "there is only one: nothing can move");
    for (guint i = 0; i < facts->hosts->len; i++) {
        const Host *host = g_ptr_array_index(facts->hosts, i);

        judge_state(host, findings);
        if (host->state == HOST_CONNECTED || host->state == HOST_NO_LIBVIRT) {
            judge_host_clock(host, findings);
            judge_migration_addresses(host, findings);
        }
        for (guint j = 0; j < i; j++)
            judge_pair(g_ptr_array_index(facts->hosts, j), host, findings);
    }
    judge_versions(facts->hosts, "godwitd", godwit_of, findings);
    judge_versions(facts->hosts, "QEMU", qemu_of, findings);
    judge_versions(facts->hosts, "libvirt", libvirt_of, findings);
}

/* ---- machine types
 * ------------------------------------------------------------------------------------ */

/* Names of the connected hosts that lack the machine type, or NULL where none does; *n_others
 * counts the hosts beside the VM's own. */
static char *
hosts_without(const DoctorFacts *facts, const Vm *vm, guint *n_others, guint *n_lacking)
{
    g_autoptr(GString) names = g_string_new(NULL);

    *n_others = *n_lacking = 0;
    for (guint i = 0; i < facts->hosts->len; i++) {
        const Host *host = g_ptr_array_index(facts->hosts, i);

        if (host->state != HOST_CONNECTED || !host->machine_types || !host->machine_types[0] ||
            g_strcmp0(host->uuid, vm->host) == 0)
            continue;
        ++*n_others;
        if (g_strv_contains((const char *const *)host->machine_types, vm->machine))
            continue;
        ++*n_lacking;
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", host->name);
    }
    return names->len ? g_strdup(names->str) : NULL;
}

void
doctor_judge_vms(const DoctorFacts *facts, GPtrArray *findings)
{
    guint judged = 0, limited = 0;

    for (guint i = 0; facts->hosts && facts->vms && i < facts->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(facts->vms, i);
        guint others, lacking;
        g_autofree char *names = vm->machine ? hosts_without(facts, vm, &others, &lacking) : NULL;

        if (!vm->machine || others == 0)
            continue;
        judged++;
        if (!names)
            continue;
        limited++;
        found_warn(findings, "machine-type", vm->name,
                   "Bring those hosts' QEMU to the version of the VM's host, or give the VM an "
                   "older machine type.",
                   "its machine type %s is not known on %s%s", vm->machine,
                   lacking == others ? "any other host: " : "", names);
    }
    if (judged > 0 && limited == 0)
        found_ok(findings, "machine-type", "VMs", "every host knows the machine types of all %u",
                 judged);
}
