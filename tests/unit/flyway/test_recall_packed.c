/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that were packed for the link are stored as they are: among others, in the queue and in the
 * file, damaged, and where the set ends amid them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <lz4.h>
#include <zstd.h>
#include "flyway/recall_chunk.h"
#include "recall_kit.h"

#define EXTRA 57

/* Pages first to first + n - 1 and some bytes behind them, packed. */
static RecallPacked
pack_pages(guint32 first, guint n, RecallCoding coding, guint8 *out)
{
    g_autofree guint8 *plain = g_malloc(n * RECALL_PAGE_SIZE + EXTRA);
    gsize length = n * RECALL_PAGE_SIZE + EXTRA, size;

    for (guint i = 0; i < n; i++) {
        guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));

        kit_page(first + i, page);
        memcpy(plain + i * RECALL_PAGE_SIZE, page, sizeof page);
    }
    memset(plain + length - EXTRA, 0xee, EXTRA);
    if (coding == RECALL_CODING_LZ4)
        size = (gsize)LZ4_compress_default((const char *)plain, (char *)out, (int)length,
                                           (int)RECALL_CHUNK_SIZE);
    else
        size = ZSTD_compress(out, RECALL_CHUNK_SIZE, plain, length, 1);
    g_assert_cmpuint(size, >, 0);
    g_assert_cmpuint(size, <, RECALL_CHUNK_SIZE);
    return (RecallPacked){ out, (guint32)size, coding, (guint8)n, EXTRA };
}

static void
offer(RecallWriter *writer, guint32 first, guint n, RecallCoding coding)
{
    g_autofree guint8 *bytes = g_malloc(RECALL_CHUNK_SIZE);
    RecallPacked packed = pack_pages(first, n, coding, bytes);

    recall_offer(writer, &packed);
}

static void
assert_fetched(RecallWriter *writer, guint32 ordinal)
{
    guint8 page[RECALL_PAGE_SIZE], expected[RECALL_PAGE_SIZE] __attribute__((aligned(8)));

    g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, ordinal, page), ==, 0);
    kit_page(ordinal, expected);
    g_assert_cmpmem(page, sizeof page, expected, sizeof expected);
}

/* In turn: some pages one by one, then some that are packed, of all sizes; 0 to n - 1 altogether.
 */
static guint32
add_mixed(RecallWriter *writer, guint rounds)
{
    guint32 n = 0;

    for (guint round = 0; round < rounds; round++) {
        guint alone = round % 7 * 11 % 40, together = 1 + round * 5 % RECALL_CHUNK_PAGES;

        g_assert_cmpuint(kit_add(writer, NULL, n, alone), ==, alone);
        n += alone;
        offer(writer, n, together, round % 2 ? RECALL_CODING_LZ4 : RECALL_CODING_ZSTD);
        for (guint i = 0; i < together; i++) {
            g_assert_cmpuint(kit_add(writer, NULL, n++, 1), ==, 1);
            assert_fetched(writer, n - 1); /* also before the chunk is full */
        }
        assert_fetched(writer, (guint32)g_test_rand_int_range(0, (gint32)n));
    }
    return n;
}

static guint
chunks_of(const RecallReader *reader, RecallCoding coding)
{
    guint n = 0;

    for (guint32 i = 0; i < recall_reader_header(reader)->chunks; i++)
        n += recall_reader_body(reader)->chunks[i].coding == coding;
    return n;
}

static void
test_mixed(void)
{
    KitSet set;
    RecallWriter *writer;
    RecallReader *reader;
    RecallSeal seal;
    guint32 n;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    n = add_mixed(writer, 100);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    g_assert_cmpuint(seal.pages, ==, n);
    kit_check_set(&set, n);
    reader = kit_reader(&set, 1);
    g_assert_cmpuint(chunks_of(reader, RECALL_CODING_ZSTD), >=, 40);
    g_assert_cmpuint(chunks_of(reader, RECALL_CODING_LZ4), >=, 40);
    recall_reader_free(reader);
    kit_set_close(&set);
}

/* While the disk takes nothing all of it is in the queue. */
static void
test_queued(void)
{
    KitSet set;
    RecallWriter *writer;
    RecallSeal seal;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    kit_faults.block = TRUE;
    for (guint32 first = 0; first < 600; first += 30) {
        offer(writer, first, 30, RECALL_CODING_ZSTD);
        g_assert_cmpuint(kit_add(writer, NULL, first, 30), ==, 30);
    }
    for (guint i = 0; i < 2000; i++)
        assert_fetched(writer, (guint32)g_test_rand_int_range(0, 600));
    kit_unblock();
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    kit_check_set(&set, 600);
    kit_set_close(&set);
}

/* What doesn't do as a chunk is packed here. */
static void
test_unfit(void)
{
    g_autofree guint8 *bytes = g_malloc(RECALL_CHUNK_SIZE);
    RecallPacked packed = pack_pages(0, 2, RECALL_CODING_ZSTD, bytes);
    KitSet set;
    RecallWriter *writer;
    RecallReader *reader;
    RecallSeal seal;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    packed.size = 2 * RECALL_PAGE_SIZE + 1;
    recall_offer(writer, &packed);
    packed.size = 0;
    recall_offer(writer, &packed);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 2), ==, 2);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    kit_check_set(&set, 2);
    reader = kit_reader(&set, 1);
    g_assert_cmpuint(chunks_of(reader, RECALL_CODING_ZSTD), ==, 0);
    recall_reader_free(reader);
    kit_set_close(&set);
}

/* The quota, or the longest set, is reached amid packed pages: those before are there. */
static void
test_ends_amid(void)
{
    KitSet set;
    RecallWriterOptions options;
    RecallWriter *writer = NULL;
    RecallSeal seal;

    kit_set_new(&set, 1);
    options = kit_options(&set);
    options.max_pages = 40;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 20), ==, 20);
    offer(writer, 20, 30, RECALL_CODING_LZ4);
    g_assert_cmpuint(kit_add(writer, NULL, 20, 30), ==, 20);
    offer(writer, 50, 30, RECALL_CODING_LZ4); /* nobody wants it */
    g_assert_cmpuint(kit_add(writer, NULL, 50, 30), ==, 0);
    assert_fetched(writer, 39);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    g_assert_cmpuint(seal.pages, ==, 40);
    g_assert_cmpint(seal.ended, ==, -ENOSPC);
    kit_check_set(&set, 40);
    kit_set_close(&set);
}

/* No buffer is free: the set ends before the packed pages, with what was there. */
static void
test_no_room(void)
{
    KitSet set;
    RecallWriterOptions options;
    RecallWriter *writer = NULL;
    RecallSeal seal;
    guint32 n = 0, taken;

    kit_set_new(&set, 1);
    options = kit_options(&set);
    options.queue_bytes = 1; /* the fewest */
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    kit_faults.block = TRUE;
    do {
        offer(writer, n, 16, RECALL_CODING_ZSTD);
        taken = kit_add(writer, NULL, n, 16);
        n += taken;
    } while (taken == 16 && n < 100 * 16);
    g_assert_cmpuint(taken, ==, 0);
    kit_unblock();
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    g_assert_cmpint(seal.ended, ==, -EAGAIN);
    g_assert_cmpuint(seal.pages, ==, n);
    kit_check_set(&set, n);
    kit_set_close(&set);
}

/* A damaged chunk is missing, and nothing else is. */
static void
test_damaged(void)
{
    KitSet set;
    RecallWriter *writer;
    RecallReader *reader;
    RecallSeal seal;
    RecallChunk chunk;
    guint8 byte;
    guint missing = 0;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    for (guint32 first = 0; first < 300; first += 30) {
        offer(writer, first, 30, RECALL_CODING_ZSTD);
        g_assert_cmpuint(kit_add(writer, NULL, first, 30), ==, 30);
    }
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    reader = kit_reader(&set, 1);
    chunk = recall_reader_body(reader)->chunks[4];
    g_assert_cmpint(pread(set.pages_fd, &byte, 1, (off_t)recall_chunk_offset(&chunk) + 9), ==, 1);
    byte ^= 4;
    g_assert_cmpint(pwrite(set.pages_fd, &byte, 1, (off_t)recall_chunk_offset(&chunk) + 9), ==, 1);
    for (guint32 i = 0; i < 300; i++)
        missing += !kit_check(reader, i, i);
    g_assert_cmpuint(missing, ==, 30);
    recall_reader_free(reader);
    kit_set_close(&set);
}

/* A body that says another length than it has. */
static void
test_lengths(void)
{
    g_autofree guint8 *bytes = g_malloc(RECALL_CHUNK_SIZE), *out = g_malloc(RECALL_CHUNK_ROOM);

    for (RecallCoding coding = RECALL_CODING_LZ4; coding <= RECALL_CODING_ZSTD; coding++) {
        RecallPacked packed = pack_pages(0, 5, coding, bytes);
        RecallChunk chunk = { .coding = (guint8)coding, .pages = 5, .extra = EXTRA };

        g_assert_cmpint(recall_chunk_unpack(&chunk, bytes, packed.size, out), ==, 0);
        chunk.extra = EXTRA + 1;
        g_assert_cmpint(recall_chunk_unpack(&chunk, bytes, packed.size, out), ==, -EBADMSG);
        chunk.extra = EXTRA - 1;
        g_assert_cmpint(recall_chunk_unpack(&chunk, bytes, packed.size, out), ==, -EBADMSG);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kit_init();
    g_test_add_func("/flyway/recall-packed/mixed", test_mixed);
    g_test_add_func("/flyway/recall-packed/queued", test_queued);
    g_test_add_func("/flyway/recall-packed/unfit", test_unfit);
    g_test_add_func("/flyway/recall-packed/ends-amid", test_ends_amid);
    g_test_add_func("/flyway/recall-packed/no-room", test_no_room);
    g_test_add_func("/flyway/recall-packed/damaged", test_damaged);
    g_test_add_func("/flyway/recall-packed/lengths", test_lengths);
    return g_test_run();
}
