/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Start: admission (pure), then the task is stored as QUEUED, then the source agent is asked by
 * POST /v1/outgoing. From its answer on the migration is that host's. Three things can come
 * instead:
 *
 *   - it says no: the task FAILED, nothing has begun;
 *   - no answer, or one that proves nothing: it is asked GET /v1/outgoing/ID. "Not found" proves
 *     that nothing has begun (FAILED); a report proves the opposite;
 *   - that isn't answered either: the task stays QUEUED and is settled when the host is heard
 *     again.
 *
 * Settle: whenever a host's facts come (start of the manager, reconnection), each of its tasks that
 * has not ended is asked for by GET. A host that doesn't know a task has never begun it, if it
 * never told of it; else it has lost it, which is told as an alarm and never guessed about.
 *
 * Cancel: the wish is stored with the task first and sent when the host can hear it: now, with the
 * answer to a start that is under way, or when settling.
 *
 * Every call to a host is one Ask, which finds its task again by id when the answer comes: hosts,
 * tasks and lines may have gone meanwhile. Calls end at the latest with their time limit, or with
 * CANCELLED when their line is freed; manager->under_way counts them, so that the manager is not
 * freed before.
 */
#include "manager/migrations.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "manager/follow.h"

typedef struct {
    Manager *manager;
    Errand *errand;              /* who waits for it, or NULL */
    char *id;                    /* of the task */
    char *host_uuid, *host_name; /* whom we ask */
    GError *first;               /* start: what came instead of an answer */
} Ask;

static Ask *
ask_new(Manager *manager, const Task *task, Errand *errand)
{
    Ask *ask = g_new0(Ask, 1);

    ask->manager = manager;
    ask->errand = errand;
    ask->id = g_strdup(task->id);
    ask->host_uuid = g_strdup(task->migration->from_uuid);
    ask->host_name = g_strdup(task->migration->from);
    manager->under_way++;
    return ask;
}

static void
ask_free(Ask *ask)
{
    g_assert(ask->errand == NULL);
    ask->manager->under_way--;
    g_clear_error(&ask->first);
    g_free(ask->id);
    g_free(ask->host_uuid);
    g_free(ask->host_name);
    g_free(ask);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ask, ask_free)

static void
answer_task(Ask *ask)
{
    const Task *task = taskbook_find(ask->manager->tasks, ask->id);
    Errand *errand = g_steal_pointer(&ask->errand);

    if (errand == NULL)
        return;
    if (task != NULL)
        errand_answer(errand, record_to_json(&task_type, task), NULL);
    else
        errand_answer(errand, NULL,
                      g_error_new(GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                                  "task %s has ended and is not kept any more", ask->id));
}

/** error is copied. */
static void
answer_error(Ask *ask, const GError *error)
{
    Errand *errand = g_steal_pointer(&ask->errand);

    if (errand != NULL)
        errand_answer(errand, NULL, g_error_copy(error));
}

static gboolean
is(const GError *error, GodwitError code)
{
    return g_error_matches(error, GODWIT_ERROR, (gint)code);
}

/** Takes a report out of an answer into the book. */
static gboolean
take_report(Ask *ask, JsonNode *answer, GError **error)
{
    Migration *report = record_from_json(&migration_type, answer, error);

    if (report == NULL) {
        g_prefix_error(error, "the answer of host %s: ", ask->host_name);
        return FALSE;
    }
    if (g_strcmp0(report->id, ask->id) != 0) {
        migration_free(report);
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "host %s answered with another migration than %s", ask->host_name, ask->id);
        return FALSE;
    }
    taskbook_report(ask->manager->tasks, ask->host_uuid, report);
    return TRUE;
}

static char *
path_of(const Ask *ask, const char *what)
{
    return g_strconcat("/v1/outgoing/", ask->id, what, NULL);
}

/** Asks, if the host is heard; else FALSE. */
static gboolean
ask_get(Ask *ask, HostLinkAnswer func)
{
    HostLink *line = manager_line(ask->manager, ask->host_uuid);
    g_autofree char *path = path_of(ask, "");

    if (line != NULL)
        host_link_call(line, "GET", path, NULL, func, ask);
    return line != NULL;
}

/* ---- what a host doesn't know ------------------------------------------------------- */

static void
raise_lost(Manager *manager, const Task *task, const char *message)
{
    Alarm *alarm = record_new(&alarm_record_type);

    alarm->id = g_strconcat("lost-", task->id, NULL);
    alarm->host = g_strdup(task->migration->from);
    alarm->vm = g_strdup(task->migration->vm);
    alarm->migration = g_strdup(task->id);
    alarm->message = g_strdup(message);
    alarm->raised_ms = clock_wall_ms();
    manager_raise(manager, alarm);
}

/** The host has told of it, and doesn't know it any more: `why` says since when. */
static void
end_as_lost(Manager *manager, const Task *task, const char *why)
{
    g_autoptr(GError) error = g_error_new(
        GODWIT_ERROR, GODWIT_ERROR_UNSETTLED,
        "%s; nothing was guessed about VM %s: see where it runs (godwit vm show %s, and "
        "virsh list --all on %s and %s)",
        why, task->migration->vm, task->migration->vm_uuid, task->migration->from,
        task->migration->to);

    raise_lost(manager, task, error->message);
    taskbook_end(manager->tasks, task->id, TASK_FAILED, MIGRATION_UNSETTLED, error);
}

/** The host says that it doesn't know the task. first: why the start wasn't answered, or NULL. */
static void
end_as_unknown(Ask *ask, const GError *first)
{
    Manager *manager = ask->manager;
    const Task *task = taskbook_find(manager->tasks, ask->id);
    g_autofree char *why = NULL;
    g_autoptr(GError) error = NULL;

    if (task == NULL || task_is_ended(task))
        return;
    if (follow_was_heard(task)) {
        why = g_strdup_printf("host %s doesn't know this migration any more (was its state folder "
                              "emptied?)",
                              ask->host_name);
        end_as_lost(manager, task, why);
        return;
    }
    if (task->cancel_requested)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED,
                    "cancelled before host %s had begun; VM %s is untouched", ask->host_name,
                    task->migration->vm);
    else
        g_set_error(&error, GODWIT_ERROR, first ? first->code : (gint)GODWIT_ERROR_UNREACHABLE,
                    "never started: host %s was not reached with it; VM %s is untouched, try "
                    "again%s%s%s",
                    ask->host_name, task->migration->vm, first ? " (" : "",
                    first ? first->message : "", first ? ")" : "");
    taskbook_end(manager->tasks, ask->id, task->cancel_requested ? TASK_CANCELLED : TASK_FAILED,
                 task->cancel_requested ? MIGRATION_CANCELLED : MIGRATION_FAILED, error);
}

/* ---- cancel ------------------------------------------------------------------------- */

static void
on_cancelled(JsonNode *answer, const GError *error, gpointer data)
{
    g_autoptr(Ask) ask = data;
    g_autoptr(GError) problem = error ? g_error_copy(error) : NULL;

    if (answer != NULL && take_report(ask, answer, &problem)) {
        answer_task(ask);
    } else if (is(problem, GODWIT_ERROR_NOT_FOUND)) {
        end_as_unknown(ask, NULL);
        answer_task(ask);
    } else if (is(problem, GODWIT_ERROR_UNREACHABLE) || is(problem, GODWIT_ERROR_TIMEOUT) ||
               is(problem, GODWIT_ERROR_CANCELLED)) {
        answer_task(ask); /* the wish is kept, and sent when the host is heard again */
    } else {
        taskbook_wish_cancel(ask->manager->tasks, ask->id, FALSE);
        g_prefix_error(&problem, "host %s: ", ask->host_name);
        answer_error(ask, problem);
    }
}

/** Sends the wish to the host, if it is heard. Takes the ask. */
static void
send_cancel(Ask *ask)
{
    HostLink *line = manager_line(ask->manager, ask->host_uuid);
    g_autofree char *path = path_of(ask, "/cancel");

    if (line != NULL && !g_hash_table_contains(ask->manager->asking, ask->id)) {
        host_link_call(line, "POST", path, NULL, on_cancelled, ask);
        return;
    }
    answer_task(ask);
    ask_free(ask);
}

/** After the host's word: does it know of the wish already? */
static void
send_cancel_if_wished(Manager *manager, const char *id)
{
    const Task *task = taskbook_find(manager->tasks, id);

    if (task != NULL && !task_is_ended(task) && task->cancel_requested &&
        !task->migration->cancel_requested)
        send_cancel(ask_new(manager, task, NULL));
}

void
migrations_cancel(Manager *manager, const char *id_or_prefix, Errand *errand)
{
    g_autoptr(GError) error = NULL;
    const Task *task = taskbook_get(manager->tasks, id_or_prefix, &error);
    Ask *ask;

    if (task != NULL && task_is_ended(task))
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "task %s (%s) has ended already: %s", task->id, task->summary,
                    task_state_nicks[task->state]);
    if (error != NULL) {
        errand_answer(errand, NULL, g_steal_pointer(&error));
        return;
    }
    ask = ask_new(manager, task, errand);
    taskbook_wish_cancel(manager->tasks, ask->id, TRUE);
    send_cancel(ask);
}

/* ---- start -------------------------------------------------------------------------- */

static void
start_is_over(Ask *ask)
{
    g_hash_table_remove(ask->manager->asking, ask->id);
    answer_task(ask);
    send_cancel_if_wished(ask->manager, ask->id);
}

/** Neither the start nor the question after it was answered. */
static void
start_is_open(Ask *ask)
{
    g_autoptr(GError) error = g_error_new(
        GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
        "host %s was asked and didn't answer (%s): it isn't known whether it has begun. "
        "Task %s stays queued and is settled when the host answers again: godwit task "
        "show %s",
        ask->host_name, ask->first->message, ask->id, ask->id);

    g_hash_table_remove(ask->manager->asking, ask->id);
    answer_error(ask, error);
}

static void
on_start_asked(JsonNode *answer, const GError *error, gpointer data)
{
    g_autoptr(Ask) ask = data;
    g_autoptr(GError) problem = error ? g_error_copy(error) : NULL;

    if (answer != NULL && take_report(ask, answer, &problem)) {
        start_is_over(ask);
    } else if (is(problem, GODWIT_ERROR_NOT_FOUND)) {
        g_autoptr(GError) told = g_error_copy(ask->first);

        g_hash_table_remove(ask->manager->asking, ask->id);
        g_prefix_error(&told,
                       "nothing was started, the VM is untouched: host %s: ", ask->host_name);
        answer_error(ask, told);
        end_as_unknown(ask, ask->first);
    } else {
        start_is_open(ask);
    }
}

/** Is it an answer of the agent that says no, so that nothing has begun? */
static gboolean
is_refusal(const GError *error)
{
    return is(error, GODWIT_ERROR_INVALID) || is(error, GODWIT_ERROR_NOT_FOUND) ||
           is(error, GODWIT_ERROR_CONFLICT) || is(error, GODWIT_ERROR_REFUSED) ||
           is(error, GODWIT_ERROR_FORBIDDEN) || is(error, GODWIT_ERROR_UNSUPPORTED) ||
           is(error, GODWIT_ERROR_TOO_LARGE) || is(error, GODWIT_ERROR_NO_SPACE);
}

static void
on_started(JsonNode *answer, const GError *error, gpointer data)
{
    g_autoptr(Ask) ask = data;
    g_autoptr(GError) problem = error ? g_error_copy(error) : NULL;

    if (answer != NULL && take_report(ask, answer, &problem)) {
        start_is_over(ask);
        return;
    }
    if (is_refusal(problem)) {
        g_hash_table_remove(ask->manager->asking, ask->id);
        g_prefix_error(&problem, "host %s did not begin, the VM is untouched: ", ask->host_name);
        taskbook_end(ask->manager->tasks, ask->id, TASK_FAILED, MIGRATION_FAILED, problem);
        answer_error(ask, problem);
        return;
    }
    ask->first = g_steal_pointer(&problem);
    if (ask_get(ask, on_start_asked))
        ask = NULL; /* on_start_asked's now */
    else
        start_is_open(ask);
}

static JsonNode *
request_of(const Manager *manager, const Task *task)
{
    const Host *to = inventory_find_host(manager->inventory, task->migration->to_uuid);
    Peer peer = { .uuid = to->uuid,
                  .name = to->name,
                  .control_address = to->control_address,
                  .control_port = to->control_port };
    MigrationRequest request = { .id = task->id,
                                 .vm_uuid = task->migration->vm_uuid,
                                 .policy = task->migration->policy,
                                 .max_bps = task->migration->max_bps,
                                 .to = &peer };

    return record_to_json(&migration_request_type, &request);
}

void
migrations_start(Manager *manager, const MigrationOrder *order, Errand *errand)
{
    g_autoptr(GError) error = NULL;
    Task *admitted =
        admission_admit(manager->inventory, manager->tasks, order, clock_wall_ms(), &error);
    HostLink *line = admitted ? manager_line(manager, admitted->migration->from_uuid) : NULL;
    const Task *task = NULL;
    g_autoptr(JsonNode) request = NULL;

    if (admitted != NULL && line == NULL) {
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "host %s was lost just now; nothing was started, try again",
                    admitted->migration->from);
        g_clear_pointer(&admitted, task_free);
    }
    if (admitted != NULL) {
        task = taskbook_add(manager->tasks, admitted, &error);
        if (task == NULL)
            g_prefix_error(&error, "nothing was started, VM %s is untouched: ", order->vm);
    }
    if (task == NULL) {
        errand_answer(errand, NULL, g_steal_pointer(&error));
        return;
    }
    g_message("task %s: %s", task->id, task->summary);
    g_hash_table_add(manager->asking, g_strdup(task->id));
    request = request_of(manager, task);
    host_link_call(line, "POST", "/v1/outgoing", request, on_started,
                   ask_new(manager, task, errand));
}

/* ---- settle ------------------------------------------------------------------------- */

static void
on_settled(JsonNode *answer, const GError *error, gpointer data)
{
    g_autoptr(Ask) ask = data;
    g_autoptr(GError) problem = error ? g_error_copy(error) : NULL;

    if (answer != NULL && take_report(ask, answer, &problem))
        send_cancel_if_wished(ask->manager, ask->id);
    else if (is(problem, GODWIT_ERROR_NOT_FOUND))
        end_as_unknown(ask, NULL);
    else
        g_debug("task %s is not settled yet: %s", ask->id, problem->message);
}

typedef struct {
    Manager *manager;
    char *host_uuid;
} Settling;

static gboolean
settle(gpointer data)
{
    const Settling *settling = data;
    Manager *manager = settling->manager;
    g_autoptr(GPtrArray) tasks = taskbook_of_host(manager->tasks, settling->host_uuid, FALSE);

    for (guint i = 0; i < tasks->len; i++) {
        const Task *task = tasks->pdata[i];
        Ask *ask;

        if (g_hash_table_contains(manager->asking, task->id))
            continue; /* its start is under way and settles itself */
        ask = ask_new(manager, task, NULL);
        if (!ask_get(ask, on_settled))
            ask_free(ask);
    }
    return G_SOURCE_REMOVE;
}

static void
settling_free(gpointer data)
{
    Settling *settling = data;

    settling->manager->under_way--;
    g_free(settling->host_uuid);
    g_free(settling);
}

static Settling *
settling_new(Manager *manager, const char *host_uuid)
{
    Settling *settling = g_new0(Settling, 1);

    settling->manager = manager;
    settling->host_uuid = g_strdup(host_uuid);
    manager->under_way++;
    return settling;
}

void
migrations_settle_soon(Manager *manager, const char *host_uuid)
{
    g_idle_add_full(G_PRIORITY_DEFAULT, settle, settling_new(manager, host_uuid), settling_free);
}

void
migrations_give_up(Manager *manager, const char *host_uuid, const char *host_name)
{
    g_autoptr(GPtrArray) tasks = taskbook_of_host(manager->tasks, host_uuid, TRUE);
    g_autofree char *why = g_strdup_printf(
        "host %s was removed from the cluster while this migration had not ended", host_name);

    for (guint i = 0; i < tasks->len; i++)
        end_as_lost(manager, tasks->pdata[i], why);
}
