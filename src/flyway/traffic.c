/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Frames of an open session. Nothing is queued: what has to be said is a bit in `due` of the
 * session or a lane, and becomes a frame when the link's tx is empty. So a peer that asks faster
 * than it reads costs nothing. In a round, tx is filled in the order: proof, pongs, pings; lanes'
 * small frames; rpc data; streams in turn; and again the small frames that reading has made. The
 * bulk ahead of an rpc message is thus at most one filled tx and what the kernel holds.
 *
 * Receiving always goes on, since each lane has a ring as large as its window. Which side may send
 * which frame is checked here, all else by the lane, or below.
 */
#include "flyway/session.h"

#include <errno.h>

#define RECEIVES_PER_ROUND 8 /* TLS records, before their bytes are delivered */
#define SENDS_PER_ROUND 8
#define LEAST_DATA 4096 /* less room than that isn't worth a read */
#define FROM_SOURCE (1 << FLYWAY_SOURCE)
#define FROM_DESTINATION (1 << FLYWAY_DESTINATION)

/* ---- receiving ------------------------------------------------------------------------------- */

static guint
senders_of(FrameType type)
{
    switch (type) {
    case FRAME_LANE_OPEN:
    case FRAME_PROVED:
    case FRAME_REFUSED:
        return FROM_SOURCE;
    case FRAME_LANE_ACCEPT:
    case FRAME_LANE_REFUSE:
        return FROM_DESTINATION;
    case FRAME_HELLO:
    case FRAME_HELLO_REPLY:
        return 0;
    default:
        return FROM_SOURCE | FROM_DESTINATION;
    }
}

static gboolean
got_open(Session *session, const Frame *frame, Fault *fault)
{
    Lane *lane = &session->lanes[frame->lane - 1];
    guint64 *carried = frame->open.kind == LANE_RPC ? &session->rpc_bytes : &session->stream_bytes;

    if (!lane_asked(lane, frame->open.kind, frame->open.window, carried, fault))
        return FALSE;
    if (frame->open.kind == LANE_NBD) {
        lane_refuse(lane, "this version carries no disks");
    } else if (session->state != SESSION_OPEN) {
        lane_refuse(lane, "the session is ending");
    } else {
        lane->want = ++session->wants;
        session->changed = TRUE;
    }
    return TRUE;
}

static void
got_pong(Session *session, const Frame *frame)
{
    ClockSample *sample = &session->samples[session->n_samples % SESSION_SAMPLES];

    if (frame->clock.sent_us != (guint64)session->pinged_us)
        return; /* of an earlier one, or made up */
    *sample = (ClockSample){ .sent_us = session->pinged_us,
                             .peer_us = (gint64)frame->clock.answered_us,
                             .received_us = clock_monotonic_us() };
    session->n_samples++;
}

static gboolean
got_frame(Session *session, const Frame *frame, gint64 now_us, Fault *fault)
{
    if (!(senders_of(frame->type) & 1 << !session->terms.side)) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent a %s, which it may not",
                  frame_name(frame->type));
        return FALSE;
    }
    switch (frame->type) {
    case FRAME_LANE_OPEN:
        return got_open(session, frame, fault);
    case FRAME_PROVED:
    case FRAME_REFUSED:
        return finish_told(&session->finish, frame->type == FRAME_PROVED, now_us, fault);
    case FRAME_PING:
        session->pong_of_us = frame->clock.sent_us;
        session->due |= SESSION_DUE_PONG;
        return TRUE;
    case FRAME_PONG:
        got_pong(session, frame);
        return TRUE;
    case FRAME_BYE:
        session_leave(session);
        return TRUE;
    default:
        return lane_frame(&session->lanes[frame->lane - 1], frame, &session->finish, fault);
    }
}

static gboolean
take_frames(Session *session, gint64 now_us, Fault *fault)
{
    for (;;) {
        gsize length, used;
        const guint8 *bytes = link_rx(session->link, &length);
        const char *why = NULL;
        Frame frame;
        int result = frame_decode(bytes, length, &frame, &used, &why);

        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker broke the protocol: %s", why);
            return FALSE;
        }
        if (!got_frame(session, &frame, now_us, fault))
            return FALSE;
        link_rx_drop(session->link, used);
    }
}

gboolean
traffic_receive(Session *session, gint64 now_us, Fault *fault)
{
    for (int i = 0; i < RECEIVES_PER_ROUND; i++) {
        int result;

        if (!take_frames(session, now_us, fault))
            return FALSE;
        result = link_receive(session->link);
        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            *fault = *link_fault(session->link);
            return FALSE;
        }
        session->heard_us = now_us;
    }
    return take_frames(session, now_us, fault);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void
put_frame(Session *session, const Frame *frame)
{
    gsize room;
    guint8 *out = link_tx_room(session->link, &room);
    gsize size = frame_encode(frame, out, room);

    g_assert(size > 0); /* tx is larger than data and all small frames together */
    link_tx_add(session->link, size);
}

/* What finish.c concluded becomes frames and news. */
static void
note_finish(Session *session)
{
    if (session->finish.state == session->finish_known)
        return;
    session->finish_known = session->finish.state;
    session->changed = TRUE;
    if (session->terms.side != FLYWAY_SOURCE)
        return;
    if (session->finish.state == FINISH_PROVED)
        session->due |= SESSION_DUE_PROVED;
    else if (session->finish.state == FINISH_REFUSED)
        session->due |= SESSION_DUE_REFUSED;
}

/* Clocks are read anew: the round's beginning may be long ago, and before what is answered was
 * sent. */
static void
put_session_frame(Session *session, guint due)
{
    gint64 now_us = clock_monotonic_us();
    Frame frame = { 0 };

    switch (due) {
    case SESSION_DUE_PROVED:
        frame.type = FRAME_PROVED;
        frame.clock.sent_us = (guint64)session->finish.proved_us;
        break;
    case SESSION_DUE_REFUSED:
        frame.type = FRAME_REFUSED;
        break;
    case SESSION_DUE_PONG:
        frame.type = FRAME_PONG;
        frame.clock.sent_us = session->pong_of_us;
        frame.clock.answered_us = (guint64)now_us;
        break;
    case SESSION_DUE_PING:
        frame.type = FRAME_PING;
        frame.clock.sent_us = (guint64)now_us;
        session->pinged_us = now_us;
        break;
    default:
        frame.type = FRAME_BYE;
    }
    session->due &= ~due;
    put_frame(session, &frame);
}

/* Everything but data. A BYE is the last frame. TRUE where something was put. */
static gboolean
put_small_frames(Session *session)
{
    gboolean any = FALSE;

    note_finish(session);
    for (guint due = SESSION_DUE_PROVED; due <= SESSION_DUE_PING; due <<= 1) {
        if (session->due & due) {
            put_session_frame(session, due);
            any = TRUE;
        }
    }
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Frame frame;

        while (lane_next_frame(&session->lanes[i], &frame)) {
            put_frame(session, &frame);
            any = TRUE;
        }
    }
    if (session->due & SESSION_DUE_BYE) {
        put_session_frame(session, SESSION_DUE_BYE);
        any = TRUE;
    }
    return any;
}

/* One read of a lane as one frame. TRUE where there was something. */
static gboolean
put_data(Session *session, Lane *lane, Fault *fault)
{
    Frame frame = { .type = FRAME_DATA, .lane = lane->number };
    gsize room;
    guint8 *out = link_tx_room(session->link, &room);
    guint8 *payload = out + FRAME_HEADER_SIZE;
    gsize small_frames = 8 * 1024; /* room that stays for what reading makes due */

    if (room < small_frames + FRAME_HEADER_SIZE + LEAST_DATA)
        return FALSE;
    frame.data.bytes = payload;
    frame.data.length =
        lane_read(lane, payload, room - small_frames - FRAME_HEADER_SIZE, &session->finish, fault);
    if (frame.data.length == 0)
        return FALSE;
    link_tx_add(session->link, frame_encode(&frame, out, room));
    return TRUE;
}

static gboolean
fill(Session *session, Fault *fault)
{
    gboolean any = put_small_frames(session);

    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].kind == LANE_RPC)
            any |= put_data(session, &session->lanes[i], fault);
    }
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Lane *lane = &session->lanes[(session->next_lane + i) % FLYWAY_LANES];

        if (lane->kind == LANE_RPC || !put_data(session, lane, fault))
            continue;
        any = TRUE;
        session->next_lane = lane->number; /* the one after it is first next time */
        break;
    }
    return put_small_frames(session) || any;
}

gboolean
traffic_send(Session *session, Fault *fault)
{
    for (int i = 0; i <= SENDS_PER_ROUND; i++) {
        int result = link_flush(session->link);

        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            *fault = *link_fault(session->link);
            return FALSE;
        }
        if (i == SENDS_PER_ROUND || !fill(session, fault))
            break;
    }
    return !fault->set;
}
