/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/cli.h"

/** A page about one thing: a title, labelled lines, sections with tables or text. Texts are cleaned
 * and copied; NULL is "-". */
typedef struct Page Page;

typedef struct {
    int width; /* of the terminal; 0 = no limit */
    gboolean colour;
    gint64 now_ms;
} PageStyle;

Page *page_new_styled(const PageStyle *style);
/** Styled for stdout as it is. */
Page *page_new(Cli *cli);
void page_free(Page *page);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Page, page_free)

void page_title(Page *page, const char *text);
void page_line(Page *page, const char *label, Colour colour, const char *text);
void page_linef(Page *page, const char *label, const char *format, ...) G_GNUC_PRINTF(3, 4);
/** A headline of its own; lines that follow belong to it. */
void page_section(Page *page, const char *title);
/** A section with a table; nothing where it has no rows. */
void page_table(Page *page, const char *title, const Table *table);
/** A section with a paragraph. */
void page_text(Page *page, const char *title, const char *text);
/** A paragraph. */
void page_paragraph(Page *page, const char *text);
/** (transfer full) */
char *page_string(const Page *page);
void page_print(const Page *page);
