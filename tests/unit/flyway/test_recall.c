/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "recall_kit.h"
#include "flyway/recall_chunk.h"

static void
test_keys(void)
{
    guint8 cluster[RECALL_KEY_SIZE] = "cluster", other[RECALL_KEY_SIZE] = "other";
    guint8 a[RECALL_KEY_SIZE], b[RECALL_KEY_SIZE], hash[RECALL_KEY_SIZE];

    g_assert_cmpint(recall_key_group(cluster, "group:a", a), ==, 0);
    g_assert_cmpint(recall_key_group(cluster, "group:a", b), ==, 0);
    g_assert_cmpmem(a, sizeof a, b, sizeof b);
    g_assert_cmpint(recall_key_group(cluster, "group:b", b), ==, 0);
    g_assert_cmpint(memcmp(a, b, sizeof a), !=, 0);
    g_assert_cmpint(recall_key_group(other, "group:a", b), ==, 0);
    g_assert_cmpint(memcmp(a, b, sizeof a), !=, 0);
    g_assert_cmpint(recall_key_hash(a, hash), ==, 0);
    g_assert_cmpint(memcmp(a, hash, sizeof a), !=, 0);
}

/* One file's key opens what it sealed; another salt's, kind's or nonce's doesn't. */
static void
test_cipher(void)
{
    guint8 salt[RECALL_SALT_SIZE] = "salt", tag[RECALL_TAG_SIZE];
    guint8 data[100] = "0123456789", head[5] = "head";
    struct iovec parts[2] = { { data, 33 }, { data + 33, 67 } }, whole = { data, 100 };
    RecallMessage seal = { .nonce = 7, .head = { head, 5 }, .body = parts, .n_body = 2 };
    RecallMessage open = { .nonce = 7, .head = { head, 5 }, .body = &whole, .n_body = 1 };
    RecallCipher *ciphers[3];
    guint8 sealed[100];

    ciphers[0] = recall_cipher_new(kit_context.group_key, RECALL_FILE_PAGES, salt);
    ciphers[1] = recall_cipher_new(kit_context.group_key, RECALL_FILE_INDEX, salt);
    salt[0] ^= 1;
    ciphers[2] = recall_cipher_new(kit_context.group_key, RECALL_FILE_PAGES, salt);
    g_assert_cmpint(recall_cipher_seal(ciphers[0], &seal, tag), ==, 0);
    memcpy(sealed, data, sizeof sealed);
    g_assert_cmpint(recall_cipher_open(ciphers[0], &open, tag), ==, 0);
    g_assert_cmpstr((char *)data, ==, "0123456789");
    for (guint i = 1; i < 3; i++) {
        memcpy(data, sealed, sizeof sealed);
        g_assert_cmpint(recall_cipher_open(ciphers[i], &open, tag), ==, -EBADMSG);
    }
    memcpy(data, sealed, sizeof sealed);
    open.nonce = 8;
    g_assert_cmpint(recall_cipher_open(ciphers[0], &open, tag), ==, -EBADMSG);
    memcpy(data, sealed, sizeof sealed);
    open.nonce = 7;
    head[0] ^= 1;
    g_assert_cmpint(recall_cipher_open(ciphers[0], &open, tag), ==, -EBADMSG);
    for (guint i = 0; i < 3; i++)
        recall_cipher_free(ciphers[i]);
    recall_cipher_free(NULL);
}

static void
test_pack(void)
{
    guint8 *pages = g_malloc(RECALL_CHUNK_SIZE), *out = g_malloc(RECALL_CHUNK_SIZE),
           *back = g_malloc(RECALL_CHUNK_ROOM);

    for (guint n = 1; n <= RECALL_CHUNK_PAGES; n += 5) {
        for (guint compressible = 0; compressible < 2; compressible++) {
            RecallCoding coding;
            RecallChunk chunk = { .pages = (guint8)n };
            gsize size;

            for (guint i = 0; i < n; i++)
                kit_page(3 * i + compressible, pages + (gsize)i * RECALL_PAGE_SIZE);
            size = recall_chunk_pack(pages, n, out, &coding);
            g_assert_cmpint(coding, ==, compressible ? RECALL_CODING_LZ4 : RECALL_CODING_RAW);
            chunk.coding = (guint8)coding;
            g_assert_cmpint(recall_chunk_unpack(&chunk, out, size, back), ==, 0);
            g_assert_cmpmem(back, n * RECALL_PAGE_SIZE, pages, n * RECALL_PAGE_SIZE);
            g_assert_cmpint(recall_chunk_unpack(&chunk, out, size - 1, back), ==, -EBADMSG);
        }
    }
    g_free(pages);
    g_free(out);
    g_free(back);
}

/* Written, sealed, read again: pages, hashes, digests; fetched also while it is made. */
static void
round_trip(guint32 n)
{
    KitSet set;
    RecallWriter *writer;
    RecallReader *reader;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8))),
        expected[sizeof page] __attribute__((aligned(8))), hash[RECALL_HASH_SIZE],
        digest[RECALL_DIGEST_SIZE];
    struct stat pages, index;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    for (guint32 i = 0; i < n; i++) {
        guint32 any = (guint32)g_test_rand_int_range(0, (gint32)i + 1);

        g_assert_cmpuint(kit_add(writer, NULL, i, 1), ==, 1);
        g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, any, page), ==, 0);
        kit_page(any, expected);
        g_assert_cmpmem(page, sizeof page, expected, sizeof page);
    }
    g_assert_cmpuint(recall_writer_count(writer), ==, n);
    g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, n, page), ==, -ENOENT);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpint(seal.ended, ==, 0);
    g_assert_cmpuint(seal.pages, ==, n);
    g_assert_cmpuint(seal.linked, ==, 0);
    fstat(set.pages_fd, &pages);
    fstat(set.index_fd, &index);
    g_assert_cmpuint(seal.bytes, ==, (guint64)(pages.st_size + index.st_size));
    g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, 0, page), ==, -ENOENT);
    recall_writer_free(writer);

    reader = kit_reader(&set, 1);
    g_assert_cmpuint(recall_reader_header(reader)->pages, ==, n);
    recall_reader_digest(reader, n, digest);
    g_assert_cmpmem(digest, sizeof digest, seal.digest, sizeof seal.digest);
    recall_digest(set.id, recall_reader_body(reader)->hashes, n / 2, digest);
    recall_reader_digest(reader, n / 2, page);
    g_assert_cmpmem(digest, sizeof digest, page, sizeof digest);
    for (guint32 i = 0; i < n; i++) {
        recall_prefetch(reader, i);
        g_assert_true(kit_check(reader, i, i));
        kit_hash(i, hash);
        g_assert_cmpmem(recall_reader_body(reader)->hashes + (gsize)i * RECALL_HASH_SIZE,
                        sizeof hash, hash, sizeof hash);
    }
    recall_prefetch(reader, n);
    g_assert_false(kit_check(reader, n, 0));
    g_assert_false(kit_check(reader, G_MAXUINT32, 0));
    recall_reader_free(reader);
    kit_set_close(&set);
}

static void
test_round_trip(void)
{
    static const guint32 counts[] = { 1, 2, 15, 16, 17, 33, 1000, 2047 };

    for (gsize i = 0; i < G_N_ELEMENTS(counts); i++)
        round_trip(counts[i]);
    kit_faults.stutter = TRUE;
    round_trip(100);
    kit_faults.stutter = FALSE;
}

/* Both hosts of a session have the same digest, and nothing else in common. */
static void
test_two_hosts(void)
{
    KitSet sets[2];
    RecallSeal seals[2];
    guint8 bytes[2][3000];

    for (guint i = 0; i < 2; i++) {
        RecallWriter *writer;

        kit_set_new(&sets[i], 1);
        writer = kit_writer(&sets[i], NULL, 0);
        kit_add(writer, NULL, 0, 40);
        g_assert_cmpint(recall_writer_finish(writer, &seals[i]), ==, 0);
        recall_writer_free(writer);
        g_assert_cmpint(pread(sets[i].pages_fd, bytes[i], 3000, RECALL_PAGES_HEADER_SIZE), ==,
                        3000);
    }
    g_assert_cmpmem(seals[0].digest, RECALL_DIGEST_SIZE, seals[1].digest, RECALL_DIGEST_SIZE);
    /* Same key and nonce would show as equal bytes. */
    for (guint i = 0; i + 8 <= 3000; i++)
        g_assert_cmpint(memcmp(bytes[0] + i, bytes[1] + i, 8), !=, 0);
    kit_set_close(&sets[0]);
    kit_set_close(&sets[1]);
}

/* Nothing of a page, nor of its hash, is on the disk in clear. */
static void
test_nothing_in_clear(void)
{
    KitSet set;
    RecallWriter *writer;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE], hash[RECALL_HASH_SIZE], digest[RECALL_HASH_SIZE],
        bytes[16384] = { 0 };
    gssize n;

    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    memset(page, 0, sizeof page);
    memcpy(page, "the secret of the guest", 23);
    kit_context.hash(&kit_hasher, page, hash);
    g_assert_cmpint(recall_add(writer, hash, page, NULL), ==, 0);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    memcpy(digest, hash, sizeof digest);
    n = pread(set.pages_fd, bytes, sizeof bytes / 2, 0);
    n += pread(set.index_fd, bytes + n, sizeof bytes / 2, 0);
    g_assert_cmpint(n, >, RECALL_INDEX_HEADER_SIZE);
    g_assert_null(memmem(bytes, (gsize)n, "secret", 6));
    g_assert_null(memmem(bytes, (gsize)n, hash, 4));
    kit_set_close(&set);
}

static void
test_ends(void)
{
    KitSet set;
    RecallWriter *writer = NULL;
    RecallWriterOptions options;
    RecallSeal seal;
    struct stat status;

    /* No page: no set. */
    kit_set_new(&set, 1);
    writer = kit_writer(&set, NULL, 0);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, -ENODATA);
    recall_writer_free(writer);
    recall_writer_free(NULL);
    kit_set_close(&set);
    /* The longest set. */
    kit_set_new(&set, 2);
    options = kit_options(&set);
    options.max_pages = 21;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 30), ==, 21);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpint(seal.ended, ==, -ENOSPC);
    g_assert_cmpuint(seal.pages, ==, 21);
    recall_writer_free(writer);
    kit_set_close(&set);
    /* The quota: never exceeded, and all that is in the set is there. */
    kit_set_new(&set, 3);
    options = kit_options(&set);
    options.max_bytes = 1u << 20;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 5000), >, 200);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpint(seal.ended, ==, -ENOSPC);
    g_assert_cmpuint(seal.bytes, <=, 1u << 20);
    g_assert_cmpuint(seal.bytes, >, 800u << 10);
    fstat(set.pages_fd, &status);
    g_assert_cmpint(status.st_size, <=, 1 << 20);
    recall_writer_free(writer);
    kit_check_set(&set, seal.pages);
    kit_set_close(&set);
    /* No quota at all. */
    kit_set_new(&set, 4);
    options = kit_options(&set);
    options.max_bytes = 100;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 1), ==, 0);
    recall_writer_free(writer);
    kit_set_close(&set);
}

/* A set of which only a reader without the older file is left: what that one would have isn't
 * linked to. */
static void
assert_not_linked(RecallReader *second)
{
    RecallReader *readers[2] = { NULL, second };
    RecallAgreed agreed[2] = { { NULL, 0 }, { second, 750 } };
    RecallIndex *index = recall_index_new(agreed, 2, 1000);
    RecallWriter *writer;
    RecallSeal seal;
    KitSet third;

    kit_set_new(&third, 3);
    writer = kit_writer(&third, readers, 2);
    kit_add(writer, index, 300, 750);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpuint(seal.linked, ==, 50);
    recall_writer_free(writer);
    recall_index_free(index);
    kit_set_close(&third);
}

/* A second move: what was known isn't stored again, and reads through the older file. */
static void
test_links(void)
{
    KitSet sets[2];
    RecallWriter *writer;
    RecallReader *first, *second;
    RecallIndex *index;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));
    struct stat status;

    kit_set_new(&sets[1], 1);
    writer = kit_writer(&sets[1], NULL, 0);
    kit_add(writer, NULL, 0, 1000);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    first = kit_reader(&sets[1], 1);
    index = recall_index_new(&(RecallAgreed){ first, 1000 }, 1, 1000);

    kit_set_new(&sets[0], 2);
    writer = kit_writer(&sets[0], &first, 1);
    g_assert_cmpuint(kit_add(writer, index, 300, 750), ==, 750);
    for (guint32 i = 0; i < 750; i += 7)
        g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, i, page), ==, 0);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpuint(seal.linked, ==, 700);
    g_assert_cmpuint(seal.pages, ==, 750);
    recall_writer_free(writer);
    fstat(sets[0].pages_fd, &status);
    g_assert_cmpint(status.st_size, <, 51 * RECALL_PAGE_SIZE);
    recall_reader_free(first);
    recall_index_free(index);

    second = kit_reader(sets, 2);
    g_assert_cmpuint(recall_reader_header(second)->n_segments, ==, 2);
    g_assert_cmpuint(recall_reader_header(second)->segments[1].live, ==, 700);
    g_assert_cmpuint(recall_reader_header(second)->segments[1].total, ==, 1000);
    for (guint32 i = 0; i < 750; i++)
        g_assert_true(kit_check(second, i, 300 + i));
    recall_reader_free(second);
    /* Without the older file its pages are missing, the others are not. */
    second = kit_reader(sets, 1);
    for (guint32 i = 0; i < 750; i++) {
        recall_prefetch(second, i);
        g_assert_cmpint(kit_check(second, i, 300 + i), ==, i >= 700);
    }
    assert_not_linked(second);
    recall_reader_free(second);
    kit_set_close(&sets[0]);
    kit_set_close(&sets[1]);
}

/* References that make no sense are no references. */
static void
test_bad_references(void)
{
    KitSet sets[2];
    RecallReader *readers[2] = { NULL };
    RecallRef refs[] = { { 0, 50 }, { 1, 0 }, { 2, 0 }, { G_MAXUINT32, 0 } };
    RecallWriter *writer;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8))), hash[RECALL_HASH_SIZE];

    kit_set_new(&sets[0], 1);
    writer = kit_writer(&sets[0], NULL, 0);
    kit_add(writer, NULL, 0, 50);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    readers[0] = kit_reader(sets, 1);
    kit_set_new(&sets[1], 2);
    writer = kit_writer(&sets[1], readers, 2);
    for (guint i = 0; i < G_N_ELEMENTS(refs); i++) {
        kit_page(100 + i, page);
        kit_hash(100 + i, hash);
        g_assert_cmpint(recall_add(writer, hash, page, &refs[i]), ==, i);
    }
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpuint(seal.linked, ==, 0);
    recall_writer_free(writer);
    recall_reader_free(readers[0]);
    kit_set_close(&sets[0]);
    kit_set_close(&sets[1]);
}

/* Forty moves to and fro, a third of the pages changed at each: files stay few and half alive,
 * the space bounded, and every page is there. */
static void
test_many_moves(void)
{
    enum { MOVES = 40, PAGES = 600 };
    KitSet sets[MOVES];
    guint32 numbers[PAGES], next = PAGES;
    guint64 worst = 0;

    for (guint32 i = 0; i < PAGES; i++)
        numbers[i] = i;
    for (guint move = 0; move < MOVES; move++) {
        RecallReader *reader = NULL;
        RecallIndex *index = NULL;
        RecallWriter *writer;
        RecallSeal seal;
        guint64 held = 0;

        if (move > 0) {
            reader = kit_reader(&sets[MOVES - move], move);
            index = recall_index_new(&(RecallAgreed){ reader, PAGES }, 1, PAGES);
        }
        kit_set_new(&sets[MOVES - 1 - move], (guint8)(move + 1));
        writer = kit_writer(&sets[MOVES - 1 - move], &reader, reader != NULL);
        for (guint32 i = 0; i < PAGES; i++) {
            if (move > 0 && g_test_rand_int_range(0, 3) == 0)
                numbers[i] = next++;
            g_assert_cmpuint(kit_add(writer, index, numbers[i], 1), ==, 1);
        }
        g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
        recall_writer_free(writer);
        recall_reader_free(reader);
        recall_index_free(index);
        reader = kit_reader(&sets[MOVES - 1 - move], move + 1);
        for (guint32 i = 0; i < PAGES; i++)
            g_assert_true(kit_check(reader, i, numbers[i]));
        for (guint i = 0; i < recall_reader_header(reader)->n_segments; i++)
            if (recall_reader_header(reader)->segments[i].live > 0)
                held += recall_reader_header(reader)->segments[i].total;
        worst = MAX(worst, held);
        recall_reader_free(reader);
    }
    g_test_message("held at most %.2f times the pages of the set", (double)worst / PAGES);
    g_assert_cmpuint(worst, <=, 3 * PAGES);
    for (guint i = 0; i < MOVES; i++)
        kit_set_close(&sets[i]);
}

static void
test_index(void)
{
    KitSet sets[2];
    RecallReader *readers[2];
    RecallAgreed agreed[3] = { 0 };
    RecallIndex *index;
    RecallRef ref;
    guint8 hash[RECALL_HASH_SIZE];

    for (guint i = 0; i < 2; i++) {
        RecallWriter *writer;
        RecallSeal seal;

        kit_set_new(&sets[i], (guint8)(i + 1));
        writer = kit_writer(&sets[i], NULL, 0);
        kit_add(writer, NULL, i * 500, 1000);
        g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
        recall_writer_free(writer);
        readers[i] = kit_reader(&sets[i], 1);
    }
    agreed[0] = (RecallAgreed){ readers[0], 900 };
    agreed[2] = (RecallAgreed){ readers[1], 1000 };
    index = recall_index_new(agreed, 3, 10000);
    g_assert_cmpuint(recall_index_pages(index), ==, 1500);
    g_assert_cmpuint(recall_index_bytes(index), <=, 22 * 1900);
    for (guint32 i = 0; i < 1500; i++) {
        kit_hash(i, hash);
        g_assert_true(recall_index_find(index, hash, &ref));
        g_assert_cmpuint(ref.set, ==, i < 900 ? 0 : 2);
        g_assert_cmpuint(ref.ordinal, ==, i < 900 ? i : i - 500);
    }
    kit_hash(1500, hash);
    g_assert_false(recall_index_find(index, hash, &ref));
    /* Nearly a hash that is known. */
    for (guint i = 0; i < RECALL_HASH_SIZE; i++) {
        kit_hash(3, hash);
        hash[i] ^= 1;
        g_assert_false(recall_index_find(index, hash, &ref));
    }
    recall_index_free(index);
    index = recall_index_new(agreed, 3, 100);
    g_assert_cmpuint(recall_index_pages(index), ==, 100);
    recall_index_free(index);
    index = recall_index_new(agreed, 0, 100);
    g_assert_false(recall_index_find(index, hash, &ref));
    recall_index_free(index);
    recall_index_free(NULL);
    for (guint i = 0; i < 2; i++) {
        recall_reader_free(readers[i]);
        kit_set_close(&sets[i]);
    }
}

typedef struct {
    RecallWriter *writer;
    RecallReader *reader;
    const RecallIndex *index;
    gint stop;
} Shared;

static gpointer
fetch_all_the_time(gpointer data)
{
    Shared *shared = data;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8))),
        expected[sizeof page] __attribute__((aligned(8))), hash[RECALL_HASH_SIZE];
    guint64 fetched = 0;

    for (guint32 at = 0; !g_atomic_int_get(&shared->stop) || fetched == 0; at += 37) {
        guint32 count = recall_writer_count(shared->writer);
        RecallRef ref;

        g_assert_true(kit_check(shared->reader, at % 500, at % 500));
        kit_hash(at % 500, hash);
        g_assert_true(recall_index_find(shared->index, hash, &ref));
        if (count == 0)
            continue;
        g_assert_cmpint(recall_writer_fetch(shared->writer, &kit_hasher, at % count, page), ==, 0);
        kit_page(at % count, expected);
        g_assert_cmpmem(page, sizeof page, expected, sizeof expected);
        fetched++;
    }
    return NULL;
}

/* For the thread sanitizer: everything that may go on at once. */
static void
test_threads(void)
{
    KitSet sets[2];
    Shared shared = { 0 };
    RecallIndex *index;
    RecallSeal seal;
    GThread *threads[3];

    kit_set_new(&sets[0], 1);
    shared.writer = kit_writer(&sets[0], NULL, 0);
    kit_add(shared.writer, NULL, 0, 500);
    g_assert_cmpint(recall_writer_finish(shared.writer, &seal), ==, 0);
    recall_writer_free(shared.writer);
    shared.reader = kit_reader(sets, 1);
    index = recall_index_new(&(RecallAgreed){ shared.reader, 500 }, 1, 500);
    shared.index = index;

    kit_set_new(&sets[1], 2);
    shared.writer = kit_writer(&sets[1], &shared.reader, 1);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("fetch", fetch_all_the_time, &shared);
    g_assert_cmpuint(kit_add(shared.writer, index, 0, 4000), ==, 4000);
    g_atomic_int_set(&shared.stop, 1);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(recall_writer_finish(shared.writer, &seal), ==, 0);
    g_assert_cmpuint(seal.pages, ==, 4000);
    g_assert_cmpuint(seal.linked, ==, 500);
    recall_writer_free(shared.writer);
    recall_index_free(index);
    recall_reader_free(shared.reader);
    kit_set_close(&sets[0]);
    kit_set_close(&sets[1]);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kit_init();
    g_test_add_func("/flyway/recall/keys", test_keys);
    g_test_add_func("/flyway/recall/cipher", test_cipher);
    g_test_add_func("/flyway/recall/pack", test_pack);
    g_test_add_func("/flyway/recall/round-trip", test_round_trip);
    g_test_add_func("/flyway/recall/two-hosts", test_two_hosts);
    g_test_add_func("/flyway/recall/nothing-in-clear", test_nothing_in_clear);
    g_test_add_func("/flyway/recall/ends", test_ends);
    g_test_add_func("/flyway/recall/links", test_links);
    g_test_add_func("/flyway/recall/bad-references", test_bad_references);
    g_test_add_func("/flyway/recall/many-moves", test_many_moves);
    g_test_add_func("/flyway/recall/index", test_index);
    g_test_add_func("/flyway/recall/threads", test_threads);
    return g_test_run();
}
