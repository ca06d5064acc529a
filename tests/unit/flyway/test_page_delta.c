/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages as differences: a VM's memory is sent in passes while it is written to, and both ends stay
 * in step, whatever else pages become, whichever batches come again, and wherever addresses or
 * places collide. What a hostile payload says of differences is refused.
 */
#include <errno.h>
#include <string.h>
#include "flyway/page.h"

#define RECORD (8 + PAGE_BYTES)
#define MEMORY 600u /* pages */

static const guint8 key[PAGE_KEY_BYTES] = "a key that neither guest nor net";

typedef struct {
    PageBatch *out, *in;
    PageCache *here, *there;
    PageCodec *codec;
    PageHasher *hasher;
    GRand *rand;
    /* the source's set 0: hash → ordinal + 1; the destination's: pages */
    GHashTable *sent;
    GPtrArray *got;
    gboolean loses;  /* pages that are referred to, now and then */
    gboolean misses; /* the next fetch fails */
    PageCounts sum;
    guint batches, again;
    guint8 memory[MEMORY][PAGE_BYTES];
} Rig;

static void
rig_up(Rig *rig, gconstpointer unused)
{
    rig->out = page_batch_new();
    rig->in = page_batch_new();
    rig->here = page_cache_new();
    rig->there = page_cache_new();
    rig->codec = page_codec_new();
    rig->hasher = hash_new(key);
    rig->rand = g_rand_new_with_seed(5);
    rig->sent =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
    rig->got = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < MEMORY * PAGE_BYTES; i++)
        rig->memory[i / PAGE_BYTES][i % PAGE_BYTES] =
            (guint8)(i % 64 < 40 ? i / 64 : g_rand_int(rig->rand) >> 9);
}

static void
rig_down(Rig *rig, gconstpointer unused)
{
    page_batch_free(rig->out);
    page_batch_free(rig->in);
    page_cache_free(rig->here);
    page_cache_free(rig->there);
    page_codec_free(rig->codec);
    hash_free(rig->hasher);
    g_rand_free(rig->rand);
    g_hash_table_unref(rig->sent);
    g_ptr_array_unref(rig->got);
}

/* ---- sets ------------------------------------------------------------------------------------ */

static gboolean
find(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    Rig *rig = data;
    g_autoptr(GBytes) name = g_bytes_new(hash, PAGE_HASH_BYTES);
    guint ordinal = GPOINTER_TO_UINT(g_hash_table_lookup(rig->sent, name));

    *reference = (PageReference){ 0, ordinal - 1 };
    return ordinal != 0;
}

static void
added_here(gpointer data, const guint8 hash[PAGE_HASH_BYTES])
{
    Rig *rig = data;

    g_hash_table_insert(rig->sent, g_bytes_new(hash, PAGE_HASH_BYTES),
                        GUINT_TO_POINTER(g_hash_table_size(rig->sent) + 1));
}

static int
fetch(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    Rig *rig = data;

    if (rig->misses) {
        rig->misses = FALSE;
        return -ENOENT;
    }
    g_assert_cmpuint(reference->ordinal, <, rig->got->len);
    memcpy(out, g_ptr_array_index(rig->got, reference->ordinal), PAGE_BYTES);
    return 0;
}

static void
added_there(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
    Rig *rig = data;

    g_ptr_array_add(rig->got, g_memdup2(page, PAGE_BYTES));
    if (hash != NULL) {
        g_autoptr(GBytes) name = g_bytes_new(hash, PAGE_HASH_BYTES);

        g_assert_cmpuint(GPOINTER_TO_UINT(g_hash_table_lookup(rig->sent, name)), ==, rig->got->len);
    }
}

static const PageKnown known = { .find = find, .added = added_here };
static const PageFetch fetches = { .fetch = fetch, .added = added_there };

/* ---- batches --------------------------------------------------------------------------------- */

static void
begin(Rig *rig)
{
    page_batch_clear(rig->out);
}

static void
add_word(Rig *rig, guint64 word)
{
    word = GUINT64_TO_BE(word);
    memcpy(rig->out->raw + rig->out->raw_length, &word, sizeof word);
    rig->out->raw_length += (guint32)sizeof word;
}

/* With a word that has those flags. */
static void
add_bytes(Rig *rig, guint64 address, guint64 flags, const guint8 page[PAGE_BYTES])
{
    StreamSpan span = { .kind = STREAM_PAGE, .header = rig->out->raw_length };

    span.body = span.header + 8;
    add_word(rig, address | flags);
    memcpy(rig->out->raw + span.body, page, PAGE_BYTES);
    rig->out->raw_length += PAGE_BYTES;
    page_spans(rig->out, &span, 1);
}

static void
add_page(Rig *rig, guint number)
{
    add_bytes(rig, (guint64)number * PAGE_BYTES, 0x28, rig->memory[number]);
}

/* Source: up to what is packed. */
static void
prepare(Rig *rig, gboolean hashes, gboolean compares)
{
    if (compares)
        page_bases(rig->out, rig->here);
    page_remember(rig->out, rig->here);
    page_prepare(rig->out, hashes ? rig->hasher : NULL);
    if (hashes)
        page_choose(rig->out, &known, rig);
}

/* Destination: up to what is fetched. To its own place: what lies behind belongs to the sanitizer.
 */
static void
unpack(Rig *rig)
{
    g_autofree guint8 *payload = g_memdup2(rig->out->payload, rig->out->payload_length);
    const PageCounts *a = &rig->out->counts, *b = &rig->in->counts;
    const char *why = NULL;

    g_assert_cmpuint(rig->out->payload_length, <=, PAGE_PAYLOAD_MAX);
    memset(rig->in->raw, 0xa5, sizeof rig->in->raw);
    g_assert_cmpint(page_unpack(rig->in, rig->codec, payload, rig->out->payload_length, &why), ==,
                    0);
    g_assert_cmpuint(a->delta, ==, b->delta);
    g_assert_cmpuint(a->same, ==, b->same);
    g_assert_cmpuint(a->recalled, ==, b->recalled);
    g_assert_cmpuint(a->compressed, ==, b->compressed);
    g_assert_cmpuint(a->raw, ==, b->raw);
    g_assert_cmpuint(a->plain_bytes, ==, b->plain_bytes);
}

static void
take(Rig *rig, gboolean hashes)
{
    if (hashes)
        page_prepare(rig->in, rig->hasher);
    g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, 0);
    page_remember(rig->in, rig->there);
    g_assert_cmpmem(rig->in->raw, rig->in->raw_length, rig->out->raw, rig->out->raw_length);
}

static void
rebuild(Rig *rig)
{
    const char *why = NULL;

    g_assert_cmpint(page_rebuild(rig->in, rig->there, &why), ==, 0);
    g_assert_null(why);
}

/* One that is prepared. */
static void
carry(Rig *rig, PagePackLevel level, gboolean hashes)
{
    page_pack(rig->out, rig->codec, level);
    rig->sum.delta += rig->out->counts.delta;
    rig->sum.same += rig->out->counts.same;
    rig->sum.compressed += rig->out->counts.compressed;
    rig->sum.payload_bytes += rig->out->counts.payload_bytes;
    rig->batches++;
    unpack(rig);
    rebuild(rig);
    if (rig->loses && page_batch_has(rig->in, PAGE_OP_REF) &&
        g_rand_int_range(rig->rand, 0, 3) == 0) {
        rig->misses = TRUE;
        if (g_rand_boolean(rig->rand))
            page_prepare(rig->in, rig->hasher);
        g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, -ENOENT);
        page_pack_plain(rig->out, rig->codec, level);
        g_assert_cmpuint(rig->out->counts.delta, ==, 0);
        unpack(rig);
        rig->again++;
    }
    take(rig, hashes);
}

/* The guest writes: a word, a block, a page, what another page has, or what was there before. */
static void
write_page(Rig *rig, guint number)
{
    guint8 *page = rig->memory[number];
    guint at = (guint)g_rand_int_range(rig->rand, 0, PAGE_BYTES / 8) * 8;

    switch (g_rand_int_range(rig->rand, 0, 10)) {
    case 0:
        for (guint i = 0; i < PAGE_BYTES; i++)
            page[i] = (guint8)g_rand_int(rig->rand);
        break;
    case 1:
        memcpy(page, rig->memory[g_rand_int_range(rig->rand, 0, MEMORY)], PAGE_BYTES);
        break;
    case 2:
        for (guint i = at; i < PAGE_BYTES; i += 80)
            page[i]++;
        break;
    case 3:
        break;
    default:
        page[at]++;
        break;
    }
}

typedef struct {
    gboolean hashes;
    gboolean changing; /* now this way, now that */
} Way;

static void
pass(Rig *rig, const Way *way, guint pages)
{
    for (guint i = 0; i < pages;) {
        gboolean hashes = way->hashes && !(way->changing && g_rand_int_range(rig->rand, 0, 4) == 0);

        begin(rig);
        for (guint n = (guint)g_rand_int_range(rig->rand, 1, 32); n > 0 && i < pages; n--, i++) {
            guint number = (guint)g_rand_int_range(rig->rand, 0, (gint32)pages);

            write_page(rig, number);
            if (i % 13 == 5) /* another block's: not at an address */
                add_bytes(rig, (guint64)i * PAGE_BYTES, 0x08, rig->memory[number]);
            else if (i % 17 == 5) /* another block's, at this one's addresses */
                add_bytes(rig, (guint64)i * PAGE_BYTES, 0x28, rig->memory[number]);
            else
                add_page(rig, g_rand_int_range(rig->rand, 0, 6) ? i : number);
        }
        prepare(rig, hashes, !way->changing || g_rand_int_range(rig->rand, 0, 4) > 0);
        carry(rig, rig->batches % PAGE_LEVELS, hashes);
    }
}

/* Whatever is written, the destination has it; and the two remember alike. */
static void
test_passes(Rig *rig, gconstpointer data)
{
    const Way *way = data;

    rig->loses = TRUE;
    for (guint i = 0; i < 60; i++)
        pass(rig, way, i == 0 ? MEMORY : (guint)g_rand_int_range(rig->rand, 1, MEMORY));
    for (guint64 i = 0; i < MEMORY; i++) {
        const guint8 *a = page_cache_find(rig->here, i * PAGE_BYTES);
        const guint8 *b = page_cache_find(rig->there, i * PAGE_BYTES);

        g_assert_cmpint(a != NULL, ==, b != NULL);
        if (a != NULL)
            g_assert_cmpmem(a, PAGE_BYTES, b, PAGE_BYTES);
    }
    g_test_message("%u batches, %u again, %u pages differed, %u same", rig->batches, rig->again,
                   rig->sum.delta, rig->sum.same);
    g_assert_cmpuint(rig->sum.delta, >, 1000);
    g_assert_cmpuint(rig->got->len, ==, g_hash_table_size(rig->sent));
    g_assert_cmpint(rig->again > 20, ==, way->hashes);
}

/* ---- single qualities ------------------------------------------------------------------------ */

/* Two passes, so that the third finds them remembered. */
static void
send_twice(Rig *rig, guint pages, gboolean hashes)
{
    for (guint times = 0; times < 2; times++) {
        begin(rig);
        for (guint i = 0; i < pages; i++) {
            rig->memory[i][8 * times]++;
            add_page(rig, i);
        }
        prepare(rig, hashes, TRUE);
        carry(rig, PAGE_LEVEL_LZ4, hashes);
    }
    g_assert_cmpuint(rig->sum.delta, ==, 0);
}

/* What a difference costs, in order and stored: op, mask, a block. */
static void
test_size(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 31, FALSE);
    for (guint level = 0; level < PAGE_LEVELS; level++) {
        begin(rig);
        for (guint i = 0; i < 31; i++) {
            rig->memory[i][700]++;
            add_page(rig, i);
        }
        prepare(rig, FALSE, TRUE);
        carry(rig, level, FALSE);
        g_assert_cmpuint(rig->out->counts.delta, ==, 31);
        g_assert_cmpuint(rig->out->counts.plain_bytes, ==, 31 * 72 + 2);
        if (level > PAGE_LEVEL_RAW)
            g_assert_cmpuint(rig->out->counts.payload_bytes, <, 500);
    }
    /* Not a byte of it changed: a mask. */
    begin(rig);
    add_page(rig, 3);
    prepare(rig, FALSE, TRUE);
    carry(rig, PAGE_LEVEL_RAW, FALSE);
    g_assert_cmpuint(rig->out->payload_length, ==, PAGE_HEADER_SIZE + 8 + 2);
}

/* Up to half of a page's blocks may differ. */
static void
test_worth(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 1, FALSE);
    for (guint blocks = 0; blocks <= 64; blocks++) {
        begin(rig);
        for (guint i = 0; i < blocks; i++)
            rig->memory[0][(i * 7 + blocks) % 64 * 64 + i]++;
        add_page(rig, 0);
        prepare(rig, FALSE, TRUE);
        carry(rig, PAGE_LEVEL_RAW, FALSE);
        g_assert_cmpuint(rig->out->counts.delta, ==, blocks <= 32);
        g_assert_cmpuint(rig->out->counts.plain_bytes, ==,
                         blocks <= 32 ? 8 + 64 * blocks + 1 : PAGE_BYTES + 1);
    }
}

/* All of a batch differ as much as is allowed, literals between, written over their own bases. */
static void
test_in_place(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 31, FALSE);
    for (guint round = 0; round < 40; round++) {
        begin(rig);
        for (guint i = 0; i < 31; i++) {
            guint n = round < 20 ? 32 : (guint)g_rand_int_range(rig->rand, 0, 40);

            for (guint block = 0; block < n; block++) {
                guint at = round % 2 ? 63 - block : (block * 5 + i) % 64;

                for (guint byte = 0; byte < 64; byte++)
                    rig->memory[i][at * 64 + byte] = (guint8)g_rand_int(rig->rand);
            }
            if (i % 9 == round % 9) /* bytes that no span tells of */
                add_word(rig, g_rand_int(rig->rand));
            add_page(rig, i);
        }
        prepare(rig, FALSE, TRUE);
        carry(rig, PAGE_LEVEL_RAW, FALSE);
        g_assert_cmpuint(rig->out->counts.delta, >, round < 20 ? 30 : 10);
    }
}

/* A page that goes as a difference is the next of set 0, and can be copied and referred to. */
static void
test_with_sets(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 4, TRUE);
    begin(rig);
    rig->memory[1][100]++;
    rig->memory[2][100]++;
    memcpy(rig->memory[3], rig->memory[2], PAGE_BYTES);
    memcpy(rig->memory[4], rig->memory[2], PAGE_BYTES);
    for (guint i = 0; i < 5; i++)
        add_page(rig, i);
    prepare(rig, TRUE, TRUE);
    carry(rig, PAGE_LEVEL_ZSTD_FAST, TRUE);
    g_assert_cmpuint(rig->out->counts.delta, ==, 2);
    g_assert_cmpuint(rig->out->counts.same, ==, 3); /* 0 is in the set, 3 and 4 are copies */
    g_assert_cmpuint(rig->got->len, ==, 10);
    /* Elsewhere, later. */
    begin(rig);
    memcpy(rig->memory[50], rig->memory[1], PAGE_BYTES);
    add_page(rig, 50);
    add_page(rig, 2);
    prepare(rig, TRUE, TRUE);
    carry(rig, PAGE_LEVEL_RAW, TRUE);
    g_assert_cmpuint(rig->out->counts.same, ==, 2);
    g_assert_cmpuint(rig->got->len, ==, 10);
}

/* One address twice in a batch: both differ from what was before it. */
static void
test_twice_in_a_batch(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 1, FALSE);
    for (guint round = 0; round < 4; round++) {
        begin(rig);
        rig->memory[0][round]++;
        add_page(rig, 0);
        rig->memory[0][1000]++;
        add_page(rig, 0);
        prepare(rig, FALSE, TRUE);
        carry(rig, PAGE_LEVEL_LZ4, FALSE);
        g_assert_cmpuint(rig->out->counts.delta, ==, 2);
    }
}

/* Packed another time it has no bases any more. */
static void
test_packed_twice(Rig *rig, gconstpointer unused)
{
    send_twice(rig, 3, FALSE);
    begin(rig);
    for (guint i = 0; i < 3; i++)
        add_page(rig, i);
    prepare(rig, FALSE, TRUE);
    page_pack(rig->out, rig->codec, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.delta, ==, 3);
    carry(rig, PAGE_LEVEL_RAW, FALSE);
    g_assert_cmpuint(rig->out->counts.delta, ==, 0);
}

/* ---- hostile payloads ------------------------------------------------------------------------ */

static void
assert_refused(Rig *rig, const PageCache *cache)
{
    const char *why = NULL;

    unpack(rig);
    g_assert_cmpint(page_rebuild(rig->in, cache, &why), ==, -EPROTO);
    g_assert_nonnull(strstr(why, "remembered"));
    g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, -EPROTO);
}

/* Of an address that isn't remembered, or where nothing is. */
static void
test_unremembered(Rig *rig, gconstpointer unused)
{
    g_autoptr(PageCache) other = page_cache_new();

    send_twice(rig, 2, FALSE);
    begin(rig);
    add_page(rig, 0);
    add_page(rig, 1);
    prepare(rig, FALSE, TRUE);
    page_pack(rig->out, rig->codec, PAGE_LEVEL_RAW);
    page_cache_take(other, 0, rig->memory[0]);
    page_cache_take(other, 0, rig->memory[0]);
    assert_refused(rig, other);
    assert_refused(rig, NULL);
    unpack(rig);
    rebuild(rig);
    take(rig, FALSE);
}

typedef struct {
    const char *ops;
    guint n_ops, raw, literals;
    guint64 blocks;  /* the first word of the literals */
    guint8 flags;    /* of the header */
    const char *why; /* NULL: taken */
    guint added;     /* pages of set 0 */
} Hand;

#define OPS(text) text, sizeof text - 1
#define ALL G_MAXUINT64
static const Hand hands[] = {
    { OPS("\x07"), RECORD, 8, 0, 0, NULL, 0 },
    { OPS("\x07"), RECORD, 8, 0, 1, NULL, 1 },
    { OPS("\x07"), RECORD, 72, 1, 1, NULL, 1 },
    { OPS("\x07"), RECORD, 8 + 4096, ALL, 0, NULL, 0 }, /* ours never does, but fine */
    { OPS("\x07"), RECORD, 8 + 4095, ALL, 0, "more literals", 0 },
    { OPS("\x07"), RECORD, 71, 1, 0, "more literals", 0 },
    { OPS("\x07"), RECORD, 73, 1, 0, "fill", 0 },
    { OPS("\x07"), RECORD, 7, 0, 0, "more literals", 0 },
    { OPS("\x07"), RECORD, 0, 0, 0, "more literals", 0 },
    { OPS("\x07"), RECORD - 1, 8, 0, 0, "more than the batch", 0 },
    { OPS("\x27"), 2 * RECORD, 16, 0, 1, NULL, 2 },
    { OPS("\x27"), 2 * RECORD, 8, 0, 1, "more literals", 0 },
    { OPS("\x27"), 2 * RECORD, 72, 1, 1, "more literals", 0 },
    { OPS("\x27"), RECORD, 16, 0, 1, "more than the batch", 0 },
    { OPS("\x07\x04\x00"), 2 * RECORD, 8, 0, 1, NULL, 1 }, /* COPY of it */
    { OPS("\x07\x04\x01"), 2 * RECORD, 8, 0, 1, "copy", 0 },
    { OPS("\x0f\x02"), RECORD, 8, 0, 1, NULL, 1 }, /* with a jump */
    { OPS("\x0f"), RECORD, 8, 0, 1, "number", 0 },
    { OPS("\x17"), PAGE_BYTES, 8, 0, 1, "form", 0 }, /* bare */
    { OPS("\x1f"), RECORD, 8, 0, 1, "form", 0 },
    { OPS("\x07"), RECORD, 8, 0, 2, "coding", 0 },
    { OPS("\x02"), RECORD, PAGE_BYTES, 0, 1, NULL, 1 }, /* the flag, and none */
};

static void
test_by_hand(Rig *rig, gconstpointer unused)
{
    for (guint i = 0; i < 3; i++) {
        page_cache_take(rig->there, i * PAGE_BYTES, rig->memory[i]);
        page_cache_take(rig->there, i * PAGE_BYTES, rig->memory[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(hands); i++) {
        const Hand *hand = &hands[i];
        gsize length = PAGE_HEADER_SIZE + hand->literals + hand->n_ops;
        guint8 *payload = g_malloc0(length);
        guint64 blocks = GUINT64_TO_BE(hand->blocks);
        guint before = rig->got->len;
        const char *why = "";
        int result;

        payload[1] = hand->flags;
        payload[3] = (guint8)hand->n_ops;
        for (guint byte = 0; byte < 4; byte++) {
            payload[4 + byte] = (guint8)(hand->raw >> (24 - 8 * byte));
            payload[8 + byte] = (guint8)(hand->literals >> (24 - 8 * byte));
        }
        memcpy(payload + PAGE_HEADER_SIZE, &blocks, MIN(hand->literals, sizeof blocks));
        memcpy(payload + length - hand->n_ops, hand->ops, hand->n_ops);
        result = page_unpack(rig->in, rig->codec, payload, length, &why);
        g_test_message("%u: %d %s", i, result, why);
        g_free(payload);
        g_assert_cmpint(result, ==, hand->why == NULL ? 0 : -EPROTO);
        if (hand->why != NULL) {
            g_assert_nonnull(strstr(why, hand->why));
            continue;
        }
        rebuild(rig);
        g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, 0);
        g_assert_cmpuint(rig->got->len, ==, before + hand->added);
    }
}

/* Anything may be changed on its way: there is a verdict, and none is outside of the batch. */
static void
test_damaged(Rig *rig, gconstpointer unused)
{
    guint taken = 0;

    send_twice(rig, 12, FALSE);
    begin(rig);
    for (guint i = 0; i < 12; i++) {
        rig->memory[i][i]++;
        add_page(rig, i);
    }
    prepare(rig, FALSE, TRUE);
    page_pack(rig->out, rig->codec, PAGE_LEVEL_RAW);
    for (guint round = 0; round < 20000; round++) {
        g_autofree guint8 *payload = g_memdup2(rig->out->payload, rig->out->payload_length);
        const char *why = NULL;

        for (gint i = g_rand_int_range(rig->rand, 1, 4); i > 0; i--)
            payload[g_rand_int_range(rig->rand, 0, (gint32)rig->out->payload_length)] =
                (guint8)g_rand_int(rig->rand);
        if (page_unpack(rig->in, rig->codec, payload, rig->out->payload_length, &why) == 0 &&
            page_rebuild(rig->in, rig->there, &why) == 0)
            taken++;
        else
            g_assert_nonnull(why);
    }
    g_assert_cmpuint(taken, >, 1000);
    g_assert_cmpuint(taken, <, 20000);
}

int
main(int argc, char **argv)
{
    static const Way hashed = { TRUE, FALSE }, unhashed = { FALSE, FALSE },
                     changing = { TRUE, TRUE };
    static const struct {
        const char *path;
        void (*run)(Rig *rig, gconstpointer data);
        gconstpointer data;
    } tests[] = {
        { "/flyway/page-delta/hashed", test_passes, &hashed },
        { "/flyway/page-delta/unhashed", test_passes, &unhashed },
        { "/flyway/page-delta/changing", test_passes, &changing },
        { "/flyway/page-delta/size", test_size, NULL },
        { "/flyway/page-delta/worth", test_worth, NULL },
        { "/flyway/page-delta/in-place", test_in_place, NULL },
        { "/flyway/page-delta/with-sets", test_with_sets, NULL },
        { "/flyway/page-delta/twice-in-a-batch", test_twice_in_a_batch, NULL },
        { "/flyway/page-delta/packed-twice", test_packed_twice, NULL },
        { "/flyway/page-delta/unremembered", test_unremembered, NULL },
        { "/flyway/page-delta/by-hand", test_by_hand, NULL },
        { "/flyway/page-delta/damaged", test_damaged, NULL },
    };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Rig, tests[i].data, rig_up, tests[i].run, rig_down);
    return g_test_run();
}
