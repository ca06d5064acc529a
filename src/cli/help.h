/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/verb.h"

/* Texts made from the verb table; width in columns, 0 = no limit. All (transfer full). */

/** What "godwit --help" prints. */
char *help_overview(int width);
/** The verbs that begin with group ("host"). */
char *help_group(const char *group, int width);
char *help_verb(const Verb *verb, int width);
/** The sections of the manual page that the table determines (roff); man/godwit.1 holds them
 * between two comments, and a test compares. */
char *help_manual(void);
