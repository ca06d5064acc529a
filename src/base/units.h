/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** "1.5 GiB", "512 MiB", "17 B". (transfer full) */
char *units_bytes(guint64 bytes);
/** "117 MB/s" (decimal, as links are). (transfer full) */
char *units_rate(double bytes_per_second);
/** "43 ms", "4.1 s", "2 min 05 s". (transfer full) */
char *units_duration(gint64 microseconds);
/** Parses "512", "512M", "1.5GiB" (binary multiples) to bytes. GODWIT_ERROR_INVALID. */
gboolean units_parse_bytes(const char *text, guint64 *bytes, GError **error);
/** Parses "90", "90s", "15m", "2h", "7d" to seconds, at least 1. GODWIT_ERROR_INVALID. */
gboolean units_parse_seconds(const char *text, gint64 *seconds, GError **error);

/** The rates that can be asked for, in bytes per second: 1 Mbit/s to 1 Tbit/s. */
#define UNITS_RATE_LEAST G_GINT64_CONSTANT(125000)
#define UNITS_RATE_MOST G_GINT64_CONSTANT(125000000000)
/** Parses "500mbit", "2.5gbit" or "60MB/s" (decimal, as links are), "60MiB/s" to bytes per second.
 * A unit is demanded, since programs differ in what they take for granted. GODWIT_ERROR_INVALID. */
gboolean units_parse_rate(const char *text, gint64 *bytes_per_second, GError **error);
