/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** n bytes as 2 n lower-case digits. (transfer full): whoever holds a secret wipes it. */
char *hex_encode(const guint8 *bytes, gsize n);
/** Exactly 2 n digits, of either case, to n bytes. FALSE where text isn't that (or NULL); out is
 * then undefined. */
gboolean hex_decode(const char *text, guint8 *out, gsize n);
