/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include "cli/text.h"

/* Lines of help are easy to read only up to so many columns. */
#define WIDTH_MAX 100
#define WIDTH_UNKNOWN 80

static int
width_of(int width)
{
    return width == 0 ? WIDTH_UNKNOWN : MIN(width, WIDTH_MAX);
}

/* "  label   text", the text wrapped beside it. */
static void
append_item(GString *out, const char *label, const char *text, int column, int width)
{
    g_autofree char *wrapped = text_wrap(text, width, column);

    g_string_append(out, "  ");
    if (text_width(label) + 4 > column) {
        g_string_append_printf(out, "%s\n%s", label, wrapped);
    } else {
        text_pad(out, label, column - 2, FALSE);
        g_string_append(out, wrapped + column);
    }
}

static void
append_options(GString *out, const char *title, const CliOption *options, int width)
{
    g_string_append_printf(out, "\n%s:\n", title);
    for (const CliOption *o = options; o->name; o++) {
        g_autofree char *label = option_label(o);
        g_autofree char *indented = o->letter ? g_strdup(label) : g_strdup_printf("    %s", label);
        g_autofree char *text = g_strdup_printf("%s.", o->help);

        append_item(out, indented, text, 28, width);
    }
}

static void
append_verbs(GString *out, const char *group, int width)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        g_autofree char *label = NULL, *text = NULL;
        g_autofree char *prefix = g_strdup_printf("%s ", group);

        if (*group && !g_str_has_prefix(verb->path, prefix))
            continue;
        label =
            verb->args ? g_strdup_printf("%s %s", verb->path, verb->args) : g_strdup(verb->path);
        text = g_strdup_printf("%s.", verb->summary);
        append_item(out, label, text, 22, width);
    }
}

char *
help_overview(int width)
{
    GString *out = g_string_new(
        "Usage: godwit VERB [ARGUMENTS] [OPTIONS]\n\n"
        "Moves running virtual machines between hosts without stopping them.\n\nVerbs:\n");

    width = width_of(width);
    append_verbs(out, "", width);
    append_options(out, "Options of every verb", global_options, width);
    g_string_append(out, "\n\"godwit VERB --help\" explains a verb, \"man godwit\" all of it.\n");
    return g_string_free(out, FALSE);
}

char *
help_group(const char *group, int width)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "Usage: godwit %s VERB [ARGUMENTS] [OPTIONS]\n\nVerbs:\n", group);
    append_verbs(out, group, width_of(width));
    g_string_append_printf(out, "\n\"godwit %s VERB --help\" explains a verb.\n", group);
    return g_string_free(out, FALSE);
}

char *
help_verb(const Verb *verb, int width)
{
    GString *out = g_string_new(NULL);
    g_autofree char *usage = verb_usage(verb);
    g_autofree char *summary = g_strdup_printf("%s.", verb->summary);
    g_autofree char *first = NULL;

    width = width_of(width);
    first = text_wrap(summary, width, 0);
    g_string_append_printf(out, "Usage: %s\n\n%s", usage, first);
    if (verb->help) {
        g_autofree char *text = text_wrap(verb->help, width, 0);

        g_string_append_printf(out, "\n%s", text);
    }
    if (verb->options)
        append_options(out, "Options", verb->options, width);
    append_options(out, "Options of every verb", global_options, width);
    return g_string_free(out, FALSE);
}

/* ---- manual ---------------------------------------------------------------------------------- */

/* Text in which no character means anything to roff. */
static void
append_roff(GString *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            g_string_append(out, p[1] == '\n' ? "\n.PP\n" : "\n");
        else if (*p == '-')
            g_string_append(out, "\\-");
        else if (*p == '\\')
            g_string_append(out, "\\e");
        else if (*p == '~')
            g_string_append(out, "\\(ti");
        else if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
            g_string_append_printf(out, "\\&%c", *p);
        else
            g_string_append_c(out, *p);
        if (*p == '\n' && p[1] == '\n')
            p++;
    }
}

static void
manual_options(GString *out, const CliOption *options)
{
    for (const CliOption *o = options; o && o->name; o++) {
        g_string_append(out, ".TP\n.B ");
        if (o->letter)
            g_string_append_printf(out, "\\-%c, ", o->letter);
        append_roff(out, "--");
        append_roff(out, o->name);
        if (o->kind != ARG_NONE)
            g_string_append_printf(out, " \\fI%s\\fR", o->value);
        g_string_append_c(out, '\n');
        append_roff(out, o->help);
        g_string_append(out, ".\n");
    }
}

static void
manual_verb(GString *out, const Verb *verb)
{
    g_autofree char *usage = verb_usage(verb);

    g_string_append(out, ".SS ");
    append_roff(out, usage);
    g_string_append_c(out, '\n');
    append_roff(out, verb->summary);
    g_string_append(out, ".\n");
    if (verb->help) {
        g_string_append(out, ".PP\n");
        append_roff(out, verb->help);
        g_string_append_c(out, '\n');
    }
    manual_options(out, verb->options);
}

char *
help_manual(void)
{
    GString *out = g_string_new(".SH VERBS\n");

    for (const Verb *verb = verbs; verb->path; verb++)
        manual_verb(out, verb);
    g_string_append(out, ".SH OPTIONS OF EVERY VERB\n");
    manual_options(out, global_options);
    g_string_append(out, ".SH EXIT STATUS\n");
    for (const ExitStatus *s = exit_statuses; s->text; s++) {
        g_string_append_printf(out, ".TP\n.B %d\n", s->status);
        append_roff(out, s->text);
        g_string_append_c(out, '\n');
    }
    g_string_append(out, ".SH ENVIRONMENT\n");
    for (const CliVariable *v = environment; v->name; v++) {
        g_string_append_printf(out, ".TP\n.B %s\n", v->name);
        append_roff(out, v->text);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}
