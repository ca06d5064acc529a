/* SPDX-License-Identifier: Apache-2.0 */
/* Text, tables, times, suggestions: what a person sees, without any program around it. */
#include <glib.h>
#include <locale.h>
#include <string.h>

#include "cli/suggest.h"
#include "cli/table.h"
#include "cli/when.h"

static void
test_width(void)
{
    g_assert_cmpint(text_width("abc"), ==, 3);
    g_assert_cmpint(text_width("Grüße"), ==, 5);
    g_assert_cmpint(text_width("日本"), ==, 4);
    g_assert_cmpint(text_width("e\xcc\x81"), ==, 1);
}

static void
test_clean(void)
{
    g_autofree char *escape = text_clean("a\033[31mb\x07", FALSE);
    g_autofree char *lines = text_clean("a\nb\tc", TRUE), *one = text_clean("a\nb", FALSE);
    g_autofree char *broken = text_clean("a\xff"
                                         "b",
                                         FALSE),
                    *none = text_clean(NULL, FALSE);
    g_autofree char *turned = text_clean("a\u202eb", FALSE);

    g_assert_cmpstr(escape, ==, "a?[31mb?");
    g_assert_cmpstr(lines, ==, "a\nb c");
    g_assert_cmpstr(one, ==, "a b");
    g_assert_true(g_utf8_validate(broken, -1, NULL));
    g_assert_cmpstr(none, ==, "");
    g_assert_cmpstr(turned, ==, "a?b");
}

static void
test_fit(void)
{
    for (int width = 1; width < 12; width++) {
        g_autofree char *wide = text_fit("日本語テスト", width),
                        *narrow = text_fit("abcdefghij", width);

        g_assert_cmpint(text_width(wide), <=, width);
        g_assert_cmpint(text_width(narrow), <=, width);
    }
    g_autofree char *whole = text_fit("abc", 3), *cut = text_fit("abcd", 3);
    g_assert_cmpstr(whole, ==, "abc");
    g_assert_cmpstr(cut, ==, "ab…");
}

static void
test_wrap(void)
{
    g_autofree char *text = text_wrap("one two three\n\nfour", 9, 2);
    g_autofree char *kept = text_wrap("a b\n  c d", 4, 0);

    g_assert_cmpstr(text, ==, "  one two\n  three\n\n  four\n");
    g_assert_cmpstr(kept, ==, "a b\n  c d\n");
}

static const TableColumn columns[] = {
    { "NAME" }, { "VMS", TRUE }, { "REASON", FALSE, TRUE }, { NULL }
};

static Table *
example(const char *reason)
{
    Table *table = table_new(columns);

    table_cell(table, COLOUR_NONE, "h1");
    table_cellf(table, COLOUR_NONE, "%d", 12);
    table_cell(table, COLOUR_NONE, NULL);
    table_cell(table, COLOUR_NONE, "größer");
    table_cell(table, COLOUR_NONE, "3");
    table_cell(table, COLOUR_BAD, reason);
    return table;
}

static void
test_table(void)
{
    g_autoptr(Table) table = example("gone"), bare = example(NULL);
    g_autofree char *text = table_format(table, 0, 0, FALSE),
                    *without = table_format(bare, 0, 0, FALSE);
    g_autofree char *coloured = table_format(table, 0, 0, TRUE),
                    *indented = table_format(table, 0, 2, FALSE);

    g_assert_cmpstr(text, ==, "NAME    VMS  REASON\nh1       12\ngrößer    3  gone\n");
    g_assert_cmpstr(without, ==, "NAME    VMS\nh1       12\ngrößer    3\n");
    g_assert_nonnull(strstr(coloured, "\033[31mgone\033[0m"));
    g_assert_true(g_str_has_prefix(indented, "  NAME"));
}

static void
test_table_cut(void)
{
    g_autoptr(Table) table =
        example("connection refused at 10.77.0.11:16570: is godwitd running there?");

    for (int width = 24; width < 90; width++) {
        g_autofree char *text = table_format(table, width, 0, FALSE);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (char **line = lines; *line; line++)
            g_assert_cmpint(text_width(*line), <=, width);
    }
}

static void
test_times(void)
{
    gint64 now = G_GINT64_CONSTANT(1795419852000); /* 2026-11-23 07:44:12 UTC */
    static const struct {
        gint64 ago_s;
        const char *text;
    } cases[] = { { 0, "0 s ago" },       { 59, "59 s ago" },           { 60, "1 min ago" },
                  { 3599, "59 min ago" }, { 3600, "1 h ago" },          { -3540, "in 59 min" },
                  { 86399, "23 h ago" },  { 86400, "2026-11-22 07:44" } };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = when_short(now - cases[i].ago_s * 1000, now);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
    g_autofree char *never = when_short(0, now), *full = when_full(now - 180000, now),
                    *clock = when_clock(now);
    g_autofree char *short_span = when_span(17), *span = when_span(3 * 3600 + 5 * 60),
                    *days = when_span(2 * 86400 + 3 * 3600);

    g_assert_cmpstr(never, ==, "-");
    g_assert_cmpstr(full, ==, "2026-11-23 07:41:12 (3 min ago)");
    g_assert_cmpstr(clock, ==, "07:44:12");
    g_assert_cmpstr(short_span, ==, "17 s");
    g_assert_cmpstr(span, ==, "3 h 05 min");
    g_assert_cmpstr(days, ==, "2 days 03 h");
}

static void
test_suggest(void)
{
    static const char *const known[] = { "list", "login",           "logout", "migrate",
                                         "web1", "database-server", NULL };
    static const struct {
        const char *word, *meant;
    } cases[] = { { "lsit", "list" },
                  { "LIST", "list" },
                  { "lit", "list" },
                  { "migrat", "migrate" },
                  { "migraet", "migrate" },
                  { "web2", "web1" },
                  { "data", "database-server" },
                  { "xyzzy", NULL },
                  { "", NULL },
                  { "q", NULL } };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpstr(suggest_nearest(cases[i].word, known), ==, cases[i].meant);
}

int
main(int argc, char **argv)
{
    setlocale(LC_ALL, "C.UTF-8");
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/text/width", test_width);
    g_test_add_func("/cli/text/clean", test_clean);
    g_test_add_func("/cli/text/fit", test_fit);
    g_test_add_func("/cli/text/wrap", test_wrap);
    g_test_add_func("/cli/table/aligned", test_table);
    g_test_add_func("/cli/table/cut", test_table_cut);
    g_test_add_func("/cli/when", test_times);
    g_test_add_func("/cli/suggest", test_suggest);
    return g_test_run();
}
