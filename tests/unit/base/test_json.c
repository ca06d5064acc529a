/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "base/json.h"

/* Parses a copy without NUL behind it, so that a sanitizer sees a byte read too many. */
static JsonNode *
parse(const char *text, gsize length, GError **error)
{
    g_autofree char *exact = g_memdup2(text, length);
    return json_parse_limited(exact != NULL ? exact : "", length, error);
}

static void
test_accepts(void)
{
    static const struct {
        const char *text, *written;
    } rows[] = {
        { "{}", "{}" },
        { " [ ] ", "[]" },
        { "null", "null" },
        { "\t{\"a\" : [1, -2, 0, true, false, null]}\r\n", "{\"a\":[1,-2,0,true,false,null]}" },
        { "\"a\\u00e4\\u20AC\\ud83d\\udc26\\n\\/\"", "\"aä€\xf0\x9f\x90\xa6\\n/\"" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "0.5", "0.5" },
        { "1e3", "1000.0" },
        { "-0", "0" },
        { "1e22", "1e+22" }, /* json-glib's own writer makes "1e+22.0" of it */
        { "0.1", "0.1" },
        { "0.30000000000000004", "0.30000000000000004" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = parse(rows[i].text, strlen(rows[i].text), &error);
        g_assert_no_error(error);
        g_autofree char *written = json_text(node, FALSE);
        g_assert_cmpstr(written, ==, rows[i].written);
    }
}

static void
test_refuses(void)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":1}x",
        "/* c */ {}",
        "var x = 1",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "0x10",
        "1e999",
        "9223372036854775808",
        "nul",
        "True",
        "NaN",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\n\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "{\"a\":1,\"a\":2}",
        "\"\xff\"",
        "[\"a\" \"b\"]",
        "]",
        "}",
        "[}",
        "{]",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = parse(bad[i], strlen(bad[i]), &error);
        if (node != NULL)
            g_test_message("taken: %s", bad[i]);
        g_assert_null(node);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "byte "));
    }
    g_autoptr(GError) nul = NULL;
    g_assert_null(parse("[1]\0", 4, &nul));
    g_assert_error(nul, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

static char *
nested(int depth)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < depth; i++)
        g_string_append(text, i % 2 == 0 ? "[" : "{\"a\":");
    g_string_append(text, "1");
    for (int i = depth - 1; i >= 0; i--)
        g_string_append(text, i % 2 == 0 ? "]" : "}");
    return g_string_free(text, FALSE);
}

static void
test_depth(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *deep = nested(JSON_DEPTH_MAX), *deeper = nested(JSON_DEPTH_MAX + 1);
    g_autoptr(JsonNode) node = parse(deep, strlen(deep), &error);
    g_assert_no_error(error);
    g_assert_nonnull(node);
    g_assert_null(parse(deeper, strlen(deeper), &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "nested"));

    g_autoptr(GError) brackets_error = NULL;
    g_autofree char *brackets = g_strnfill(1000000, '[');
    g_assert_null(parse(brackets, 1000000, &brackets_error));
    g_assert_error(brackets_error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

static void
test_size(void)
{
    g_autoptr(GError) error = NULL;
    /* Refused by its length alone: the bytes aren't there to be read. */
    g_assert_null(json_parse_limited("[]", (gsize)JSON_BYTES_MAX + 1, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE);
}

static void
test_numbers_of_many_digits(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *digits = g_strnfill(100000, '1');
    g_assert_null(parse(digits, strlen(digits), &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

/* Damaged texts are refused, or mean something that is written and read again the same. */
static void
test_mutations(void)
{
    static const char seed[] =
        "{\"disks\":[{\"target\":\"vda\",\"size\":12345},{\"n\":-1.5e-3,\"b\":true}],"
        "\"s\":\"\\u00e4\\ud83d\\udc26 \\\"q\\\"\",\"x\":null,\"e\":[[],{},[[1]]]}";
    static const char alphabet[] = "{}[]\",:\\u0019eE+-. tfn\xc3\xa4\xff";
    int taken = 0;
    for (int round = 0; round < 30000; round++) {
        char text[sizeof seed];
        gsize length = sizeof seed - 1;
        memcpy(text, seed, sizeof seed);
        for (int n = g_test_rand_int_range(1, 5); n > 0; n--)
            text[g_test_rand_int_range(0, (int)length)] =
                alphabet[g_test_rand_int_range(0, sizeof alphabet - 1)];
        if (g_test_rand_int_range(0, 4) == 0)
            length = (gsize)g_test_rand_int_range(0, (int)length);
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = parse(text, length, &error);
        if (node == NULL) {
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
            continue;
        }
        taken++;
        g_autofree char *once = json_text(node, round % 2 == 0);
        g_autoptr(JsonNode) back = parse(once, strlen(once), &error);
        g_assert_no_error(error);
        g_autofree char *twice = json_text(back, round % 2 == 0);
        g_assert_cmpstr(once, ==, twice);
    }
    g_assert_cmpint(taken, >, 100);
}

static void
test_pretty(void)
{
    g_autoptr(JsonNode) node = parse("{\"a\":[1]}", 9, NULL);
    g_autofree char *text = json_text(node, TRUE);
    g_assert_cmpstr(text, ==, "{\n  \"a\": [\n    1\n  ]\n}");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/accepts", test_accepts);
    g_test_add_func("/json/refuses", test_refuses);
    g_test_add_func("/json/depth", test_depth);
    g_test_add_func("/json/size", test_size);
    g_test_add_func("/json/many-digits", test_numbers_of_many_digits);
    g_test_add_func("/json/mutations", test_mutations);
    g_test_add_func("/json/pretty", test_pretty);
    return g_test_run();
}
