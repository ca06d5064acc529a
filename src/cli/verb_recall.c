/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recall clear: without --host every host is asked, one after the other. One that can't be reached
 * doesn't keep the others from being cleared; it is told, and makes the exit status.
 */
#include "base/json.h"
#include "cli/follow.h"
#include "cli/session.h"
#include "model/model.h"

typedef struct {
    char *host;
    gint64 sets;
    GError *error; /* NULL: cleared */
} Cleared;

static void
cleared_free(gpointer data)
{
    Cleared *cleared = data;

    g_free(cleared->host);
    g_clear_error(&cleared->error);
    g_free(cleared);
}

/* UUID of the VM that is named; a UUID may be that of one that is gone. (transfer full) */
static char *
vm_uuid(Cli *cli, const char *name, GError **error)
{
    g_autofree char *path = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(Vm) vm = NULL;

    if (g_uuid_string_is_valid(name))
        return g_strdup(name);
    path = api_path("vms", name, NULL);
    answer = session_call(cli, "GET", path, NULL, error);
    if (!answer) {
        session_suggest(cli, ARG_VM, name, error);
        return NULL;
    }
    vm = session_record(answer, &vm_type, error);
    return vm ? g_strdup(vm->uuid) : NULL;
}

static gint64
clear(Cli *cli, const char *host, const char *vm, GError **error)
{
    g_autofree char *path = api_path("hosts", host, "recall", NULL);
    g_autoptr(JsonNode) answer = NULL;

    if (vm)
        api_query(&path, "vm", vm);
    answer = session_call(cli, "DELETE", path, NULL, error);
    if (!answer)
        return 0;
    if (JSON_NODE_HOLDS_OBJECT(answer))
        return json_object_get_int_member_with_default(json_node_get_object(answer), "sets", 0);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                "the manager's answer does not tell what was cleared on %s", host);
    return 0;
}

/* The hosts to ask: the one named, or all. (transfer full) of Cleared */
static GPtrArray *
hosts_to_clear(Cli *cli, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(cleared_free);
    g_autofree char *path = api_path("hosts", NULL);
    const char *named = cli_option(cli, "host");
    g_autoptr(GPtrArray) hosts =
        named ? NULL : session_list(cli, path, "hosts", &host_type, NULL, error);

    if (!named && !hosts)
        return NULL;
    for (guint i = 0; i < (named ? 1 : hosts->len); i++) {
        Cleared *cleared = g_new0(Cleared, 1);

        cleared->host = g_strdup(named ? named : ((const Host *)hosts->pdata[i])->name);
        g_ptr_array_add(list, cleared);
    }
    return g_steal_pointer(&list);
}

static void
tell_json(Cli *cli, const GPtrArray *list)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *array = json_array_new();

    for (guint i = 0; i < list->len; i++) {
        const Cleared *cleared = list->pdata[i];
        JsonObject *row = json_object_new();

        json_object_set_string_member(row, "host", cleared->host);
        if (cleared->error)
            json_object_set_object_member(row, "error", json_error(cleared->error));
        else
            json_object_set_int_member(row, "sets", cleared->sets);
        json_array_add_object_element(array, row);
    }
    json_object_set_array_member(object, "hosts", array);
    json_node_take_object(node, object);
    cli_print_json(cli, node);
}

static void
tell(Cli *cli, const GPtrArray *list)
{
    static const TableColumn columns[] = {
        { "HOST" }, { "SETS REMOVED", TRUE }, { "REASON", FALSE, TRUE }, { NULL }
    };
    g_autoptr(Table) table = table_new(columns);

    if (cli->json) {
        tell_json(cli, list);
        return;
    }
    for (guint i = 0; i < list->len; i++) {
        const Cleared *cleared = list->pdata[i];

        table_cell(table, COLOUR_NONE, cleared->host);
        if (cleared->error)
            table_cell(table, COLOUR_BAD, "failed");
        else
            table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, cleared->sets);
        table_cell(table, COLOUR_NONE, cleared->error ? cleared->error->message : NULL);
    }
    cli_print_table(cli, table, "No hosts, so nothing is remembered.");
}

gboolean
run_recall_clear(Cli *cli, GError **error)
{
    const char *name = cli_arg(cli, 0), *named = cli_option(cli, "host");
    g_autofree char *vm = name ? vm_uuid(cli, name, error) : NULL;
    g_autoptr(GPtrArray) list = name && !vm ? NULL : hosts_to_clear(cli, error);
    g_autoptr(GArray) statuses = g_array_new(FALSE, FALSE, sizeof(int));

    if (!list)
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        Cleared *cleared = list->pdata[i];
        int status;

        cleared->sets = clear(cli, cleared->host, vm, &cleared->error);
        if (cleared->error && named) {
            session_suggest(cli, ARG_HOST, named, &cleared->error);
            g_propagate_error(error, g_steal_pointer(&cleared->error));
            return FALSE;
        }
        status = cleared->error ? cli_status_of(cleared->error) : STATUS_DONE;
        g_array_append_val(statuses, status);
    }
    tell(cli, list);
    cli->status = follow_status_of_all(statuses);
    return TRUE;
}
