/* SPDX-License-Identifier: Apache-2.0 */
/* What libvirt has on the hosts beside VMs: networks and datastores. */
#include "base/units.h"
#include "cli/session.h"
#include "model/model.h"

static const char *
host_name(GHashTable *names, const char *uuid)
{
    const char *name = uuid ? g_hash_table_lookup(names, uuid) : NULL;

    return name ? name : uuid;
}

/* By name, then by name of the host. */
static gint
by_network(gconstpointer a, gconstpointer b, gpointer names)
{
    const Network *x = *(const Network *const *)a, *y = *(const Network *const *)b;
    int order = g_strcmp0(x->name, y->name);

    return order ? order : g_strcmp0(host_name(names, x->host), host_name(names, y->host));
}

static gint
by_datastore(gconstpointer a, gconstpointer b, gpointer names)
{
    const Datastore *x = *(const Datastore *const *)a, *y = *(const Datastore *const *)b;
    int order = g_strcmp0(x->name, y->name);

    return order ? order : g_strcmp0(host_name(names, x->host), host_name(names, y->host));
}

static void
state_cell(Table *table, gboolean active, gboolean autostart)
{
    table_cell(table, active ? COLOUR_GOOD : COLOUR_WARN, active ? "active" : "inactive");
    table_cell(table, COLOUR_NONE, autostart ? "yes" : "no");
}

gboolean
run_network_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "NAME" },
                                           { "HOST" },
                                           { "STATE" },
                                           { "AUTOSTART" },
                                           { "FORWARD" },
                                           { "BRIDGE" },
                                           { "PORT GROUPS", FALSE, TRUE },
                                           { NULL } };
    g_autofree char *path = api_path("networks", NULL);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) networks =
        session_list(cli, path, "networks", &network_type, &answer, error);
    g_autoptr(GHashTable) names = NULL;
    g_autoptr(Table) table = table_new(columns);

    if (!networks)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    names = session_host_names(cli);
    g_ptr_array_sort_with_data(networks, by_network, names);
    for (guint i = 0; i < networks->len; i++) {
        const Network *network = g_ptr_array_index(networks, i);
        g_autofree char *groups =
            network->port_groups ? g_strjoinv(", ", network->port_groups) : NULL;

        table_cell(table, COLOUR_NONE, network->name);
        table_cell(table, COLOUR_NONE, host_name(names, network->host));
        state_cell(table, network->active, network->autostart);
        table_cell(table, COLOUR_NONE, network->forward ? network->forward : "none");
        table_cell(table, COLOUR_NONE, network->bridge ? network->bridge : "-");
        table_cell(table, COLOUR_NONE, groups);
    }
    cli_print_table(cli, table, "No networks: libvirt has none on the hosts that are connected.");
    return TRUE;
}

gboolean
run_datastore_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "NAME" },
                                           { "HOST" },
                                           { "STATE" },
                                           { "AUTOSTART" },
                                           { "TYPE" },
                                           { "SIZE", TRUE },
                                           { "FREE", TRUE },
                                           { "PATH", FALSE, TRUE },
                                           { "SOURCE", FALSE, TRUE },
                                           { NULL } };
    g_autofree char *path = api_path("datastores", NULL);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) stores =
        session_list(cli, path, "datastores", &datastore_type, &answer, error);
    g_autoptr(GHashTable) names = NULL;
    g_autoptr(Table) table = table_new(columns);

    if (!stores)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    names = session_host_names(cli);
    g_ptr_array_sort_with_data(stores, by_datastore, names);
    for (guint i = 0; i < stores->len; i++) {
        const Datastore *store = g_ptr_array_index(stores, i);
        g_autofree char *size = units_bytes(MAX(store->capacity_bytes, 0));
        g_autofree char *left = units_bytes(MAX(store->available_bytes, 0));

        table_cell(table, COLOUR_NONE, store->name);
        table_cell(table, COLOUR_NONE, host_name(names, store->host));
        state_cell(table, store->active, store->autostart);
        table_cell(table, COLOUR_NONE, store->type);
        table_cell(table, COLOUR_NONE, store->capacity_bytes > 0 ? size : "-");
        table_cell(table, COLOUR_NONE, store->capacity_bytes > 0 ? left : "-");
        table_cell(table, COLOUR_NONE, store->path);
        table_cell(table, COLOUR_NONE, store->source);
    }
    cli_print_table(cli, table,
                    "No datastores: libvirt has no storage pools on the hosts that are connected.");
    return TRUE;
}
