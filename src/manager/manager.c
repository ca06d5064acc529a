/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What comes in, and where it goes:
 *
 *     agents ──▶ host_link ──▶ hearing ──▶ inventory, taskbook, alarms ──▶ here ──▶ eventhub
 *     clients ──▶ api_* ──▶ inventory, taskbook, …                (looking, and what needs no host)
 *                   └─────▶ errand ──▶ migrations ──▶ host_link ──▶ agents    (what needs one)
 *
 * The store holds what libvirt can't know: members, tokens, tasks, alarms, the recall key. Where it
 * can't be written nothing new is begun, and all that runs is followed in memory (ledger.c,
 * taskbook.c).
 *
 * Stopping: the desk first, so that no pool thread waits for us any more; then the server, which
 * waits for its threads; then the lines, whose outstanding answers are waited for (they come at
 * once, as cancelled).
 */
#include "manager/manager.h"

#include <string.h>

#include "base/error.h"
#include "manager/api.h"
#include "manager/cluster_key.h"
#include "manager/hearing.h"
#include "manager/members.h"
#include "manager/papers.h"
#include "schema/openapi.h"

#define MAX_STREAMS 500

/* ---- changes go out ----------------------------------------------------------------- */

static void
on_host_changed(const Host *host, gpointer data)
{
    eventhub_send(((Manager *)data)->events, "host", &host_type, host);
}

static void
on_host_removed(const char *uuid, gpointer data)
{
    eventhub_send_removed(((Manager *)data)->events, "host-removed", "uuid", uuid);
}

static void
on_vm_changed(const Vm *vm, gpointer data)
{
    eventhub_send(((Manager *)data)->events, "vm", &vm_type, vm);
}

static void
on_vm_removed(const char *uuid, gpointer data)
{
    eventhub_send_removed(((Manager *)data)->events, "vm-removed", "uuid", uuid);
}

static const Migration *
last_migration(const char *vm_uuid, gpointer data)
{
    return taskbook_last_migration(((Manager *)data)->tasks, vm_uuid);
}

static void
on_task_changed(const Task *task, gboolean ended, gpointer data)
{
    Manager *manager = data;
    const Migration *migration = task->migration;

    if (ended) {
        g_message("task %s (%s): %s%s%s", task->id, task->summary, task_state_nicks[task->state],
                  task->error ? ": " : "", task->error ? task->error->message : "");
        if (task->state == TASK_SUCCEEDED)
            inventory_moved(manager->inventory, migration->vm_uuid, migration->from_uuid,
                            migration->to_uuid);
        else
            inventory_look_again(manager->inventory, migration->vm_uuid);
    }
    eventhub_send_task(manager->events, task);
}

void
manager_raise(Manager *manager, Alarm *alarm)
{
    const Alarm *raised = alarmbook_raise(manager->alarms, alarm);

    if (raised != NULL)
        eventhub_send(manager->events, "alarm", &alarm_record_type, raised);
}

static void
on_recovered(gpointer data)
{
    Manager *manager = data;

    taskbook_flush(manager->tasks);
    alarmbook_flush(manager->alarms);
}

/* ---- lines to the hosts ------------------------------------------------------------- */

static void
on_lost(const char *host_uuid, const char *reason, gpointer data)
{
    Manager *manager = data;
    const Host *host = inventory_find_host(manager->inventory, host_uuid);

    if (host != NULL && host->state != HOST_DISCONNECTED)
        g_message("host %s is not connected: %s", host->name, reason);
    inventory_set_state(manager->inventory, host_uuid, HOST_DISCONNECTED, reason);
}

static void
on_gone(gpointer data)
{
    ((Manager *)data)->under_way--;
}

HostLink *
manager_line(const Manager *manager, const char *host_uuid)
{
    HostLink *link = manager->links != NULL ? g_hash_table_lookup(manager->links, host_uuid) : NULL;

    return link != NULL && host_link_is_up(link) ? link : NULL;
}

void
manager_connect(Manager *manager, const Host *host)
{
    HostLinkHooks hooks = {
        .lost = on_lost, .event = hearing_event, .gone = on_gone, .data = manager
    };
    HostLink *link = g_hash_table_lookup(manager->links, host->uuid);
    g_autoptr(GError) error = NULL;

    if (link != NULL && host_link_leads_to(link, host))
        return;
    g_hash_table_remove(manager->links, host->uuid);
    link = host_link_new(host, manager->identity, &hooks, &error);
    if (link == NULL) {
        inventory_set_state(manager->inventory, host->uuid, HOST_DISCONNECTED, error->message);
        return;
    }
    manager->under_way++;
    g_hash_table_insert(manager->links, g_strdup(host->uuid), link);
}

void
manager_disconnect(Manager *manager, const char *host_uuid)
{
    g_hash_table_remove(manager->links, host_uuid);
}

/* ---- coming and going --------------------------------------------------------------- */

static HttpRole
token_role(const char *token, gpointer service)
{
    return tokens_is_admin(((Manager *)service)->tokens, token) ? HTTP_ADMIN : HTTP_ANYONE;
}

/** The cluster's UUID is made once. */
static char *
cluster_uuid(Ledger *ledger, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *uuid = ledger_get(ledger, "manager/uuid", &problem);

    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    if (uuid == NULL) {
        uuid = g_uuid_string_random();
        if (!ledger_put(ledger, "manager/uuid", uuid, error))
            return NULL;
    }
    return g_steal_pointer(&uuid);
}

static gboolean
open_books(Manager *manager, GError **error)
{
    g_autofree char *path = g_build_filename(manager->dir->path, "manager.db", NULL);

    manager->ledger = ledger_open(path, error);
    if (manager->ledger == NULL)
        return FALSE;
    manager->tokens = tokens_open(manager->ledger, manager->dir->ca_fingerprint, error);
    if (manager->tokens == NULL)
        return FALSE;
    manager->alarms = alarmbook_open(manager->ledger, error);
    if (manager->alarms == NULL)
        return FALSE;
    manager->tasks =
        taskbook_open(manager->ledger, (guint)config_int(manager->config, "tasks", "keep"),
                      on_task_changed, manager, error);
    if (manager->tasks == NULL)
        return FALSE;
    ledger_on_recovered(manager->ledger, on_recovered, manager);
    manager->uuid = cluster_uuid(manager->ledger, error);
    return manager->uuid != NULL && cluster_key_load(manager, error);
}

static gboolean
open_server(Manager *manager, GError **error)
{
    HttpServerConfig config = {
        .name = "godwit-manager",
        .identity = manager->identity,
        .client_certificates = FALSE,
        .addresses = config_strings(manager->config, "http", "address"),
        .port = (guint)config_int(manager->config, "http", "port"),
        .max_body_bytes = (gsize)config_int(manager->config, "http", "max_body_bytes"),
        .threads = (guint)config_int(manager->config, "http", "threads"),
        .max_streams = MAX_STREAMS,
        .schema = manager->schema,
        .routes = api_routes,
        .service = manager,
        .token_role = token_role,
    };

    manager->server = http_server_new(&config, error);
    return manager->server != NULL;
}

static gboolean
set_up(Manager *manager, GError **error)
{
    const InventoryNotify notify = {
        .host_changed = on_host_changed,
        .host_removed = on_host_removed,
        .vm_changed = on_vm_changed,
        .vm_removed = on_vm_removed,
        .last_migration = last_migration,
        .data = manager,
    };

    manager->inventory = inventory_new(&notify);
    manager->events = eventhub_new();
    manager->desk = errand_desk_new(manager);
    manager->links =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)host_link_free);
    manager->asking = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    manager->names = papers_names(config_strings(manager->config, "http", "address"));
    manager->dir = datadir_open(config_string(manager->config, "manager", "data_dir"), error);
    if (manager->dir == NULL || !open_books(manager, error))
        return FALSE;
    manager->identity =
        papers_new(manager->dir->ca, manager->uuid, (const char *const *)manager->names, error);
    manager->schema = schema_new(schema_openapi_json, schema_openapi_json_length, error);
    return manager->identity != NULL && manager->schema != NULL;
}

Manager *
manager_new(const Config *config, char **first_token, GError **error)
{
    g_autoptr(Manager) manager = g_new0(Manager, 1);

    *first_token = NULL;
    manager->config = config;
    manager->cluster = g_strdup(config_string(config, "manager", "name"));
    if (!set_up(manager, error) || !open_server(manager, error))
        return NULL;
    if (tokens_count(manager->tokens) == 0) {
        *first_token = tokens_create(manager->tokens, "first admin", NULL, error);
        if (*first_token == NULL)
            return NULL;
    }
    return members_load(manager, error) ? g_steal_pointer(&manager) : NULL;
}

/** Lets what is under way end: it is cancelled, and calls back at once. */
static void
drain(Manager *manager)
{
    while (manager->under_way > 0)
        g_main_context_iteration(NULL, TRUE);
}

void
manager_free(Manager *manager)
{
    if (manager == NULL)
        return;
    if (manager->desk != NULL)
        errand_desk_close(manager->desk);
    g_clear_pointer(&manager->server, http_server_free);
    g_clear_pointer(&manager->links, g_hash_table_unref);
    drain(manager);
    g_clear_pointer(&manager->asking, g_hash_table_unref);
    g_clear_pointer(&manager->desk, errand_desk_unref);
    g_clear_pointer(&manager->events, eventhub_free);
    g_clear_pointer(&manager->inventory, inventory_free);
    g_clear_pointer(&manager->tasks, taskbook_free);
    g_clear_pointer(&manager->alarms, alarmbook_free);
    g_clear_pointer(&manager->tokens, tokens_free);
    g_clear_pointer(&manager->ledger, ledger_free);
    g_clear_pointer(&manager->schema, schema_free);
    g_clear_pointer(&manager->identity, identity_free);
    g_clear_pointer(&manager->dir, datadir_free);
    cluster_key_wipe(manager);
    g_strfreev(manager->names);
    g_free(manager->cluster);
    g_free(manager->uuid);
    g_free(manager);
}

char *
manager_make_token(const Config *config, const char *name, GError **error)
{
    g_autoptr(DataDir) dir = datadir_open(config_string(config, "manager", "data_dir"), error);
    g_autofree char *path = dir ? g_build_filename(dir->path, "manager.db", NULL) : NULL;
    g_autoptr(Ledger) ledger = dir ? ledger_open(path, error) : NULL;
    g_autoptr(Tokens) tokens = ledger ? tokens_open(ledger, dir->ca_fingerprint, error) : NULL;

    return tokens ? tokens_create(tokens, name, NULL, error) : NULL;
}

char *
manager_url(const Manager *manager)
{
    const char *address = config_strings(manager->config, "http", "address")[0];
    gboolean any = strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
    const char *name = any ? manager->names[0] : address;
    gboolean v6 = strchr(name, ':') != NULL;

    return g_strdup_printf("https://%s%s%s:%u", v6 ? "[" : "", name, v6 ? "]" : "",
                           http_server_port(manager->server));
}
