/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/cli.h"
#include "cli/progress.h"
#include "model/model.h"

/** A task that is followed: what was last heard of it. */
typedef struct {
    Task *task;
    JsonNode *node; /* the same as the manager sent it */
    ProgressSeen seen;
} Followed;

/** Takes node, a Task's JSON; PROTOCOL where it isn't one. */
Followed *followed_new(JsonNode *node, GError **error);
void followed_free(Followed *followed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Followed, followed_free)

/** Shows how the tasks (Followed, at least one) go on until each has ended or is unsettled. Ctrl-C
 * detaches: *detached becomes TRUE and a note says how to go on; so does losing the manager for
 * good, which is an error. The session must be open. */
gboolean follow_tasks(Cli *cli, GPtrArray *followed, gboolean *detached, GError **error);

/** TRUE: Ctrl-C waits (while a request that starts something is under way: its answer is needed to
 * say what was started). FALSE: it counts again; follow_tasks does that, too. */
void follow_hold_interrupt(gboolean hold);

/** Nothing more is to be awaited: ended, or unsettled. */
gboolean follow_is_over(const Task *task);
/** Exit status that says what became of the task: 0 only where it succeeded. */
int follow_status(const Task *task);
/** Same for several: 0 if all are, that of the others where they agree, else 1. statuses: int. */
int follow_status_of_all(const GArray *statuses);
