/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * A stream is lines, ended by LF, CR or CR LF; a blank line ends an event. The parser keeps the
 * line under way and the event under way, so it may be fed in any pieces: only a CR at the end of
 * one piece has to be remembered, for the LF that may follow. The id lives on from event to event,
 * as the standard says. Once something is over a limit or holds a NUL, the parser has failed for
 * good: where the next event would begin is not known. */

#include "net/sse.h"

#include <string.h>
#include "base/error.h"

#define LINE_MAX_BYTES (1024 * 1024)
#define EVENT_MAX_BYTES (8 * 1024 * 1024)

struct SseParser {
    SseEventFunc func;
    gpointer user_data;
    GString *line;
    GString *event, *id, *data; /* of the event under way; the id of the stream */
    gboolean after_cr;          /* the last byte was CR */
    gboolean begun;             /* the first line was seen: no byte order mark any more */
    GError *failed;
};

SseParser *
sse_parser_new(SseEventFunc func, gpointer user_data)
{
    SseParser *parser = g_new0(SseParser, 1);

    parser->func = func;
    parser->user_data = user_data;
    parser->line = g_string_new(NULL);
    parser->event = g_string_new(NULL);
    parser->id = g_string_new(NULL);
    parser->data = g_string_new(NULL);
    return parser;
}

void
sse_parser_free(SseParser *parser)
{
    if (!parser)
        return;
    g_string_free(parser->line, TRUE);
    g_string_free(parser->event, TRUE);
    g_string_free(parser->id, TRUE);
    g_string_free(parser->data, TRUE);
    g_clear_error(&parser->failed);
    g_free(parser);
}

static void
dispatch(SseParser *parser)
{
    if (parser->data->len > 0) {
        g_string_truncate(parser->data, parser->data->len - 1); /* the last line's LF */
        parser->func(parser->event->len ? parser->event->str : "message",
                     parser->id->len ? parser->id->str : NULL, parser->data->str,
                     parser->user_data);
    }
    g_string_truncate(parser->event, 0);
    g_string_truncate(parser->data, 0);
}

/* Sets failed for a limit; TRUE while all is well. */
static gboolean
within(SseParser *parser, const GString *what, gsize max, const char *name)
{
    if (what->len <= max)
        return TRUE;
    g_set_error(&parser->failed, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                "%s in the event stream has over %" G_GSIZE_FORMAT " bytes", name, max);
    return FALSE;
}

static gboolean
take_line(SseParser *parser)
{
    char *line = parser->line->str;
    gsize length = parser->line->len;

    if (!parser->begun && g_str_has_prefix(line, "\xef\xbb\xbf")) {
        line += 3;
        length -= 3;
    }
    parser->begun = TRUE;
    if (memchr(line, '\0', length)) {
        g_set_error(&parser->failed, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "a line in the event stream has a NUL");
        return FALSE;
    }
    if (length == 0) {
        dispatch(parser);
        return TRUE;
    }
    char *value = strchr(line, ':');
    if (value == line) /* a comment */
        return TRUE;
    if (value)
        *value++ = '\0';
    if (value && *value == ' ')
        value++;
    if (!value)
        value = line + length;
    if (strcmp(line, "event") == 0)
        g_string_assign(parser->event, value);
    else if (strcmp(line, "id") == 0)
        g_string_assign(parser->id, value);
    else if (strcmp(line, "data") == 0)
        g_string_append_printf(parser->data, "%s\n", value);
    return within(parser, parser->data, EVENT_MAX_BYTES, "an event");
}

/* Adds bytes up to the next line end; returns how many were used, line end included. */
static gsize
take_piece(SseParser *parser, const char *bytes, gsize length, gboolean *ended)
{
    gsize used = 0;

    while (used < length && bytes[used] != '\n' && bytes[used] != '\r')
        used++;
    g_string_append_len(parser->line, bytes, (gssize)used);
    *ended = used < length;
    if (*ended)
        parser->after_cr = bytes[used] == '\r';
    return used + (*ended ? 1 : 0);
}

gboolean
sse_parser_feed(SseParser *parser, const char *bytes, gsize length, GError **error)
{
    while (length > 0 && !parser->failed) {
        gboolean ended;
        if (parser->after_cr) {
            parser->after_cr = FALSE;
            if (*bytes == '\n') {
                bytes++;
                length--;
                continue;
            }
        }
        gsize used = take_piece(parser, bytes, length, &ended);
        bytes += used;
        length -= used;
        if (!within(parser, parser->line, LINE_MAX_BYTES, "a line") || !ended)
            continue;
        take_line(parser);
        g_string_truncate(parser->line, 0);
    }
    if (!parser->failed)
        return TRUE;
    if (error)
        *error = g_error_copy(parser->failed);
    return FALSE;
}

/* Appends "NAME: line" for each line of text. */
static void
append_lines(GString *out, const char *name, const char *text)
{
    for (;;) {
        gsize length = strcspn(text, "\r\n");
        g_string_append_printf(out, "%s: %.*s\n", name, (int)length, text);
        text += length;
        if (*text == '\0')
            return;
        text += text[0] == '\r' && text[1] == '\n' ? 2 : 1;
    }
}

GString *
sse_format(const char *event, const char *id, const char *data)
{
    GString *out = g_string_sized_new(strlen(data) + 64);

    g_assert(!event || !strpbrk(event, "\r\n"));
    g_assert(!id || !strpbrk(id, "\r\n"));
    if (event)
        g_string_append_printf(out, "event: %s\n", event);
    if (id)
        g_string_append_printf(out, "id: %s\n", id);
    append_lines(out, "data", data);
    g_string_append_c(out, '\n');
    return out;
}
