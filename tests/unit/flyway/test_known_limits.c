/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both hosts have of a VM's memory, at its limits: too many sets, answers that can't be,
 * references to what was never agreed on, and no recall at all. Moves of a VM are test_known.c's.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "flyway/known.h"
#include "recall_kit.h"

static const guint8 session_id[RECALL_ID_SIZE] = { 200 };

/* A set of n pages, made and sealed. */
static void
make_set(KitSet *set, guint8 id, guint32 n)
{
    RecallWriter *writer;

    kit_set_new(set, id);
    writer = kit_writer(set, NULL, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, n), ==, n);
    g_assert_cmpint(recall_writer_finish(writer, &(RecallSeal){ 0 }), ==, 0);
    recall_writer_free(writer);
}

static int
add_set(Known *known, const KitSet *set)
{
    RecallFiles files = { .index_fd = dup(set->index_fd) };

    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        files.segment_fds[i] = -1;
    files.segment_fds[0] = dup(set->pages_fd);
    return known_add_set(known, set->id, &files);
}

static void
keep(Known *known)
{
    g_assert_cmpint(known_keep(known, memfd_create("index", MFD_CLOEXEC),
                               memfd_create("pages", MFD_CLOEXEC), 1 << 26),
                    ==, 0);
}

/* One side's, with a set of so many pages (0: none). */
static Known *
make_known(FlywaySide side, KitSet *set, guint32 pages)
{
    Known *known = known_new(side, session_id, kit_context.group_key);

    g_assert_nonnull(known);
    if (pages > 0) {
        make_set(set, 1, pages);
        g_assert_cmpint(add_set(known, set), ==, 0);
    }
    return known;
}

/* ---- sets ------------------------------------------------------------------------------------ */

/* As many as a frame can tell of; none once the session's own is begun; none that is damaged. */
static void
test_too_many_sets(void)
{
    g_autoptr(Known) known = NULL;
    g_autoptr(Known) late = NULL;
    KitSet set;
    FrameSets offer;

    kit_init();
    known = known_new(FLYWAY_SOURCE, session_id, kit_context.group_key);
    make_set(&set, 1, 10);
    for (guint i = 0; i < RECALL_SETS_MAX; i++)
        g_assert_cmpint(add_set(known, &set), ==, 0);
    g_assert_cmpint(add_set(known, &set), ==, -E2BIG);
    known_offer(known, &offer);
    g_assert_cmpuint(offer.n, ==, FRAME_SETS_MAX);

    late = known_new(FLYWAY_SOURCE, session_id, kit_context.group_key);
    keep(late);
    g_assert_cmpint(add_set(late, &set), ==, -E2BIG);
    kit_set_close(&set);
}

static void
test_damaged_set(void)
{
    g_autoptr(Known) known = NULL;
    KitSet set;
    FrameSets offer;

    kit_init();
    known = known_new(FLYWAY_SOURCE, session_id, kit_context.group_key);
    make_set(&set, 1, 10);
    g_assert_cmpint(pwrite(set.index_fd, "damage", 6, 0), ==, 6);
    g_assert_cmpint(add_set(known, &set), ==, -EBADMSG);
    known_offer(known, &offer);
    g_assert_cmpuint(offer.n, ==, 0);
    kit_set_close(&set);
}

/* ---- answers that can't be ------------------------------------------------------------------- */

static void
test_answers(void)
{
    g_autoptr(Known) known = NULL;
    g_autoptr(Known) peer = NULL;
    FrameSets offer, answer, wrong;
    KnownCounts counts;
    KitSet ours, theirs;

    kit_init();
    known = make_known(FLYWAY_SOURCE, &ours, 50);
    peer = make_known(FLYWAY_DESTINATION, &theirs, 50);
    known_offer(known, &offer);
    known_answer(peer, &offer, &answer);
    wrong = answer;
    wrong.n = 2;
    g_assert_cmpint(known_agree(known, &wrong), ==, -EPROTO);
    wrong = answer;
    wrong.sets[0].pages = 51; /* more than was offered */
    g_assert_cmpint(known_agree(known, &wrong), ==, -EPROTO);
    g_assert_false(known_is_useful(known));
    wrong = answer;
    wrong.sets[0].digest[0] ^= 1; /* other pages under that id */
    g_assert_cmpint(known_agree(known, &wrong), ==, 0);
    known_counts(known, &counts);
    g_assert_cmpuint(counts.sets, ==, 0);
    g_assert_cmpint(known_agree(known, &answer), ==, 0);
    known_counts(known, &counts);
    g_assert_cmpuint(counts.sets, ==, 1);
    g_assert_cmpint(known_agree(known, &answer), ==, -EPROTO); /* once is enough */
    kit_set_close(&ours);
    kit_set_close(&theirs);
}

/* Without recall there is nothing to say, to miss or to keep. */
static void
test_none(void)
{
    FrameSets sets = { .n = 3, .keeps = TRUE }, answer;
    KnownCounts counts = { .pages = 7 };

    known_offer(NULL, &sets);
    g_assert_cmpuint(sets.n, ==, 0);
    g_assert_false(sets.keeps);
    sets.n = 2;
    known_answer(NULL, &sets, &answer);
    g_assert_cmpuint(answer.n, ==, 2); /* as many as were offered, of no pages each */
    g_assert_cmpuint(answer.sets[0].pages + answer.sets[1].pages, ==, 0);
    g_assert_cmpint(known_agree(NULL, &answer), ==, -EPROTO); /* nothing was offered */
    answer.n = 0;
    g_assert_cmpint(known_agree(NULL, &answer), ==, 0);
    g_assert_false(known_is_useful(NULL));
    g_assert_false(known_missed(NULL, 1));
    g_assert_false(known_keeps(NULL));
    known_hurry(NULL);
    known_counts(NULL, &counts);
    g_assert_cmpuint(counts.pages, ==, 0);
    g_assert_cmpint(known_seal(NULL), ==, -ENOENT);
}

/* ---- references ------------------------------------------------------------------------------ */

static int
fetch(Known *known, guint32 set, guint32 ordinal, guint8 *page)
{
    return known_destination.fetch(known, &(PageReference){ set, ordinal }, page);
}

/* The destination has more of the set than the source: what lies beyond isn't agreed on. */
static void
test_fetch_beyond(void)
{
    g_autoptr(Known) source = NULL;
    g_autoptr(Known) destination = NULL;
    guint8 page[PAGE_BYTES] __attribute__((aligned(8))),
        expected[PAGE_BYTES] __attribute__((aligned(8)));
    FrameSets offer, answer;
    KitSet ours, theirs;

    kit_init();
    source = make_known(FLYWAY_SOURCE, &ours, 50);
    destination = make_known(FLYWAY_DESTINATION, &theirs, 80);
    g_assert_cmpint(fetch(destination, 1, 0, page), ==, -EPROTO); /* before anything was offered */
    known_offer(source, &offer);
    known_answer(destination, &offer, &answer);
    g_assert_cmpuint(answer.sets[0].pages, ==, 50);
    g_assert_cmpint(fetch(destination, 1, 49, page), ==, 0);
    kit_page(49, expected);
    g_assert_cmpmem(page, sizeof page, expected, sizeof expected);
    g_assert_cmpint(fetch(destination, 1, 50, page), ==, -EPROTO); /* it has it, but so what */
    g_assert_cmpint(fetch(destination, 1, 80, page), ==, -EPROTO);
    g_assert_cmpint(fetch(destination, 2, 0, page), ==, -EPROTO);
    g_assert_cmpint(fetch(destination, G_MAXUINT32, 0, page), ==, -EPROTO);
    g_assert_cmpint(fetch(destination, 0, 0, page), ==, -EPROTO);
    kit_set_close(&ours);
    kit_set_close(&theirs);
}

/* A batch that came again has references that no fetch has judged: those to nothing aren't taken
 * into the session's set, an older page is once. */
static void
test_took_unjudged(void)
{
    g_autoptr(Known) destination = NULL;
    g_autoptr(Known) source = NULL;
    g_autoptr(PageBatch) batch = page_batch_new();
    guint8 page[PAGE_BYTES] __attribute__((aligned(8)));
    FrameSets offer, answer;
    KnownCounts counts;
    KitSet ours, theirs;

    kit_init();
    source = make_known(FLYWAY_SOURCE, &ours, 50);
    destination = make_known(FLYWAY_DESTINATION, &theirs, 50);
    keep(destination);
    known_offer(source, &offer);
    known_answer(destination, &offer, &answer);
    g_assert_true(answer.keeps);
    kit_page(3, page);
    memcpy(batch->raw, page, sizeof page);
    batch->n_pages = 4;
    batch->pages[0] = (PageItem){ .op = PAGE_OP_REF, .reference = { 1, 3 } };
    batch->pages[1] = (PageItem){ .op = PAGE_OP_REF, .reference = { 1, 3 } };
    batch->pages[2] = (PageItem){ .op = PAGE_OP_REF, .reference = { 1, 50 } };
    batch->pages[3] = (PageItem){ .op = PAGE_OP_REF, .reference = { 7, 0 } };
    known_took(destination, batch, FALSE, NULL, 0);
    g_assert_cmpint(known_seal(destination), ==, 0);
    known_counts(destination, &counts);
    g_assert_cmpuint(counts.pages, ==, 1);
    kit_set_close(&ours);
    kit_set_close(&theirs);
}

/* ---- the session's pages --------------------------------------------------------------------- */

static void
hash_of(guint32 number, guint8 out[PAGE_HASH_BYTES])
{
    memset(out, 0, PAGE_HASH_BYTES);
    memcpy(out, &number, sizeof number);
}

/* All are found, however many; none beyond what the destination keeps, not even one of that hash.
 */
static void
test_many_pages(void)
{
    g_autoptr(Known) source = NULL;
    g_autoptr(Known) destination = NULL;
    guint8 hash[PAGE_HASH_BYTES];
    PageReference reference;
    FrameSets offer, answer;

    kit_init();
    source = known_new(FLYWAY_SOURCE, session_id, kit_context.group_key);
    destination = known_new(FLYWAY_DESTINATION, session_id, kit_context.group_key);
    keep(destination);
    known_offer(source, &offer);
    known_answer(destination, &offer, &answer);
    g_assert_cmpint(known_agree(source, &answer), ==, 0);
    hash_of(0, hash);
    g_assert_false(known_source.find(source, hash, &reference));
    for (guint32 i = 0; i < 10000; i++) {
        hash_of(i, hash);
        known_source.added(source, hash);
    }
    for (guint32 i = 0; i < 10000; i++) {
        hash_of(i, hash);
        g_assert_true(known_source.find(source, hash, &reference));
        g_assert_cmpuint(reference.set, ==, 0);
        g_assert_cmpuint(reference.ordinal, ==, i);
    }
    hash_of(10000, hash);
    g_assert_false(known_source.find(source, hash, &reference));
    known_ended(source, 5000);
    known_ended(source, 6000); /* it doesn't come back */
    hash_of(4999, hash);
    g_assert_true(known_source.find(source, hash, &reference));
    hash_of(5000, hash);
    g_assert_false(known_source.find(source, hash, &reference));
    known_source.added(source, hash);
    g_assert_false(known_source.find(source, hash, &reference));
}

/* Too many misses, and a set isn't used any more. */
static void
test_misses(void)
{
    g_autoptr(Known) source = NULL;
    g_autoptr(Known) destination = NULL;
    guint8 hash[PAGE_HASH_BYTES];
    PageReference reference;
    FrameSets offer, answer;
    KitSet ours, theirs;
    guint misses = 1;

    kit_init();
    source = make_known(FLYWAY_SOURCE, &ours, 50);
    destination = make_known(FLYWAY_DESTINATION, &theirs, 50);
    known_offer(source, &offer);
    known_answer(destination, &offer, &answer);
    g_assert_cmpint(known_agree(source, &answer), ==, 0);
    kit_hash(7, hash);
    g_assert_true(known_source.find(source, hash, &reference));
    g_assert_cmpuint(reference.set, ==, 1);
    g_assert_cmpuint(reference.ordinal, ==, 7);
    g_assert_false(known_missed(source, 0)); /* the session's own: that ends otherwise */
    g_assert_false(known_missed(source, 2));
    while (!known_missed(source, 1))
        g_assert_cmpuint(++misses, <, 100);
    g_assert_cmpuint(misses, >, 1);
    g_assert_false(known_source.find(source, hash, &reference));
    g_assert_false(known_missed(source, 1)); /* told once */
    kit_set_close(&ours);
    kit_set_close(&theirs);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/known-limits/too-many-sets", test_too_many_sets);
    g_test_add_func("/flyway/known-limits/damaged-set", test_damaged_set);
    g_test_add_func("/flyway/known-limits/answers", test_answers);
    g_test_add_func("/flyway/known-limits/none", test_none);
    g_test_add_func("/flyway/known-limits/fetch-beyond", test_fetch_beyond);
    g_test_add_func("/flyway/known-limits/took-unjudged", test_took_unjudged);
    g_test_add_func("/flyway/known-limits/many-pages", test_many_pages);
    g_test_add_func("/flyway/known-limits/misses", test_misses);
    return g_test_run();
}
