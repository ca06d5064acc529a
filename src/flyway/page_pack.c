/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One walk over the batch's runs writes literals to their place and ops aside;
 * then both are packed together, as one piece: what pages of one batch have in common is found.
 * An op is held back until the next doesn't continue it (pending), which makes runs.
 *
 * Size: what replaces bytes never takes more of them, save for at most 5 bytes a page (the op, and
 * that of the literals before it): a zero page whose address is too far to be told in 4 bytes stays
 * literal, and a pack that saves less than 1/32 is thrown away, as the destination would unpack in
 * vain. So PAGE_PAYLOAD_MAX holds for any input.
 *
 * Differences. A page that has a base goes as DELTA where at most half of its blocks differ: beyond
 * that the page packs as well as the difference does. Only blocks that differ travel, so that a
 * difference is worth it also where nothing is packed, and a packer has less to go through than
 * with a page of zeros. Bases lie in payload[], where literals are written directly at
 * PAGE_LEVEL_RAW. That is right, as literals never outrun raw: when a page is come to whose bytes
 * and base are at offset b (of raw, and of the body), at most b - 8 literals are there, for its
 * word isn't one of them. So the difference's mask ends before b, each block is written at or
 * before the place that it is read from, and later bases lie behind.
 */
#include <lz4.h>
#include "flyway/page_private.h"

#define ZERO_JUMP_LIMIT (G_GUINT64_CONSTANT(1) << 28) /* four bytes of varint */

/** An op being made. */
typedef struct {
    PageOp op;
    PageForm form;
    guint32 count; /* 0: none */
    guint64 jump;
    guint64 first, second; /* COPY: index; REF_AT: set and difference */
} Pending;

typedef struct {
    const PageBatch *batch;
    gboolean plain; /* without references */
    gboolean based; /* may have differences, of pages with the op below */
    PageOp based_op;
    guint8 *literals, *ops;
    gsize n_literals, n_ops;
    guint32 at; /* raw bytes done */
    Pending pending;
    PageForecast forecast;
    guint nth[PAGE_PAGES_MAX]; /* of those pages that travel themselves, which one it is */
    guint n_travel;
    PageCounts counts;
} Packer;

static guint64
zigzag(gint64 value)
{
    guint64 twice = (guint64)value << 1;

    return value < 0 ? ~twice : twice;
}

static void
put_varint(Packer *packer, guint64 value)
{
    for (; value >= 0x80; value >>= 7)
        packer->ops[packer->n_ops++] = (guint8)(value | 0x80);
    packer->ops[packer->n_ops++] = (guint8)value;
}

static void
flush(Packer *packer)
{
    const Pending *pending = &packer->pending;
    guint32 count = MIN(pending->count - 1, (guint32)PAGE_COUNT_INLINE);

    if (pending->count == 0)
        return;
    packer->ops[packer->n_ops++] = (guint8)(pending->op | pending->form << 3 | count << 5);
    if (count == PAGE_COUNT_INLINE)
        put_varint(packer, pending->count - PAGE_COUNT_INLINE - 1);
    if (pending->form == PAGE_JUMP)
        put_varint(packer, pending->jump);
    if (pending->op == PAGE_OP_COPY || pending->op == PAGE_OP_REF_AT)
        put_varint(packer, pending->first);
    if (pending->op == PAGE_OP_REF_AT)
        put_varint(packer, pending->second);
    packer->pending.count = 0;
}

static gboolean
continues(const Pending *pending, const Pending *next)
{
    if (pending->count == 0 || next->form != PAGE_NEXT || pending->form == PAGE_BARE)
        return FALSE;
    if (next->op == PAGE_OP_REF)
        return pending->op == PAGE_OP_REF || pending->op == PAGE_OP_REF_AT;
    return next->op == pending->op && next->op != PAGE_OP_COPY && next->op != PAGE_OP_REF_AT;
}

static void
put(Packer *packer, const Pending *next)
{
    if (continues(&packer->pending, next)) {
        packer->pending.count += next->count;
        return;
    }
    flush(packer);
    packer->pending = *next;
}

static void
copy_literals(Packer *packer, guint32 length)
{
    memcpy(packer->literals + packer->n_literals, packer->batch->raw + packer->at, length);
    packer->n_literals += length;
    packer->at += length;
}

/* Everything up to an offset, as it is. */
static void
put_literals(Packer *packer, guint32 until)
{
    guint32 length = until - packer->at;

    if (length == 0)
        return;
    put(packer, &(Pending){ .op = PAGE_OP_LITERAL, .count = length });
    copy_literals(packer, length);
}

/* How the address of the next page is told; only what is a page's or zero page's usual word. */
static void
choose_form(const Packer *packer, guint64 address, Pending *next)
{
    gint64 pages = (gint64)(address - packer->forecast.address) / PAGE_BYTES;

    next->form = pages == 0 ? PAGE_NEXT : PAGE_JUMP;
    next->jump = zigzag(pages);
}

static void
put_zeros(Packer *packer, const PageRun *run)
{
    guint64 address = page_word_get(packer->batch->raw + run->header) - PAGE_FLAGS_ZERO;
    Pending next = { .op = PAGE_OP_ZERO, .count = run->count };

    choose_form(packer, address, &next);
    packer->counts.zero += run->count;
    if (next.jump >= ZERO_JUMP_LIMIT)
        return;
    put_literals(packer, run->header);
    put(packer, &next);
    packer->at += run->count * PAGE_ZERO_SIZE;
    packer->forecast.address = address + (guint64)run->count * PAGE_BYTES;
}

static const guint8 *
base_of(const Packer *packer, const PageItem *item)
{
    return packer->batch->payload + PAGE_HEADER_SIZE + item->body;
}

/* A bit for each block of a page that isn't its base's. */
static guint64
differing(const Packer *packer, const PageItem *item)
{
    const guint8 *page = packer->batch->raw + item->body, *base = base_of(packer, item);
    guint64 blocks = 0;

    for (guint i = 0; i < PAGE_BLOCKS; i++) {
        guint64 any = 0;

        for (guint at = i * PAGE_BLOCK; at < (i + 1) * PAGE_BLOCK; at += sizeof any)
            any |= page_load(page + at) ^ page_load(base + at);
        blocks |= (guint64)(any != 0) << i;
    }
    return blocks;
}

static void
put_difference(Packer *packer, const PageItem *item, guint64 blocks)
{
    const guint8 *page = packer->batch->raw + item->body, *base = base_of(packer, item);
    guint8 *out = packer->literals + packer->n_literals;

    page_word_put(out, blocks);
    out += PAGE_WORD_SIZE;
    for (; blocks != 0; blocks &= blocks - 1) {
        guint at = (guint)__builtin_ctzll(blocks) * PAGE_BLOCK;

        /* Word by word: out may overlap what is to be read, never pass it. */
        for (guint end = at + PAGE_BLOCK; at < end; at += PAGE_WORD_SIZE, out += PAGE_WORD_SIZE) {
            guint64 word = page_load(page + at) ^ page_load(base + at);

            memcpy(out, &word, sizeof word);
        }
    }
    packer->n_literals = (gsize)(out - packer->literals);
}

/* May it go as a difference? Then blocks tells of which. */
static gboolean
differs_little(const Packer *packer, const PageItem *item, guint64 *blocks)
{
    if (!packer->based || !item->based || (PageOp)item->op != packer->based_op)
        return FALSE;
    *blocks = differing(packer, item);
    return __builtin_popcountll(*blocks) <= PAGE_BLOCKS / 2;
}

/* What a page becomes: COPY and REF say what of. */
static void
choose_op(Packer *packer, const PageItem *item, Pending *next)
{
    PageForecast *forecast = &packer->forecast;
    const PageReference *reference = &item->reference;
    guint32 ordinal;

    next->op = item->op == PAGE_OP_REF && packer->plain ? PAGE_OP_PLAIN : (PageOp)item->op;
    if (next->op == PAGE_OP_COPY) {
        next->first = packer->nth[item->original];
    } else if (next->op == PAGE_OP_REF) {
        ordinal = forecast->ordinals[reference->set % PAGE_SLOTS];
        if (reference->set != forecast->set || reference->ordinal != ordinal) {
            next->op = PAGE_OP_REF_AT;
            next->first = reference->set;
            next->second = zigzag((gint32)(reference->ordinal - ordinal));
        }
        page_forecast_used(forecast, reference);
    }
}

static void
count_page(Packer *packer, const Pending *next, const PageItem *item)
{
    if (next->op == PAGE_OP_NEW || next->op == PAGE_OP_PLAIN)
        packer->counts.raw++;
    else if (next->op == PAGE_OP_DELTA)
        packer->counts.delta++;
    else if (next->op != PAGE_OP_COPY && item->reference.set != 0)
        packer->counts.recalled++;
    else
        packer->counts.same++;
}

static void
put_page(Packer *packer, guint i)
{
    const PageItem *item = &packer->batch->pages[i];
    guint64 word = page_word_get(packer->batch->raw + item->header);
    Pending next = { .count = 1 };
    guint64 blocks = 0;

    if (item->body == item->header + PAGE_WORD_SIZE &&
        (word & PAGE_FLAGS_MASK) == PAGE_FLAGS_PAGE) {
        choose_form(packer, word - PAGE_FLAGS_PAGE, &next);
        put_literals(packer, item->header);
        packer->forecast.address = word - PAGE_FLAGS_PAGE + PAGE_BYTES;
    } else {
        next.form = PAGE_BARE;
        put_literals(packer, item->body);
    }
    choose_op(packer, item, &next);
    if (differs_little(packer, item, &blocks))
        next.op = PAGE_OP_DELTA;
    put(packer, &next);
    count_page(packer, &next, item);
    packer->at = item->body;
    if (next.op != PAGE_OP_COPY && next.op != PAGE_OP_REF && next.op != PAGE_OP_REF_AT)
        packer->nth[i] = packer->n_travel++;
    if (next.op == PAGE_OP_NEW || next.op == PAGE_OP_PLAIN) {
        copy_literals(packer, PAGE_BYTES);
        return;
    }
    if (next.op == PAGE_OP_DELTA)
        put_difference(packer, item, blocks);
    packer->at += PAGE_BYTES;
}

static void
walk(Packer *packer)
{
    const PageBatch *batch = packer->batch;
    guint page = 0;

    for (guint i = 0; i < batch->n_runs; i++) {
        if (batch->runs[i].count == 0)
            put_page(packer, page++);
        else
            put_zeros(packer, &batch->runs[i]);
    }
    put_literals(packer, batch->raw_length);
    flush(packer);
    g_assert(packer->n_ops <= PAGE_OPS_MAX);
    /* The ops behind the literals. */
    memcpy(packer->literals + packer->n_literals, packer->ops, packer->n_ops);
}

/* Bytes of the packed body, or 0 where it isn't worth it. */
static gsize
squeeze(PageCodec *codec, PagePackLevel level, gsize length, guint8 *out)
{
    gsize room = length - length / 32 - 1;
    gsize packed;

    if (level == PAGE_LEVEL_LZ4)
        return (gsize)LZ4_compress_fast_extState(codec->lz4, (const char *)codec->plain,
                                                 (char *)out, (int)length, (int)room, 1);
    ZSTD_CCtx_setParameter(codec->pack, ZSTD_c_compressionLevel,
                           level == PAGE_LEVEL_ZSTD_BEST ? 3 : 1);
    packed = ZSTD_compress2(codec->pack, out, room, codec->plain, length);
    return ZSTD_isError(packed) ? 0 : packed;
}

static void
put_header(const Packer *packer, PageCoding coding, guint8 *out)
{
    guint16 ops = GUINT16_TO_BE((guint16)packer->n_ops);
    guint32 raw = GUINT32_TO_BE(packer->batch->raw_length);
    guint32 literals = GUINT32_TO_BE((guint32)packer->n_literals);

    out[0] = (guint8)coding;
    out[1] = packer->counts.delta > 0 && packer->based_op == PAGE_OP_NEW ? PAGE_FLAG_NEW : 0;
    memcpy(out + 2, &ops, sizeof ops);
    memcpy(out + 4, &raw, sizeof raw);
    memcpy(out + 8, &literals, sizeof literals);
}

static void
pack(PageBatch *batch, PageCodec *codec, PagePackLevel level, gboolean plain)
{
    guint8 *body = batch->payload + PAGE_HEADER_SIZE;
    guint8 *literals = level == PAGE_LEVEL_RAW ? body : codec->plain;
    Packer packer = { .batch = batch,
                      .plain = plain,
                      .based = batch->based && !plain,
                      .based_op = page_batch_has(batch, PAGE_OP_NEW) ? PAGE_OP_NEW : PAGE_OP_PLAIN,
                      .literals = literals,
                      .ops = codec->ops };
    PageCoding coding = level == PAGE_LEVEL_LZ4 ? PAGE_CODED_LZ4 : PAGE_CODED_ZSTD;
    gsize length, packed = 0;

    g_assert(batch->raw_length > 0 && batch->raw_length <= PAGE_BATCH_RAW);
    walk(&packer);
    batch->based = FALSE; /* overwritten, here or in what follows */
    length = packer.n_literals + packer.n_ops;
    g_assert(PAGE_HEADER_SIZE + length <= PAGE_PAYLOAD_MAX);
    if (level != PAGE_LEVEL_RAW)
        packed = squeeze(codec, level, length, body);
    if (packed == 0) {
        if (level != PAGE_LEVEL_RAW)
            memcpy(body, codec->plain, length);
        coding = PAGE_STORED;
        packed = length;
    } else {
        packer.counts.compressed = packer.counts.raw;
        packer.counts.raw = 0;
    }
    put_header(&packer, coding, batch->payload);
    batch->payload_length = (guint32)(PAGE_HEADER_SIZE + packed);
    batch->counts = packer.counts;
    batch->counts.raw_bytes = batch->raw_length;
    batch->counts.plain_bytes = (guint32)length;
    batch->counts.payload_bytes = batch->payload_length;
}

void
page_pack(PageBatch *batch, PageCodec *codec, PagePackLevel level)
{
    pack(batch, codec, level, FALSE);
}

void
page_pack_plain(PageBatch *batch, PageCodec *codec, PagePackLevel level)
{
    pack(batch, codec, level, TRUE);
}
