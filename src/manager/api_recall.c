/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

#include "base/error.h"

typedef struct {
    const char *host, *vm; /* as the client named them; vm may be NULL */
    char *host_name;       /* of the inventory; the waiting thread frees it */
} ClearOrder;

static void
on_cleared(JsonNode *answer, const GError *error, gpointer data)
{
    if (answer != NULL)
        errand_answer(data, json_node_ref(answer), NULL);
    else
        errand_answer(data, NULL, g_error_copy(error));
}

/* A VM that is nowhere any more can still be remembered. (transfer full) */
static char *
vm_uuid(const Manager *manager, const char *name, GError **error)
{
    const Vm *vm;

    if (g_uuid_string_is_valid(name))
        return g_ascii_strdown(name, -1);
    vm = inventory_vm(manager->inventory, name, error);
    return vm != NULL ? g_strdup(vm->uuid) : NULL;
}

static void
ask_clear(Errand *errand, gpointer data, gpointer service)
{
    const Manager *manager = service;
    ClearOrder *order = data;
    GError *error = NULL;
    const Host *host = inventory_host(manager->inventory, order->host, &error);
    g_autofree char *uuid = host && order->vm ? vm_uuid(manager, order->vm, &error) : NULL;
    g_autofree char *path =
        uuid ? g_strdup_printf("/v1/recall?vm=%s", uuid) : g_strdup("/v1/recall");
    HostLink *line = host != NULL ? manager_line(manager, host->uuid) : NULL;

    if (error == NULL && line == NULL)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "host %s is not connected: godwit doctor looks at it", host->name);
    if (error != NULL) {
        errand_answer(errand, NULL, error);
        return;
    }
    order->host_name = g_strdup(host->name);
    host_link_call(line, "DELETE", path, NULL, on_cleared, errand);
}

JsonNode *
api_clear_recall(HttpCall *call, gpointer service, GError **error)
{
    ClearOrder order = { .host = api_param(call, "host"), .vm = api_param(call, "vm") };
    JsonNode *answer = errand_run(((Manager *)service)->desk, ask_clear, &order, error);

    if (answer != NULL)
        json_object_set_string_member(json_node_get_object(answer), "host", order.host_name);
    g_free(order.host_name);
    return answer;
}
