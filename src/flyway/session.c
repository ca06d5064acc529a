/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A session carries one migration between two workers. It is READY until one connection has proved
 * itself (hello.c), then OPEN: the source accepts connections of its libvirt and QEMU on the two
 * listeners that godwitd passed, and opens a lane for each; the destination asks godwitd for a
 * socket to its libvirt, or its QEMU, for each lane. It ends by session_leave on either side: lanes
 * give what they hold to their sockets, then BYE; or it fails, at both ends at about the same time:
 * connection lost, peer silent for FLYWAY_SILENCE_US, protocol broken. Then all lanes close at
 * once, and the fault stays to be asked for. Nothing is resumed in this version.
 *
 * Everything runs in rounds of one thread: session_poll says what to wait for, session_wake_us
 * until when, session_run does what can be done without waiting: hellos, frames in, bytes to local
 * sockets, bytes of local sockets out. `changed` tells the caller that godwitd should hear.
 *
 * The destination may be given several connections before the right one has come, and afterwards:
 * each gets its answer. A new one displaces the oldest unproved one if there are too many.
 *
 * Invariants: a link is here only in OPEN and LEAVING. Lanes are in use only there, but for one
 * whose Finish reply is watched when the session fails: that outcome must not be lost.
 *
 * Memory, all allocated when connections and lanes open: 310 KiB for each link (at most 5), and for
 * each lane a ring of 256 KiB (rpc) or 1 MiB (stream), of which a lane that keeps up touches
 * little. At most 16 lanes: under 20 MiB in all; one rpc and one stream: under 2 MiB.
 */
#include "flyway/session.h"

#include <sys/socket.h>
#include <unistd.h>

#define LEAVE_US (3 * G_USEC_PER_SEC)
#define M(state) (1u << SESSION_##state)

/* Legal moves, from -> set of to. */
static const guint moves[SESSION_N_STATES] = {
    [SESSION_STARTING] = M(READY) | M(FAILED) | M(ENDED),
    [SESSION_READY] = M(OPEN) | M(FAILED) | M(ENDED),
    [SESSION_OPEN] = M(LEAVING) | M(FAILED),
    [SESSION_LEAVING] = M(ENDED) | M(FAILED),
};

static const char *const state_names[SESSION_N_STATES] = {
    "starting", "ready", "open", "leaving", "failed", "ended",
};

static void
move(Session *session, SessionState to)
{
    g_assert(moves[session->state] & 1u << to);
    g_debug("session: %s -> %s", state_names[session->state], state_names[to]);
    session->state = to;
    session->changed = TRUE;
}

/* ---- start and end --------------------------------------------------------------------------- */

void
session_init(Session *session)
{
    *session = (Session){ .listeners = { -1, -1 } };
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_init(&session->lanes[i], (guint8)(i + 1));
    for (guint i = 0; i < SESSION_HELLOS; i++)
        session->hellos[i] = (Hello){ .state = HELLO_FAILED, .poll_index = -1 };
}

void
session_start(Session *session, const SessionConfig *config)
{
    Fault fault = { 0 };

    g_assert(session->state == SESSION_STARTING);
    session->terms = config->terms;
    session->finish.side = config->terms.side;
    session->listeners[0] = config->rpc_listener;
    session->listeners[1] = config->stream_listener;
    session->keys = link_keys_new(config->identity, &fault);
    if (session->keys == NULL) {
        session_fail(session, &fault);
        return;
    }
    move(session, SESSION_READY);
    if (session->terms.side == FLYWAY_SOURCE)
        session->want_connection = ++session->wants;
}

static void
drop_link(Session *session)
{
    if (session->link == NULL)
        return;
    session->wire_bytes_before += link_wire_bytes(session->link);
    g_clear_pointer(&session->link, link_free);
}

static void
end_hello(Session *session, Hello *hello)
{
    if (hello->link != NULL)
        session->wire_bytes_before += link_wire_bytes(hello->link);
    hello_end(hello);
}

static void
close_doors(Session *session)
{
    session->want_connection = 0;
    for (guint i = 0; i < SESSION_HELLOS; i++)
        end_hello(session, &session->hellos[i]);
    for (guint i = 0; i < G_N_ELEMENTS(session->listeners); i++) {
        if (session->listeners[i] >= 0)
            close(session->listeners[i]);
        session->listeners[i] = -1;
    }
}

static void
abandon_lanes(Session *session)
{
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_abandon(&session->lanes[i], &session->finish);
    if (session->finish_known != session->finish.state)
        session->changed = TRUE;
    session->finish_known = session->finish.state;
}

void
session_clear(Session *session)
{
    close_doors(session);
    drop_link(session);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_reset(&session->lanes[i]);
    g_clear_pointer(&session->keys, link_keys_free);
}

gboolean
session_is_final(const Session *session)
{
    return session->state == SESSION_FAILED || session->state == SESSION_ENDED;
}

void
session_fail(Session *session, const Fault *fault)
{
    if (session_is_final(session))
        return;
    session->fault = *fault;
    close_doors(session);
    drop_link(session);
    move(session, SESSION_FAILED);
    abandon_lanes(session);
}

void
session_leave(Session *session)
{
    if (session->state == SESSION_STARTING || session->state == SESSION_READY) {
        close_doors(session);
        move(session, SESSION_ENDED);
    }
    if (session->state != SESSION_OPEN)
        return;
    move(session, SESSION_LEAVING);
    session->leave_by_us = clock_monotonic_us() + LEAVE_US;
    close_doors(session);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_leave(&session->lanes[i]);
}

/* ---- godwitd's answers ----------------------------------------------------------------------- */

gsize
session_wants(const Session *session, SessionWant out[FLYWAY_LANES + 1])
{
    gsize n = 0;

    if (session->want_connection != 0)
        out[n++] = (SessionWant){ session->want_connection, WANT_CONNECTION };
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        const Lane *lane = &session->lanes[i];

        if (lane->state == LANE_ASKED && lane->want != 0)
            out[n++] = (SessionWant){ lane->want, lane->kind == LANE_RPC ? WANT_RPC : WANT_STREAM };
    }
    return n;
}

static gboolean
takes_connections(const Session *session, guint32 want)
{
    if (session->terms.side == FLYWAY_SOURCE)
        return session->state == SESSION_READY && want != 0 && want == session->want_connection;
    return session->state == SESSION_READY || session->state == SESSION_OPEN;
}

void
session_give_connection(Session *session, guint32 want, int fd)
{
    Hello *hello = &session->hellos[session->n_hellos % SESSION_HELLOS];

    if (!takes_connections(session, want)) {
        close(fd);
        return;
    }
    for (guint i = 0; i < SESSION_HELLOS && hello->link != NULL; i++) {
        if (session->hellos[i].link == NULL)
            hello = &session->hellos[i];
    }
    end_hello(session, hello);
    session->n_hellos++;
    session->want_connection = 0;
    session->changed = TRUE;
    hello_begin(hello, &session->terms, session->keys, fd, clock_monotonic_us());
}

static Lane *
lane_of_want(Session *session, guint32 want)
{
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].state == LANE_ASKED && want != 0 && session->lanes[i].want == want)
            return &session->lanes[i];
    }
    return NULL;
}

void
session_give_lane(Session *session, guint32 want, int fd)
{
    Lane *lane = lane_of_want(session, want);

    if (lane == NULL) {
        close(fd);
        return;
    }
    lane_answer(lane, fd);
    session->changed = TRUE;
}

void
session_refuse_lane(Session *session, guint32 want, const char *why)
{
    Lane *lane = lane_of_want(session, want);

    if (lane == NULL)
        return;
    lane_refuse(lane, why);
    session->changed = TRUE;
}

/* ---- what it shows --------------------------------------------------------------------------- */

guint64
session_wire_bytes(const Session *session)
{
    guint64 sum = session->wire_bytes_before;

    if (session->link != NULL)
        sum += link_wire_bytes(session->link);
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        if (session->hellos[i].link != NULL)
            sum += link_wire_bytes(session->hellos[i].link);
    }
    return sum;
}

gboolean
session_clock(const Session *session, gint64 *offset_us, gint64 *uncertainty_us)
{
    if (session->n_samples == 0)
        return FALSE;
    *offset_us =
        clock_offset_us(session->samples, MIN(session->n_samples, SESSION_SAMPLES), uncertainty_us);
    return TRUE;
}

/* ---- a round --------------------------------------------------------------------------------- */

static Lane *
free_lane(Session *session)
{
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].state == LANE_FREE)
            return &session->lanes[i];
    }
    return NULL;
}

static int
add(struct pollfd *entries, gsize *n, struct pollfd entry)
{
    entry.revents = 0;
    entries[*n] = entry;
    return (int)(*n)++;
}

gsize
session_poll(Session *session, struct pollfd *entries, gsize room)
{
    gboolean accepts = session->state == SESSION_OPEN && free_lane(session) != NULL;
    gboolean may_read = FALSE;
    gsize n = 0;

    g_assert(room >= SESSION_POLL_MAX);
    session->link_index = -1;
    if (session->link != NULL) {
        struct pollfd entry = { link_fd(session->link), link_events(session->link), 0 };

        may_read = !(entry.events & POLLOUT);
        session->link_index = add(entries, &n, entry);
    }
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        Hello *hello = &session->hellos[i];

        hello->poll_index = -1;
        if (hello->link != NULL)
            hello->poll_index = add(
                entries, &n, (struct pollfd){ link_fd(hello->link), link_events(hello->link), 0 });
    }
    for (guint i = 0; i < G_N_ELEMENTS(session->listeners); i++) {
        session->listener_index[i] = -1;
        if (accepts && session->listeners[i] >= 0)
            session->listener_index[i] =
                add(entries, &n, (struct pollfd){ session->listeners[i], POLLIN, 0 });
    }
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[i];
        struct pollfd entry;

        lane->poll_index = -1;
        if (lane_poll(lane, &session->finish, may_read, &entry))
            lane->poll_index = add(entries, &n, entry);
    }
    return n;
}

gint64
session_wake_us(const Session *session, gint64 now_us)
{
    gint64 wake_us = G_MAXINT64;

    if (session->state == SESSION_READY && session->terms.side == FLYWAY_DESTINATION)
        wake_us = session->terms.expires_us + 1;
    if (session->link != NULL)
        wake_us = MIN(session->pinged_us + FLYWAY_PING_US, session->heard_us + FLYWAY_SILENCE_US);
    if (session->state == SESSION_LEAVING)
        wake_us = MIN(wake_us, session->leave_by_us);
    if (finish_waits(&session->finish, session->finish.lane))
        wake_us = MIN(wake_us, now_us + finish_step_us(&session->finish, now_us));
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        if (session->hellos[i].link != NULL)
            wake_us = MIN(wake_us, session->hellos[i].deadline_us);
    }
    return session->link != NULL && link_pending(session->link) ? now_us : wake_us;
}

static void
open_session(Session *session, Hello *hello, gint64 now_us)
{
    session->link = hello_take(hello);
    end_hello(session, hello);
    g_strlcpy(session->tls, link_description(session->link), sizeof session->tls);
    session->heard_us = now_us;
    session->due |= SESSION_DUE_PING;
    move(session, SESSION_OPEN);
}

/* Did poll tell anything of it, or wasn't it polled yet? */
static gboolean
polled(const struct pollfd *entries, int index)
{
    return index < 0 || entries[index].revents != 0;
}

static void
run_hellos(Session *session, const struct pollfd *entries, gint64 now_us)
{
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        Hello *hello = &session->hellos[i];

        if (hello->link == NULL && !(hello->state == HELLO_FAILED && hello->fault.set))
            continue;
        if (hello->link != NULL &&
            (polled(entries, hello->poll_index) || now_us >= hello->deadline_us))
            hello_run(hello, &session->terms, now_us);
        if (hello->state == HELLO_ACCEPTED) {
            open_session(session, hello, now_us);
        } else if (hello->state == HELLO_FAILED) {
            Fault fault = hello->fault;

            end_hello(session, hello);
            hello->fault.set = FALSE;
            if (session->terms.side == FLYWAY_SOURCE)
                session_fail(session, &fault);
            else
                g_message("A connection for this migration was turned away: %s", fault.text);
        }
    }
}

static void
accept_local(Session *session, const struct pollfd *entries)
{
    for (guint i = 0; i < G_N_ELEMENTS(session->listeners); i++) {
        Lane *lane = free_lane(session);
        int fd;

        if (session->listener_index[i] < 0 || entries[session->listener_index[i]].revents == 0 ||
            lane == NULL || session->state != SESSION_OPEN)
            continue;
        fd = accept4(session->listeners[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            lane_open(lane, i == 0 ? LANE_RPC : LANE_STREAM, fd,
                      i == 0 ? &session->rpc_bytes : &session->stream_bytes);
    }
}

static void
run_time(Session *session, gint64 now_us)
{
    Fault fault = { 0 };
    char peer[37];

    if (session->state == SESSION_READY && session->terms.side == FLYWAY_DESTINATION &&
        now_us > session->terms.expires_us) {
        fault_set(&fault, GODWIT_ERROR_EXPIRED,
                  "No worker of the source came with the ticket in time: check that the source can "
                  "reach this host's migration address");
        session_fail(session, &fault);
    }
    if (session->link == NULL)
        return;
    if (now_us >= session->pinged_us + FLYWAY_PING_US)
        session->due |= SESSION_DUE_PING;
    if (now_us < session->heard_us + FLYWAY_SILENCE_US)
        return;
    flyway_uuid_format(session->terms.peer, peer);
    fault_set(&fault, GODWIT_ERROR_TIMEOUT,
              "Nothing was heard from host %s for %d seconds: check the migration network and that "
              "host",
              peer, (int)(FLYWAY_SILENCE_US / G_USEC_PER_SEC));
    session_fail(session, &fault);
}

static gboolean
lanes_hold_sockets(const Session *session)
{
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].fd >= 0)
            return TRUE;
    }
    return FALSE;
}

/* LEAVING: is it done? */
static void
run_leaving(Session *session, gint64 now_us)
{
    gboolean late = now_us >= session->leave_by_us;
    Fault ignored = { 0 };

    if (lanes_hold_sockets(session) && !late)
        return;
    if (session->link != NULL) {
        session->due |= session->said_bye ? 0 : SESSION_DUE_BYE;
        session->said_bye = TRUE;
        if (traffic_send(session, &ignored) && !late &&
            ((session->due & SESSION_DUE_BYE) || (link_events(session->link) & POLLOUT)))
            return;
        link_bye(session->link);
    }
    drop_link(session);
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        finish_lane_gone(&session->finish, session->lanes[i].number);
        lane_reset(&session->lanes[i]);
    }
    move(session, SESSION_ENDED);
    abandon_lanes(session);
}

static void
run_link(Session *session, const struct pollfd *entries, gint64 now_us)
{
    Fault fault = { 0 };
    gboolean good = TRUE;

    if (session->link != NULL &&
        (polled(entries, session->link_index) || link_pending(session->link)))
        good = traffic_receive(session, now_us, &fault);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_deliver(&session->lanes[i], &session->finish, now_us);
    if (good && session->link != NULL)
        good = traffic_send(session, &fault);
    if (good)
        return;
    if (session->state == SESSION_LEAVING)
        drop_link(session); /* the other side was faster */
    else
        session_fail(session, &fault);
}

void
session_run(Session *session, const struct pollfd *entries)
{
    gint64 now_us = clock_monotonic_us();

    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[i];

        if (lane->poll_index >= 0 && lane->fd == entries[lane->poll_index].fd)
            lane_polled(lane, entries[lane->poll_index].revents);
    }
    run_hellos(session, entries, now_us);
    accept_local(session, entries);
    run_link(session, entries, now_us);
    run_time(session, now_us);
    if (session->state == SESSION_LEAVING)
        run_leaving(session, now_us);
    if (session->state == SESSION_FAILED)
        abandon_lanes(session);
    if (session->finish.state != session->finish_known && session->link == NULL)
        abandon_lanes(session);
}
