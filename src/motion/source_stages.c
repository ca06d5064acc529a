/* SPDX-License-Identifier: Apache-2.0 */

/* The stages of the source side; see source.c for the theory of operation. */
#include "motion/source_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "flyway/protocol.h"
#include "motion/dial.h"
#include "motion/shared.h"
#include "preflight/preflight.h"

#define PROGRESS_MS 500
#define CLOCK_WARN_US (10 * G_TIME_SPAN_MILLISECOND)
#define WORKER_END_MS 5000

static Hv *
hv_of(Source *source)
{
    return source->motion->config.hv;
}

/* ---- admit ---- */

static gboolean
note_vm(Source *source, GError **error)
{
    JsonNode *detail = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(detail, json_object_new());
    json_object_set_member(json_node_get_object(detail), "vm",
                           record_to_json(&vm_type, source->vm));
    return journal_write(source->runner.journal, "admit", "note", detail, error);
}

static gboolean
run_admit(gpointer self, GError **error)
{
    Source *source = self;
    Hv *hv = hv_of(source);
    HvJob job = { 0 };
    PreflightInput input = { 0 };
    g_auto(GStrv) warnings = NULL;

    source->vm = hv->ops->vm(hv, source->request->vm_uuid, error);
    if (!source->vm)
        return FALSE;
    g_mutex_lock(&source->lock);
    source->report->vm = g_strdup(source->vm->name);
    source->report->memory_bytes = source->vm->memory_max_bytes;
    g_mutex_unlock(&source->lock);
    input.vm = source->vm;
    if (!preflight_admit(&input, &warnings, error))
        return FALSE;
    if (hv->ops->job(hv, source->vm->uuid, &job, NULL) && job.active) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "VM %s has another job running in libvirt (virsh domjobinfo %s); wait for it "
                    "or abort it: virsh domjobabort %s",
                    source->vm->name, source->vm->name, source->vm->name);
        return FALSE;
    }
    source->host = hv->ops->host(hv, error);
    return source->host && note_vm(source, error) && !source_cancelled(source, error);
}

/* ---- reserve ---- */

static ReservationRequest *
reservation_request(Source *source)
{
    ReservationRequest *request = record_new(&reservation_request_type);

    request->id = g_strdup(source->request->id);
    request->from = record_new(&peer_type);
    request->from->uuid = g_strdup(source->motion->config.identity->name.uuid);
    request->from->name = g_strdup(source->motion->config.host_name);
    request->from->control_address = g_strdup(source->motion->config.control_address);
    request->from->control_port = source->motion->config.control_port;
    request->vm = record_copy(&vm_type, source->vm);
    request->host = record_copy(&host_type, source->host);
    request->proofs = shared_plant(source->vm, source->request->id);
    return request;
}

/* For connecting again after godwitd was restarted. The ticket stays out of the journal. */
static gboolean
note_reservation(Source *source, GError **error)
{
    g_autoptr(Reservation) reservation = record_copy(&reservation_type, source->reservation);
    JsonNode *detail = json_node_new(JSON_NODE_OBJECT);

    g_clear_pointer(&reservation->ticket, g_free);
    json_node_take_object(detail, json_object_new());
    json_object_set_member(json_node_get_object(detail), "reservation",
                           record_to_json(&reservation_type, reservation));
    return journal_write(source->runner.journal, "reserve", "note", detail, error);
}

static gboolean
ask_reservation(Source *source, GError **error)
{
    g_autoptr(ReservationRequest) request = reservation_request(source);
    g_autoptr(JsonNode) answer = source_call_peer(
        source, "POST", "/v1/incoming", record_to_json(&reservation_request_type, request), error);

    shared_remove(source->vm, source->request->id);
    if (!answer)
        return FALSE;
    source->storage_proved = shared_is_proved(source->vm, request->proofs);
    source->reservation = record_from_json(&reservation_type, answer, error);
    if (source->reservation && source->reservation->ticket && source->reservation->addresses)
        return note_reservation(source, error);
    if (!source->reservation)
        g_prefix_error(error, "host %s answered the reservation with what can't be read: ",
                       source->request->to->name);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "host %s gave a reservation without ticket or migration address; do both hosts "
                    "run the same Godwit? godwit doctor",
                    source->request->to->name);
    return FALSE;
}

static int
unix_listener(const char *path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    fd_auto int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path)
        errno = ENAMETOOLONG;
    else if (fd >= 0 && (unlink(path) == 0 || errno == ENOENT) &&
             bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && chmod(path, 0600) == 0 &&
             listen(fd, 4) == 0)
        return fd_steal(&fd);
    g_set_error(error, GODWIT_ERROR,
                errno == ENOSPC ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                "cannot listen on %s: %s", path, g_strerror(errno));
    return -1;
}

static void on_worker(Worker *worker, WorkerEvent event, gpointer data);

/* As many as are configured, but each of the destination's addresses is used. */
static int
n_connections(Source *source)
{
    guint wanted = MAX(source->motion->config.flyway_connections,
                       g_strv_length(source->reservation->addresses));

    return (int)CLAMP(wanted, 1, FLYWAY_LINKS);
}

static gboolean
start_worker(Source *source, GError **error)
{
    const MotionConfig *config = &source->motion->config;
    fd_auto int rpc = -1, stream = -1, disks = -1;
    g_autoptr(RecallLoan) loan = NULL;
    WorkerConfig worker = { .side = WORKER_SOURCE,
                            .program = config->flyway_program,
                            .user = config->flyway_user,
                            .folder = source->folder,
                            .id = source->request->id,
                            .vm_uuid = source->request->vm_uuid,
                            .self_uuid = config->identity->name.uuid,
                            .peer_uuid = source->request->to->uuid,
                            .ticket = source->reservation->ticket,
                            .ticket_expires_s = source->reservation->expires_s,
                            .resume_s = (int)config->flyway_resume_s,
                            .connections = n_connections(source),
                            .threads = (int)config->flyway_threads,
                            .max_bps = source->report->max_bps,
                            .identity = config->identity };

    if (!motion_make_folder(source->motion, source->request->id, source->host->qemu_owner, error) ||
        (rpc = unix_listener(source->rpc_socket, error)) < 0 ||
        (stream = unix_listener(source->stream_socket, error)) < 0 ||
        (disks = unix_listener(source->disks_socket, error)) < 0)
        return FALSE;
    worker.rpc_listener = rpc;
    worker.stream_listener = stream;
    worker.nbd_listener = disks;
    loan =
        recollect_begin(config->recall, source->request->id, source->vm, source->request->to->uuid);
    worker.recall = loan;
    source->worker = worker_start(&worker, source->runner.context, on_worker, source, error);
    return source->worker != NULL;
}

static gboolean
run_reserve(gpointer self, GError **error)
{
    Source *source = self;

    return ask_reservation(source, error) && start_worker(source, error) &&
           !source_cancelled(source, error);
}

static gboolean
worker_is_gone(gpointer self, GError **error)
{
    return ((Source *)self)->worker_gone;
}

static gboolean
worker_over(gpointer self, GError **error)
{
    const Source *source = self;

    return source->worker_gone || worker_is_over(source->worker);
}

static gboolean
dials_have_ended(gpointer self, GError **error)
{
    return ((Source *)self)->n_dials == 0;
}

static void
end_worker(Source *source)
{
    g_cancellable_cancel(source->dialling);
    runner_wait(&source->runner, dials_have_ended, WORKER_END_MS, "the end of connecting", NULL);
    if (source->worker) {
        worker_end(source->worker);
        if (!runner_wait(&source->runner, worker_over, WORKER_END_MS, "the session's end", NULL))
            worker_kill(source->worker);
    }
    motion_remove_folder(source->motion, source->request->id);
}

void
source_seal(Source *source)
{
    const WorkerStatus *status = source->worker ? worker_status(source->worker) : NULL;

    if (!status)
        return;
    source->runner.deadline_us = 0;
    if (!g_atomic_int_get(&source->moved) ||
        !runner_wait(&source->runner, worker_is_gone, RECOLLECT_SEAL_MS, "the set of its pages",
                     NULL))
        worker_kill(source->worker);
    source->recalled = (Recollection){ .sealed = status->recall.sealed > 0,
                                       .asked = (guint64)status->recall.asked,
                                       .found = (guint64)status->recall.found };
    g_clear_pointer(&source->worker, worker_free);
}

static void
undo_reserve(gpointer self)
{
    Source *source = self;

    if (source->reservation)
        source_tell_runs(source);
    end_worker(source);
}

/* ---- open ---- */

static void
dialled(int fd, const char *address, const GError *error, gpointer data)
{
    Source *source = data;

    source->n_dials--;
    if (fd >= 0 && source->worker) {
        source_stage_detail(source, g_strdup_printf("over %s port %" G_GINT64_FORMAT, address,
                                                    source->reservation->port));
        worker_give_connection(source->worker, fd);
    } else if (fd >= 0) {
        close(fd);
    } else if (source->worker) {
        g_clear_error(&source->connection_error);
        source->connection_error = g_error_copy(error);
        g_prefix_error(&source->connection_error, "host %s: ", source->request->to->name);
        worker_no_connection(source->worker);
    }
}

/* Each connection begins with the next address, so that they spread over all of them. */
static void
give_connection(Source *source)
{
    const Reservation *reservation = source->reservation;

    if (!reservation || !reservation->addresses || !reservation->addresses[0]) {
        worker_no_connection(source->worker);
        return;
    }
    source->n_dials++;
    dial((const char *const *)reservation->addresses, source->dialled++, (guint16)reservation->port,
         source->request->id, source->dialling, dialled, source);
}

/*
 * The worker counts the pages that it finds in QEMU's stream, and so knows how each went. A stream
 * that it doesn't understand to the end it passes as it is: then what QEMU counted is more, and the
 * rest went raw. While memory flows QEMU is ahead by what lies in sockets and the worker's batches.
 */
static void
count_pages(Source *source, const WorkerStatus *status)
{
    MigrationPages *pages = source->report->pages;
    gint64 known = status->pages.zero + status->pages.same + status->pages.recalled +
                   status->pages.delta + status->pages.compressed + status->pages.raw;

    pages->zero = status->pages.zero;
    pages->same = status->pages.same;
    pages->recalled = status->pages.recalled;
    pages->delta = status->pages.delta;
    pages->compressed = status->pages.compressed;
    pages->raw = status->pages.raw + MAX(source->job_pages - known, 0);
}

/* What the worker counts only grows; of the connections the most at once are told. A report that
 * has ended stays as it is. */
static void
count(Source *source, const WorkerStatus *status)
{
    Migration *report = source->report;

    g_mutex_lock(&source->lock);
    if (report->ended_ms > 0) {
        g_mutex_unlock(&source->lock);
        return;
    }
    report->wire_bytes = MAX(report->wire_bytes, status->wire_bytes);
    report->resent_bytes = MAX(report->resent_bytes, status->resent_bytes);
    report->resumes = MAX(report->resumes, status->resumes);
    report->connections = MAX(report->connections, status->connections);
    count_pages(source, status);
    g_mutex_unlock(&source->lock);
}

static void
on_worker(Worker *worker, WorkerEvent event, gpointer data)
{
    Source *source = data;

    if (event == WORKER_EVENT_WANT_CONNECTION)
        give_connection(source);
    else if (event == WORKER_EVENT_GONE)
        source->worker_gone = TRUE;
    count(source, worker_status(worker));
}

gboolean
source_worker_failure(Source *source, GError **error)
{
    const WorkerStatus *status = source->worker ? worker_status(source->worker) : NULL;

    if (!status || status->state != WORKER_FAILED)
        return FALSE;
    if (status->error)
        g_propagate_prefixed_error(error, g_error_copy(status->error),
                                   "the data connection to %s: ", source->request->to->name);
    else
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
            "the flyway worker ended unexpectedly; see the journal of godwitd on both hosts");
    return TRUE;
}

static gboolean
session_open(gpointer self, GError **error)
{
    Source *source = self;

    if (source_cancelled(source, error) || source_worker_failure(source, error))
        return FALSE;
    if (source->connection_error) {
        g_propagate_error(error, g_error_copy(source->connection_error));
        return FALSE;
    }
    return worker_status(source->worker)->state == WORKER_OPEN;
}

static gboolean
run_open(gpointer self, GError **error)
{
    Source *source = self;

    return runner_wait(&source->runner, session_open, 0,
                       "the data connection to be proved on both sides", error) &&
           !source_cancelled(source, error);
}

/* ---- copy ---- */

static gboolean
wake_up(gpointer data)
{
    return G_SOURCE_REMOVE;
}

static gpointer
call_main(gpointer data)
{
    Source *source = data;
    Hv *hv = hv_of(source);

    source->call.ok = hv->ops->migrate(hv, &source->call.how, &source->call.error);
    g_atomic_int_set(&source->call.done, TRUE);
    runner_post(&source->runner, wake_up, NULL, NULL);
    return NULL;
}

/* All connections are lost, and it waits for them to come back. */
static gboolean
is_cut_off(Source *source)
{
    const WorkerStatus *status = source->worker ? worker_status(source->worker) : NULL;

    return status && status->state == WORKER_OPEN && status->connections == 0;
}

static void
set_progress(Source *source, const HvJob *job)
{
    MigrationProgress *progress = record_new(&migration_progress_type);
    double net_bps = (double)(job->rate_bps - job->dirty_bps);

    progress->pass = job->pass;
    progress->done_bytes = job->processed_bytes;
    progress->remaining_bytes = job->remaining_bytes;
    progress->total_bytes = job->total_bytes;
    progress->rate_bps = job->rate_bps;
    progress->dirty_bps = job->dirty_bps;
    progress->cut_off = is_cut_off(source);
    progress->eta_s = net_bps > 0 ? (double)job->remaining_bytes / net_bps : -1;
    g_mutex_lock(&source->lock);
    migration_progress_free(source->report->progress);
    source->report->progress = progress;
    source->job_pages = job->pages_normal + job->pages_zero;
    g_mutex_unlock(&source->lock);
}

static gboolean
on_progress(gpointer data)
{
    Source *source = data;
    Hv *hv = hv_of(source);
    HvJob job = { 0 };

    if (source->worker)
        worker_refresh(source->worker);
    /* Not in the switch: libvirt holds the domain then, and would hold us for a second. */
    if (!source->suspended_us && hv->ops->job(hv, source->request->vm_uuid, &job, NULL) &&
        job.active) {
        set_progress(source, &job);
        /* Tried again until libvirt's job has ended: it can't be aborted in each of its phases. */
        if (g_atomic_int_get(&source->cancel))
            hv->ops->job_abort(hv, source->request->vm_uuid, NULL);
    }
    source_publish(source);
    return G_SOURCE_CONTINUE;
}

static void
stop_progress(Source *source)
{
    if (!source->progress_timer)
        return;
    g_source_destroy(source->progress_timer);
    g_clear_pointer(&source->progress_timer, g_source_unref);
}

static void
watch_progress(Source *source)
{
    if (source->progress_timer)
        return;
    source->progress_timer = g_timeout_source_new(PROGRESS_MS);
    g_source_set_callback(source->progress_timer, on_progress, source, NULL);
    g_source_attach(source->progress_timer, source->runner.context);
}

static gboolean
copied(gpointer self, GError **error)
{
    Source *source = self;

    if (g_atomic_int_get(&source->cancel) && !source->abort_sent) {
        source->abort_sent = TRUE;
        hv_of(source)->ops->job_abort(hv_of(source), source->request->vm_uuid, NULL);
    }
    return source->suspended_us != 0 || g_atomic_int_get(&source->call.done);
}

/** Ends when the VM is stopped for the switch, or libvirt's call ended without that. */
static gboolean
run_copy(gpointer self, GError **error)
{
    Source *source = self;
    Hv *hv = hv_of(source);
    g_autoptr(GError) local = NULL;

    if (!hv->ops->set_max_downtime(
            hv, source->request->vm_uuid,
            controller_pass(&source->controller, source->vm->memory_max_bytes), &local))
        source_warn(source,
                    g_strdup_printf("the downtime limit could not be set, QEMU's default holds: %s",
                                    local->message));
    source->call.how = (HvMigrate){ .vm_uuid = source->request->vm_uuid,
                                    .rpc_socket = source->rpc_socket,
                                    .stream_socket = source->stream_socket,
                                    .start_paused = TRUE,
                                    .storage_proved = source->storage_proved };
    watch_progress(source);
    source->call.thread = g_thread_new("migrate", call_main, source);
    if (!runner_wait(&source->runner, copied, 0, "the copy", error))
        return FALSE;
    /* libvirt said no, or the move was cancelled, before the VM was stopped: then this stage has
     * failed. */
    return source->suspended_us || source->call.ok || source_settle(source, error);
}

static void
undo_copy(gpointer self)
{
    Source *source = self;

    stop_progress(source);
    /* What Godwit set for the move must not stay with the VM: QEMU's default, for a later virsh
     * migrate. */
    hv_of(source)->ops->set_max_downtime(hv_of(source), source->request->vm_uuid, 300, NULL);
}

/* ---- switch ---- */

static gboolean
run_switch(gpointer self, GError **error)
{
    Source *source = self;
    g_autoptr(GError) lost = NULL;
    gboolean ok;

    watch_progress(source); /* after a restart */
    if (source->recovering) /* which may have been in the middle of `reserve` */
        shared_remove(source->vm, source->request->id);
    if (source->recovering && !source->worker)
        source->worker = worker_attach(WORKER_SOURCE, source->folder, source->runner.context,
                                       on_worker, source, &lost);
    ok = source_settle(source, error);
    stop_progress(source);
    return ok;
}

/* ---- announce, verify ---- */

static gboolean
run_announce(gpointer self, GError **error)
{
    Source *source = self;

    for (char **warning = source->incoming->warnings; warning && *warning; warning++)
        source_warn(source, g_strdup_printf("%s: %s", source->request->to->name, *warning));
    source_stage_detail(
        source, g_strdup_printf("%s announced the VM (frames sent until then: %" G_GINT64_FORMAT
                                "), as QEMU did",
                                source->request->to->name, source->incoming->announced));
    return TRUE;
}

/** Relates the destination's monotonic clock to ours, by what the workers measured over their
 * session. Without it the pause can't be told, no more. */
static void
relate_clocks(Source *source)
{
    const WorkerStatus *status = source->worker ? worker_status(source->worker) : NULL;

    source->clock_known = status && status->peer_clock_uncertainty_us >= 0;
    if (!source->clock_known)
        return;
    source->offset_us = status->peer_clock_offset_us;
    if (status->peer_clock_uncertainty_us > CLOCK_WARN_US)
        source_warn(source, g_strdup_printf("the hosts' clocks could be related to %.0f ms only; "
                                            "so exact are pause and blackout",
                                            (double)status->peer_clock_uncertainty_us / 1000.0));
}

static double
since_suspended_ms(Source *source, gint64 peer_us)
{
    gint64 span_us = peer_us + source->offset_us - source->suspended_us;

    return span_us > 0 ? (double)span_us / 1000.0 : 0;
}

static gboolean
run_verify(gpointer self, GError **error)
{
    Source *source = self;
    const Incoming *there = source->incoming;
    const char *blackout = "not measured";

    relate_clocks(source);
    g_mutex_lock(&source->lock);
    if (source->suspended_us && source->clock_known && there->resumed_us) {
        source->report->pause_ms = since_suspended_ms(source, there->resumed_us);
        if (there->first_frame_us)
            source->report->blackout_ms = since_suspended_ms(source, there->first_frame_us);
    }
    g_mutex_unlock(&source->lock);
    if (source->suspended_us && !there->first_frame_us)
        blackout = "not measured: the VM sent nothing by itself within a second";
    else if (source->report->blackout_ms >= 0)
        blackout = "measured by the VM's first frame";
    source_stage_detail(
        source, g_strdup_printf("runs on %s; blackout %s", source->request->to->name, blackout));
    return TRUE;
}

/* ---- retire ---- */

static gboolean
run_retire(gpointer self, GError **error)
{
    Source *source = self;
    Hv *hv = hv_of(source);
    g_autoptr(GError) local = NULL;
    g_autoptr(Vm) left = NULL;

    if (source->worker)
        worker_refresh(source->worker);
    end_worker(source);
    left = hv->ops->vm(hv, source->request->vm_uuid, NULL);
    if (!left)
        return TRUE;
    /* It runs there, so what is left here is a shell: a paused process that libvirt did not end, or
     * a definition. */
    if (left->state == VM_RUNNING) {
        motion_alarm(source->motion, source->request->id, left->name,
                     g_strdup_printf("VM %s runs on %s, and libvirt says that it runs on %s too; "
                                     "stop the one that is wrong at once: "
                                     "virsh destroy %s",
                                     left->name, source->request->to->name,
                                     source->motion->config.host_name, left->name));
        return TRUE;
    }
    if (!hv->ops->destroy(hv, left->uuid, TRUE, &local))
        source_warn(
            source,
            g_strdup_printf("the old definition is still on %s: %s; remove it: virsh undefine %s",
                            source->motion->config.host_name, local->message, left->name));
    return TRUE;
}

const Stage source_stages[] = {
    { "admit", run_admit, NULL, 15, FALSE },   { "reserve", run_reserve, undo_reserve, 60, FALSE },
    { "open", run_open, NULL, 30, FALSE },     { "copy", run_copy, undo_copy, 0, FALSE },
    { "switch", run_switch, NULL, 0, TRUE },   { "announce", run_announce, NULL, 10, FALSE },
    { "verify", run_verify, NULL, 10, FALSE }, { "retire", run_retire, NULL, 30, FALSE },
};
const gsize source_n_stages = G_N_ELEMENTS(source_stages);
