/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "base/error.h"
#include "net/sse.h"

static void
on_event(const char *event, const char *id, const char *data, gpointer user_data)
{
    g_string_append_printf(user_data, "[%s|%s|%s]", event, id ? id : "-", data);
}

/* What the events of text are, fed in pieces that end at the given places. */
static char *
parse(const char *text, gsize length, gsize first, gsize second)
{
    GString *seen = g_string_new(NULL);
    g_autoptr(SseParser) parser = sse_parser_new(on_event, seen);

    g_assert_true(sse_parser_feed(parser, text, first, NULL));
    g_assert_true(sse_parser_feed(parser, text + first, second - first, NULL));
    g_assert_true(sse_parser_feed(parser, text + second, length - second, NULL));
    return g_string_free(seen, FALSE);
}

static const struct {
    const char *text, *events;
} rows[] = {
    { "", "" },
    { "\n\n\n", "" },
    { ": a comment\n\n", "" },
    { "data: one\n\n", "[message|-|one]" },
    { "data: one\n", "" },
    { "data: one\n\n\n\ndata: two\n\n", "[message|-|one][message|-|two]" },
    { "event: vm\ndata: {}\n\ndata: x\n\n", "[vm|-|{}][message|-|x]" },
    { "event: lost\n\ndata: x\n\n", "[message|-|x]" },
    { "id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "[message|7|a][message|7|b][message|-|c]" },
    { "data: a\ndata:b\ndata:  c\n\n", "[message|-|a\nb\n c]" },
    { "data\n\ndata:\ndata\n\n", "[message|-|][message|-|\n]" },
    { "data: a\r\n\r\ndata: b\r\rdata: c\n\r", "[message|-|a][message|-|b][message|-|c]" },
    { "event: x\r\ndata: a\rdata: b\n\r\n", "[x|-|a\nb]" },
    { "\xef\xbb\xbf"
      "data: a\n\n\xef\xbb\xbf"
      "data: b\n\n",
      "[message|-|a]" },
    { "retry: 10\nnonsense\nno: thing\ndata: a: b\n\n", "[message|-|a: b]" },
    { "Data: a\n\n data: b\n\n", "" },
    { ":\n:x\ndata: \xc3\xa4\n:y\n\n", "[message|-|\xc3\xa4]" },
};

static void
test_every_split(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        gsize length = strlen(rows[i].text);
        for (gsize first = 0; first <= length; first++) {
            for (gsize second = first; second <= length; second++) {
                g_autofree char *events = parse(rows[i].text, length, first, second);
                g_assert_cmpstr(events, ==, rows[i].events);
            }
        }
    }
}

static void
test_format_and_back(void)
{
    static const struct {
        const char *event, *id, *data, *events;
    } cases[] = {
        { "vm", NULL, "{\"a\":1}", "[vm|-|{\"a\":1}]" },
        { NULL, "9", "", "[message|9|]" },
        { "x", NULL, "a\nb", "[x|-|a\nb]" },
        { "x", NULL, "a\r\nb\rc\n", "[x|-|a\nb\nc\n]" },
        { "x", NULL, " led\n: no comment\nevent: y", "[x|-| led\n: no comment\nevent: y]" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GString *text = sse_format(cases[i].event, cases[i].id, cases[i].data);
        g_autofree char *events = parse(text->str, text->len, text->len / 2, text->len);
        g_assert_cmpstr(events, ==, cases[i].events);
        g_string_free(text, TRUE);
    }
}

static gboolean
feed_filling(SseParser *parser, const char *prefix, gsize length, const char *end, GError **error)
{
    g_autofree char *filling = g_strnfill(length, 'x');

    return sse_parser_feed(parser, prefix, strlen(prefix), error) &&
           sse_parser_feed(parser, filling, length, error) &&
           sse_parser_feed(parser, end, strlen(end), error);
}

static void
test_limits(void)
{
    GString *seen = g_string_new(NULL);
    SseParser *parser = sse_parser_new(on_event, seen);
    g_autoptr(GError) error = NULL;
    gsize mebi = 1024 * 1024;

    g_assert_true(feed_filling(parser, "data:", mebi - 5, "\n\n", &error));
    g_assert_cmpuint(seen->len, >, mebi - 5);
    g_string_truncate(seen, 0);
    g_assert_false(feed_filling(parser, "data:", mebi - 4, "\n\n", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE);
    g_clear_error(&error);
    /* Failed for good. */
    g_assert_false(sse_parser_feed(parser, "data: a\n\n", 9, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE);
    g_clear_error(&error);
    g_assert_cmpstr(seen->str, ==, "");
    sse_parser_free(parser);

    parser = sse_parser_new(on_event, seen);
    int lines = 0;
    while (feed_filling(parser, "data:", mebi / 2 - 1, "\n", &error))
        lines++;
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE);
    g_assert_cmpint(lines, ==, 16);
    sse_parser_free(parser);
    g_string_free(seen, TRUE);
}

static void
test_nul(void)
{
    GString *seen = g_string_new(NULL);
    g_autoptr(SseParser) parser = sse_parser_new(on_event, seen);
    g_autoptr(GError) error = NULL;

    g_assert_false(sse_parser_feed(parser, "data: a\0b\n\n", 11, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
    g_assert_cmpstr(seen->str, ==, "");
    g_string_free(seen, TRUE);
}

/* Whatever comes: the same events however it is cut. */
static void
test_random(void)
{
    static const char alphabet[] = "\n\n\n\r\r::  dataeventid\xef\xbb\xbf";

    for (int round = 0; round < 3000; round++) {
        gsize length = (gsize)g_test_rand_int_range(0, 60);
        char text[64];
        for (gsize i = 0; i < length; i++)
            text[i] = alphabet[g_test_rand_int_range(0, sizeof(alphabet) - 1)];
        gsize first = (gsize)g_test_rand_int_range(0, (gint32)length + 1);
        gsize second = (gsize)g_test_rand_int_range((gint32)first, (gint32)length + 1);
        g_autofree char *whole = parse(text, length, length, length);
        g_autofree char *pieces = parse(text, length, first, second);
        g_assert_cmpstr(whole, ==, pieces);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sse/every-split", test_every_split);
    g_test_add_func("/sse/format-and-back", test_format_and_back);
    g_test_add_func("/sse/limits", test_limits);
    g_test_add_func("/sse/nul", test_nul);
    g_test_add_func("/sse/random", test_random);
    return g_test_run();
}
