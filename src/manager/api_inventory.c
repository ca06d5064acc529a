/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

#include "base/error.h"

JsonNode *
api_list_vms(HttpCall *call, gpointer service, GError **error)
{
    const Inventory *inventory = ((Manager *)service)->inventory;
    const char *name = api_param(call, "host");
    const Host *host = name != NULL ? inventory_host(inventory, name, error) : NULL;

    if (name != NULL && host == NULL)
        return NULL;
    return api_list("vms", &vm_type, inventory_vms(inventory, host ? host->uuid : NULL));
}

JsonNode *
api_get_vm(HttpCall *call, gpointer service, GError **error)
{
    const Vm *vm = inventory_vm(((Manager *)service)->inventory, api_param(call, "vm"), error);

    return vm != NULL ? record_to_json(&vm_type, vm) : NULL;
}

static void
on_xml(JsonNode *answer, const GError *error, gpointer data)
{
    if (answer != NULL)
        errand_answer(data, json_node_ref(answer), NULL);
    else
        errand_answer(data, NULL, g_error_copy(error));
}

static void
ask_xml(Errand *errand, gpointer order, gpointer service)
{
    const Manager *manager = service;
    GError *error = NULL;
    const Vm *vm = inventory_vm(manager->inventory, order, &error);
    HostLink *line = vm != NULL ? manager_line(manager, vm->host) : NULL;
    g_autofree char *path = vm ? g_strdup_printf("/v1/vms/%s/xml", vm->uuid) : NULL;

    if (vm != NULL && line == NULL)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "host %s, which VM %s is on, is not connected: godwit doctor looks at it",
                    vm->host_name, vm->name);
    if (line != NULL)
        host_link_call(line, "GET", path, NULL, on_xml, errand);
    else
        errand_answer(errand, NULL, error);
}

JsonNode *
api_get_vm_xml(HttpCall *call, gpointer service, GError **error)
{
    return errand_run(((Manager *)service)->desk, ask_xml, (gpointer)api_param(call, "vm"), error);
}

JsonNode *
api_list_networks(HttpCall *call, gpointer service, GError **error)
{
    return api_list("networks", &network_type, inventory_networks(((Manager *)service)->inventory));
}

JsonNode *
api_list_datastores(HttpCall *call, gpointer service, GError **error)
{
    return api_list("datastores", &datastore_type,
                    inventory_datastores(((Manager *)service)->inventory));
}
