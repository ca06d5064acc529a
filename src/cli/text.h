/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/* Text in terminal columns. All pure; strings are UTF-8. */

/** Columns that the text takes (wide characters two, combining ones none). */
int text_width(const char *text);
/** Copy that can't steer a terminal: invalid bytes and control characters replaced by '?', white
 * space by ' ', newlines kept where asked for. NULL gives "". (transfer full) */
char *text_clean(const char *text, gboolean keep_lines);
/** At most width columns, cut with an ellipsis where longer. (transfer full) */
char *text_fit(const char *text, int width);
/** Appends text, filled with spaces to width columns. */
void text_pad(GString *out, const char *text, int width, gboolean right);
/** Paragraphs broken at spaces to width columns, each line after indent spaces; a line that begins
 * with a space is kept as it is. Ends with a newline. (transfer full) */
char *text_wrap(const char *text, int width, int indent);

typedef enum { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD, COLOUR_DIM, COLOUR_BOLD } Colour;
/** Appends text between the codes of the colour; plain where !on. */
void text_colour(GString *out, Colour colour, gboolean on, const char *text);
