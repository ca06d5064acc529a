/* SPDX-License-Identifier: Apache-2.0 */

/* The stages of the destination side; see destination.c for the theory of operation. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "motion/destination_private.h"
#include "motion/shared.h"
#include "preflight/preflight.h"

#define PORTAL_SECONDS 3
#define HEAR_MS 1000
#define RETIRE_MS 15000
#define START_RETRY_MS 200
#define ASK_FIRST_MS 2000
#define ASK_LAST_MS 30000
#define REMOVE_TRIES 60

static Hv *
hv_of(Destination *destination)
{
    return destination->motion->config.hv;
}

static gboolean
never(gpointer self, GError **error)
{
    return FALSE;
}

/** Serves events for a while. FALSE where godwitd leaves. */
static gboolean
wait_ms(Destination *destination, guint ms)
{
    destination->runner.deadline_us = 0;
    runner_wait(&destination->runner, never, ms, "", NULL);
    return !runner_is_leaving(&destination->runner);
}

/* ---- reserve ---- */

static gboolean
portal_reachable(const char *host)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection = NULL;

    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_set_timeout(client, PORTAL_SECONDS);
    connection = g_socket_client_connect_to_host(client, host, 3260, NULL, NULL);
    return connection != NULL;
}

static gboolean
check_disk(Destination *destination, const VmDisk *disk, GError **error)
{
    const char *vm = destination->request->vm->name, *here = destination->motion->config.host_name;

    if (!disk->source)
        return TRUE;
    if ((g_strcmp0(disk->type, "file") == 0 || g_strcmp0(disk->type, "block") == 0) &&
        access(disk->source, F_OK) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED,
                    "disk %s of VM %s (%s) is not there on host %s: %s; is its datastore mounted "
                    "there? (check datastore)",
                    disk->target, vm, disk->source, here, g_strerror(errno));
        return FALSE;
    }
    if (g_strcmp0(disk->type, "network") == 0 && g_strcmp0(disk->protocol, "iscsi") == 0 &&
        disk->hosts && disk->hosts[0] && !portal_reachable(disk->hosts[0])) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED,
                    "the iSCSI portal %s of disk %s of VM %s can't be reached from host %s; check "
                    "its storage network (check datastore)",
                    disk->hosts[0], disk->target, vm, here);
        return FALSE;
    }
    return TRUE;
}

static gboolean
check_disks(Destination *destination, GError **error)
{
    const GPtrArray *disks = destination->request->vm->disks;

    for (guint i = 0; disks && i < disks->len; i++) {
        if (!check_disk(destination, disks->pdata[i], error))
            return FALSE;
    }
    return shared_verify(destination->request->proofs, destination->request->id,
                         destination->motion->config.host_name, destination->request->from->name,
                         error);
}

static gboolean
admit_here(Destination *destination, char **owner, GError **error)
{
    Hv *hv = hv_of(destination);
    g_autoptr(Facts) facts = hv->ops->facts(hv, error);
    PreflightInput input = { .vm = destination->request->vm,
                             .destination = facts,
                             .destination_headroom_bytes =
                                 destination->motion->config.memory_headroom_bytes };
    g_auto(GStrv) warnings = NULL;

    if (!facts)
        return FALSE;
    g_free(facts->host->name);
    facts->host->name = g_strdup(destination->motion->config.host_name);
    facts->host->state = HOST_CONNECTED;
    facts->host->memory_reserved_bytes = motion_reserved_bytes(destination->motion);
    *owner = g_strdup(facts->host->qemu_owner);
    return preflight_admit(&input, &warnings, error) && check_disks(destination, error);
}

static void on_worker(Worker *worker, WorkerEvent event, gpointer data);

static gboolean
start_worker(Destination *destination, GError **error)
{
    const MotionConfig *config = &destination->motion->config;
    g_autoptr(RecallLoan) loan = NULL;
    WorkerConfig worker = { .side = WORKER_DESTINATION,
                            .program = config->flyway_program,
                            .user = config->flyway_user,
                            .folder = destination->folder,
                            .id = destination->request->id,
                            .vm_uuid = destination->request->vm->uuid,
                            .self_uuid = config->identity->name.uuid,
                            .peer_uuid = destination->request->from->uuid,
                            .ticket = destination->ticket,
                            .ticket_expires_s = RESERVATION_SECONDS,
                            .resume_s = (int)config->flyway_resume_s,
                            .identity = config->identity,
                            .rpc_listener = -1,
                            .stream_listener = -1 };

    loan = recollect_begin(config->recall, destination->request->id, destination->request->vm,
                           destination->request->from->uuid);
    worker.recall = loan;
    destination->worker =
        worker_start(&worker, destination->runner.context, on_worker, destination, error);
    return destination->worker != NULL;
}

static gboolean
worker_ready(gpointer self, GError **error)
{
    const WorkerStatus *status = worker_status(((Destination *)self)->worker);

    if (status->state == WORKER_FAILED) {
        if (status->error)
            g_propagate_error(error, g_error_copy(status->error));
        else
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                        "the flyway worker ended at its start; see godwitd's journal");
        return FALSE;
    }
    return status->state != WORKER_STARTING;
}

static gboolean
run_reserve(gpointer self, GError **error)
{
    Destination *destination = self;
    g_autofree char *owner = NULL;

    if (!admit_here(destination, &owner, error) ||
        !motion_make_folder(destination->motion, destination->request->id, owner, error) ||
        !start_worker(destination, error) ||
        !runner_wait(&destination->runner, worker_ready, 0, "the flyway worker", error))
        return FALSE;
    g_mutex_lock(&destination->lock);
    destination->reserved = TRUE;
    g_cond_broadcast(&destination->changed);
    g_mutex_unlock(&destination->lock);
    return TRUE;
}

static gboolean
worker_over(gpointer self, GError **error)
{
    const Destination *destination = self;

    return destination->worker_lost || worker_is_over(destination->worker);
}

static gboolean
worker_gone(gpointer self, GError **error)
{
    return ((Destination *)self)->worker_lost;
}

static void
end_worker(Destination *destination, guint patience_ms)
{
    if (destination->worker) {
        const WorkerStatus *status = worker_status(destination->worker);

        worker_end(destination->worker);
        destination->runner.deadline_us = 0;
        if (!runner_wait(&destination->runner, worker_gone, patience_ms, "the flyway worker's end",
                         NULL))
            worker_kill(destination->worker);
        destination->recalled.sealed = status->recall.sealed > 0;
        g_clear_pointer(&destination->worker, worker_free);
    }
    motion_remove_folder(destination->motion, destination->request->id);
}

static void
undo_reserve(gpointer self)
{
    end_worker(self, 3000);
}

/* ---- open, copy: what the worker and the source tell ---- */

/** Answers the worker's question for a lane to QEMU; FALSE: it was refused. */
static gboolean
give_qemu(Destination *destination, WorkerEvent which, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    fd_auto int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *why = NULL;

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        worker_give_lane(destination->worker, which, fd_steal(&fd));
        return TRUE;
    }
    why = g_strdup_printf("cannot connect to QEMU at %s: %s", path, g_strerror(errno));
    worker_refuse_lane(destination->worker, which, why);
    return FALSE;
}

/** Sockets on the taps are opened before the VM runs, so that its first frame is heard. */
static void
prepare_announcer(Destination *destination)
{
    Hv *hv = hv_of(destination);
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) vm = hv->ops->vm(hv, destination->request->vm->uuid, &error);

    if (vm && !destination->announcer)
        destination->announcer = announcer_new(vm, destination->notes);
    else if (!vm)
        g_ptr_array_add(destination->notes,
                        g_strdup_printf("the VM's interfaces can't be read: %s", error->message));
}

static void
give_rpc(Destination *destination)
{
    Hv *hv = hv_of(destination);
    g_autoptr(GError) error = NULL;
    int fd = hv->ops->connect_rpc(hv, &error);

    if (fd >= 0)
        worker_give_lane(destination->worker, WORKER_EVENT_WANT_RPC, fd);
    else
        worker_refuse_lane(destination->worker, WORKER_EVENT_WANT_RPC, error->message);
}

static void
give_stream(Destination *destination)
{
    if (!give_qemu(destination, WORKER_EVENT_WANT_STREAM, destination->stream_socket))
        return;
    destination->stream_given = TRUE;
    prepare_announcer(destination);
}

static void
on_worker(Worker *worker, WorkerEvent event, gpointer data)
{
    Destination *destination = data;

    if (event == WORKER_EVENT_WANT_RPC)
        give_rpc(destination);
    else if (event == WORKER_EVENT_WANT_STREAM)
        give_stream(destination);
    else if (event == WORKER_EVENT_WANT_NBD)
        give_qemu(destination, WORKER_EVENT_WANT_NBD, destination->disks_socket);
    else if (event == WORKER_EVENT_STATE && worker_over(destination, NULL))
        destination->worker_told_end = TRUE;
    else if (event == WORKER_EVENT_GONE)
        destination->worker_lost = TRUE;
}

/** The source says that the VM stays there. */
static gboolean
called_off(Destination *destination, GError **error)
{
    if (destination_word(destination) != WORD_RUNS)
        return FALSE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "%s says that the VM stays there",
                destination->request->from->name);
    return TRUE;
}

static void
set_worker_error(Destination *destination, GError **error)
{
    const WorkerStatus *status = worker_status(destination->worker);

    if (status->error)
        g_propagate_prefixed_error(
            error, g_error_copy(status->error),
            "the data connection from %s: ", destination->request->from->name);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "the data connection from %s ended before the VM had come",
                    destination->request->from->name);
}

static gboolean
session_open(gpointer self, GError **error)
{
    Destination *destination = self;

    if (called_off(destination, error))
        return FALSE;
    if (worker_over(self, NULL)) {
        set_worker_error(destination, error);
        return FALSE;
    }
    return worker_status(destination->worker)->state == WORKER_OPEN;
}

static gboolean
run_open(gpointer self, GError **error)
{
    Destination *destination = self;

    if (!runner_wait(&destination->runner, session_open, 0, "the source's data connection", error))
        return FALSE;
    destination_set_state(destination, INCOMING_OPEN, NULL);
    return TRUE;
}

static gboolean
stream_open(gpointer self, GError **error)
{
    Destination *destination = self;

    return session_open(self, error) && destination->stream_given;
}

/** Ends when QEMU's stream is connected: `switch` begins early, so that its journal entry isn't in
 * the blackout. */
static gboolean
run_copy(gpointer self, GError **error)
{
    return runner_wait(&((Destination *)self)->runner, stream_open, 0, "QEMU's stream", error);
}

/** Removes what libvirt has of the VM here; it was never started. */
static void
undo_copy(gpointer self)
{
    Destination *destination = self;
    Hv *hv = hv_of(destination);
    const char *uuid = destination->request->vm->uuid, *name = destination->request->vm->name;

    for (guint i = 0; i < REMOVE_TRIES; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Vm) vm = hv->ops->vm(hv, uuid, &error);

        if (vm && vm->state == VM_RUNNING) {
            destination_alarm(destination,
                              g_strdup_printf("VM %s was started on %s by somebody else while %s "
                                              "keeps it: it may run twice. Stop the wrong one at "
                                              "once: virsh destroy %s",
                                              name, destination->motion->config.host_name,
                                              destination->request->from->name, name));
            return;
        }
        if (!vm && g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
            return;
        if (vm && hv->ops->destroy(hv, uuid, TRUE, NULL))
            return;
        if (!wait_ms(destination, 1000))
            return;
    }
    destination_alarm(destination,
                      g_strdup_printf("VM %s stays on %s, but a stopped copy of it could not be "
                                      "removed from %s; remove it there: "
                                      "virsh destroy %s; virsh undefine %s",
                                      name, destination->request->from->name,
                                      destination->motion->config.host_name, name, name));
}

/* ---- switch ---- */

static void ask_later(Destination *destination);

static SourceWord
word_of(const Migration *report)
{
    if (report->result == MIGRATION_FAILED || report->result == MIGRATION_CANCELLED)
        return WORD_RUNS;
    return report->result == MIGRATION_COMPLETED ? WORD_GONE : WORD_NONE;
}

static gboolean
on_ask(gpointer data)
{
    Destination *destination = data;
    g_autofree char *path = g_strdup_printf("/v1/outgoing/%s", destination->request->id);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(Migration) report = NULL;

    if (!destination->peer)
        destination->peer =
            motion_peer(destination->motion, destination->request->from, 10, &error);
    if (destination->peer)
        answer =
            http_client_call(destination->peer, "GET", path, NULL, destination->leaving, &error);
    if (answer)
        report = record_from_json(&migration_type, answer, &error);
    g_mutex_lock(&destination->lock);
    if (report && destination->word == WORD_NONE)
        destination->word = word_of(report);
    g_mutex_unlock(&destination->lock);
    if (!report && destination->ask_ms > 4 * ASK_FIRST_MS) {
        const char *vm = destination->request->vm->name,
                   *here = destination->motion->config.host_name,
                   *there = destination->request->from->name;

        destination_set_state(destination, INCOMING_STUCK, error->message);
        destination_alarm(
            destination, g_strdup_printf("VM %s came from %s to %s and is held here, stopped: the "
                                         "connection was lost in the switch and %s can't say "
                                         "what became of it there (%s). It settles by itself once "
                                         "%s answers. Only if %s is known to be "
                                         "switched off, start it here: virsh resume %s",
                                         vm, there, here, there, error->message, there, there, vm));
    }
    ask_later(destination);
    return G_SOURCE_REMOVE;
}

static void
stop_asking(Destination *destination)
{
    if (!destination->ask_timer)
        return;
    g_source_destroy(destination->ask_timer);
    g_clear_pointer(&destination->ask_timer, g_source_unref);
}

static void
ask_later(Destination *destination)
{
    stop_asking(destination);
    destination->ask_ms =
        destination->ask_ms ? MIN(destination->ask_ms * 2, ASK_LAST_MS) : ASK_FIRST_MS;
    destination->ask_timer = g_timeout_source_new(destination->ask_ms);
    g_source_set_callback(destination->ask_timer, on_ask, destination, NULL);
    g_source_attach(destination->ask_timer, destination->runner.context);
}

static gboolean
proved(gpointer self, GError **error)
{
    Destination *destination = self;
    const WorkerStatus *status = destination->worker ? worker_status(destination->worker) : NULL;

    if (status && status->proved)
        return TRUE;
    if (called_off(destination, error))
        return FALSE;
    if (destination_word(destination) == WORD_GONE)
        return TRUE;
    if (status && !worker_over(self, NULL))
        return FALSE;
    /* Only a worker that told its end itself knows for sure that Finish never reached our libvirt.
     */
    if (status && destination->worker_told_end && !status->finish_forwarded) {
        set_worker_error(destination, error);
        return FALSE;
    }
    if (!destination->ask_timer)
        ask_later(destination);
    return FALSE;
}

/** May it be resumed? Not while libvirt hasn't done Finish: it would be half a VM. */
static gboolean
is_whole(Destination *destination, GError **error)
{
    Hv *hv = hv_of(destination);
    g_autoptr(Vm) vm = hv->ops->vm(hv, destination->request->vm->uuid, error);

    if (!vm)
        return FALSE;
    if (vm->state == VM_RUNNING || g_strcmp0(vm->state_reason, HV_PAUSED_FOR_MIGRATION) != 0)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR, "libvirt is still receiving it");
    return FALSE;
}

/** Tries until it runs, or turns out not to be here. By the worker's proof Finish was good, so the
 * VM is whole. */
static gboolean
start_vm(Destination *destination, GError **error)
{
    Hv *hv = hv_of(destination);
    const char *uuid = destination->request->vm->uuid, *name = destination->request->vm->name;
    gboolean by_worker = destination->worker && worker_status(destination->worker)->proved;

    for (guint i = 0;; i++) {
        g_autoptr(GError) local = NULL;

        if ((by_worker || is_whole(destination, &local)) && hv->ops->resume(hv, uuid, &local))
            return TRUE;
        if (g_error_matches(local, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "%s doesn't have it: ",
                                       destination->motion->config.host_name);
            return FALSE;
        }
        if (i == 10) {
            destination_set_state(destination, INCOMING_STUCK, local->message);
            destination_alarm(destination,
                              g_strdup_printf("VM %s moved to %s and could not be started there "
                                              "yet (%s): it is stopped. This is tried again; by "
                                              "hand: virsh resume %s",
                                              name, destination->motion->config.host_name,
                                              local->message, name));
        }
        if (!wait_ms(destination, i < 10 ? START_RETRY_MS : 5000)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
            return FALSE;
        }
    }
}

/** After a restart: did godwitd start it before, and die before that was journalled? What runs here
 * was started on proof, so no word of the source's can undo it; libvirt is asked until it can say.
 * FALSE with error where godwitd leaves. */
static gboolean
look_first(Destination *destination, gboolean *runs, GError **error)
{
    Hv *hv = hv_of(destination);

    *runs = FALSE;
    for (guint ms = START_RETRY_MS; destination->recovering; ms = MIN(ms * 2, 5000)) {
        g_autoptr(GError) local = NULL;
        g_autoptr(Vm) vm = hv->ops->vm(hv, destination->request->vm->uuid, &local);

        *runs = vm && vm->state == VM_RUNNING;
        if (vm || g_error_matches(local, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
            break;
        if (!wait_ms(destination, ms)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
wait_for_proof(Destination *destination, GError **error)
{
    gboolean ok;

    if (destination->recovering && !destination->worker)
        destination->worker =
            worker_attach(WORKER_DESTINATION, destination->folder, destination->runner.context,
                          on_worker, destination, NULL);
    ok = runner_wait(&destination->runner, proved, 0, "proof", error);
    stop_asking(destination);
    return ok;
}

static gboolean
run_switch(gpointer self, GError **error)
{
    Destination *destination = self;
    gboolean runs;

    if (!look_first(destination, &runs, error) || (!runs && !wait_for_proof(destination, error)))
        return FALSE;
    destination_set_state(destination, INCOMING_PROVED, NULL);
    if (!runs && !start_vm(destination, error))
        return FALSE;
    g_mutex_lock(&destination->lock);
    destination->resumed_us = clock_monotonic_us();
    g_mutex_unlock(&destination->lock);
    destination_set_state(destination, INCOMING_RUNNING, NULL);
    return TRUE;
}

/* ---- announce, verify, retire ---- */

static gboolean
run_announce(gpointer self, GError **error)
{
    Destination *destination = self;

    if (!destination->announcer)
        prepare_announcer(destination);
    if (destination->announcer)
        announcer_start(destination->announcer, destination->runner.context,
                        destination->resumed_us ? destination->resumed_us : clock_monotonic_us());
    return TRUE;
}

static gboolean
heard(gpointer self, GError **error)
{
    return announcer_first_frame_us(((Destination *)self)->announcer) != 0;
}

static gboolean
announced(gpointer self, GError **error)
{
    return announcer_is_done(((Destination *)self)->announcer);
}

static gboolean
run_verify(gpointer self, GError **error)
{
    Destination *destination = self;
    Announcer *announcer = destination->announcer;

    if (announcer && announcer_can_listen(announcer) &&
        !runner_wait(&destination->runner, heard, HEAR_MS, "the VM's first frame", NULL) &&
        !runner_is_leaving(&destination->runner))
        g_ptr_array_add(
            destination->notes,
            g_strdup("the VM sent nothing within a second of its start; that may be its way"));
    destination_note_warnings(destination);
    g_mutex_lock(&destination->lock);
    destination->first_frame_us = announcer ? announcer_first_frame_us(announcer) : 0;
    destination->announced = announcer ? announcer_sent(announcer) : 0;
    destination->verified = TRUE;
    g_cond_broadcast(&destination->changed);
    g_mutex_unlock(&destination->lock);
    return TRUE;
}

static gboolean
run_retire(gpointer self, GError **error)
{
    Destination *destination = self;

    if (destination->announcer)
        runner_wait(&destination->runner, announced, 0, "the announcements", NULL);
    /* The source ends the session when it has what it wants; it isn't cut off before. */
    if (destination->worker)
        runner_wait(&destination->runner, worker_over, RETIRE_MS, "the source's end", NULL);
    g_atomic_int_set(&destination->over, TRUE);
    motion_publish_vm(destination->motion, destination->request->vm->uuid);
    end_worker(destination, RECOLLECT_SEAL_MS);
    return TRUE;
}

const Stage destination_stages[] = {
    { "reserve", run_reserve, undo_reserve, 30, FALSE },
    { "open", run_open, NULL, RESERVATION_SECONDS + 15, FALSE },
    { "copy", run_copy, undo_copy, 120, FALSE },
    { "switch", run_switch, NULL, 0, TRUE },
    { "announce", run_announce, NULL, 10, FALSE },
    { "verify", run_verify, NULL, 10, FALSE },
    { "retire", run_retire, NULL, 30, FALSE },
};
const gsize destination_n_stages = G_N_ELEMENTS(destination_stages);
