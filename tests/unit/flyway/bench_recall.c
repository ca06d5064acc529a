/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of the recall store on this machine: bench-recall [FOLDER [PAGES [MB/s]]]. Not a test. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "recall_kit.h"
#include "base/clock.h"

static double
since_s(gint64 start_us)
{
    return (double)(clock_monotonic_us() - start_us) / G_USEC_PER_SEC;
}

static double
cpu_s(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / G_USEC_PER_SEC;
}

/* The first 16 bytes: what is measured is the store, not a hash. */
static void
no_hash(PageHasher *hasher, const guint8 *page, guint8 *out)
{
    memcpy(out, page, RECALL_HASH_SIZE);
}

static void
write_set(const KitSet *set, guint32 n, const guint8 *pages, guint rate)
{
    RecallWriterOptions options = kit_options(set);
    RecallWriter *writer = NULL;
    gint64 start = clock_monotonic_us();
    double cpu = cpu_s(), adding = 0;
    RecallSeal seal;

    options.patience_permille = 30;
    options.max_bytes = G_GUINT64_CONSTANT(1) << 40;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    for (guint32 i = 0; i < n; i++) {
        const guint8 *page = pages + (gsize)(i % 4096) * RECALL_PAGE_SIZE;
        guint64 hash[2] = { i * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15),
                            i * G_GUINT64_CONSTANT(0xd1342543de82ef95) };
        gint64 before;

        /* At the rate of a session: bursts of 32 pages. */
        while (i % 32 == 0 && since_s(start) < i * 4096e-6 / rate)
            g_thread_yield();
        before = clock_monotonic_us();
        if (recall_add(writer, (const guint8 *)hash, page, NULL) < 0)
            break;
        adding += since_s(before);
    }
    recall_writer_finish(writer, &seal);
    recall_writer_free(writer);
    g_print("write  %u pages, %.0f MB -> %.0f MB in %.2f s: %.0f MB/s, %.2f CPU s; adding %.2f us "
            "a page; ended %d\n",
            seal.pages, seal.pages * 4096e-6, (double)seal.bytes / 1e6, since_s(start),
            seal.pages * 4096e-6 / since_s(start), cpu_s() - cpu, adding * 1e6 / seal.pages,
            seal.ended);
}

int
main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "/var/tmp";
    guint32 n = argc > 2 ? (guint32)g_ascii_strtoull(argv[2], NULL, 10) : 250000;
    guint8 *pages = g_malloc(4096 * RECALL_PAGE_SIZE), page[RECALL_PAGE_SIZE];
    KitSet set = { .id = "bench" };
    RecallReader *reader;
    RecallIndex *index;
    gint64 start;
    guint64 hits = 0;

    kit_init();
    kit_context.hash = no_hash;
    kit_context.io = &recall_io_real;
    for (guint32 i = 0; i < 4096; i++)
        kit_page(i, pages + (gsize)i * RECALL_PAGE_SIZE);
    set.index_fd = open(folder, O_TMPFILE | O_RDWR, 0600);
    set.pages_fd = open(folder, O_TMPFILE | O_RDWR, 0600);
    write_set(&set, n, pages, argc > 3 ? (guint)atoi(argv[3]) : 250);

    start = clock_monotonic_us();
    reader = kit_reader(&set, 1);
    n = recall_reader_header(reader)->pages;
    g_print("load   %u pages in %.1f ms\n", n, since_s(start) * 1e3);
    start = clock_monotonic_us();
    index = recall_index_new(&(RecallAgreed){ reader, n }, 1, RECALL_PAGES_MAX);
    g_print("index  in %.1f ms, %.1f bytes a page\n", since_s(start) * 1e3,
            (double)recall_index_bytes(index) / n);
    start = clock_monotonic_us();
    for (guint32 i = 0; i < n; i++) {
        RecallRef ref;

        hits += recall_index_find(
            index, recall_reader_body(reader)->hashes + (gsize)i * RECALL_HASH_SIZE, &ref);
    }
    g_print("find   %.0f ns each, %" G_GUINT64_FORMAT " hits\n", since_s(start) * 1e9 / n, hits);
    fsync(set.pages_fd);
    posix_fadvise(set.pages_fd, 0, 0, POSIX_FADV_DONTNEED);
    for (guint pass = 0; pass < 2; pass++) {
        start = clock_monotonic_us();
        for (guint32 i = 0; i < n; i++) {
            if (i + 512 < n)
                recall_prefetch(reader, i + 512);
            recall_fetch(reader, &kit_hasher, i, page);
        }
        g_print("fetch  in order: %.0f MB/s\n", n * 4096e-6 / since_s(start));
    }
    start = clock_monotonic_us();
    for (guint32 i = 0; i < n / 10; i++)
        recall_fetch(reader, &kit_hasher, (guint32)(i * G_GUINT64_CONSTANT(2654435761) % n), page);
    g_print("fetch  at random: %.0f MB/s\n", n / 10 * 4096e-6 / since_s(start));
    recall_index_free(index);
    recall_reader_free(reader);
    kit_set_close(&set);
    g_free(pages);
    return 0;
}
