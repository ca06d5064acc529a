/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The shell's completion function (packaging/bash-completion/godwit) knows nothing of the verbs: it
 * hands the words of the line to "godwit __complete", which answers from the verb table and, for
 * names, from the manager. So completion can't disagree with the program that it completes.
 *
 * bash splits words at '=' and ':' as well: "--to=h" comes as "--to", "=", "h". These are put
 * together again first, and since the shell replaces only what it takes for the last word, only
 * that part is answered.
 */
#include "cli/complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/session.h"

#define TIMEOUT_S 2

typedef struct {
    CompleteNames names;
    gpointer data;
    const char *prefix; /* what the word begins with */
    GPtrArray *found;
    gboolean files;
} Completion;

static void
offer(Completion *completion, const char *word)
{
    if (g_str_has_prefix(word, completion->prefix) &&
        !g_ptr_array_find_with_equal_func(completion->found, word, g_str_equal, NULL))
        g_ptr_array_add(completion->found, g_strdup(word));
}

static void
offer_all(Completion *completion, const char *const *words)
{
    for (; words && *words; words++)
        offer(completion, *words);
}

static void
offer_kind(Completion *completion, ArgKind kind, const char *choices)
{
    g_auto(GStrv) words = NULL;

    if (kind == ARG_CHOICE)
        words = g_strsplit(choices, "|", -1);
    else if (kind == ARG_FILE)
        completion->files = TRUE;
    else if (kind != ARG_NONE && kind != ARG_TEXT && kind != ARG_VERB)
        words = completion->names ? completion->names(kind, completion->data) : NULL;
    offer_all(completion, (const char *const *)words);
}

static void
offer_options(Completion *completion, const Verb *verb)
{
    for (const CliOption *o = verb ? verb->options : NULL; o && o->name; o++) {
        g_autofree char *word = g_strdup_printf("--%s", o->name);

        offer(completion, word);
    }
    for (const CliOption *o = global_options; o->name; o++) {
        g_autofree char *word = g_strdup_printf("--%s", o->name);

        offer(completion, word);
    }
}

/* Where the words before the one in question lead. */
typedef struct {
    const Verb *verb;
    GString *group;           /* words of the verb so far */
    guint args;               /* arguments so far */
    const CliOption *waiting; /* its value is the word in question */
    gboolean only_args;
} Place;

static const CliOption *
option_of(const Verb *verb, const char *word)
{
    if (g_str_has_prefix(word, "--"))
        return verb_option(verb, word + 2);
    return word[0] == '-' && word[1] && !word[2] ? verb_option_letter(verb, word[1]) : NULL;
}

static void
place_word(Place *place, const char *word)
{
    const CliOption *option;

    if (place->waiting) {
        place->waiting = NULL;
    } else if (!place->only_args && strcmp(word, "--") == 0) {
        place->only_args = TRUE;
    } else if (!place->only_args && word[0] == '-') {
        option = strchr(word, '=') ? NULL : option_of(place->verb, word);
        place->waiting = option && option->kind != ARG_NONE ? option : NULL;
    } else if (place->verb && place->verb->arg_kind == ARG_VERB) {
        g_string_append_printf(place->group, "%s%s", place->group->len ? " " : "", word);
    } else if (place->verb) {
        place->args++;
    } else {
        g_string_append_printf(place->group, "%s%s", place->group->len ? " " : "", word);
        place->verb = verb_find(place->group->str);
        if (place->verb && place->verb->arg_kind == ARG_VERB)
            g_string_truncate(place->group, 0);
    }
}

static void
complete_at(Completion *completion, const Place *place)
{
    const Verb *verb = place->verb;
    const char *word = completion->prefix, *equals = strchr(word, '=');

    if (place->waiting) {
        offer_kind(completion, place->waiting->kind, place->waiting->value);
    } else if (!place->only_args && word[0] == '-' && equals) {
        g_autofree char *name = g_strndup(word, equals - word);
        const CliOption *option = option_of(verb, name);

        completion->prefix = equals + 1;
        if (option)
            offer_kind(completion, option->kind, option->value);
    } else if (!place->only_args && word[0] == '-') {
        offer_options(completion, verb);
    } else if (!verb || verb->arg_kind == ARG_VERB) {
        g_auto(GStrv) next = verb_next_words(place->group->str);

        offer_all(completion, (const char *const *)next);
    } else if (verb->max_args < 0 || (int)place->args < verb->max_args) {
        offer_kind(completion, verb->arg_kind, NULL);
    }
}

/* The words up to index with "--a", "=", "b" put together. (transfer full) */
static GPtrArray *
words_join(const char *const *words, guint index)
{
    GPtrArray *joined = g_ptr_array_new_with_free_func(g_free);
    guint given = g_strv_length((GStrv)words);

    for (guint i = 1; i <= index && i <= given; i++) {
        const char *word = i < given ? words[i] : "";
        char *last = joined->len ? g_ptr_array_index(joined, joined->len - 1) : NULL;
        gboolean glue = last && g_str_has_prefix(last, "--") &&
                        (strcmp(word, "=") == 0 || g_str_has_suffix(last, "="));

        if (glue) {
            char *longer = g_strconcat(last, word, NULL);

            g_free(last);
            joined->pdata[joined->len - 1] = longer;
        } else {
            g_ptr_array_add(joined, g_strdup(word));
        }
    }
    if (joined->len == 0)
        g_ptr_array_add(joined, g_strdup(""));
    return joined;
}

GStrv
complete_words(const char *const *words, guint index, CompleteNames names, gpointer data,
               gboolean *files)
{
    g_autoptr(GPtrArray) joined = words_join(words, index);
    g_autoptr(GString) group = g_string_new(NULL);
    Completion completion = { names, data, NULL, g_ptr_array_new(), FALSE };
    Place place = { .group = group };

    for (guint i = 0; i + 1 < joined->len; i++)
        place_word(&place, g_ptr_array_index(joined, i));
    completion.prefix = g_ptr_array_index(joined, joined->len - 1);
    complete_at(&completion, &place);
    *files = completion.files;
    g_ptr_array_add(completion.found, NULL);
    return (GStrv)g_ptr_array_free(completion.found, FALSE);
}

/* ---- with the manager
 * ------------------------------------------------------------------------------ */

static GStrv
names_of_manager(ArgKind kind, gpointer data)
{
    Cli *cli = data;

    return session_open(cli, TIMEOUT_S, NULL) ? session_names(cli, kind) : NULL;
}

void
complete_print(const char *const *arguments)
{
    g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
    Cli cli = { .options = options };
    g_auto(GStrv) words = NULL;
    gboolean files = FALSE;

    if (!arguments[0])
        return;
    words = complete_words(arguments + 1, (guint)g_ascii_strtoull(arguments[0], NULL, 10),
                           names_of_manager, &cli, &files);
    for (char **word = words; *word; word++)
        printf("%s\n", *word);
    if (files)
        printf("\x01"
               "files\n");
    g_clear_pointer(&cli.client, http_client_free);
    g_free(cli.url);
    g_free(cli.token);
    g_free(cli.ca_pem);
}
