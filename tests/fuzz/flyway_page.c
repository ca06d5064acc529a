/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpacker of pages: every payload ends with a verdict, within its own bytes and the batch's.
 * What is taken, packed again with the pages where the payload said, comes out as it was; also as
 * differences from what both sides remember, some pages at the first addresses.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "flyway/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static PageBatch *batch, *again, *third;
static PageCodec *codec;
static PageCache *cache; /* what was before the batch: each payload finds the same */

static int
fetch(gpointer unused, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    if (reference->set == 404)
        return -ENOENT;
    memset(out, (int)(reference->set + reference->ordinal), PAGE_BYTES);
    return 0;
}

static void
added(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
    guint *sum = data;

    g_assert_null(hash);
    for (guint i = 0; i < PAGE_BYTES; i++)
        *sum += page[i];
}

static void
set_up(void)
{
    guint8 page[PAGE_BYTES];

    batch = page_batch_new();
    again = page_batch_new();
    third = page_batch_new();
    codec = page_codec_new();
    cache = page_cache_new();
    for (guint64 i = 0; i < 12; i++) {
        memset(page, (int)i, sizeof page);
        page_cache_take(cache, i * PAGE_BYTES, page);
        if (i < 8)
            page_cache_take(cache, i * PAGE_BYTES, page);
    }
}

static void
pack_again(PagePackLevel level)
{
    const char *why = NULL;

    page_batch_clear(again);
    again->raw_length = batch->raw_length;
    memcpy(again->raw, batch->raw, batch->raw_length);
    for (guint i = 0; i < batch->n_pages; i++) {
        guint32 body = batch->pages[i].body;
        StreamSpan span = { .kind = STREAM_PAGE, .header = body - MIN(body, 8), .body = body };
        StreamSpan zero = { .kind = STREAM_ZERO, .header = body - MIN(body, 17), .body = body - 9 };

        page_spans(again, &zero, 1);
        page_spans(again, &span, 1);
    }
    page_bases(again, cache);
    page_pack(again, codec, level);
    g_assert_cmpuint(again->payload_length, <=, PAGE_PAYLOAD_MAX);
    g_assert_cmpint(page_unpack(third, codec, again->payload, again->payload_length, &why), ==, 0);
    g_assert_cmpint(page_rebuild(third, cache, &why), ==, 0);
    g_assert_cmpuint(third->raw_length, ==, batch->raw_length);
    g_assert_cmpint(memcmp(third->raw, batch->raw, batch->raw_length), ==, 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const PageFetch ops = { .fetch = fetch, .added = added };
    const char *why = NULL;
    guint sum = 0;
    int result;

    if (batch == NULL)
        set_up();
    /* Places of references hold what was there before: nothing that was never written. */
    memset(batch->raw, 0, sizeof batch->raw);
    result = page_unpack(batch, codec, data, size, &why);
    if (result == 0)
        result = page_rebuild(batch, cache, &why);
    if (result != 0) {
        g_assert_cmpint(result, ==, -EPROTO);
        g_assert_nonnull(why);
        return 0;
    }
    g_assert_cmpuint(batch->raw_length, <=, PAGE_BATCH_RAW);
    if (page_fill(batch, &ops, &sum) == 0)
        pack_again(size % PAGE_LEVELS);
    return 0;
}
