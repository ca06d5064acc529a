/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Tasks are followed by the manager's events (cli/feed.c): of one task by its own stream, which
 * begins with its present state, of several by the stream of all. As events may be missed (before
 * the stream was open, while the manager was away), each task that has not ended is also read by
 * GET when the stream is new and every POLL_S seconds. Answers and events may overtake each other:
 * an ended task is never replaced by one that has not ended.
 *
 * On a terminal one line is drawn over and over on stderr, at most every DRAW_MS; elsewhere a line
 * is written when stage, pass or state change. The result is the caller's to print.
 *
 * Ends: all tasks are over; Ctrl-C (SIGINT), which only lets go; or the feed is over. Nothing here
 * ever changes what the manager or the hosts do.
 */
#include "cli/follow.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/feed.h"
#include "cli/session.h"

#define POLL_S 10
#define DRAW_MS 250

typedef struct {
    Cli *cli;
    GPtrArray *followed;
    GMainLoop *loop;
    GCancellable *cancellable;
    Feed *feed;
    GError *error;
    guint pending; /* GETs whose answer has not come */
    guint draw_timer;
    gint64 drawn_us;
    gboolean line_shown, detached;
} Follow;

Followed *
followed_new(JsonNode *node, GError **error)
{
    g_autoptr(Followed) followed = g_new0(Followed, 1);

    followed->node = node;
    followed->task = session_record(node, &task_type, error);
    if (followed->task && !followed->task->id) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "the manager's answer is a task without an id");
        return NULL;
    }
    return followed->task ? g_steal_pointer(&followed) : NULL;
}

void
followed_free(Followed *followed)
{
    if (!followed)
        return;
    progress_seen_clear(&followed->seen);
    task_free(followed->task);
    g_clear_pointer(&followed->node, json_node_unref);
    g_free(followed);
}

gboolean
follow_is_over(const Task *task)
{
    return task_is_ended(task) || task->state == TASK_UNSETTLED;
}

int
follow_status(const Task *task)
{
    const MigrationError *e = task->error       ? task->error
                              : task->migration ? task->migration->error
                                                : NULL;

    if (task->state == TASK_SUCCEEDED)
        return STATUS_DONE;
    return cli_status_of_code(e && task->state == TASK_FAILED ? e->code : NULL);
}

int
follow_status_of_all(const GArray *statuses)
{
    int all = STATUS_DONE;

    for (guint i = 0; i < statuses->len; i++) {
        int status = g_array_index(statuses, int, i);

        if (status == STATUS_DONE || status == all)
            continue;
        all = all == STATUS_DONE ? status : STATUS_FAILED;
    }
    return all;
}

/* ---- showing
 * ------------------------------------------------------------------------------------- */

static gboolean
is_live(const Follow *follow)
{
    return follow->cli->tty_err && !follow->cli->quiet;
}

static void
line_clear(Follow *follow)
{
    if (follow->line_shown)
        fputs("\r\033[K", stderr);
    follow->line_shown = FALSE;
}

static void
line_draw(Follow *follow)
{
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();
    g_autofree char *line = NULL;
    int width = cli_width(STDERR_FILENO);

    for (guint i = 0; i < follow->followed->len; i++)
        g_ptr_array_add(tasks, ((Followed *)g_ptr_array_index(follow->followed, i))->task);
    /* The last column stays free: some terminals wrap as soon as it is written. */
    line = progress_line_of_all(tasks, MAX(width - 1, 10));
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    follow->line_shown = TRUE;
    follow->drawn_us = g_get_monotonic_time();
}

static gboolean
draw_due(gpointer data)
{
    Follow *follow = data;

    follow->draw_timer = 0;
    line_draw(follow);
    return G_SOURCE_REMOVE;
}

static void
show(Follow *follow, Followed *followed)
{
    gint64 since_ms = (g_get_monotonic_time() - follow->drawn_us) / 1000;

    if (is_live(follow)) {
        if (follow->draw_timer == 0 && since_ms >= DRAW_MS)
            line_draw(follow);
        else if (follow->draw_timer == 0)
            follow->draw_timer = g_timeout_add(DRAW_MS - since_ms, draw_due, follow);
    } else {
        g_autofree char *line = progress_change(&followed->seen, followed->task, clock_wall_ms());

        if (line)
            cli_note(follow->cli, "%s", line);
    }
}

/* ---- hearing
 * ------------------------------------------------------------------------------------- */

static gboolean
all_over(GPtrArray *followed)
{
    for (guint i = 0; i < followed->len; i++) {
        if (!follow_is_over(((Followed *)g_ptr_array_index(followed, i))->task))
            return FALSE;
    }
    return TRUE;
}

/* Takes node, a Task's JSON: an event's data or an answer. Other tasks' are ignored. */
static void
take_task(Follow *follow, JsonNode *node)
{
    g_autoptr(Followed) fresh = followed_new(node, NULL);

    for (guint i = 0; fresh && i < follow->followed->len; i++) {
        Followed *followed = g_ptr_array_index(follow->followed, i);

        if (g_strcmp0(followed->task->id, fresh->task->id) != 0)
            continue;
        if (follow_is_over(followed->task) && !follow_is_over(fresh->task))
            return;
        task_free(followed->task);
        json_node_unref(followed->node);
        followed->task = g_steal_pointer(&fresh->task);
        followed->node = g_steal_pointer(&fresh->node);
        show(follow, followed);
        if (all_over(follow->followed))
            g_main_loop_quit(follow->loop);
        return;
    }
}

static void
poll_told(GObject *source, GAsyncResult *result, gpointer data)
{
    Follow *follow = data;
    g_autoptr(GError) error = NULL;
    JsonNode *node = http_client_call_finish(follow->cli->client, result, &error);

    follow->pending--;
    if (node)
        take_task(follow, node);
    else if (g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND) && !follow->error) {
        follow->error = g_steal_pointer(&error);
        g_main_loop_quit(follow->loop);
    }
}

static gboolean
poll_all(gpointer data)
{
    Follow *follow = data;

    if (follow->pending > 0)
        return G_SOURCE_CONTINUE;
    for (guint i = 0; i < follow->followed->len; i++) {
        const Task *task = ((Followed *)g_ptr_array_index(follow->followed, i))->task;
        g_autofree char *path = NULL;

        if (follow_is_over(task))
            continue;
        path = api_path("tasks", task->id, NULL);
        follow->pending++;
        http_client_call_async(follow->cli->client, "GET", path, NULL, follow->cancellable,
                               poll_told, follow);
    }
    return G_SOURCE_CONTINUE;
}

static void
feed_event(const char *event, const char *data, gpointer user_data)
{
    JsonNode *node;

    if (g_strcmp0(event, "task") != 0)
        return;
    node = json_parse_limited(data, strlen(data), NULL);
    if (node)
        take_task(user_data, node);
}

static void
feed_lost(const GError *error, gpointer user_data)
{
    Follow *follow = user_data;

    line_clear(follow);
    cli_note(follow->cli, "lost the manager (%s); the hosts go on, looking for it again",
             error ? error->message : "it ended the stream");
}

static void
feed_back(gpointer user_data)
{
    Follow *follow = user_data;

    line_clear(follow);
    cli_note(follow->cli, "the manager is back");
    poll_all(follow);
}

static void
feed_over(const GError *error, gpointer user_data)
{
    Follow *follow = user_data;

    if (!follow->error)
        follow->error = g_error_copy(error);
    g_main_loop_quit(follow->loop);
}

static const FeedFuncs feed_funcs = { feed_event, feed_lost, feed_back, feed_over };

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

static gboolean
interrupted(gpointer data)
{
    Follow *follow = data;

    follow->detached = TRUE;
    g_main_loop_quit(follow->loop);
    return G_SOURCE_CONTINUE;
}

/* How to go on with each task that has not ended. */
static void
tell_how(Follow *follow, const char *why)
{
    for (guint i = 0; i < follow->followed->len; i++) {
        const Task *task = ((Followed *)g_ptr_array_index(follow->followed, i))->task;
        g_autofree char *text = NULL;

        if (follow_is_over(task))
            continue;
        text = g_strdup_printf(
            "%s; the %s goes on. Watch: godwit task watch %s. Cancel: godwit task cancel %s", why,
            task->migration ? "migration" : "task", task->id, task->id);
        cli_complain(follow->cli, text);
    }
}

static char *
stream_path(GPtrArray *followed)
{
    char *path = api_path("events", NULL);

    if (followed->len == 1)
        api_query(&path, "task", ((Followed *)g_ptr_array_index(followed, 0))->task->id);
    return path;
}

static void
follow_stop(Follow *follow)
{
    g_clear_pointer(&follow->feed, feed_free);
    g_clear_handle_id(&follow->draw_timer, g_source_remove);
    g_cancellable_cancel(follow->cancellable);
    while (follow->pending > 0)
        g_main_context_iteration(NULL, TRUE);
    g_clear_handle_id(&follow->draw_timer, g_source_remove);
    line_clear(follow);
    fflush(stderr);
    g_object_unref(follow->cancellable);
    g_main_loop_unref(follow->loop);
}

void
follow_hold_interrupt(gboolean hold)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

gboolean
follow_tasks(Cli *cli, GPtrArray *followed, gboolean *detached, GError **error)
{
    Follow follow = { .cli = cli, .followed = followed };
    g_autofree char *path = stream_path(followed);
    guint poll_timer, signal_source;

    *detached = FALSE;
    follow.loop = g_main_loop_new(NULL, FALSE);
    follow.cancellable = g_cancellable_new();
    for (guint i = 0; i < followed->len; i++)
        show(&follow, g_ptr_array_index(followed, i));
    signal_source = g_unix_signal_add(SIGINT, interrupted, &follow);
    poll_timer = g_timeout_add_seconds(POLL_S, poll_all, &follow);
    follow.feed = feed_new(cli, path, &feed_funcs, &follow);
    if (followed->len > 1)
        poll_all(&follow);
    follow_hold_interrupt(FALSE);
    if (!all_over(followed))
        g_main_loop_run(follow.loop);
    g_source_remove(poll_timer);
    follow_stop(&follow);
    g_source_remove(signal_source);
    *detached = follow.detached;
    if (follow.detached || follow.error)
        tell_how(&follow, follow.detached ? "detached" : "no longer followed");
    if (follow.error)
        g_propagate_error(error, follow.error);
    return follow.error == NULL;
}
