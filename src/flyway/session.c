/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A session carries one migration between two workers. It is READY until one connection has proved
 * itself (hello.c), then OPEN: the source accepts connections of its libvirt and QEMU on the
 * listeners that godwitd passed, and opens a lane for each; the destination asks godwitd for a
 * socket to its libvirt, or its QEMU, for each lane. Without a free lane a client waits, except for
 * a disk's: QEMU would stand still until NBD answers, so it is turned away, which libvirt tells as
 * the migration's error. A session outlives its connections (strand.c). It
 * ends by session_leave on either side: lanes give what they hold to their sockets, then BYE; or it
 * fails, at both ends at about the same time: nothing heard for the time to resume, or the protocol
 * broken. Then all lanes close at once, and the fault stays to be asked for.
 *
 * A crew packs at the source; at the destination one of a single thread unpacks. Older sets and the
 * session's own (known.c) come before the first connection, and are agreed on right after it; the
 * own one is completed when the session is over (session_seal).
 *
 * All else runs in rounds of one thread: session_poll says what to wait for, session_wake_us
 * until when, session_run does what can be done without waiting: hellos, frames in, bytes to local
 * sockets, bytes of local sockets out. `changed` tells the caller that godwitd should hear.
 *
 * The destination may be given several connections before the right one has come, and afterwards:
 * each gets its answer. A new one displaces the oldest unproved one if there are too many.
 *
 * Invariants: links are here only in OPEN and LEAVING. Lanes are in use only there and in CUT, but
 * for one whose Finish reply is watched when the session fails: that outcome must not be lost.
 *
 * Memory: 465 KiB for each link (at most 16), for each lane a ring of its window (lane.c) and what
 * packs or unpacks (packer.c, unpacker.c), the line (line.c), and what recall holds (known.c); of
 * rings and line a session that keeps up touches little. Summed up in docs/flyway-protocol.md.
 */
#include "flyway/session.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "flyway/tools.h"

#define LEAVE_US (3 * G_USEC_PER_SEC)
#define M(state) (1u << SESSION_##state)

/* Legal moves, from -> set of to. */
static const guint moves[SESSION_N_STATES] = {
    [SESSION_STARTING] = M(READY) | M(FAILED) | M(ENDED),
    [SESSION_READY] = M(OPEN) | M(FAILED) | M(ENDED),
    [SESSION_OPEN] = M(CUT) | M(LEAVING) | M(FAILED),
    [SESSION_CUT] = M(OPEN) | M(LEAVING) | M(FAILED),
    [SESSION_LEAVING] = M(ENDED) | M(FAILED),
};

static const char *const state_names[SESSION_N_STATES] = {
    "starting", "ready", "open", "cut", "leaving", "failed", "ended",
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
    *session = (Session){ .listeners = { -1, -1, -1 }, .sets_end = G_MAXUINT32 };
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
    session->listeners[2] = config->nbd_listener > 0 ? config->nbd_listener : -1;
    session->resume_us = config->resume_us;
    session->connections = CLAMP(config->connections, 1, FLYWAY_LINKS);
    session->threads = MAX(config->threads, 1);
    bucket_init(&session->bucket, config->max_bps, FRAME_SIZE_MAX, clock_monotonic_us());
    session->keys = link_keys_new(config->identity, &fault);
    if (session->keys == NULL) {
        session_fail(session, &fault);
        return;
    }
    move(session, SESSION_READY);
    strands_run_time(session, clock_monotonic_us());
}

static void
drop_links(Session *session)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++)
        strand_drop(session, &session->strands[i], NULL);
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
    for (guint i = 0; i < FLYWAY_LINKS; i++)
        session->strands[i].want = 0;
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
    drop_links(session);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_reset(&session->lanes[i]);
    g_clear_pointer(&session->line, line_free);
    g_clear_pointer(&session->crew, crew_free);
    g_clear_pointer(&session->known, known_free);
    g_clear_pointer(&session->keys, link_keys_free);
}

void
session_set_known(Session *session, Known *known)
{
    known_free(session->known);
    session->known = known;
}

void
session_hurry(Session *session)
{
    known_hurry(session->known);
    bucket_lift(&session->bucket);
    if (session->terms.side == FLYWAY_SOURCE && !session->stopped)
        session->due |= SESSION_DUE_STOPPED;
    session->stopped = TRUE;
}

int
session_seal(Session *session)
{
    g_assert(session_is_final(session));
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_reset(&session->lanes[i]);
    return known_seal(session->known);
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
    move(session, SESSION_FAILED);
    close_doors(session);
    for (guint i = 0; i < FLYWAY_LINKS && !session->peer_failed; i++) {
        if (session->strands[i].link != NULL)
            traffic_abort(&session->strands[i], fault->text);
    }
    drop_links(session);
    abandon_lanes(session);
}

void
session_fail_lost(Session *session, const char *advice)
{
    Fault fault = { 0 };
    char peer[37];

    flyway_uuid_format(session->terms.peer, peer);
    if (session->n_links > 0 || !session->lost.set)
        fault_set(&fault, GODWIT_ERROR_TIMEOUT, "Nothing was heard from host %s for %d seconds: %s",
                  peer, (int)(session->resume_us / G_USEC_PER_SEC), advice);
    else
        fault_set(&fault, session->lost.code,
                  "The connection to host %s was lost (%s) and couldn't be made anew: %s", peer,
                  session->lost.text, advice);
    session_fail(session, &fault);
}

void
session_cut(Session *session)
{
    move(session, SESSION_CUT);
}

void
session_leave(Session *session)
{
    if (session->state == SESSION_STARTING || session->state == SESSION_READY) {
        close_doors(session);
        move(session, SESSION_ENDED);
    }
    if (!session_is_open(session))
        return;
    move(session, SESSION_LEAVING);
    session->leave_by_us = clock_monotonic_us() + LEAVE_US;
    close_doors(session);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        lane_leave(&session->lanes[i]);
}

/* ---- godwitd's answers ----------------------------------------------------------------------- */

gsize
session_wants(const Session *session, SessionWant out[SESSION_WANTS_MAX])
{
    static const int whats[] = {
        [LANE_RPC] = WANT_RPC, [LANE_STREAM] = WANT_STREAM, [LANE_NBD] = WANT_NBD
    };
    gsize n = 0;

    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        if (session->strands[i].want != 0)
            out[n++] = (SessionWant){ session->strands[i].want, WANT_CONNECTION };
    }
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        const Lane *lane = &session->lanes[i];

        if (lane->state == LANE_ASKED && lane->want != 0)
            out[n++] = (SessionWant){ lane->want, whats[lane->kind] };
    }
    return n;
}

/* Source: which slot the question was for. -1: none, and at the destination. */
static int
slot_of_want(const Session *session, guint32 want)
{
    for (int i = 0; i < FLYWAY_LINKS; i++) {
        if (want != 0 && session->strands[i].want == want)
            return i;
    }
    return -1;
}

static gboolean
takes_connections(const Session *session, int slot)
{
    if (session->terms.side == FLYWAY_SOURCE)
        return slot >= 0;
    return session->state == SESSION_READY || session_is_open(session);
}

void
session_give_connection(Session *session, guint32 want, int fd)
{
    Hello *hello = &session->hellos[session->n_hellos % SESSION_HELLOS];
    int slot = slot_of_want(session, want);

    if (!takes_connections(session, slot)) {
        close(fd);
        return;
    }
    for (guint i = 0; i < SESSION_HELLOS && hello->link != NULL; i++) {
        if (session->hellos[i].link == NULL)
            hello = &session->hellos[i];
    }
    end_hello(session, hello);
    session->n_hellos++;
    session->changed = TRUE;
    hello->slot = 0;
    hello->further = FALSE; /* at the destination until it says so */
    if (slot >= 0) {
        session->strands[slot].want = 0;
        hello->slot = (guint8)slot;
        hello->further = session->state != SESSION_READY;
    }
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

    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        if (session->strands[i].link != NULL)
            sum += link_wire_bytes(session->strands[i].link);
    }
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        if (session->hellos[i].link != NULL)
            sum += link_wire_bytes(session->hellos[i].link);
    }
    return sum;
}

void
session_packed(const Session *session, PackerCounts *counts)
{
    *counts = session->packed;
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].packer != NULL)
            packer_add_counts(session->lanes[i].packer, counts);
    }
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

guint
session_lanes(const Session *session, LaneKind kind)
{
    guint n = 0;

    for (guint i = 0; i < FLYWAY_LANES; i++)
        n += session->lanes[i].state != LANE_FREE && session->lanes[i].kind == kind;
    return n;
}

guint64 *
session_carried(Session *session, LaneKind kind)
{
    if (kind == LANE_RPC)
        return &session->rpc_bytes;
    return kind == LANE_NBD ? &session->nbd_bytes : &session->stream_bytes;
}

/* Whose clients a listener has. */
static const LaneKind listener_kinds[] = { LANE_RPC, LANE_STREAM, LANE_NBD };

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
    gboolean accepts = free_lane(session) != NULL;
    gboolean may_read = FALSE;
    gsize n = 0;

    g_assert(room >= SESSION_POLL_MAX);
    session->crew_index = -1;
    if (session->crew != NULL)
        session->crew_index =
            add(entries, &n, (struct pollfd){ crew_fd(session->crew), POLLIN, 0 });
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];
        struct pollfd entry;

        strand->poll_index = -1;
        if (strand->link == NULL)
            continue;
        entry = (struct pollfd){ link_fd(strand->link), link_events(strand->link), 0 };
        may_read |= !(entry.events & POLLOUT) && !strand->waits && line_has_room(session->line);
        strand->poll_index = add(entries, &n, entry);
    }
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        Hello *hello = &session->hellos[i];

        hello->poll_index = -1;
        if (hello->link != NULL)
            hello->poll_index = add(
                entries, &n, (struct pollfd){ link_fd(hello->link), link_events(hello->link), 0 });
    }
    for (guint i = 0; i < G_N_ELEMENTS(session->listeners); i++) {
        gboolean may_wait = listener_kinds[i] != LANE_NBD;

        session->listener_index[i] = -1;
        if (session->listeners[i] >= 0 && session->state == SESSION_OPEN && (accepts || !may_wait))
            session->listener_index[i] =
                add(entries, &n, (struct pollfd){ session->listeners[i], POLLIN, 0 });
    }
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[i];
        struct pollfd entry;

        gboolean waits = session->capped && lane->kind != LANE_RPC;

        lane->poll_index = -1;
        if (lane_poll(lane, &session->finish, may_read && !waits, &entry))
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
    wake_us = MIN(wake_us, strands_wake_us(session));
    if (session->capped)
        wake_us = MIN(wake_us, bucket_wake_us(&session->bucket));
    if (session->state == SESSION_LEAVING)
        wake_us = MIN(wake_us, session->leave_by_us);
    if (finish_waits(&session->finish, session->finish.lane))
        wake_us = MIN(wake_us, now_us + finish_step_us(&session->finish, now_us));
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        if (session->hellos[i].link != NULL)
            wake_us = MIN(wake_us, session->hellos[i].deadline_us);
    }
    return wake_us;
}

/* A connection has proved itself. */
static void
take_hello(Session *session, Hello *hello, gint64 now_us)
{
    if (session->line == NULL)
        session->line = line_new();
    if (!hello->further)
        session->abilities = hello->abilities;
    if (!hello->further && session->terms.side == FLYWAY_SOURCE &&
        (session->abilities & FLYWAY_ABILITY_RECALL)) {
        known_offer(session->known, &session->sets);
        session->due |= SESSION_DUE_SETS;
    }
    strand_attach(session, hello, now_us);
    end_hello(session, hello);
    if (session->state == SESSION_CUT)
        session->cuts++;
    if (session->state != SESSION_OPEN)
        move(session, SESSION_OPEN);
    session->changed = TRUE;
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

        if (hello->link == NULL && !hello->fault.set)
            continue;
        if (hello->link != NULL &&
            (polled(entries, hello->poll_index) || now_us >= hello->deadline_us))
            hello_run(hello, &session->terms, now_us);
        if (hello->state == HELLO_ACCEPTED) {
            take_hello(session, hello, now_us);
        } else if (hello->state == HELLO_FAILED) {
            Fault fault = hello->fault;

            end_hello(session, hello);
            hello->fault.set = FALSE;
            if (session->terms.side == FLYWAY_SOURCE && !hello->further)
                session_fail(session, &fault);
            else if (session->terms.side == FLYWAY_SOURCE)
                strand_refused(session, hello->slot, &fault);
            else
                g_message("A connection for this migration was turned away: %s", fault.text);
        }
    }
}

/* Only the first stream lane may refer to pages: both sides see them in one order only there. */
static gboolean
lane_refers(Session *session)
{
    gboolean is_first = !session->known_used;

    session->known_used = TRUE;
    return is_first;
}

/* NULL: the stream passes as it is. */
static Packer *
make_packer(Session *session)
{
    gboolean refers;
    Packer *packer;

    if (!(session->abilities & FLYWAY_ABILITY_PAGES))
        return NULL;
    if (session->crew == NULL)
        session->crew = crew_new(session->threads, tools_new, tools_free);
    if (session->crew == NULL) {
        g_warning("No thread for packing can be had (%s): the stream is sent as it is",
                  g_strerror(errno));
        return NULL;
    }
    refers = lane_refers(session);
    packer = packer_new(session->crew, refers ? session->known : NULL, &session->packed);
    if (refers && (session->abilities & FLYWAY_ABILITY_DELTA))
        packer_remember(packer);
    return packer;
}

Unpacker *
session_unpacker(Session *session)
{
    gboolean refers;
    Unpacker *unpacker;

    if (!(session->abilities & FLYWAY_ABILITY_PAGES))
        return NULL;
    if (session->crew == NULL)
        session->crew = crew_new(1, tools_new, tools_free);
    if (session->crew == NULL)
        return NULL;
    refers = lane_refers(session);
    unpacker = unpacker_new(session->crew, refers ? session->known : NULL);
    if (refers && (session->abilities & FLYWAY_ABILITY_DELTA))
        unpacker_remember(unpacker);
    return unpacker;
}

static PackerWait
wait_of(const Session *session, const Lane *lane)
{
    if (session->n_links == 0)
        return PACKER_BY_CUT;
    if (lane_is_held(lane))
        return session->capped || strands_are_busy(session) ? PACKER_BY_LINK
                                                            : PACKER_BY_DESTINATION;
    return lane->readable ? PACKER_BY_NOTHING : PACKER_BY_SOURCE;
}

/* What is read is packed, also while no connection takes any. */
static void
run_packers(Session *session, gint64 now_us)
{
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[i];

        if (lane->packer == NULL || lane->state != LANE_OPEN)
            continue;
        lane_pull(lane, &session->finish);
        packer_round(lane->packer, now_us, wait_of(session, lane));
    }
}

/* The lane that a new client gets; NULL: none. */
static Lane *
lane_for(Session *session, LaneKind kind)
{
    if (kind == LANE_NBD && session_lanes(session, LANE_NBD) >= FLYWAY_NBD_LANES)
        return NULL;
    return free_lane(session);
}

static void
accept_local(Session *session, const struct pollfd *entries)
{
    for (guint i = 0; i < G_N_ELEMENTS(session->listeners); i++) {
        LaneKind kind = listener_kinds[i];
        Lane *lane = lane_for(session, kind);
        int fd;

        if (session->listener_index[i] < 0 || entries[session->listener_index[i]].revents == 0 ||
            (lane == NULL && kind != LANE_NBD) || session->state != SESSION_OPEN)
            continue;
        fd = accept4(session->listeners[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            continue;
        if (lane == NULL) {
            g_message("QEMU's connection for a disk was closed: there is no lane for it. A "
                      "migration carries %d disks at once, fewer beside other channels",
                      FLYWAY_NBD_LANES);
            close(fd);
            continue;
        }
        lane_open(lane, kind, fd, kind == LANE_STREAM ? make_packer(session) : NULL,
                  session_carried(session, kind));
        strands_pace(session);
    }
}

static void
run_time(Session *session, gint64 now_us)
{
    Fault fault = { 0 };

    if (session->state == SESSION_READY && session->terms.side == FLYWAY_DESTINATION &&
        now_us > session->terms.expires_us) {
        fault_set(&fault, GODWIT_ERROR_EXPIRED,
                  "No worker of the source came with the ticket in time: check that the source can "
                  "reach this host's migration address");
        session_fail(session, &fault);
    }
    strands_run_time(session, now_us);
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

/* One round of sending over all connections; FALSE with fault where the session can't go on. */
static gboolean
send_all(Session *session, Fault *fault)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];
        Fault why = { 0 };
        gboolean lost = FALSE;

        if (strand->link == NULL)
            continue;
        if (!traffic_send(session, strand, &lost, &why)) {
            *fault = why;
            return FALSE;
        }
        if (lost)
            strand_drop(session, strand, &why);
    }
    return TRUE;
}

static gboolean
receive_all(Session *session, const struct pollfd *entries, gint64 now_us, Fault *fault)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];
        Fault why = { 0 };
        gboolean lost = FALSE;

        if (strand->link == NULL ||
            (!polled(entries, strand->poll_index) && !link_pending(strand->link)))
            continue;
        if (!traffic_receive(session, strand, now_us, &lost, &why)) {
            *fault = why;
            return FALSE;
        }
        if (lost)
            strand_drop(session, strand, &why);
    }
    return TRUE;
}

static gboolean
all_is_sent(const Session *session)
{
    if (session->due & SESSION_DUE_BYE)
        return FALSE;
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        const Strand *strand = &session->strands[i];

        if (strand->link != NULL && (link_events(strand->link) & POLLOUT))
            return FALSE;
    }
    return TRUE;
}

/* LEAVING: is it done? */
static void
run_leaving(Session *session, gint64 now_us)
{
    gboolean late = now_us >= session->leave_by_us;
    Fault ignored = { 0 };

    if (lanes_hold_sockets(session) && !late)
        return;
    if (session->n_links > 0) {
        session->due |= session->said_bye ? 0 : SESSION_DUE_BYE;
        session->said_bye = TRUE;
        if (send_all(session, &ignored) && !late && session->n_links > 0 && !all_is_sent(session))
            return;
    }
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        if (session->strands[i].link != NULL)
            link_bye(session->strands[i].link);
    }
    drop_links(session);
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        finish_lane_gone(&session->finish, session->lanes[i].number);
        lane_reset(&session->lanes[i]);
    }
    move(session, SESSION_ENDED);
    abandon_lanes(session);
}

/* Lanes that weren't asked whether they have something, since nothing could be sent when the round
 * began: else those that are known to would go first, whoever's turn it is. */
static void
look_again(Session *session, const struct pollfd *entries)
{
    struct pollfd now[FLYWAY_LANES];
    Lane *lanes[FLYWAY_LANES];
    guint n = 0;

    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[i];
        gboolean was_asked =
            lane->poll_index >= 0 && (entries[lane->poll_index].events & POLLIN) != 0;

        if (was_asked || lane->readable || !lane_wants_read(lane, &session->finish))
            continue;
        lanes[n] = lane;
        now[n++] = (struct pollfd){ lane->fd, POLLIN, 0 };
    }
    if (n == 0 || poll(now, n, 0) <= 0)
        return;
    for (guint i = 0; i < n; i++)
        lane_polled(lanes[i], now[i].revents);
}

static void
run_links(Session *session, const struct pollfd *entries, gint64 now_us)
{
    Fault fault = { 0 };
    gboolean good = receive_all(session, entries, now_us, &fault);

    session->capped = FALSE;
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        good = good && lane_unpack(&session->lanes[i], &fault);
        lane_deliver(&session->lanes[i], &session->finish, now_us);
    }
    look_again(session, entries);
    if (good)
        good = send_all(session, &fault);
    if (good)
        return;
    if (session->state == SESSION_LEAVING)
        drop_links(session);
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
    if (session->crew_index >= 0 && entries[session->crew_index].revents != 0)
        crew_notice(session->crew);
    run_hellos(session, entries, now_us);
    accept_local(session, entries);
    run_links(session, entries, now_us);
    run_packers(session, now_us);
    run_time(session, now_us);
    if (session->state == SESSION_LEAVING)
        run_leaving(session, now_us);
    if (session->state == SESSION_FAILED)
        abandon_lanes(session);
    if (session->finish.state != session->finish_known && session->n_links == 0 &&
        !session_is_open(session))
        abandon_lanes(session);
}
