/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

#include "manager/migrations.h"

static void
start(Errand *errand, gpointer order, gpointer service)
{
    migrations_start(service, order, errand);
}

JsonNode *
api_create_migration(HttpCall *call, gpointer service, GError **error)
{
    MigrationOrder order = { .vm = api_body_string(call, "vm"),
                             .to = api_body_string(call, "to"),
                             .policy = api_body_string(call, "policy"),
                             .max_bps = api_body_int(call, "max_bps", 0) };

    call->status = 202;
    return errand_run(((Manager *)service)->desk, start, &order, error);
}

static void
cancel(Errand *errand, gpointer order, gpointer service)
{
    migrations_cancel(service, order, errand);
}

JsonNode *
api_cancel_task(HttpCall *call, gpointer service, GError **error)
{
    call->status = 202;
    return errand_run(((Manager *)service)->desk, cancel, (gpointer)api_param(call, "task"), error);
}

JsonNode *
api_list_migrations(HttpCall *call, gpointer service, GError **error)
{
    GPtrArray *list =
        taskbook_list(((Manager *)service)->tasks, -1, api_param(call, "vm"), api_limit(call));

    for (guint i = 0; i < list->len; i++)
        list->pdata[i] = ((Task *)list->pdata[i])->migration;
    return api_list("migrations", &migration_type, list);
}

JsonNode *
api_get_migration(HttpCall *call, gpointer service, GError **error)
{
    const Task *task = taskbook_get(((Manager *)service)->tasks, api_param(call, "id"), error);

    return task != NULL ? record_to_json(&migration_type, task->migration) : NULL;
}

static int
state_of(const char *nick)
{
    for (int i = 0; nick != NULL && task_state_nicks[i] != NULL; i++)
        if (g_str_equal(nick, task_state_nicks[i]))
            return i;
    return -1;
}

JsonNode *
api_list_tasks(HttpCall *call, gpointer service, GError **error)
{
    return api_list("tasks", &task_type,
                    taskbook_list(((Manager *)service)->tasks, state_of(api_param(call, "state")),
                                  NULL, api_limit(call)));
}

JsonNode *
api_get_task(HttpCall *call, gpointer service, GError **error)
{
    const Task *task = taskbook_get(((Manager *)service)->tasks, api_param(call, "task"), error);

    return task != NULL ? record_to_json(&task_type, task) : NULL;
}
