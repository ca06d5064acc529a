/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines against the verb table: parsing, its errors, completion, the table itself. */
#include <glib.h>
#include <string.h>

#include "base/error.h"
#include "cli/args.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cli/login.h"

static Args *
parse(const char *line, GError **error)
{
    g_auto(GStrv) words = NULL;

    if (!g_shell_parse_argv(line, NULL, &words, NULL))
        words = g_new0(char *, 1);
    return args_parse((const char *const *)words, error);
}

static void
test_good(void)
{
    static const struct {
        const char *line, *path, *args, *option, *value;
    } cases[] = {
        { "host list", "host list", "", NULL, NULL },
        { "-o json host list", "host list", "", "output", "json" },
        { "host -ojson list", "host list", "", "output", "json" },
        { "migrate a b --to h2", "migrate", "a|b", "to", "h2" },
        { "migrate --to=h2 a b -d", "migrate", "a|b", "detach", "" },
        { "migrate --to h2 -- --odd", "migrate", "--odd", "to", "h2" },
        { "host remove h1 -qf", "host remove", "h1", "force", "" },
        { "login - --token-file -", "login", "-", "token-file", "-" },
        { "migrate --help", "migrate", "", "help", "" },
        { "help host add", "help", "host|add", NULL, NULL },
        { "recall clear", "recall clear", "", NULL, NULL },
        { "recall clear a --host h1", "recall clear", "a", "host", "h1" },
        { "migrate a --to h1 --to h2", "migrate", "a", "to", "h2" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Args) args = parse(cases[i].line, &error);
        g_autofree char *joined = NULL;

        g_assert_no_error(error);
        g_assert_cmpstr(args->verb->path, ==, cases[i].path);
        g_ptr_array_add(args->args, NULL);
        joined = g_strjoinv("|", (GStrv)args->args->pdata);
        g_assert_cmpstr(joined, ==, cases[i].args);
        if (cases[i].option)
            g_assert_cmpstr(g_hash_table_lookup(args->options, cases[i].option), ==,
                            cases[i].value);
    }
}

static void
test_bad(void)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        { "", "a verb is missing" },
        { "hots list", "did you mean \"host\"" },
        { "host lits", "did you mean \"host list\"" },
        { "host", "add, list, show, remove" },
        { "quux", "there are: login" },
        { "host show", "HOST is missing" },
        { "host list x", "\"x\" is too much" },
        { "recall clear a b", "\"b\" is too much" },
        { "migrate --to h2", "VM... is missing" },
        { "migrate web1", "--to HOST is missing" },
        { "migrate web1 --to", "--to needs a value: HOST" },
        { "migrate web1 --to ''", "the value of --to is empty" },
        { "migrate web1 --to h2 --polcy gentle", "did you mean \"--policy\"" },
        { "migrate web1 --to h2 --policy gentel", "did you mean \"gentle\"" },
        { "migrate web1 --to h2 --policy fast", "gentle|standard|urgent" },
        { "migrate web1 --to h2 --bandwidth", "--bandwidth needs a value: RATE" },
        { "migrate web1 --to h2 --wait=yes", "--wait takes no value" },
        { "migrate web1 --to h2 -x", "no option -x" },
        { "--to h2 migrate web1", "--to must stand after the verb" },
        { "host list --output yaml", "table|json" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Args) args = parse(cases[i].line, &error);

        g_assert_null(args);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        if (!strstr(error->message, cases[i].says))
            g_error("\"%s\" gives \"%s\", which lacks \"%s\"", cases[i].line, error->message,
                    cases[i].says);
    }
}

/* Whatever is typed, the parser ends with a verb or an error. */
static void
test_anything(void)
{
    static const char *const words[] = {
        "host", "list", "migrate", "web1", "--to", "--to=",  "h2",   "-o",   "json",
        "--",   "-",    "",        "-qz",  "help", "--help", "\xff", "task", "--output=json"
    };

    for (int round = 0; round < 5000; round++) {
        const char *line[8] = { NULL };
        int n = g_test_rand_int_range(0, 7);
        g_autoptr(GError) error = NULL;
        g_autoptr(Args) args = NULL;

        for (int i = 0; i < n; i++)
            line[i] = words[g_test_rand_int_range(0, G_N_ELEMENTS(words))];
        args = args_parse(line, &error);
        g_assert_true((args != NULL) != (error != NULL));
        if (args && !g_hash_table_contains(args->options, "help"))
            g_assert_nonnull(args->verb);
    }
}

/* ---- completion
 * -------------------------------------------------------------------------------------- */

static GStrv
names(ArgKind kind, gpointer data)
{
    if (kind == ARG_HOST)
        return g_strsplit("h1 h2", " ", -1);
    if (kind == ARG_VM)
        return g_strsplit("web1 db1", " ", -1);
    return NULL;
}

static void
test_complete(void)
{
    static const struct {
        const char *line; /* the last word is completed */
        const char *found;
    } cases[] = {
        { "godwit mig", "migrate" },
        { "godwit host ''", "add list show remove" },
        { "godwit host show ''", "h1 h2" },
        { "godwit host show h1 ''", "" },
        { "godwit migrate ''", "web1 db1" },
        { "godwit migrate web1 d", "db1" },
        { "godwit migrate web1 --to ''", "h1 h2" },
        { "godwit migrate web1 --to = ''", "h1 h2" },
        { "godwit migrate web1 --to = h2", "h2" },
        { "godwit migrate web1 --to=h", "h1 h2" },
        { "godwit migrate --policy g", "gentle" },
        { "godwit migrate --po", "--policy" },
        { "godwit migrate --b", "--bandwidth" },
        { "godwit recall clear ''", "web1 db1" },
        { "godwit recall clear web1 --host ''", "h1 h2" },
        { "godwit -o ''", "table json" },
        { "godwit -o json vm l", "list" },
        { "godwit help ho", "host" },
        { "godwit help host r", "remove" },
        { "godwit nonsense ''", "" },
        { "godwit", "login logout host vm network datastore migrate recall task events alarm token "
                    "version doctor help" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) words = NULL, found = NULL;
        g_autofree char *joined = NULL;
        gboolean files;
        guint n;

        g_assert_true(g_shell_parse_argv(cases[i].line, NULL, &words, NULL));
        n = g_strv_length(words);
        found = complete_words((const char *const *)words, MAX(n - 1, 1), names, NULL, &files);
        joined = g_strjoinv(" ", found);
        if (strcmp(joined, cases[i].found) != 0)
            g_error("\"%s\" completes to \"%s\", expected \"%s\"", cases[i].line, joined,
                    cases[i].found);
        g_assert_false(files);
    }
}

static void
test_complete_files(void)
{
    const char *words[] = { "godwit", "--token-file", "x", NULL };
    gboolean files = FALSE;
    g_auto(GStrv) found = complete_words(words, 2, names, NULL, &files);

    g_assert_true(files);
    g_assert_cmpuint(g_strv_length(found), ==, 0);
}

/* ---- the table
 * ------------------------------------------------------------------------------------------ */

static void
check_options(const Verb *verb, const CliOption *options)
{
    for (const CliOption *o = options; o && o->name; o++) {
        g_assert_true(verb_option(verb, o->name) == o); /* neither twice nor hidden by another */
        if (o->letter)
            g_assert_true(verb_option_letter(verb, o->letter) == o);
        g_assert_true((o->kind == ARG_NONE) == (o->value == NULL));
        g_assert_nonnull(o->help);
        g_assert_false(g_str_has_suffix(o->help, "."));
    }
}

static void
test_table_is_sound(void)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        g_assert_true(verb_find(verb->path) == verb);
        g_assert_nonnull(verb->run);
        g_assert_nonnull(verb->summary);
        g_assert_false(g_str_has_suffix(verb->summary, "."));
        g_assert_true((verb->max_args != 0) == (verb->args != NULL));
        check_options(verb, verb->options);
        check_options(verb, global_options);
        for (const Verb *other = verbs; other->path; other++) {
            g_autofree char *words = g_strdup_printf("%s ", verb->path);

            g_assert_false(
                g_str_has_prefix(other->path, words)); /* no verb is the beginning of another */
        }
    }
}

static void
test_help(void)
{
    g_autofree char *overview = help_overview(80), *manual = help_manual();

    for (const Verb *verb = verbs; verb->path; verb++) {
        g_autofree char *help = help_verb(verb, 60), *usage = verb_usage(verb);
        g_auto(GStrv) lines = g_strsplit(help, "\n", -1);

        g_assert_nonnull(strstr(help, usage));
        g_assert_nonnull(strstr(overview, verb->path));
        for (const CliOption *o = verb->options; o && o->name; o++) {
            g_autofree char *label = option_label(o);

            g_assert_nonnull(strstr(help, label));
        }
        g_assert_cmpuint(g_strv_length(lines), >, 5);
    }
    g_assert_nonnull(strstr(manual, ".SH EXIT STATUS"));
}

static void
test_urls(void)
{
    static const struct {
        const char *text, *url;
    } cases[] = {
        { "manager", "https://manager:8443" },
        { "manager:9000", "https://manager:9000" },
        { "https://10.0.0.1", "https://10.0.0.1:8443" },
        { "https://10.0.0.1:8443/", "https://10.0.0.1:8443" },
        { "https://[fd00::1]:8443", "https://[fd00::1]:8443" },
        { "http://manager", NULL },
        { "https://", NULL },
        { "https://manager/api", NULL },
        { "https://me:secret@manager", NULL },
        { "", NULL },
        { "a b", NULL },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *url = login_url(cases[i].text, &error);

        g_assert_cmpstr(url, ==, cases[i].url);
        if (!url)
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/args/good", test_good);
    g_test_add_func("/cli/args/bad", test_bad);
    g_test_add_func("/cli/args/anything", test_anything);
    g_test_add_func("/cli/complete/words", test_complete);
    g_test_add_func("/cli/complete/files", test_complete_files);
    g_test_add_func("/cli/verbs/sound", test_table_is_sound);
    g_test_add_func("/cli/verbs/help", test_help);
    g_test_add_func("/cli/login/url", test_urls);
    return g_test_run();
}
