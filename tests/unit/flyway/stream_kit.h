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
