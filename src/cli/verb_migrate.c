/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Each VM named is one move (Move). With several, all names are looked up first, so that a typing
 * mistake starts nothing at all; then each is asked of the manager, and a refusal of one doesn't
 * hold up the others. What was started is followed together. A move ends with a task and its JSON,
 * or with the error that kept it from starting; the exit status is made of all of them.
 */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/follow.h"
#include "cli/report.h"
#include "cli/session.h"

typedef struct {
    const char *vm;     /* as named */
    Followed *followed; /* NULL where it was not started; owned by the list of followed ones */
    GError *error;      /* why it was not started */
} Move;

static void
move_clear(gpointer data)
{
    g_clear_error(&((Move *)data)->error);
}

/* Message and hint of an unknown VM or host name. */
static void
suggest_names(Cli *cli, const char *vm, GError **error)
{
    const char *to = cli_option(cli, "to");

    if (!g_error_matches(*error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
        return;
    /* Which of the two the manager doesn't know stands in its message. */
    session_suggest(cli, strstr((*error)->message, vm) ? ARG_VM : ARG_HOST,
                    strstr((*error)->message, vm) ? vm : to, error);
}

static gboolean
check_names(Cli *cli, GError **error)
{
    g_autofree char *host_path = api_path("hosts", cli_option(cli, "to"), NULL);
    g_autoptr(JsonNode) host = session_call(cli, "GET", host_path, NULL, error);

    if (!host) {
        session_suggest(cli, ARG_HOST, cli_option(cli, "to"), error);
        g_prefix_error(error, "nothing was started: ");
        return FALSE;
    }
    for (guint i = 0; i < cli->args->len; i++) {
        g_autofree char *path = api_path("vms", cli_arg(cli, i), NULL);
        g_autoptr(JsonNode) vm = session_call(cli, "GET", path, NULL, error);

        if (!vm) {
            session_suggest(cli, ARG_VM, cli_arg(cli, i), error);
            g_prefix_error(error, "nothing was started: ");
            return FALSE;
        }
    }
    return TRUE;
}

/* 0: none was given. */
static gboolean
read_bandwidth(Cli *cli, gint64 *max_bps, GError **error)
{
    const char *rate = cli_option(cli, "bandwidth");

    *max_bps = 0;
    if (rate == NULL || units_parse_rate(rate, max_bps, error))
        return TRUE;
    g_prefix_error(error, "--bandwidth: ");
    return FALSE;
}

static JsonNode *
order_json(Cli *cli, const char *vm)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    gint64 max_bps;

    json_object_set_string_member(object, "vm", vm);
    json_object_set_string_member(object, "to", cli_option(cli, "to"));
    if (cli_option(cli, "policy"))
        json_object_set_string_member(object, "policy", cli_option(cli, "policy"));
    if (read_bandwidth(cli, &max_bps, NULL) && max_bps > 0)
        json_object_set_int_member(object, "max_bps", max_bps);
    json_node_take_object(node, object);
    return node;
}

static void
move_start(Cli *cli, Move *move, GPtrArray *followed)
{
    g_autofree char *path = api_path("migrations", NULL);
    g_autoptr(JsonNode) order = order_json(cli, move->vm);
    JsonNode *answer = session_call(cli, "POST", path, order, &move->error);

    move->followed = answer ? followed_new(answer, &move->error) : NULL;
    if (move->followed)
        g_ptr_array_add(followed, move->followed);
    else
        suggest_names(cli, move->vm, &move->error);
}

/* ---- telling
 * -------------------------------------------------------------------------------------- */

/* The report of a move: the manager's own, or for one that was not started what is known of it.
 * (transfer full) */
static JsonNode *
move_report(Cli *cli, const Move *move)
{
    Migration report = { .vm = (char *)move->vm,
                         .to = (char *)cli_option(cli, "to"),
                         .result = MIGRATION_FAILED,
                         .policy = (char *)cli_option(cli, "policy"),
                         .pause_ms = -1,
                         .blackout_ms = -1 };
    MigrationError error = { 0 };

    if (move->followed) {
        JsonObject *task = json_node_get_object(move->followed->node);
        JsonNode *migration = json_object_get_member(task, "migration");

        return json_node_copy(migration ? migration : move->followed->node);
    }
    error.code = (char *)godwit_error_nick(move->error);
    error.message = move->error->message;
    error.stage = (char *)"admit";
    report.error = &error;
    return record_to_json(&migration_type, &report);
}

/* {"migrations": [...]} or, detached, {"tasks": [...], "errors": [...]}. */
static JsonNode *
moves_json(Cli *cli, const GArray *moves, gboolean tasks)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *list = json_array_new(), *errors = json_array_new();

    for (guint i = 0; i < moves->len; i++) {
        const Move *move = &g_array_index(moves, Move, i);

        if (!tasks)
            json_array_add_element(list, move_report(cli, move));
        else if (move->followed)
            json_array_add_element(list, json_node_copy(move->followed->node));
        else
            json_array_add_element(errors, move_report(cli, move));
    }
    json_object_set_array_member(object, tasks ? "tasks" : "migrations", list);
    if (tasks)
        json_object_set_array_member(object, "errors", errors);
    else
        json_array_unref(errors);
    json_node_take_object(node, object);
    return node;
}

static void
print_moves_json(Cli *cli, const GArray *moves, gboolean tasks)
{
    const Move *first = &g_array_index(moves, Move, 0);
    g_autoptr(JsonNode) node = NULL;

    if (moves->len > 1)
        node = moves_json(cli, moves, tasks);
    else
        node = tasks ? json_node_copy(first->followed->node) : move_report(cli, first);
    cli_print_json(cli, node);
}

static void
print_move(Cli *cli, const Move *move, gboolean detached)
{
    g_autofree char *text = NULL;
    const Task *task = move->followed ? move->followed->task : NULL;

    if (!task || (detached && !follow_is_over(task)))
        return;
    text = report_short(task);
    if (task->state == TASK_SUCCEEDED) {
        cli_print(cli, text);
    } else {
        g_strchomp(text);
        cli_complain(cli, text);
    }
    if (task->migration)
        cli_note(cli, "The whole report: godwit task show %s", task->id);
}

static int
moves_status(const GArray *moves, gboolean started_counts)
{
    g_autoptr(GArray) statuses = g_array_new(FALSE, FALSE, sizeof(int));

    for (guint i = 0; i < moves->len; i++) {
        const Move *move = &g_array_index(moves, Move, i);
        int status = STATUS_DONE;

        if (!move->followed)
            status = cli_status_of(move->error);
        else if (!started_counts)
            status = follow_status(move->followed->task);
        g_array_append_val(statuses, status);
    }
    return follow_status_of_all(statuses);
}

static void
tell_started(Cli *cli, const GArray *moves)
{
    for (guint i = 0; i < moves->len; i++) {
        const Move *move = &g_array_index(moves, Move, i);
        g_autofree char *text = NULL;

        if (!move->followed || cli->json)
            continue;
        text = g_strdup_printf(
            "%s: started. Watch: godwit task watch %s. Cancel: godwit task cancel %s\n", move->vm,
            move->followed->task->id, move->followed->task->id);
        cli_print(cli, text);
    }
}

/* ---- the run
 * --------------------------------------------------------------------------------------- */

static gboolean
moves_follow(Cli *cli, const GArray *moves, GPtrArray *followed, GError **error)
{
    gboolean detached = FALSE, ok = TRUE;

    if (followed->len > 0)
        ok = follow_tasks(cli, followed, &detached, error);
    if (!ok)
        return FALSE;
    for (guint i = 0; !cli->json && i < moves->len; i++)
        print_move(cli, &g_array_index(moves, Move, i), detached);
    for (guint i = 0; cli->json && i < followed->len; i++) {
        const Task *task = ((Followed *)g_ptr_array_index(followed, i))->task;

        if (task->state != TASK_SUCCEEDED && follow_is_over(task)) {
            g_autofree char *text = g_strchomp(report_short(task));

            cli_complain(cli, text);
        }
    }
    if (cli->json)
        print_moves_json(cli, moves, FALSE);
    cli->status = detached ? STATUS_DETACHED : moves_status(moves, FALSE);
    return TRUE;
}

static gboolean
moves_start(Cli *cli, GArray *moves, GPtrArray *followed, GError **error)
{
    follow_hold_interrupt(TRUE);
    for (guint i = 0; i < moves->len; i++) {
        Move *move = &g_array_index(moves, Move, i);

        move_start(cli, move, followed);
        if (!move->error)
            continue;
        if (moves->len == 1) {
            g_propagate_error(error, g_steal_pointer(&move->error));
            follow_hold_interrupt(FALSE);
            return FALSE;
        }
        g_prefix_error(&move->error, "%s: ", move->vm);
        cli_complain(cli, move->error->message);
    }
    return TRUE;
}

gboolean
run_migrate(Cli *cli, GError **error)
{
    g_autoptr(GPtrArray) followed = g_ptr_array_new_with_free_func((GDestroyNotify)followed_free);
    g_autoptr(GArray) moves = g_array_new(FALSE, TRUE, sizeof(Move));
    gint64 max_bps;

    g_array_set_clear_func(moves, move_clear);
    if (cli_flag(cli, "wait") && cli_flag(cli, "detach")) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "--wait and --detach exclude each other");
        return FALSE;
    }
    if (!read_bandwidth(cli, &max_bps, error))
        return FALSE;
    for (guint i = 0; i < cli->args->len; i++) {
        Move move = { cli_arg(cli, i), NULL, NULL };

        g_array_append_val(moves, move);
    }
    if (moves->len > 1 && !check_names(cli, error))
        return FALSE;
    if (!moves_start(cli, moves, followed, error))
        return FALSE;
    if (!cli_flag(cli, "detach"))
        return moves_follow(cli, moves, followed, error);
    follow_hold_interrupt(FALSE);
    tell_started(cli, moves);
    if (cli->json)
        print_moves_json(cli, moves, TRUE);
    cli->status = moves_status(moves, TRUE);
    return TRUE;
}
