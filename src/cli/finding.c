/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/finding.h"

#include "cli/text.h"

static const char *const level_words[] = { "ok", "warn", "error" };

static void
finding_free(gpointer data)
{
    Finding *finding = data;

    g_free(finding->about);
    g_free(finding->message);
    g_free(finding->remedy);
    g_free(finding);
}

GPtrArray *
findings_new(void)
{
    return g_ptr_array_new_with_free_func(finding_free);
}

void
findings_add(GPtrArray *findings, const Finding *finding)
{
    Finding *mine = g_new0(Finding, 1);

    mine->level = finding->level;
    mine->check = finding->check;
    mine->about = g_strdup(finding->about);
    mine->message = g_strdup(finding->message);
    mine->remedy = g_strdup(finding->remedy);
    g_ptr_array_add(findings, mine);
}

static void G_GNUC_PRINTF(3, 0)
    found(GPtrArray *findings, Finding finding, const char *format, va_list list)
{
    g_autofree char *message = g_strdup_vprintf(format, list);

    finding.message = message;
    findings_add(findings, &finding);
}

void
found_ok(GPtrArray *findings, const char *check, const char *about, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    found(findings, (Finding){ FINDING_OK, check, (char *)about }, format, list);
    va_end(list);
}

void
found_warn(GPtrArray *findings, const char *check, const char *about, const char *remedy,
           const char *format, ...)
{
    va_list list;

    va_start(list, format);
    found(findings, (Finding){ FINDING_WARN, check, (char *)about, NULL, (char *)remedy }, format,
          list);
    va_end(list);
}

void
found_error(GPtrArray *findings, const char *check, const char *about, const char *remedy,
            const char *format, ...)
{
    va_list list;

    va_start(list, format);
    found(findings, (Finding){ FINDING_ERROR, check, (char *)about, NULL, (char *)remedy }, format,
          list);
    va_end(list);
}

guint
findings_count(GPtrArray *findings, FindingLevel level)
{
    guint n = 0;

    for (guint i = 0; i < findings->len; i++)
        n += ((const Finding *)g_ptr_array_index(findings, i))->level == level;
    return n;
}

JsonNode *
findings_json(GPtrArray *findings)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *list = json_array_new();

    for (guint i = 0; i < findings->len; i++) {
        const Finding *finding = g_ptr_array_index(findings, i);
        JsonObject *one = json_object_new();

        json_object_set_string_member(one, "level", level_words[finding->level]);
        json_object_set_string_member(one, "check", finding->check);
        json_object_set_string_member(one, "about", finding->about);
        json_object_set_string_member(one, "message", finding->message);
        if (finding->remedy)
            json_object_set_string_member(one, "remedy", finding->remedy);
        json_array_add_object_element(list, one);
    }
    json_object_set_array_member(object, "findings", list);
    json_object_set_int_member(object, "errors", findings_count(findings, FINDING_ERROR));
    json_object_set_int_member(object, "warnings", findings_count(findings, FINDING_WARN));
    json_node_take_object(node, object);
    return node;
}

static void
append_finding(GString *out, const Finding *finding, int width, gboolean colour)
{
    static const Colour colours[] = { COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD };
    g_autofree char *text = g_strdup_printf("%s: %s", finding->about, finding->message);
    g_autofree char *clean = text_clean(text, TRUE), *wrapped = text_wrap(clean, width, 7);
    g_autofree char *remedy = NULL;

    text_colour(out, colours[finding->level], colour, level_words[finding->level]);
    text_pad(out, "", 7 - text_width(level_words[finding->level]), FALSE);
    g_string_append(out, wrapped + 7);
    if (finding->remedy) {
        g_autofree char *clean_remedy = text_clean(finding->remedy, TRUE);

        remedy = text_wrap(clean_remedy, width, 9);
        g_string_append_printf(out, "       > %s", remedy + 9);
    }
}

char *
findings_text(GPtrArray *findings, int width, gboolean colour)
{
    GString *out = g_string_new(NULL);
    guint errors = findings_count(findings, FINDING_ERROR),
          warnings = findings_count(findings, FINDING_WARN);

    for (guint i = 0; i < findings->len; i++)
        append_finding(out, g_ptr_array_index(findings, i), width, colour);
    g_string_append_printf(out, "\n%u in order, %u warning%s, %u error%s.\n",
                           findings_count(findings, FINDING_OK), warnings, warnings == 1 ? "" : "s",
                           errors, errors == 1 ? "" : "s");
    return g_string_free(out, FALSE);
}
