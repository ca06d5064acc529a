/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's pipeline against a source that breaks the protocol, and the order of what
 * leaves it. What honest sources send is test_known.c's and test_packer.c's. */
#include "flyway/tools.h"
#include "flyway/unpacker.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES 4u
#define RECORD (8 + PAGE_BYTES)
#define PATIENCE_MS 40000

typedef struct {
    Crew *crew;
    Known *known;
    Unpacker *unpacker;
    PageCodec *codec;
    PageBatch *batch; /* the last one made */
    Fault fault;
} Fixture;

static void
set_up(Fixture *f, gconstpointer with_recall)
{
    static const guint8 id[RECALL_ID_SIZE] = { 1 }, key[RECALL_KEY_SIZE] = { 2 };

    *f = (Fixture){ .crew = crew_new(1, tools_new, tools_free) };
    if (with_recall != NULL) {
        f->known = known_new(FLYWAY_DESTINATION, id, key);
        g_assert_cmpint(known_keep(f->known, memfd_create("index", MFD_CLOEXEC),
                                   memfd_create("pages", MFD_CLOEXEC), 1 << 24),
                        ==, 0);
    }
    f->unpacker = unpacker_new(f->crew, f->known);
    f->codec = page_codec_new();
    f->batch = page_batch_new();
}

static void
tear_down(Fixture *f, gconstpointer with_recall)
{
    unpacker_free(f->unpacker);
    crew_free(f->crew);
    known_free(f->known);
    page_codec_free(f->codec);
    page_batch_free(f->batch);
}

static gboolean
find_none(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    return FALSE;
}

static gboolean
find_all(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    *reference = *(const PageReference *)data;
    return TRUE;
}

static void
added(gpointer data, const guint8 hash[PAGE_HASH_BYTES])
{
}

/* A batch of n pages; each is new, or refers to what is said. */
static void
make(Fixture *f, guint n, guint8 fill, const PageReference *reference)
{
    static const guint8 key[PAGE_KEY_BYTES] = { 3 };
    const PageKnown ops = { reference != NULL ? find_all : find_none, added };
    g_autoptr(PageHasher) hasher = hash_new(key);
    StreamSpan spans[PAGES];

    page_batch_clear(f->batch);
    for (guint i = 0; i < n; i++) {
        guint8 *record = f->batch->raw + (gsize)i * RECORD;
        guint64 word = GUINT64_TO_BE((guint64)i << 12 | 0x28);

        memcpy(record, &word, sizeof word);
        memset(record + 8, fill + (int)i, PAGE_BYTES);
        spans[i] =
            (StreamSpan){ .kind = STREAM_PAGE, .header = i * RECORD, .body = i * RECORD + 8 };
    }
    f->batch->raw_length = n * RECORD;
    page_spans(f->batch, spans, n);
    page_prepare(f->batch, hasher);
    page_choose(f->batch, &ops, (gpointer)reference);
    page_pack(f->batch, f->codec, PAGE_LEVEL_RAW);
}

/* The batch's pages go as differences from themselves. */
static void
make_differences(Fixture *f)
{
    g_autoptr(PageCache) cache = page_cache_new();

    page_remember(f->batch, cache);
    page_remember(f->batch, cache);
    page_bases(f->batch, cache);
    page_pack(f->batch, f->codec, PAGE_LEVEL_RAW);
    g_assert_cmpuint(f->batch->counts.delta, ==, f->batch->n_pages);
}

static gboolean
give(Fixture *f)
{
    return unpacker_batch(f->unpacker, f->batch->payload, f->batch->payload_length, PAGE_BATCH_RAW,
                          &f->fault);
}

static gboolean
give_again(Fixture *f, guint32 batch)
{
    return unpacker_again(f->unpacker, batch, f->batch->payload, f->batch->payload_length,
                          &f->fault);
}

/* Until something is there, a batch is missed, or it has failed. */
static const guint8 *
next(Fixture *f, gsize *length, guint32 *missed)
{
    for (;;) {
        const guint8 *bytes = unpacker_ready(f->unpacker, length, &f->fault);
        struct pollfd entry = { .fd = crew_fd(f->crew), .events = POLLIN };
        guint32 set;

        if (bytes != NULL || f->fault.set || unpacker_misses(f->unpacker, missed, &set))
            return bytes;
        g_assert_cmpint(poll(&entry, 1, PATIENCE_MS), ==, 1);
        crew_notice(f->crew);
    }
}

static void
assert_comes(Fixture *f, const guint8 *expected, gsize expected_length)
{
    gsize length;
    guint32 missed;
    const guint8 *bytes = next(f, &length, &missed);

    g_assert_cmpstr(f->fault.set ? f->fault.text : "", ==, "");
    g_assert_nonnull(bytes);
    g_assert_cmpmem(bytes, length, expected, expected_length);
    unpacker_taken(f->unpacker);
}

static void
assert_fails(Fixture *f, const char *why)
{
    gsize length;
    guint32 missed;

    g_assert_null(next(f, &length, &missed));
    g_assert_true(f->fault.set);
    g_assert_nonnull(strstr(f->fault.text, why));
}

static void
test_order(Fixture *f, gconstpointer with_recall)
{
    g_autofree guint8 *first = NULL, *second = NULL;

    make(f, 3, 1, NULL);
    first = g_memdup2(f->batch->raw, f->batch->raw_length);
    g_assert_true(give(f));
    unpacker_direct(f->unpacker, (const guint8 *)"bet", 3);
    unpacker_direct(f->unpacker, (const guint8 *)"ween", 4);
    make(f, 3, 9, NULL);
    second = g_memdup2(f->batch->raw, f->batch->raw_length);
    g_assert_true(give(f));
    g_assert_cmpuint(unpacker_bytes(f->unpacker), ==, 6 * RECORD + 7);
    assert_comes(f, first, 3 * RECORD);
    assert_comes(f, (const guint8 *)"between", 7);
    assert_comes(f, second, 3 * RECORD);
    g_assert_cmpuint(unpacker_bytes(f->unpacker), ==, 0);
    g_assert_cmpuint(unpacker_kept(f->unpacker), ==, G_MAXUINT32);
    unpacker_direct(f->unpacker, (const guint8 *)"left", 4); /* freed with it */
    make(f, 3, 9, NULL);
    g_assert_true(give(f));
}

static void
test_impossible_sizes(Fixture *f, gconstpointer with_recall)
{
    static const guint8 zero[PAGE_HEADER_SIZE + 1];
    guint8 large[PAGE_HEADER_SIZE + 1] = { 0, 0, 0, 1, 0xff };

    g_assert_false(unpacker_batch(f->unpacker, zero, sizeof zero, PAGE_BATCH_RAW, &f->fault));
    f->fault.set = FALSE;
    g_assert_false(unpacker_batch(f->unpacker, large, sizeof large, PAGE_BATCH_RAW, &f->fault));
    f->fault.set = FALSE;
    g_assert_false(unpacker_batch(f->unpacker, zero, 5, PAGE_BATCH_RAW, &f->fault));
    f->fault.set = FALSE;
    make(f, 2, 1, NULL);
    g_assert_false(unpacker_batch(f->unpacker, f->batch->payload, f->batch->payload_length,
                                  2 * RECORD - 1, &f->fault));
    g_assert_nonnull(strstr(f->fault.text, "window"));
    g_assert_cmpuint(unpacker_bytes(f->unpacker), ==, 0);
}

static void
test_garbage(Fixture *f, gconstpointer with_recall)
{
    make(f, 2, 1, NULL);
    memset(f->batch->payload + PAGE_HEADER_SIZE, 0xff, f->batch->payload_length - PAGE_HEADER_SIZE);
    g_assert_true(give(f));
    assert_fails(f, "can't be");
}

static void
test_unagreed(Fixture *f, gconstpointer with_recall)
{
    const PageReference older = { 3, 5 };

    make(f, 2, 1, &older);
    g_assert_true(give(f));
    assert_fails(f, with_recall != NULL ? "never agreed on" : "never had");
}

/* The third time pages come as differences, if they are remembered. */
static void
test_differences(Fixture *f, gconstpointer with_recall)
{
    unpacker_remember(f->unpacker);
    for (guint i = 0; i < 4; i++) {
        make(f, 3, 1, NULL);
        if (i > 1)
            make_differences(f);
        g_assert_true(give(f));
        assert_comes(f, f->batch->raw, 3 * RECORD);
    }
    make(f, 4, 1, NULL); /* the fourth page for the first time */
    make_differences(f);
    g_assert_true(give(f));
    assert_fails(f, "isn't remembered");
}

static void
test_unremembered(Fixture *f, gconstpointer with_recall)
{
    for (guint i = 0; i < 3; i++) {
        make(f, 2, 1, NULL);
        if (i == 2)
            make_differences(f);
        g_assert_true(give(f));
        if (i < 2)
            assert_comes(f, f->batch->raw, 2 * RECORD);
    }
    assert_fails(f, "isn't remembered");
}

static void
test_bad_again(Fixture *f, gconstpointer with_recall)
{
    make(f, 2, 1, NULL);
    g_assert_false(give_again(f, 0)); /* none came yet */
    f->fault.set = FALSE;
    g_assert_true(give(f));
    g_assert_false(give_again(f, 1));
    f->fault.set = FALSE;
    assert_comes(f, f->batch->raw, 2 * RECORD);
    g_assert_cmpint(give_again(f, 0), ==, with_recall != NULL); /* it is over: no harm */
}

/* How a missed batch comes again. */
typedef enum { RIGHT, SHORTER, REFERRING, DIFFERING, ELSEWHERE } Way;

static void
test_missed(Fixture *f, gconstpointer way)
{
    const PageReference session = { 0, 0 };
    g_autofree guint8 *expected = NULL;
    guint32 missed = 7;
    gsize length;

    /* The first batch's page can't be kept, so that the second one misses it. */
    tear_down(f, NULL);
    set_up(f, NULL);
    unpacker_free(f->unpacker);
    f->known = known_new(FLYWAY_DESTINATION, (const guint8[RECALL_ID_SIZE]){ 1 },
                         (const guint8[RECALL_KEY_SIZE]){ 2 });
    f->unpacker = unpacker_new(f->crew, f->known);
    unpacker_remember(f->unpacker);
    make(f, 1, 1, NULL);
    g_assert_true(give(f));
    assert_comes(f, f->batch->raw, RECORD);
    g_assert_cmpuint(unpacker_kept(f->unpacker), ==, 0);

    make(f, 1, 1, &session);
    expected = g_memdup2(f->batch->raw, RECORD);
    g_assert_true(give(f));
    make(f, 1, 5, NULL);
    g_assert_true(give(f)); /* waits behind it */
    g_assert_null(next(f, &length, &missed));
    g_assert_cmpuint(missed, ==, 1);
    g_assert_false(unpacker_misses(f->unpacker, &missed, &missed)); /* said once */
    switch ((Way)GPOINTER_TO_INT(way)) {
    case RIGHT:
        make(f, 1, 1, NULL);
        page_pack_plain(f->batch, f->codec, PAGE_LEVEL_LZ4);
        g_assert_true(give_again(f, 1));
        assert_comes(f, expected, RECORD);
        make(f, 1, 5, NULL);
        assert_comes(f, f->batch->raw, RECORD);
        return;
    case SHORTER:
        make(f, 2, 1, NULL);
        g_assert_true(give_again(f, 1));
        assert_fails(f, "another length");
        return;
    case REFERRING:
        make(f, 1, 1, &session);
        g_assert_true(give_again(f, 1));
        assert_fails(f, "with references");
        return;
    case DIFFERING:
        make(f, 1, 1, NULL);
        make_differences(f);
        g_assert_true(give_again(f, 1));
        assert_fails(f, "or differences");
        return;
    case ELSEWHERE:
        page_batch_clear(f->batch);
        f->batch->raw_length = RECORD;
        page_pack(f->batch, f->codec, PAGE_LEVEL_RAW);
        g_assert_true(give_again(f, 1));
        assert_fails(f, "another one");
        return;
    }
}

#define ADD(name, data, func)                                                                      \
    g_test_add("/flyway/unpacker/" name, Fixture, data, set_up, func, tear_down)
#define WITH GINT_TO_POINTER(1)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("order", NULL, test_order);
    ADD("order-with-recall", WITH, test_order);
    ADD("impossible-sizes", NULL, test_impossible_sizes);
    ADD("garbage", NULL, test_garbage);
    ADD("unagreed", NULL, test_unagreed);
    ADD("unagreed-with-recall", WITH, test_unagreed);
    ADD("differences", NULL, test_differences);
    ADD("differences-with-recall", WITH, test_differences);
    ADD("unremembered", NULL, test_unremembered);
    ADD("unremembered-with-recall", WITH, test_unremembered);
    ADD("bad-again", NULL, test_bad_again);
    ADD("bad-again-with-recall", WITH, test_bad_again);
    ADD("missed", GINT_TO_POINTER(RIGHT), test_missed);
    ADD("missed-shorter", GINT_TO_POINTER(SHORTER), test_missed);
    ADD("missed-referring", GINT_TO_POINTER(REFERRING), test_missed);
    ADD("missed-differing", GINT_TO_POINTER(DIFFERING), test_missed);
    ADD("missed-elsewhere", GINT_TO_POINTER(ELSEWHERE), test_missed);
    return g_test_run();
}
