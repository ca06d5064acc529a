/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * Server-sent events (WHATWG HTML, section 9.2), both ends.
 * SseParser: pure and incremental; a line over 1 MiB or an event over 8 MiB is TOO_LARGE.
 */
typedef void (*SseEventFunc)(const char *event, const char *id, const char *data, gpointer user_data);

typedef struct SseParser SseParser;
SseParser *sse_parser_new(SseEventFunc func, gpointer user_data);
void sse_parser_free(SseParser *parser);
gboolean sse_parser_feed(SseParser *parser, const char *bytes, gsize length, GError **error);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SseParser, sse_parser_free)

/** One event as it goes on the wire. id may be NULL. (transfer full) */
GString *sse_format(const char *event, const char *id, const char *data);
