/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page codec: what comes out is what went in, whatever the bytes and whatever the spans; what
 * the other host has doesn't travel; what a hostile payload says is refused.
 */
#include <errno.h>
#include <string.h>
#include <lz4.h>
#include <zstd.h>
#include "flyway/page.h"

static const guint8 key[PAGE_KEY_BYTES] = "a key that neither guest nor net";

/** Both ends of a session, and what they know of each other. */
typedef struct {
    PageBatch *out, *in;
    PageCodec *codec;
    PageHasher *hasher;
    GRand *rand;
    GArray *spans;
    guint64 next; /* address */
    /* the source's set 0 and set 7: hash → ordinal + 1 */
    GHashTable *sent, *recall;
    /* the destination's: pages */
    GPtrArray *got, *store;
    guint missing; /* fetch fails so many calls from now; 0: never */
    guint fetched;
    gboolean hashes_come;
    guint bodies; /* payloads whose packed body was all of the new pages */
} Rig;

static void
rig_up(Rig *rig, gconstpointer unused)
{
    *rig = (Rig){ .out = page_batch_new(), .in = page_batch_new(), .codec = page_codec_new() };
    rig->hasher = hash_new(key);
    rig->rand = g_rand_new_with_seed(3);
    rig->spans = g_array_new(FALSE, FALSE, sizeof(StreamSpan));
    rig->sent =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
    rig->recall =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
    rig->got = g_ptr_array_new_with_free_func(g_free);
    rig->store = g_ptr_array_new_with_free_func(g_free);
}

static void
rig_down(Rig *rig, gconstpointer unused)
{
    page_batch_free(rig->out);
    page_batch_free(rig->in);
    page_codec_free(rig->codec);
    hash_free(rig->hasher);
    g_rand_free(rig->rand);
    g_array_unref(rig->spans);
    g_hash_table_unref(rig->sent);
    g_hash_table_unref(rig->recall);
    g_ptr_array_unref(rig->got);
    g_ptr_array_unref(rig->store);
}

/* What the two ends do */

static gboolean
find(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    Rig *rig = data;
    g_autoptr(GBytes) name = g_bytes_new(hash, PAGE_HASH_BYTES);
    guint ordinal = GPOINTER_TO_UINT(g_hash_table_lookup(rig->sent, name));

    reference->set = 0;
    if (ordinal == 0) {
        ordinal = GPOINTER_TO_UINT(g_hash_table_lookup(rig->recall, name));
        reference->set = 7;
    }
    reference->ordinal = ordinal - 1;
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
    GPtrArray *pages = reference->set == 0 ? rig->got : rig->store;

    g_assert_true(reference->set == 0 || reference->set == 7);
    if (rig->missing > 0 && --rig->missing == 0)
        return -ENOENT;
    rig->fetched++;
    g_assert_cmpuint(reference->ordinal, <, pages->len);
    memcpy(out, g_ptr_array_index(pages, reference->ordinal), PAGE_BYTES);
    return 0;
}

static void
added_there(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
    Rig *rig = data;

    g_ptr_array_add(rig->got, g_memdup2(page, PAGE_BYTES));
    g_assert_cmpint(hash != NULL, ==, rig->hashes_come);
    if (hash != NULL) {
        g_autoptr(GBytes) name = g_bytes_new(hash, PAGE_HASH_BYTES);

        g_assert_cmpuint(GPOINTER_TO_UINT(g_hash_table_lookup(rig->sent, name)), ==, rig->got->len);
    }
}

static const PageKnown known = { .find = find, .added = added_here };
static const PageFetch fetches = { .fetch = fetch, .added = added_there };

/* Making batches */

static void
begin(Rig *rig)
{
    page_batch_clear(rig->out);
    g_array_set_size(rig->spans, 0);
}

static void
add_bytes(Rig *rig, const void *bytes, gsize length)
{
    g_assert_cmpuint(rig->out->raw_length + length, <=, PAGE_BATCH_RAW);
    memcpy(rig->out->raw + rig->out->raw_length, bytes, length);
    rig->out->raw_length += (guint32)length;
}

static void
add_word(Rig *rig, guint64 word)
{
    word = GUINT64_TO_BE(word);
    add_bytes(rig, &word, sizeof word);
}

static void
make_page(guint seed, guint8 page[PAGE_BYTES])
{
    for (guint i = 0; i < PAGE_BYTES; i++)
        page[i] = (guint8)(i % 64 < 40 ? i / 64 : (seed * 2654435761u) >> (i % 24));
}

/* A page as QEMU sends it: at the next address, or elsewhere; named: of another block. */
static void
add_page(Rig *rig, guint64 skip, gboolean named, const guint8 page[PAGE_BYTES])
{
    StreamSpan span = { .kind = STREAM_PAGE, .header = rig->out->raw_length };

    rig->next += skip * PAGE_BYTES;
    span.word = rig->next | (named ? 0x08 : 0x28);
    add_word(rig, span.word);
    if (named)
        add_bytes(rig, "\006pc.ram", 7);
    span.body = rig->out->raw_length;
    add_bytes(rig, page, PAGE_BYTES);
    g_array_append_val(rig->spans, span);
    rig->next += PAGE_BYTES;
}

static void
add_numbered(Rig *rig, guint64 skip, guint seed)
{
    guint8 page[PAGE_BYTES];

    make_page(seed, page);
    add_page(rig, skip, FALSE, page);
}

static void
add_zeros(Rig *rig, guint64 skip, guint n)
{
    rig->next += skip * PAGE_BYTES;
    for (guint i = 0; i < n; i++) {
        StreamSpan span = { .kind = STREAM_ZERO, .header = rig->out->raw_length };

        span.word = rig->next | 0x22;
        add_word(rig, span.word);
        span.body = rig->out->raw_length;
        add_bytes(rig, "", 1);
        g_array_append_val(rig->spans, span);
        rig->next += PAGE_BYTES;
    }
}

static void
prepare(Rig *rig, PageHasher *hasher, const PageKnown *ops)
{
    page_spans(rig->out, &g_array_index(rig->spans, StreamSpan, 0), rig->spans->len);
    page_prepare(rig->out, hasher);
    page_choose(rig->out, ops, rig);
}

static void
assert_same(const Rig *rig)
{
    g_assert_cmpuint(rig->in->raw_length, ==, rig->out->raw_length);
    g_assert_cmpint(memcmp(rig->in->raw, rig->out->raw, rig->out->raw_length), ==, 0);
}

static void
unpack(Rig *rig)
{
    const char *why = NULL;
    /* To its own place: what lies behind belongs to the sanitizer. */
    g_autofree guint8 *payload = g_memdup2(rig->out->payload, rig->out->payload_length);
    PageCounts *a = &rig->out->counts, *b = &rig->in->counts;

    g_assert_cmpuint(rig->out->payload_length, <=, PAGE_PAYLOAD_MAX);
    memset(rig->in->raw, 0xa5, sizeof rig->in->raw);
    g_assert_cmpint(page_unpack(rig->in, rig->codec, payload, rig->out->payload_length, &why), ==,
                    0);
    g_assert_null(why);
    g_assert_cmpuint(a->same, ==, b->same);
    g_assert_cmpuint(a->recalled, ==, b->recalled);
    g_assert_cmpuint(a->compressed, ==, b->compressed);
    g_assert_cmpuint(a->raw, ==, b->raw);
    g_assert_cmpuint(a->plain_bytes, ==, b->plain_bytes);
    g_assert_cmpuint(a->payload_bytes, ==, b->payload_bytes);
    g_assert_cmpuint(a->raw_bytes, ==, rig->out->raw_length);
}

/* Where a packed body is said to be the new pages, it is; both sides say the same. */
static void
check_body(Rig *rig)
{
    static guint8 plain[PAGE_BATCH_RAW + PAGE_OPS_MAX];
    const guint8 *payload = rig->out->payload;
    guint n = 0;
    gsize length;
    PageBody body, there;
    gboolean is = page_body(rig->out, payload, rig->out->payload_length, &body);

    g_assert_cmpint(page_body(rig->in, payload, rig->out->payload_length, &there), ==, is);
    if (!is)
        return;
    rig->bodies++;
    g_assert_cmpmem(&body, sizeof body, &there, sizeof there);
    length = body.pages * PAGE_BYTES + body.extra;
    if (body.coding == PAGE_CODED_LZ4)
        g_assert_cmpint(LZ4_decompress_safe((const char *)body.bytes, (char *)plain, (int)body.size,
                                            sizeof plain),
                        ==, length);
    else
        g_assert_cmpuint(ZSTD_decompress(plain, sizeof plain, body.bytes, body.size), ==, length);
    for (guint i = 0; i < rig->out->n_pages; i++) {
        const PageItem *item = &rig->out->pages[i];

        if (item->op == PAGE_OP_NEW)
            g_assert_cmpmem(plain + PAGE_BYTES * n++, PAGE_BYTES, rig->out->raw + item->body,
                            PAGE_BYTES);
    }
    g_assert_cmpuint(n, ==, body.pages);
}

static void
send(Rig *rig, PagePackLevel level)
{
    page_pack(rig->out, rig->codec, level);
    unpack(rig);
    g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, 0);
    assert_same(rig);
    check_body(rig);
}

/* A batch as QEMU makes them: a block's name, pages, zero pages, gaps, an end of section. */
static void
fill_usual(Rig *rig, guint seed)
{
    guint8 page[PAGE_BYTES];

    begin(rig);
    add_bytes(rig, "\002\000\000\000\003", 5);
    make_page(seed, page);
    rig->next = 0;
    add_page(rig, 0x1234, TRUE, page);
    for (guint i = 1; i < 20; i++)
        add_numbered(rig, i % 7 == 0 ? 3 : 0, seed + i);
    add_zeros(rig, 0, 700);
    add_zeros(rig, 100, 3);
    add_numbered(rig, 0, seed + 40);
    add_word(rig, 0x10);
    add_bytes(rig, "\176\000\000\000\003", 5);
}

static void
test_usual(Rig *rig, gconstpointer unused)
{
    guint last = PAGE_BATCH_RAW;

    for (guint level = 0; level < PAGE_LEVELS; level++) {
        fill_usual(rig, 1000 * level);
        prepare(rig, rig->hasher, &known);
        send(rig, level);
        g_assert_cmpuint(rig->out->counts.zero, ==, 703);
        g_assert_cmpuint(rig->out->counts.compressed + rig->out->counts.raw, ==, 21);
        g_assert_cmpuint(rig->out->counts.raw == 0, ==, level != PAGE_LEVEL_RAW);
        g_assert_cmpuint(rig->out->payload_length, <, last);
        /* Zero pages and words cost next to nothing. */
        if (level == PAGE_LEVEL_RAW)
            g_assert_cmpuint(rig->out->payload_length, <, 21 * PAGE_BYTES + 120);
        else
            g_assert_cmpuint(rig->out->payload_length, <, 30000);
        last = rig->out->payload_length + 2000;
    }
    g_assert_cmpuint(rig->got->len, ==, g_hash_table_size(rig->sent));
    g_assert_cmpuint(rig->fetched, ==, 0);
}

/* Pages, zero pages, pages that were there before: what is packed are the new pages, and nothing
 * else. */
static void
test_body(Rig *rig, gconstpointer unused)
{
    PageBody body;

    for (guint level = 0; level < PAGE_LEVELS; level++) {
        for (guint more = 0; more < 2; more++) {
            begin(rig);
            rig->next = 0x10000;
            add_numbered(rig, 0, 7); /* known from the second round on */
            for (guint i = 0; i < 20; i++)
                add_numbered(rig, i % 3, 100 * level + 30 * more + i);
            add_numbered(rig, 0, 100 * level + 30 * more); /* a copy */
            add_zeros(rig, 2, 9);
            if (more)
                add_word(rig, 0x10);
            prepare(rig, rig->hasher, &known);
            rig->bodies = 0;
            send(rig, level);
            g_assert_cmpuint(rig->bodies, ==, level != PAGE_LEVEL_RAW && !more);
        }
    }
    /* Not hashed, none is new. */
    begin(rig);
    for (guint i = 0; i < 20; i++)
        add_numbered(rig, 0, i);
    prepare(rig, NULL, NULL);
    send(rig, PAGE_LEVEL_ZSTD_FAST);
    g_assert_cmpuint(rig->bodies, ==, 0);
    g_assert_false(page_body(rig->out, rig->out->payload, PAGE_HEADER_SIZE, &body));
}

static void
test_all_zero(Rig *rig, gconstpointer unused)
{
    begin(rig);
    add_zeros(rig, 77, PAGE_BATCH_RAW / 9);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_ZSTD_FAST);
    g_assert_cmpuint(rig->out->counts.zero, ==, 14563);
    g_assert_cmpuint(rig->out->payload_length, <, 30);
}

/* The second time a few bytes do for each run of pages. */
static void
test_same_again(Rig *rig, gconstpointer unused)
{
    fill_usual(rig, 5);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_LZ4);
    g_assert_cmpuint(rig->got->len, ==, 21);
    fill_usual(rig, 5);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.same, ==, 21);
    g_assert_cmpuint(rig->got->len, ==, 21);
    g_assert_cmpuint(rig->fetched, ==, 21);
    g_assert_cmpuint(rig->out->payload_length, <, 90);
}

static void
remember(Rig *rig, guint seed)
{
    guint8 page[PAGE_BYTES], hash[PAGE_HASH_BYTES];

    make_page(seed, page);
    page_hash(rig->hasher, page, hash);
    g_ptr_array_add(rig->store, g_memdup2(page, PAGE_BYTES));
    g_hash_table_insert(rig->recall, g_bytes_new(hash, PAGE_HASH_BYTES),
                        GUINT_TO_POINTER(rig->store->len));
}

/* Pages of an earlier session, mixed with new ones, the two sets by turns. */
static void
test_recalled(Rig *rig, gconstpointer unused)
{
    for (guint i = 0; i < 300; i++)
        remember(rig, 100000 + i);
    for (guint round = 0; round < 60; round++) {
        begin(rig);
        for (guint i = 0; i < 28; i++) {
            gboolean old = g_rand_int_range(rig->rand, 0, 4) > 0;

            add_numbered(rig, i % 5 == 4,
                         old ? 100000 + (round * 5 + i) % 300
                             : (guint)g_rand_int_range(rig->rand, 0, 500));
        }
        prepare(rig, rig->hasher, &known);
        send(rig, round % PAGE_LEVELS);
        g_assert_cmpuint(rig->out->counts.recalled, >, 5);
    }
    g_assert_cmpuint(rig->got->len, ==, g_hash_table_size(rig->sent));
}

/* Twice in one batch: nothing refers to what is only just being added. */
static void
test_twice_in_a_batch(Rig *rig, gconstpointer unused)
{
    begin(rig);
    for (guint i = 0; i < 9; i++)
        add_numbered(rig, 0, i % 3);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.same, ==, 6);
    g_assert_cmpuint(rig->out->counts.raw, ==, 3);
    g_assert_cmpuint(rig->got->len, ==, 3);
    g_assert_cmpuint(rig->fetched, ==, 0);
    /* Also where there are no sets. */
    begin(rig);
    for (guint i = 0; i < 4; i++)
        add_numbered(rig, 0, 50 + i % 2);
    prepare(rig, rig->hasher, NULL);
    send(rig, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.same, ==, 2);
    g_assert_cmpuint(rig->got->len, ==, 3);
}

static void
test_unhashed(Rig *rig, gconstpointer unused)
{
    for (guint i = 0; i < 2; i++) {
        fill_usual(rig, 5);
        prepare(rig, NULL, &known);
        send(rig, PAGE_LEVEL_RAW);
        g_assert_cmpuint(rig->out->counts.raw, ==, 21);
    }
    g_assert_cmpuint(rig->got->len, ==, 0);
    g_assert_cmpuint(g_hash_table_size(rig->sent), ==, 0);
}

/* Nothing is added before all is there; packed plain, the ordinals stay what they were. */
static void
test_missing(Rig *rig, gconstpointer unused)
{
    for (guint i = 0; i < 10; i++)
        remember(rig, 100 + i);
    for (guint missing = 1; missing <= 10; missing++) {
        guint before = rig->got->len;

        begin(rig);
        for (guint i = 0; i < 10; i++) {
            add_numbered(rig, 0, 100 + i);
            add_numbered(rig, 0, 1000 * missing + i / 2);
        }
        prepare(rig, rig->hasher, &known);
        page_pack(rig->out, rig->codec, PAGE_LEVEL_LZ4);
        unpack(rig);
        rig->missing = missing;
        g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, -ENOENT);
        g_assert_cmpuint(rig->got->len, ==, before);
        page_pack_plain(rig->out, rig->codec, missing % PAGE_LEVELS);
        g_assert_cmpuint(rig->out->counts.recalled, ==, 0);
        unpack(rig);
        g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, 0);
        assert_same(rig);
        g_assert_cmpuint(rig->got->len, ==, before + 5);
        g_assert_cmpuint(rig->got->len, ==, g_hash_table_size(rig->sent));
    }
    /* And refer to the right pages. */
    begin(rig);
    for (guint i = 0; i < 20; i++)
        add_numbered(rig, 0, 1000 * (1 + i % 10) + i / 5);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.same, ==, 20);
}

/* The destination names new pages itself, before it takes them in order. */
static void
test_destination_hashes(Rig *rig, gconstpointer unused)
{
    remember(rig, 7);
    for (guint round = 0; round < 2; round++) {
        begin(rig);
        add_numbered(rig, 0, 7);
        for (guint i = 0; i < 8; i++)
            add_numbered(rig, 0, 20 * round + i / 2);
        prepare(rig, rig->hasher, &known);
        page_pack(rig->out, rig->codec, PAGE_LEVEL_ZSTD_BEST);
        unpack(rig);
        page_prepare(rig->in, rig->hasher);
        rig->hashes_come = TRUE;
        g_assert_cmpint(page_fill(rig->in, &fetches, rig), ==, 0);
        assert_same(rig);
    }
    g_assert_cmpuint(rig->got->len, ==, 8);
}

/* Spans that lie */

static void
random_span(Rig *rig, StreamSpan *span)
{
    guint32 length = rig->out->raw_length;

    *span = (StreamSpan){ .word = (guint64)g_rand_int(rig->rand) << 32 | g_rand_int(rig->rand) };
    span->kind = (guint8)g_rand_int_range(rig->rand, 0, 3);
    span->header = g_rand_int(rig->rand) % (length + 20);
    span->body = span->header + 8;
    switch (g_rand_int_range(rig->rand, 0, 8)) {
    case 0:
        span->body = g_rand_int(rig->rand);
        break;
    case 1:
        span->header = g_rand_int(rig->rand);
        break;
    case 2:
        span->body += (guint32)g_rand_int_range(rig->rand, -9, 50);
        break;
    default:
        break;
    }
}

static gint
by_header(gconstpointer a, gconstpointer b)
{
    const StreamSpan *one = a, *two = b;

    return one->header < two->header ? -1 : one->header > two->header;
}

static void
test_nonsense(Rig *rig, gconstpointer unused)
{
    for (guint round = 0; round < 1500; round++) {
        guint n = (guint)g_rand_int_range(rig->rand, 0, 300);

        begin(rig);
        rig->out->raw_length =
            (guint32)g_rand_int_range(rig->rand, 1, round % 9 ? 20000 : PAGE_BATCH_RAW + 1);
        for (guint i = 0; i < rig->out->raw_length; i++)
            rig->out->raw[i] = round % 3 == 0
                                   ? (guint8)g_rand_int(rig->rand)
                                   : (guint8)(g_rand_int(rig->rand) % 37 == 0 ? 0x28 : 0);
        for (guint i = 0; i < n; i++) {
            StreamSpan span;

            random_span(rig, &span);
            g_array_append_val(rig->spans, span);
        }
        if (round % 2)
            g_array_sort(rig->spans, by_header);
        prepare(rig, round % 5 ? rig->hasher : NULL, round % 7 ? &known : NULL);
        send(rig, round % PAGE_LEVELS);
    }
    g_assert_cmpuint(rig->got->len, >, 100);
}

/* Pages and zero pages at random addresses with random flags, small gaps, some cut at the end. */
static void
test_random_streams(Rig *rig, gconstpointer unused)
{
    static const guint64 skips[] = {
        0, 0, 0, 1, 5, 1000, 1u << 27, 1u << 28, G_MAXUINT64 - 3, 1ull << 50
    };

    for (guint round = 0; round < 400; round++) {
        guint limit = (guint)g_rand_int_range(rig->rand, 1, PAGE_BATCH_RAW - 5000);

        begin(rig);
        add_bytes(rig, "x", 1);
        while (rig->out->raw_length < limit) {
            guint64 skip = skips[g_rand_int_range(rig->rand, 0, G_N_ELEMENTS(skips))];
            guint8 page[PAGE_BYTES];

            make_page((guint)g_rand_int_range(rig->rand, 0, 3000), page);
            if (g_rand_int_range(rig->rand, 0, 10) == 0)
                rig->next += 1; /* flags that nobody foresaw */
            if (g_rand_int_range(rig->rand, 0, 3) == 0)
                add_zeros(rig, skip, (guint)g_rand_int_range(rig->rand, 1, 40));
            else
                add_page(rig, skip, g_rand_int_range(rig->rand, 0, 9) == 0, page);
            if (g_rand_int_range(rig->rand, 0, 9) == 0)
                add_bytes(rig, page, (gsize)g_rand_int_range(rig->rand, 1, 90));
        }
        if (g_rand_boolean(rig->rand))
            rig->out->raw_length -= 1;
        prepare(rig, rig->hasher, &known);
        send(rig, round % PAGE_LEVELS);
    }
    g_assert_cmpuint(rig->got->len, ==, g_hash_table_size(rig->sent));
}

/* The most that a batch can grow: nothing to be had, at every turn. */
static void
test_largest(Rig *rig, gconstpointer unused)
{
    for (guint kind = 0; kind < 4; kind++) {
        begin(rig);
        while (rig->out->raw_length + PAGE_BYTES + 9 <= PAGE_BATCH_RAW) {
            guint8 page[PAGE_BYTES];

            for (guint i = 0; i < PAGE_BYTES; i++)
                page[i] = (guint8)g_rand_int(rig->rand);
            if (kind == 0)
                add_page(rig, (guint64)g_rand_int(rig->rand) << 19, FALSE, page);
            else if (kind == 1)
                add_zeros(rig, g_rand_int(rig->rand) >> 4, 1);
            else if (kind == 2)
                add_zeros(rig, (guint64)g_rand_int(rig->rand) << 19, 1);
            add_bytes(rig, page, 1);
        }
        prepare(rig, rig->hasher, &known);
        send(rig, PAGE_LEVEL_RAW);
        send(rig, PAGE_LEVEL_ZSTD_FAST);
        g_assert_cmpuint(rig->out->n_runs, <=, PAGE_RUNS_MAX);
        g_assert_cmpuint(rig->out->counts.plain_bytes, <=, rig->out->raw_length + 200);
    }
}

/* A zero page that no span tells of stands between two that follow each other. */
static void
test_unreported_zero(Rig *rig, gconstpointer unused)
{
    for (guint left_out = 0; left_out < 5; left_out++) {
        begin(rig);
        add_zeros(rig, 1, 5);
        g_array_remove_index(rig->spans, left_out);
        prepare(rig, rig->hasher, &known);
        send(rig, PAGE_LEVEL_RAW);
        g_assert_cmpuint(rig->out->counts.zero, ==, 4);
    }
    /* Nor one that looks like it, but for its fill byte. */
    begin(rig);
    add_zeros(rig, 1, 5);
    rig->out->raw[2 * 9 + 8] = 1;
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_RAW);
    g_assert_cmpuint(rig->out->counts.zero, ==, 4);
}

/* Zero pages without order fill the list of runs, and yet no page is lost. */
static void
test_pages_after_many_runs(Rig *rig, gconstpointer unused)
{
    begin(rig);
    for (guint i = 0; i < 4000; i++)
        add_zeros(rig, 2, 1);
    for (guint i = 0; i < 20; i++)
        add_numbered(rig, 0, i);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_LZ4);
    g_assert_cmpuint(rig->got->len, ==, 20);
    g_assert_cmpuint(rig->out->counts.zero, ==, PAGE_RUNS_MAX - PAGE_PAGES_MAX);
    g_assert_cmpuint(rig->out->n_runs, <=, PAGE_RUNS_MAX);
}

/* Full to the last run and page. */
static void
test_runs_run_out(Rig *rig, gconstpointer unused)
{
    begin(rig);
    for (guint i = 0; i < 31; i++)
        add_numbered(rig, 0, i);
    for (guint i = 0; i < 380; i++)
        add_zeros(rig, 2, 1);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_RAW);
    /* What a batch of many zero pages and as many pages as can be would need, doesn't exist. */
    rig->out->n_runs = PAGE_RUNS_MAX;
    rig->out->covered = 0;
    page_spans(rig->out, &g_array_index(rig->spans, StreamSpan, 0), rig->spans->len);
    g_assert_cmpuint(rig->out->n_runs, ==, PAGE_RUNS_MAX);
    g_assert_cmpuint(rig->out->n_pages, ==, 31);
}

/* Hostile payloads */

static void
test_prefixes(Rig *rig, gconstpointer unused)
{
    for (guint level = 0; level < PAGE_LEVELS; level++) {
        begin(rig);
        add_numbered(rig, 5, level);
        add_zeros(rig, 0, 9);
        add_numbered(rig, 5, level + 10);
        add_numbered(rig, 5, level + 10);
        add_bytes(rig, "the end", 7);
        prepare(rig, rig->hasher, &known);
        send(rig, level);
        for (gsize length = 0; length < rig->out->payload_length; length++) {
            g_autofree guint8 *payload = g_memdup2(rig->out->payload, length);
            const char *why = NULL;

            g_assert_cmpint(page_unpack(rig->in, rig->codec, payload, length, &why), ==, -EPROTO);
            g_assert_nonnull(why);
            g_assert_cmpuint(rig->in->raw_length, ==, 0);
        }
    }
}

static int
fetch_anything(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    memset(out, (int)reference->ordinal, PAGE_BYTES);
    return 0;
}

static void
ignore_added(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
    *(guint *)data += page[0] + page[PAGE_BYTES - 1];
}

static void
test_damaged(Rig *rig, gconstpointer unused)
{
    static const PageFetch anything = { .fetch = fetch_anything, .added = ignore_added };
    guint taken = 0, sum = 0;

    for (guint round = 0; round < 20000; round++) {
        g_autofree guint8 *payload = NULL;
        const char *why = NULL;
        guint hits = (guint)g_rand_int_range(rig->rand, 1, 4);

        if (round % 1000 == 0) {
            fill_usual(rig, round / 2000);
            prepare(rig, rig->hasher, &known);
            send(rig, round / 1000 % PAGE_LEVELS);
        }
        payload = g_memdup2(rig->out->payload, rig->out->payload_length);
        for (guint i = 0; i < hits; i++) {
            /* The header and the ops more than the rest. */
            guint at = g_rand_int(rig->rand) % rig->out->payload_length;

            if (round % 3 == 0)
                at %= PAGE_HEADER_SIZE;
            else if (round % 3 == 1)
                at = rig->out->payload_length - 1 - at % MIN(60, rig->out->payload_length);
            payload[at] = (guint8)g_rand_int(rig->rand);
        }
        if (page_unpack(rig->in, rig->codec, payload, rig->out->payload_length, &why) < 0) {
            g_assert_nonnull(why);
            continue;
        }
        taken++;
        g_assert_cmpint(page_fill(rig->in, &anything, &sum), ==, 0);
        g_assert_cmpuint(rig->in->raw_length, <=, PAGE_BATCH_RAW);
    }
    g_assert_cmpuint(taken, >, 0);
    g_assert_cmpuint(taken, <, 20000);
}

/* A payload made by hand: stored, "raw" bytes of batch, literals, ops. */
typedef struct {
    const char *ops;
    guint n_ops, raw, literals;
    const char *why; /* NULL: taken */
} Hand;

#define OPS(text) text, sizeof text - 1
static const Hand hands[] = {
    { OPS("\x20"), 2, 2, NULL },         /* LITERAL 2 */
    { OPS("\x20"), 2, 1, "literals" },   /* but one there */
    { OPS("\x20"), 2, 3, "impossible" }, /* more literals than bytes */
    { OPS("\x20"), 3, 2, "fill" },       /* one byte short */
    { OPS("\x20"), 3, 3, "fill" },
    { OPS("\x20\x00"), 2, 2, "more than the batch" },
    { OPS("\x00\x00"), 2, 2, NULL },     /* LITERAL 1, twice: not ours, but fine */
    { OPS("\x08\x00"), 1, 1, "form" },   /* LITERAL with jump */
    { OPS("\x11"), 1, 0, "form" },       /* ZERO bare */
    { OPS("\x1a"), 4096, 4096, "form" }, /* no such form */
    { OPS("\x21"), 18, 0, NULL },        /* ZERO 2 */
    { OPS("\x21"), 17, 0, "more than the batch" },
    { OPS("\xe1\x01"), 81, 0, NULL },     /* ZERO 9 */
    { OPS("\xe1"), 81, 0, "number" },     /* varint missing */
    { OPS("\xe1\x81"), 81, 0, "number" }, /* varint cut */
    { OPS("\xe1\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), 81, 0, "number" }, /* 11 bytes */
    { OPS("\xe1\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 81, 0, "count" },
    { OPS("\xe1\x80\x80\x08"), 131072, 0, "more than the batch" },
    { OPS("\x12"), 4096, 4096, NULL }, /* NEW bare */
    { OPS("\x02"), 4104, 4096, NULL }, /* NEW */
    { OPS("\x02"), 4104, 4095, "literals" },
    { OPS("\x02"), 4103, 4096, "more than the batch" },
    { OPS("\x0b\x04"), 4104, 4096, NULL }, /* PLAIN, jump 2 */
    { OPS("\x0b"), 4104, 4096, "number" },
    { OPS("\x0b\xff\xff\xff\xff\xff\xff\xff\x0f"), 4104, 4096, NULL },
    { OPS("\x0b\xff\xff\xff\xff\xff\xff\xff\x1f"), 4104, 4096, "jump" },
    { OPS("\x32"), 8192, 8192, "count" },      /* NEW bare, 2 */
    { OPS("\x02\x04\x00"), 8208, 4096, NULL }, /* COPY of the first */
    { OPS("\x02\x04\x01"), 8208, 4096, "copy" },
    { OPS("\x04\x00"), 4104, 0, "copy" },
    { OPS("\x02\x04"), 8208, 4096, "number" },
    { OPS("\x24\x00"), 8208, 0, "count" },    /* COPY 2 */
    { OPS("\x15\x04\x00"), 8200, 0, "copy" }, /* COPY of a reference */
    { OPS("\x35"), 8192, 0, "count" },        /* REF bare, 2 */
    { OPS("\x25"), 8208, 0, NULL },           /* REF 2 */
    { OPS("\x06\x07\x08"), 4104, 0, NULL },   /* REF_AT set 7, ordinal 4 */
    { OPS("\x06\x07"), 4104, 0, "number" },
    { OPS("\x06"), 4104, 0, "number" },
    { OPS("\x06\xff\xff\xff\xff\x1f\x00"), 4104, 0, "out of range" },
    { OPS("\x06\x00\xff\xff\xff\xff\x1f"), 4104, 0, "out of range" },
    { OPS("\x0e\x00\x07"), 4104, 0, "number" }, /* REF_AT with jump, ordinal missing */
    { OPS("\x07"), 4104, 7, "literals" },       /* DELTA; what is good is test_page_delta.c's */
    { OPS("\x17"), 4096, 8, "form" },           /* bare */
    { OPS(""), 1, 1, "impossible" },
    { OPS("\x00"), 0, 0, "more than the batch" },
    { OPS("\x00"), 131073, 1, "impossible" },
};

static void
test_by_hand(Rig *rig, gconstpointer unused)
{
    static const PageFetch anything = { .fetch = fetch_anything, .added = ignore_added };
    guint sum = 0;

    for (guint i = 0; i < G_N_ELEMENTS(hands); i++) {
        const Hand *hand = &hands[i];
        gsize length = PAGE_HEADER_SIZE + hand->literals + hand->n_ops;
        g_autofree guint8 *payload = g_malloc0(length);
        const char *why = "";
        int result;

        payload[3] = (guint8)hand->n_ops;
        for (guint byte = 0; byte < 4; byte++) {
            payload[4 + byte] = (guint8)(hand->raw >> (24 - 8 * byte));
            payload[8 + byte] = (guint8)(hand->literals >> (24 - 8 * byte));
        }
        memcpy(payload + length - hand->n_ops, hand->ops, hand->n_ops);
        result = page_unpack(rig->in, rig->codec, payload, length, &why);
        g_test_message("%u: %d %s", i, result, why);
        g_assert_cmpint(result, ==, hand->why == NULL ? 0 : -EPROTO);
        if (hand->why != NULL)
            g_assert_nonnull(strstr(why, hand->why));
        else
            g_assert_cmpint(page_fill(rig->in, &anything, &sum), ==, 0);
    }
}

/* The header says other than the body is. */
static void
test_header(Rig *rig, gconstpointer unused)
{
    static const struct {
        guint at;
        guint8 value;
        const char *why;
    } cases[] = {
        { 0, 3, "coding" },     { 0, PAGE_CODED_LZ4, "body" }, { 0, PAGE_STORED, "body" },
        { 1, 2, "coding" },     { 2, 0x71, "impossible" },     { 3, 0, "impossible" },
        { 4, 1, "impossible" }, { 8, 1, "impossible" },        { 11, 0, "body" },
        { 12, 0, "body" },
    };
    g_autofree guint8 *large = g_malloc0(PAGE_PAYLOAD_MAX + 1);
    const char *why = NULL;

    fill_usual(rig, 1);
    prepare(rig, rig->hasher, &known);
    send(rig, PAGE_LEVEL_ZSTD_FAST);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree guint8 *payload = g_memdup2(rig->out->payload, rig->out->payload_length);

        payload[cases[i].at] = cases[i].value;
        why = "";
        g_assert_cmpint(page_unpack(rig->in, rig->codec, payload, rig->out->payload_length, &why),
                        ==, -EPROTO);
        g_test_message("%u: %s", i, why);
        g_assert_nonnull(strstr(why, cases[i].why));
    }
    memcpy(large, rig->out->payload, rig->out->payload_length);
    g_assert_cmpint(page_unpack(rig->in, rig->codec, large, PAGE_PAYLOAD_MAX + 1, &why), ==,
                    -EPROTO);
    /* A second frame behind the first. */
    g_assert_cmpint(page_unpack(rig->in, rig->codec, large, rig->out->payload_length + 9, &why), ==,
                    -EPROTO);
}

/* What the header promises of memory; a compile-time figure would not know zstd's. */
static void
test_sizes(Rig *rig, gconstpointer unused)
{
    g_test_message("batch %zu, codec %zu", sizeof(PageBatch), page_codec_size(rig->codec));
    for (guint round = 0; round < 300; round++) {
        fill_usual(rig, round);
        prepare(rig, rig->hasher, NULL);
        send(rig, round % PAGE_LEVELS);
        g_assert_cmpuint(page_codec_size(rig->codec), <=, PAGE_CODEC_MAX);
    }
    g_test_message("codec after use %zu", page_codec_size(rig->codec));
    g_assert_cmpuint(sizeof(PageBatch), <=, 280 * 1024);
    page_codec_free(NULL);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*run)(Rig *rig, gconstpointer unused);
    } tests[] = {
        { "/flyway/page/usual", test_usual },
        { "/flyway/page/body", test_body },
        { "/flyway/page/all-zero", test_all_zero },
        { "/flyway/page/same-again", test_same_again },
        { "/flyway/page/recalled", test_recalled },
        { "/flyway/page/twice-in-a-batch", test_twice_in_a_batch },
        { "/flyway/page/unhashed", test_unhashed },
        { "/flyway/page/missing", test_missing },
        { "/flyway/page/destination-hashes", test_destination_hashes },
        { "/flyway/page/nonsense", test_nonsense },
        { "/flyway/page/random-streams", test_random_streams },
        { "/flyway/page/largest", test_largest },
        { "/flyway/page/unreported-zero", test_unreported_zero },
        { "/flyway/page/pages-after-many-runs", test_pages_after_many_runs },
        { "/flyway/page/runs-run-out", test_runs_run_out },
        { "/flyway/page/prefixes", test_prefixes },
        { "/flyway/page/damaged", test_damaged },
        { "/flyway/page/by-hand", test_by_hand },
        { "/flyway/page/header", test_header },
        { "/flyway/page/sizes", test_sizes },
    };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Rig, NULL, rig_up, tests[i].run, rig_down);
    return g_test_run();
}
