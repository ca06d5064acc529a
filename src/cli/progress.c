/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <math.h>

#include "base/units.h"
#include "cli/text.h"
#include "cli/when.h"

/* A piece of the line; the one with the highest `spare` is left out first, 0 never. */
typedef struct {
    char *text;
    int spare;
} Piece;

static void
piece_clear(gpointer data)
{
    g_free(((Piece *)data)->text);
}

/* Takes text. */
static void
piece_add(GArray *pieces, int spare, char *text)
{
    Piece piece = { text, spare };

    g_array_append_val(pieces, piece);
}

static char *
pieces_join(const GArray *pieces)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < pieces->len; i++)
        g_string_append_printf(out, "%s%s",
                               i == 0   ? ""
                               : i == 1 ? ": "
                                        : ", ",
                               g_array_index(pieces, Piece, i).text);
    return g_string_free(out, FALSE);
}

static char *
pieces_fit(GArray *pieces, int width)
{
    for (;;) {
        g_autofree char *line = pieces_join(pieces);
        guint worst = 0;

        if (width <= 0 || text_width(line) <= width)
            return g_steal_pointer(&line);
        for (guint i = 1; i < pieces->len; i++) {
            if (g_array_index(pieces, Piece, i).spare > g_array_index(pieces, Piece, worst).spare)
                worst = i;
        }
        if (g_array_index(pieces, Piece, worst).spare == 0)
            return text_fit(line, width);
        g_array_remove_index(pieces, worst);
    }
}

static const char *
task_word(const Task *task)
{
    if (task->state == TASK_QUEUED)
        return "waiting to begin";
    if (task->state == TASK_RUNNING && task->migration && task->migration->stage)
        return task->migration->stage;
    return task_state_nicks[task->state];
}

/* Bytes, rates and times of a migration that is copying. */
static void
pieces_of_copy(GArray *pieces, const MigrationProgress *p)
{
    g_autofree char *done = units_bytes(MAX(p->done_bytes, 0));
    g_autofree char *left = units_bytes(MAX(p->remaining_bytes, 0));

    if (p->pass <= 0 && p->done_bytes <= 0 && p->remaining_bytes <= 0)
        return; /* not heard of QEMU yet */
    if (p->cut_off)
        piece_add(pieces, 0, g_strdup("connection lost, resuming"));
    if (p->pass > 0)
        piece_add(pieces, 2, g_strdup_printf("pass %" G_GINT64_FORMAT, p->pass));
    piece_add(pieces, 5, g_strdup_printf("%s done", done));
    piece_add(pieces, 1, g_strdup_printf("%s left", left));
    if (p->rate_bps > 0) {
        g_autofree char *rate = units_rate(p->rate_bps);

        piece_add(pieces, 4, g_strdup(rate));
    }
    if (p->dirty_bps > 0) {
        g_autofree char *dirty = units_rate(p->dirty_bps);

        piece_add(pieces, 6, g_strdup_printf("dirtied %s", dirty));
    }
    if (isfinite(p->eta_s) && p->eta_s >= 0 && p->eta_s < 1e9) {
        g_autofree char *eta = when_span((gint64)ceil(p->eta_s));

        piece_add(pieces, 3, g_strdup_printf("%s to go", eta));
    } else {
        piece_add(pieces, 7, g_strdup("time left unknown"));
    }
}

static char *
task_name(const Task *task)
{
    const Migration *m = task->migration;

    return text_clean(m && m->vm ? m->vm : task->summary ? task->summary : task->id, FALSE);
}

char *
progress_line(const Task *task, int width)
{
    g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    const Migration *m = task->migration;

    g_array_set_clear_func(pieces, piece_clear);
    piece_add(pieces, 0, task_name(task));
    piece_add(pieces, 0, text_clean(task_word(task), FALSE));
    if (task->cancel_requested && !task_is_ended(task))
        piece_add(pieces, 0, g_strdup("cancelling"));
    if (task->state == TASK_RUNNING && m && m->progress && g_strcmp0(m->stage, "copy") == 0)
        pieces_of_copy(pieces, m->progress);
    return pieces_fit(pieces, width);
}

static guint
count_in(GPtrArray *tasks, TaskState state)
{
    guint n = 0;

    for (guint i = 0; i < tasks->len; i++)
        n += ((const Task *)g_ptr_array_index(tasks, i))->state == (int)state;
    return n;
}

char *
progress_line_of_all(GPtrArray *tasks, int width)
{
    g_autoptr(GString) out = g_string_new(NULL);
    const char *separator = "";

    if (tasks->len == 1)
        return progress_line(g_ptr_array_index(tasks, 0), width);
    for (int state = TASK_QUEUED; state <= TASK_UNSETTLED; state++) {
        guint n = count_in(tasks, state);

        if (n == 0)
            continue;
        g_string_append_printf(out, "%s%u %s", separator, n, task_state_nicks[state]);
        separator = ", ";
    }
    for (guint i = 0; i < tasks->len; i++) {
        const Task *task = g_ptr_array_index(tasks, i);
        g_autofree char *name = NULL;

        if (task->state != TASK_RUNNING || !task->migration)
            continue;
        name = task_name(task);
        g_string_append_printf(out, " | %s: %s", name, task_word(task));
        if (task->migration->progress && g_strcmp0(task->migration->stage, "copy") == 0) {
            g_autofree char *left = units_bytes(MAX(task->migration->progress->remaining_bytes, 0));

            g_string_append_printf(out, ", %s%s left",
                                   task->migration->progress->cut_off ? "connection lost, " : "",
                                   left);
        }
    }
    return width > 0 ? text_fit(out->str, width) : g_strdup(out->str);
}

void
progress_seen_clear(ProgressSeen *seen)
{
    g_clear_pointer(&seen->stage, g_free);
}

char *
progress_change(ProgressSeen *seen, const Task *task, gint64 now_ms)
{
    const Migration *m = task->migration;
    const char *stage = m ? m->stage : NULL;
    /* Passes are news only while copying. */
    gint64 pass = m && m->progress && g_strcmp0(stage, "copy") == 0 ? m->progress->pass : 0;
    gboolean cut_off = pass > 0 && m->progress->cut_off;
    gboolean cancelling = task->cancel_requested && !task_is_ended(task);
    g_autofree char *line = NULL, *clock = NULL;

    if (seen->any && seen->state == task->state && g_strcmp0(seen->stage, stage) == 0 &&
        seen->pass == pass && seen->cancelling == cancelling && seen->cut_off == cut_off)
        return NULL;
    g_free(seen->stage);
    seen->stage = g_strdup(stage);
    seen->pass = pass;
    seen->state = task->state;
    seen->cancelling = cancelling;
    seen->cut_off = cut_off;
    seen->any = TRUE;
    line = progress_line(task, 0);
    clock = when_clock(now_ms);
    return g_strdup_printf("%s %s", clock, line);
}
