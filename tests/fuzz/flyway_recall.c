/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recall index's decoder: every input ends with a verdict; a header that is taken encodes to
 * the same bytes; in a body that is taken each locator names a page of a chunk of a segment. The
 * input is the file as it would be decrypted, without tag.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "flyway/recall_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_body(const RecallHeader *header, const RecallBody *body)
{
    for (guint32 i = 0; i < header->pages; i++) {
        guint32 chunk = body->locators[i] / RECALL_CHUNK_PAGES;

        g_assert_cmpuint(chunk, <, header->chunks);
        g_assert_cmpuint(body->locators[i] % RECALL_CHUNK_PAGES, <, body->chunks[chunk].pages);
        g_assert_cmpuint(recall_chunk_segment(&body->chunks[chunk]), <, header->n_segments);
        g_assert_cmpuint(body->chunks[chunk].pages, <=, RECALL_CHUNK_PAGES);
        g_assert_cmpuint(body->chunks[chunk].size, <=, RECALL_CHUNK_SIZE + 16);
        g_assert_cmpuint(body->chunks[chunk].size, >, 16);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    guint8 again[RECALL_INDEX_HEADER_SIZE], salt[RECALL_SALT_SIZE];
    const char *why = NULL;
    RecallHeader header;
    RecallBody body;
    guint64 *copy;

    if (size >= RECALL_PAGES_HEADER_SIZE && recall_pages_decode(data, data + 8, salt) == 0)
        g_assert_cmpmem(salt, sizeof salt, data + 24, sizeof salt);
    if (recall_header_decode(data, size, &header, &why) != 0) {
        g_assert_nonnull(why);
        return 0;
    }
    recall_header_encode(&header, again);
    g_assert_cmpmem(again, sizeof again, data, sizeof again);
    g_assert_cmpuint(header.pages, <=, RECALL_PAGES_MAX);
    if (size - sizeof again != recall_body_size(&header))
        return 0;
    /* Aligned, and with nothing after it that could be read unnoticed. */
    copy = g_malloc(size - sizeof again + 1);
    memcpy(copy, data + sizeof again, size - sizeof again);
    if (recall_body_decode(&header, (guint8 *)copy, &body, &why) == 0)
        check_body(&header, &body);
    else
        g_assert_nonnull(why);
    g_free(copy);
    return 0;
}
