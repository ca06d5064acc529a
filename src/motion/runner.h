/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "motion/journal.h"

/**
 * A runner is the thread that carries one side of one migration through its table of stages. It has
 * a main context of its own, in which worker events and posted calls arrive while a stage waits.
 */
typedef struct Runner Runner;

/** One stage of one side. */
typedef struct {
    const char *name;
    gboolean (*run)(gpointer self, GError **error);
    void (*undo)(gpointer self); /* NULL: leaves nothing behind */
    guint timeout_s;             /* for the waits of run; 0 = none */
    gboolean point_of_no_return; /* once run is done nothing is undone any more */
} Stage;

/** What a side wants to know of its stages' progress (report, log). */
typedef struct {
    void (*begun)(gpointer self, const Stage *stage);
    void (*ended)(gpointer self, const Stage *stage, const GError *error); /* NULL: done */
    void (*undone)(gpointer self, const Stage *stage);
} StageWatch;

struct Runner {
    /* read-only after start */
    GMainContext *context;
    GThread *thread;
    Journal *journal; /* runner's thread */
    gpointer self;    /* given to stages */
    const StageWatch *watch;
    /* atomic */
    gint leaving; /* godwitd stops: return from waits, undo nothing */
    gint finished;
    /* runner's thread */
    gint64 deadline_us; /* of the stage at work; 0 = none */
};

void runner_init(Runner *runner, gpointer self, const StageWatch *watch);
/** main runs in the thread, with the context as its default and held. */
void runner_start(Runner *runner, const char *name, GThreadFunc main);
/** Joins the thread where it has ended, and frees what runner_init made. */
void runner_clear(Runner *runner);
/** Any thread: func(data) in the runner's thread, at its next wait. destroy may be NULL. */
void runner_post(Runner *runner, GSourceFunc func, gpointer data, GDestroyNotify destroy);
/** Asks the thread to return without undoing anything. */
void runner_leave(Runner *runner);
gboolean runner_is_leaving(Runner *runner);

typedef gboolean (*RunnerReady)(gpointer self, GError **error); /* TRUE: done, or error set */
/** Serves the context until ready (asked after each event). TIMEOUT "what" at the earlier of
 * timeout_ms (0 = none) and the stage's deadline; CANCELLED where godwitd leaves. FALSE with error
 * also where ready set one. */
gboolean runner_wait(Runner *runner, RunnerReady ready, guint timeout_ms, const char *what,
                     GError **error);

/**
 * Runs stages[first…n-1], journalling before each. On failure before the point of no return, undoes
 * what was run, last first, the failed stage's own undo included; nothing is undone where godwitd
 * leaves. A failure to journal counts as the stage's failure, but past the point of no return it is
 * only logged. first > 0 after a restart: the stages before it count as run.
 */
gboolean runner_run(Runner *runner, const Stage *stages, gsize n, gsize first, GError **error);
