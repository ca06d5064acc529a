/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame decoder: every input ends with a verdict; a frame that is taken encodes to the same
 * bytes; one that isn't whole yet is never refused because more comes, nor taken before.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "flyway/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static guint8 again[FRAME_SIZE_MAX];

static void
check_prefixes(const guint8 *data, gsize used)
{
    for (gsize part = 0; part < MIN(used, 200); part++) {
        const char *why = NULL;
        gsize ignored;
        Frame frame;

        g_assert_cmpint(frame_decode(data, part, &frame, &ignored, &why), ==, -EAGAIN);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gsize at = 0;

    while (at < size) {
        const char *why = NULL;
        gsize used = 0;
        Frame frame;
        int result = frame_decode(data + at, size - at, &frame, &used, &why);

        if (result == -EAGAIN)
            g_assert_cmpuint(size - at, <, FRAME_SIZE_MAX);
        if (result == -EPROTO)
            g_assert_nonnull(why);
        if (result != 0)
            break;
        g_assert_cmpuint(used, <=, size - at);
        check_prefixes(data + at, used);
        g_assert_cmpuint(frame_encode(&frame, again, sizeof again), ==, used);
        g_assert_cmpint(memcmp(again, data + at, used), ==, 0);
        at += used;
    }
    return 0;
}
