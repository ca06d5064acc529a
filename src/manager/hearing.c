/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One row per event of the agent's stream (schema/agent.yaml, streamEvents). Events of newer agents
 * that aren't known are left out; those that are known must be well-formed, else the line is cut:
 * an inventory that is silently wrong would be worse than a host that is not connected.
 *
 * An agent is believed in what concerns its own host only: hosts, VMs, networks and datastores get
 * the UUID of the line they came over, and reports of migrations that don't leave that host are
 * left out.
 */
#include "manager/hearing.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "manager/cluster_key.h"
#include "manager/manager.h"
#include "manager/migrations.h"

typedef struct {
    Manager *manager;
    const char *host_uuid;
} Ear;

static gboolean
hear_facts(const Ear *ear, const char *text, GError **error)
{
    g_autoptr(Facts) facts = record_from_string(&facts_type, text, -1, error);
    const Host *known = inventory_find_host(ear->manager->inventory, ear->host_uuid);
    gboolean was_connected = known != NULL && known->state == HOST_CONNECTED;

    if (facts == NULL)
        return FALSE;
    if (facts->host == NULL || g_strcmp0(facts->host->uuid, ear->host_uuid) != 0) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL, "facts of host %s over the line of host %s",
            facts->host && facts->host->uuid ? facts->host->uuid : "(none)", ear->host_uuid);
        return FALSE;
    }
    if (facts->host->recall != NULL)
        cluster_key_give_soon(ear->manager, ear->host_uuid);
    inventory_set_facts(ear->manager->inventory, ear->host_uuid, g_steal_pointer(&facts));
    if (!was_connected && known != NULL)
        g_message("host %s is connected",
                  inventory_find_host(ear->manager->inventory, ear->host_uuid)->name);
    migrations_settle_soon(ear->manager, ear->host_uuid);
    return TRUE;
}

static gboolean
hear_host(const Ear *ear, const char *text, GError **error)
{
    Host *host = record_from_string(&host_type, text, -1, error);

    if (host == NULL)
        return FALSE;
    /* Just taken, so the clocks can be compared; facts on greeting may be older. */
    if (host->clock_ms != 0)
        host->clock_offset_ms = host->clock_ms - clock_wall_ms();
    if (host->recall != NULL && !host->recall->keyed)
        cluster_key_give_soon(ear->manager, ear->host_uuid);
    inventory_set_host(ear->manager->inventory, ear->host_uuid, host);
    return TRUE;
}

static gboolean
hear_vm(const Ear *ear, const char *text, GError **error)
{
    Vm *vm = record_from_string(&vm_type, text, -1, error);

    if (vm != NULL)
        inventory_set_vm(ear->manager->inventory, ear->host_uuid, vm);
    return vm != NULL;
}

static gboolean
hear_vm_removed(const Ear *ear, const char *text, GError **error)
{
    g_autoptr(Vm) vm = record_from_string(&vm_type, text, -1, error);

    if (vm != NULL && vm->uuid != NULL)
        inventory_drop_vm(ear->manager->inventory, ear->host_uuid, vm->uuid);
    return vm != NULL;
}

/** A JSON list of records. (transfer full) */
static GPtrArray *
list_from_text(const RecordType *type, const char *text, GError **error)
{
    g_autoptr(JsonNode) node = json_parse_limited(text, strlen(text), error);
    g_autoptr(GPtrArray) list = NULL;
    JsonArray *array;

    if (node == NULL)
        return NULL;
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "expected a list");
        return NULL;
    }
    array = json_node_get_array(node);
    list = record_list_new(type);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        gpointer record = record_from_json(type, json_array_get_element(array, i), error);

        if (record == NULL)
            return NULL;
        g_ptr_array_add(list, record);
    }
    return g_steal_pointer(&list);
}

static gboolean
hear_networks(const Ear *ear, const char *text, GError **error)
{
    GPtrArray *list = list_from_text(&network_type, text, error);

    if (list != NULL)
        inventory_set_networks(ear->manager->inventory, ear->host_uuid, list);
    return list != NULL;
}

static gboolean
hear_datastores(const Ear *ear, const char *text, GError **error)
{
    GPtrArray *list = list_from_text(&datastore_type, text, error);

    if (list != NULL)
        inventory_set_datastores(ear->manager->inventory, ear->host_uuid, list);
    return list != NULL;
}

static gboolean
hear_migration(const Ear *ear, const char *text, GError **error)
{
    Migration *report = record_from_string(&migration_type, text, -1, error);

    if (report != NULL)
        taskbook_report(ear->manager->tasks, ear->host_uuid, report);
    return report != NULL;
}

static gboolean
hear_alarm(const Ear *ear, const char *text, GError **error)
{
    Alarm *alarm = record_from_string(&alarm_record_type, text, -1, error);
    const Host *host = inventory_find_host(ear->manager->inventory, ear->host_uuid);

    if (alarm == NULL)
        return FALSE;
    g_free(alarm->host);
    alarm->host = g_strdup(host ? host->name : ear->host_uuid);
    manager_raise(ear->manager, alarm);
    return TRUE;
}

static const struct {
    const char *event;
    gboolean (*hear)(const Ear *ear, const char *text, GError **error);
} events[] = {
    { "facts", hear_facts },
    { "host", hear_host },
    { "vm", hear_vm },
    { "vm-removed", hear_vm_removed },
    { "networks", hear_networks },
    { "datastores", hear_datastores },
    { "migration", hear_migration },
    { "alarm", hear_alarm },
};

gboolean
hearing_event(const char *host_uuid, const char *event, const char *text, gpointer data,
              GError **error)
{
    const Ear ear = { .manager = data, .host_uuid = host_uuid };

    for (gsize i = 0; i < G_N_ELEMENTS(events); i++)
        if (strcmp(event, events[i].event) == 0)
            return events[i].hear(&ear, text, error);
    g_debug("host %s: event \"%s\" is not known here", host_uuid, event);
    return TRUE;
}
