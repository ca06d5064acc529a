/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include "recall_kit.h"
#include "base/error.h"
#include "base/fd.h"
#include "flyway/protocol.h"
#include "flyway/recall_library.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define DAY_MS G_GINT64_CONSTANT(86400000)

static RecallSpace fake_space;
static gboolean space_fails;

static gboolean
get_space(const char *path, RecallSpace *space)
{
    *space = fake_space;
    return !space_fails;
}

typedef struct {
    char *path;
    RecallLibrary *library;
    gint64 now_ms;
} Fixture;

static const RecallLimits limits = { 1000 * MIB, 30 * DAY_MS, get_space };

static void
reopen(Fixture *f, const RecallLimits *with)
{
    g_autoptr(GError) error = NULL;

    recall_library_free(f->library);
    f->library = recall_library_open(f->path, with, &error);
    g_assert_no_error(error);
}

static void
set_up(Fixture *f, gconstpointer data)
{
    g_autofree char *top = g_dir_make_tmp("recall-XXXXXX", NULL);

    f->path = g_build_filename(top, "recall", NULL);
    f->now_ms = 1000000;
    fake_space = (RecallSpace){ 100000 * MIB, 50000 * MIB };
    space_fails = FALSE;
    kit_init();
    reopen(f, &limits);
}

static guint
count_files(Fixture *f)
{
    g_autoptr(GDir) dir = g_dir_open(f->path, 0, NULL);
    guint n = 0;

    while (dir != NULL && g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    g_autofree char *top = g_path_get_dirname(f->path);
    g_autoptr(GDir) dir = g_dir_open(f->path, 0, NULL);
    const char *name;

    recall_library_free(f->library);
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(f->path, name, NULL);

        g_unlink(path);
    }
    g_rmdir(f->path);
    g_assert_cmpint(g_rmdir(top), ==, 0);
    g_free(f->path);
}

static char *
uuid(guint number)
{
    return g_strdup_printf("00000000-0000-4000-8000-%012u", number);
}

static const RecallSet *
find(Fixture *f, guint number)
{
    const GPtrArray *sets = recall_library_sets(f->library);
    g_autofree char *id = uuid(number);

    for (guint i = 0; i < sets->len; i++)
        if (strcmp(((RecallSet *)sets->pdata[i])->id, id) == 0)
            return sets->pdata[i];
    return NULL;
}

static void
fill_wish(RecallWish *wish, const char *vm)
{
    *wish = (RecallWish){ .vm = vm, .group = "group:a", .peer = "h2", .memory_bytes = 256 * MIB };
}

static gboolean
create(Fixture *f, guint number, RecallWish *wish, RecallTicket *ticket, GError **error)
{
    g_autofree char *id = uuid(number);

    f->now_ms += 1000;
    wish->id = id;
    return recall_library_create(f->library, wish, f->now_ms, ticket, error);
}

/* What a worker does. Readers of the chosen sets are given, for links. */
static void
work(guint number, const RecallTicket *ticket, const RecallAgreed *agreed, guint n, guint32 first,
     guint32 pages)
{
    g_autofree char *id = uuid(number);
    RecallWriterOptions options = { .index_fd = ticket->index_fd,
                                    .pages_fd = ticket->pages_fd,
                                    .max_bytes = ticket->max_bytes };
    RecallReader *readers[RECALL_SETS_MAX];
    g_autoptr(RecallIndex) index = recall_index_new(agreed, n, RECALL_PAGES_MAX);
    RecallWriter *writer = NULL;
    RecallSeal seal;

    for (guint i = 0; i < n; i++)
        readers[i] = (RecallReader *)agreed[i].reader;
    options.readers = readers;
    options.n_readers = n;
    g_assert_true(flyway_uuid_parse(id, options.id));
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, index, first, pages), ==, pages);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
}

static RecallReader *
open_set(Fixture *f, const RecallSet *set)
{
    g_autoptr(GError) error = NULL;
    guint8 id[RECALL_ID_SIZE];
    RecallReader *reader = NULL;
    RecallFiles files;

    f->now_ms += 1000;
    g_assert_true(recall_library_files(f->library, set, f->now_ms, &files, &error));
    g_assert_no_error(error);
    flyway_uuid_parse(set->id, id);
    g_assert_cmpint(recall_reader_new(&kit_context, id, &files, &reader), ==, 0);
    return reader;
}

/* A whole session of the VM: chooses, reads, writes and commits pages first..first+n-1. */
static void
session(Fixture *f, guint number, const char *vm, guint32 first, guint32 n)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *id = uuid(number);
    g_autoptr(GPtrArray) chosen = NULL;
    RecallAgreed agreed[RECALL_SETS_MAX];
    RecallTicket ticket;
    RecallWish wish;

    fill_wish(&wish, vm);
    chosen = recall_library_choose(f->library, &wish, RECALL_PAGES_MAX);
    for (guint i = 0; i < chosen->len; i++) {
        RecallReader *reader = open_set(f, chosen->pdata[i]);

        agreed[i] = (RecallAgreed){ reader, recall_reader_header(reader)->pages };
    }
    wish.reads = (const RecallSet *const *)chosen->pdata;
    wish.n_reads = chosen->len;
    g_assert_true(create(f, number, &wish, &ticket, &error));
    g_assert_no_error(error);
    work(number, &ticket, agreed, chosen->len, first, n);
    g_assert_true(recall_library_commit(f->library, id, f->now_ms, &error));
    g_assert_no_error(error);
    for (guint i = 0; i < chosen->len; i++)
        recall_reader_free((RecallReader *)agreed[i].reader);
}

static void
check_pages(Fixture *f, guint number, guint32 first, guint32 n)
{
    RecallReader *reader = open_set(f, find(f, number));

    g_assert_cmpuint(recall_reader_header(reader)->pages, ==, n);
    for (guint32 i = 0; i < n; i++)
        g_assert_true(kit_check(reader, i, first + i));
    recall_reader_free(reader);
}

static void
test_groups(Fixture *f, gconstpointer data)
{
    g_autofree char *vm = recall_group(RECALL_SHARE_VM, "V", "G");
    g_autofree char *own = recall_group(RECALL_SHARE_GROUP, "V", "");
    g_autofree char *none = recall_group(RECALL_SHARE_GROUP, "V", NULL);
    g_autofree char *group = recall_group(RECALL_SHARE_GROUP, "V", "G");
    g_autofree char *cluster = recall_group(RECALL_SHARE_CLUSTER, "V", "G");
    RecallShare share;

    g_assert_cmpstr(vm, ==, "vm:V");
    g_assert_cmpstr(own, ==, "vm:V");
    g_assert_cmpstr(none, ==, "vm:V");
    g_assert_cmpstr(group, ==, "group:G");
    g_assert_cmpstr(cluster, ==, "cluster");
    g_assert_true(recall_share_parse("cluster", &share));
    g_assert_cmpint(share, ==, RECALL_SHARE_CLUSTER);
    g_assert_false(recall_share_parse("all", &share));
    g_assert_false(recall_share_parse(NULL, &share));
}

static void
test_session(Fixture *f, gconstpointer data)
{
    const RecallSet *set;
    RecallStatistics statistics;
    struct stat status;

    g_assert_cmpint(g_stat(f->path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0700);
    recall_library_statistics(f->library, &statistics);
    g_assert_cmpuint(statistics.sets, ==, 0);
    g_assert_cmpint(statistics.oldest_ms, ==, 0);
    session(f, 1, "v1", 0, 100);
    session(f, 2, "v1", 50, 100);
    recall_library_note(f->library, 100, 67);
    for (guint round = 0; round < 2; round++) {
        set = find(f, 2);
        g_assert_nonnull(set);
        g_assert_cmpstr(set->vm, ==, "v1");
        g_assert_cmpstr(set->group, ==, "group:a");
        g_assert_cmpstr(set->peer, ==, "h2");
        g_assert_false(set->open);
        g_assert_cmpuint(set->pages, ==, 100);
        g_assert_cmpuint(set->segments->len, ==, 2);
        recall_library_statistics(f->library, &statistics);
        g_assert_cmpuint(statistics.sets, ==, 2);
        g_assert_cmpuint(statistics.bytes, ==, set->bytes + find(f, 1)->bytes);
        g_assert_cmpint(statistics.oldest_ms, ==, find(f, 1)->created_ms);
        g_assert_cmpuint(statistics.asked, ==, 100);
        g_assert_cmpuint(statistics.found, ==, 67);
        check_pages(f, 1, 0, 100);
        check_pages(f, 2, 50, 100);
        reopen(f, &limits);
    }
    /* Two sets and the statistics. */
    g_assert_cmpuint(count_files(f), ==, 7);
}

/* A VM to and fro: two sets stay, and the segments that they need. */
static void
test_to_and_fro(Fixture *f, gconstpointer data)
{
    for (guint i = 1; i <= 20; i++) {
        session(f, i, "v1", i * 30, 100);
        check_pages(f, i, i * 30, 100);
        g_assert_cmpuint(recall_library_sets(f->library)->len, ==, MIN(i, 2));
        g_assert_cmpuint(count_files(f), <=, 2 * 2 + 2 + 4);
    }
    g_assert_nonnull(find(f, 19));
    check_pages(f, 19, 19 * 30, 100);
}

static void
test_choose(Fixture *f, gconstpointer data)
{
    RecallWish wish;
    g_autoptr(GPtrArray) chosen = NULL;
    static const guint expected[] = { 3, 5, 4, 1 };

    session(f, 1, "v1", 0, 20);
    session(f, 3, "v1", 0, 30);
    session(f, 4, "v2", 0, 40);
    session(f, 5, "v3", 0, 50);
    fill_wish(&wish, "v1");
    chosen = recall_library_choose(f->library, &wish, 1000);
    g_assert_cmpuint(chosen->len, ==, 4);
    for (guint i = 0; i < 4; i++)
        g_assert_true(chosen->pdata[i] == find(f, expected[i]));
    g_clear_pointer(&chosen, g_ptr_array_unref);
    /* What would be too much is left out. */
    chosen = recall_library_choose(f->library, &wish, 75);
    g_assert_cmpuint(chosen->len, ==, 2);
    g_assert_true(chosen->pdata[1] == find(f, 4));
    g_clear_pointer(&chosen, g_ptr_array_unref);
    wish.peer = "h3";
    chosen = recall_library_choose(f->library, &wish, 1000);
    g_assert_cmpuint(chosen->len, ==, 0);
    g_clear_pointer(&chosen, g_ptr_array_unref);
    wish.peer = "h2";
    wish.group = "group:b";
    chosen = recall_library_choose(f->library, &wish, 1000);
    g_assert_cmpuint(chosen->len, ==, 0);
    g_clear_pointer(&chosen, g_ptr_array_unref);
    /* Never more than a session may read. */
    for (guint i = 10; i < 25; i++) {
        g_autofree char *vm = g_strdup_printf("vm%u", i);

        session(f, i, vm, i, 5);
    }
    wish.group = "group:a";
    chosen = recall_library_choose(f->library, &wish, 1000);
    g_assert_cmpuint(chosen->len, ==, RECALL_SETS_MAX);
    g_assert_true(chosen->pdata[0] == find(f, 3));
}

/* The set that made a segment goes; who refers to it isn't harmed. */
static void
test_expiry_by_age(Fixture *f, gconstpointer data)
{
    session(f, 1, "v1", 0, 100);
    f->now_ms += 20 * DAY_MS;
    session(f, 2, "v2", 20, 100);
    f->now_ms += 15 * DAY_MS;
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 1);
    g_assert_null(find(f, 1));
    g_assert_cmpuint(count_files(f), ==, 4);
    check_pages(f, 2, 20, 100);
    reopen(f, &limits);
    check_pages(f, 2, 20, 100);
    f->now_ms += 31 * DAY_MS;
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 1);
    g_assert_cmpuint(count_files(f), ==, 0);
}

static void
test_expiry_by_bytes(Fixture *f, gconstpointer data)
{
    RecallLimits small = limits;
    RecallStatistics statistics;

    session(f, 1, "v1", 0, 100);
    session(f, 2, "v2", 1000, 100);
    session(f, 3, "v3", 2000, 100);
    /* The oldest was used last. */
    check_pages(f, 1, 0, 100);
    recall_library_statistics(f->library, &statistics);
    small.max_bytes = statistics.bytes - 1;
    reopen(f, &small);
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 1);
    g_assert_nonnull(find(f, 1));
    g_assert_null(find(f, 2));
    /* The file system's reserve: a tenth, at least 2 GiB. */
    fake_space = (RecallSpace){ 100000 * MIB, 10001 * MIB };
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 0);
    fake_space = (RecallSpace){ 4000 * MIB, 2047 * MIB };
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 2);
    g_assert_cmpuint(count_files(f), ==, 0);
}

static void
test_no_room(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    RecallTicket ticket, other;
    RecallWish wish;

    fill_wish(&wish, "v1");
    session(f, 1, "v1", 0, 100);
    /* Half of the memory, but at most the limit; what is promised is gone for others. */
    wish.memory_bytes = 1600 * MIB;
    g_assert_true(create(f, 2, &wish, &ticket, &error));
    g_assert_cmpuint(ticket.max_bytes, ==, 800 * MIB);
    g_assert_true(create(f, 3, &wish, &other, &error));
    g_assert_cmpuint(other.max_bytes, <=, 200 * MIB);
    g_assert_cmpuint(other.max_bytes, >, 190 * MIB);
    close(other.index_fd);
    close(other.pages_fd);
    g_assert_false(create(f, 4, &wish, &other, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_clear_error(&error);
    /* The set that there was had to make room. */
    g_assert_null(find(f, 1));
    g_assert_false(create(f, 3, &wish, &other, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_clear_error(&error);
    recall_library_abandon(f->library, find(f, 3)->id);
    recall_library_abandon(f->library, find(f, 2)->id);
    recall_library_abandon(f->library, "unknown");
    g_assert_cmpuint(count_files(f), ==, 0);
    /* A full file system, or one that doesn't say. */
    fake_space.available_bytes = 10001 * MIB;
    g_assert_false(create(f, 5, &wish, &other, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_clear_error(&error);
    space_fails = TRUE;
    g_assert_false(create(f, 5, &wish, &other, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_clear_error(&error);
    wish.id = "../../etc/passwd";
    g_assert_false(recall_library_create(f->library, &wish, 0, &other, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    close(ticket.index_fd);
    close(ticket.pages_fd);
}

/* The sets that a session reads aren't removed for its own room, nor are their segments while it
 * may link to them. */
static void
test_read_sets_stay(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *id = uuid(3);
    const RecallSet *reads[1];
    RecallAgreed agreed;
    RecallTicket ticket;
    RecallWish wish;

    session(f, 1, "v1", 0, 100);
    session(f, 2, "v2", 500, 100);
    fill_wish(&wish, "v1");
    reads[0] = find(f, 1);
    wish.reads = reads;
    wish.n_reads = 1;
    wish.memory_bytes = 10000 * MIB;
    agreed = (RecallAgreed){ open_set(f, reads[0]), 100 };
    fake_space.available_bytes = 10100 * MIB;
    g_assert_true(create(f, 3, &wish, &ticket, &error));
    g_assert_null(find(f, 2));
    g_assert_nonnull(find(f, 1));
    fake_space.available_bytes = 0;
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 1);
    g_assert_null(find(f, 1));
    fake_space.available_bytes = 50000 * MIB;
    work(3, &ticket, &agreed, 1, 10, 100);
    recall_reader_free((RecallReader *)agreed.reader);
    g_assert_true(recall_library_commit(f->library, id, f->now_ms, &error));
    check_pages(f, 3, 10, 100);
}

static void
test_clear(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *id = uuid(9);
    RecallTicket ticket;
    RecallWish wish;

    session(f, 1, "v1", 0, 100);
    session(f, 2, "v2", 0, 120); /* links to v1's pages */
    session(f, 3, "v3", 900, 100);
    g_assert_cmpuint(recall_library_clear(f->library, "v1"), ==, 2);
    g_assert_cmpuint(recall_library_sets(f->library)->len, ==, 1);
    g_assert_cmpuint(count_files(f), ==, 3);
    g_assert_cmpuint(recall_library_clear(f->library, "v1"), ==, 0);
    fill_wish(&wish, "v4");
    g_assert_true(create(f, 9, &wish, &ticket, &error));
    g_assert_cmpuint(recall_library_clear(f->library, NULL), ==, 2);
    g_assert_cmpuint(count_files(f), ==, 0);
    work(9, &ticket, NULL, 0, 0, 10);
    g_assert_false(recall_library_commit(f->library, id, f->now_ms, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

/* godwitd starts again: a session whose worker lives goes on, a dead one's set is removed. */
static void
test_restart(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *id = uuid(1);
    RecallTicket alive, dead;
    RecallWish wish;

    fill_wish(&wish, "v1");
    g_assert_true(create(f, 1, &wish, &alive, &error));
    g_assert_true(create(f, 2, &wish, &dead, &error));
    close(dead.index_fd);
    close(dead.pages_fd);
    reopen(f, &limits);
    g_assert_cmpuint(recall_library_sets(f->library)->len, ==, 1);
    g_assert_cmpuint(count_files(f), ==, 3);
    g_assert_true(find(f, 1)->open);
    g_assert_cmpuint(find(f, 1)->bytes, ==, 128 * MIB);
    /* However old, while it lives. */
    f->now_ms += 100 * DAY_MS;
    g_assert_cmpuint(recall_library_expire(f->library, f->now_ms), ==, 0);
    work(1, &alive, NULL, 0, 0, 30);
    f->now_ms -= 100 * DAY_MS;
    g_assert_true(recall_library_commit(f->library, id, f->now_ms, &error));
    g_assert_false(recall_library_commit(f->library, id, f->now_ms, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    check_pages(f, 1, 0, 30);
}

static void
put(Fixture *f, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(f->path, name, NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* What isn't whole is removed, what isn't ours stays. */
static void
test_folder_damaged(Fixture *f, gconstpointer data)
{
    static const char *const names[] = { "set", "index", "pages" };
    static const char *const texts[] = {
        "",
        "no key file",
        "[set]\nvm=v\n",
        "[set]\nvm=v\ngroup=g\npeer=p\nsegments=a;\nsegment_vms=v;\n",
        "[set]\nvm=v\ngroup=g\npeer=p\nsegments=a;b;\nsegment_vms=v;\n",
        "[set]\nvm=v\ngroup=g\npeer=p\nsegments=\nsegment_vms=\n", /* but no index */
    };
    g_autofree char *id = uuid(7);

    put(f, "lost+found", "not ours");
    put(f, "00000000-0000-4000-8000-nearly-a-uuid.set", "not ours");
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_strdup_printf("%s.%s", id, names[i]);

        put(f, name, "torn");
        reopen(f, &limits);
        g_assert_cmpuint(count_files(f), ==, 2);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *name = g_strdup_printf("%s.set", id);
        g_autofree char *temporary = g_strdup_printf("%s.set.X1Y2Z3", id);

        put(f, name, texts[i]);
        put(f, temporary, "");
        reopen(f, &limits);
        g_assert_cmpuint(recall_library_sets(f->library)->len, ==, 0);
        g_assert_cmpuint(count_files(f), ==, 2);
    }
    put(f, "statistics", "torn");
    reopen(f, &limits);
}

/* A set's files go away or are damaged behind the library's back. */
static void
test_set_damaged(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *one = uuid(1), *two = uuid(2), *three = uuid(3);
    g_autofree char *index = g_strdup_printf("%s/%s.index", f->path, one);
    g_autofree char *other = g_strdup_printf("%s/%s.index", f->path, two);
    g_autofree char *pages = g_strdup_printf("%s/%s.pages", f->path, two);
    RecallReader *reader;
    RecallTicket ticket;
    RecallFiles files;
    RecallWish wish;

    session(f, 1, "v1", 0, 100);
    session(f, 2, "v2", 500, 100);
    /* Pages gone: the set is there, its pages are missing. */
    g_assert_cmpint(g_unlink(pages), ==, 0);
    reader = open_set(f, find(f, 2));
    g_assert_false(kit_check(reader, 0, 500));
    recall_reader_free(reader);
    /* The index is another set's. */
    g_assert_cmpint(g_rename(other, index), ==, 0);
    g_assert_false(recall_library_files(f->library, find(f, 1), f->now_ms, &files, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(find(f, 1));
    /* The index is gone. */
    g_assert_false(recall_library_files(f->library, find(f, 2), f->now_ms, &files, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_cmpuint(count_files(f), ==, 0);
    /* A worker that died before its index was written. */
    fill_wish(&wish, "v1");
    g_assert_true(create(f, 3, &wish, &ticket, &error));
    close(ticket.index_fd);
    close(ticket.pages_fd);
    g_assert_false(recall_library_commit(f->library, three, f->now_ms, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_cmpuint(count_files(f), ==, 0);
}

/* A FIFO, a folder or a link in a file's place is no file, and nothing waits for its other end. */
static void
test_no_files(Fixture *f, gconstpointer data)
{
    static const char *const suffixes[] = { "pages", "index", "set" };

    for (guint kind = 0; kind < 3; kind++) {
        for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
            g_autofree char *id = uuid(1);
            g_autofree char *path = g_strdup_printf("%s/%s.%s", f->path, id, suffixes[i]);
            g_autoptr(GError) error = NULL;
            RecallFiles files;
            gboolean there;

            session(f, 1, "v1", 0, 100);
            g_assert_cmpint(g_unlink(path), ==, 0);
            if (kind == 0)
                g_assert_cmpint(mkfifo(path, 0600), ==, 0);
            else if (kind == 1)
                g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
            else
                g_assert_cmpint(symlink("/dev/zero", path), ==, 0);
            there = recall_library_files(f->library, find(f, 1), f->now_ms, &files, &error);
            g_assert_cmpint(there, ==, strcmp(suffixes[i], "index") != 0);
            if (there) {
                g_assert_cmpint(files.segment_fds[0] >= 0, ==, strcmp(suffixes[i], "pages") != 0);
                fd_close_p(&files.index_fd);
                fd_close_p(&files.segment_fds[0]);
            }
            reopen(f, &limits);
            if (find(f, 1) != NULL)
                recall_library_clear(f->library, NULL);
            g_remove(path); /* a folder is left alone */
            g_assert_cmpuint(recall_library_sets(f->library)->len, ==, 0);
        }
    }
}

/* The folder can't be written or isn't one. Root ignores modes: so the folder is removed. */
static void
test_folder_gone(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    RecallTicket ticket;
    RecallWish wish;

    session(f, 1, "v1", 0, 10);
    recall_library_clear(f->library, NULL);
    g_assert_cmpint(g_rmdir(f->path), ==, 0);
    fill_wish(&wish, "v1");
    g_assert_false(create(f, 1, &wish, &ticket, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
    g_clear_error(&error);
    recall_library_note(f->library, 1, 1);
    g_assert_true(g_file_set_contents(f->path, "", 0, NULL));
    g_assert_null(recall_library_open(f->path, &limits, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
    g_unlink(f->path);
}

/* The real file system is asked where no test's is given. */
static void
test_real_space(Fixture *f, gconstpointer data)
{
    RecallLimits real = limits;
    g_autoptr(GError) error = NULL;
    RecallTicket ticket;
    RecallWish wish;

    real.space = NULL;
    reopen(f, &real);
    fill_wish(&wish, "v1");
    if (!create(f, 1, &wish, &ticket, &error)) {
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
        return;
    }
    g_assert_cmpuint(ticket.max_bytes, <=, 128 * MIB);
    close(ticket.index_fd);
    close(ticket.pages_fd);
}

static void
add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/flyway/recall-library/groups", test_groups);
    add("/flyway/recall-library/session", test_session);
    add("/flyway/recall-library/to-and-fro", test_to_and_fro);
    add("/flyway/recall-library/choose", test_choose);
    add("/flyway/recall-library/age", test_expiry_by_age);
    add("/flyway/recall-library/bytes", test_expiry_by_bytes);
    add("/flyway/recall-library/no-room", test_no_room);
    add("/flyway/recall-library/read-sets-stay", test_read_sets_stay);
    add("/flyway/recall-library/clear", test_clear);
    add("/flyway/recall-library/restart", test_restart);
    add("/flyway/recall-library/folder-damaged", test_folder_damaged);
    add("/flyway/recall-library/set-damaged", test_set_damaged);
    add("/flyway/recall-library/no-files", test_no_files);
    add("/flyway/recall-library/folder-gone", test_folder_gone);
    add("/flyway/recall-library/real-space", test_real_space);
    return g_test_run();
}
