/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Per host one Place: the member (name, address: the manager's word), its facts (the agent's word,
 * kept as last known when the agent is gone) and an index of its VMs. `sights` says for each VM's
 * UUID on which places it is seen. It is mostly one. It is two in the middle of a migration, when
 * the destination has the incoming domain already, and where a definition was left behind. Then one
 * is shown, in this order (inventory_choose):
 *
 *   1. while a migration of it is under way (not ended, not unsettled): its source, if it has it
 *   2. the more alive state: running, then paused or suspended, then crashed, then shut off
 *   3. a host that is connected over one whose word is old
 *   4. where the last migration ended; an unsettled one: its source
 *   5. the host first by name, so that the choice never flickers
 *
 * Every change of a sight publishes the chosen one again.
 */
#include "manager/inventory.h"

#include <string.h>

#include "base/error.h"

#define NAMES_MAX 10 /* names in one message */

typedef struct {
    Facts facts;     /* facts.host is never NULL; lists NULL until told */
    gboolean told;   /* facts came since the start */
    GHashTable *vms; /* UUID → Vm of facts.vms */
} Place;

struct Inventory {
    InventoryNotify notify;
    GHashTable *places; /* host UUID (of facts.host) → owned Place */
    GHashTable *sights; /* VM UUID, owned → GPtrArray of Place */
};

static void
list_free(GPtrArray *list)
{
    if (list != NULL)
        g_ptr_array_unref(list);
}

static void
place_free(Place *place)
{
    g_hash_table_unref(place->vms);
    host_free(place->facts.host);
    list_free(place->facts.networks);
    list_free(place->facts.datastores);
    list_free(place->facts.vms);
    g_free(place);
}

Inventory *
inventory_new(const InventoryNotify *notify)
{
    Inventory *inventory = g_new0(Inventory, 1);

    inventory->notify = *notify;
    inventory->places =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)place_free);
    inventory->sights =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    return inventory;
}

void
inventory_free(Inventory *inventory)
{
    if (inventory == NULL)
        return;
    g_hash_table_unref(inventory->sights);
    g_hash_table_unref(inventory->places);
    g_free(inventory);
}

/* ---- which sight counts ------------------------------------------------------------- */

static int
liveness(const Vm *vm)
{
    switch ((VmState)vm->state) {
    case VM_RUNNING:
        return 3;
    case VM_PAUSED:
    case VM_SUSPENDED:
        return 2;
    case VM_CRASHED:
        return 1;
    case VM_SHUTOFF:
        return 0;
    }
    return 0;
}

static gboolean
is_under_way(const Migration *migration)
{
    return migration != NULL && !migration_is_ended(migration) &&
           migration->result != MIGRATION_UNSETTLED;
}

/** Host that a settled or unsettled migration points to. */
static const char *
pointed_to(const Migration *migration)
{
    if (migration == NULL)
        return NULL;
    return migration->result == MIGRATION_COMPLETED ? migration->to_uuid : migration->from_uuid;
}

/** Is a to be shown rather than b? */
static gboolean
is_better(const InventorySight *a, const InventorySight *b, const Migration *last)
{
    const char *pointed = pointed_to(last);
    const int order[][2] = {
        { liveness(a->vm), liveness(b->vm) },
        { a->host->state == HOST_CONNECTED, b->host->state == HOST_CONNECTED },
        { g_strcmp0(a->host->uuid, pointed) == 0, g_strcmp0(b->host->uuid, pointed) == 0 },
    };

    if (is_under_way(last)) {
        if (g_strcmp0(a->host->uuid, last->from_uuid) == 0)
            return TRUE;
        if (g_strcmp0(b->host->uuid, last->from_uuid) == 0)
            return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(order); i++)
        if (order[i][0] != order[i][1])
            return order[i][0] > order[i][1];
    return g_strcmp0(a->host->name, b->host->name) < 0;
}

gsize
inventory_choose(const InventorySight *sights, gsize n, const Migration *last)
{
    gsize chosen = 0;

    for (gsize i = 1; i < n; i++)
        if (is_better(&sights[i], &sights[chosen], last))
            chosen = i;
    return chosen;
}

/** The one sight of a VM, or NULL. */
static const Vm *
sight_of(const Inventory *inventory, const char *vm_uuid)
{
    GPtrArray *places = g_hash_table_lookup(inventory->sights, vm_uuid);
    g_autofree InventorySight *sights = NULL;
    const Migration *last = NULL;

    if (places == NULL || places->len == 0)
        return NULL;
    if (places->len == 1)
        return g_hash_table_lookup(((Place *)places->pdata[0])->vms, vm_uuid);
    sights = g_new0(InventorySight, places->len);
    for (guint i = 0; i < places->len; i++) {
        const Place *place = places->pdata[i];

        sights[i].host = place->facts.host;
        sights[i].vm = g_hash_table_lookup(place->vms, vm_uuid);
    }
    if (inventory->notify.last_migration != NULL)
        last = inventory->notify.last_migration(vm_uuid, inventory->notify.data);
    return sights[inventory_choose(sights, places->len, last)].vm;
}

/* ---- telling ------------------------------------------------------------------------ */

static void
tell_host(const Inventory *inventory, const Host *host)
{
    if (inventory->notify.host_changed != NULL)
        inventory->notify.host_changed(host, inventory->notify.data);
}

void
inventory_look_again(Inventory *inventory, const char *vm_uuid)
{
    const Vm *vm = sight_of(inventory, vm_uuid);

    if (vm != NULL && inventory->notify.vm_changed != NULL)
        inventory->notify.vm_changed(vm, inventory->notify.data);
    else if (vm == NULL && inventory->notify.vm_removed != NULL)
        inventory->notify.vm_removed(vm_uuid, inventory->notify.data);
}

/* ---- places ------------------------------------------------------------------------- */

static Place *
place_of(const Inventory *inventory, const char *uuid)
{
    return g_hash_table_lookup(inventory->places, uuid);
}

static void
set_string(char **to, const char *from)
{
    char *copy = g_strdup(from);

    g_free(*to);
    *to = copy;
}

static void
name_vms(Place *place)
{
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, place->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        set_string(&((Vm *)vm)->host_name, place->facts.host->name);
}

void
inventory_add_host(Inventory *inventory, const Host *member)
{
    Place *place = place_of(inventory, member->uuid);
    Host *host;

    if (place == NULL) {
        place = g_new0(Place, 1);
        place->vms = g_hash_table_new(g_str_hash, g_str_equal);
        place->facts.host = record_new(&host_type);
        place->facts.host->uuid = g_strdup(member->uuid);
        place->facts.host->state = HOST_CONNECTING;
        place->facts.vms = record_list_new(&vm_type);
        g_hash_table_insert(inventory->places, g_strdup(member->uuid), place);
    }
    host = place->facts.host;
    set_string(&host->name, member->name);
    set_string(&host->control_address, member->control_address);
    host->control_port = member->control_port;
    name_vms(place);
    tell_host(inventory, host);
}

static void
unsee(Inventory *inventory, Place *place, const char *vm_uuid)
{
    GPtrArray *places = g_hash_table_lookup(inventory->sights, vm_uuid);

    if (places == NULL)
        return;
    g_ptr_array_remove(places, place);
    if (places->len == 0)
        g_hash_table_remove(inventory->sights, vm_uuid);
}

static void
see(Inventory *inventory, Place *place, const char *vm_uuid)
{
    GPtrArray *places = g_hash_table_lookup(inventory->sights, vm_uuid);

    if (places == NULL) {
        places = g_ptr_array_new();
        g_hash_table_insert(inventory->sights, g_strdup(vm_uuid), places);
    }
    if (!g_ptr_array_find(places, place, NULL))
        g_ptr_array_add(places, place);
}

void
inventory_remove_host(Inventory *inventory, const char *uuid)
{
    Place *place = place_of(inventory, uuid);
    g_autofree char *gone = g_strdup(uuid);
    g_auto(GStrv) vms = NULL;

    if (place == NULL)
        return;
    vms = g_new0(char *, g_hash_table_size(place->vms) + 1);
    for (guint i = 0, n = 0; i < place->facts.vms->len; i++)
        vms[n++] = g_strdup(((Vm *)place->facts.vms->pdata[i])->uuid);
    for (gsize i = 0; vms[i] != NULL; i++)
        unsee(inventory, place, vms[i]);
    g_hash_table_remove(inventory->places, gone);
    for (gsize i = 0; vms[i] != NULL; i++)
        inventory_look_again(inventory, vms[i]);
    if (inventory->notify.host_removed != NULL)
        inventory->notify.host_removed(gone, inventory->notify.data);
}

void
inventory_set_state(Inventory *inventory, const char *uuid, HostState state, const char *reason)
{
    Place *place = place_of(inventory, uuid);

    if (place == NULL || (place->facts.host->state == (int)state &&
                          g_strcmp0(place->facts.host->state_reason, reason) == 0))
        return;
    place->facts.host->state = (int)state;
    set_string(&place->facts.host->state_reason, reason);
    tell_host(inventory, place->facts.host);
}

/* ---- what agents tell --------------------------------------------------------------- */

/** The agent's word on its host, without what is the manager's own word. */
static void
take_host(Place *place, Host *host)
{
    Host *before = place->facts.host;

    set_string(&host->uuid, before->uuid);
    set_string(&host->name, before->name);
    set_string(&host->control_address, before->control_address);
    host->control_port = before->control_port;
    if (host->state != HOST_NO_LIBVIRT) {
        host->state = HOST_CONNECTED;
        set_string(&host->state_reason, NULL);
    }
    place->facts.host = host;
    host_free(before);
}

void
inventory_set_host(Inventory *inventory, const char *uuid, Host *host)
{
    Place *place = place_of(inventory, uuid);

    if (place == NULL || host == NULL) {
        host_free(host);
        return;
    }
    take_host(place, host);
    tell_host(inventory, place->facts.host);
}

/** Puts a VM in its place; TRUE where that is news. */
static gboolean
take_vm(Inventory *inventory, Place *place, Vm *vm)
{
    g_autoptr(Vm) mine = vm;
    Vm *before;

    if (mine->uuid == NULL || mine->name == NULL)
        return FALSE;
    set_string(&mine->host, place->facts.host->uuid);
    set_string(&mine->host_name, place->facts.host->name);
    before = g_hash_table_lookup(place->vms, mine->uuid);
    if (before != NULL && record_equal(&vm_type, before, mine))
        return FALSE;
    if (before != NULL) {
        g_hash_table_remove(place->vms, before->uuid);
        g_ptr_array_remove_fast(place->facts.vms, before);
    }
    see(inventory, place, mine->uuid);
    g_hash_table_insert(place->vms, mine->uuid, mine);
    g_ptr_array_add(place->facts.vms, g_steal_pointer(&mine));
    return TRUE;
}

void
inventory_set_vm(Inventory *inventory, const char *uuid, Vm *vm)
{
    Place *place = place_of(inventory, uuid);
    g_autofree char *vm_uuid = NULL;

    if (place == NULL || vm == NULL) {
        vm_free(vm);
        return;
    }
    vm_uuid = g_strdup(vm->uuid);
    if (take_vm(inventory, place, vm))
        inventory_look_again(inventory, vm_uuid);
}

/** Takes a VM out of its place. (transfer full) or NULL. */
static Vm *
take_out(Inventory *inventory, Place *place, const char *vm_uuid)
{
    Vm *vm = place ? g_hash_table_lookup(place->vms, vm_uuid) : NULL;
    guint at;

    if (vm == NULL)
        return NULL;
    unsee(inventory, place, vm_uuid);
    g_hash_table_remove(place->vms, vm_uuid);
    g_ptr_array_find(place->facts.vms, vm, &at);
    return g_ptr_array_steal_index_fast(place->facts.vms, at);
}

void
inventory_drop_vm(Inventory *inventory, const char *uuid, const char *vm_uuid)
{
    g_autofree char *gone = g_strdup(vm_uuid);
    g_autoptr(Vm) vm = take_out(inventory, place_of(inventory, uuid), gone);

    if (vm != NULL)
        inventory_look_again(inventory, gone);
}

void
inventory_moved(Inventory *inventory, const char *vm_uuid, const char *from, const char *to)
{
    g_autofree char *uuid = g_strdup(vm_uuid);
    g_autoptr(Vm) left = take_out(inventory, place_of(inventory, from), uuid);
    Place *place = place_of(inventory, to);
    Vm *there = take_out(inventory, place, uuid);
    g_autoptr(Vm) vm = there != NULL ? there : g_steal_pointer(&left);

    if (vm != NULL && place != NULL) {
        vm->state = VM_RUNNING;
        set_string(&vm->state_reason, "migrated");
        set_string(&vm->migration, NULL);
        take_vm(inventory, place, g_steal_pointer(&vm));
    }
    inventory_look_again(inventory, uuid);
}

/** Elements of a list of networks or datastores get their host's UUID. */
static void
set_hosts(GPtrArray *list, gsize offset, const char *uuid)
{
    for (guint i = 0; list != NULL && i < list->len; i++)
        set_string(G_STRUCT_MEMBER_P(list->pdata[i], offset), uuid);
}

void
inventory_set_networks(Inventory *inventory, const char *uuid, GPtrArray *networks)
{
    Place *place = place_of(inventory, uuid);

    if (place == NULL) {
        list_free(networks);
        return;
    }
    set_hosts(networks, G_STRUCT_OFFSET(Network, host), uuid);
    list_free(place->facts.networks);
    place->facts.networks = networks;
}

void
inventory_set_datastores(Inventory *inventory, const char *uuid, GPtrArray *datastores)
{
    Place *place = place_of(inventory, uuid);

    if (place == NULL) {
        list_free(datastores);
        return;
    }
    set_hosts(datastores, G_STRUCT_OFFSET(Datastore, host), uuid);
    list_free(place->facts.datastores);
    place->facts.datastores = datastores;
}

/** Drops the VMs of place that the new facts don't have. */
static void
drop_missing(Inventory *inventory, Place *place, GPtrArray *vms)
{
    g_autoptr(GHashTable) there = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) missing = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; vms != NULL && i < vms->len; i++)
        if (((Vm *)vms->pdata[i])->uuid != NULL)
            g_hash_table_add(there, ((Vm *)vms->pdata[i])->uuid);
    for (guint i = 0; i < place->facts.vms->len; i++) {
        const Vm *vm = place->facts.vms->pdata[i];

        if (!g_hash_table_contains(there, vm->uuid))
            g_ptr_array_add(missing, g_strdup(vm->uuid));
    }
    for (guint i = 0; i < missing->len; i++)
        inventory_drop_vm(inventory, place->facts.host->uuid, missing->pdata[i]);
}

void
inventory_set_facts(Inventory *inventory, const char *uuid, Facts *facts)
{
    g_autoptr(Facts) mine = facts;
    Place *place = place_of(inventory, uuid);
    g_autoptr(GPtrArray) vms = NULL;

    if (place == NULL)
        return;
    place->told = TRUE;
    inventory_set_networks(inventory, uuid, g_steal_pointer(&mine->networks));
    inventory_set_datastores(inventory, uuid, g_steal_pointer(&mine->datastores));
    inventory_set_host(inventory, uuid, g_steal_pointer(&mine->host));
    vms = g_steal_pointer(&mine->vms);
    drop_missing(inventory, place, vms);
    while (vms != NULL && vms->len > 0)
        inventory_set_vm(inventory, uuid, g_ptr_array_steal_index_fast(vms, vms->len - 1));
}

/* ---- looking ------------------------------------------------------------------------ */

static gint
hosts_by_name(gconstpointer a, gconstpointer b)
{
    return g_strcmp0((*(Host *const *)a)->name, (*(Host *const *)b)->name);
}

static gint
vms_by_name(gconstpointer a, gconstpointer b)
{
    const Vm *x = *(Vm *const *)a, *y = *(Vm *const *)b;
    int order = g_strcmp0(x->name, y->name);

    return order != 0 ? order : g_strcmp0(x->uuid, y->uuid);
}

static gint
networks_by_name(gconstpointer a, gconstpointer b)
{
    const Network *x = *(Network *const *)a, *y = *(Network *const *)b;
    int order = g_strcmp0(x->name, y->name);

    return order != 0 ? order : g_strcmp0(x->host, y->host);
}

static gint
datastores_by_name(gconstpointer a, gconstpointer b)
{
    const Datastore *x = *(Datastore *const *)a, *y = *(Datastore *const *)b;
    int order = g_strcmp0(x->name, y->name);

    return order != 0 ? order : g_strcmp0(x->host, y->host);
}

GPtrArray *
inventory_hosts(const Inventory *inventory)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer place;

    g_hash_table_iter_init(&iter, inventory->places);
    while (g_hash_table_iter_next(&iter, NULL, &place))
        g_ptr_array_add(list, ((Place *)place)->facts.host);
    g_ptr_array_sort(list, hosts_by_name);
    return list;
}

GPtrArray *
inventory_vms(const Inventory *inventory, const char *host_uuid)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer uuid;

    g_hash_table_iter_init(&iter, inventory->sights);
    while (g_hash_table_iter_next(&iter, &uuid, NULL)) {
        const Vm *vm = sight_of(inventory, uuid);

        if (host_uuid == NULL || strcmp(vm->host, host_uuid) == 0)
            g_ptr_array_add(list, (gpointer)vm);
    }
    g_ptr_array_sort(list, vms_by_name);
    return list;
}

static GPtrArray *
list_of_all(const Inventory *inventory, gsize offset, GCompareFunc order)
{
    GPtrArray *all = g_ptr_array_new();
    GHashTableIter iter;
    gpointer place;

    g_hash_table_iter_init(&iter, inventory->places);
    while (g_hash_table_iter_next(&iter, NULL, &place)) {
        GPtrArray *list = G_STRUCT_MEMBER(GPtrArray *, &((Place *)place)->facts, offset);

        for (guint i = 0; list != NULL && i < list->len; i++)
            g_ptr_array_add(all, list->pdata[i]);
    }
    g_ptr_array_sort(all, order);
    return all;
}

GPtrArray *
inventory_networks(const Inventory *inventory)
{
    return list_of_all(inventory, G_STRUCT_OFFSET(Facts, networks), networks_by_name);
}

GPtrArray *
inventory_datastores(const Inventory *inventory)
{
    return list_of_all(inventory, G_STRUCT_OFFSET(Facts, datastores), datastores_by_name);
}

const Host *
inventory_find_host(const Inventory *inventory, const char *uuid)
{
    Place *place = place_of(inventory, uuid);

    return place != NULL ? place->facts.host : NULL;
}

const Host *
inventory_host(const Inventory *inventory, const char *name_or_uuid, GError **error)
{
    g_autofree char *uuid = g_ascii_strdown(name_or_uuid, -1);
    const Host *host = inventory_find_host(inventory, uuid);
    g_autoptr(GPtrArray) hosts = NULL;
    g_autoptr(GString) names = g_string_new(NULL);

    if (host != NULL)
        return host;
    hosts = inventory_hosts(inventory);
    for (guint i = 0; i < hosts->len; i++) {
        host = hosts->pdata[i];
        if (g_strcmp0(host->name, name_or_uuid) == 0)
            return host;
        if (i < NAMES_MAX)
            g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", host->name);
    }
    if (hosts->len > NAMES_MAX)
        g_string_append(names, ", …");
    g_set_error(
        error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
        "no host \"%s\" in this cluster; %s%s (godwit host list shows them, godwit host add "
        "adds one)",
        name_or_uuid, hosts->len > 0 ? "there are " : "there is none yet", names->str);
    return NULL;
}

const Facts *
inventory_facts(const Inventory *inventory, const char *uuid)
{
    const Place *place = place_of(inventory, uuid);

    return place != NULL && place->told ? &place->facts : NULL;
}

/** "; h3 is not connected, it may be there" where that is so. */
static char *
silent_hosts(const Inventory *inventory)
{
    g_autoptr(GPtrArray) hosts = inventory_hosts(inventory);
    g_autoptr(GString) text = g_string_new(NULL);
    guint n = 0;

    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = hosts->pdata[i];

        if (host->state != HOST_CONNECTED && n++ < NAMES_MAX)
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "", host->name);
    }
    if (n > NAMES_MAX)
        g_string_append(text, ", …");
    if (n > 0) {
        g_string_prepend(text, "; it may be on a host that is not connected now: ");
        g_string_append(text, " (see godwit host list)");
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static const Vm *
vm_not_one(const Inventory *inventory, const char *name, GPtrArray *found, GError **error)
{
    if (found->len == 0) {
        g_autofree char *silent = silent_hosts(inventory);

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "no VM \"%s\" on any host; godwit vm list shows those there are%s", name,
                    silent);
    } else {
        g_autoptr(GString) which = g_string_new(NULL);

        for (guint i = 0; i < found->len; i++) {
            const Vm *vm = found->pdata[i];

            g_string_append_printf(which, "%s%s on %s", i > 0 ? ", " : "", vm->uuid, vm->host_name);
        }
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "%u VMs are named \"%s\": %s; give the UUID of the one that is meant",
                    found->len, name, which->str);
    }
    return NULL;
}

const Vm *
inventory_vm(const Inventory *inventory, const char *name_or_uuid, GError **error)
{
    g_autofree char *lower = g_ascii_strdown(name_or_uuid, -1);
    const Vm *vm = sight_of(inventory, lower);
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    GHashTableIter iter;
    gpointer uuid;

    if (vm != NULL)
        return vm;
    g_hash_table_iter_init(&iter, inventory->sights);
    while (g_hash_table_iter_next(&iter, &uuid, NULL)) {
        vm = sight_of(inventory, uuid);
        if (strcmp(vm->name, name_or_uuid) == 0)
            g_ptr_array_add(found, (gpointer)vm);
    }
    g_ptr_array_sort(found, vms_by_name);
    return found->len == 1 ? found->pdata[0] : vm_not_one(inventory, name_or_uuid, found, error);
}

guint
inventory_running_vms(const Inventory *inventory, const char *host_uuid)
{
    const Place *place = place_of(inventory, host_uuid);
    guint n = 0;

    for (guint i = 0; place != NULL && i < place->facts.vms->len; i++)
        n += liveness(place->facts.vms->pdata[i]) >= 2 ? 1 : 0;
    return n;
}

void
inventory_count_hosts(const Inventory *inventory, guint *connected, guint *total)
{
    GHashTableIter iter;
    gpointer place;

    *connected = 0;
    *total = g_hash_table_size(inventory->places);
    g_hash_table_iter_init(&iter, inventory->places);
    while (g_hash_table_iter_next(&iter, NULL, &place))
        *connected += ((Place *)place)->facts.host->state == HOST_CONNECTED ? 1 : 0;
}
