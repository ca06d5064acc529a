/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/verb.h"

/** Names of hosts, VMs, ... for completion; NULL where they can't be told. (transfer full) */
typedef GStrv (*CompleteNames)(ArgKind kind, gpointer data);

/** Words that may stand at words[index] of a command line (words[0] is the program) and begin with
 * what is there. files becomes TRUE where the shell should complete file names. Pure, but for
 * names. (transfer full) */
GStrv complete_words(const char *const *words, guint index, CompleteNames names, gpointer data,
                     gboolean *files);

/** "godwit __complete INDEX WORDS...": prints them, one a line; nothing where the manager doesn't
 * answer within 2 s. */
void complete_print(const char *const *arguments);
