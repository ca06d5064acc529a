/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A batch is raw bytes and a list of what stands where in them. The list is
 * made of spans that the stream parser saw; nothing depends on their truth: a span that isn't
 * whole, or that overlaps the one before, is left out, and what no span covers travels as it is.
 * The words before pages are read from the bytes, not from the spans.
 *
 * Zero pages in a row are one run. A batch can hold 14,563 of them, so that a list of spans would
 * be larger than the batch; where they are so scattered that PAGE_RUNS_MAX runs don't do, the rest
 * are literal bytes, for which zstd does nearly as well. Room for pages is kept back: none is lost.
 *
 * Steps 1 and 3 work on the batch alone, so that threads can have a batch each; only step 2 asks
 * and tells the set of known pages, whose order both hosts must agree on. A page that stands twice
 * in one batch becomes a COPY, never a reference to the ordinal that the first is about to get: the
 * destination can then fetch all references before it adds anything, and so do all or nothing.
 *
 * Differences are the same: all are from what was remembered before the batch, so that the
 * destination can make the pages of them before it fetches anything, and name them. What is
 * remembered depends on contents alone, never on ops: so the source needn't know what a page will
 * become, and looks for bases as soon as a batch is full, also where nothing is looked up. Bases
 * wait in payload[], which is free until then, each where the page stands in raw[]: page_pack.c
 * shows why they aren't overwritten too soon.
 */
#include <lz4.h>
#include "flyway/page_private.h"

PageBatch *
page_batch_new(void)
{
    PageBatch *batch = g_new(PageBatch, 1);

    page_batch_clear(batch);
    return batch;
}

void
page_batch_free(PageBatch *batch)
{
    g_free(batch);
}

void
page_batch_clear(PageBatch *batch)
{
    /* The arrays are only read where counted. */
    memset(batch, 0, G_STRUCT_OFFSET(PageBatch, pages));
}

gboolean
page_batch_has(const PageBatch *batch, PageOp op)
{
    for (guint i = 0; i < batch->n_pages; i++) {
        if (batch->pages[i].op == op)
            return TRUE;
    }
    return FALSE;
}

/* zstd takes its memory at first use: all of it now, at the size and level that need most. */
static void
warm_up(PageCodec *codec)
{
    gsize packed;

    ZSTD_CCtx_setParameter(codec->pack, ZSTD_c_compressionLevel, 3);
    packed = ZSTD_compress2(codec->pack, codec->ops, sizeof codec->ops, codec->plain,
                            sizeof codec->plain);
    g_assert(!ZSTD_isError(packed));
}

PageCodec *
page_codec_new(void)
{
    PageCodec *codec = g_new0(PageCodec, 1);

    codec->pack = ZSTD_createCCtx();
    codec->unpack = ZSTD_createDCtx();
    codec->lz4 = g_malloc((gsize)LZ4_sizeofState());
    if (codec->pack == NULL || codec->unpack == NULL)
        g_error("flyway: no memory for zstd");
    warm_up(codec);
    return codec;
}

void
page_codec_free(PageCodec *codec)
{
    if (codec == NULL)
        return;
    ZSTD_freeCCtx(codec->pack);
    ZSTD_freeDCtx(codec->unpack);
    g_free(codec->lz4);
    g_free(codec);
}

gsize
page_codec_size(const PageCodec *codec)
{
    return sizeof *codec + ZSTD_sizeof_CCtx(codec->pack) + ZSTD_sizeof_DCtx(codec->unpack) +
           (gsize)LZ4_sizeofState();
}

static PageRun *
add_run(PageBatch *batch, const StreamSpan *span, guint32 count, gsize end)
{
    PageRun *run = &batch->runs[batch->n_runs++];

    *run = (PageRun){ .header = span->header, .count = count };
    batch->covered = (guint32)end;
    return run;
}

static void
add_page(PageBatch *batch, const StreamSpan *span)
{
    gsize end = (gsize)span->body + PAGE_BYTES;

    if (end > batch->raw_length || batch->n_runs == PAGE_RUNS_MAX)
        return;
    add_run(batch, span, 0, end);
    /* Pages don't overlap: there is room for as many as a batch can hold. */
    batch->pages[batch->n_pages++] =
        (PageItem){ .header = span->header, .body = span->body, .op = PAGE_OP_PLAIN };
}

static void
add_zero(PageBatch *batch, const StreamSpan *span)
{
    gsize end = (gsize)span->header + PAGE_ZERO_SIZE;
    PageRun *last = batch->n_runs > 0 ? &batch->runs[batch->n_runs - 1] : NULL;
    guint64 word;

    if (end > batch->raw_length || span->body != span->header + PAGE_WORD_SIZE ||
        batch->raw[span->body] != 0)
        return;
    word = page_word_get(batch->raw + span->header);
    if ((word & PAGE_FLAGS_MASK) != PAGE_FLAGS_ZERO)
        return;
    if (last != NULL && last->count > 0 && span->header == batch->covered &&
        word == page_word_get(batch->raw + span->header - PAGE_ZERO_SIZE) + PAGE_BYTES) {
        last->count++;
        batch->covered = (guint32)end;
    } else if (batch->n_runs < PAGE_RUNS_MAX - (PAGE_PAGES_MAX - batch->n_pages)) {
        add_run(batch, span, 1, end);
    }
}

void
page_spans(PageBatch *batch, const StreamSpan *spans, guint n)
{
    g_assert(batch->raw_length <= PAGE_BATCH_RAW);
    for (guint i = 0; i < n; i++) {
        const StreamSpan *span = &spans[i];

        if (span->header < batch->covered || span->body < (guint64)span->header + PAGE_WORD_SIZE)
            continue;
        if (span->kind == STREAM_PAGE)
            add_page(batch, span);
        else if (span->kind == STREAM_ZERO)
            add_zero(batch, span);
    }
}

void
page_prepare(PageBatch *batch, PageHasher *hasher)
{
    batch->hashed = hasher != NULL;
    if (hasher == NULL)
        return;
    for (guint i = 0; i < batch->n_pages; i++) {
        PageItem *item = &batch->pages[i];

        if (item->op == PAGE_OP_NEW || item->op == PAGE_OP_PLAIN)
            page_hash(hasher, batch->raw + item->body, item->hash);
    }
}

/* The page of this batch that has the same bytes and travels itself, or -1. */
static gint
find_original(const PageBatch *batch, guint nth)
{
    const PageItem *item = &batch->pages[nth];

    for (guint i = 0; i < nth; i++) {
        const PageItem *other = &batch->pages[i];

        if ((other->op == PAGE_OP_NEW || other->op == PAGE_OP_PLAIN) &&
            memcmp(other->hash, item->hash, PAGE_HASH_BYTES) == 0)
            return (gint)i;
    }
    return -1;
}

void
page_choose(PageBatch *batch, const PageKnown *ops, gpointer data)
{
    for (guint i = 0; batch->hashed && i < batch->n_pages; i++) {
        PageItem *item = &batch->pages[i];
        gint original = find_original(batch, i);

        if (original >= 0) {
            item->op = PAGE_OP_COPY;
            item->original = (guint8)original;
        } else if (ops == NULL) {
            item->op = PAGE_OP_PLAIN;
        } else if (ops->find(data, item->hash, &item->reference)) {
            item->op = PAGE_OP_REF;
        } else {
            item->op = PAGE_OP_NEW;
            ops->added(data, item->hash);
        }
    }
}

/* Of those that are remembered. */
static gboolean
page_address(const PageBatch *batch, const PageItem *item, guint64 *address)
{
    guint64 word;

    if (item->body != item->header + PAGE_WORD_SIZE)
        return FALSE;
    word = page_word_get(batch->raw + item->header);
    *address = word - PAGE_FLAGS_PAGE;
    return (word & PAGE_FLAGS_MASK) == PAGE_FLAGS_PAGE;
}

const guint8 *
page_base(const PageBatch *batch, const PageItem *item, const PageCache *cache)
{
    guint64 address;

    return page_address(batch, item, &address) ? page_cache_find(cache, address) : NULL;
}

void
page_bases(PageBatch *batch, const PageCache *cache)
{
    for (guint i = 0; i < batch->n_pages; i++) {
        PageItem *item = &batch->pages[i];
        const guint8 *base = page_base(batch, item, cache);

        if (base == NULL)
            continue;
        memcpy(batch->payload + PAGE_HEADER_SIZE + item->body, base, PAGE_BYTES);
        item->based = batch->based = TRUE;
    }
}

void
page_remember(const PageBatch *batch, PageCache *cache)
{
    for (guint i = 0; i < batch->n_pages; i++) {
        const PageItem *item = &batch->pages[i];
        guint64 address;

        if (page_address(batch, item, &address))
            page_cache_take(cache, address, batch->raw + item->body);
    }
}

gboolean
page_body(const PageBatch *batch, const guint8 *payload, gsize length, PageBody *body)
{
    guint32 literals;
    guint16 ops;
    guint n_new = 0;

    /* Of what went as a difference the body hasn't the page. */
    if (length <= PAGE_HEADER_SIZE || payload[0] == PAGE_STORED || batch->counts.delta > 0)
        return FALSE;
    for (guint i = 0; i < batch->n_pages; i++)
        n_new += batch->pages[i].op == PAGE_OP_NEW;
    memcpy(&ops, payload + 2, sizeof ops);
    memcpy(&literals, payload + 8, sizeof literals);
    *body = (PageBody){ .bytes = payload + PAGE_HEADER_SIZE,
                        .size = (guint32)(length - PAGE_HEADER_SIZE),
                        .coding = (PageCoding)payload[0],
                        .pages = n_new,
                        .extra = GUINT16_FROM_BE(ops) };
    return n_new > 0 && GUINT32_FROM_BE(literals) == n_new * PAGE_BYTES;
}
