/* SPDX-License-Identifier: Apache-2.0 */
#include "nouns.h"

#include <stdarg.h>

Host *
noun_host(const char *uuid, const char *name, HostState state)
{
    Host *host = record_new(&host_type);

    host->uuid = g_strdup(uuid);
    host->name = g_strdup(name);
    host->state = (int)state;
    host->control_address = g_strdup("127.0.0.1");
    host->control_port = 16570;
    host->memory_total_bytes = G_GINT64_CONSTANT(16) << 30;
    host->memory_free_bytes = G_GINT64_CONSTANT(8) << 30;
    return host;
}

Vm *
noun_vm(const char *uuid, const char *name, VmState state)
{
    Vm *vm = record_new(&vm_type);
    VmNic *nic = record_new(&vm_nic_type);

    vm->uuid = g_strdup(uuid);
    vm->name = g_strdup(name);
    vm->state = (int)state;
    vm->persistent = TRUE;
    vm->memory_bytes = vm->memory_max_bytes = G_GINT64_CONSTANT(1) << 30;
    vm->vcpus = 1;
    nic->type = g_strdup("network");
    nic->network = g_strdup("lan");
    nic->mac = g_strdup("52:54:00:00:00:01");
    vm->nics = record_list_new(&vm_nic_type);
    g_ptr_array_add(vm->nics, nic);
    return vm;
}

Migration *
noun_migration(const char *id, const char *vm_uuid, const char *from_uuid, const char *to_uuid,
               MigrationResult result)
{
    Migration *migration = record_new(&migration_type);

    migration->id = g_strdup(id);
    migration->vm_uuid = g_strdup(vm_uuid);
    migration->from_uuid = g_strdup(from_uuid);
    migration->to_uuid = g_strdup(to_uuid);
    migration->result = (int)result;
    migration->started_ms = result == MIGRATION_PENDING ? 0 : 1000;
    return migration;
}

Facts *
noun_facts(const char *uuid, const char *name, ...)
{
    Facts *facts = record_new(&facts_type);
    Network *network = record_new(&network_type);
    va_list vms;

    facts->host = noun_host(uuid, name, HOST_CONNECTED);
    network->name = g_strdup("lan");
    network->active = TRUE;
    facts->networks = record_list_new(&network_type);
    g_ptr_array_add(facts->networks, network);
    facts->vms = record_list_new(&vm_type);
    va_start(vms, name);
    for (Vm *vm = va_arg(vms, Vm *); vm != NULL; vm = va_arg(vms, Vm *))
        g_ptr_array_add(facts->vms, vm);
    va_end(vms);
    return facts;
}
