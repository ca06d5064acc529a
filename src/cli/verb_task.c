/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/follow.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/when.h"

#define LIST_ALL_LIMIT "10000"
#define RECENT_MS (24 * 3600 * G_GINT64_CONSTANT(1000))
#define ID_SHORT 8

/* ---- list
 * ----------------------------------------------------------------------------------------- */

static gint
by_id(gconstpointer a, gconstpointer b)
{
    return g_strcmp0((*(const Task *const *)a)->id, (*(const Task *const *)b)->id);
}

/* How many characters of an id tell these tasks apart: neighbours in order are the most alike. */
static int
id_length(GPtrArray *tasks)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(tasks, NULL, NULL);
    int length = ID_SHORT;

    g_ptr_array_set_free_func(sorted, NULL);
    g_ptr_array_sort(sorted, by_id);
    for (guint i = 1; i < sorted->len; i++) {
        const char *a = ((const Task *)g_ptr_array_index(sorted, i - 1))->id;
        const char *b = ((const Task *)g_ptr_array_index(sorted, i))->id;

        while (a && b && strcmp(a, b) != 0 && length < 36 && strncmp(a, b, length) == 0)
            length++;
    }
    return length;
}

static void
task_row(Table *table, const Task *task, int id_width, gint64 now_ms)
{
    const MigrationError *e = task->error       ? task->error
                              : task->migration ? task->migration->error
                                                : NULL;
    gint64 started_ms = task->started_ms ? task->started_ms : task->created_ms;
    g_autofree char *when = when_short(task->created_ms, now_ms);
    g_autofree char *took = units_duration((task->ended_ms - started_ms) * 1000);

    table_cellf(table, COLOUR_NONE, "%.*s", id_width, task->id ? task->id : "-");
    table_cell(table, report_task_colour(task->state), task_state_nicks[task->state]);
    table_cell(table, COLOUR_NONE, when);
    table_cell(table, COLOUR_NONE, task->ended_ms ? took : "-");
    table_cell(table, COLOUR_NONE, task->summary);
    table_cell(table, COLOUR_NONE, task->state != TASK_SUCCEEDED && e ? e->message : NULL);
}

/* Without --all and --state only what runs and what ended lately. */
static JsonNode *
tasks_recent(JsonNode *answer, GPtrArray *tasks, gint64 now_ms)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *list = json_array_new(),
              *all = json_object_get_array_member(json_node_get_object(answer), "tasks");
    guint kept = 0;

    for (guint i = 0; i < json_array_get_length(all); i++) {
        const Task *task = g_ptr_array_index(tasks, kept);

        if (task_is_ended(task) && now_ms - task->ended_ms > RECENT_MS) {
            g_ptr_array_remove_index(tasks, kept);
            continue;
        }
        kept++;
        json_array_add_element(list, json_node_copy(json_array_get_element(all, i)));
    }
    json_object_set_array_member(object, "tasks", list);
    json_node_take_object(node, object);
    return node;
}

gboolean
run_task_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "ID" },         { "STATE" }, { "ASKED FOR" },
                                           { "TOOK", TRUE }, { "TASK" },  { "ERROR", FALSE, TRUE },
                                           { NULL } };
    g_autofree char *path = api_path("tasks", NULL);
    const char *state = cli_option(cli, "state");
    g_autoptr(JsonNode) answer = NULL, shown = NULL;
    g_autoptr(GPtrArray) tasks = NULL;
    g_autoptr(Table) table = table_new(columns);
    gint64 now_ms = clock_wall_ms();
    int width;

    api_query(&path, "limit", LIST_ALL_LIMIT);
    if (state)
        api_query(&path, "state", state);
    tasks = session_list(cli, path, "tasks", &task_type, &answer, error);
    if (!tasks)
        return FALSE;
    shown =
        state || cli_flag(cli, "all") ? json_node_ref(answer) : tasks_recent(answer, tasks, now_ms);
    if (cli->json) {
        cli_print_json(cli, shown);
        return TRUE;
    }
    width = id_length(tasks);
    for (guint i = 0; i < tasks->len; i++)
        task_row(table, g_ptr_array_index(tasks, i), width, now_ms);
    cli_print_table(cli, table,
                    state ? "No task is in this state."
                          : "No tasks of the last day; --all shows older ones.");
    return TRUE;
}

/* ---- one task
 * ------------------------------------------------------------------------------------- */

/* The task of the first argument. (transfer full) */
static Followed *
task_get(Cli *cli, GError **error)
{
    g_autofree char *id = g_ascii_strdown(cli_arg(cli, 0), -1);
    g_autofree char *path = NULL;
    JsonNode *answer;

    if (strlen(id) < 4 || strspn(id, "0123456789abcdef-") != strlen(id)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "\"%s\" is not a task's id: give it, or its first 4 or more characters, as "
                    "\"godwit task list\" "
                    "shows them",
                    cli_arg(cli, 0));
        return NULL;
    }
    path = api_path("tasks", id, NULL);
    answer = session_call(cli, "GET", path, NULL, error);
    return answer ? followed_new(answer, error) : NULL;
}

gboolean
run_task_show(Cli *cli, GError **error)
{
    g_autoptr(Followed) shown = task_get(cli, error);
    PageStyle style = { cli_width(STDOUT_FILENO), cli->colour_out, clock_wall_ms() };
    g_autofree char *page = NULL;

    if (!shown)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, shown->node);
        return TRUE;
    }
    page = report_page(shown->task, &style);
    cli_print(cli, page);
    return TRUE;
}

/* Follows one task (taken) to its end and tells it; *ended is it then, NULL where it goes on. */
static gboolean
follow_one(Cli *cli, Followed *one, TaskState *state, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)followed_free);
    g_autofree char *text = NULL;
    gboolean detached = FALSE;

    g_ptr_array_add(list, one);
    if (!follow_tasks(cli, list, &detached, error))
        return FALSE;
    *state = one->task->state;
    if (cli->json)
        cli_print_json(cli, one->node);
    cli->status = detached ? STATUS_DETACHED : follow_status(one->task);
    if (detached)
        return TRUE;
    text = report_short(one->task);
    if (one->task->state != TASK_SUCCEEDED) {
        g_strchomp(text);
        cli_complain(cli, text);
    } else if (!cli->json) {
        cli_print(cli, text);
    }
    return TRUE;
}

gboolean
run_task_watch(Cli *cli, GError **error)
{
    Followed *watched = task_get(cli, error);
    TaskState state;

    return watched && follow_one(cli, watched, &state, error);
}

/* ---- cancel
 * ---------------------------------------------------------------------------------------- */

gboolean
run_task_cancel(Cli *cli, GError **error)
{
    g_autoptr(Followed) found = task_get(cli, error);
    g_autofree char *path = NULL;
    Followed *asked;
    JsonNode *answer;
    TaskState state = TASK_RUNNING;

    if (!found)
        return FALSE;
    path = api_path("tasks", found->task->id, "cancel", NULL);
    answer = session_call(cli, "POST", path, NULL, error);
    asked = answer ? followed_new(answer, error) : NULL;
    if (!asked)
        return FALSE;
    if (cli_flag(cli, "detach")) {
        if (cli->json)
            cli_print_json(cli, asked->node);
        cli_note(cli, "Asked to end: godwit task watch %s", asked->task->id);
        followed_free(asked);
        return TRUE;
    }
    if (!follow_one(cli, asked, &state, error))
        return FALSE;
    if (state == TASK_CANCELLED)
        cli->status = STATUS_DONE;
    else if (state == TASK_SUCCEEDED) {
        cli_complain(cli, "it was too late to cancel");
        cli->status = STATUS_FAILED;
    }
    return TRUE;
}
