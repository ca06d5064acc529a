/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/* How far tasks are, in words. Pure; names are cleaned, no colours, no newline at the end. All
 * (transfer full). */

/** One line of at most width columns for a task: VM, stage, pass, bytes done and left, rate, rate
 * of dirtying, time left. What matters less is left out first where the line is narrow. width 0: no
 * limit. */
char *progress_line(const Task *task, int width);
/** Same for several tasks in one line: how many are where, then the ones at work. */
char *progress_line_of_all(GPtrArray *tasks, int width);

/** What of a task was written last; zero it before the first use, clear it after the last. */
typedef struct {
    char *stage;
    gint64 pass;
    int state;
    gboolean any, cancelling, cut_off;
} ProgressSeen;
void progress_seen_clear(ProgressSeen *seen);

/** A plain line where stage, pass or state changed, or the connection was lost or is back, since
 * `seen`, which is brought up to date; else NULL. */
char *progress_change(ProgressSeen *seen, const Task *task, gint64 now_ms);
