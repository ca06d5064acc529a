/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * godwitd's end of a worker. The control socket is made here and passed on listening; godwitd then
 * connects to it like any later one. Every report holds the worker's whole state, so all there is
 * to do is to compare it with what was known: questions not seen before become WANT events, a proof
 * becomes PROVED, and each report STATE. Answers go to the oldest question of their kind.
 *
 * The process is watched by pidfd, as a child or not. Its end is told once, as GONE, after what it
 * has said last was read; if it didn't say how it ended it FAILED. The control channel may also be
 * lost while the process lives, when another godwitd has taken over: then GONE follows after
 * LOST_MS. A child that outlives its Worker is still waited for in the context.
 *
 * Callbacks may free the Worker: it is kept by a count of those inside.
 */
#include "flyway/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"
#include "base/hex.h"
#include "flyway/control.h"
#include "flyway/spawn.h"

#define ATTACH_MS 2000
#define LOST_MS 3000

typedef struct {
    guint32 number;
    WorkerEvent event;
    gboolean told, answered;
} Want;

struct Worker {
    /* read-only after start */
    WorkerSide side;
    char *folder;
    GMainContext *context;
    WorkerFunc func;
    gpointer data;
    gboolean is_child;

    guint inside; /* callbacks and their callers on the stack */
    gboolean freed, gone, killed, proof_told;
    int control, pidfd;
    GSource *control_source, *pid_source, *later_source;
    WorkerStatus status;
    GArray *wants; /* Want, oldest first */
};

static const char *const side_names[] = { "source", "destination" };

/* ---- life ------------------------------------------------------------------------------------ */

static Worker *
worker_new(WorkerSide side, const char *folder, GMainContext *context, WorkerFunc func,
           gpointer data)
{
    Worker *worker = g_new0(Worker, 1);

    worker->side = side;
    worker->folder = g_strdup(folder);
    worker->context =
        context != NULL ? g_main_context_ref(context) : g_main_context_ref_thread_default();
    worker->func = func;
    worker->data = data;
    worker->control = -1;
    worker->pidfd = -1;
    worker->status.peer_clock_uncertainty_us = -1;
    worker->wants = g_array_new(FALSE, TRUE, sizeof(Want));
    return worker;
}

static void
drop_source(GSource **source)
{
    if (*source != NULL) {
        g_source_destroy(*source);
        g_clear_pointer(source, g_source_unref);
    }
}

static void
worker_destroy(Worker *worker)
{
    drop_source(&worker->control_source);
    drop_source(&worker->pid_source);
    drop_source(&worker->later_source);
    fd_close_p(&worker->control);
    fd_close_p(&worker->pidfd);
    g_clear_error(&worker->status.error);
    g_free(worker->status.tls);
    g_array_unref(worker->wants);
    g_main_context_unref(worker->context);
    g_free(worker->folder);
    g_free(worker);
}

static void
enter(Worker *worker)
{
    worker->inside++;
}

static void
leave(Worker *worker)
{
    if (--worker->inside == 0 && worker->freed)
        worker_destroy(worker);
}

static void
tell(Worker *worker, WorkerEvent event)
{
    if (!worker->freed)
        worker->func(worker, event, worker->data);
}

static gboolean
reap_orphan(gint fd, GIOCondition condition, gpointer data)
{
    siginfo_t info;

    waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG);
    close(fd);
    return G_SOURCE_REMOVE;
}

void
worker_free(Worker *worker)
{
    if (worker == NULL)
        return;
    if (worker->is_child && !worker->gone && worker->pidfd >= 0) {
        GSource *reaper = g_unix_fd_source_new(fd_steal(&worker->pidfd), G_IO_IN);

        g_source_set_callback(reaper, G_SOURCE_FUNC(reap_orphan), NULL, NULL);
        /* Our context may end with a migration's thread; the main loop doesn't. */
        g_source_attach(reaper, NULL);
        g_source_unref(reaper);
    }
    drop_source(&worker->control_source);
    drop_source(&worker->pid_source);
    drop_source(&worker->later_source);
    fd_close_p(&worker->control);
    worker->freed = TRUE;
    enter(worker);
    leave(worker);
}

/* ---- reports --------------------------------------------------------------------------------- */

static void
apply_error(WorkerStatus *status, const ControlReport *report)
{
    g_clear_error(&status->error);
    if (report->error_message != NULL)
        status->error = g_error_new_literal(
            GODWIT_ERROR, (int)godwit_error_from_nick(report->error_code), report->error_message);
}

static void
apply_report(Worker *worker, const ControlReport *report)
{
    WorkerStatus *status = &worker->status;

    status->state = (WorkerState)report->state;
    status->pid = (int)report->pid;
    status->wire_bytes = report->wire_bytes;
    status->rpc_bytes = report->rpc_bytes;
    status->stream_bytes = report->stream_bytes;
    status->nbd_bytes = report->nbd_bytes;
    status->resent_bytes = report->resent_bytes;
    status->connections = (int)report->connections;
    status->resumes = (int)report->resumes;
    status->pages.zero = report->pages_zero;
    status->pages.same = report->pages_same;
    status->pages.recalled = report->pages_recalled;
    status->pages.delta = report->pages_delta;
    status->pages.compressed = report->pages_compressed;
    status->pages.raw = report->pages_raw;
    status->direct_bytes = report->direct_bytes;
    status->recall.sets = (int)report->recall_sets;
    status->recall.asked = report->recall_asked;
    status->recall.found = report->recall_found;
    status->recall.sealed = report->recall_sealed;
    status->finish_forwarded = report->finish_forwarded;
    status->proved = report->proved;
    status->proved_us = report->proved_us;
    status->finish_refused = report->finish_refused;
    status->finish_unsettled = report->finish_unsettled;
    status->peer_clock_offset_us = report->clock_offset_us;
    status->peer_clock_uncertainty_us = report->clock_uncertainty_us;
    g_free(status->tls);
    status->tls = g_strdup(report->tls);
    apply_error(status, report);
}

static Want *
find_want(Worker *worker, guint32 number)
{
    for (guint i = 0; i < worker->wants->len; i++) {
        if (g_array_index(worker->wants, Want, i).number == number)
            return &g_array_index(worker->wants, Want, i);
    }
    return NULL;
}

/* Keeps exactly the questions of the report, and of them what was told and answered. */
static void
apply_wants(Worker *worker, const ControlReport *report)
{
    static const WorkerEvent events[] = { WORKER_EVENT_WANT_CONNECTION, WORKER_EVENT_WANT_RPC,
                                          WORKER_EVENT_WANT_STREAM, WORKER_EVENT_WANT_NBD };
    GArray *now = g_array_new(FALSE, TRUE, sizeof(Want));

    for (guint i = 0; report->wants != NULL && i < report->wants->len; i++) {
        const ControlWant *wanted = g_ptr_array_index(report->wants, i);
        Want fresh = { .number = (guint32)wanted->number, .event = events[wanted->what] };
        const Want *known = find_want(worker, fresh.number);

        if (known != NULL)
            fresh = *known;
        g_array_append_val(now, fresh);
    }
    g_array_unref(worker->wants);
    worker->wants = now;
}

static void
tell_news(Worker *worker)
{
    enter(worker);
    if (worker->status.proved && !worker->proof_told) {
        worker->proof_told = TRUE;
        tell(worker, WORKER_EVENT_PROVED);
    }
    tell(worker, WORKER_EVENT_STATE);
    for (guint i = 0; i < worker->wants->len && !worker->freed; i++) {
        Want *want = &g_array_index(worker->wants, Want, i);

        if (want->told)
            continue;
        want->told = TRUE;
        tell(worker, want->event);
    }
    leave(worker);
}

/* One report; 0 where the channel is at its end, -EAGAIN where nothing is here. */
static gssize
take_report(Worker *worker)
{
    g_autofree char *buffer = g_malloc(CONTROL_MAX);
    g_autoptr(ControlReport) report = NULL;
    g_autoptr(GError) error = NULL;
    gssize length = fd_receive(worker->control, buffer, CONTROL_MAX, NULL, NULL);

    if (length == -ECONNRESET) /* told once, before what is here: it ended with requests unread */
        length = fd_receive(worker->control, buffer, CONTROL_MAX, NULL, NULL);
    if (length <= 0)
        return length == -EMSGSIZE ? 1 : length;
    report = record_from_string(&control_report_type, buffer, length, &error);
    if (report == NULL) {
        g_debug("worker's report: %s", error->message);
        return length;
    }
    apply_report(worker, report);
    apply_wants(worker, report);
    return length;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void
set_unexpected_end(Worker *worker, const siginfo_t *info)
{
    WorkerStatus *status = &worker->status;

    if (worker_is_over(worker))
        return;
    status->state = WORKER_FAILED;
    g_clear_error(&status->error);
    if (worker->killed)
        status->error =
            g_error_new(GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "The %s's worker was killed as asked",
                        side_names[worker->side]);
    else if (info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED)
        status->error =
            g_error_new(GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                        "The %s's worker was ended by signal %d (%s); see the log",
                        side_names[worker->side], info->si_status, g_strsignal(info->si_status));
    else
        status->error = g_error_new(GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                                    "The %s's worker ended unexpectedly (pid %d, status %d); see "
                                    "the log",
                                    side_names[worker->side], status->pid, info->si_status);
}

static void
go(Worker *worker, const siginfo_t *info)
{
    g_autofree char *path = NULL;

    if (worker->gone)
        return;
    worker->gone = TRUE;
    set_unexpected_end(worker, info);
    drop_source(&worker->control_source);
    drop_source(&worker->later_source);
    fd_close_p(&worker->control);
    g_array_set_size(worker->wants, 0);
    path = g_strdup_printf("%s/%s.control", worker->folder, side_names[worker->side]);
    if (worker->pid_source == NULL) /* the process has ended, not only the channel */
        (void)unlink(path);
    enter(worker);
    tell_news(worker);
    tell(worker, WORKER_EVENT_GONE);
    leave(worker);
}

static gboolean
process_ended(gint fd, GIOCondition condition, gpointer data)
{
    Worker *worker = data;
    siginfo_t info = { 0 };

    enter(worker);
    waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG); /* ECHILD where it isn't ours */
    drop_source(&worker->pid_source);
    fd_close_p(&worker->pidfd);
    while (worker->control >= 0 && take_report(worker) > 0)
        ;
    go(worker, &info);
    leave(worker);
    return G_SOURCE_REMOVE;
}

static void
watch_process(Worker *worker)
{
    worker->pid_source = g_unix_fd_source_new(worker->pidfd, G_IO_IN);
    g_source_set_callback(worker->pid_source, G_SOURCE_FUNC(process_ended), worker, NULL);
    g_source_attach(worker->pid_source, worker->context);
}

static void
run_later(Worker *worker, guint after_ms, GSourceFunc func)
{
    drop_source(&worker->later_source);
    worker->later_source = after_ms == 0 ? g_idle_source_new() : g_timeout_source_new(after_ms);
    g_source_set_priority(worker->later_source, G_PRIORITY_DEFAULT);
    g_source_set_callback(worker->later_source, func, worker, NULL);
    g_source_attach(worker->later_source, worker->context);
}

static gboolean
lost_for_good(gpointer data)
{
    Worker *worker = data;
    siginfo_t info = { 0 };

    enter(worker);
    go(worker, &info);
    leave(worker);
    return G_SOURCE_REMOVE;
}

/* The process ends soon (process_ended), or somebody else controls it. */
static void
channel_lost(Worker *worker)
{
    drop_source(&worker->control_source);
    fd_close_p(&worker->control);
    if (!worker->gone)
        run_later(worker, worker->pid_source != NULL ? LOST_MS : 0, lost_for_good);
}

/* ---- the channel ----------------------------------------------------------------------------- */

/* A re-attached worker isn't our child; its pid is its own, since it is alive at the other end. */
static void
learn_process(Worker *worker)
{
    if (worker->pidfd >= 0 || worker->gone || worker->status.pid <= 0)
        return;
    worker->pidfd = pidfd_open(worker->status.pid, 0);
    if (worker->pidfd >= 0)
        watch_process(worker);
}

static gboolean
control_readable(gint fd, GIOCondition condition, gpointer data)
{
    Worker *worker = data;
    gssize length = take_report(worker);

    enter(worker);
    if (length > 0) {
        learn_process(worker);
        tell_news(worker);
    } else if (length != -EAGAIN) {
        channel_lost(worker);
    }
    leave(worker);
    return G_SOURCE_CONTINUE; /* a destroyed source doesn't */
}

static void
watch_control(Worker *worker)
{
    worker->control_source = g_unix_fd_source_new(worker->control, G_IO_IN | G_IO_HUP);
    /* High: the proof is in the blackout. */
    g_source_set_priority(worker->control_source, G_PRIORITY_HIGH);
    g_source_set_callback(worker->control_source, G_SOURCE_FUNC(control_readable), worker, NULL);
    g_source_attach(worker->control_source, worker->context);
}

/* Fills in the address of the folder's control socket by descriptor: however long the path is. */
static int
control_address(WorkerSide side, const char *folder, struct sockaddr_un *address, GError **error)
{
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        g_set_error(error, GODWIT_ERROR,
                    errno == ENOENT ? GODWIT_ERROR_NOT_FOUND : GODWIT_ERROR_INTERNAL,
                    "Can't open the migration's folder %s: %s", folder, g_strerror(errno));
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    g_snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s.control", fd,
               side_names[side]);
    return fd;
}

static int
listen_control(WorkerSide side, const char *folder, GError **error)
{
    struct sockaddr_un address;
    fd_auto int dir = control_address(side, folder, &address, error);
    fd_auto int fd = -1;

    if (dir < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(address.sun_path, 0600) < 0 || listen(fd, 4) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                    "Can't make the worker's control socket in %s: %s", folder, g_strerror(errno));
        return -1;
    }
    return fd_steal(&fd);
}

static int
connect_control(WorkerSide side, const char *folder, GError **error)
{
    struct sockaddr_un address;
    fd_auto int dir = control_address(side, folder, &address, error);
    fd_auto int fd = -1;

    if (dir < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        gboolean nobody = errno == ENOENT || errno == ECONNREFUSED;

        g_set_error(error, GODWIT_ERROR, nobody ? GODWIT_ERROR_NOT_FOUND : GODWIT_ERROR_INTERNAL,
                    "No worker answers at %s/%s.control: %s", folder, side_names[side],
                    g_strerror(errno));
        return -1;
    }
    return fd_steal(&fd);
}

static void
request(Worker *worker, const ControlRequest *message, const int *fds, gsize n_fds)
{
    g_autofree char *text = NULL;
    int result;

    if (worker->control < 0)
        return;
    text = record_to_string(&control_request_type, message);
    result = fd_send(worker->control, text, strlen(text), fds, n_fds);
    explicit_bzero(text, strlen(text));
    if (result == 0)
        return;
    g_debug("worker's control channel: %s", g_strerror(-result));
    while (take_report(worker) > 0) /* its last words, if it has ended */
        ;
    channel_lost(worker);
}

/* ---- start and attach ------------------------------------------------------------------------ */

/* Of the host's cores the VMs keep the other half. */
static gint64
default_threads(void)
{
    return CLAMP((gint64)g_get_num_processors() / 2, 1, FLYWAY_THREADS);
}

static void
send_recall_set(Worker *worker, const char *id, const RecallFiles *files)
{
    ControlRequest message = { .action = CONTROL_RECALL_SET, .id = (char *)id };
    int fds[CONTROL_FDS] = { files->index_fd };
    gsize n = 1;

    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++) {
        if (files->segment_fds[i] < 0)
            continue;
        message.segments |= 1 << i;
        fds[n++] = files->segment_fds[i];
    }
    request(worker, &message, fds, n);
}

static void
send_recall(Worker *worker, const RecallLoan *recall)
{
    g_autofree char *key = hex_encode(recall->group_key, sizeof recall->group_key);
    ControlRequest message = { .action = CONTROL_RECALL, .key = key };
    const RecallTicket *ticket = &recall->ticket;

    request(worker, &message, NULL, 0);
    explicit_bzero(key, strlen(key));
    for (guint i = 0; i < recall->n_sets; i++)
        send_recall_set(worker, recall->sets[i].id, &recall->sets[i].files);
    if (ticket->index_fd < 0 || ticket->pages_fd < 0)
        return;
    message = (ControlRequest){ .action = CONTROL_RECALL_KEEP,
                                .max_bytes = (gint64)ticket->max_bytes };
    request(worker, &message, (int[]){ ticket->index_fd, ticket->pages_fd }, 2);
}

static gboolean
send_start(Worker *worker, const WorkerConfig *config, GError **error)
{
    ControlRequest message = {
        .action = CONTROL_START,
        .side = config->side == WORKER_SOURCE ? 0 : 1,
        .id = (char *)config->id,
        .vm = (char *)config->vm_uuid,
        .self = (char *)config->self_uuid,
        .peer = (char *)config->peer_uuid,
        .ticket = (char *)config->ticket,
        .ticket_expires_s = config->ticket_expires_s,
        .resume_s = config->resume_s > 0 ? config->resume_s : FLYWAY_RESUME_S,
        .connections = config->connections,
        .threads = config->threads > 0 ? config->threads : default_threads(),
        .max_bps = config->max_bps,
    };
    fd_auto int identity = control_identity_seal(config->identity, error);
    int fds[CONTROL_FDS] = { identity, config->rpc_listener, config->stream_listener,
                             config->nbd_listener };
    gsize n_fds = config->side == WORKER_DESTINATION ? 1 : config->nbd_listener > 0 ? 4 : 3;

    if (identity < 0)
        return FALSE;
    request(worker, &message, fds, n_fds);
    if (config->recall != NULL)
        send_recall(worker, config->recall);
    if (worker->control >= 0)
        return TRUE;
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                        "The worker's control channel broke at its start; see the log");
    return FALSE;
}

Worker *
worker_start(const WorkerConfig *config, GMainContext *context, WorkerFunc func, gpointer data,
             GError **error)
{
    Worker *worker = worker_new(config->side, config->folder, context, func, data);
    SpawnConfig spawn = { .program = config->program,
                          .user = config->user,
                          .side = side_names[config->side] };
    fd_auto int listener = listen_control(config->side, config->folder, error);
    pid_t pid = 0;

    spawn.control_fd = listener;
    if (listener >= 0)
        worker->pidfd = spawn_worker(&spawn, &pid, error);
    if (worker->pidfd >= 0) {
        worker->is_child = TRUE;
        worker->status.pid = pid;
        worker->control = connect_control(config->side, config->folder, error);
    }
    if (worker->control < 0 || !send_start(worker, config, error)) {
        if (worker->pidfd >= 0)
            pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0);
        worker_free(worker);
        return NULL;
    }
    watch_control(worker);
    watch_process(worker);
    return worker;
}

static gboolean
tell_first_news(gpointer data)
{
    Worker *worker = data;

    enter(worker);
    drop_source(&worker->later_source);
    tell_news(worker);
    leave(worker);
    return G_SOURCE_REMOVE;
}

Worker *
worker_attach(WorkerSide side, const char *folder, GMainContext *context, WorkerFunc func,
              gpointer data, GError **error)
{
    Worker *worker = worker_new(side, folder, context, func, data);
    struct pollfd entry = { .events = POLLIN };

    worker->control = connect_control(side, folder, error);
    if (worker->control < 0) {
        worker_free(worker);
        return NULL;
    }
    entry.fd = worker->control;
    if (poll(&entry, 1, ATTACH_MS) <= 0 || take_report(worker) <= 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_TIMEOUT,
                    "The worker at %s/%s.control doesn't say how it is", folder, side_names[side]);
        worker_free(worker);
        return NULL;
    }
    learn_process(worker);
    watch_control(worker);
    run_later(worker, 0, tell_first_news);
    return worker;
}

/* ---- requests -------------------------------------------------------------------------------- */

const WorkerStatus *
worker_status(const Worker *worker)
{
    return &worker->status;
}

gboolean
worker_is_over(const Worker *worker)
{
    return worker->status.state == WORKER_FAILED || worker->status.state == WORKER_ENDED;
}

/* The oldest open question of a kind, from now on answered; 0 = none. */
static guint32
answer_want(Worker *worker, WorkerEvent event)
{
    for (guint i = 0; i < worker->wants->len; i++) {
        Want *want = &g_array_index(worker->wants, Want, i);

        if (want->event == event && !want->answered) {
            want->answered = TRUE;
            return want->number;
        }
    }
    return 0;
}

void
worker_refresh(Worker *worker)
{
    ControlRequest message = { .action = CONTROL_REFRESH };

    request(worker, &message, NULL, 0);
}

void
worker_give_connection(Worker *worker, int fd)
{
    ControlRequest message = { .action = CONTROL_CONNECTION };

    message.want = answer_want(worker, WORKER_EVENT_WANT_CONNECTION);
    request(worker, &message, &fd, 1);
    close(fd);
}

void
worker_no_connection(Worker *worker)
{
    ControlRequest message = { .action = CONTROL_NO_CONNECTION };

    message.want = answer_want(worker, WORKER_EVENT_WANT_CONNECTION);
    if (message.want != 0)
        request(worker, &message, NULL, 0);
}

void
worker_give_lane(Worker *worker, WorkerEvent which, int fd)
{
    ControlRequest message = { .action = CONTROL_LANE, .want = answer_want(worker, which) };

    if (message.want != 0)
        request(worker, &message, &fd, 1);
    close(fd);
}

void
worker_refuse_lane(Worker *worker, WorkerEvent which, const char *why)
{
    ControlRequest message = { .action = CONTROL_REFUSE_LANE,
                               .want = answer_want(worker, which),
                               .why = (char *)why };

    if (message.want != 0)
        request(worker, &message, NULL, 0);
}

void
worker_end(Worker *worker)
{
    ControlRequest message = { .action = CONTROL_END };

    request(worker, &message, NULL, 0);
}

void
worker_hurry(Worker *worker)
{
    ControlRequest message = { .action = CONTROL_HURRY };

    request(worker, &message, NULL, 0);
}

void
worker_kill(Worker *worker)
{
    worker->killed = TRUE;
    if (worker->pidfd >= 0)
        pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0);
}
