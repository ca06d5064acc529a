/* SPDX-License-Identifier: Apache-2.0 */
#include "recall_kit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include "flyway/protocol.h"

RecallContext kit_context;
PageHasher kit_hasher;
KitFaults kit_faults;

static pthread_mutex_t block_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t block_gone = PTHREAD_COND_INITIALIZER;
static __thread gboolean interrupted;

static gboolean
fails(gint *left)
{
    if (g_atomic_int_get(left) <= 0)
        return FALSE;
    if (!g_atomic_int_compare_and_exchange(left, 1, 1))
        return g_atomic_int_add(left, -1) < 1;
    errno = kit_faults.error;
    return TRUE;
}

static gboolean
stutters(size_t *size)
{
    if (!kit_faults.stutter)
        return FALSE;
    interrupted = !interrupted;
    *size = (*size + 1) / 2;
    errno = EINTR;
    return interrupted;
}

static ssize_t
kit_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (fails(&kit_faults.reads_left) || stutters(&size))
        return -1;
    return pread(fd, buffer, size, offset);
}

static ssize_t
kit_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    pthread_mutex_lock(&block_lock);
    while (kit_faults.block)
        pthread_cond_wait(&block_gone, &block_lock);
    pthread_mutex_unlock(&block_lock);
    if (fails(&kit_faults.writes_left) || stutters(&size))
        return -1;
    return pwrite(fd, buffer, size, offset);
}

void
kit_unblock(void)
{
    pthread_mutex_lock(&block_lock);
    kit_faults.block = FALSE;
    pthread_cond_broadcast(&block_gone);
    pthread_mutex_unlock(&block_lock);
}

static void
keyed_hash(PageHasher *hasher, const guint8 *page, guint8 *out)
{
    guint8 whole[32];

    gnutls_hmac_fast(GNUTLS_MAC_SHA256, hasher->key, RECALL_KEY_SIZE, page, RECALL_PAGE_SIZE,
                     whole);
    memcpy(out, whole, RECALL_HASH_SIZE);
}

void
kit_init(void)
{
    static const RecallIo io = { kit_pread, kit_pwrite };
    static const guint8 cluster_key[RECALL_KEY_SIZE] = "a cluster's key";

    kit_faults = (KitFaults){ 0 };
    kit_context = (RecallContext){ .io = &io, .hash = keyed_hash };
    g_assert_cmpint(recall_key_group(cluster_key, "group:test", kit_context.group_key), ==, 0);
    g_assert_cmpint(recall_key_hash(kit_context.group_key, kit_hasher.key), ==, 0);
}

void
kit_page(guint32 number, guint8 *page)
{
    guint64 *words = (guint64 *)(void *)page;
    guint64 state = number * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15) + 1;
    gsize n = RECALL_PAGE_SIZE / sizeof *words;
    gsize noisy = number % 3 == 0 ? n : n / 4;

    for (gsize i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = i < noisy ? state : number;
    }
}

void
kit_hash(guint32 number, guint8 *hash)
{
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));

    kit_page(number, page);
    kit_context.hash(&kit_hasher, page, hash);
}

void
kit_set_new(KitSet *set, guint8 id)
{
    memset(set->id, id, sizeof set->id);
    set->index_fd = memfd_create("index", MFD_CLOEXEC);
    set->pages_fd = memfd_create("pages", MFD_CLOEXEC);
    g_assert_cmpint(set->index_fd, >=, 0);
    g_assert_cmpint(set->pages_fd, >=, 0);
}

void
kit_set_close(KitSet *set)
{
    close(set->index_fd);
    close(set->pages_fd);
}

RecallWriterOptions
kit_options(const KitSet *set)
{
    RecallWriterOptions options = { .index_fd = dup(set->index_fd),
                                    .pages_fd = dup(set->pages_fd),
                                    .max_bytes = 1u << 30 };

    memcpy(options.id, set->id, sizeof options.id);
    return options;
}

RecallWriter *
kit_writer(const KitSet *set, RecallReader *const *readers, guint n)
{
    RecallWriterOptions options = kit_options(set);
    RecallWriter *writer = NULL;

    options.readers = readers;
    options.n_readers = n;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpint(options.index_fd, ==, -1);
    g_assert_cmpint(options.pages_fd, ==, -1);
    return writer;
}

guint32
kit_add(RecallWriter *writer, const RecallIndex *index, guint32 first, guint32 n)
{
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8))), hash[RECALL_HASH_SIZE];
    guint32 taken = 0;

    for (guint32 i = 0; i < n; i++) {
        RecallRef ref;
        gboolean known;

        kit_page(first + i, page);
        kit_context.hash(&kit_hasher, page, hash);
        known = index != NULL && recall_index_find(index, hash, &ref);
        if (recall_add(writer, hash, page, known ? &ref : NULL) >= 0)
            taken++;
    }
    return taken;
}

static void
look_for_segments(const KitSet *sets, guint n, RecallFiles *files)
{
    guint8 raw[RECALL_INDEX_HEADER_SIZE];
    RecallHeader header;
    const char *why;

    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        files->segment_fds[i] = -1;
    if (pread(files->index_fd, raw, sizeof raw, 0) != (ssize_t)sizeof raw ||
        recall_header_decode(raw, sizeof raw, &header, &why) != 0)
        return;
    for (guint i = 0; i < header.n_segments; i++)
        for (guint k = 0; k < n; k++)
            if (header.segments[i].live > 0 && files->segment_fds[i] < 0 &&
                memcmp(header.segments[i].id, sets[k].id, RECALL_ID_SIZE) == 0)
                files->segment_fds[i] = dup(sets[k].pages_fd);
}

int
kit_try_reader(const KitSet *sets, guint n, RecallReader **reader)
{
    RecallFiles files = { .index_fd = dup(sets[0].index_fd) };
    int result;

    look_for_segments(sets, n, &files);
    result = recall_reader_new(&kit_context, sets[0].id, &files, reader);
    g_assert_cmpint(files.index_fd, ==, -1);
    return result;
}

RecallReader *
kit_reader(const KitSet *sets, guint n)
{
    RecallReader *reader = NULL;

    g_assert_cmpint(kit_try_reader(sets, n, &reader), ==, 0);
    return reader;
}

gboolean
kit_check(RecallReader *reader, guint32 ordinal, guint32 number)
{
    static const guint8 zeros[RECALL_PAGE_SIZE];
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8))),
        expected[sizeof page] __attribute__((aligned(8)));

    if (recall_fetch(reader, &kit_hasher, ordinal, page) != 0) {
        g_assert_cmpmem(page, sizeof page, zeros, sizeof zeros);
        return FALSE;
    }
    kit_page(number, expected);
    g_assert_cmpmem(page, sizeof page, expected, sizeof expected);
    return TRUE;
}

void
kit_check_set(const KitSet *set, guint32 n)
{
    RecallReader *reader = kit_reader(set, 1);

    for (guint32 i = 0; i < n; i++)
        g_assert_true(kit_check(reader, i, i));
    recall_reader_free(reader);
}

void
kit_work(const RecallLoan *loan, const char *migration, guint32 first, guint32 n)
{
    RecallWriterOptions options = { .index_fd = dup(loan->ticket.index_fd),
                                    .pages_fd = dup(loan->ticket.pages_fd),
                                    .max_bytes = loan->ticket.max_bytes };
    RecallContext context = kit_context;
    RecallWriter *writer = NULL;
    RecallSeal seal;

    memcpy(context.group_key, loan->group_key, sizeof context.group_key);
    g_assert_true(flyway_uuid_parse(migration, options.id));
    g_assert_cmpint(recall_writer_new(&context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, first, n), ==, n);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
}
