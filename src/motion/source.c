/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: the source side of a migration
 *
 * One thread (runner.c) carries the VM through `source_stages`:
 *
 *     admit     the VM runs here and may leave; its shape is read
 *     reserve   the destination checks and sets aside; both workers are started
 *     open      the workers prove to each other who they are
 *     copy      libvirt's peer-to-peer migration runs in a thread of its own; passes are watched
 * and steered switch    the VM is stopped, the rest goes across, the destination starts it on proof
 *               (point of no return)
 *     announce, verify   what the destination did and measured
 *     retire    nothing of it is left here
 *
 * Who may run the VM. libvirt starts the destination paused. The destination's godwitd resumes it
 * only on proof that the source can't: the source's libvirtd has read the successful reply of
 * Finish (flyway/rpc.c), after which it only ever kills its side; or this side's word that the VM
 * is gone here (source_fate.c), which is given after libvirt said so. Whatever fails before that
 * leaves the VM with the source, where libvirt resumes it by itself.
 *
 * When godwitd dies: the workers, libvirt and QEMU go on. Its successor finds the journal and
 * enters at `switch`, which waits for libvirt's job to end and settles by what libvirt and the
 * destination say.
 *
 * When the destination dies or the link is lost: before the proof, the workers close their lanes,
 * libvirt fails and resumes here.
 */
#include "motion/source_private.h"

#include <glib/gstdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* ---- report ---- */

void
source_publish(Source *source)
{
    g_autoptr(Migration) copy = source_report(source);

    motion_publish(source->motion, copy);
}

Migration *
source_report(Source *source)
{
    Migration *copy;

    g_mutex_lock(&source->lock);
    source->report->total_s = source->report->ended_ms
                                  ? source->report->total_s
                                  : (double)(clock_wall_ms() - source->report->started_ms) / 1000.0;
    copy = record_copy(&migration_type, source->report);
    g_mutex_unlock(&source->lock);
    return copy;
}

const char *
source_vm(Source *source)
{
    return source->request->vm_uuid;
}

static double
seconds_since_start(Source *source)
{
    return (double)(clock_wall_ms() - source->report->started_ms) / 1000.0;
}

static MigrationStage *
last_stage(Source *source)
{
    GPtrArray *stages = source->report->stages;

    return stages && stages->len ? stages->pdata[stages->len - 1] : NULL;
}

void
source_stage_detail(Source *source, char *text)
{
    MigrationStage *stage;

    g_mutex_lock(&source->lock);
    stage = last_stage(source);
    if (stage) {
        g_free(stage->detail);
        stage->detail = g_steal_pointer(&text);
    }
    g_mutex_unlock(&source->lock);
    g_free(text);
}

void
source_warn(Source *source, char *text)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    g_mutex_lock(&source->lock);
    if (source->report->warnings)
        g_strv_builder_addv(builder, (const char **)source->report->warnings);
    g_strv_builder_add(builder, text);
    g_strfreev(source->report->warnings);
    source->report->warnings = g_strv_builder_end(builder);
    g_mutex_unlock(&source->lock);
    g_free(text);
}

static MigrationError *
error_record(const GError *error, const char *stage)
{
    MigrationError *record = record_new(&migration_error_type);

    record->code = g_strdup(godwit_error_nick(error));
    record->message = g_strdup(error->message);
    record->stage = g_strdup(stage);
    return record;
}

void
source_set_result(Source *source, MigrationResult result, const GError *error)
{
    g_mutex_lock(&source->lock);
    source->report->result = result;
    migration_error_free(source->report->error);
    source->report->error = error ? error_record(error, source->report->stage) : NULL;
    g_mutex_unlock(&source->lock);
}

gboolean
source_cancelled(Source *source, GError **error)
{
    if (!g_atomic_int_get(&source->cancel) || g_atomic_int_get(&source->moved))
        return FALSE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "the migration was cancelled");
    return TRUE;
}

JsonNode *
source_call_peer(Source *source, const char *method, const char *path, JsonNode *body,
                 GError **error)
{
    if (!source->peer &&
        !(source->peer = motion_peer(source->motion, source->request->to, 30, error)))
        return NULL;
    return http_client_call(source->peer, method, path, body, source->leaving, error);
}

/* ---- stages' watch ---- */

static void
stage_begun(gpointer self, const Stage *stage)
{
    Source *source = self;
    MigrationStage *entry = record_new(&migration_stage_type);

    g_mutex_lock(&source->lock);
    entry->name = g_strdup(stage->name);
    entry->start_s = seconds_since_start(source);
    entry->result = g_strdup("running");
    g_ptr_array_add(source->report->stages, entry);
    g_free(source->report->stage);
    source->report->stage = g_strdup(stage->name);
    if (source->report->result == MIGRATION_PENDING)
        source->report->result = MIGRATION_RUNNING;
    g_mutex_unlock(&source->lock);
    g_debug("migration %s: %s", source->request->id, stage->name);
    source_publish(source);
}

static void
stage_ended(gpointer self, const Stage *stage, const GError *error)
{
    Source *source = self;
    MigrationStage *entry;
    gboolean cancelled = g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);

    g_mutex_lock(&source->lock);
    entry = last_stage(source);
    entry->took_s = seconds_since_start(source) - entry->start_s;
    g_free(entry->result);
    entry->result = g_strdup(!error ? "ok" : cancelled ? "cancelled" : "failed");
    g_mutex_unlock(&source->lock);
    if (!error && stage->point_of_no_return)
        g_atomic_int_set(&source->moved, TRUE);
}

static void
stage_undone(gpointer self, const Stage *stage)
{
    Source *source = self;

    g_mutex_lock(&source->lock);
    for (guint i = 0; i < source->report->stages->len; i++) {
        MigrationStage *entry = source->report->stages->pdata[i];

        if (strcmp(entry->name, stage->name) == 0 && strcmp(entry->result, "ok") == 0) {
            g_free(entry->result);
            entry->result = g_strdup("undone");
        }
    }
    g_mutex_unlock(&source->lock);
}

static const StageWatch watch = { stage_begun, stage_ended, stage_undone };

/* ---- the thread ---- */

static void
finish_report(Source *source)
{
    g_mutex_lock(&source->lock);
    source->report->ended_ms = clock_wall_ms();
    source->report->total_s =
        (double)(source->report->ended_ms - source->report->started_ms) / 1000.0;
    g_clear_pointer(&source->report->stage, g_free);
    g_clear_pointer(&source->report->progress, migration_progress_free);
    g_mutex_unlock(&source->lock);
}

/** Says once, where the operation ends, what became of it. */
static void
log_end(const Migration *report)
{
    if (report->result == MIGRATION_COMPLETED)
        g_message("migration %s: VM %s runs on %s, paused for %.0f ms", report->id, report->vm,
                  report->to, report->pause_ms);
    else
        g_message("migration %s of VM %s to %s: %s: %s", report->id,
                  report->vm ? report->vm : report->vm_uuid, report->to,
                  migration_result_nicks[report->result],
                  report->error ? report->error->message : "");
}

static void
keep_end(Source *source)
{
    g_autoptr(Migration) report = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *journal = motion_journal_path(source->motion, source->request->id, "source");

    finish_report(source);
    report = source_report(source);
    log_end(report);
    /* The journal may go only once the report stands: a restarted godwitd needs one of the two. */
    if (motion_save_report(source->motion, report, &error))
        g_remove(journal);
    else
        g_warning("migration %s: its report can't be kept: %s", report->id, error->message);
    motion_publish(source->motion, report);
    motion_publish_vm(source->motion, source->request->vm_uuid);
}

gboolean
source_is_ended(Source *source)
{
    gboolean ended;

    g_mutex_lock(&source->lock);
    ended = source->report->ended_ms > 0;
    g_mutex_unlock(&source->lock);
    return ended;
}

static gpointer
source_main(gpointer self)
{
    Source *source = self;
    g_autoptr(GError) error = NULL;
    gboolean ok =
        runner_run(&source->runner, source_stages, source_n_stages, source->first_stage, &error);

    if (runner_is_leaving(&source->runner))
        return NULL;
    if (ok || g_atomic_int_get(&source->moved)) {
        if (error)
            source_warn(source, g_strdup_printf("after the VM had moved: %s", error->message));
        source_set_result(source, MIGRATION_COMPLETED, NULL);
    } else {
        const char *vm = source->vm ? source->vm->name : source->request->vm_uuid;

        if (!g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND) &&
            !g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED))
            g_prefix_error(&error, "VM %s stays on %s: ", vm, source->motion->config.host_name);
        source_set_result(source,
                          g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED)
                              ? MIGRATION_CANCELLED
                              : MIGRATION_FAILED,
                          error);
    }
    g_clear_pointer(&source->peer, http_client_free); /* belongs to this thread */
    keep_end(source);
    source_seal(source);
    recollect_end(source->motion->config.recall, source->request->id,
                  ok || g_atomic_int_get(&source->moved), &source->recalled);
    motion_source_ended(source->motion, source->request->id);
    return NULL;
}

/* ---- life ---- */

/* The lower one of two caps, of which 0 is none. */
static gint64
lower_cap(gint64 a, gint64 b)
{
    return a > 0 && b > 0 ? MIN(a, b) : MAX(MAX(a, b), 0);
}

static void
init_report(Source *source)
{
    Migration *report = record_new(&migration_type);
    const MigrationRequest *request = source->request;

    report->id = g_strdup(request->id);
    report->vm_uuid = g_strdup(request->vm_uuid);
    report->from = g_strdup(source->motion->config.host_name);
    report->from_uuid = g_strdup(source->motion->config.identity->name.uuid);
    report->to = g_strdup(request->to->name);
    report->to_uuid = g_strdup(request->to->uuid);
    report->policy = g_strdup(policy_nicks[source->controller.policy]);
    report->max_bps = lower_cap(request->max_bps, source->motion->config.max_bps);
    report->started_ms = clock_wall_ms();
    report->pause_ms = -1;
    report->blackout_ms = -1;
    report->pages = record_new(&migration_pages_type);
    report->passes = record_list_new(&migration_pass_type);
    report->stages = record_list_new(&migration_stage_type);
    source->report = report;
}

static Source *
source_make(Motion *motion, const MigrationRequest *request, GError **error)
{
    Source *source;
    Policy policy;

    if (!policy_parse(request->policy, &policy)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "unknown policy '%s'; there are gentle, standard and urgent", request->policy);
        return NULL;
    }
    source = g_new0(Source, 1);
    source->motion = motion;
    source->request = record_copy(&migration_request_type, request);
    source->folder = motion_folder(motion, request->id);
    source->rpc_socket = g_build_filename(source->folder, "rpc.sock", NULL);
    source->stream_socket = motion_stream_socket(motion, request->id);
    source->disks_socket = motion_disks_socket(motion, request->id);
    source->origin_us = clock_monotonic_us();
    source->rpc_listener = source->stream_listener = -1;
    source->controller.policy = policy;
    source->leaving = g_cancellable_new();
    source->dialling = g_cancellable_new();
    g_mutex_init(&source->lock);
    runner_init(&source->runner, source, &watch);
    init_report(source);
    return source;
}

static gboolean
source_begin(Source *source, GError **error)
{
    g_autofree char *path = motion_journal_path(source->motion, source->request->id, "source");
    JsonNode *detail;

    source->runner.journal = journal_open(path, error);
    if (!source->runner.journal)
        return FALSE;
    detail = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(detail, json_object_new());
    json_object_set_member(json_node_get_object(detail), "request",
                           record_to_json(&migration_request_type, source->request));
    if (!journal_write(source->runner.journal, source->recovering ? "restart" : "accept", "note",
                       detail, error))
        return FALSE;
    runner_start(&source->runner, "source", source_main);
    return TRUE;
}

Source *
source_new(Motion *motion, const MigrationRequest *request, GError **error)
{
    Source *source = source_make(motion, request, error);

    if (!source || source_begin(source, error))
        return source;
    source_free(source);
    return NULL;
}

Source *
source_recover(Motion *motion, const char *id, GPtrArray *lines, GError **error)
{
    JsonObject *accepted = journal_last(lines, "accept", "note");
    JsonObject *admitted = journal_last(lines, "admit", "note");
    JsonObject *reserved = journal_last(lines, "reserve", "note");
    g_autoptr(MigrationRequest) request = NULL;
    Source *source;

    if (!accepted || !json_object_has_member(accepted, "request")) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "it doesn't begin with a request");
        return NULL;
    }
    request = record_from_json(&migration_request_type, json_object_get_member(accepted, "request"),
                               error);
    if (!request || !(source = source_make(motion, request, error)))
        return NULL;
    source->recovering = TRUE;
    source->report->started_ms = json_object_get_int_member(accepted, "at_ms");
    if (admitted && json_object_has_member(admitted, "vm"))
        source->vm = record_from_json(&vm_type, json_object_get_member(admitted, "vm"), NULL);
    if (source->vm) {
        source->report->vm = g_strdup(source->vm->name);
        source->report->memory_bytes = source->vm->memory_max_bytes;
    }
    if (reserved && json_object_has_member(reserved, "reservation"))
        source->reservation = record_from_json(
            &reservation_type, json_object_get_member(reserved, "reservation"), NULL);
    /* Wherever it was, `switch` finds out whose the VM is; before it had begun to move, that it
     * stays. */
    source->first_stage = SOURCE_STAGE_SWITCH;
    source_warn(
        source,
        g_strdup("godwitd was restarted on the source in the middle; some figures are missing"));
    if (source_begin(source, error))
        return source;
    source_free(source);
    return NULL;
}

static gboolean
wake(gpointer data)
{
    return G_SOURCE_REMOVE; /* the wait looks at source->cancel by itself */
}

gboolean
source_cancel(Source *source, GError **error)
{
    if (g_atomic_int_get(&source->moved)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "VM %s runs on %s already; to have it back: godwit migrate %s --to %s",
                    source->report->vm, source->request->to->name, source->report->vm,
                    source->motion->config.host_name);
        return FALSE;
    }
    g_mutex_lock(&source->lock);
    source->report->cancel_requested = TRUE;
    g_mutex_unlock(&source->lock);
    g_atomic_int_set(&source->cancel, TRUE);
    runner_post(&source->runner, wake, NULL, NULL);
    return TRUE;
}

typedef struct {
    Source *source;
    HvEvent event;
} PostedEvent;

static gboolean on_hv_event(gpointer data);

void
source_hv_event(Source *source, const HvEvent *event)
{
    PostedEvent *posted = g_new0(PostedEvent, 1);

    posted->source = source;
    posted->event = *event;
    posted->event.uuid = NULL; /* the source's own */
    runner_post(&source->runner, on_hv_event, posted, g_free);
}

static void
add_pass(Source *source, gint64 number)
{
    HvJob job = { 0 };
    MigrationPass *pass;
    gint64 limit;

    if (!source->vm || source->suspended_us ||
        !source->motion->config.hv->ops->job(source->motion->config.hv, source->request->vm_uuid,
                                             &job, NULL) ||
        !job.active)
        return;
    limit = source->controller.limit_ms;
    if (controller_pass(&source->controller, job.remaining_bytes) != limit)
        source->motion->config.hv->ops->set_max_downtime(
            source->motion->config.hv, source->request->vm_uuid, source->controller.limit_ms, NULL);
    pass = record_new(&migration_pass_type);
    pass->number = number;
    pass->remaining_bytes = job.remaining_bytes;
    pass->sent_bytes = job.processed_bytes;
    pass->dirty_bps = job.dirty_bps;
    pass->bandwidth_bps = job.rate_bps;
    pass->downtime_limit_ms = source->controller.limit_ms;
    g_mutex_lock(&source->lock);
    pass->start_s = seconds_since_start(source);
    source->job_pages = job.pages_normal + job.pages_zero;
    if (source->report->passes->len >= MIGRATION_PASSES_MAX)
        g_ptr_array_remove_index(source->report->passes, 0);
    g_ptr_array_add(source->report->passes, pass);
    g_mutex_unlock(&source->lock);
    source_publish(source);
}

static gboolean
on_hv_event(gpointer data)
{
    const PostedEvent *posted = data;

    if (posted->event.kind == HV_EVENT_SUSPENDED_FOR_MIGRATION) {
        posted->source->suspended_us = posted->event.monotonic_us;
        if (posted->source->worker)
            worker_hurry(posted->source->worker);
    } else if (posted->event.kind == HV_EVENT_MIGRATION_PASS) {
        add_pass(posted->source, posted->event.number);
    }
    return G_SOURCE_REMOVE;
}

void
source_leave(Source *source)
{
    runner_leave(&source->runner);
    g_cancellable_cancel(source->leaving);
}

void
source_free(Source *source)
{
    if (!source)
        return;
    runner_clear(&source->runner);
    if (source->call.thread && !g_atomic_int_get(&source->call.done))
        return; /* godwitd stops while libvirt's call goes on: its thread still reads this memory,
                   the process ends */
    g_clear_pointer(&source->call.thread, g_thread_join);
    g_clear_error(&source->call.error);
    g_clear_error(&source->connection_error);
    g_clear_pointer(&source->worker, worker_free);
    g_clear_pointer(&source->peer, http_client_free);
    migration_request_free(source->request);
    vm_free(source->vm);
    host_free(source->host);
    reservation_free(source->reservation);
    incoming_free(source->incoming);
    migration_free(source->report);
    g_free(source->folder);
    g_free(source->rpc_socket);
    g_free(source->stream_socket);
    g_free(source->disks_socket);
    g_object_unref(source->leaving);
    g_object_unref(source->dialling);
    g_mutex_clear(&source->lock);
    g_free(source);
}
