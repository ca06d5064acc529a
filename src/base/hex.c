/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

#include <string.h>

char *
hex_encode(const guint8 *bytes, gsize n)
{
    static const char digits[] = "0123456789abcdef";
    char *text = g_malloc(2 * n + 1);

    for (gsize i = 0; i < n; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * n] = '\0';
    return text;
}

gboolean
hex_decode(const char *text, guint8 *out, gsize n)
{
    if (text == NULL || strlen(text) != 2 * n)
        return FALSE;
    for (gsize i = 0; i < n; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return FALSE;
        out[i] = (guint8)(high << 4 | low);
    }
    return TRUE;
}
