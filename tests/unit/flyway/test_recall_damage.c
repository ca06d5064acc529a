/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever happens to the files: a page that is given out is the right one, else it is missing. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "recall_kit.h"

#define OLD 200u
#define PAGES 300u

/* An older set with pages 0..199, and one with 100..399 that links to it. sets[0] is the newer. */
static void
make_sets(KitSet *sets)
{
    RecallReader *reader;
    RecallIndex *index;
    RecallWriter *writer;
    RecallSeal seal;

    kit_set_new(&sets[1], 1);
    writer = kit_writer(&sets[1], NULL, 0);
    kit_add(writer, NULL, 0, OLD);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    recall_writer_free(writer);
    reader = kit_reader(&sets[1], 1);
    index = recall_index_new(&(RecallAgreed){ reader, OLD }, 1, OLD);
    kit_set_new(&sets[0], 2);
    writer = kit_writer(&sets[0], &reader, 1);
    kit_add(writer, index, 100, PAGES);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpuint(seal.linked, ==, 100);
    recall_writer_free(writer);
    recall_index_free(index);
    recall_reader_free(reader);
}

static void
close_sets(KitSet *sets)
{
    kit_set_close(&sets[0]);
    kit_set_close(&sets[1]);
}

/* How many pages are there; none of them wrong. -errno: no set. */
static int
check_all(const KitSet *sets)
{
    RecallReader *reader = NULL;
    int found = kit_try_reader(sets, 2, &reader);

    if (found != 0)
        return found;
    for (guint32 i = 0; i < PAGES; i++)
        found += kit_check(reader, i, 100 + i);
    recall_reader_free(reader);
    return found;
}

static off_t
size_of(int fd)
{
    struct stat status;

    g_assert_cmpint(fstat(fd, &status), ==, 0);
    return status.st_size;
}

static void
flip(int fd, off_t at, guint8 with)
{
    guint8 byte;

    g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
    byte ^= with;
    g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
}

/* Any bit of the index, and there is no set. */
static void
test_index_damaged(void)
{
    KitSet sets[2];
    off_t size;

    make_sets(sets);
    size = size_of(sets[0].index_fd);
    g_assert_cmpint(check_all(sets), ==, PAGES);
    for (off_t at = 0; at < size; at += at < 400 ? 1 : 97) {
        guint8 with = (guint8)(1u << g_test_rand_int_range(0, 8));

        flip(sets[0].index_fd, at, with);
        g_assert_cmpint(check_all(sets), <, 0);
        flip(sets[0].index_fd, at, with);
    }
    g_assert_cmpint(check_all(sets), ==, PAGES);
    g_assert_cmpint(ftruncate(sets[0].index_fd, size + 1), ==, 0);
    g_assert_cmpint(check_all(sets), ==, -EFBIG);
    for (off_t at = size - 1; at >= 0; at -= at < 400 ? 1 : 97) {
        g_assert_cmpint(ftruncate(sets[0].index_fd, at), ==, 0);
        g_assert_cmpint(check_all(sets), ==, -ENODATA);
    }
    close_sets(sets);
}

/* Another set's index, another group's, another hash key. */
static void
test_not_ours(void)
{
    KitSet sets[2], swapped[2];
    RecallReader *reader = NULL;

    make_sets(sets);
    memcpy(swapped, sets, sizeof sets);
    swapped[0].index_fd = sets[1].index_fd;
    g_assert_cmpint(kit_try_reader(swapped, 2, &reader), ==, -EBADMSG);
    kit_context.group_key[3] ^= 4;
    g_assert_cmpint(kit_try_reader(sets, 2, &reader), ==, -EBADMSG);
    kit_context.group_key[3] ^= 4;
    kit_hasher.key[3] ^= 4;
    g_assert_cmpint(check_all(sets), ==, 0);
    kit_hasher.key[3] ^= 4;
    /* Another file of pages under this one's name. */
    swapped[0].index_fd = sets[0].index_fd;
    swapped[0].pages_fd = sets[1].pages_fd;
    g_assert_cmpint(check_all(swapped), ==, 100);
    swapped[0].pages_fd = sets[0].pages_fd;
    swapped[1].pages_fd = sets[0].pages_fd;
    g_assert_cmpint(check_all(swapped), ==, 200);
    g_assert_cmpint(check_all(sets), ==, PAGES);
    close_sets(sets);
}

/* A file of pages cut, emptied, or with something else in it. */
static void
test_pages_cut(void)
{
    KitSet sets[2];
    off_t size;
    int before = PAGES;

    make_sets(sets);
    size = size_of(sets[0].pages_fd);
    for (off_t at = size - 1; at > 0; at -= MIN(at, 20000)) {
        int found;

        g_assert_cmpint(ftruncate(sets[0].pages_fd, at), ==, 0);
        found = check_all(sets);
        g_assert_cmpint(found, <=, before);
        g_assert_cmpint(found, >=, 100);
        before = found;
    }
    g_assert_cmpint(ftruncate(sets[0].pages_fd, 0), ==, 0);
    g_assert_cmpint(ftruncate(sets[0].pages_fd, size), ==, 0);
    g_assert_cmpint(check_all(sets), ==, 100);
    g_assert_cmpint(ftruncate(sets[1].pages_fd, 0), ==, 0);
    g_assert_cmpint(check_all(sets), ==, 0);
    close_sets(sets);
}

static void
damage(int fd)
{
    off_t size = size_of(fd);

    for (int n = g_test_rand_int_range(0, 4); n > 0; n--) {
        off_t at = g_test_rand_int_range(0, (gint32)size);
        guint8 bytes[64];

        switch (g_test_rand_int_range(0, 4)) {
        case 0:
            flip(fd, at, (guint8)(1u << g_test_rand_int_range(0, 8)));
            break;
        case 1:
            memset(bytes, 0, sizeof bytes);
            g_assert_cmpint(pwrite(fd, bytes, sizeof bytes, at), ==, sizeof bytes);
            break;
        case 2: /* a piece of itself, elsewhere */
            if (pread(fd, bytes, sizeof bytes, at) == (ssize_t)sizeof bytes)
                g_assert_cmpint(
                    pwrite(fd, bytes, sizeof bytes, g_test_rand_int_range(0, (gint32)size)), ==,
                    sizeof bytes);
            break;
        default:
            g_assert_cmpint(ftruncate(fd, at), ==, 0);
            return;
        }
    }
}

/* The property: at random, and never a wrong page (kit_check compares all that is given out). */
static void
test_random_damage(void)
{
    guint missing = 0, none = 0, partly = 0;

    for (guint round = 0; round < 150; round++) {
        KitSet sets[2];
        int found;

        make_sets(sets);
        if (g_test_rand_bit())
            damage(sets[0].pages_fd);
        if (g_test_rand_bit())
            damage(sets[1].pages_fd);
        if (g_test_rand_int_range(0, 4) == 0)
            damage(sets[0].index_fd);
        found = check_all(sets);
        none += found < 0;
        partly += found > 0 && found < (int)PAGES;
        missing += found >= 0 ? PAGES - (guint)found : 0;
        close_sets(sets);
    }
    g_test_message("%u sets refused, %u partly readable, %u pages missing", none, partly, missing);
    g_assert_cmpuint(none, >, 0);
    g_assert_cmpuint(partly, >, 10);
}

/* The n-th write fails, for every n: either no set, or one all of whose pages are there. */
static void
test_every_write_fails(void)
{
    guint good = 0, cut = 0;

    for (gint n = 1; n < 20; n++) {
        KitSet set;
        RecallWriterOptions options;
        RecallWriter *writer = NULL;
        RecallSeal seal = { 0 };
        guint32 taken = 0;
        int result;

        kit_set_new(&set, 1);
        options = kit_options(&set);
        kit_faults.error = n % 2 ? ENOSPC : EIO;
        kit_faults.writes_left = n;
        result = recall_writer_new(&kit_context, &options, &writer);
        if (n == 1) {
            g_assert_cmpint(result, ==, -ENOSPC);
        } else {
            g_assert_cmpint(result, ==, 0);
            taken = kit_add(writer, NULL, 0, 3000);
            result = recall_writer_finish(writer, &seal);
            recall_writer_free(writer);
        }
        kit_faults.writes_left = 0;
        g_assert_cmpuint(seal.pages, <=, taken);
        if (result == 0) {
            kit_check_set(&set, seal.pages);
            good++;
            cut += seal.ended != 0;
        } else {
            RecallReader *reader = NULL;

            g_assert_cmpint(kit_try_reader(&set, 1, &reader), <, 0);
        }
        kit_set_close(&set);
    }
    /* With the n-th all later ones fail, the index's with them. */
    g_assert_cmpuint(good, >, 0);
    g_assert_cmpuint(cut, ==, 0);
    g_assert_cmpuint(good, <, 19);
}

/* Pages can't be written but the index can: the set is what came before. The disk was full for a
 * while. */
static void
test_full_for_a_while(void)
{
    KitSet set;
    RecallWriterOptions options;
    RecallWriter *writer = NULL;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));

    kit_set_new(&set, 1);
    options = kit_options(&set);
    options.queue_bytes = 16 * RECALL_CHUNK_SIZE;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 128), ==, 128);
    /* Batches are eight chunks here: some are in the file when the disk is full. */
    kit_faults.error = ENOSPC;
    while (kit_add(writer, NULL, recall_writer_count(writer), 1) == 1)
        if (recall_writer_count(writer) == 400)
            g_atomic_int_set(&kit_faults.writes_left, 1);
    for (guint32 i = 0; i < recall_writer_count(writer); i++)
        g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, i, page), ==, 0);
    g_atomic_int_set(&kit_faults.writes_left, 0);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpint(seal.ended, !=, 0);
    g_assert_cmpuint(seal.pages, >, 0);
    recall_writer_free(writer);
    kit_check_set(&set, seal.pages);
    kit_set_close(&set);
}

/* A disk that takes nothing: the session isn't held up, the set ends where the queue did. */
static void
test_slow_disk(void)
{
    KitSet set;
    RecallWriterOptions options;
    RecallWriter *writer = NULL;
    RecallSeal seal;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));

    kit_set_new(&set, 1);
    options = kit_options(&set);
    options.queue_bytes = 10 * 65536;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    kit_faults.block = TRUE;
    g_assert_cmpuint(kit_add(writer, NULL, 0, 1000), ==, 160);
    kit_page(1000, page);
    g_assert_cmpint(recall_add(writer, page, page, NULL), ==, -EAGAIN);
    for (guint32 i = 0; i < 160; i++)
        g_assert_cmpint(recall_writer_fetch(writer, &kit_hasher, i, page), ==, 0);
    kit_unblock();
    g_assert_cmpint(recall_add(writer, page, page, NULL), ==, -EAGAIN);
    g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
    g_assert_cmpint(seal.ended, ==, -EAGAIN);
    g_assert_cmpuint(seal.pages, ==, 160);
    recall_writer_free(writer);
    kit_check_set(&set, 160);
    kit_set_close(&set);
}

static gpointer
unblock(gpointer data)
{
    RecallWriter *writer = data;

    /* The adder fills the queue and then waits; nothing else can bring it further. */
    while (recall_writer_count(writer) < 160)
        g_thread_yield();
    kit_unblock();
    return NULL;
}

/* With patience, a disk that stalls for a while doesn't end the set; in a hurry, it does. */
static void
test_patience(void)
{
    for (guint hurry = 0; hurry < 2; hurry++) {
        KitSet set;
        RecallWriterOptions options;
        RecallWriter *writer = NULL;
        RecallSeal seal;
        GThread *thread;
        guint32 taken;

        kit_set_new(&set, 1);
        options = kit_options(&set);
        options.queue_bytes = 10 * 65536;
        options.patience_permille = 1000 * 1000;
        g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
        kit_faults.block = TRUE;
        if (hurry)
            recall_writer_hurry(writer);
        thread = hurry ? NULL : g_thread_new("unblock", unblock, writer);
        taken = kit_add(writer, NULL, 0, 1000);
        kit_unblock();
        if (thread != NULL)
            g_thread_join(thread);
        g_assert_cmpint(recall_writer_finish(writer, &seal), ==, 0);
        g_assert_cmpuint(taken, ==, hurry ? 160 : 1000);
        g_assert_cmpuint(seal.pages, ==, taken);
        recall_writer_free(writer);
        kit_set_close(&set);
    }
}

/* The n-th read fails, and all after it. */
static void
test_every_read_fails(void)
{
    KitSet sets[2];

    make_sets(sets);
    for (gint n = 1; n < 30; n++) {
        int found;

        kit_faults.error = EIO;
        kit_faults.reads_left = n;
        found = check_all(sets);
        kit_faults.reads_left = 0;
        if (n <= 2)
            g_assert_cmpint(found, ==, -EIO);
        else
            g_assert_cmpint(found, >=, 0);
    }
    g_assert_cmpint(check_all(sets), ==, PAGES);
    close_sets(sets);
}

/* A page of the running set whose file was damaged meanwhile. */
static void
test_damaged_while_made(void)
{
    KitSet set;
    RecallWriterOptions options;
    RecallWriter *writer = NULL;
    guint8 page[RECALL_PAGE_SIZE] __attribute__((aligned(8)));
    int missing = 0;

    kit_set_new(&set, 1);
    options = kit_options(&set);
    options.queue_bytes = 4 * RECALL_CHUNK_SIZE;
    g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), ==, 0);
    kit_add(writer, NULL, 0, 2 * RECALL_CHUNK_PAGES);
    /* Two chunks of four go out at once; then there is more than the header. */
    while (size_of(set.pages_fd) <= 64)
        g_thread_yield();
    flip(set.pages_fd, 1000, 1);
    /* The slots are free only once the chunks' records say so, hence until then it is the ring's.
     */
    for (int tries = 0; missing == 0 && tries < 1000000; tries++)
        missing += recall_writer_fetch(writer, &kit_hasher, 3, page) == -ENOENT;
    g_assert_cmpint(missing, >, 0);
    recall_writer_free(writer);
    kit_set_close(&set);
}

typedef struct {
    const char *what;
    guint at;
    guint8 byte;
} Bad;

static void
test_bad_headers(void)
{
    static const Bad bads[] = {
        { "magic", 0, 'X' },
        { "version", 8, 3 },
        { "no segment", 12, 0 },
        { "nine segments", 12, 9 },
        { "2^24 segments", 15, 1 },
        { "more pages", 48, 11 },
        { "too many pages", 51, 2 },
        { "chunks", 52, 11 },
        { "zeros", 88, 1 },
        { "other id", 96, 9 },
        { "live", 96 + 16, 9 },
        { "total", 96 + 20, 9 },
        { "a segment's zero", 96 + 24, 1 },
        { "an unused segment", 96 + 28, 1 },
    };
    RecallHeader header = { .pages = 10, .chunks = 1, .n_segments = 1 }, back;
    guint8 raw[RECALL_INDEX_HEADER_SIZE], changed[sizeof raw];
    const char *why = NULL;

    memset(header.id, 5, sizeof header.id);
    memset(header.segments[0].id, 5, sizeof header.id);
    header.segments[0].live = header.segments[0].total = 10;
    recall_header_encode(&header, raw);
    g_assert_cmpint(recall_header_decode(raw, sizeof raw, &back, &why), ==, 0);
    g_assert_cmpmem(&back, sizeof back, &header, sizeof header);
    g_assert_cmpint(recall_header_decode(raw, sizeof raw - 1, &back, &why), ==, -EBADMSG);
    for (gsize i = 0; i < G_N_ELEMENTS(bads); i++) {
        memcpy(changed, raw, sizeof raw);
        changed[bads[i].at] = bads[i].byte;
        why = NULL;
        g_assert_cmpint(recall_header_decode(changed, sizeof changed, &back, &why), ==, -EBADMSG);
        g_test_message("%s: %s", bads[i].what, why);
        g_assert_nonnull(why);
    }
}

static void
test_bad_bodies(void)
{
    static const RecallChunk good = { .place = 40, .size = 1000, .pages = 3, .coding = 1 };
    static const RecallChunk bads[] = {
        { .place = 1ull << 56 | 40, .size = 1000, .pages = 3, .coding = 1 },
        { .place = 39, .size = 1000, .pages = 3, .coding = 1 },
        { .place = RECALL_OFFSET_MAX, .size = 1000, .pages = 3, .coding = 1 },
        { .place = 40, .size = 1000, .pages = 0, .coding = 1 },
        { .place = 40, .size = 1000, .pages = 33, .coding = 1 },
        { .place = 40, .size = 1000, .pages = 3, .coding = 3 },
        { .place = 40, .size = 1000, .pages = 3, .coding = 1, .extra = RECALL_EXTRA_MAX + 1 },
        { .place = 40, .size = 3 * 4096 + 16, .pages = 3, .coding = 0, .extra = 1 },
        { .place = 40, .size = 16, .pages = 3, .coding = 1 },
        { .place = 40, .size = 3 * 4096 + 17, .pages = 3, .coding = 1 },
        { .place = 40, .size = 1000, .pages = 3, .coding = 0 },
        { .place = 40, .size = 1000, .pages = 2, .coding = 1 }, /* locator 2 is outside */
    };
    RecallHeader header = { .pages = 3, .chunks = 1, .n_segments = 1 };
    guint64 room[16] = { 0 };
    guint8 *raw = (guint8 *)room;
    guint32 *locators = (guint32 *)(void *)(raw + 3 * RECALL_HASH_SIZE);
    RecallChunk *chunk = (RecallChunk *)(void *)(locators + 4);
    const char *why = NULL;
    RecallBody body;

    g_assert_cmpuint(recall_body_size(&header), ==, 3 * 16 + 4 * 4 + 16);
    for (guint i = 0; i < 3; i++)
        locators[i] = i;
    *chunk = good;
    g_assert_cmpint(recall_body_decode(&header, raw, &body, &why), ==, 0);
    g_assert_true(body.chunks == chunk && body.locators == locators);
    locators[1] = RECALL_CHUNK_PAGES;
    g_assert_cmpint(recall_body_decode(&header, raw, &body, &why), ==, -EBADMSG);
    locators[1] = 1;
    for (gsize i = 0; i < G_N_ELEMENTS(bads); i++) {
        *chunk = bads[i];
        why = NULL;
        g_assert_cmpint(recall_body_decode(&header, raw, &body, &why), ==, -EBADMSG);
        g_assert_nonnull(why);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kit_init();
    g_test_add_func("/flyway/recall-damage/index", test_index_damaged);
    g_test_add_func("/flyway/recall-damage/not-ours", test_not_ours);
    g_test_add_func("/flyway/recall-damage/pages-cut", test_pages_cut);
    g_test_add_func("/flyway/recall-damage/random", test_random_damage);
    g_test_add_func("/flyway/recall-damage/writes", test_every_write_fails);
    g_test_add_func("/flyway/recall-damage/full", test_full_for_a_while);
    g_test_add_func("/flyway/recall-damage/slow", test_slow_disk);
    g_test_add_func("/flyway/recall-damage/patience", test_patience);
    g_test_add_func("/flyway/recall-damage/reads", test_every_read_fails);
    g_test_add_func("/flyway/recall-damage/while-made", test_damaged_while_made);
    g_test_add_func("/flyway/recall-damage/headers", test_bad_headers);
    g_test_add_func("/flyway/recall-damage/bodies", test_bad_bodies);
    return g_test_run();
}
