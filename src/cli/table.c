/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

/* Space between columns; a column isn't cut below CUT_MIN columns. */
#define GAP 2
#define CUT_MIN 6

typedef struct {
    char *text;
    Colour colour;
} Cell;

struct Table {
    const TableColumn *columns;
    guint n_columns;
    GArray *cells; /* Cell, row after row */
};

static void
cell_clear(gpointer data)
{
    g_free(((Cell *)data)->text);
}

Table *
table_new(const TableColumn *columns)
{
    Table *table = g_new0(Table, 1);

    table->columns = columns;
    while (columns[table->n_columns].title)
        table->n_columns++;
    g_assert(table->n_columns > 0);
    table->cells = g_array_new(FALSE, FALSE, sizeof(Cell));
    g_array_set_clear_func(table->cells, cell_clear);
    return table;
}

void
table_free(Table *table)
{
    if (!table)
        return;
    g_array_unref(table->cells);
    g_free(table);
}

void
table_cell(Table *table, Colour colour, const char *text)
{
    Cell cell = { text_clean(text, FALSE), colour };

    g_array_append_val(table->cells, cell);
}

void
table_cellf(Table *table, Colour colour, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list list;

    va_start(list, format);
    text = g_strdup_vprintf(format, list);
    va_end(list);
    table_cell(table, colour, text);
}

guint
table_rows(const Table *table)
{
    return table->cells->len / table->n_columns;
}

static const Cell *
table_at(const Table *table, guint row, guint column)
{
    return &g_array_index(table->cells, Cell, row * table->n_columns + column);
}

/* Natural width of a column; 0 = left out. */
static int
column_width(const Table *table, guint column)
{
    int widest = 0;

    for (guint row = 0; row < table_rows(table); row++)
        widest = MAX(widest, text_width(table_at(table, row, column)->text));
    if (widest == 0 && table->columns[column].optional)
        return 0;
    return MAX(widest, text_width(table->columns[column].title));
}

/* Takes columns from the widest until the line fits, or all are as narrow as may be. */
static void
widths_cut(int *widths, guint n, int room)
{
    for (;;) {
        int total = -GAP, widest = -1;

        for (guint i = 0; i < n; i++) {
            if (widths[i] == 0)
                continue;
            total += widths[i] + GAP;
            if (widest < 0 || widths[i] > widths[widest])
                widest = i;
        }
        if (total <= room || widest < 0 || widths[widest] <= CUT_MIN)
            return;
        widths[widest]--;
    }
}

typedef struct {
    const Table *table;
    const int *widths;
    int indent;
    gboolean colour;
} Layout;

/* row -1: the header. */
static void
row_format(GString *out, const Layout *layout, int row)
{
    const Table *table = layout->table;
    int gap = 0;

    text_pad(out, "", layout->indent, FALSE);
    for (guint i = 0; i < table->n_columns; i++) {
        const Cell *cell = row < 0 ? NULL : table_at(table, row, i);
        const char *text = cell ? cell->text : table->columns[i].title;
        g_autofree char *fitted = NULL;
        int fill;

        if (layout->widths[i] == 0)
            continue;
        fitted = text_fit(text, layout->widths[i]);
        fill = MAX(0, layout->widths[i] - text_width(fitted));
        /* Spaces are held back until something follows them: no line ends in spaces. */
        text_pad(out, "", fitted[0] ? gap + (table->columns[i].right ? fill : 0) : 0, FALSE);
        if (fitted[0])
            text_colour(out, cell ? cell->colour : COLOUR_BOLD, layout->colour, fitted);
        gap = GAP + (fitted[0] ? (table->columns[i].right ? 0 : fill) : gap + fill);
    }
    g_string_append_c(out, '\n');
}

char *
table_format(const Table *table, int width, int indent, gboolean colour)
{
    GString *out = g_string_new(NULL);
    g_autofree int *widths = g_new0(int, table->n_columns);
    Layout layout = { table, widths, indent, colour };

    g_assert(table->cells->len % table->n_columns == 0);
    for (guint i = 0; i < table->n_columns; i++)
        widths[i] = column_width(table, i);
    if (width > 0)
        widths_cut(widths, table->n_columns, width - indent);
    row_format(out, &layout, -1);
    for (guint row = 0; row < table_rows(table); row++)
        row_format(out, &layout, row);
    return g_string_free(out, FALSE);
}
