/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * What the hosts have, as their agents tell it: in memory only, since libvirt is the truth. Pure:
 * no store, no network; changes go out through `notify`. Nouns that are handed out belong to the
 * inventory and are good until the main loop runs again. Main context only.
 */
typedef struct Inventory Inventory;

typedef struct {
    void (*host_changed)(const Host *host, gpointer data);
    void (*host_removed)(const char *uuid, gpointer data);
    void (*vm_changed)(const Vm *vm,
                       gpointer data); /* the one sight of it, as inventory_vm has it */
    void (*vm_removed)(const char *uuid, gpointer data);
    /** The newest migration of a VM, ended or not, or NULL: where a VM is that is seen on two
     * hosts. */
    const Migration *(*last_migration)(const char *vm_uuid, gpointer data);
    gpointer data;
} InventoryNotify;

Inventory *inventory_new(const InventoryNotify *notify);
void inventory_free(Inventory *inventory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inventory, inventory_free)

/* ---- what the manager knows by itself ----------------------------------------------- */

/** A member of the cluster: uuid, name, control_address and control_port are taken from member
 * (copied); one that is there already keeps its facts. */
void inventory_add_host(Inventory *inventory, const Host *member);
void inventory_remove_host(Inventory *inventory, const char *uuid);
/** Of the connection; what is known of a host that is not connected any more stays, as last known.
 */
void inventory_set_state(Inventory *inventory, const char *uuid, HostState state,
                         const char *reason);
/** Looks again where a VM is (its migration has changed). */
void inventory_look_again(Inventory *inventory, const char *vm_uuid);
/** A migration has completed by its source's word: the VM runs on the one host and is gone from the
 * other, also where their own events have not come yet. */
void inventory_moved(Inventory *inventory, const char *vm_uuid, const char *from, const char *to);

/* ---- what agents tell (all transfer full; of an unknown host: left out) ------------- */

void inventory_set_facts(Inventory *inventory, const char *uuid, Facts *facts);
void inventory_set_host(Inventory *inventory, const char *uuid, Host *host);
void inventory_set_vm(Inventory *inventory, const char *uuid, Vm *vm);
void inventory_drop_vm(Inventory *inventory, const char *uuid, const char *vm_uuid);
void inventory_set_networks(Inventory *inventory, const char *uuid, GPtrArray *networks);
void inventory_set_datastores(Inventory *inventory, const char *uuid, GPtrArray *datastores);

/* ---- looking ------------------------------------------------------------------------ */

/** By name or UUID; NOT_FOUND names those there are. */
const Host *inventory_host(const Inventory *inventory, const char *name_or_uuid, GError **error);
/** By exact UUID, or NULL. */
const Host *inventory_find_host(const Inventory *inventory, const char *uuid);
/** All that a host told, or NULL where it has told nothing since the start. */
const Facts *inventory_facts(const Inventory *inventory, const char *uuid);
/** By UUID or name; NOT_FOUND; CONFLICT where several have the name, listing their UUIDs. */
const Vm *inventory_vm(const Inventory *inventory, const char *name_or_uuid, GError **error);

/* Lists: (transfer container), by name, then host. */
GPtrArray *inventory_hosts(const Inventory *inventory);
GPtrArray *inventory_vms(const Inventory *inventory, const char *host_uuid /* NULL: all */);
GPtrArray *inventory_networks(const Inventory *inventory);
GPtrArray *inventory_datastores(const Inventory *inventory);

/** VMs that run (or are paused) on a host, by its own word, merged with nothing. */
guint inventory_running_vms(const Inventory *inventory, const char *host_uuid);
void inventory_count_hosts(const Inventory *inventory, guint *connected, guint *total);

/* ---- the rule, for its test --------------------------------------------------------- */

typedef struct {
    const Vm *vm; /* as that host tells it */
    const Host *host;
} InventorySight;

/** Which of n >= 1 sights of one VM is where it is: see inventory.c. */
gsize inventory_choose(const InventorySight *sights, gsize n, const Migration *last);
