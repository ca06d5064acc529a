/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include "recall_kit.h"
#include "base/error.h"
#include "flyway/protocol.h"
#include "flyway/recall_service.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define DAY_MS G_GINT64_CONSTANT(86400000)
#define VM_A "00000000-0000-4000-8000-0000000000aa"
#define VM_B "00000000-0000-4000-8000-0000000000bb"
#define PEER "00000000-0000-4000-8000-000000000002"

static RecallSpace fake_space;
static gint64 fake_now_ms; /* under now_lock: the housekeeper asks, too */
static GMutex now_lock;

static gboolean
get_space(const char *path, RecallSpace *space)
{
    *space = fake_space;
    return TRUE;
}

static gint64
get_now(void)
{
    gint64 now_ms;

    g_mutex_lock(&now_lock);
    now_ms = fake_now_ms;
    g_mutex_unlock(&now_lock);
    return now_ms;
}

static void
advance(gint64 by_ms)
{
    g_mutex_lock(&now_lock);
    fake_now_ms += by_ms;
    g_mutex_unlock(&now_lock);
}

typedef struct {
    char *top, *path;
    RecallServiceConfig config;
    RecallService *service;
    guint changes;
} Fixture;

static void
on_changed(gpointer data)
{
    ((Fixture *)data)->changes++;
}

static void
restart(Fixture *f)
{
    recall_service_free(f->service);
    f->service = recall_service_new(&f->config);
}

static void
give_key(Fixture *f, guint8 byte)
{
    guint8 key[RECALL_KEY_SIZE];

    memset(key, byte, sizeof key);
    recall_service_set_key(f->service, key);
}

static void
set_up(Fixture *f, gconstpointer data)
{
    f->top = g_dir_make_tmp("recall-XXXXXX", NULL);
    f->path = g_build_filename(f->top, "recall", NULL);
    fake_now_ms = 1000000;
    fake_space = (RecallSpace){ 100000 * MIB, 50000 * MIB };
    kit_init();
    f->config = (RecallServiceConfig){ .enabled = TRUE,
                                       .folder = f->path,
                                       .limits = { 1000 * MIB, 30 * DAY_MS, get_space },
                                       .share = RECALL_SHARE_GROUP,
                                       .now_ms = get_now,
                                       .changed = on_changed,
                                       .data = f };
    restart(f);
}

static guint
count_files(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (dir != NULL && g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(f->path, 0, NULL);
    const char *name;

    recall_service_free(f->service);
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(f->path, name, NULL);

        g_unlink(path);
    }
    g_rmdir(f->path);
    g_assert_cmpint(g_rmdir(f->top), ==, 0);
    g_free(f->path);
    g_free(f->top);
    while (g_main_context_iteration(NULL, FALSE))
        continue;
}

static char *
uuid(guint number)
{
    return g_strdup_printf("00000000-0000-4000-8000-%012u", number);
}

static RecallLoan *
begin(Fixture *f, guint number, const char *vm, const char *group, GError **error)
{
    g_autofree char *id = uuid(number);
    const RecallOrder order = {
        .migration = id, .vm = vm, .peer = PEER, .group = group, .memory_bytes = 256 * MIB
    };

    advance(1000);
    return recall_service_begin(f->service, &order, error);
}

/* What a worker does with the loan. */
static void
work(const RecallLoan *loan, guint number, guint32 first, guint32 pages)
{
    g_autofree char *id = uuid(number);

    kit_work(loan, id, first, pages);
}

static void
session(Fixture *f, guint number, const char *vm, const char *group)
{
    g_autofree char *id = uuid(number);
    g_autoptr(GError) error = NULL;
    g_autoptr(RecallLoan) loan = begin(f, number, vm, group, &error);

    g_assert_no_error(error);
    work(loan, number, number * 100, 50);
    g_assert_true(recall_service_commit(f->service, id, &error));
    g_assert_no_error(error);
}

static char *
reason(Fixture *f)
{
    g_auto(RecallStatus) status = { 0 };

    recall_service_status(f->service, &status);
    return g_strdup(status.reason);
}

static gboolean
keyed(Fixture *f)
{
    g_auto(RecallStatus) status = { 0 };

    recall_service_status(f->service, &status);
    return status.keyed;
}

static gboolean
usable(Fixture *f)
{
    g_auto(RecallStatus) status = { 0 };

    recall_service_status(f->service, &status);
    return status.usable;
}

static guint
sets(Fixture *f)
{
    g_auto(RecallStatus) status = { 0 };

    recall_service_status(f->service, &status);
    return status.statistics.sets;
}

static void
wait_for_sets(Fixture *f, guint n)
{
    while (sets(f) != n)
        g_main_context_iteration(NULL, TRUE);
}

/* ---- what there is --------------------------------------------------------------------------- */

static void
test_key(Fixture *f, gconstpointer data)
{
    g_autofree char *before = reason(f), *after = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(strstr(before, "manager"));
    g_assert_false(keyed(f));
    g_assert_true(usable(f));
    g_assert_null(begin(f, 1, VM_A, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "manager"));
    give_key(f, 1);
    give_key(f, 1); /* told at each connection */
    after = reason(f);
    g_assert_null(after);
    g_assert_true(keyed(f));
    g_assert_cmpuint(f->changes, ==, 0); /* not from within */
    while (g_main_context_iteration(NULL, FALSE))
        continue;
    g_assert_cmpuint(f->changes, ==, 1); /* the second key was no news */
}

static void
assert_off(Fixture *f, const char *word)
{
    g_autofree char *why = NULL;
    g_autoptr(GError) error = NULL;

    restart(f);
    give_key(f, 1);
    g_assert_false(usable(f));
    why = reason(f);
    g_assert_nonnull(why);
    g_assert_nonnull(strstr(why, word));
    g_assert_null(begin(f, 9, VM_A, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, word));
}

static void
test_off(Fixture *f, gconstpointer data)
{
    static const guint64 bytes[] = { 1000 * MIB, 0 };

    for (gsize i = 0; i < G_N_ELEMENTS(bytes); i++) {
        f->config.enabled = TRUE;
        f->config.limits.max_bytes = 1000 * MIB;
        restart(f);
        give_key(f, 1);
        session(f, 1, VM_A, NULL);
        g_assert_cmpuint(count_files(f->path), ==, 3);
        f->config.enabled = i > 0;
        f->config.limits.max_bytes = bytes[i];
        assert_off(f, i > 0 ? "max_bytes" : "enabled");
        wait_for_sets(f, 0); /* what was there is removed */
        g_assert_cmpuint(count_files(f->path), ==, 0);
        g_assert_cmpint(g_rmdir(f->path), ==, 0);
        assert_off(f, i > 0 ? "max_bytes" : "enabled");
        g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
    }
}

/* All calls are harmless without a library. */
static void
test_no_folder(Fixture *f, gconstpointer data)
{
    g_autofree char *file = g_build_filename(f->top, "file", NULL);
    g_autofree char *id = uuid(1);
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    f->config.folder = file;
    f->config.limits.max_bytes = RECALL_AUTO;
    assert_off(f, file);
    g_assert_cmpuint(recall_service_clear(f->service, NULL), ==, 0);
    recall_service_note(f->service, 1, 1);
    recall_service_abandon(f->service, id);
    g_assert_false(recall_service_commit(f->service, id, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED);
    g_assert_cmpuint(sets(f), ==, 0);
    g_unlink(file);
}

static void
test_auto_limit(Fixture *f, gconstpointer data)
{
    static const struct {
        guint64 disk, limit;
    } cases[] = { { 200 * 1024 * MIB, 20 * 1024 * MIB }, { 5000 * 1024 * MIB, RECALL_AUTO_BYTES } };

    f->config.limits.max_bytes = RECALL_AUTO;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(RecallStatus) status = { 0 };

        fake_space.size_bytes = cases[i].disk;
        restart(f);
        recall_service_status(f->service, &status);
        g_assert_cmpuint(status.statistics.max_bytes, ==, cases[i].limit);
    }
    f->config.limits.space = NULL; /* the real one */
    f->config.now_ms = NULL;
    f->config.changed = NULL;
    restart(f);
    give_key(f, 1);
    g_auto(RecallStatus) status = { 0 };
    recall_service_status(f->service, &status);
    g_assert_cmpuint(status.statistics.max_bytes, >, 0);
    g_assert_cmpuint(status.statistics.max_bytes, <=, RECALL_AUTO_BYTES);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void
test_loans(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    guint8 id[RECALL_ID_SIZE];
    RecallContext context = kit_context;
    RecallReader *reader = NULL;
    g_autofree char *first = uuid(1);

    give_key(f, 1);
    session(f, 1, VM_A, "web");
    g_autoptr(RecallLoan) same = begin(f, 2, VM_B, "web", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(same->n_sets, ==, 1);
    g_assert_cmpstr(same->sets[0].id, ==, first);
    g_assert_cmpuint(same->sets[0].pages, ==, 50);
    g_assert_no_error(same->unkept);
    g_assert_cmpint(same->ticket.pages_fd, >=, 0);
    g_assert_cmpuint(same->ticket.max_bytes, ==, 128 * MIB);

    memcpy(context.group_key, same->group_key, sizeof context.group_key);
    flyway_uuid_parse(first, id);
    g_assert_cmpint(recall_reader_new(&context, id, &same->sets[0].files, &reader), ==, 0);
    for (guint32 i = 0; i < 50; i++)
        g_assert_true(kit_check(reader, i, 100 + i));
    recall_reader_free(reader);

    g_autoptr(RecallLoan) other = begin(f, 3, VM_A, "db", &error);
    g_autoptr(RecallLoan) alone = begin(f, 4, VM_A, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(other->n_sets, ==, 0);
    g_assert_cmpuint(alone->n_sets, ==, 0);
    g_assert_true(memcmp(same->group_key, other->group_key, RECALL_KEY_SIZE) != 0);
    g_assert_true(memcmp(alone->group_key, other->group_key, RECALL_KEY_SIZE) != 0);
}

static void
test_share(Fixture *f, gconstpointer data)
{
    static const guint found[RECALL_N_SHARES] = { 0, 1, 1 };

    for (guint share = 0; share < RECALL_N_SHARES; share++) {
        g_autofree char *id = uuid(99);

        f->config.share = (RecallShare)share;
        restart(f);
        give_key(f, 1);
        session(f, 10 + share, VM_A, "web");
        g_autoptr(RecallLoan) loan = begin(f, 99, VM_B, "web", NULL);
        g_assert_cmpuint(loan->n_sets, ==, found[share]);
        recall_service_abandon(f->service, id);
        recall_service_clear(f->service, NULL);
    }
}

/* A set whose index can't be opened is left out, and the session goes on. */
static void
test_damaged(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid(1);
    g_autofree char *path = g_strdup_printf("%s/%s.index", f->path, id);

    give_key(f, 1);
    session(f, 1, VM_A, "web");
    session(f, 2, VM_B, "web");
    g_assert_cmpint(truncate(path, 100), ==, 0);
    g_autoptr(RecallLoan) loan = begin(f, 3, VM_A, "web", NULL);
    g_autofree char *second = uuid(2);
    g_assert_cmpuint(loan->n_sets, ==, 1);
    g_assert_cmpstr(loan->sets[0].id, ==, second);
    g_assert_cmpint(loan->ticket.index_fd, >=, 0);
    g_assert_cmpuint(sets(f), ==, 1);
}

/* Older sets are lent also where nothing can be kept of this session. */
static void
test_unkept(Fixture *f, gconstpointer data)
{
    give_key(f, 1);
    session(f, 1, VM_A, NULL);
    g_autoptr(RecallLoan) again = begin(f, 1, VM_A, NULL, NULL);
    g_assert_cmpuint(again->n_sets, ==, 1);
    g_assert_error(again->unkept, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_assert_cmpint(again->ticket.pages_fd, ==, -1);
    g_assert_cmpint(again->ticket.index_fd, ==, -1);

    fake_space.available_bytes = 0;
    g_autoptr(RecallLoan) full = begin(f, 2, VM_A, NULL, NULL);
    g_assert_cmpuint(full->n_sets, ==, 1);
    g_assert_error(full->unkept, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);
    g_assert_cmpint(full->ticket.pages_fd, ==, -1);
}

static void
test_end(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid(1);
    g_autoptr(GError) error = NULL;
    g_auto(RecallStatus) status = { 0 };

    give_key(f, 1);
    g_autoptr(RecallLoan) loan = begin(f, 1, VM_A, NULL, NULL);
    g_assert_nonnull(loan);
    recall_service_abandon(f->service, id);
    recall_service_abandon(f->service, id);
    g_assert_cmpuint(count_files(f->path), ==, 0);
    g_assert_false(recall_service_commit(f->service, id, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);

    session(f, 2, VM_A, "web");
    session(f, 3, VM_B, "web");
    recall_service_note(f->service, 100, 40);
    recall_service_status(f->service, &status);
    g_assert_cmpuint(status.statistics.sets, ==, 2);
    g_assert_cmpuint(status.statistics.asked, ==, 100);
    g_assert_cmpuint(status.statistics.found, ==, 40);
    g_assert_cmpuint(recall_service_clear(f->service, VM_A), ==, 1);
    g_assert_cmpuint(recall_service_clear(f->service, VM_A), ==, 0);
    g_assert_cmpuint(recall_service_clear(f->service, NULL), ==, 1);
}

/* The set of a migration that outlives godwitd is committed by its successor, which has no key. */
static void
test_successor(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid(1);
    g_autoptr(GError) error = NULL;

    give_key(f, 1);
    g_autoptr(RecallLoan) loan = begin(f, 1, VM_A, NULL, NULL); /* the worker has it open */
    restart(f);
    work(loan, 1, 0, 20);
    g_assert_true(recall_service_commit(f->service, id, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(sets(f), ==, 1);
}

static void
test_expiry(Fixture *f, gconstpointer data)
{
    f->config.expire_s = 1;
    restart(f);
    give_key(f, 1);
    session(f, 1, VM_A, NULL);
    g_assert_cmpuint(sets(f), ==, 1);
    advance(31 * DAY_MS);
    wait_for_sets(f, 0);
    session(f, 2, VM_A, NULL);
    g_autofree char *id = uuid(3);
    g_autoptr(RecallLoan) loan = begin(f, 3, VM_B, NULL, NULL);
    g_assert_nonnull(loan);
    f->config.expire_s = 0;
    restart(f); /* it looks at start, too, and when a migration ends */
    g_assert_cmpuint(sets(f), ==, 1);
    advance(31 * DAY_MS);
    recall_service_abandon(f->service, id);
    g_assert_cmpuint(sets(f), ==, 0);
}

#define THREADS 4
#define ROUNDS 25

typedef struct {
    Fixture *f;
    guint number;
} Job;

static gpointer
hammer(gpointer data)
{
    Job *job = data;
    Fixture *f = job->f;

    for (guint i = 0; i < ROUNDS; i++) {
        guint number = job->number * 1000 + i;
        g_autofree char *id = uuid(number);
        g_autoptr(RecallLoan) loan = begin(f, number, VM_A, "web", NULL);

        g_assert_nonnull(loan);
        if (i % 3 == 0) {
            recall_service_abandon(f->service, id);
        } else {
            work(loan, number, number, 5);
            recall_service_commit(f->service, id, NULL); /* or it was cleared */
        }
        recall_service_note(f->service, 2, 1);
        if (i % 10 == 9)
            recall_service_clear(f->service, VM_A);
        g_assert_cmpuint(sets(f), <=, 2);
        give_key(f, 1);
    }
    return NULL;
}

static void
test_threads(Fixture *f, gconstpointer data)
{
    GThread *threads[THREADS];
    Job jobs[THREADS];
    g_auto(RecallStatus) status = { 0 };

    give_key(f, 1);
    for (guint i = 0; i < THREADS; i++) {
        jobs[i] = (Job){ f, i + 1 };
        threads[i] = g_thread_new("hammer", hammer, &jobs[i]);
    }
    for (guint i = 0; i < THREADS; i++)
        g_thread_join(threads[i]);
    recall_service_status(f->service, &status);
    g_assert_cmpuint(status.statistics.asked, ==, 2 * THREADS * ROUNDS);
    recall_service_clear(f->service, NULL);
    g_assert_cmpuint(count_files(f->path), ==, 1); /* the statistics */
}

#define ADD(name, func)                                                                            \
    g_test_add("/flyway/recall-service/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("key", test_key);
    ADD("off", test_off);
    ADD("no-folder", test_no_folder);
    ADD("auto-limit", test_auto_limit);
    ADD("loans", test_loans);
    ADD("share", test_share);
    ADD("damaged", test_damaged);
    ADD("unkept", test_unkept);
    ADD("end", test_end);
    ADD("successor", test_successor);
    ADD("expiry", test_expiry);
    ADD("threads", test_threads);
    return g_test_run();
}
