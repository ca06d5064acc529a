/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <string.h>
#include <glib.h>

/** Pieces of QEMU's stream, for tests that make one. */

/** An integer of so many bytes, big endian. */
static inline void
put(GByteArray *stream, guint64 value, guint size)
{
    guint8 bytes[8];

    for (guint i = 0; i < size; i++)
        bytes[i] = (guint8)(value >> 8 * (size - 1 - i));
    g_byte_array_append(stream, bytes, size);
}

/** Its length as a byte, then the text. */
static inline void
put_text(GByteArray *stream, const char *text)
{
    put(stream, strlen(text), 1);
    g_byte_array_append(stream, (const guint8 *)text, (guint)strlen(text));
}

/** Up to where the first page's record stands: a VM whose memory is one block of 1 GiB. */
static inline void
begin_stream(GByteArray *stream, const char *block)
{
    put(stream, 0x5145564d00000003, 8);
    put(stream, 1, 1); /* section 2, "ram", instance 0, version 4 */
    put(stream, 2, 4);
    put_text(stream, "ram");
    put(stream, 4, 8);
    put(stream, 1u << 30 | 4, 8);
    put_text(stream, block);
    put(stream, 1u << 30, 8);
    put(stream, 0x10, 8);
    put(stream, 2, 1); /* a part of it */
    put(stream, 2, 4);
}

/** A whole stream: so many pages of memory in passes, between which a byte of most is written. */
static inline GByteArray *
written_stream(guint32 seed, guint pages, guint passes)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autoptr(GByteArray) memory = g_byte_array_new();
    GByteArray *stream = g_byte_array_new();

    for (guint i = 0; i < pages * 4096 / 4; i++)
        put(memory, g_rand_int(rand), 4);
    begin_stream(stream, "pc.ram");
    put(stream, (guint64)pages << 12 | 0x02, 8); /* a zero page names the block */
    put_text(stream, "pc.ram");
    put(stream, 0, 1);
    for (guint pass = 0; pass < passes; pass++) {
        for (guint i = 0; i < pages; i++) {
            guint8 *page = memory->data + (gsize)i * 4096;

            if (pass > 0 && g_rand_int_range(rand, 0, 3) == 0)
                continue;
            page[g_rand_int_range(rand, 0, 4096)]++;
            put(stream, (guint64)i << 12 | 0x28, 8);
            g_byte_array_append(stream, page, 4096);
        }
    }
    put(stream, 0x10, 8);
    return stream;
}
