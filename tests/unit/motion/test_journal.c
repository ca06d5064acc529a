/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"
#include "motion/journal.h"

typedef struct {
    char *folder, *path;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->folder = g_dir_make_tmp("journal-XXXXXX", NULL);
    fixture->path = g_build_filename(fixture->folder, "j", NULL);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    g_remove(fixture->path);
    g_rmdir(fixture->folder);
    g_free(fixture->path);
    g_free(fixture->folder);
}

static JsonNode *
detail(const char *value)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, json_object_new());
    json_object_set_string_member(json_node_get_object(node), "value", value);
    return node;
}

static void
write_lines(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Journal) journal = journal_open(path, &error);

    g_assert_no_error(error);
    g_assert_true(journal_write(journal, "copy", "begin", detail("first"), &error));
    g_assert_true(journal_write(journal, "copy", "done", NULL, &error));
    g_assert_true(journal_write(journal, "switch", "begin", detail("second"), &error));
}

static void
test_round_trip(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) lines = NULL;
    JsonObject *last;

    write_lines(fixture->path);
    lines = journal_read(fixture->path, NULL);
    g_assert_cmpuint(lines->len, ==, 3);
    last = journal_last(lines, NULL, "begin");
    g_assert_cmpstr(json_object_get_string_member(last, "step"), ==, "switch");
    g_assert_cmpstr(json_object_get_string_member(last, "value"), ==, "second");
    g_assert_cmpint(json_object_get_int_member(last, "at_ms"), >, 0);
    g_assert_null(journal_last(lines, "switch", "done"));
    g_assert_nonnull(journal_last(lines, "copy", "done"));
}

/** A crash at any byte loses at most the line that was being written, and the next writer goes on behind it. */
static void
test_cut_anywhere(Fixture *fixture, gconstpointer data)
{
    g_autofree char *whole = NULL;
    gsize length;

    write_lines(fixture->path);
    g_assert_true(g_file_get_contents(fixture->path, &whole, &length, NULL));
    for (gsize cut = 0; cut <= length; cut++) {
        guint whole_lines = 0;
        g_autoptr(GPtrArray) lines = NULL;
        g_autoptr(Journal) journal = NULL;

        for (gsize i = 0; i < cut; i++)
            whole_lines += whole[i] == '\n';
        g_assert_true(g_file_set_contents(fixture->path, whole, (gssize)cut, NULL));
        journal = journal_open(fixture->path, NULL);
        g_assert_true(journal_write(journal, "retire", "begin", NULL, NULL));
        lines = journal_read(fixture->path, NULL);
        g_assert_cmpuint(lines->len, ==, whole_lines + 1);
        g_assert_nonnull(journal_last(lines, "retire", "begin"));
    }
}

static void
test_full_disk(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Journal) journal = NULL;

    if (!g_file_test("/dev/full", G_FILE_TEST_EXISTS)) {
        g_test_skip("no /dev/full here");
        return;
    }
    journal = journal_open("/dev/full", &error);
    if (journal)
        g_assert_false(journal_write(journal, "copy", "begin", NULL, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, "/dev/full"));
}

static void
test_no_folder(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(journal_open("/nonexistent/folder/journal", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
    g_assert_nonnull(strstr(error->message, "/nonexistent/folder/journal"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/journal/round-trip", Fixture, NULL, set_up, test_round_trip, tear_down);
    g_test_add("/journal/cut-anywhere", Fixture, NULL, set_up, test_cut_anywhere, tear_down);
    g_test_add("/journal/full-disk", Fixture, NULL, set_up, test_full_disk, tear_down);
    g_test_add("/journal/no-folder", Fixture, NULL, set_up, test_no_folder, tear_down);
    return g_test_run();
}
