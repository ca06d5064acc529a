/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The worker's only loop: poll, then requests of the controller, then a round of the session, then
 * a report if anything changed. It waits for nothing but poll, with three exceptions that are
 * recall's: older sets are loaded before the session opens; at the source, adding pages to the
 * session's own set may wait for a disk that can't follow, within its patience (known.c); and that
 * set is completed when the session is over.
 *
 * The control socket was made by godwitd and is inherited listening, so a restarted godwitd finds
 * its worker by connecting again. One controller at a time: the newest wins, since an older one can
 * only be a godwitd that is gone. Its uid must be the starter's or root's (SO_PEERCRED).
 *
 * The process ends when it was told to (request "end", SIGTERM) and the session is final; when
 * nobody starts it within START_US; and, so that none is left for ever, when there has been no
 * controller and no lane for ALONE_US. JSON and its allocations are on the control path only.
 */
#include "flyway/pump.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hex.h"
#include "flyway/control.h"
#include "flyway/session.h"
#include "flyway/worker.h"

#define START_US (30 * G_USEC_PER_SEC)
#define ALONE_US (600 * G_USEC_PER_SEC)
#define ROUND_US (1800 * G_USEC_PER_SEC) /* a round at least so often */

typedef struct {
    int listener, signals;
    uid_t owner;
    int controller;  /* -1 = none */
    gint64 alone_us; /* since when there is no controller, or a lane was in use */
    gboolean ending; /* told to end */
    gboolean send_blocked;
    Session session;
} Pump;

/* ---- reports --------------------------------------------------------------------------------- */

static WorkerState
state_shown(const Session *session)
{
    switch (session->state) {
    case SESSION_STARTING:
        return WORKER_STARTING;
    case SESSION_READY:
        return WORKER_READY;
    case SESSION_FAILED:
        return WORKER_FAILED;
    case SESSION_ENDED:
        return WORKER_ENDED;
    default:
        return WORKER_OPEN;
    }
}

static void
report_error(const Fault *fault, ControlReport *report)
{
    g_autoptr(GError) error = NULL;

    if (!fault->set)
        return;
    error = g_error_new_literal(GODWIT_ERROR, (int)fault->code, fault->text);
    report->error_code = g_strdup(godwit_error_nick(error));
    report->error_message = g_utf8_make_valid(fault->text, -1);
}

static void
report_wants(const Session *session, ControlReport *report)
{
    SessionWant wants[SESSION_WANTS_MAX];
    gsize n = session_wants(session, wants);

    report->wants = record_list_new(&control_want_type);
    for (gsize i = 0; i < n; i++) {
        ControlWant *want = record_new(&control_want_type);

        want->number = wants[i].number;
        want->what = wants[i].what;
        g_ptr_array_add(report->wants, want);
    }
}

static void
report_pages(const Session *session, ControlReport *report)
{
    PackerCounts counts;

    session_packed(session, &counts);
    report->pages_zero = (gint64)counts.zero;
    report->pages_same = (gint64)counts.same;
    report->pages_recalled = (gint64)counts.recalled;
    report->pages_delta = (gint64)counts.delta;
    report->pages_compressed = (gint64)counts.compressed;
    report->pages_raw = (gint64)counts.raw;
    report->direct_bytes = (gint64)counts.direct_bytes;
}

static void
report_recall(const Session *session, ControlReport *report)
{
    KnownCounts counts;

    known_counts(session->known, &counts);
    report->recall_sets = counts.sets;
    report->recall_asked = (gint64)counts.asked;
    report->recall_found = (gint64)counts.found;
    report->recall_sealed = counts.pages;
}

static ControlReport *
make_report(const Session *session)
{
    ControlReport *report = record_new(&control_report_type);
    const Finish *finish = &session->finish;

    report->state = state_shown(session);
    report->pid = getpid();
    report->wire_bytes = (gint64)session_wire_bytes(session);
    report->rpc_bytes = (gint64)session->rpc_bytes;
    report->stream_bytes = (gint64)session->stream_bytes;
    report->nbd_bytes = (gint64)session->nbd_bytes;
    report->finish_forwarded = finish->state != FINISH_NONE;
    report->proved = finish->state == FINISH_PROVED;
    report->finish_refused = finish->state == FINISH_REFUSED;
    report->finish_unsettled = finish->state == FINISH_UNSETTLED;
    report->proved_us = finish->proved_us;
    if (!session_clock(session, &report->clock_offset_us, &report->clock_uncertainty_us))
        report->clock_uncertainty_us = -1;
    report_pages(session, report);
    report_recall(session, report);
    report->connections = session->n_links;
    report->resumes = session->cuts;
    report->resent_bytes = session->line != NULL ? (gint64)line_resent_bytes(session->line) : 0;
    report->tls = session->tls[0] != '\0' ? g_strdup(session->tls) : NULL;
    report_error(&session->fault, report);
    report_wants(session, report);
    return report;
}

static void
drop_controller(Pump *pump)
{
    fd_close_p(&pump->controller);
    pump->send_blocked = FALSE;
    pump->alone_us = clock_monotonic_us();
}

static gboolean take_request(Pump *pump);

/* The controller has gone. What it said before counts: "end" may be the last word of one that
 * didn't wait for our reports. */
static void
hang_up(Pump *pump)
{
    while (pump->controller >= 0 && take_request(pump))
        ;
    drop_controller(pump);
}

static void
send_report(Pump *pump)
{
    g_autoptr(ControlReport) report = NULL;
    g_autofree char *text = NULL;
    int result;

    if (pump->controller < 0)
        return;
    report = make_report(&pump->session);
    text = record_to_string(&control_report_type, report);
    result = fd_send(pump->controller, text, strlen(text), NULL, 0);
    pump->send_blocked = result == -EAGAIN;
    if (result == 0)
        pump->session.changed = FALSE;
    else if (result != -EAGAIN)
        hang_up(pump);
}

/* ---- requests -------------------------------------------------------------------------------- */

static gboolean
parse_terms(const ControlRequest *request, HelloTerms *terms)
{
    terms->side = (FlywaySide)request->side;
    terms->expires_us =
        clock_monotonic_us() + CLAMP(request->ticket_expires_s, 0, 86400) * G_USEC_PER_SEC;
    return flyway_uuid_parse(request->id, terms->id) && flyway_uuid_parse(request->vm, terms->vm) &&
           flyway_uuid_parse(request->self, terms->self) &&
           flyway_uuid_parse(request->peer, terms->peer) &&
           hex_decode(request->ticket, terms->ticket, sizeof terms->ticket);
}

static void
start(Pump *pump, const ControlRequest *request, int *fds, gsize n_fds)
{
    SessionConfig config = { .rpc_listener = -1, .stream_listener = -1 };
    g_autoptr(GError) error = NULL;
    g_autoptr(Identity) identity = NULL;
    gboolean is_source = request->side == FLYWAY_SOURCE;

    if (pump->session.state != SESSION_STARTING) {
        g_warning("A second start was ignored");
        return;
    }
    if (is_source ? n_fds == 3 || n_fds == 4 : n_fds == 1)
        identity = control_identity_read(fds[0], &error);
    if (identity == NULL || !parse_terms(request, &config.terms)) {
        Fault fault = { 0 };

        fault_set(&fault, GODWIT_ERROR_INVALID, "godwitd's start request can't be used: %s",
                  error != NULL ? error->message : "an identifier or descriptor is missing");
        session_fail(&pump->session, &fault);
        return;
    }
    config.identity = identity;
    config.resume_us = CLAMP(request->resume_s, 1, 3600) * G_USEC_PER_SEC;
    config.connections = (guint)CLAMP(request->connections, 1, FLYWAY_LINKS);
    config.threads = (guint)CLAMP(request->threads, 1, FLYWAY_THREADS);
    config.max_bps = request->max_bps;
    if (is_source) {
        config.rpc_listener = fd_steal(&fds[1]);
        config.stream_listener = fd_steal(&fds[2]);
    }
    if (n_fds == 4)
        config.nbd_listener = fd_steal(&fds[3]);
    session_start(&pump->session, &config);
    explicit_bzero(identity->key, strlen(identity->key));
}

/* ---- recall: what of it doesn't work only costs bandwidth -------------------------------------
 */

static void
start_recall(Pump *pump, const ControlRequest *request)
{
    Session *session = &pump->session;
    guint8 key[RECALL_KEY_SIZE];

    if (session->state != SESSION_READY || !hex_decode(request->key, key, sizeof key))
        return;
    session_set_known(session, known_new(session->terms.side, session->terms.id, key));
    explicit_bzero(key, sizeof key);
}

static void
add_recall_set(Pump *pump, const ControlRequest *request, int *fds, gsize n_fds)
{
    RecallFiles files = { .index_fd = -1 };
    guint8 id[RECALL_ID_SIZE];
    gsize n = 0;
    int result;

    if (pump->session.known == NULL || n_fds == 0 || !flyway_uuid_parse(request->id, id))
        return;
    files.index_fd = fd_steal(&fds[n++]);
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++) {
        gboolean is_there = (request->segments & 1 << i) && n < n_fds;

        files.segment_fds[i] = is_there ? fd_steal(&fds[n++]) : -1;
    }
    result = known_add_set(pump->session.known, id, &files);
    if (result < 0)
        g_message("Recall's set %s isn't used: %s", request->id, g_strerror(-result));
}

static void
keep_recall(Pump *pump, const ControlRequest *request, int *fds, gsize n_fds)
{
    int result;

    if (pump->session.known == NULL || n_fds != 2 || known_keeps(pump->session.known))
        return;
    result = known_keep(pump->session.known, fd_steal(&fds[0]), fd_steal(&fds[1]),
                        (guint64)MAX(request->max_bytes, 0));
    if (result < 0)
        g_message("This migration's pages aren't kept: %s", g_strerror(-result));
}

/* ---- all requests ---------------------------------------------------------------------------- */

/* Takes what it uses of fds; the caller closes the rest. */
static void
act(Pump *pump, const ControlRequest *request, int *fds, gsize n_fds)
{
    Session *session = &pump->session;
    guint32 want = (guint32)request->want;

    switch ((ControlAction)request->action) {
    case CONTROL_START:
        start(pump, request, fds, n_fds);
        break;
    case CONTROL_RECALL:
        start_recall(pump, request);
        break;
    case CONTROL_RECALL_SET:
        add_recall_set(pump, request, fds, n_fds);
        break;
    case CONTROL_RECALL_KEEP:
        keep_recall(pump, request, fds, n_fds);
        break;
    case CONTROL_HURRY:
        session_hurry(session);
        break;
    case CONTROL_CONNECTION:
        if (n_fds == 1)
            session_give_connection(session, want, fd_steal(&fds[0]));
        break;
    case CONTROL_NO_CONNECTION:
        session_no_connection(session, want);
        break;
    case CONTROL_LANE:
        if (n_fds == 1)
            session_give_lane(session, want, fd_steal(&fds[0]));
        break;
    case CONTROL_REFUSE_LANE:
        session_refuse_lane(session, want, request->why != NULL ? request->why : "no reason given");
        break;
    case CONTROL_REFRESH:
        session->changed = TRUE;
        break;
    case CONTROL_END:
        pump->ending = TRUE;
        session_leave(session);
        break;
    }
}

/* One datagram; FALSE where there is none. */
static gboolean
take_request(Pump *pump)
{
    static char buffer[CONTROL_MAX]; /* one loop, one thread */
    int fds[CONTROL_FDS];
    gsize n_fds = CONTROL_FDS;
    gssize length = fd_receive(pump->controller, buffer, sizeof buffer, fds, &n_fds);
    g_autoptr(ControlRequest) request = NULL;
    g_autoptr(GError) error = NULL;

    if (length == -EAGAIN)
        return FALSE;
    if (length ==
        -ECONNRESET) /* told once, before what was sent is read: reports of ours weren't */
        return TRUE;
    if (length <= 0 && length != -EMSGSIZE) {
        drop_controller(pump);
        return FALSE;
    }
    if (length > 0)
        request = record_from_string(&control_request_type, buffer, length, &error);
    if (request != NULL)
        act(pump, request, fds, n_fds);
    else
        g_warning("A control request was ignored: %s",
                  error != NULL ? error->message : "it is too long");
    explicit_bzero(buffer, length > 0 ? (gsize)length : 0); /* it may hold secrets */
    for (gsize i = 0; i < n_fds; i++)
        fd_close_p(&fds[i]);
    return pump->controller >= 0;
}

static void
accept_controller(Pump *pump)
{
    fd_auto int fd = accept4(pump->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = { 0 };
    socklen_t size = sizeof who;

    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
        (who.uid != pump->owner && who.uid != 0)) {
        g_warning("User %u may not control this worker", (unsigned)who.uid);
        return;
    }
    hang_up(pump);
    pump->controller = fd_steal(&fd);
    pump->session.changed = TRUE;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static gboolean
lanes_in_use(const Session *session)
{
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].state != LANE_FREE)
            return TRUE;
    }
    return FALSE;
}

static gint64
patience_us(const Pump *pump)
{
    return pump->session.state == SESSION_STARTING ? START_US : ALONE_US;
}

/* TRUE: the process is done. */
static gboolean
check_end(Pump *pump, gint64 now_us)
{
    Session *session = &pump->session;

    if (pump->controller >= 0 || lanes_in_use(session))
        pump->alone_us = now_us;
    if (now_us - pump->alone_us >= patience_us(pump) && !pump->ending) {
        g_message("No godwitd came for a long time, and nothing is left to do: ending");
        pump->ending = TRUE;
        session_leave(session);
    }
    return pump->ending && session_is_final(session);
}

static gint64
timeout_us(const Pump *pump, gint64 now_us)
{
    gint64 wake_us = session_wake_us(&pump->session, now_us);

    if (pump->controller < 0)
        wake_us = MIN(wake_us, pump->alone_us + patience_us(pump));
    return CLAMP(wake_us - now_us, 0, ROUND_US);
}

static int
wait_for(struct pollfd *entries, gsize n, gint64 wait_us)
{
    struct timespec wait = { .tv_sec = wait_us / G_USEC_PER_SEC,
                             .tv_nsec = wait_us % G_USEC_PER_SEC * 1000 };
    int result = ppoll(entries, n, &wait, NULL);

    if (result < 0) {
        g_assert(errno == EINTR);
        for (gsize i = 0; i < n; i++)
            entries[i].revents = 0;
    }
    return result;
}

static void
control_round(Pump *pump, const struct pollfd *entries)
{
    if (entries[0].revents != 0) {
        struct signalfd_siginfo info;

        if (read(pump->signals, &info, sizeof info) == sizeof info) {
            pump->ending = TRUE;
            session_leave(&pump->session);
        }
    }
    if (entries[2].revents != 0 && pump->controller == entries[2].fd) {
        pump->send_blocked = FALSE;
        while (take_request(pump))
            ;
    }
    if (entries[1].revents != 0)
        accept_controller(pump);
}

static void
pump_loop(Pump *pump)
{
    for (;;) {
        struct pollfd entries[3 + SESSION_POLL_MAX];
        gsize n;

        entries[0] = (struct pollfd){ .fd = pump->signals, .events = POLLIN };
        entries[1] = (struct pollfd){ .fd = pump->listener, .events = POLLIN };
        entries[2] = (struct pollfd){ .fd = pump->controller, .events = POLLIN };
        if (pump->send_blocked)
            entries[2].events |= POLLOUT;
        n = 3 + session_poll(&pump->session, entries + 3, SESSION_POLL_MAX);
        wait_for(entries, n, timeout_us(pump, clock_monotonic_us()));
        control_round(pump, entries);
        session_run(&pump->session, entries + 3);
        if (pump->session.changed && !pump->send_blocked)
            send_report(pump);
        if (check_end(pump, clock_monotonic_us()))
            break;
    }
}

int
pump_run(int control_fd, uid_t owner)
{
    Pump *pump = g_new0(Pump, 1);
    sigset_t signals;
    int status;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pump->listener = control_fd;
    pump->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    pump->owner = owner;
    pump->controller = -1;
    pump->alone_us = clock_monotonic_us();
    session_init(&pump->session);
    if (pump->signals < 0) {
        g_warning("Can't watch signals: %s", g_strerror(errno));
        return 1;
    }
    pump_loop(pump);
    pump->session.changed = TRUE;
    send_report(pump);
    if (session_seal(&pump->session) == 0)
        send_report(pump); /* nothing waits for that one but recall */
    status = pump->session.state == SESSION_FAILED ? 1 : 0;
    session_clear(&pump->session);
    fd_close_p(&pump->controller);
    close(pump->signals);
    close(pump->listener);
    g_free(pump);
    return status;
}
