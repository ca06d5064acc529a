/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of QEMU's stream: whatever comes in, it follows it to the end; what it says of the
 * whole doesn't depend on how the stream is cut; each page told lies in the bytes, and each told of
 * a cut stream is told of the whole one too.
 */
#include <stdint.h>
#include <string.h>
#include "flyway/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_MAX_FED 65536

static StreamParser whole, cut;
static StreamSpan spans[SIZE_MAX_FED / 9 + 1], some[SIZE_MAX_FED / 9 + 1];

static void
check_span(const StreamSpan *span, gsize size)
{
    g_assert_cmpuint(span->header + 8u, <=, span->body);
    g_assert_cmpuint(span->body + (span->kind == STREAM_PAGE ? STREAM_PAGE_SIZE : 1u), <=, size);
    g_assert_cmpuint(span->block, <, stream_blocks(&whole));
}

static void
check_same(void)
{
    g_assert_cmpint(stream_phase(&cut), ==, stream_phase(&whole));
    g_assert_cmpstr(stream_reason(&cut), ==, stream_reason(&whole));
    g_assert_cmpuint(stream_reason_offset(&cut), ==, stream_reason_offset(&whole));
    g_assert_cmpuint(stream_blocks(&cut), ==, stream_blocks(&whole));
    g_assert_cmpmem(stream_counts(&cut), sizeof(StreamCounts), stream_counts(&whole),
                    sizeof(StreamCounts));
}

/* Feeds pieces of 1 to `most` bytes; `n` spans of the whole are known. */
static void
check_cut(const guint8 *data, gsize size, gsize most, gsize n)
{
    guint32 random = (guint32)(size * 2654435761u + most);
    gsize next = 0;

    stream_init(&cut);
    for (gsize at = 0, part; at < size; at += part) {
        gsize told;

        random = random * 1664525u + 1013904223u;
        part = MIN(1 + (random >> 8) % most, size - at);
        told = stream_feed(&cut, data + at, part, some, G_N_ELEMENTS(some));
        for (gsize i = 0; i < told; i++) {
            some[i].header += (guint32)at;
            some[i].body += (guint32)at;
            while (next < n && spans[next].header < some[i].header)
                next++;
            g_assert_cmpuint(next, <, n);
            g_assert_cmpuint(some[i].header, ==, spans[next].header);
            g_assert_cmpuint(some[i].body, ==, spans[next].body);
            g_assert_cmpuint(some[i].word, ==, spans[next].word);
            g_assert_cmpuint(some[i].kind, ==, spans[next].kind);
            g_assert_cmpuint(some[i].block, ==, spans[next].block);
        }
    }
    check_same();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const StreamCounts *counts = stream_counts(&whole);
    gsize n;

    size = MIN(size, SIZE_MAX_FED);
    stream_init(&whole);
    n = stream_feed(&whole, data, size, spans, size / 9 + 1);
    for (gsize i = 0; i < n; i++)
        check_span(&spans[i], size);
    g_assert_cmpuint(n, <=, counts->pages + counts->zero_pages);
    g_assert_cmpuint(counts->bytes, ==, size);
    g_assert_cmpuint(counts->blind, <=, size);
    g_assert_cmpint(stream_reason(&whole) != NULL, ==, stream_phase(&whole) == STREAM_PASSTHROUGH);
    check_cut(data, size, 1, n);
    check_cut(data, size, 16, n);
    check_cut(data, size, 9000, n);

    /* Without room for spans. */
    stream_init(&cut);
    g_assert_cmpuint(stream_feed(&cut, data, size, NULL, 0), ==, 0);
    check_same();
    return 0;
}
