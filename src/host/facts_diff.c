/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From "this was read" to "this changed": the pure half of the facts feed.
 *
 * known is what listeners were told (or would have been). An update replaces parts of it; each part
 * that is not equal to what was known is emitted, nothing else. Networks and datastores go as whole
 * lists: they are short and change rarely.
 */
#include "host/facts_diff.h"

FactsUpdate *
facts_update_new(void)
{
    FactsUpdate *update = g_new0(FactsUpdate, 1);
    update->gone = g_ptr_array_new_with_free_func(g_free);
    return update;
}

void
facts_update_free(FactsUpdate *update)
{
    if (!update)
        return;
    host_free(update->host);
    g_clear_pointer(&update->networks, g_ptr_array_unref);
    g_clear_pointer(&update->datastores, g_ptr_array_unref);
    g_clear_pointer(&update->vms, g_ptr_array_unref);
    g_ptr_array_unref(update->gone);
    g_free(update);
}

static gssize
find_vm(const GPtrArray *vms, const char *uuid)
{
    for (guint i = 0; vms && i < vms->len; i++) {
        const Vm *vm = g_ptr_array_index(vms, i);
        if (g_strcmp0(vm->uuid, uuid) == 0)
            return i;
    }
    return -1;
}

Vm *
facts_find_vm(const Facts *facts, const char *uuid)
{
    gssize at = find_vm(facts->vms, uuid);
    return at < 0 ? NULL : g_ptr_array_index(facts->vms, at);
}

gint64
facts_running_vms(const Facts *facts)
{
    gint64 running = 0;
    for (guint i = 0; facts->vms && i < facts->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(facts->vms, i);
        running += vm->state != VM_SHUTOFF && vm->state != VM_CRASHED;
    }
    return running;
}

gboolean
facts_host_differs(const Host *a, const Host *b)
{
    if (!a || !b)
        return a != b;
    Host same_clock = *a; /* shallow: only compared */
    same_clock.clock_ms = b->clock_ms;
    same_clock.uptime_s = b->uptime_s;
    return !record_equal(&host_type, &same_clock, b);
}

static gboolean
lists_equal(const RecordType *type, const GPtrArray *a, const GPtrArray *b)
{
    guint n_a = a ? a->len : 0, n_b = b ? b->len : 0;
    if (n_a != n_b)
        return FALSE;
    for (guint i = 0; i < n_a; i++)
        if (!record_equal(type, g_ptr_array_index(a, i), g_ptr_array_index(b, i)))
            return FALSE;
    return TRUE;
}

static void
apply_list(GPtrArray **known, GPtrArray **fresh, const RecordType *type, const char *event,
           FactsEmit emit, gpointer user_data)
{
    if (!*fresh)
        return;
    gboolean differ = !lists_equal(type, *known, *fresh);
    g_clear_pointer(known, g_ptr_array_unref);
    *known = g_steal_pointer(fresh);
    if (!differ)
        return;
    g_autoptr(JsonNode) data = record_list_to_json(type, *known);
    emit(event, data, user_data);
}

static void
remove_vm(Facts *known, const char *uuid, FactsEmit emit, gpointer user_data)
{
    gssize at = find_vm(known->vms, uuid);
    if (at < 0)
        return;
    g_autoptr(JsonNode) data = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(data, json_object_new());
    json_object_set_string_member(json_node_get_object(data), "uuid", uuid);
    g_ptr_array_remove_index(known->vms, at);
    emit("vm-removed", data, user_data);
}

/* Takes vm. */
static void
put_vm(Facts *known, Vm *vm, FactsEmit emit, gpointer user_data)
{
    gssize at = find_vm(known->vms, vm->uuid);
    if (at >= 0 && record_equal(&vm_type, g_ptr_array_index(known->vms, at), vm)) {
        vm_free(vm);
        return;
    }
    if (at < 0) {
        g_ptr_array_add(known->vms, vm);
    } else {
        vm_free(g_ptr_array_index(known->vms, at));
        g_ptr_array_index(known->vms, at) = vm;
    }
    g_autoptr(JsonNode) data = record_to_json(&vm_type, vm);
    emit("vm", data, user_data);
}

static void
apply_vms(Facts *known, FactsUpdate *update, FactsEmit emit, gpointer user_data)
{
    if (!known->vms)
        known->vms = record_list_new(&vm_type);
    for (guint i = 0; i < update->gone->len; i++)
        remove_vm(known, g_ptr_array_index(update->gone, i), emit, user_data);
    if (!update->vms)
        return;
    for (guint i = known->vms->len; update->all_vms && i > 0; i--) {
        const Vm *vm = g_ptr_array_index(known->vms, i - 1);
        g_autofree char *uuid = g_strdup(vm->uuid);
        if (find_vm(update->vms, uuid) < 0)
            remove_vm(known, uuid, emit, user_data);
    }
    while (update->vms->len > 0)
        put_vm(known, g_ptr_array_steal_index(update->vms, 0), emit, user_data);
}

gboolean
facts_apply(Facts *known, FactsUpdate *update, FactsEmit emit, gpointer user_data)
{
    gint64 running = facts_running_vms(known);
    if (update->host) {
        gboolean differs = facts_host_differs(known->host, update->host);
        host_free(known->host);
        known->host = g_steal_pointer(&update->host);
        if (differs) {
            g_autoptr(JsonNode) data = record_to_json(&host_type, known->host);
            emit("host", data, user_data);
        }
    }
    apply_list(&known->networks, &update->networks, &network_type, "networks", emit, user_data);
    apply_list(&known->datastores, &update->datastores, &datastore_type, "datastores", emit,
               user_data);
    apply_vms(known, update, emit, user_data);
    return facts_running_vms(known) != running;
}
