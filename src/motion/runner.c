/* SPDX-License-Identifier: Apache-2.0 */
#include "motion/runner.h"

#include "base/clock.h"
#include "base/error.h"

void
runner_init(Runner *runner, gpointer self, const StageWatch *watch)
{
    runner->context = g_main_context_new();
    runner->self = self;
    runner->watch = watch;
}

typedef struct {
    Runner *runner;
    GThreadFunc main;
} Start;

static gpointer
thread_main(gpointer data)
{
    Start start = *(Start *)data;

    g_free(data);
    /* Held for good: a context that nobody holds would run posted calls in the poster's thread. */
    g_main_context_acquire(start.runner->context);
    g_main_context_push_thread_default(start.runner->context);
    start.main(start.runner->self);
    g_main_context_pop_thread_default(start.runner->context);
    g_main_context_release(start.runner->context);
    g_atomic_int_set(&start.runner->finished, TRUE);
    return NULL;
}

void
runner_start(Runner *runner, const char *name, GThreadFunc main)
{
    Start *start = g_new0(Start, 1);

    start->runner = runner;
    start->main = main;
    runner->thread = g_thread_new(name, thread_main, start);
}

void
runner_clear(Runner *runner)
{
    if (runner->thread)
        g_thread_join(g_steal_pointer(&runner->thread));
    g_clear_pointer(&runner->journal, journal_close);
    g_clear_pointer(&runner->context, g_main_context_unref);
}

void
runner_post(Runner *runner, GSourceFunc func, gpointer data, GDestroyNotify destroy)
{
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, func, data, destroy);
    g_source_attach(source, runner->context);
}

void
runner_leave(Runner *runner)
{
    g_atomic_int_set(&runner->leaving, TRUE);
    g_main_context_wakeup(runner->context);
}

gboolean
runner_is_leaving(Runner *runner)
{
    return g_atomic_int_get(&runner->leaving);
}

static gboolean
on_deadline(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/** A timer for the earlier of both limits; NULL where there is none. */
static GSource *
deadline_source(Runner *runner, guint timeout_ms, gboolean *passed)
{
    gint64 now_us = clock_monotonic_us();
    gint64 until_us = timeout_ms ? now_us + timeout_ms * G_TIME_SPAN_MILLISECOND : 0;
    GSource *source;

    if (runner->deadline_us && (!until_us || runner->deadline_us < until_us))
        until_us = runner->deadline_us;
    if (!until_us)
        return NULL;
    source = g_timeout_source_new((guint)(MAX(until_us - now_us, 0) / 1000));
    g_source_set_callback(source, on_deadline, passed, NULL);
    g_source_attach(source, runner->context);
    return source;
}

gboolean
runner_wait(Runner *runner, RunnerReady ready, guint timeout_ms, const char *what, GError **error)
{
    gboolean passed = FALSE, done = FALSE;
    g_autoptr(GSource) deadline = deadline_source(runner, timeout_ms, &passed);
    g_autoptr(GError) failure = NULL;

    while (!done && !failure) {
        done = ready(runner->self, &failure);
        if (done || failure)
            break;
        if (runner_is_leaving(runner))
            g_set_error(&failure, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
        else if (passed)
            g_set_error(&failure, GODWIT_ERROR, GODWIT_ERROR_TIMEOUT, "waited too long for %s",
                        what);
        else
            g_main_context_iteration(runner->context, TRUE);
    }
    if (deadline)
        g_source_destroy(deadline);
    if (!failure)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

static void
undo_from(Runner *runner, const Stage *stages, gsize first, gsize failed)
{
    for (gsize i = failed + 1; i > first; i--) {
        const Stage *stage = &stages[i - 1];

        if (!stage->undo)
            continue;
        runner->deadline_us = 0;
        stage->undo(runner->self);
        journal_write(runner->journal, stage->name, "undone", NULL, NULL);
        if (runner->watch->undone)
            runner->watch->undone(runner->self, stage);
    }
}

static gboolean
run_stage(Runner *runner, const Stage *stage, gboolean past_return, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (!journal_write(runner->journal, stage->name, "begin", NULL, &local)) {
        if (!past_return) {
            g_propagate_error(error, g_steal_pointer(&local));
            return FALSE;
        }
        g_warning("%s; going on, because the VM has moved already", local->message);
    }
    runner->deadline_us =
        stage->timeout_s ? clock_monotonic_us() + stage->timeout_s * G_TIME_SPAN_SECOND : 0;
    if (!stage->run(runner->self, error))
        return FALSE;
    journal_write(runner->journal, stage->name, "done", NULL,
                  NULL); /* the next begin says the same */
    return TRUE;
}

gboolean
runner_run(Runner *runner, const Stage *stages, gsize n, gsize first, GError **error)
{
    gboolean past_return = FALSE;

    for (gsize i = 0; i < first; i++)
        past_return |= stages[i].point_of_no_return;
    for (gsize i = first; i < n; i++) {
        g_autoptr(GError) local = NULL;

        runner->watch->begun(runner->self, &stages[i]);
        if (!run_stage(runner, &stages[i], past_return, &local)) {
            runner->watch->ended(runner->self, &stages[i], local);
            if (!past_return && !runner_is_leaving(runner))
                undo_from(runner, stages, 0, i);
            g_propagate_error(error, g_steal_pointer(&local));
            return FALSE;
        }
        runner->watch->ended(runner->self, &stages[i], NULL);
        past_return |= stages[i].point_of_no_return;
    }
    return TRUE;
}
