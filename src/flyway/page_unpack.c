/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The payload comes from the network: every length is checked before use, and
 * work is bounded by the batch's size whatever it says. One walk over the ops writes the batch but
 * for its references, which page_fill() fetches in the order of batches. Those places hold what an
 * earlier batch left there until then: nobody may read raw[] before page_fill() has succeeded. A
 * page that came as a difference is one until page_rebuild(): zeros where it doesn't differ. So are
 * copies of it, which are made anew then.
 */
#include <errno.h>
#include <lz4.h>
#include "flyway/page_private.h"

#define JUMP_LIMIT (G_GUINT64_CONSTANT(1) << 53)

typedef struct {
    PageBatch *batch;
    const guint8 *literals, *ops;
    gsize n_literals, n_ops;
    guint32 at; /* raw bytes written */
    PageForecast forecast;
    PageOp delta;                     /* what a DELTA writes: NEW or PLAIN */
    guint8 travelled[PAGE_PAGES_MAX]; /* which of pages[] those are that travelled themselves */
    guint n_travelled;
    const char *why;
} Unpacker;

/** An op as read. */
typedef struct {
    PageOp op;
    PageForm form;
    guint64 count;
    guint64 jump;
    PageReference reference;
    guint64 index;
} Step;

static int
refuse(Unpacker *unpacker, const char *why)
{
    unpacker->why = why;
    return -EPROTO;
}

static int
get_varint(Unpacker *unpacker, guint64 *value)
{
    *value = 0;
    for (guint shift = 0; shift < 64 && unpacker->n_ops > 0; shift += 7) {
        guint8 byte = *unpacker->ops++;

        unpacker->n_ops--;
        *value |= (guint64)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return 0;
    }
    return refuse(unpacker, "number doesn't end");
}

static gint64
unzigzag(guint64 value)
{
    return (gint64)(value >> 1) ^ -(gint64)(value & 1);
}

/* Set and ordinal of the first of a REF or REF_AT. */
static int
get_reference(Unpacker *unpacker, Step *step)
{
    const PageForecast *forecast = &unpacker->forecast;
    guint64 set = forecast->set, difference = 0;

    if (step->op == PAGE_OP_REF_AT) {
        if (get_varint(unpacker, &set) < 0 || get_varint(unpacker, &difference) < 0)
            return -EPROTO;
        if (set > G_MAXUINT32 || difference > G_MAXUINT32)
            return refuse(unpacker, "reference out of range");
    }
    step->reference.set = (guint32)set;
    step->reference.ordinal = forecast->ordinals[set % PAGE_SLOTS] + (guint32)unzigzag(difference);
    return 0;
}

static int
check_form(Unpacker *unpacker, const Step *step)
{
    if (step->form > PAGE_BARE || (step->op == PAGE_OP_LITERAL && step->form != PAGE_NEXT) ||
        ((step->op == PAGE_OP_ZERO || step->op == PAGE_OP_DELTA) && step->form == PAGE_BARE))
        return refuse(unpacker, "op in a form it hasn't");
    if (step->count > 1 && (step->op == PAGE_OP_COPY || step->form == PAGE_BARE))
        return refuse(unpacker, "count where there is one");
    return 0;
}

static int
get_step(Unpacker *unpacker, Step *step)
{
    guint8 byte = *unpacker->ops++;

    unpacker->n_ops--;
    *step = (Step){ .op = byte & 7, .form = byte >> 3 & 3, .count = (byte >> 5) + 1u };
    if (step->count > PAGE_COUNT_INLINE) {
        if (get_varint(unpacker, &step->count) < 0)
            return -EPROTO;
        if (step->count > PAGE_BATCH_RAW)
            return refuse(unpacker, "count larger than a batch");
        step->count += PAGE_COUNT_INLINE + 1;
    }
    if (check_form(unpacker, step) < 0)
        return -EPROTO;
    if (step->form == PAGE_JUMP) {
        if (get_varint(unpacker, &step->jump) < 0)
            return -EPROTO;
        if (step->jump >= JUMP_LIMIT)
            return refuse(unpacker, "jump out of range");
    }
    if (step->op == PAGE_OP_REF || step->op == PAGE_OP_REF_AT)
        return get_reference(unpacker, step);
    return step->op == PAGE_OP_COPY ? get_varint(unpacker, &step->index) : 0;
}

/* Room for what a step writes, and as many literals. */
static int
check_room(Unpacker *unpacker, const Step *step)
{
    gboolean literal = step->op == PAGE_OP_NEW || step->op == PAGE_OP_PLAIN;
    guint64 size = PAGE_BYTES, literals = literal ? step->count * PAGE_BYTES : 0;

    if (step->op == PAGE_OP_LITERAL) {
        size = 1;
        literals = step->count;
    } else if (step->op == PAGE_OP_ZERO) {
        size = PAGE_ZERO_SIZE;
    } else if (step->form != PAGE_BARE) {
        size += PAGE_WORD_SIZE;
    }
    if (step->count * size > unpacker->batch->raw_length - unpacker->at)
        return refuse(unpacker, "more than the batch holds");
    if (literals > unpacker->n_literals)
        return refuse(unpacker, "more literals than there are");
    if (step->op == PAGE_OP_COPY && step->index >= unpacker->n_travelled)
        return refuse(unpacker, "copy of a page that isn't there");
    return 0;
}

static void
take_literals(Unpacker *unpacker, gsize length)
{
    memcpy(unpacker->batch->raw + unpacker->at, unpacker->literals, length);
    unpacker->literals += length;
    unpacker->n_literals -= length;
    unpacker->at += (guint32)length;
}

static void
put_word(Unpacker *unpacker, guint64 flags)
{
    page_word_put(unpacker->batch->raw + unpacker->at, unpacker->forecast.address | flags);
    unpacker->at += PAGE_WORD_SIZE;
    unpacker->forecast.address += PAGE_BYTES;
}

static void
put_zeros(Unpacker *unpacker, const Step *step)
{
    for (guint64 i = 0; i < step->count; i++) {
        put_word(unpacker, PAGE_FLAGS_ZERO);
        unpacker->batch->raw[unpacker->at++] = 0;
    }
    unpacker->batch->counts.zero += (guint32)step->count;
}

/* Blocks that differ at their places, zeros between. */
static int
take_difference(Unpacker *unpacker)
{
    guint8 *page = unpacker->batch->raw + unpacker->at;
    guint64 blocks = 0;
    gsize size = PAGE_WORD_SIZE;

    if (unpacker->n_literals >= size)
        blocks = page_word_get(unpacker->literals);
    size += (gsize)__builtin_popcountll(blocks) * PAGE_BLOCK;
    if (size > unpacker->n_literals)
        return refuse(unpacker, "more literals than there are");
    unpacker->literals += PAGE_WORD_SIZE;
    memset(page, 0, PAGE_BYTES);
    for (; blocks != 0; blocks &= blocks - 1) {
        memcpy(page + __builtin_ctzll(blocks) * PAGE_BLOCK, unpacker->literals, PAGE_BLOCK);
        unpacker->literals += PAGE_BLOCK;
    }
    unpacker->n_literals -= size;
    unpacker->at += PAGE_BYTES;
    return 0;
}

static int
put_page(Unpacker *unpacker, const Step *step, guint32 nth)
{
    PageBatch *batch = unpacker->batch;
    guint32 header = unpacker->at;
    PageItem *item;

    if (step->form != PAGE_BARE)
        put_word(unpacker, PAGE_FLAGS_PAGE);
    /* Each takes its bytes of raw: there can't be more than PAGE_PAGES_MAX. */
    item = &batch->pages[batch->n_pages++];
    *item = (PageItem){ .header = header, .body = unpacker->at, .op = (guint8)step->op };
    if (step->op == PAGE_OP_NEW || step->op == PAGE_OP_PLAIN || step->op == PAGE_OP_DELTA)
        unpacker->travelled[unpacker->n_travelled++] = (guint8)(batch->n_pages - 1);
    if (step->op == PAGE_OP_DELTA) {
        item->op = (guint8)unpacker->delta;
        item->based = batch->based = TRUE;
        batch->counts.delta++;
        return take_difference(unpacker);
    }
    if (step->op == PAGE_OP_NEW || step->op == PAGE_OP_PLAIN) {
        take_literals(unpacker, PAGE_BYTES);
        return 0;
    }
    if (step->op == PAGE_OP_COPY) {
        item->original = unpacker->travelled[step->index];
        memcpy(batch->raw + unpacker->at, batch->raw + batch->pages[item->original].body,
               PAGE_BYTES);
        batch->counts.same++;
    } else {
        item->op = PAGE_OP_REF;
        item->reference = step->reference;
        item->reference.ordinal += nth;
        page_forecast_used(&unpacker->forecast, &item->reference);
        *(step->reference.set == 0 ? &batch->counts.same : &batch->counts.recalled) += 1;
    }
    unpacker->at += PAGE_BYTES;
    return 0;
}

static int
put_pages(Unpacker *unpacker, const Step *step)
{
    for (guint32 i = 0; i < step->count; i++) {
        if (put_page(unpacker, step, i) < 0)
            return -EPROTO;
    }
    return 0;
}

static int
walk(Unpacker *unpacker)
{
    while (unpacker->n_ops > 0) {
        Step step;

        if (get_step(unpacker, &step) < 0 || check_room(unpacker, &step) < 0)
            return -EPROTO;
        unpacker->forecast.address += (guint64)unzigzag(step.jump) * PAGE_BYTES;
        if (step.op == PAGE_OP_LITERAL)
            take_literals(unpacker, step.count);
        else if (step.op == PAGE_OP_ZERO)
            put_zeros(unpacker, &step);
        else if (put_pages(unpacker, &step) < 0)
            return -EPROTO;
    }
    if (unpacker->at != unpacker->batch->raw_length || unpacker->n_literals > 0)
        return refuse(unpacker, "ops don't fill the batch");
    return 0;
}

/* The body's literals and ops, or NULL where it doesn't unpack to just so many bytes. */
static const guint8 *
unsqueeze(PageCodec *codec, guint coding, const guint8 *body, gsize length, gsize plain)
{
    gsize got = 0;

    if (coding == PAGE_STORED)
        return length == plain ? body : NULL;
    if (coding == PAGE_CODED_LZ4) {
        int result =
            LZ4_decompress_safe((const char *)body, (char *)codec->plain, (int)length, (int)plain);

        got = result > 0 ? (gsize)result : 0;
    } else if (ZSTD_findFrameCompressedSize(body, length) == length) {
        /* An error is a number larger than any size. */
        got = ZSTD_decompressDCtx(codec->unpack, codec->plain, plain, body, length);
    }
    return got == plain ? codec->plain : NULL;
}

static int
read_header(Unpacker *unpacker, const guint8 *payload, gsize length)
{
    guint16 ops;
    guint32 raw, literals;

    if (length <= PAGE_HEADER_SIZE || length > PAGE_PAYLOAD_MAX)
        return refuse(unpacker, "payload of an impossible size");
    if (payload[0] > PAGE_CODED_ZSTD || payload[1] > PAGE_FLAG_NEW)
        return refuse(unpacker, "unknown coding");
    unpacker->delta = payload[1] == PAGE_FLAG_NEW ? PAGE_OP_NEW : PAGE_OP_PLAIN;
    memcpy(&ops, payload + 2, sizeof ops);
    memcpy(&raw, payload + 4, sizeof raw);
    memcpy(&literals, payload + 8, sizeof literals);
    unpacker->n_ops = GUINT16_FROM_BE(ops);
    unpacker->n_literals = GUINT32_FROM_BE(literals);
    unpacker->batch->raw_length = GUINT32_FROM_BE(raw);
    if (unpacker->n_ops == 0 || unpacker->n_ops > PAGE_OPS_MAX ||
        unpacker->batch->raw_length > PAGE_BATCH_RAW ||
        unpacker->n_literals > unpacker->batch->raw_length)
        return refuse(unpacker, "batch of an impossible size");
    return 0;
}

static int
unpack(Unpacker *unpacker, PageCodec *codec, const guint8 *payload, gsize length)
{
    PageCounts *counts = &unpacker->batch->counts;
    const guint8 *plain;
    int result;

    if (read_header(unpacker, payload, length) < 0)
        return -EPROTO;
    counts->raw_bytes = unpacker->batch->raw_length;
    counts->plain_bytes = (guint32)(unpacker->n_literals + unpacker->n_ops);
    counts->payload_bytes = (guint32)length;
    plain = unsqueeze(codec, payload[0], payload + PAGE_HEADER_SIZE, length - PAGE_HEADER_SIZE,
                      counts->plain_bytes);
    if (plain == NULL)
        return refuse(unpacker, "body doesn't unpack");
    unpacker->literals = plain;
    unpacker->ops = plain + unpacker->n_literals;
    result = walk(unpacker);
    *(payload[0] == PAGE_STORED ? &counts->raw : &counts->compressed) =
        unpacker->n_travelled - counts->delta;
    return result;
}

guint32
page_payload_raw(const guint8 *payload, gsize length)
{
    guint32 raw;

    if (length <= PAGE_HEADER_SIZE)
        return 0;
    memcpy(&raw, payload + 4, sizeof raw);
    raw = GUINT32_FROM_BE(raw);
    return raw <= PAGE_BATCH_RAW ? raw : 0;
}

int
page_unpack(PageBatch *batch, PageCodec *codec, const guint8 *payload, gsize length,
            const char **why)
{
    Unpacker unpacker = { .batch = batch };
    int result;

    page_batch_clear(batch);
    result = unpack(&unpacker, codec, payload, length);
    if (result < 0) {
        page_batch_clear(batch);
        *why = unpacker.why;
    }
    return result;
}

static void
apply_base(guint8 *page, const guint8 *base)
{
    for (guint i = 0; i < PAGE_BYTES; i += PAGE_WORD_SIZE) {
        guint64 word = page_load(page + i) ^ page_load(base + i);

        memcpy(page + i, &word, sizeof word);
    }
}

int
page_rebuild(PageBatch *batch, const PageCache *cache, const char **why)
{
    for (guint i = 0; i < batch->n_pages && batch->based; i++) {
        const PageItem *item = &batch->pages[i], *original = &batch->pages[item->original];
        const guint8 *base = NULL;

        if (item->based && cache != NULL)
            base = page_base(batch, item, cache);
        if (base != NULL) {
            apply_base(batch->raw + item->body, base);
        } else if (item->based) {
            *why = "it differs from a page that isn't remembered";
            return -EPROTO;
        } else if (item->op == PAGE_OP_COPY && original->based) {
            memcpy(batch->raw + item->body, batch->raw + original->body, PAGE_BYTES);
        }
    }
    batch->based = FALSE;
    return 0;
}

int
page_fill(PageBatch *batch, const PageFetch *ops, gpointer data)
{
    if (batch->based)
        return -EPROTO;
    for (guint i = 0; i < batch->n_pages; i++) {
        const PageItem *item = &batch->pages[i];
        int result = 0;

        if (item->op == PAGE_OP_REF)
            result = ops->fetch(data, &item->reference, batch->raw + item->body);
        if (result < 0)
            return result;
    }
    for (guint i = 0; i < batch->n_pages; i++) {
        const PageItem *item = &batch->pages[i];

        if (item->op == PAGE_OP_NEW)
            ops->added(data, batch->raw + item->body, batch->hashed ? item->hash : NULL);
    }
    return 0;
}
