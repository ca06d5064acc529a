/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A lane joins a local socket (of libvirt or QEMU) here with one at the other host. Towards the
 * peer nothing is queued: bytes are read from the socket straight into the frame that the line
 * keeps, and only when a link takes it and the peer has given credit. From the peer they go through
 * a ring as large as the window that was granted, so that the link is always read and one lane
 * whose socket is full never holds up another. Credit is given back in steps of 64 KiB, and when
 * the ring is empty.
 *
 * Windows: rpc 256 KiB; stream 32 MiB for long paths, of which pace.c lets as much be used as the
 * path needs, since whatever waits there adds to the blackout, and QEMU judges the link by what its
 * socket takes; nbd 16 MiB, as much as QEMU's mirror of a disk sends before it has an answer. The
 * ring's untouched part costs no memory.
 *
 * An nbd lane is one disk's NBD, source's QEMU to destination's: requests there, answers back. Its
 * bytes pass as they are; nobody here looks into them.
 *
 * A source's stream goes through a packer (packer.c), if the peer can unpack: bytes are read into
 * its batches, and its batches are what is sent. At the destination an unpacker (unpacker.c) brings
 * them to the ring; what waits in it counts as if it were there already.
 *
 * Each direction ends by itself (a half close becomes EOF, and there a half close again); when both
 * have ended, or the socket is closed altogether, the lane is closed with exactly one CLOSE of each
 * side. Moves between states are in one table.
 *
 * On an rpc lane both directions are looked at by the parser of rpc.c, at both ends, before a byte
 * goes on, and finish.c is told; it says how far bytes may be written to libvirt, and when the
 * socket has to be watched. If what passes isn't libvirt's RPC the session ends: a Finish that
 * can't be recognised must not pass. So it does at a message that isn't in rpc_table.c.
 *
 * When the local process dies its socket hangs up: what it wrote is still carried, then CLOSE. When
 * the peer dies the session calls lane_abandon, and the local process sees its socket closed.
 */
#include "flyway/lane.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"

#define RPC_WINDOW (256u * 1024)
#define STREAM_WINDOW (32u * 1024 * 1024)
#define NBD_WINDOW (16u * 1024 * 1024) /* what QEMU's mirror of one disk has on its way */
#define CREDIT_STEP (64u * 1024)       /* so much taken is told at once */

#define M(state) (1u << LANE_##state)

/* Legal moves, from -> set of to. */
static const guint moves[LANE_N_STATES] = {
    [LANE_FREE] = M(ASKED),
    [LANE_ASKED] = M(OPEN) | M(CLOSED) | M(LAST) | M(FREE),
    [LANE_OPEN] = M(DRAINING) | M(LEAVING) | M(CLOSED) | M(FREE),
    [LANE_DRAINING] = M(LAST) | M(FREE),
    [LANE_LEAVING] = M(DRAINING) | M(CLOSED) | M(FREE),
    [LANE_CLOSED] = M(LAST) | M(FREE),
    [LANE_LAST] = M(FREE),
};

static const char *const state_names[LANE_N_STATES] = {
    "free", "asked", "open", "draining", "leaving", "closed", "last",
};

static void
move(Lane *lane, LaneState to)
{
    g_assert(moves[lane->state] & 1u << to);
    g_debug("lane %u: %s -> %s", lane->number, state_names[lane->state], state_names[to]);
    lane->state = to;
}

static guint32
window_of(LaneKind kind)
{
    switch (kind) {
    case LANE_RPC:
        return RPC_WINDOW;
    case LANE_NBD:
        return NBD_WINDOW;
    default:
        return STREAM_WINDOW;
    }
}

static void
close_socket(Lane *lane)
{
    if (lane->fd >= 0)
        close(lane->fd);
    lane->fd = -1;
    lane->readable = FALSE;
    lane->blocked = FALSE;
    lane->hung_up = FALSE;
}

void
lane_init(Lane *lane, guint8 number)
{
    *lane = (Lane){ .number = number, .fd = -1, .poll_index = -1 };
}

void
lane_reset(Lane *lane)
{
    if (lane->state != LANE_FREE)
        move(lane, LANE_FREE);
    close_socket(lane);
    ring_clear(&lane->ring);
    packer_free(lane->packer);
    unpacker_free(lane->unpacker);
    lane_init(lane, lane->number);
}

static void
begin(Lane *lane, LaneKind kind, guint64 *carried)
{
    move(lane, LANE_ASKED);
    lane->kind = kind;
    lane->carried = carried;
    lane->calls.direction = RPC_TO_DESTINATION;
    lane->replies.direction = RPC_TO_SOURCE;
    ring_init(&lane->ring, window_of(kind));
}

void
lane_open(Lane *lane, LaneKind kind, int fd, Packer *packer, guint64 *carried)
{
    begin(lane, kind, carried);
    lane->packer = packer;
    lane->fd = fd;
    lane->due = DUE_OPEN;
}

gboolean
lane_asked(Lane *lane, LaneKind kind, guint32 window, guint64 *carried, Fault *fault)
{
    if (lane->state != LANE_FREE) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker opened lane %u, which is in use (%s)", lane->number,
                  state_names[lane->state]);
        return FALSE;
    }
    begin(lane, kind, carried);
    lane->credit = window;
    return TRUE;
}

void
lane_unpack_by(Lane *lane, Unpacker *unpacker)
{
    lane->unpacker = unpacker;
}

void
lane_answer(Lane *lane, int fd)
{
    g_assert(lane->state == LANE_ASKED);
    lane->fd = fd;
    lane->due |= DUE_ACCEPT;
    move(lane, LANE_OPEN);
}

void
lane_refuse(Lane *lane, const char *why)
{
    g_assert(lane->state == LANE_ASKED);
    g_strlcpy(lane->text, why, sizeof lane->text);
    lane->due = DUE_REFUSE;
    move(lane, LANE_CLOSED);
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* The local end is over: says so to the peer with CLOSE, drops what it can't have any more. */
static void
close_here(Lane *lane, Finish *finish)
{
    finish_lane_gone(finish, lane->number);
    close_socket(lane);
    ring_drop(&lane->ring, lane->ring.length);
    lane->due = (lane->due & DUE_ACCEPT) | DUE_CLOSE;
    move(lane, lane->state == LANE_DRAINING ? LANE_LAST : LANE_CLOSED);
}

/* The peer's CLOSE, or its LANE_REFUSE. */
static void
peer_closed(Lane *lane, Finish *finish)
{
    switch (lane->state) {
    case LANE_ASKED:
        finish_lane_gone(finish, lane->number);
        close_socket(lane);
        lane->due = DUE_CLOSE;
        move(lane, LANE_LAST);
        break;
    case LANE_OPEN:
    case LANE_LEAVING:
        lane->due &= DUE_ACCEPT;
        move(lane, LANE_DRAINING);
        break;
    case LANE_CLOSED:
        if (lane->due != 0)
            move(lane, LANE_LAST);
        else
            lane_reset(lane);
        break;
    default:
        g_assert_not_reached();
    }
}

void
lane_leave(Lane *lane)
{
    if (lane->state == LANE_OPEN) {
        move(lane, LANE_LEAVING);
    } else if (lane->state == LANE_ASKED) {
        close_socket(lane);
        lane->due = (lane->due & DUE_OPEN) | DUE_CLOSE;
        move(lane, LANE_CLOSED);
    }
}

void
lane_abandon(Lane *lane, Finish *finish)
{
    if (lane->state == LANE_FREE || finish_waits(finish, lane->number))
        return;
    finish_lane_gone(finish, lane->number);
    lane_reset(lane);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Looks at bytes of an rpc lane, before they go on. */
static gboolean
look(Lane *lane, RpcParser *parser, const guint8 *bytes, gsize length, Finish *finish, Fault *fault)
{
    while (length > 0) {
        RpcEvent event;
        gssize done = rpc_look(parser, bytes, length, &event);

        if (done < 0) {
            fault_set(
                fault, GODWIT_ERROR_PROTOCOL,
                "Lane %u carries something that isn't libvirt's RPC: is the socket libvirt's, "
                "without SASL encryption?",
                lane->number);
            return FALSE;
        }
        if (event.kind == RPC_FORBIDDEN) {
            rpc_table_refuse(parser->direction, &event.message, fault);
            return FALSE;
        }
        if (event.kind != RPC_NOTHING && !finish_rpc(finish, lane->number, &event, fault))
            return FALSE;
        bytes += done;
        length -= (gsize)done;
    }
    return TRUE;
}

/* Bytes that the peer may still have sent. */
static gsize
room_of(const Lane *lane)
{
    gsize unpacking = lane->unpacker != NULL ? unpacker_bytes(lane->unpacker) : 0;

    return lane->ring.size - lane->ring.length - lane->credit_due - unpacking;
}

static gboolean
take_data(Lane *lane, const Frame *frame, Finish *finish, Fault *fault)
{
    gboolean is_source = finish->side == FLYWAY_SOURCE;

    if (lane->kind == LANE_RPC && !look(lane, is_source ? &lane->replies : &lane->calls,
                                        frame->data.bytes, frame->data.length, finish, fault))
        return FALSE;
    if (frame->data.length > room_of(lane)) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent more than lane %u's window",
                  lane->number);
        return FALSE;
    }
    if (lane->unpacker != NULL && unpacker_bytes(lane->unpacker) > 0) {
        unpacker_direct(lane->unpacker, frame->data.bytes, frame->data.length);
        return TRUE;
    }
    ring_put(&lane->ring, frame->data.bytes, frame->data.length);
    *lane->carried += frame->data.length;
    return TRUE;
}

gboolean
lane_unpack(Lane *lane, Fault *fault)
{
    const guint8 *bytes;
    gsize length;

    if (lane->unpacker == NULL || lane->fd < 0)
        return TRUE;
    while ((bytes = unpacker_ready(lane->unpacker, &length, fault)) != NULL) {
        ring_put(&lane->ring, bytes, length);
        *lane->carried += length;
        unpacker_taken(lane->unpacker);
    }
    return !fault->set;
}

static gboolean
open_frame(Lane *lane, const Frame *frame, Finish *finish, Fault *fault)
{
    switch (frame->type) {
    case FRAME_DATA:
        if (lane->in == FLOW_RUNS)
            return take_data(lane, frame, finish, fault);
        break;
    case FRAME_BATCH:
        if (lane->in == FLOW_RUNS && lane->unpacker != NULL)
            return unpacker_batch(lane->unpacker, frame->data.bytes, frame->data.length,
                                  room_of(lane), fault);
        break;
    case FRAME_AGAIN:
        if (lane->unpacker != NULL)
            return unpacker_again(lane->unpacker, frame->data.batch, frame->data.bytes,
                                  frame->data.length, fault);
        break;
    case FRAME_MISSING:
        if (lane->packer != NULL &&
            packer_missed(lane->packer, frame->missing.batch, frame->missing.set))
            return TRUE;
        break;
    case FRAME_CREDIT:
        if (frame->credit > FRAME_WINDOW_MAX - lane->credit)
            break;
        lane->credit += frame->credit;
        if (lane->packer != NULL)
            packer_delivered(lane->packer, frame->credit);
        pace_taken(&lane->pace, frame->credit, clock_monotonic_us());
        return TRUE;
    case FRAME_EOF:
        if (lane->in != FLOW_RUNS)
            break;
        lane->in = FLOW_ENDING;
        return TRUE;
    case FRAME_CLOSE:
        peer_closed(lane, finish);
        return TRUE;
    default:
        break;
    }
    fault_set(fault, GODWIT_ERROR_PROTOCOL,
              "The other worker sent a %s on lane %u that can't be there", frame_name(frame->type),
              lane->number);
    return FALSE;
}

static gboolean
asked_frame(Lane *lane, const Frame *frame, Finish *finish, Fault *fault)
{
    gboolean was_sent = !(lane->due & DUE_OPEN);

    if (frame->type == FRAME_LANE_ACCEPT && was_sent) {
        lane->credit = frame->window;
        move(lane, LANE_OPEN);
        return TRUE;
    }
    if ((frame->type == FRAME_LANE_REFUSE || frame->type == FRAME_CLOSE) && was_sent) {
        peer_closed(lane, finish);
        return TRUE;
    }
    fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent %s on lane %u before it opened",
              frame_name(frame->type), lane->number);
    return FALSE;
}

gboolean
lane_frame(Lane *lane, const Frame *frame, Finish *finish, Fault *fault)
{
    switch (lane->state) {
    case LANE_ASKED:
        return asked_frame(lane, frame, finish, fault);
    case LANE_OPEN:
        return open_frame(lane, frame, finish, fault);
    case LANE_DRAINING:
        if (frame->type == FRAME_AGAIN) /* of what came before the CLOSE */
            return open_frame(lane, frame, finish, fault);
        break;
    case LANE_LEAVING:
    case LANE_CLOSED:
        if (frame->type == FRAME_MISSING && lane->packer != NULL)
            return open_frame(lane, frame, finish, fault);
        if (frame->type == FRAME_CLOSE || frame->type == FRAME_LANE_REFUSE)
            peer_closed(lane, finish);
        return TRUE; /* others were sent before our CLOSE was seen */
    default:
        break;
    }
    fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent %s on lane %u, which is %s",
              frame_name(frame->type), lane->number, state_names[lane->state]);
    return FALSE;
}

static void
fill_frame(const Lane *lane, guint due, Frame *frame)
{
    switch (due) {
    case DUE_OPEN:
        frame->type = FRAME_LANE_OPEN;
        frame->open.kind = lane->kind;
        frame->open.window = (guint32)lane->ring.size;
        break;
    case DUE_ACCEPT:
        frame->type = FRAME_LANE_ACCEPT;
        frame->window = (guint32)lane->ring.size;
        break;
    case DUE_REFUSE:
        frame->type = FRAME_LANE_REFUSE;
        memcpy(frame->text, lane->text, sizeof frame->text);
        break;
    case DUE_CREDIT:
        frame->type = FRAME_CREDIT;
        frame->credit = lane->credit_due;
        break;
    case DUE_EOF:
        frame->type = FRAME_EOF;
        break;
    default:
        frame->type = FRAME_CLOSE;
    }
}

gboolean
lane_next_frame(Lane *lane, Frame *frame)
{
    guint due = lane->due & -lane->due; /* the lowest bit */

    frame->lane = lane->number;
    if (lane->unpacker != NULL && (lane->state == LANE_OPEN || lane->state == LANE_DRAINING) &&
        unpacker_misses(lane->unpacker, &frame->missing.batch, &frame->missing.set)) {
        frame->type = FRAME_MISSING;
        return TRUE;
    }
    if (due == 0)
        return FALSE;
    fill_frame(lane, due, frame);
    lane->due &= ~due;
    if (due == DUE_CREDIT)
        lane->credit_due = 0;
    if (due == DUE_CLOSE && lane->state == LANE_LAST)
        lane_reset(lane);
    return TRUE;
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* Bytes that may be sent to the peer now. */
static gsize
sendable(const Lane *lane)
{
    return MIN(lane->credit, pace_room(&lane->pace));
}

gboolean
lane_wants_read(const Lane *lane, const Finish *finish)
{
    gsize room;

    /* While Finish's reply is being watched nothing is read: recv would take the socket's error. */
    if (lane->state != LANE_OPEN || lane->out != FLOW_RUNS || (lane->due & DUE_ACCEPT) ||
        finish_waits(finish, lane->number))
        return FALSE;
    if (lane->packer == NULL || packer_is_aside(lane->packer))
        return sendable(lane) > 0;
    packer_room(lane->packer, &room);
    return room > 0;
}

gboolean
lane_poll(const Lane *lane, const Finish *finish, gboolean may_read, struct pollfd *entry)
{
    /* A packer takes bytes whether or not they can be sent at once. */
    gboolean to_packer = lane->packer != NULL && !packer_is_aside(lane->packer);
    gboolean reads = (may_read || to_packer) && lane_wants_read(lane, finish);

    if (lane->fd < 0 || lane->state == LANE_ASKED || finish_waits(finish, lane->number))
        return FALSE;
    *entry = (struct pollfd){ .fd = lane->fd };
    entry->events = (short)((reads ? POLLIN : 0) | (lane->blocked ? POLLOUT : 0));
    /* Once it is known to be hung up, poll would return at once for nothing. */
    return entry->events != 0 || !lane->hung_up;
}

void
lane_polled(Lane *lane, short revents)
{
    if (revents & (POLLIN | POLLHUP | POLLERR))
        lane->readable = TRUE;
    if (revents & (POLLHUP | POLLERR))
        lane->hung_up = TRUE;
    if (revents & (POLLOUT | POLLHUP | POLLERR))
        lane->blocked = FALSE;
}

/* The socket gave nothing: it is empty, ended or broken. */
static void
read_nothing(Lane *lane, ssize_t got, int problem, Finish *finish)
{
    lane->readable = FALSE;
    if (got < 0 && (problem == EAGAIN || problem == EINTR))
        return;
    if (lane->packer != NULL && !packer_is_empty(lane->packer)) {
        lane->out = FLOW_ENDING;
        lane->broken = got < 0 || lane->hung_up;
        return;
    }
    if (got < 0 || lane->hung_up) {
        close_here(lane, finish);
        return;
    }
    lane->out = FLOW_ENDED;
    lane->due |= DUE_EOF;
}

gsize
lane_read(Lane *lane, guint8 *out, gsize room, Finish *finish, Fault *fault)
{
    gboolean is_source = finish->side == FLYWAY_SOURCE;
    gsize want = MIN(room, MIN(sendable(lane), (gsize)FRAME_DATA_MAX));
    ssize_t got;

    if (!lane->readable || !lane_wants_read(lane, finish) || want == 0)
        return 0;
    got = recv(lane->fd, out, want, MSG_DONTWAIT);
    if (got <= 0) {
        read_nothing(lane, got, errno, finish);
        return 0;
    }
    lane->readable = (gsize)got == want || lane->hung_up;
    lane->credit -= (guint32)got;
    pace_sent(&lane->pace, (guint64)got, (guint64)got, clock_monotonic_us());
    *lane->carried += (guint64)got;
    if (lane->packer != NULL)
        packer_direct(lane->packer, out, (gsize)got);
    if (lane->kind == LANE_RPC &&
        !look(lane, is_source ? &lane->calls : &lane->replies, out, (gsize)got, finish, fault))
        return 0;
    return (gsize)got;
}

/* ---- with a packer --------------------------------------------------------------------------- */

void
lane_pull(Lane *lane, Finish *finish)
{
    while (lane->readable && lane_wants_read(lane, finish) && !packer_is_aside(lane->packer)) {
        gsize room;
        guint8 *at = packer_room(lane->packer, &room);
        ssize_t got = recv(lane->fd, at, room, MSG_DONTWAIT);

        if (got <= 0) {
            read_nothing(lane, got, errno, finish);
            break;
        }
        *lane->carried += (guint64)got;
        packer_filled(lane->packer, (gsize)got);
    }
    if (!lane->readable || lane->out != FLOW_RUNS) /* a hang-up may look like more to read */
        packer_flush(lane->packer);
    packer_run(lane->packer);
}

const PageBatch *
lane_batch(const Lane *lane)
{
    const PageBatch *batch =
        lane->packer != NULL && lane->state == LANE_OPEN ? packer_ready(lane->packer) : NULL;

    return batch != NULL && sendable(lane) >= batch->raw_length ? batch : NULL;
}

const PageBatch *
lane_again(const Lane *lane, guint32 *number)
{
    gboolean may = lane->state == LANE_OPEN || lane->state == LANE_CLOSED;

    return lane->packer != NULL && may ? packer_again(lane->packer, number) : NULL;
}

gboolean
lane_is_held(const Lane *lane)
{
    if (lane->packer == NULL || lane->state != LANE_OPEN)
        return FALSE;
    return packer_ready(lane->packer) != NULL || (lane->readable && packer_is_aside(lane->packer));
}

void
lane_batch_sent(Lane *lane, gint64 now_us)
{
    const PageBatch *batch = packer_ready(lane->packer);

    lane->credit -= batch->raw_length;
    pace_sent(&lane->pace, batch->raw_length, batch->payload_length, now_us);
    packer_sent(lane->packer);
}

/* 0: the socket has all it may have; -EAGAIN: it is full; other: it is gone. */
static int
write_ring(Lane *lane, Finish *finish, gint64 now_us)
{
    while (lane->ring.length > 0) {
        guint64 limit = finish_limit(finish, lane->number) - lane->written;
        gsize length;
        const guint8 *bytes = ring_peek(&lane->ring, &length);
        ssize_t sent;

        if (limit == 0)
            return 0;
        sent = send(lane->fd, bytes, MIN(length, limit), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        ring_drop(&lane->ring, (gsize)sent);
        lane->written += (guint64)sent;
        lane->credit_due += (guint32)sent;
        if (lane->kind == LANE_RPC)
            finish_written(finish, lane->number, lane->written, now_us);
    }
    return 0;
}

/* The order of these looks is the proof's: see finish.c. */
static void
watch_finish(Lane *lane, Finish *finish, gint64 now_us)
{
    FinishSocket seen = { .unread_bytes = 1 };
    struct pollfd entry = { .fd = lane->fd };

    if (ioctl(lane->fd, SIOCOUTQ, &seen.unread_bytes) < 0)
        seen.unread_bytes = 1;
    if (poll(&entry, 1, 0) > 0 && entry.revents != 0) {
        int problem = 0;
        socklen_t size = sizeof problem;

        seen.hung_up = TRUE;
        lane->hung_up = TRUE;
        lane->readable = TRUE;
        seen.reset = getsockopt(lane->fd, SOL_SOCKET, SO_ERROR, &problem, &size) == 0 &&
                     problem == ECONNRESET;
    }
    finish_socket(finish, seen, now_us);
}

static void
end_what_ended(Lane *lane, Finish *finish)
{
    gboolean empty = lane->ring.length == 0 && !finish_waits(finish, lane->number) &&
                     (lane->unpacker == NULL || unpacker_bytes(lane->unpacker) == 0);

    if (lane->state == LANE_OPEN && lane->out == FLOW_ENDING && packer_is_empty(lane->packer)) {
        lane->out = FLOW_ENDED;
        lane->due |= DUE_EOF;
        if (lane->broken) {
            close_here(lane, finish);
            return;
        }
    }
    if (lane->state == LANE_OPEN && lane->in == FLOW_ENDING && empty) {
        shutdown(lane->fd, SHUT_WR);
        lane->in = FLOW_ENDED;
    }
    if (lane->state == LANE_OPEN && lane->out == FLOW_ENDED && empty &&
        (lane->in == FLOW_ENDED || lane->hung_up))
        close_here(lane, finish);
    else if ((lane->state == LANE_DRAINING || lane->state == LANE_LEAVING) && empty)
        close_here(lane, finish);
}

void
lane_deliver(Lane *lane, Finish *finish, gint64 now_us)
{
    int result = -EAGAIN;

    if (lane->fd < 0 || lane->state == LANE_ASKED)
        return;
    if (finish_waits(finish, lane->number))
        watch_finish(lane, finish, now_us);
    if (!lane->blocked)
        result = write_ring(lane, finish, now_us);
    lane->blocked = result == -EAGAIN;
    if (finish_waits(finish, lane->number)) /* libvirt may be as fast as that */
        watch_finish(lane, finish, now_us);
    if (result < 0 && result != -EAGAIN && lane->packer != NULL && !packer_is_empty(lane->packer)) {
        ring_drop(&lane->ring, lane->ring.length); /* what it wrote before is still carried */
        lane->out = FLOW_ENDING;
        lane->broken = TRUE;
    } else if (result < 0 && result != -EAGAIN) {
        close_here(lane, finish);
        return;
    }
    if (lane->state == LANE_OPEN && (lane->credit_due >= MIN(CREDIT_STEP, lane->ring.size / 4) ||
                                     (lane->credit_due > 0 && lane->ring.length == 0)))
        lane->due |= DUE_CREDIT;
    end_what_ended(lane, finish);
}
