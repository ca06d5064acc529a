/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The one reader of JSON text. It makes json-glib's nodes but not by json-glib's parser, which
 * takes more than JSON (comments, assignments), wraps integers that are too large and recurses as
 * deep as the text says: what comes from a peer must not do that to us.
 *
 * A recursive descent over (at, end), both within the caller's text. The whole text is checked to
 * be UTF-8 without NUL first; after that only ASCII matters. Each parse_x() is called with `at` on
 * the first byte of an x and leaves it behind its last; on failure it sets `error` and returns
 * FALSE or NULL, and nothing is read any more. Depth is counted in arrays and objects.
 */
#include "base/json.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

#define NUMBER_CHARS_MAX                                                                           \
    400 /* the longest finite double written without exponent has 309 digits                       \
         */

typedef struct {
    const char *start, *at, *end;
    guint depth;
    GError **error;
} Reader;

static JsonNode *parse_value(Reader *r);

static gboolean
fail(Reader *r, const char *what)
{
    g_set_error(r->error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "Not valid JSON: byte %" G_GSIZE_FORMAT ": %s", (gsize)(r->at - r->start), what);
    return FALSE;
}

static void
skip_space(Reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static gboolean
next_is(const Reader *r, char c)
{
    return r->at < r->end && *r->at == c;
}

static gboolean
take(Reader *r, char c)
{
    if (!next_is(r, c))
        return FALSE;
    r->at++;
    return TRUE;
}

/* The four digits behind \u. */
static gboolean
parse_hex4(Reader *r, gunichar *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at >= r->end || !g_ascii_isxdigit(*r->at))
            return fail(r, "expected four hexadecimal digits after \\u");
        *value = *value * 16 + (gunichar)g_ascii_xdigit_value(*r->at);
    }
    return TRUE;
}

static gboolean
parse_unicode(Reader *r, GString *text)
{
    gunichar c, low;
    if (!parse_hex4(r, &c))
        return FALSE;
    if (c == 0)
        return fail(r, "a string may not contain \\u0000");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (!take(r, '\\') || !take(r, 'u'))
            return fail(r, "half of a surrogate pair");
        if (!parse_hex4(r, &low))
            return FALSE;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(r, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return fail(r, "half of a surrogate pair");
    }
    g_string_append_unichar(text, c);
    return TRUE;
}

static gboolean
parse_escape(Reader *r, GString *text)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (r->at >= r->end)
        return fail(r, "the text ends within a string");
    if (take(r, 'u'))
        return parse_unicode(r, text);
    const char *name = strchr(names, *r->at);
    if (name == NULL)
        return fail(r, "unknown escape in a string");
    g_string_append_c(text, values[name - names]);
    r->at++;
    return TRUE;
}

static char *
parse_string(Reader *r)
{
    g_autoptr(GString) text = g_string_new(NULL);
    r->at++; /* the quote */
    for (;;) {
        const char *from = r->at;
        while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (guchar)*r->at >= 0x20)
            r->at++;
        g_string_append_len(text, from, r->at - from);
        if (take(r, '"'))
            return g_string_free(g_steal_pointer(&text), FALSE);
        if (take(r, '\\')) {
            if (!parse_escape(r, text))
                return NULL;
        } else {
            fail(r, r->at < r->end ? "a control character within a string"
                                   : "the text ends within a string");
            return NULL;
        }
    }
}

static gboolean
skip_digits(Reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && g_ascii_isdigit(*r->at))
        r->at++;
    return r->at > from || fail(r, "expected a digit");
}

/* Passes over a number; *integral where it has neither fraction nor exponent. */
static gboolean
skip_number(Reader *r, gboolean *integral)
{
    *integral = TRUE;
    take(r, '-');
    if (next_is(r, '0'))
        r->at++; /* no digit may follow a leading zero */
    else if (!skip_digits(r))
        return FALSE;
    if (take(r, '.')) {
        *integral = FALSE;
        if (!skip_digits(r))
            return FALSE;
    }
    if (next_is(r, 'e') || next_is(r, 'E')) {
        *integral = FALSE;
        r->at++;
        if (!take(r, '+'))
            take(r, '-');
        return skip_digits(r);
    }
    return TRUE;
}

static JsonNode *
parse_number(Reader *r)
{
    const char *from = r->at;
    gboolean integral;
    if (!skip_number(r, &integral))
        return NULL;
    if (r->at - from > NUMBER_CHARS_MAX) {
        fail(r, "a number with too many digits");
        return NULL;
    }
    g_autofree char *text = g_strndup(from, (gsize)(r->at - from));
    if (integral) {
        gint64 value;
        if (g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &value, NULL))
            return json_node_init_int(json_node_alloc(), value);
        fail(r, "an integer beyond 64 bits");
        return NULL;
    }
    double value = g_ascii_strtod(text, NULL);
    if (isfinite(value))
        return json_node_init_double(json_node_alloc(), value);
    fail(r, "a number too large");
    return NULL;
}

static JsonNode *
parse_word(Reader *r)
{
    gsize left = (gsize)(r->end - r->at);
    if (left >= 4 && memcmp(r->at, "true", 4) == 0) {
        r->at += 4;
        return json_node_init_boolean(json_node_alloc(), TRUE);
    }
    if (left >= 5 && memcmp(r->at, "false", 5) == 0) {
        r->at += 5;
        return json_node_init_boolean(json_node_alloc(), FALSE);
    }
    if (left >= 4 && memcmp(r->at, "null", 4) == 0) {
        r->at += 4;
        return json_node_init_null(json_node_alloc());
    }
    fail(r, left > 0 ? "expected a value" : "the text ends where a value should be");
    return NULL;
}

static gboolean
parse_element(Reader *r, JsonArray *array)
{
    JsonNode *value = parse_value(r);
    if (value == NULL)
        return FALSE;
    json_array_add_element(array, value);
    return TRUE;
}

static gboolean
parse_member(Reader *r, JsonObject *object)
{
    skip_space(r);
    if (!next_is(r, '"'))
        return fail(r, "expected a member's name in quotes");
    g_autofree char *name = parse_string(r);
    if (name == NULL)
        return FALSE;
    if (json_object_has_member(object, name))
        return fail(r, "this member's name was there before");
    skip_space(r);
    if (!take(r, ':'))
        return fail(r, "expected ':'");
    JsonNode *value = parse_value(r);
    if (value == NULL)
        return FALSE;
    json_object_set_member(object, name, value);
    return TRUE;
}

static JsonNode *
parse_array(Reader *r)
{
    g_autoptr(JsonArray) array = json_array_new();
    r->at++;
    skip_space(r);
    if (!next_is(r, ']'))
        do {
            if (!parse_element(r, array))
                return NULL;
            skip_space(r);
        } while (take(r, ','));
    if (!take(r, ']')) {
        fail(r, "expected ',' or ']'");
        return NULL;
    }
    return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *
parse_object(Reader *r)
{
    g_autoptr(JsonObject) object = json_object_new();
    r->at++;
    skip_space(r);
    if (!next_is(r, '}'))
        do {
            if (!parse_member(r, object))
                return NULL;
            skip_space(r);
        } while (take(r, ','));
    if (!take(r, '}')) {
        fail(r, "expected ',' or '}'");
        return NULL;
    }
    return json_node_init_object(json_node_alloc(), object);
}

static JsonNode *
parse_nested(Reader *r)
{
    if (r->depth >= JSON_DEPTH_MAX) {
        fail(r, "nested deeper than 32");
        return NULL;
    }
    r->depth++;
    JsonNode *node = *r->at == '{' ? parse_object(r) : parse_array(r);
    r->depth--;
    return node;
}

static JsonNode *
parse_value(Reader *r)
{
    skip_space(r);
    if (next_is(r, '{') || next_is(r, '['))
        return parse_nested(r);
    if (next_is(r, '"')) {
        g_autofree char *text = parse_string(r);
        return text != NULL ? json_node_init_string(json_node_alloc(), text) : NULL;
    }
    if (r->at < r->end && (*r->at == '-' || g_ascii_isdigit(*r->at)))
        return parse_number(r);
    return parse_word(r);
}

JsonNode *
json_parse_limited(const char *text, gsize length, GError **error)
{
    Reader r = { .start = text, .at = text, .end = text + length, .error = error };
    if (length > JSON_BYTES_MAX) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                    "JSON of %" G_GSIZE_FORMAT " bytes: at most %d are taken", length,
                    JSON_BYTES_MAX);
        return NULL;
    }
    if (!g_utf8_validate_len(text, length, &r.at)) {
        fail(&r, "not UTF-8");
        return NULL;
    }
    r.at = text;
    g_autoptr(JsonNode) node = parse_value(&r);
    if (node == NULL)
        return NULL;
    skip_space(&r);
    if (r.at < r.end) {
        fail(&r, "something follows the value");
        return NULL;
    }
    return g_steal_pointer(&node);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static void write_node(GString *out, JsonNode *node, gboolean pretty, guint depth);

static void
write_string(GString *out, const char *text)
{
    if (text == NULL) { /* json-glib lets a string be none */
        g_string_append(out, "null");
        return;
    }
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    g_string_append_c(out, '"');
    for (const char *c = text; *c != '\0'; c++) {
        const char *value = strchr(values, *c);
        if (value != NULL)
            g_string_append_printf(out, "\\%c", names[value - values]);
        else if (g_ascii_iscntrl(*c))
            g_string_append_printf(out, "\\u%04x", (guint)(guchar)*c);
        else
            g_string_append_c(out, *c);
    }
    g_string_append_c(out, '"');
}

/* The shortest of 15 and 17 digits that reads as the same number; always seen to be no integer. */
static void
write_double(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    g_assert(isfinite(value));
    g_ascii_formatd(text, sizeof text, "%.15g", value);
    double back = g_ascii_strtod(text, NULL);
    if (isless(back, value) || isgreater(back, value))
        g_ascii_formatd(text, sizeof text, "%.17g", value);
    g_string_append(out, text);
    if (strpbrk(text, ".e") == NULL)
        g_string_append(out, ".0");
}

static void
write_value(GString *out, JsonNode *node)
{
    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING:
        write_string(out, json_node_get_string(node));
        return;
    case G_TYPE_BOOLEAN:
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
        return;
    case G_TYPE_INT64:
        g_string_append_printf(out, "%" G_GINT64_FORMAT, json_node_get_int(node));
        return;
    default:
        write_double(out, json_node_get_double(node));
    }
}

static void
write_line_start(GString *out, gboolean pretty, guint depth)
{
    if (pretty)
        g_string_append_printf(out, "\n%*s", (int)(2 * depth), "");
}

static void
write_array(GString *out, JsonArray *array, gboolean pretty, guint depth)
{
    guint n = json_array_get_length(array);
    g_string_append_c(out, '[');
    for (guint i = 0; i < n; i++) {
        if (i > 0)
            g_string_append_c(out, ',');
        write_line_start(out, pretty, depth + 1);
        write_node(out, json_array_get_element(array, i), pretty, depth + 1);
    }
    if (n > 0)
        write_line_start(out, pretty, depth);
    g_string_append_c(out, ']');
}

static void
write_object(GString *out, JsonObject *object, gboolean pretty, guint depth)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *member;
    gboolean any = FALSE;
    g_string_append_c(out, '{');
    json_object_iter_init_ordered(&iter, object);
    while (json_object_iter_next_ordered(&iter, &name, &member)) {
        if (any)
            g_string_append_c(out, ',');
        any = TRUE;
        write_line_start(out, pretty, depth + 1);
        write_string(out, name);
        g_string_append(out, pretty ? ": " : ":");
        write_node(out, member, pretty, depth + 1);
    }
    if (any)
        write_line_start(out, pretty, depth);
    g_string_append_c(out, '}');
}

static void
write_node(GString *out, JsonNode *node, gboolean pretty, guint depth)
{
    switch (json_node_get_node_type(node)) {
    case JSON_NODE_OBJECT:
        write_object(out, json_node_get_object(node), pretty, depth);
        return;
    case JSON_NODE_ARRAY:
        write_array(out, json_node_get_array(node), pretty, depth);
        return;
    case JSON_NODE_NULL:
        g_string_append(out, "null");
        return;
    case JSON_NODE_VALUE:
        write_value(out, node);
    }
}

char *
json_text(JsonNode *node, gboolean pretty)
{
    GString *out = g_string_new(NULL);
    write_node(out, node, pretty, 0);
    return g_string_free(out, FALSE);
}

JsonObject *
json_error(const GError *error)
{
    JsonObject *object = json_object_new();
    g_autofree char *message = g_utf8_make_valid(error->message, -1);

    json_object_set_string_member(object, "code", godwit_error_nick(error));
    json_object_set_string_member(object, "message", message);
    return object;
}
