/* SPDX-License-Identifier: Apache-2.0 */
#include "host/facts_diff.h"

/* What was emitted, one "event:key" a word. */
static void
note(const char *event, JsonNode *data, gpointer user_data)
{
    GString *log = user_data;
    const char *key = "";
    if (JSON_NODE_HOLDS_OBJECT(data)) {
        JsonObject *object = json_node_get_object(data);
        key = json_object_get_string_member_with_default(object, "uuid", "");
    }
    g_string_append_printf(log, "%s%s%s%s", log->len ? " " : "", event, *key ? ":" : "", key);
}

static Vm *
vm_new(const char *uuid, VmState state)
{
    Vm *vm = record_new(&vm_type);
    vm->uuid = g_strdup(uuid);
    vm->name = g_strdup_printf("name of %s", uuid);
    vm->state = state;
    return vm;
}

static Host *
host_new(gint64 memory, gint64 clock)
{
    Host *host = record_new(&host_type);
    host->uuid = g_strdup("h");
    host->memory_free_bytes = memory;
    host->clock_ms = clock;
    host->uptime_s = clock / 1000;
    return host;
}

static GPtrArray *
networks_new(const char *name)
{
    GPtrArray *list = record_list_new(&network_type);
    Network *network = record_new(&network_type);
    network->name = g_strdup(name);
    g_ptr_array_add(list, network);
    return list;
}

/* Applies and frees update; what was emitted (transfer full). */
static char *
apply(Facts *known, FactsUpdate *update, gboolean *count_changed)
{
    GString *log = g_string_new(NULL);
    gboolean changed = facts_apply(known, update, note, log);
    if (count_changed)
        *count_changed = changed;
    facts_update_free(update);
    return g_string_free(log, FALSE);
}

#define ASSERT_EMITS(known, update, expected)                                                      \
    do {                                                                                           \
        g_autofree char *emitted_ = apply(known, update, NULL);                                    \
        g_assert_cmpstr(emitted_, ==, expected);                                                   \
    } while (0)

static FactsUpdate *
update_of_vms(gboolean all, ...)
{
    FactsUpdate *update = facts_update_new();
    update->vms = record_list_new(&vm_type);
    update->all_vms = all;
    va_list vms;
    va_start(vms, all);
    for (Vm *vm = va_arg(vms, Vm *); vm; vm = va_arg(vms, Vm *))
        g_ptr_array_add(update->vms, vm);
    va_end(vms);
    return update;
}

static void
test_vms(void)
{
    g_autoptr(Facts) known = record_new(&facts_type);
    ASSERT_EMITS(known, update_of_vms(TRUE, vm_new("a", VM_RUNNING), vm_new("b", VM_SHUTOFF), NULL),
                 "vm:a vm:b");
    ASSERT_EMITS(known, update_of_vms(TRUE, vm_new("b", VM_SHUTOFF), vm_new("a", VM_RUNNING), NULL),
                 "");
    ASSERT_EMITS(known, update_of_vms(FALSE, vm_new("b", VM_RUNNING), NULL), "vm:b");
    ASSERT_EMITS(known, update_of_vms(FALSE, NULL), "");
    ASSERT_EMITS(known, update_of_vms(TRUE, vm_new("b", VM_RUNNING), vm_new("c", VM_PAUSED), NULL),
                 "vm-removed:a vm:c");
    FactsUpdate *gone = facts_update_new();
    g_ptr_array_add(gone->gone, g_strdup("b"));
    g_ptr_array_add(gone->gone, g_strdup("never-there"));
    ASSERT_EMITS(known, gone, "vm-removed:b");
    g_assert_cmpuint(known->vms->len, ==, 1);
    g_assert_nonnull(facts_find_vm(known, "c"));
    g_assert_null(facts_find_vm(known, "b"));
}

static void
test_running_count(void)
{
    g_autoptr(Facts) known = record_new(&facts_type);
    static const struct {
        VmState state;
        gboolean changes;
    } steps[] = {
        { VM_SHUTOFF, FALSE }, { VM_RUNNING, TRUE },  { VM_PAUSED, FALSE },
        { VM_CRASHED, TRUE },  { VM_CRASHED, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        gboolean changed;
        g_free(apply(known, update_of_vms(FALSE, vm_new("a", steps[i].state), NULL), &changed));
        g_assert_cmpint(changed, ==, steps[i].changes);
    }
}

static void
test_host(void)
{
    g_autoptr(Facts) known = record_new(&facts_type);
    FactsUpdate *first = facts_update_new();
    first->host = host_new(100, 1000);
    ASSERT_EMITS(known, first, "host:h");
    FactsUpdate *later = facts_update_new();
    later->host = host_new(100, 60000); /* only time went on */
    ASSERT_EMITS(known, later, "");
    g_assert_cmpint(known->host->clock_ms, ==, 60000);
    FactsUpdate *less = facts_update_new();
    less->host = host_new(90, 61000);
    ASSERT_EMITS(known, less, "host:h");
    ASSERT_EMITS(known, facts_update_new(), ""); /* not read is not gone */
    g_assert_nonnull(known->host);
}

static void
test_lists(void)
{
    g_autoptr(Facts) known = record_new(&facts_type);
    FactsUpdate *first = facts_update_new();
    first->networks = networks_new("lan");
    first->datastores = record_list_new(&datastore_type);
    ASSERT_EMITS(known, first, "networks"); /* none and an empty list are the same */
    FactsUpdate *same = facts_update_new();
    same->networks = networks_new("lan");
    ASSERT_EMITS(known, same, "");
    FactsUpdate *other = facts_update_new();
    other->networks = networks_new("dmz");
    ASSERT_EMITS(known, other, "networks");
    FactsUpdate *none = facts_update_new();
    none->networks = record_list_new(&network_type);
    ASSERT_EMITS(known, none, "networks");
}

/* Property: after any row of updates, known holds exactly what a full read would, and a full read
 * of the same emits nothing. */
static void
test_converges(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    g_autoptr(Facts) known = record_new(&facts_type);
    int truth[8]; /* state + 1; 0 = not there */
    memset(truth, 0, sizeof truth);
    for (guint round = 0; round < 2000; round++) {
        guint at = g_rand_int_range(random, 0, 8);
        truth[at] = g_rand_int_range(random, 0, 6);
        g_autofree char *uuid = g_strdup_printf("vm%u", at);
        FactsUpdate *update = truth[at] ? update_of_vms(FALSE, vm_new(uuid, truth[at] - 1), NULL)
                                        : update_of_vms(FALSE, NULL);
        if (!truth[at])
            g_ptr_array_add(update->gone, g_strdup(uuid));
        g_free(apply(known, update, NULL));
        FactsUpdate *all = update_of_vms(TRUE, NULL);
        for (guint i = 0; i < 8; i++) {
            g_autofree char *name = g_strdup_printf("vm%u", i);
            if (truth[i])
                g_ptr_array_add(all->vms, vm_new(name, truth[i] - 1));
        }
        ASSERT_EMITS(known, all, "");
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/facts-diff/vms", test_vms);
    g_test_add_func("/host/facts-diff/running-count", test_running_count);
    g_test_add_func("/host/facts-diff/host", test_host);
    g_test_add_func("/host/facts-diff/lists", test_lists);
    g_test_add_func("/host/facts-diff/converges", test_converges);
    return g_test_run();
}
