/* SPDX-License-Identifier: Apache-2.0 */
/* Manual, help, completion and verb table say the same. */
#include <gio/gio.h>
#include <string.h>

#include "cli/help.h"
#include "cli/verb.h"
#include "runner.h"

#define BEGIN "\n.\\\" Made by \"godwit __manual\""
#define END "\n.\\\" End of what is made by \"godwit __manual\"."

static void
test_manual(void)
{
    g_autofree char *page = NULL, *made = help_manual(), *held = NULL;
    g_autoptr(GError) error = NULL;
    const char *begin, *end;

    g_assert_true(g_file_get_contents(g_getenv("GODWIT_MANUAL"), &page, NULL, &error));
    begin = strstr(page, BEGIN);
    end = strstr(page, END);
    g_assert_true(begin && end && begin < end);
    begin = strchr(begin + 1, '\n') + 1;
    held = g_strndup(begin, end + 1 - begin);
    if (strcmp(held, made) != 0)
        g_error("man/godwit.1 does not say what the verb table says: put the output of \"godwit "
                "__manual\" between its two comments");
}

/* The manual's own part speaks only of verbs and options that there are. */
static void
test_manual_words(void)
{
    g_autofree char *page = NULL;
    g_auto(GStrv) lines = NULL;

    g_assert_true(g_file_get_contents(g_getenv("GODWIT_MANUAL"), &page, NULL, NULL));
    lines = g_strsplit(page, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_autofree char *plain = g_strdup(*line);
        g_auto(GStrv) words = NULL, removed = g_strsplit(plain, "\\", -1);
        g_autofree char *text = g_strjoinv("", removed);

        /* Lines of examples; the headline "godwit - what it does" is none. */
        if (!g_str_has_prefix(text, "godwit ") || g_str_has_prefix(text, "godwit - "))
            continue;
        g_assert_true(g_shell_parse_argv(text, NULL, &words, NULL));
        if (!verb_find(words[1])) {
            g_autofree char *path = g_strjoin(" ", words[1], words[2], NULL);

            if (!verb_find(path))
                g_error("the manual's example \"%s\" has an unknown verb", text);
        }
    }
}

static void
test_help(void)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        g_autofree char *command = g_strdup_printf("%s --help", verb->path),
                        *by_help = g_strdup_printf("help %s", verb->path);
        g_autofree char *usage = verb_usage(verb);
        g_autoptr(Run) run = godwit(NULL, command), same = godwit(NULL, by_help);

        assert_status(run, 0);
        assert_contains(run->out, usage);
        g_assert_cmpstr(run->err, ==, "");
        g_assert_cmpstr(same->out, ==, run->out);
    }
}

static void
test_help_of_groups(void)
{
    g_autoptr(Run) all = godwit(NULL, "--help"), none = godwit(NULL, ""),
                   group = godwit(NULL, "host --help"), wrong = godwit(NULL, "help hots");
    g_autoptr(Run) bare = godwit(NULL, "host");

    assert_status(all, 0);
    assert_status(none, 2);
    assert_status(group, 0);
    assert_contains(group->out, "host add");
    assert_lacks(group->out, "vm list");
    assert_status(wrong, 2);
    assert_status(bare, 2);
}

/* ---- completion
 * ------------------------------------------------------------------------------------------------
 */

/* What bash offers with the script for a line whose last word is completed. (transfer full) sorted,
 * one a line */
static char *
bash_completes(FakeManager *fake, const char *line)
{
    g_auto(GStrv) words = NULL;
    g_autoptr(GString) script = g_string_new(NULL);
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_autoptr(GSubprocess) bash = NULL;
    g_autofree char *ca = fake ? g_build_filename(fake_manager_dir(fake), "ca.pem", NULL) : NULL;
    g_autoptr(GError) error = NULL;
    char *out = NULL;

    g_assert_true(g_shell_parse_argv(line, NULL, &words, NULL));
    g_string_append_printf(script, "source '%s'; COMP_WORDS=(", g_getenv("GODWIT_COMPLETION"));
    for (char **word = words; *word; word++) {
        g_autofree char *quoted = g_shell_quote(*word);

        g_string_append_printf(script, "%s ", quoted);
    }
    g_string_append_printf(
        script,
        "); COMP_CWORD=%u; _godwit '%s'; printf '%%s\\n' \"${COMPREPLY[@]}\" | LC_ALL=C sort",
        g_strv_length(words) - 1, g_getenv("GODWIT_PROGRAM"));
    g_subprocess_launcher_setenv(launcher, "XDG_CONFIG_HOME", "/nonexistent", TRUE);
    if (fake) {
        g_subprocess_launcher_setenv(launcher, "GODWIT_URL", fake_manager_url(fake), TRUE);
        g_subprocess_launcher_setenv(launcher, "GODWIT_TOKEN", fake_manager_token(fake), TRUE);
        g_subprocess_launcher_setenv(launcher, "GODWIT_CA", ca, TRUE);
    }
    bash = g_subprocess_launcher_spawn(launcher, &error, "bash", "--norc", "-c", script->str, NULL);
    g_assert_no_error(error);
    g_assert_true(g_subprocess_communicate_utf8(bash, NULL, NULL, &out, NULL, &error));
    return out;
}

static int
by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
test_completion_of_verbs(void)
{
    g_auto(GStrv) words = verb_next_words("");
    g_autofree char *offered = bash_completes(NULL, "godwit ''"), *known = NULL, *list = NULL;

    qsort(words, g_strv_length(words), sizeof *words, by_name);
    list = g_strjoinv("\n", words);
    known = g_strdup_printf("%s\n", list);
    g_assert_cmpstr(offered, ==, known);
}

static void
test_completion_of_options(void)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        g_autofree char *line = g_strdup_printf("godwit %s --", verb->path),
                        *offered = bash_completes(NULL, line);

        for (const CliOption *o = verb->options; o && o->name; o++) {
            g_autofree char *option = g_strdup_printf("--%s\n", o->name);

            assert_contains(offered, option);
        }
        assert_contains(offered, "--help\n");
    }
}

static void
test_completion_of_names(void)
{
    g_autoptr(FakeManager) fake = fake_manager_new();
    g_autofree char *vms = NULL, *hosts = NULL, *away = NULL, *spaced = NULL;

    fake_manager_answer(fake, "listVms",
                        "{'vms': [{'name': 'web1'}, {'name': 'db 1'}, {'name': 'a$(touch x)'}]}");
    fake_manager_answer(fake, "listHosts", "{'hosts': [{'name': 'h1'}, {'name': 'h2'}]}");
    vms = bash_completes(fake, "godwit migrate w");
    hosts = bash_completes(fake, "godwit migrate web1 --to = ''");
    spaced = bash_completes(fake, "godwit vm show ''");
    g_assert_cmpstr(vms, ==, "web1\n");
    g_assert_cmpstr(hosts, ==, "h1\nh2\n");
    g_assert_cmpstr(spaced, ==, "a\\$\\(touch\\ x\\)\ndb\\ 1\nweb1\n");
    fake_manager_stop(fake);
    away = bash_completes(fake, "godwit migrate w");
    g_assert_cmpstr(away, ==, "\n");
    fake_manager_start(fake);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/agreement/manual", test_manual);
    g_test_add_func("/cli/agreement/manual-words", test_manual_words);
    g_test_add_func("/cli/agreement/help", test_help);
    g_test_add_func("/cli/agreement/help-of-groups", test_help_of_groups);
    g_test_add_func("/cli/agreement/completion-verbs", test_completion_of_verbs);
    g_test_add_func("/cli/agreement/completion-options", test_completion_of_options);
    g_test_add_func("/cli/agreement/completion-names", test_completion_of_names);
    return g_test_run();
}
