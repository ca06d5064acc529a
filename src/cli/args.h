/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/verb.h"

/** A command line, parsed against the verb table. */
typedef struct {
    const Verb *verb;    /* NULL: none was named */
    char *group;         /* words given where verb is NULL: "" or "host" */
    GPtrArray *args;     /* char * */
    GHashTable *options; /* name → value; a flag's value is "" */
} Args;

/** words: without the program's name, NULL-terminated. INVALID names the wrong word and the nearest
 * known one. With --help among them, numbers of arguments and missing verbs are not judged. */
Args *args_parse(const char *const *words, GError **error);
void args_free(Args *args);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Args, args_free)
