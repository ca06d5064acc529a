/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/admission.h"

#include "base/error.h"
#include "manager/follow.h"
#include "preflight/preflight.h"

static gboolean
vm_is_free(const TaskBook *book, const Vm *vm, GError **error)
{
    const Task *busy = taskbook_of_vm(book, vm->uuid);
    const Task *told = vm->migration ? taskbook_find(book, vm->migration) : NULL;

    if (busy != NULL) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
            "VM %s is being migrated already, from %s to %s (task %s is %s); wait for it, or "
            "cancel it: godwit task cancel %s",
            vm->name, busy->migration->from, busy->migration->to, busy->id,
            task_state_nicks[busy->state], busy->id);
        return FALSE;
    }
    /* Its host may still say so of one that has just ended; then it decides for itself. */
    if (vm->migration != NULL && !(told != NULL && task_is_ended(told))) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "VM %s is in migration %s by the word of host %s; wait until it has ended",
                    vm->name, vm->migration, vm->host_name);
        return FALSE;
    }
    return TRUE;
}

static gboolean
source_answers(const Vm *vm, const Host *source, GError **error)
{
    if (source->state == HOST_CONNECTED)
        return TRUE;
    g_set_error(
        error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
        "VM %s was last seen on host %s, which is %s%s%s; nothing was started: bring the host "
        "back first (godwit doctor looks at it)",
        vm->name, source->name, host_state_nicks[source->state], source->state_reason ? ": " : "",
        source->state_reason ? source->state_reason : "");
    return FALSE;
}

/** A destination that isn't connected: old facts would only add noise to that. */
static gboolean
refuse_silent(const Host *to, GError **error)
{
    g_autofree char *before = *error ? g_strconcat((*error)->message, "; ", NULL) : g_strdup("");

    g_clear_error(error);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED,
                "%shost %s is %s%s%s; bring it back or choose another host (godwit doctor looks at "
                "it) (check destination-up)",
                before, to->name, host_state_nicks[to->state], to->state_reason ? ": " : "",
                to->state_reason ? to->state_reason : "");
    return FALSE;
}

static gboolean
checks_pass(const Inventory *inventory, const Vm *vm, const Host *to, GStrv *warnings,
            GError **error)
{
    gboolean to_answers = to->state == HOST_CONNECTED;
    PreflightInput input = {
        .vm = vm,
        .source = inventory_facts(inventory, vm->host),
        .destination = to_answers ? inventory_facts(inventory, to->uuid) : NULL,
        /* The destination's agent adds its own headroom when it reserves. */
        .destination_headroom_bytes = 0,
    };
    g_autoptr(GError) problem = NULL;
    gboolean ok = preflight_admit(&input, warnings, &problem);

    if (to_answers && ok)
        return TRUE;
    if (!to_answers)
        refuse_silent(to, &problem);
    g_propagate_prefixed_error(error, g_steal_pointer(&problem),
                               "VM %s stays on %s, nothing was started: ", vm->name, vm->host_name);
    return FALSE;
}

Task *
admission_admit(const Inventory *inventory, const TaskBook *book, const MigrationOrder *order,
                gint64 now_ms, GError **error)
{
    const Vm *vm = inventory_vm(inventory, order->vm, error);
    const Host *to = vm != NULL ? inventory_host(inventory, order->to, error) : NULL;
    const Host *from = vm != NULL ? inventory_find_host(inventory, vm->host) : NULL;
    g_auto(GStrv) warnings = NULL;
    g_autofree char *id = NULL;
    Task *task;

    if (vm == NULL || to == NULL || from == NULL)
        return NULL;
    if (!vm_is_free(book, vm, error) || !source_answers(vm, from, error) ||
        !checks_pass(inventory, vm, to, &warnings, error))
        return NULL;
    id = g_uuid_string_random();
    task = follow_new_task(id, vm, from, to, order->policy ? order->policy : "standard", warnings,
                           now_ms);
    task->migration->max_bps = order->max_bps;
    return task;
}
