/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/text.h"

/** Aligned columns of text. Pure: a table and a width give a string. */
typedef struct Table Table;

typedef struct {
    const char *title; /* in capitals; NULL ends the list */
    gboolean right;    /* aligned to the right (numbers) */
    gboolean optional; /* left out where all its cells are empty */
} TableColumn;

Table *table_new(const TableColumn *columns); /* must outlive the table */
void table_free(Table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

/** Adds the next cell of the row, left to right; a new row begins after the last column. text is
 * cleaned and copied; NULL = empty. */
void table_cell(Table *table, Colour colour, const char *text);
void table_cellf(Table *table, Colour colour, const char *format, ...) G_GNUC_PRINTF(3, 4);
guint table_rows(const Table *table);

/** width 0: no limit, else the widest columns are cut until it fits. indent: spaces before each
 * line. Ends with a newline. (transfer full) */
char *table_format(const Table *table, int width, int indent, gboolean colour);
