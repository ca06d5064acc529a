/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A command line is: words that name a verb, its arguments, and options anywhere. The words are
 * matched against the verb table as far as they lead somewhere ("host" then "list"); what follows a
 * whole verb are arguments. Global options may stand anywhere, a verb's own only after it, since
 * before it nobody knows whether an option takes a value. "--" ends the options.
 *
 * Numbers of arguments and missing verbs are judged at the end, unless --help is there: help never
 * fails because something else is missing.
 */
#include "cli/args.h"

#include <string.h>

#include "base/error.h"
#include "cli/suggest.h"

typedef struct {
    Args *args;
    const char *const *next; /* the word to read next */
    gboolean only_args;      /* after "--" */
} Parser;

void
args_free(Args *args)
{
    if (!args)
        return;
    g_free(args->group);
    g_ptr_array_unref(args->args);
    g_hash_table_unref(args->options);
    g_free(args);
}

/* ": did you mean \"list\"?" or "". */
static char *
did_you_mean(const char *word, const char *prefix, const char *const *known)
{
    const char *near = suggest_nearest(word, known);

    return near ? g_strdup_printf("; did you mean \"%s%s\"?", prefix, near) : g_strdup("");
}

static gboolean
choice_check(const CliOption *option, const char *value, GError **error)
{
    g_auto(GStrv) choices = g_strsplit(option->value, "|", -1);
    g_autofree char *hint = NULL;

    if (g_strv_contains((const char *const *)choices, value))
        return TRUE;
    hint = did_you_mean(value, "", (const char *const *)choices);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "--%s can be %s, but not \"%s\"%s",
                option->name, option->value, value, hint);
    return FALSE;
}

/* Takes the option with its value: `inline_value` or else the next word. */
static gboolean
option_take(Parser *parser, const CliOption *option, const char *inline_value, GError **error)
{
    const char *value = inline_value ? inline_value : "";

    if (option->kind == ARG_NONE && inline_value) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "--%s takes no value", option->name);
        return FALSE;
    }
    if (option->kind != ARG_NONE && !inline_value) {
        value = *parser->next;
        if (!value) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "--%s needs a value: %s",
                        option->name, option->value);
            return FALSE;
        }
        parser->next++;
    }
    if (option->kind != ARG_NONE && value[0] == '\0') {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "the value of --%s is empty",
                    option->name);
        return FALSE;
    }
    if (option->kind == ARG_CHOICE && !choice_check(option, value, error))
        return FALSE;
    g_hash_table_replace(parser->args->options, g_strdup(option->name), g_strdup(value));
    return TRUE;
}

/* Names of all options that could stand here, for suggestions. */
static GStrv
option_names(const Verb *verb)
{
    GStrvBuilder *builder = g_strv_builder_new();
    GStrv names;

    for (const CliOption *o = verb ? verb->options : NULL; o && o->name; o++)
        g_strv_builder_add(builder, o->name);
    for (const CliOption *o = global_options; o->name; o++)
        g_strv_builder_add(builder, o->name);
    names = g_strv_builder_end(builder);
    g_strv_builder_unref(builder);
    return names;
}

static void
unknown_option(const Verb *verb, const char *word, GError **error)
{
    g_auto(GStrv) names = option_names(verb);
    g_autofree char *name = g_strndup(word, strcspn(word, "="));
    g_autofree char *hint =
        did_you_mean(name + strspn(name, "-"), "--", (const char *const *)names);
    gboolean elsewhere = FALSE;

    for (const Verb *v = verbs; !verb && v->path; v++)
        elsewhere = elsewhere || verb_option(v, name + strspn(name, "-"));
    if (elsewhere)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "%s must stand after the verb that it belongs to", name);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s has no option %s%s",
                    verb ? verb->path : "godwit", name, hint);
}

static gboolean
take_long(Parser *parser, const char *word, GError **error)
{
    gsize length = strcspn(word + 2, "=");
    g_autofree char *name = g_strndup(word + 2, length);
    const CliOption *option = verb_option(parser->args->verb, name);

    if (!option) {
        unknown_option(parser->args->verb, word, error);
        return FALSE;
    }
    return option_take(parser, option, word[2 + length] == '=' ? word + 3 + length : NULL, error);
}

/* "-q", "-qh", "-ojson", "-o json". */
static gboolean
take_short(Parser *parser, const char *word, GError **error)
{
    for (const char *p = word + 1; *p; p++) {
        const CliOption *option = verb_option_letter(parser->args->verb, *p);

        if (!option) {
            unknown_option(parser->args->verb, word, error);
            return FALSE;
        }
        if (option->kind != ARG_NONE)
            return option_take(parser, option, p[1] ? p + 1 : NULL, error);
        if (!option_take(parser, option, NULL, error))
            return FALSE;
    }
    return TRUE;
}

static void
unknown_verb(const char *group, const char *word, GError **error)
{
    g_auto(GStrv) words = verb_next_words(group);
    g_autofree char *prefix = *group ? g_strdup_printf("%s ", group) : g_strdup("");
    g_autofree char *hint = did_you_mean(word, prefix, (const char *const *)words);
    g_autofree char *list = g_strjoinv(", ", words);

    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "there is no verb \"%s%s\"%s%s%s%s",
                prefix, word, *hint ? hint : "; there are: ", *hint ? "" : prefix,
                *hint || !*prefix ? "" : "followed by ", *hint ? "" : list);
}

/* A word that isn't an option. */
static gboolean
take_word(Parser *parser, const char *word, GError **error)
{
    Args *args = parser->args;
    g_autofree char *path = NULL;

    if (args->verb) {
        g_ptr_array_add(args->args, g_strdup(word));
        return TRUE;
    }
    path = *args->group ? g_strdup_printf("%s %s", args->group, word) : g_strdup(word);
    if (!verb_is_prefix(path)) {
        unknown_verb(args->group, word, error);
        return FALSE;
    }
    args->verb = verb_find(path);
    g_free(args->group);
    args->group = g_steal_pointer(&path);
    return TRUE;
}

static gboolean
args_judge(const Args *args, GError **error)
{
    int n = args->args->len;

    if (g_hash_table_contains(args->options, "help") ||
        g_hash_table_contains(args->options, "version"))
        return TRUE;
    if (!args->verb) {
        g_auto(GStrv) words = verb_next_words(args->group);
        g_autofree char *list = g_strjoinv(", ", words);

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s%sone of these must follow: %s",
                    args->group, *args->group ? ": " : "a verb is missing; ", list);
        return FALSE;
    }
    for (const CliOption *o = args->verb->options; o && o->name; o++) {
        if (!o->required || g_hash_table_contains(args->options, o->name))
            continue;
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: --%s %s is missing",
                    args->verb->path, o->name, o->value);
        return FALSE;
    }
    if (n >= args->verb->min_args && (args->verb->max_args < 0 || n <= args->verb->max_args))
        return TRUE;
    if (n < args->verb->min_args)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: %s is missing",
                    args->verb->path, args->verb->args);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: \"%s\" is too much",
                    args->verb->path, (char *)g_ptr_array_index(args->args, args->verb->max_args));
    return FALSE;
}

Args *
args_parse(const char *const *words, GError **error)
{
    g_autoptr(Args) args = g_new0(Args, 1);
    Parser parser = { args, words, FALSE };

    args->group = g_strdup("");
    args->args = g_ptr_array_new_with_free_func(g_free);
    args->options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    while (*parser.next) {
        const char *word = *parser.next++;
        gboolean ok;

        if (!parser.only_args && strcmp(word, "--") == 0) {
            parser.only_args = TRUE;
            continue;
        }
        if (parser.only_args || word[0] != '-' || word[1] == '\0')
            ok = take_word(&parser, word, error);
        else if (word[1] == '-')
            ok = take_long(&parser, word, error);
        else
            ok = take_short(&parser, word, error);
        if (!ok)
            return NULL;
    }
    if (!args_judge(args, error))
        return NULL;
    return g_steal_pointer(&args);
}
