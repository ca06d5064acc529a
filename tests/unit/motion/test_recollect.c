/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "flyway/protocol.h"
#include "motion/recollect.h"
#include "recall_kit.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define VM_UUID "00000000-0000-4000-8000-0000000000aa"
#define PEER "00000000-0000-4000-8000-0000000000b2"
#define OTHER "00000000-0000-4000-8000-0000000000b3"
#define FIRST "00000000-0000-4000-8000-00000000f001"
#define SECOND "00000000-0000-4000-8000-00000000F002" /* ids in capitals are the same ids */
#define THIRD "00000000-0000-4000-8000-00000000f003"

typedef struct {
    char *folder;
    RecallService *service;
    Vm *vm;
} Fixture;

static gboolean
much_space(const char *path, RecallSpace *space)
{
    *space = (RecallSpace){ 100000 * MIB, 50000 * MIB };
    return TRUE;
}

static void
give_key(Fixture *f)
{
    guint8 key[RECALL_KEY_SIZE];

    memset(key, 7, sizeof key);
    recall_service_set_key(f->service, key);
}

static void
set_up(Fixture *f, gconstpointer data)
{
    RecallServiceConfig config = { .enabled = TRUE,
                                   .limits = { 1000 * MIB, G_MAXINT64 / 2, much_space },
                                   .share = RECALL_SHARE_GROUP };

    kit_init();
    f->folder = g_dir_make_tmp("recollect-XXXXXX", NULL);
    config.folder = f->folder;
    f->service = recall_service_new(&config);
    f->vm = record_new(&vm_type);
    f->vm->uuid = g_strdup(VM_UUID);
    f->vm->memory_max_bytes = 256 * MIB;
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(f->folder, 0, NULL);
    const char *name;

    recall_service_free(f->service);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(f->folder, name, NULL);

        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_free(f->folder);
    vm_free(f->vm);
}

static RecallStatistics
statistics(Fixture *f)
{
    g_auto(RecallStatus) status = { 0 };

    recall_service_status(f->service, &status);
    return status.statistics;
}

/* One migration. Returns how many sets it could recall. */
static guint
migrate(Fixture *f, const char *id, const char *peer, gboolean moved, const Recollection *told)
{
    g_autoptr(RecallLoan) loan = recollect_begin(f->service, id, f->vm, peer);

    g_assert_nonnull(loan);
    g_assert_cmpint(loan->ticket.pages_fd, >=, 0);
    kit_work(loan, id, 100, 50);
    recollect_end(f->service, id, moved, told);
    return loan->n_sets;
}

static void
test_without(Fixture *f, gconstpointer data)
{
    const Recollection told = { .sealed = TRUE, .asked = 5, .found = 5 };

    g_assert_null(recollect_begin(NULL, FIRST, f->vm, PEER));
    recollect_end(NULL, FIRST, TRUE, &told);
    /* No key yet. */
    g_assert_null(recollect_begin(f->service, FIRST, f->vm, PEER));
    recollect_end(f->service, FIRST, FALSE, &told);
    g_assert_cmpuint(statistics(f).sets, ==, 0);
}

static void
test_kept(Fixture *f, gconstpointer data)
{
    const Recollection told = { .sealed = TRUE, .asked = 100, .found = 40 };

    give_key(f);
    g_assert_cmpuint(migrate(f, FIRST, PEER, TRUE, &told), ==, 0);
    g_assert_cmpuint(migrate(f, SECOND, PEER, TRUE, &told), ==, 1);
    g_assert_cmpuint(migrate(f, THIRD, OTHER, TRUE, &told), ==, 0);
    g_assert_cmpuint(statistics(f).sets, ==, 3);
    g_assert_cmpuint(statistics(f).asked, ==, 300);
    g_assert_cmpuint(statistics(f).found, ==, 120);
}

static void
test_dropped(Fixture *f, gconstpointer data)
{
    static const struct {
        gboolean moved, sealed;
    } rows[] = { { FALSE, TRUE }, { TRUE, FALSE }, { FALSE, FALSE } };

    give_key(f);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const Recollection told = { .sealed = rows[i].sealed, .asked = 10, .found = 1 };

        g_assert_cmpuint(migrate(f, FIRST, PEER, rows[i].moved, &told), ==, 0);
        g_assert_cmpuint(statistics(f).sets, ==, 0);
        g_assert_cmpuint(statistics(f).bytes, ==, 0);
    }
    g_assert_cmpuint(statistics(f).asked, ==, 30); /* the link was spared all the same */
}

/* The worker's word is good only as far as its files are. */
static void
test_sealed_without_files(Fixture *f, gconstpointer data)
{
    const Recollection told = { .sealed = TRUE };
    g_autoptr(RecallLoan) loan = NULL;

    give_key(f);
    loan = recollect_begin(f->service, FIRST, f->vm, PEER);
    g_assert_nonnull(loan);
    recollect_end(f->service, FIRST, TRUE, &told);
    g_assert_cmpuint(statistics(f).sets, ==, 0);
}

/* VMs of one group, and only they, share. */
static void
test_group(Fixture *f, gconstpointer data)
{
    const Recollection told = { .sealed = TRUE };

    give_key(f);
    f->vm->recall_group = g_strdup("web");
    g_assert_cmpuint(migrate(f, FIRST, PEER, TRUE, &told), ==, 0);
    g_free(f->vm->uuid);
    f->vm->uuid = g_strdup(OTHER);
    g_assert_cmpuint(migrate(f, SECOND, PEER, TRUE, &told), ==, 1);
    g_clear_pointer(&f->vm->recall_group, g_free);
    g_assert_cmpuint(migrate(f, THIRD, PEER, TRUE, &told), ==, 0);
}

static void
test_max_pages(void)
{
    g_assert_cmpuint(recollect_max_pages(-1), ==, RECOLLECT_PAGES_MIN);
    g_assert_cmpuint(recollect_max_pages(256 * MIB), ==, RECOLLECT_PAGES_MIN);
    g_assert_cmpuint(recollect_max_pages(8192 * MIB), ==, 8192 * 1024);
    g_assert_cmpuint(recollect_max_pages(16384 * MIB), ==, RECALL_PAGES_MAX);
    g_assert_cmpuint(recollect_max_pages(G_MAXINT64), ==, RECALL_PAGES_MAX);
}

#define ADD(name, func)                                                                            \
    g_test_add("/motion/recollect/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("without", test_without);
    g_test_add_func("/motion/recollect/max-pages", test_max_pages);
    ADD("kept", test_kept);
    ADD("dropped", test_dropped);
    ADD("sealed-without-files", test_sealed_without_files);
    ADD("group", test_group);
    return g_test_run();
}
