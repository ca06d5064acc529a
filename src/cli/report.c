/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include <math.h>

#include "base/units.h"
#include "cli/when.h"

static const struct {
    const char *code, *remedy;
} remedies[] = {
    { "unreachable", "\"godwit doctor\" says which host does not answer and what to look at." },
    { "timeout", "\"godwit doctor\" looks at hosts and links; a slow link or a busy guest may need "
                 "--policy urgent." },
    { "unsettled", "Start the VM nowhere by hand. \"godwit alarm list\" says what was left as is, "
                   "and which commands settle it." },
    { "refused", "Take away what the checks name, then move it again." },
    { "no-space", "Free memory or disk space on the host named, or choose another destination." },
    { "hypervisor", "libvirt's log on the host named (journalctl -u libvirtd -u virtqemud, "
                    "/var/log/libvirt/qemu) has the rest." },
    { "unauthorized", "\"godwit doctor\" looks at certificates and clocks; \"godwit host add\" "
                      "lets a host join anew." },
    { "expired", "Try again: tickets are made anew. If it happens again, \"godwit doctor\" "
                 "compares the clocks." },
    { "conflict", "\"godwit task list\" shows what else is at work." },
    { "protocol", "\"godwit host list\" shows whether the hosts run the same version of godwitd." },
};

const char *
report_remedy(const char *code)
{
    for (gsize i = 0; i < G_N_ELEMENTS(remedies); i++) {
        if (g_strcmp0(code, remedies[i].code) == 0)
            return remedies[i].remedy;
    }
    return NULL;
}

Colour
report_task_colour(int state)
{
    static const Colour colours[] = {
        [TASK_QUEUED] = COLOUR_DIM, [TASK_RUNNING] = COLOUR_BOLD,   [TASK_SUCCEEDED] = COLOUR_GOOD,
        [TASK_FAILED] = COLOUR_BAD, [TASK_CANCELLED] = COLOUR_WARN, [TASK_UNSETTLED] = COLOUR_BAD,
    };

    return colours[state];
}

static char *
seconds_text(double seconds)
{
    if (seconds >= 0 && seconds < 1e-6)
        return g_strdup("0 s");
    return isfinite(seconds) && seconds >= 0 && seconds < 1e12
               ? units_duration((gint64)(seconds * 1e6))
               : g_strdup("-");
}

/* "43 ms", "not measured" */
static char *
ms_text(double ms)
{
    return isfinite(ms) && ms >= 0 && ms < 1e12 ? units_duration((gint64)(ms * 1e3))
                                                : g_strdup("not measured");
}

static gint64
pages_sent(const MigrationPages *pages)
{
    return pages->same + pages->recalled + pages->delta + pages->compressed + pages->raw;
}

/* ", 4.2 times less than the pages that aren't zero", or "" */
static char *
ratio_text(const Migration *m)
{
    double bytes = m->pages ? 4096.0 * (double)pages_sent(m->pages) : 0;

    if (m->wire_bytes <= 0 || bytes < (double)m->wire_bytes)
        return g_strdup("");
    return g_strdup_printf(", %.1f times less than the pages that aren't zero",
                           bytes / (double)m->wire_bytes);
}

static void
append_bytes(Page *page, const Migration *m)
{
    g_autofree char *ratio = ratio_text(m);
    g_autofree char *memory = units_bytes(MAX(m->memory_bytes, 0));
    g_autofree char *wire = units_bytes(MAX(m->wire_bytes, 0));

    if (m->memory_bytes > 0)
        page_linef(page, "Memory", "%s", memory);
    if (m->wire_bytes > 0 && m->memory_bytes > 0)
        page_linef(page, "Wire", "%s, %.2f of the memory%s", wire,
                   (double)m->wire_bytes / m->memory_bytes, ratio);
    else if (m->wire_bytes > 0)
        page_linef(page, "Wire", "%s", wire);
}

static void
append_connection(Page *page, const Migration *m)
{
    g_autofree char *resent = units_bytes(MAX(m->resent_bytes, 0));

    if (m->resumes == 1)
        page_linef(page, "Connection", "lost and resumed once, %s sent twice", resent);
    else if (m->resumes > 1)
        page_linef(page, "Connection", "lost and resumed %" G_GINT64_FORMAT " times, %s sent twice",
                   m->resumes, resent);
}

static void
append_times(Page *page, const Task *task, gint64 now_ms)
{
    gint64 started_ms = task->started_ms ? task->started_ms : task->created_ms;
    g_autofree char *created = when_full(task->created_ms, now_ms);
    g_autofree char *started = when_full(task->started_ms, now_ms);
    g_autofree char *ended = when_full(task->ended_ms, now_ms);
    g_autofree char *total = NULL;

    page_linef(page, "Asked for", "%s", created);
    if (task->started_ms)
        page_linef(page, "Started", "%s", started);
    if (task->ended_ms)
        page_linef(page, "Ended", "%s", ended);
    if (task->migration && task->migration->total_s > 0)
        total = seconds_text(task->migration->total_s);
    else if (task->ended_ms > 0)
        total = seconds_text((task->ended_ms - started_ms) / 1e3);
    if (total)
        page_linef(page, "Total", "%s", total);
}

static void
append_header(Page *page, const Task *task, gint64 now_ms)
{
    const Migration *m = task->migration;
    g_autofree char *title =
        g_strdup_printf("Task %s: %s", task->id, task->summary ? task->summary : "-");

    page_title(page, title);
    page_line(page, "Result", report_task_colour(task->state),
              m && task_is_ended(task) ? migration_result_nicks[m->result]
                                       : task_state_nicks[task->state]);
    if (task->cancel_requested && !task_is_ended(task))
        page_linef(page, "Cancel", "asked for");
    if (m && m->vm)
        page_linef(page, "VM", "%s%s%s%s", m->vm, m->vm_uuid ? " (" : "",
                   m->vm_uuid ? m->vm_uuid : "", m->vm_uuid ? ")" : "");
    if (m && m->from && m->to)
        page_linef(page, "Hosts", "from %s to %s", m->from, m->to);
    if (m && m->policy)
        page_linef(page, "Policy", "%s", m->policy);
    if (m && m->max_bps > 0) {
        g_autofree char *cap = units_rate((double)m->max_bps);

        page_linef(page, "Bandwidth", "at most %s", cap);
    }
    append_times(page, task, now_ms);
    if (m && migration_is_ended(m) && m->result == MIGRATION_COMPLETED) {
        g_autofree char *pause = ms_text(m->pause_ms), *blackout = ms_text(m->blackout_ms);

        page_linef(page, "Pause", "%s (its CPUs stood still)", pause);
        page_linef(page, "Blackout", "%s (until it was heard on the network of %s)", blackout,
                   m->to ? m->to : "the destination");
    }
    if (m) {
        append_bytes(page, m);
        append_connection(page, m);
    }
}

static void
append_progress(Page *page, const Migration *m)
{
    const MigrationProgress *p = m->progress;
    g_autofree char *done = NULL, *left = NULL, *rate = NULL, *dirty = NULL, *eta = NULL;

    if (migration_is_ended(m) || !p)
        return;
    done = units_bytes(MAX(p->done_bytes, 0));
    left = units_bytes(MAX(p->remaining_bytes, 0));
    rate = units_rate(p->rate_bps);
    dirty = units_rate(p->dirty_bps);
    eta = seconds_text(p->eta_s);
    page_section(page, "Progress");
    page_linef(page, "Stage", "%s, pass %" G_GINT64_FORMAT, m->stage ? m->stage : "-", p->pass);
    if (p->cut_off)
        page_line(page, "Link", COLOUR_WARN, "connection lost, resuming");
    page_linef(page, "Bytes", "%s done, %s left", done, left);
    page_linef(page, "Rates", "%s sent, %s dirtied", rate, dirty);
    page_linef(page, "Time left", "%s", eta);
}

static void
append_stages(Page *page, const Migration *m)
{
    static const TableColumn columns[] = {
        { "STAGE" },  { "START", TRUE },         { "TOOK", TRUE },
        { "RESULT" }, { "DETAIL", FALSE, TRUE }, { NULL }
    };
    g_autoptr(Table) table = table_new(columns);

    if (!m->stages || m->stages->len == 0)
        return;
    for (guint i = 0; i < m->stages->len; i++) {
        const MigrationStage *stage = g_ptr_array_index(m->stages, i);
        g_autofree char *start = seconds_text(stage->start_s), *took = seconds_text(stage->took_s);
        gboolean ok = g_strcmp0(stage->result, "ok") == 0;
        gboolean failed = g_strcmp0(stage->result, "failed") == 0;

        table_cell(table, COLOUR_NONE, stage->name);
        table_cell(table, COLOUR_NONE, start);
        table_cell(table, COLOUR_NONE, took);
        table_cell(table, ok ? COLOUR_GOOD : failed ? COLOUR_BAD : COLOUR_WARN, stage->result);
        table_cell(table, COLOUR_NONE, stage->detail);
    }
    page_table(page, "Stages", table);
}

static void
append_passes(Page *page, const Migration *m)
{
    static const TableColumn columns[] = { { "PASS", TRUE },      { "START", TRUE },
                                           { "LEFT", TRUE },      { "SENT", TRUE },
                                           { "BANDWIDTH", TRUE }, { "DIRTIED", TRUE },
                                           { "LIMIT", TRUE },     { NULL } };
    g_autoptr(Table) table = table_new(columns);

    if (!m->passes || m->passes->len == 0)
        return;
    for (guint i = 0; i < m->passes->len; i++) {
        const MigrationPass *pass = g_ptr_array_index(m->passes, i);
        g_autofree char *start = seconds_text(pass->start_s);
        g_autofree char *left = units_bytes(MAX(pass->remaining_bytes, 0));
        g_autofree char *sent = units_bytes(MAX(pass->sent_bytes, 0));
        g_autofree char *bandwidth = units_rate(pass->bandwidth_bps);
        g_autofree char *dirty = units_rate(pass->dirty_bps);

        table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, pass->number);
        table_cell(table, COLOUR_NONE, start);
        table_cell(table, COLOUR_NONE, left);
        table_cell(table, COLOUR_NONE, sent);
        table_cell(table, COLOUR_NONE, pass->bandwidth_bps > 0 ? bandwidth : "-");
        table_cell(table, COLOUR_NONE, pass->dirty_bps > 0 ? dirty : "-");
        table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT " ms", pass->downtime_limit_ms);
    }
    page_table(page, "Passes over the memory", table);
}

static void
append_pages(Page *page, const MigrationPages *pages)
{
    static const TableColumn columns[] = {
        { "KIND" }, { "PAGES", TRUE }, { "SHARE", TRUE }, { "HOW THEY WENT" }, { NULL }
    };
    const struct {
        const char *kind;
        gint64 count;
        const char *how;
    } rows[] = {
        { "zero", pages->zero, "as a mark" },
        { "same", pages->same, "as a reference to one sent before" },
        { "recalled", pages->recalled, "as a reference to what the destination had" },
        { "delta", pages->delta, "as the difference to the version sent before" },
        { "compressed", pages->compressed, "compressed" },
        { "raw", pages->raw, "as they are" },
    };
    g_autoptr(Table) table = table_new(columns);
    gint64 total = pages->zero + pages_sent(pages);

    if (total <= 0)
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].count == 0)
            continue;
        table_cell(table, COLOUR_NONE, rows[i].kind);
        table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, rows[i].count);
        table_cellf(table, COLOUR_NONE, "%.1f %%", 100.0 * rows[i].count / total);
        table_cell(table, COLOUR_DIM, rows[i].how);
    }
    page_table(page, "Pages", table);
}

static const MigrationError *
error_of(const Task *task)
{
    if (task->error)
        return task->error;
    return task->migration ? task->migration->error : NULL;
}

static void
append_error(Page *page, const MigrationError *e)
{
    const char *remedy = report_remedy(e->code);

    page_section(page, "Error");
    if (e->stage)
        page_linef(page, "Stage", "%s", e->stage);
    page_linef(page, "Code", "%s", e->code ? e->code : "internal");
    page_paragraph(page, e->message ? e->message : "no message");
    if (remedy)
        page_paragraph(page, remedy);
}

char *
report_page(const Task *task, const PageStyle *style)
{
    g_autoptr(Page) page = page_new_styled(style);
    const Migration *m = task->migration;

    append_header(page, task, style->now_ms);
    if (m) {
        append_progress(page, m);
        append_stages(page, m);
        append_passes(page, m);
        if (m->pages)
            append_pages(page, m->pages);
    }
    if (m && m->warnings && m->warnings[0]) {
        page_section(page, "Warnings");
        for (char **warning = m->warnings; *warning; warning++)
            page_paragraph(page, *warning);
    }
    if (error_of(task))
        append_error(page, error_of(task));
    return page_string(page);
}

/* ---- short -------------------------------------------------------------------------------------
 */

static void
short_completed(GString *out, const Migration *m)
{
    g_autofree char *total = seconds_text(m->total_s);
    g_autofree char *pause = ms_text(m->pause_ms), *blackout = ms_text(m->blackout_ms);
    g_autofree char *wire = units_bytes(MAX(m->wire_bytes, 0)),
                    *memory = units_bytes(MAX(m->memory_bytes, 0));

    g_string_append_printf(out, "%s moved from %s to %s in %s; pause %s, blackout %s", m->vm,
                           m->from, m->to, total, pause, blackout);
    if (m->memory_bytes > 0 && m->wire_bytes > 0)
        g_string_append_printf(out, "; %s on the wire for %s of memory", wire, memory);
    g_string_append(out, ".");
}

char *
report_short(const Task *task)
{
    g_autoptr(GString) out = g_string_new(NULL);
    const Migration *m = task->migration;
    const MigrationError *e = error_of(task);
    const char *name = m && m->vm ? m->vm : task->summary;
    const char *from = m && m->from ? m->from : "its host";
    g_autofree char *clean = NULL;

    switch (task->state) {
    case TASK_SUCCEEDED:
        if (m && m->result == MIGRATION_COMPLETED)
            short_completed(out, m);
        else
            g_string_append_printf(out, "%s: succeeded.", name);
        break;
    case TASK_CANCELLED:
        if (m)
            g_string_append_printf(out, "%s was not moved: cancelled. It goes on running on %s.",
                                   name, from);
        else
            g_string_append_printf(out, "%s: cancelled.", name);
        break;
    case TASK_UNSETTLED:
        g_string_append_printf(out, "%s: whether it moved is not known, nothing was guessed.",
                               name);
        break;
    case TASK_FAILED:
        if (m)
            g_string_append_printf(out, "%s was not moved: it stays on %s.", name, from);
        else
            g_string_append_printf(out, "%s: failed.", name);
        break;
    default:
        g_string_append_printf(out, "%s: has not ended.", name);
    }
    if (e && e->message && task->state != TASK_SUCCEEDED) {
        const char *remedy = report_remedy(e->code);

        g_string_append_printf(out, "\n%s%s%s", e->stage ? e->stage : "", e->stage ? ": " : "",
                               e->message);
        if (remedy)
            g_string_append_printf(out, "\n%s", remedy);
    }
    clean = text_clean(out->str, TRUE);
    return g_strdup_printf("%s\n", clean);
}
