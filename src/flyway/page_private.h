/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the two sides of the codec share. */
#include <string.h>
#include <zstd.h>
#include "flyway/page.h"

#define PAGE_WORD_SIZE 8
#define PAGE_FLAGS_PAGE 0x28u
#define PAGE_FLAGS_ZERO 0x22u
#define PAGE_FLAGS_MASK 0xfffu
#define PAGE_ZERO_SIZE (PAGE_WORD_SIZE + 1)
#define PAGE_SLOTS 16
#define PAGE_COUNT_INLINE 7 /* a larger count has a varint */
#define PAGE_BLOCK 64       /* bytes that a difference has or hasn't */
#define PAGE_BLOCKS (PAGE_BYTES / PAGE_BLOCK)
#define PAGE_FLAG_NEW 1 /* of the payload: what DELTA writes is NEW */

struct PageCodec {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
    void *lz4;
    guint8 ops[PAGE_OPS_MAX];
    guint8 plain[PAGE_BATCH_RAW + PAGE_OPS_MAX]; /* literals, then ops */
};

/** What both sides predict from; moves alike on both. */
typedef struct {
    guint64 address; /* of the next page */
    guint32 set;     /* last used */
    guint32 ordinals[PAGE_SLOTS];
} PageForecast;

static inline guint64
page_word_get(const guint8 *at)
{
    guint64 word;

    memcpy(&word, at, sizeof word);
    return GUINT64_FROM_BE(word);
}

static inline void
page_word_put(guint8 *at, guint64 word)
{
    word = GUINT64_TO_BE(word);
    memcpy(at, &word, sizeof word);
}

/** Eight bytes in the host's order, for what is done to a page word by word. */
static inline guint64
page_load(const guint8 *at)
{
    guint64 word;

    memcpy(&word, at, sizeof word);
    return word;
}

/** What is remembered of a page, or NULL. */
const guint8 *page_base(const PageBatch *batch, const PageItem *item, const PageCache *cache);

static inline void
page_forecast_used(PageForecast *forecast, const PageReference *last)
{
    forecast->set = last->set;
    forecast->ordinals[last->set % PAGE_SLOTS] = last->ordinal + 1;
}
