/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <string.h>

static int
char_width(gunichar c)
{
    if (g_unichar_iszerowidth(c))
        return 0;
    return g_unichar_iswide(c) ? 2 : 1;
}

int
text_width(const char *text)
{
    int width = 0;

    for (; *text; text = g_utf8_next_char(text))
        width += char_width(g_utf8_get_char(text));
    return width;
}

/* Characters that move the cursor, start escape sequences or turn the direction of writing. */
static gboolean
is_steering(gunichar c)
{
    return g_unichar_iscntrl(c) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
           c == 0x2028 || c == 0x2029;
}

char *
text_clean(const char *text, gboolean keep_lines)
{
    GString *out = g_string_new(NULL);
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);

    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c == '\n' && keep_lines)
            g_string_append_c(out, '\n');
        else if (c == '\n' || c == '\t' || c == '\r')
            g_string_append_c(out, ' ');
        else if (is_steering(c))
            g_string_append_c(out, '?');
        else
            g_string_append_unichar(out, c);
    }
    return g_string_free(out, FALSE);
}

char *
text_fit(const char *text, int width)
{
    GString *out;
    const char *mark = g_get_charset(NULL) ? "\xe2\x80\xa6" : "~";
    int used = 0;

    if (text_width(text) <= width)
        return g_strdup(text);
    out = g_string_new(NULL);
    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);

        if (used + char_width(c) > width - 1)
            break;
        used += char_width(c);
        g_string_append_unichar(out, c);
    }
    if (width > 0)
        g_string_append(out, mark);
    return g_string_free(out, FALSE);
}

void
text_pad(GString *out, const char *text, int width, gboolean right)
{
    int fill = MAX(0, width - text_width(text));

    if (!right)
        g_string_append(out, text);
    for (int i = 0; i < fill; i++)
        g_string_append_c(out, ' ');
    if (right)
        g_string_append(out, text);
}

/* One paragraph or line, without newlines. */
static void
wrap_line(GString *out, const char *line, int width, int indent)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    int used = 0;

    if (line[0] == '\0') {
        g_string_append_c(out, '\n');
        return;
    }
    if (line[0] == ' ') {
        g_string_append_printf(out, "%*s%s\n", indent, "", line);
        return;
    }
    for (char **word = words; *word; word++) {
        int w = text_width(*word);

        if (used == 0)
            text_pad(out, "", indent, FALSE);
        else if (width > 0 && indent + used + 1 + w > width) {
            g_string_append_c(out, '\n');
            text_pad(out, "", indent, FALSE);
            used = 0;
        }
        if (used > 0) {
            g_string_append_c(out, ' ');
            used++;
        }
        g_string_append(out, *word);
        used += w;
    }
    g_string_append_c(out, '\n');
}

char *
text_wrap(const char *text, int width, int indent)
{
    GString *out = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = g_strv_length(lines);

    if (n > 1 && lines[n - 1][0] == '\0')
        n--;
    for (guint i = 0; i < n; i++)
        wrap_line(out, lines[i], width, indent);
    return g_string_free(out, FALSE);
}

void
text_colour(GString *out, Colour colour, gboolean on, const char *text)
{
    static const char *const codes[] = {
        [COLOUR_NONE] = NULL, [COLOUR_GOOD] = "32", [COLOUR_WARN] = "33",
        [COLOUR_BAD] = "31",  [COLOUR_DIM] = "2",   [COLOUR_BOLD] = "1",
    };

    if (!on || colour == COLOUR_NONE)
        g_string_append(out, text);
    else
        g_string_append_printf(out, "\033[%sm%s\033[0m", codes[colour], text);
}
