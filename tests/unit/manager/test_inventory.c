/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "manager/inventory.h"
#include "nouns.h"

#define ID "cccccccc-cccc-4ccc-8ccc-cccccccccccc"

typedef struct {
    Inventory *inventory;
    Migration *last; /* what last_migration answers */
    GString *told;   /* "vm web h1;vm- aaaa;…" */
} Fixture;

static void
tell_host(const Host *host, gpointer data)
{
    g_string_append_printf(((Fixture *)data)->told, "host %s %s;", host->name,
                           host_state_nicks[host->state]);
}

static void
tell_host_removed(const char *uuid, gpointer data)
{
    g_string_append_printf(((Fixture *)data)->told, "host- %.4s;", uuid);
}

static void
tell_vm(const Vm *vm, gpointer data)
{
    g_string_append_printf(((Fixture *)data)->told, "vm %s %s %s;", vm->name, vm->host_name,
                           vm_state_nicks[vm->state]);
}

static void
tell_vm_removed(const char *uuid, gpointer data)
{
    g_string_append_printf(((Fixture *)data)->told, "vm- %.4s;", uuid);
}

static const Migration *
last_migration(const char *vm_uuid, gpointer data)
{
    return ((Fixture *)data)->last;
}

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    const InventoryNotify notify = { tell_host,       tell_host_removed, tell_vm,
                                     tell_vm_removed, last_migration,    fixture };
    g_autoptr(Host) h1 = noun_host(UUID_H1, "h1", HOST_CONNECTING);
    g_autoptr(Host) h2 = noun_host(UUID_H2, "h2", HOST_CONNECTING);

    fixture->told = g_string_new(NULL);
    fixture->inventory = inventory_new(&notify);
    inventory_add_host(fixture->inventory, h1);
    inventory_add_host(fixture->inventory, h2);
    g_string_truncate(fixture->told, 0);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    inventory_free(fixture->inventory);
    migration_free(fixture->last);
    g_string_free(fixture->told, TRUE);
}

static void
assert_told(Fixture *fixture, const char *expected)
{
    g_assert_cmpstr(fixture->told->str, ==, expected);
    g_string_truncate(fixture->told, 0);
}

static void
assert_on(Fixture *fixture, const char *vm, const char *host)
{
    g_autoptr(GError) error = NULL;
    const Vm *found = inventory_vm(fixture->inventory, vm, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(found->host_name, ==, host);
}

static void
test_facts(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    Facts *facts = noun_facts(UUID_H1, "other-name", noun_vm(UUID_WEB, "web", VM_RUNNING), NULL);
    const Host *host;

    facts->host->control_port = 99; /* the manager's word counts */
    inventory_set_facts(inventory, UUID_H1, facts);
    assert_told(fixture, "host h1 connected;vm web h1 running;");
    host = inventory_find_host(inventory, UUID_H1);
    g_assert_cmpstr(host->name, ==, "h1");
    g_assert_cmpint(host->control_port, ==, 16570);
    /* The same again is no news. */
    inventory_set_facts(inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_WEB, "web", VM_RUNNING), NULL));
    assert_told(fixture, "host h1 connected;");
    /* web is gone, db is new. */
    inventory_set_facts(inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_DB, "db", VM_SHUTOFF), NULL));
    assert_told(fixture, "host h1 connected;vm- aaaa;vm db h1 shutoff;");
    g_assert_nonnull(inventory_facts(inventory, UUID_H1));
    g_assert_null(inventory_facts(inventory, UUID_H2));
}

static void
test_states(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    Facts *facts = noun_facts(UUID_H1, "h1", noun_vm(UUID_WEB, "web", VM_RUNNING), NULL);
    guint connected, total;

    facts->host->state = HOST_NO_LIBVIRT;
    facts->host->state_reason = g_strdup("libvirtd is down");
    inventory_set_facts(inventory, UUID_H1, facts);
    g_assert_cmpint(inventory_find_host(inventory, UUID_H1)->state, ==, HOST_NO_LIBVIRT);
    inventory_set_state(inventory, UUID_H1, HOST_DISCONNECTED, "connection refused");
    g_assert_cmpstr(inventory_find_host(inventory, UUID_H1)->state_reason, ==,
                    "connection refused");
    inventory_count_hosts(inventory, &connected, &total);
    g_assert_cmpuint(connected, ==, 0);
    g_assert_cmpuint(total, ==, 2);
    /* What was known stays known. */
    assert_on(fixture, "web", "h1");
    g_string_truncate(fixture->told, 0);
    inventory_set_state(inventory, UUID_H1, HOST_DISCONNECTED, "connection refused");
    assert_told(fixture, "");
}

/* A host's word on hosts, VMs and networks is on its own only. */
static void
test_unknown_host(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    Vm *vm = noun_vm(UUID_WEB, "web", VM_RUNNING);

    inventory_set_vm(inventory, UUID_H3, noun_vm(UUID_DB, "db", VM_RUNNING));
    inventory_set_facts(inventory, UUID_H3, noun_facts(UUID_H3, "h3", NULL));
    assert_told(fixture, "");
    vm->host = g_strdup(UUID_H2);
    vm->host_name = g_strdup("h2");
    inventory_set_vm(inventory, UUID_H1, vm);
    assert_on(fixture, "web", "h1");
    inventory_set_vm(inventory, UUID_H1, record_new(&vm_type)); /* without UUID */
}

static void
set_last(Fixture *fixture, MigrationResult result)
{
    migration_free(fixture->last);
    fixture->last = noun_migration(ID, UUID_WEB, UUID_H1, UUID_H2, result);
}

/* A whole migration as the events of both hosts tell it: shown once, always. */
static void
test_migration(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    g_autoptr(GPtrArray) vms = NULL;

    inventory_set_facts(inventory, UUID_H2, noun_facts(UUID_H2, "h2", NULL));
    inventory_set_facts(inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_WEB, "web", VM_RUNNING), NULL));
    set_last(fixture, MIGRATION_RUNNING);
    inventory_set_vm(inventory, UUID_H2, noun_vm(UUID_WEB, "web", VM_PAUSED));
    assert_on(fixture, "web", "h1");
    vms = inventory_vms(inventory, NULL);
    g_assert_cmpuint(vms->len, ==, 1);
    /* The switch: stopped here, runs there, but the source hasn't said that it is over. */
    inventory_set_vm(inventory, UUID_H1, noun_vm(UUID_WEB, "web", VM_PAUSED));
    inventory_set_vm(inventory, UUID_H2, noun_vm(UUID_WEB, "web", VM_RUNNING));
    assert_on(fixture, "web", "h1");
    set_last(fixture, MIGRATION_COMPLETED);
    assert_on(fixture, "web", "h2");
    inventory_drop_vm(inventory, UUID_H1, UUID_WEB);
    assert_on(fixture, "web", "h2");
}

/* The end is told before the hosts' own events come. */
static void
test_moved(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    Vm *vm = noun_vm(UUID_WEB, "web", VM_RUNNING);

    vm->migration = g_strdup(ID);
    inventory_set_facts(inventory, UUID_H2, noun_facts(UUID_H2, "h2", NULL));
    inventory_set_facts(inventory, UUID_H1, noun_facts(UUID_H1, "h1", vm, NULL));
    set_last(fixture, MIGRATION_COMPLETED);
    inventory_moved(inventory, UUID_WEB, UUID_H1, UUID_H2);
    assert_on(fixture, "web", "h2");
    g_assert_null(inventory_vm(inventory, "web", NULL)->migration);
    g_assert_cmpuint(inventory_running_vms(inventory, UUID_H1), ==, 0);
    g_assert_cmpuint(inventory_running_vms(inventory, UUID_H2), ==, 1);
    inventory_moved(inventory, UUID_DB, UUID_H1, UUID_H2);  /* unknown: nothing */
    inventory_moved(inventory, UUID_WEB, UUID_H2, UUID_H3); /* to an unknown host: gone */
    g_assert_null(inventory_vm(inventory, "web", NULL));
}

/* The rule by itself: each row is two sights, the last migration, and which is to be shown. */
static void
test_choose(void)
{
    static const struct {
        VmState first, second;
        HostState first_host, second_host;
        int last; /* MigrationResult, from first to second; -1: none */
        gsize chosen;
    } rows[] = {
        { VM_RUNNING, VM_PAUSED, HOST_CONNECTED, HOST_CONNECTED, -1, 0 },
        { VM_PAUSED, VM_RUNNING, HOST_CONNECTED, HOST_CONNECTED, -1, 1 },
        { VM_PAUSED, VM_RUNNING, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_RUNNING, 0 },
        { VM_PAUSED, VM_RUNNING, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_PENDING, 0 },
        { VM_PAUSED, VM_RUNNING, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_UNSETTLED, 1 },
        { VM_PAUSED, VM_PAUSED, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_UNSETTLED, 0 },
        { VM_SHUTOFF, VM_SHUTOFF, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_COMPLETED, 1 },
        { VM_SHUTOFF, VM_SHUTOFF, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_FAILED, 0 },
        { VM_RUNNING, VM_SHUTOFF, HOST_CONNECTED, HOST_CONNECTED, MIGRATION_COMPLETED, 0 },
        { VM_RUNNING, VM_RUNNING, HOST_DISCONNECTED, HOST_CONNECTED, -1, 1 },
        { VM_RUNNING, VM_SHUTOFF, HOST_DISCONNECTED, HOST_CONNECTED, -1, 0 },
        { VM_CRASHED, VM_SHUTOFF, HOST_CONNECTED, HOST_CONNECTED, -1, 0 },
        { VM_SUSPENDED, VM_CRASHED, HOST_CONNECTED, HOST_CONNECTED, -1, 0 },
        { VM_SHUTOFF, VM_SHUTOFF, HOST_CONNECTED, HOST_CONNECTED, -1, 0 },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Vm) first = noun_vm(UUID_WEB, "web", rows[i].first);
        g_autoptr(Vm) second = noun_vm(UUID_WEB, "web", rows[i].second);
        g_autoptr(Host) h1 = noun_host(UUID_H1, "h1", rows[i].first_host);
        g_autoptr(Host) h2 = noun_host(UUID_H2, "h2", rows[i].second_host);
        g_autoptr(Migration) last =
            rows[i].last < 0
                ? NULL
                : noun_migration(ID, UUID_WEB, UUID_H1, UUID_H2, (MigrationResult)rows[i].last);
        const InventorySight sights[] = { { first, h1 }, { second, h2 } };
        const InventorySight swapped[] = { { second, h2 }, { first, h1 } };

        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpuint(inventory_choose(sights, 2, last), ==, rows[i].chosen);
        g_assert_cmpuint(inventory_choose(swapped, 2, last), ==, 1 - rows[i].chosen);
    }
}

static void
test_look_up(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    g_autoptr(GError) error = NULL;

    inventory_set_vm(inventory, UUID_H1, noun_vm(UUID_WEB, "web", VM_RUNNING));
    inventory_set_vm(inventory, UUID_H2, noun_vm(UUID_DB, "web", VM_RUNNING));
    g_assert_null(inventory_vm(inventory, "web", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_nonnull(strstr(error->message, UUID_WEB));
    g_assert_nonnull(strstr(error->message, UUID_DB));
    g_clear_error(&error);
    g_assert_cmpstr(inventory_vm(inventory, "AAAAAAAA-aaaa-4aaa-8aaa-aaaaaaaaaaaa", NULL)->uuid, ==,
                    UUID_WEB);
    g_assert_null(inventory_vm(inventory, "nope", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(inventory_host(inventory, "h9", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "h1, h2"));
    g_assert_cmpstr(inventory_host(inventory, UUID_H2, NULL)->name, ==, "h2");
}

static void
test_remove_host(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    g_autoptr(GPtrArray) vms = NULL;

    inventory_set_facts(inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_WEB, "web", VM_RUNNING),
                                   noun_vm(UUID_DB, "db", VM_RUNNING), NULL));
    inventory_set_facts(inventory, UUID_H2,
                        noun_facts(UUID_H2, "h2", noun_vm(UUID_DB, "db", VM_SHUTOFF), NULL));
    g_string_truncate(fixture->told, 0);
    inventory_remove_host(inventory, UUID_H1);
    assert_told(fixture, "vm db h2 shutoff;vm- aaaa;host- 1111;");
    vms = inventory_vms(inventory, NULL);
    g_assert_cmpuint(vms->len, ==, 1);
    inventory_remove_host(inventory, UUID_H1);
    assert_told(fixture, "");
}

static void
test_lists(Fixture *fixture, gconstpointer unused)
{
    Inventory *inventory = fixture->inventory;
    g_autoptr(GPtrArray) networks = NULL, hosts = NULL, vms = NULL;

    inventory_set_facts(inventory, UUID_H2,
                        noun_facts(UUID_H2, "h2", noun_vm(UUID_WEB, "web", VM_RUNNING), NULL));
    inventory_set_facts(inventory, UUID_H1,
                        noun_facts(UUID_H1, "h1", noun_vm(UUID_DB, "db", VM_RUNNING), NULL));
    networks = inventory_networks(inventory);
    g_assert_cmpuint(networks->len, ==, 2);
    g_assert_cmpstr(((Network *)networks->pdata[0])->host, ==, UUID_H1);
    g_assert_cmpstr(((Network *)networks->pdata[1])->host, ==, UUID_H2);
    hosts = inventory_hosts(inventory);
    g_assert_cmpstr(((Host *)hosts->pdata[0])->name, ==, "h1");
    vms = inventory_vms(inventory, UUID_H2);
    g_assert_cmpuint(vms->len, ==, 1);
    g_assert_cmpstr(((Vm *)vms->pdata[0])->name, ==, "web");
}

#define ADD(name, func) g_test_add("/inventory/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("facts", test_facts);
    ADD("states", test_states);
    ADD("unknown-host", test_unknown_host);
    ADD("migration", test_migration);
    ADD("moved", test_moved);
    ADD("look-up", test_look_up);
    ADD("remove-host", test_remove_host);
    ADD("lists", test_lists);
    g_test_add_func("/inventory/choose", test_choose);
    return g_test_run();
}
