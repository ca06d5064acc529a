/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <sqlite3.h>

#include "base/error.h"
#include "base/fd.h"
#include "failing_vfs.h"
#include "store/store.h"

typedef struct {
    char *folder, *path;
    Store *store;
} Fixture;

static Store *
open_ok(const char *path)
{
    g_autoptr(GError) error = NULL;
    Store *store = store_sqlite_open(path, &error);
    g_assert_no_error(error);
    g_assert_nonnull(store);
    return store;
}

static void
set_up(Fixture *f, gconstpointer unused)
{
    f->folder = g_dir_make_tmp("godwit-store-XXXXXX", NULL);
    f->path = g_build_filename(f->folder, "store.db", NULL);
    f->store = open_ok(f->path);
}

static void
close_store(Fixture *f)
{
    g_clear_pointer(&f->store, store_close);
}

static void
tear_down(Fixture *f, gconstpointer unused)
{
    static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
    failing_vfs_arm(0, 0);
    close_store(f);
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strconcat(f->path, suffixes[i], NULL);
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_free(f->folder);
    g_free(f->path);
}

static gint64
put(Fixture *f, const char *key, const char *value)
{
    g_autoptr(GError) error = NULL;
    gint64 revision = -1;
    g_assert_true(store_put(f->store, key, value, -1, &revision, &error));
    g_assert_no_error(error);
    return revision;
}

static void
assert_value(Fixture *f, const char *key, const char *value)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(StoreEntry) entry = store_get(f->store, key, &error);
    if (value == NULL) {
        g_assert_null(entry);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
        return;
    }
    g_assert_no_error(error);
    g_assert_cmpstr(entry->key, ==, key);
    g_assert_cmpstr(entry->value, ==, value);
}

/* The keys of a listing, joined by spaces. */
static char *
keys_of(Fixture *f, const char *prefix, guint limit, gboolean reverse)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) list = store_list(f->store, prefix, limit, reverse, &error);
    g_assert_no_error(error);
    GString *keys = g_string_new(NULL);
    for (guint i = 0; i < list->len; i++)
        g_string_append_printf(keys, "%s%s", i > 0 ? " " : "",
                               ((StoreEntry *)g_ptr_array_index(list, i))->key);
    return g_string_free(keys, FALSE);
}

static void
assert_open_fails(const char *path, GodwitError code, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Store) store = store_sqlite_open(path, &error);
    g_assert_null(store);
    g_assert_error(error, GODWIT_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, path));
    g_assert_nonnull(strstr(error->message, part));
}

/* ---- what it keeps -----------------------------------------------------------------------------
 */

static void
test_put_get_delete(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(store_revision(f->store), ==, 0);
    g_assert_cmpint(put(f, "hosts/a", "{\"n\":1}"), ==, 1);
    g_assert_cmpint(put(f, "hosts/b", "ä\n"), ==, 2);
    g_assert_cmpint(put(f, "hosts/a", "{}"), ==, 3);
    g_autoptr(StoreEntry) entry = store_get(f->store, "hosts/a", NULL);
    g_assert_cmpstr(entry->value, ==, "{}");
    g_assert_cmpint(entry->revision, ==, 3);
    assert_value(f, "hosts/b", "ä\n");
    g_assert_true(store_delete(f->store, "hosts/b", &error));
    g_assert_no_error(error);
    assert_value(f, "hosts/b", NULL);
    g_assert_cmpint(store_revision(f->store), ==, 4);
    g_assert_true(store_delete(f->store, "hosts/b", &error)); /* absent: fine, and no change */
    g_assert_cmpint(store_revision(f->store), ==, 4);
    store_entry_free(NULL);
}

static void
test_list(Fixture *f, gconstpointer unused)
{
    static const char *const all[] = { "hosts/b", "hosts/a", "hostsx", "hosts",
                                       "hosts0",  "tasks/1", "hosts/ä" };
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++)
        put(f, all[i], "{}");
    g_autofree char *hosts = keys_of(f, "hosts/", 0, FALSE);
    g_assert_cmpstr(hosts, ==, "hosts/a hosts/b hosts/ä");
    g_autofree char *reverse = keys_of(f, "hosts/", 0, TRUE);
    g_assert_cmpstr(reverse, ==, "hosts/ä hosts/b hosts/a");
    g_autofree char *last = keys_of(f, "hosts/", 1, TRUE);
    g_assert_cmpstr(last, ==, "hosts/ä");
    g_autofree char *two = keys_of(f, "hosts/", 2, FALSE);
    g_assert_cmpstr(two, ==, "hosts/a hosts/b");
    g_autofree char *none = keys_of(f, "nothing/", 0, FALSE);
    g_assert_cmpstr(none, ==, "");
    g_autofree char *every = keys_of(f, "", 0, FALSE);
    g_assert_cmpstr(every, ==, "hosts hosts/a hosts/b hosts/ä hosts0 hostsx tasks/1");
}

static void
assert_conflict(Fixture *f, const char *key, gint64 expected, const char *part)
{
    g_autoptr(GError) error = NULL;
    gint64 before = store_revision(f->store), revision = 4711;
    g_assert_false(store_put(f->store, key, "{\"lost\":true}", expected, &revision, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_nonnull(strstr(error->message, part));
    g_assert_cmpint(revision, ==, 4711);
    g_assert_cmpint(store_revision(f->store), ==, before);
}

static void
test_expected_revisions(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    gint64 first, second;
    g_assert_true(store_put(f->store, "k", "1", 0, &first, &error));
    assert_conflict(f, "k", 0, "exists already");
    g_assert_true(store_put(f->store, "k", "2", first, &second, &error));
    g_assert_no_error(error);
    g_assert_cmpint(second, >, first);
    assert_conflict(f, "k", first, "changed");
    assert_value(f, "k", "2");
    g_assert_true(store_delete(f->store, "k", &error));
    assert_conflict(f, "k", second, "deleted");
    g_assert_true(store_put(f->store, "k", "3", 0, NULL, &error));
    g_assert_no_error(error);
    assert_value(f, "k", "3");
}

/* Against a plain table in memory, over many random changes and reopenings. */
static void
test_random_changes(Fixture *f, gconstpointer unused)
{
    g_autoptr(GHashTable) model = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    gint64 revision = 0;
    for (int round = 0; round < 300; round++) {
        g_autofree char *key = g_strdup_printf("k/%d", g_test_rand_int_range(0, 12));
        if (g_test_rand_int_range(0, 3) == 0) {
            g_assert_true(store_delete(f->store, key, NULL));
            revision += g_hash_table_remove(model, key) ? 1 : 0;
        } else {
            g_autofree char *value = g_strdup_printf("{\"v\":%d}", g_test_rand_int());
            revision++;
            g_assert_cmpint(put(f, key, value), ==, revision);
            g_hash_table_replace(model, g_steal_pointer(&key), g_steal_pointer(&value));
        }
        if (round % 60 == 59) {
            close_store(f);
            f->store = open_ok(f->path);
        }
        g_assert_cmpint(store_revision(f->store), ==, revision);
    }
    g_autoptr(GPtrArray) list = store_list(f->store, "k/", 0, FALSE, NULL);
    g_assert_cmpuint(list->len, ==, g_hash_table_size(model));
    for (guint i = 0; i < list->len; i++) {
        StoreEntry *entry = g_ptr_array_index(list, i);
        g_assert_cmpstr(entry->value, ==, g_hash_table_lookup(model, entry->key));
    }
}

static void
test_private_file(Fixture *f, gconstpointer unused)
{
    static const char *const suffixes[] = { "", "-wal" };
    put(f, "a", "1");
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strconcat(f->path, suffixes[i], NULL);
        struct stat st;
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    }
}

/* ---- who else may have it ----------------------------------------------------------------------
 */

static void
test_second_process(Fixture *f, gconstpointer unused)
{
    put(f, "a", "1");
    pid_t child = fork();
    if (child == 0) {
        g_autoptr(GError) error = NULL;
        Store *second = store_sqlite_open(f->path, &error);
        _exit(second == NULL && g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT) ? 0
                                                                                            : 1);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    put(f, "b", "2"); /* the first goes on */
}

/* A process that writes without end is killed in the middle, again and again. What it reported as
 * kept (a number down the pipe after each put) is there, and the store opens. */
static void
write_without_end(const char *path, int report)
{
    g_autoptr(Store) store = store_sqlite_open(path, NULL);
    for (int n = 1; store != NULL; n++) {
        g_autofree char *value = g_strdup_printf("%d", n);
        if (!store_put(store, "n", value, -1, NULL, NULL) ||
            !store_put(store, "m", value, -1, NULL, NULL))
            break;
        if (write(report, &n, sizeof n) != sizeof n)
            break;
    }
    _exit(1);
}

static void
test_reopen_after_kill(Fixture *f, gconstpointer unused)
{
    close_store(f);
    for (int round = 0; round < 5; round++) {
        int ends[2], n, last = 0;
        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        pid_t child = fork();
        if (child == 0)
            write_without_end(f->path, ends[1]);
        close(ends[1]);
        int enough = g_test_rand_int_range(1, 60);
        while (last < enough && read(ends[0], &n, sizeof n) == sizeof n)
            last = n;
        g_assert_cmpint(last, >=, enough);
        kill(child, SIGKILL);
        while (read(ends[0], &n, sizeof n) == sizeof n)
            last = n;
        close(ends[0]);
        g_assert_cmpint(waitpid(child, NULL, 0), ==, child);

        f->store = open_ok(f->path);
        g_autoptr(StoreEntry) entry = store_get(f->store, "n", NULL);
        g_autoptr(StoreEntry) other = store_get(f->store, "m", NULL);
        int kept = atoi(entry->value), behind = atoi(other->value);
        g_assert_cmpint(kept, >=, last);
        g_assert_cmpint(kept, <=, last + 1);
        g_assert_true(behind == kept || behind == kept - 1);
        g_assert_cmpint(store_revision(f->store), ==, MAX(entry->revision, other->revision));
        close_store(f);
    }
}

/* ---- what is refused at open -------------------------------------------------------------------
 */

static void
change(const char *path, const char *sql)
{
    sqlite3 *db;
    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_close(db), ==, SQLITE_OK);
}

static void
test_other_schema(Fixture *f, gconstpointer unused)
{
    close_store(f);
    change(f->path, "PRAGMA user_version = 7");
    assert_open_fails(f->path, GODWIT_ERROR_UNSUPPORTED, "schema 7");
    change(f->path, "PRAGMA user_version = 1");
    f->store = open_ok(f->path);
}

static void
test_other_program(Fixture *f, gconstpointer unused)
{
    close_store(f);
    g_unlink(f->path);
    change(f->path, "CREATE TABLE theirs (x)");
    assert_open_fails(f->path, GODWIT_ERROR_INVALID, "another program's");
}

static void
test_no_database(Fixture *f, gconstpointer unused)
{
    close_store(f);
    g_autofree char *noise = g_strnfill(8192, '#');
    g_assert_true(g_file_set_contents(f->path, noise, 8192, NULL));
    assert_open_fails(f->path, GODWIT_ERROR_INVALID, "put a backup in its place");
}

/* Damage of any page is either found at open or harmless; never a crash, never a wrong answer
 * later. */
static void
test_damaged_pages(Fixture *f, gconstpointer unused)
{
    g_autofree char *large = g_strnfill(900, 'x');
    for (int i = 0; i < 60; i++) {
        g_autofree char *key = g_strdup_printf("k/%02d", i);
        put(f, key, large);
    }
    close_store(f); /* the last to close brings everything from the WAL to the file */
    g_autofree char *good = NULL;
    gsize length;
    int found = 0;
    g_assert_true(g_file_get_contents(f->path, &good, &length, NULL));
    for (gsize page = 0; page < length / 4096; page++) {
        g_autofree char *bad = g_memdup2(good, length);
        memset(bad + page * 4096 + (page == 0 ? 100 : 0), 0xa5, 200);
        g_assert_true(g_file_set_contents(f->path, bad, (gssize)length, NULL));
        g_autoptr(GError) error = NULL;
        g_autoptr(Store) store = store_sqlite_open(f->path, &error);
        g_assert_null(store);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        found++;
    }
    g_assert_cmpint(found, >, 10);
    g_assert_true(g_file_set_contents(f->path, good, (gssize)length, NULL));
    f->store = open_ok(f->path);
    assert_value(f, "k/59", large);
}

static void
test_no_folder(void)
{
    assert_open_fails("/nonexistent/godwit/store.db", GODWIT_ERROR_INVALID, "No such file");
    assert_open_fails("/proc", GODWIT_ERROR_INVALID, "Is a directory");
}

/* ---- disk faults -------------------------------------------------------------------------------
 */

/* The n-th change to the disk fails, for each n until all of an operation passes: it is refused as
 * said, nothing of it is there, and the store works on when there is room again. */
static void
fail_each_change(Fixture *f, int code, GodwitError expected)
{
    g_autofree char *large = g_strnfill(20000, 'y');
    int struck = 0;
    put(f, "stays", "1");
    for (int n = 1;; n++) {
        g_autoptr(GError) error = NULL;
        gint64 before = store_revision(f->store);
        failing_vfs_arm(n, code);
        gboolean ok = store_put(f->store, "large", large, -1, NULL, &error);
        gboolean hit = failing_vfs_struck();
        failing_vfs_arm(0, 0);
        if (ok && !hit)
            break;
        struck++;
        g_assert_false(ok);
        g_assert_true(error->code == (int)expected || error->code == GODWIT_ERROR_INTERNAL);
        if (n == 1)
            g_assert_cmpint(error->code, ==, (int)expected);
        g_assert_nonnull(strstr(error->message, f->path));
        g_assert_cmpint(store_revision(f->store), ==, before);
        assert_value(f, "large", NULL);
        assert_value(f, "stays", "1");
        g_assert_cmpint(put(f, "after", "2"), ==, before + 1);
    }
    g_assert_cmpint(struck, >, 2);
    assert_value(f, "large", large);
    close_store(f);
    f->store = open_ok(f->path);
    assert_value(f, "large", large);
}

static void
test_full_disk(Fixture *f, gconstpointer unused)
{
    fail_each_change(f, SQLITE_FULL, GODWIT_ERROR_NO_SPACE);
}

static void
test_broken_disk(Fixture *f, gconstpointer unused)
{
    fail_each_change(f, SQLITE_IOERR_WRITE, GODWIT_ERROR_INTERNAL);
}

static void
test_full_disk_at_delete(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    put(f, "a", "1");
    failing_vfs_arm(1, SQLITE_FULL);
    g_assert_false(store_delete(f->store, "a", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_assert_nonnull(strstr(error->message, "make room"));
    failing_vfs_arm(0, 0);
    assert_value(f, "a", "1");
}

/* Also while the tables are made: the next start, with room, makes them. */
static void
test_full_disk_at_first_start(Fixture *f, gconstpointer unused)
{
    close_store(f);
    for (int n = 1;; n++) {
        g_autoptr(GError) error = NULL;
        g_unlink(f->path);
        failing_vfs_arm(n, SQLITE_FULL);
        f->store = store_sqlite_open(f->path, &error);
        gboolean hit = failing_vfs_struck();
        failing_vfs_arm(0, 0);
        if (f->store != NULL && !hit) {
            g_assert_cmpint(n, >, 2);
            break;
        }
        if (f->store == NULL)
            g_assert_true(g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE) ||
                          g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL));
        close_store(f);
        f->store = open_ok(f->path);
        put(f, "a", "1");
        close_store(f);
    }
    put(f, "a", "1");
}

#define ADD(name, function) g_test_add(name, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    failing_vfs_install();
    ADD("/store/put-get-delete", test_put_get_delete);
    ADD("/store/list", test_list);
    ADD("/store/expected-revisions", test_expected_revisions);
    ADD("/store/random-changes", test_random_changes);
    ADD("/store/private-file", test_private_file);
    ADD("/store/second-process", test_second_process);
    ADD("/store/reopen-after-kill", test_reopen_after_kill);
    ADD("/store/other-schema", test_other_schema);
    ADD("/store/other-program", test_other_program);
    ADD("/store/no-database", test_no_database);
    ADD("/store/damaged-pages", test_damaged_pages);
    g_test_add_func("/store/no-folder", test_no_folder);
    ADD("/store/full-disk", test_full_disk);
    ADD("/store/broken-disk", test_broken_disk);
    ADD("/store/full-disk-at-delete", test_full_disk_at_delete);
    ADD("/store/full-disk-at-first-start", test_full_disk_at_first_start);
    return g_test_run();
}
