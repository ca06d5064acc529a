/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/page.h"
#include "model/model.h"

/* What became of a task, for people. Pure; all (transfer full). */

/** The page of "godwit task show". */
char *report_page(const Task *task, const PageStyle *style);
/** One to three lines at the end of a move, each with a newline. */
char *report_short(const Task *task);
/** What a person could do about an error of this code, beyond what its message says; NULL where
 * nothing can be added. Static. */
const char *report_remedy(const char *code);
Colour report_task_colour(int state);
