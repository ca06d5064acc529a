/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/page.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define LABEL_WIDTH 12
#define TEXT_WIDTH 100
#define INDENT 2

struct Page {
    GString *out;
    PageStyle style;
};

Page *
page_new_styled(const PageStyle *style)
{
    Page *page = g_new0(Page, 1);

    page->out = g_string_new(NULL);
    page->style = *style;
    return page;
}

Page *
page_new(Cli *cli)
{
    PageStyle style = { cli_width(STDOUT_FILENO), cli->colour_out, clock_wall_ms() };

    return page_new_styled(&style);
}

void
page_free(Page *page)
{
    if (!page)
        return;
    g_string_free(page->out, TRUE);
    g_free(page);
}

void
page_title(Page *page, const char *text)
{
    g_autofree char *clean = text_clean(text ? text : "-", FALSE);

    text_colour(page->out, COLOUR_BOLD, page->style.colour, clean);
    g_string_append_c(page->out, '\n');
}

void
page_line(Page *page, const char *label, Colour colour, const char *text)
{
    g_autofree char *clean = text_clean(text ? text : "-", FALSE);

    text_pad(page->out, "", INDENT, FALSE);
    text_pad(page->out, label, LABEL_WIDTH, FALSE);
    text_colour(page->out, colour, page->style.colour, clean);
    g_string_append_c(page->out, '\n');
}

void
page_linef(Page *page, const char *label, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list list;

    va_start(list, format);
    text = g_strdup_vprintf(format, list);
    va_end(list);
    page_line(page, label, COLOUR_NONE, text);
}

void
page_section(Page *page, const char *title)
{
    g_string_append_c(page->out, '\n');
    page_title(page, title);
}

void
page_table(Page *page, const char *title, const Table *table)
{
    g_autofree char *text = NULL;

    if (table_rows(table) == 0)
        return;
    page_section(page, title);
    text = table_format(table, page->style.width, INDENT, page->style.colour);
    g_string_append(page->out, text);
}

void
page_paragraph(Page *page, const char *text)
{
    int width = page->style.width ? MIN(page->style.width, TEXT_WIDTH) : TEXT_WIDTH;
    g_autofree char *clean = text_clean(text, TRUE);
    g_autofree char *wrapped = text_wrap(clean, width, INDENT);

    g_string_append(page->out, wrapped);
}

void
page_text(Page *page, const char *title, const char *text)
{
    page_section(page, title);
    page_paragraph(page, text);
}

char *
page_string(const Page *page)
{
    return g_strdup(page->out->str);
}

void
page_print(const Page *page)
{
    fputs(page->out->str, stdout);
}
