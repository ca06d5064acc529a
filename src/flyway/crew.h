/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * Threads that work on batches, so that the loop doesn't. A job belongs to the crew from
 * crew_submit() until crew_is_done() says so; jobs begin in the order of submission and may end in
 * any. See crew.c.
 */
typedef struct Crew Crew;
typedef struct CrewJob CrewJob;

/** Embedded in what is worked on; zeroed before its first use. */
struct CrewJob {
    /** tools: the thread's own. */
    void (*run)(CrewJob *job, gpointer tools);
    CrewJob *next;
    gint done; /* atomic */
};

/**
 * Starts the threads, at least one; each calls tools_new() and, at its end, tools_free(). NULL with
 * errno where the system gives no thread or descriptor.
 */
Crew *crew_new(guint threads, gpointer (*tools_new)(void), GDestroyNotify tools_free);
/** Waits for jobs at work; those that weren't begun stay undone. */
void crew_free(Crew *crew);
guint crew_threads(const Crew *crew);

/** Readable after a job was done, until crew_notice(). */
int crew_fd(const Crew *crew);
void crew_notice(Crew *crew);

void crew_submit(Crew *crew, CrewJob *job);
/** TRUE: everything that the job wrote is visible here. */
gboolean crew_is_done(const CrewJob *job);
/** Until it is. */
void crew_wait(Crew *crew, const CrewJob *job);
