/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Frames of an open session. Nothing is queued before it can be sent: what has to be said is a bit
 * in `due` of a connection, the session or a lane, and becomes a frame when the tx of a connection
 * is empty. So a peer that asks faster than it reads costs nothing. In a round, tx is filled in the
 * order: that connection's ACK, pong and ping; what has to be sent again; and only where nothing
 * has, new numbered frames: sets, proof, lanes' small frames, rpc data, a frame of the stream or
 * disk whose turn it is (turns.c; of a stream first a batch that the peer couldn't fill), and again
 * the small frames that reading has made. The bulk ahead of an rpc message, or of a page that a
 * vCPU waits for on a channel of its own, is thus at most one filled tx of each connection and what
 * the kernel holds.
 *
 * A cap (bucket.c) holds for what streams and disks send together: while there are no tokens
 * nothing is read of them for DATA, and no batch is sent; `capped` says so, and session_wake_us
 * when there are some again. rpc and small frames pass freely. What is sent again goes at once,
 * since nothing later can be acted upon before it, and is paid for afterwards.
 *
 * New frames are encoded into the line's ring (line.c), which keeps them, and copied to the tx.
 * Without room there, for want of ACKs, nothing new is read or said.
 *
 * Receiving always goes on, since each lane has a ring as large as its window. Which side may send
 * which frame is checked here, all else by the lane, or below.
 */
#include "flyway/session.h"

#include <errno.h>
#include <string.h>

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
    case FRAME_BATCH:
    case FRAME_AGAIN:
    case FRAME_SETS:
    case FRAME_STOPPED:
    case FRAME_PROVED:
    case FRAME_REFUSED:
        return FROM_SOURCE;
    case FRAME_LANE_ACCEPT:
    case FRAME_LANE_REFUSE:
    case FRAME_MISSING:
    case FRAME_SETS_REPLY:
    case FRAME_SETS_END:
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
    LaneKind kind = frame->open.kind;

    if (!lane_asked(lane, kind, frame->open.window, session_carried(session, kind), fault))
        return FALSE;
    if (kind == LANE_STREAM)
        lane_unpack_by(lane, session_unpacker(session));
    if (kind == LANE_NBD && session_lanes(session, LANE_NBD) > FLYWAY_NBD_LANES) {
        lane_refuse(lane, "more disks at once than a session carries");
    } else if (session->state != SESSION_OPEN) {
        lane_refuse(lane, "the session is ending");
    } else {
        lane->want = ++session->wants;
        session->changed = TRUE;
    }
    return TRUE;
}

static void
got_pong(Session *session, const Strand *strand, const Frame *frame)
{
    ClockSample *sample = &session->samples[session->n_samples % SESSION_SAMPLES];

    if (frame->clock.sent_us != (guint64)strand->pinged_us)
        return; /* of an earlier one, or made up */
    *sample = (ClockSample){ .sent_us = strand->pinged_us,
                             .peer_us = (gint64)frame->clock.answered_us,
                             .received_us = clock_monotonic_us() };
    session->n_samples++;
}

/* Those that belong to a connection. */
static gboolean
got_unnumbered(Session *session, Strand *strand, const Frame *frame, Fault *fault)
{
    switch (frame->type) {
    case FRAME_PING:
        strand->pong_of_us = frame->clock.sent_us;
        strand->due |= STRAND_DUE_PONG;
        return TRUE;
    case FRAME_PONG:
        got_pong(session, strand, frame);
        return TRUE;
    case FRAME_ACK:
        strand->waits = FALSE;
        if (line_acked(session->line, frame->below) == 0)
            return TRUE;
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker acknowledged what was never sent");
        return FALSE;
    case FRAME_ABORT:
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other host's worker gave up: %s", frame->text);
        session->peer_failed = TRUE;
        return FALSE;
    default:
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent a second %s",
                  frame_name(frame->type));
        return FALSE;
    }
}

/* What the peer says of sets of pages. */
static gboolean
got_sets(Session *session, const Frame *frame, Fault *fault)
{
    gboolean good = !session->sets_came && (session->abilities & FLYWAY_ABILITY_RECALL);

    session->sets_came = TRUE;
    if (frame->type == FRAME_SETS && session->known_used)
        good = FALSE; /* it is a thread's by now */
    if (good && frame->type == FRAME_SETS) {
        known_answer(session->known, &frame->sets, &session->sets);
        session->due |= SESSION_DUE_SETS;
    } else if (good) {
        good = !(session->due & SESSION_DUE_SETS) && frame->sets.n == session->sets.n &&
               known_agree(session->known, &frame->sets) == 0;
    }
    if (!good)
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent %s that can't be",
                  frame_name(frame->type));
    return good;
}

static gboolean
got_numbered(Session *session, const Frame *frame, gint64 now_us, Fault *fault)
{
    if (!(senders_of(frame->type) & 1 << !session->terms.side)) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent a %s, which it may not",
                  frame_name(frame->type));
        return FALSE;
    }
    switch (frame->type) {
    case FRAME_LANE_OPEN:
        return got_open(session, frame, fault);
    case FRAME_SETS:
    case FRAME_SETS_REPLY:
        return got_sets(session, frame, fault);
    case FRAME_SETS_END:
        if (session->known != NULL)
            known_ended(session->known, frame->ordinal);
        return TRUE;
    case FRAME_STOPPED:
        session_hurry(session);
        return TRUE;
    case FRAME_PROVED:
    case FRAME_REFUSED:
        return finish_told(&session->finish, frame->type == FRAME_PROVED, now_us, fault);
    case FRAME_BYE:
        session_leave(session);
        return TRUE;
    default:
        return lane_frame(&session->lanes[frame->lane - 1], frame, &session->finish, fault);
    }
}

/* Those that were held and whose turn has come. */
static gboolean
take_held(Session *session, gint64 now_us, Fault *fault)
{
    const guint8 *bytes;
    gsize size, used;

    while ((bytes = line_held(session->line, &size)) != NULL) {
        const char *why;
        Frame frame;

        g_assert(frame_decode(bytes, size, &frame, &used, &why) == 0); /* was decoded before */
        if (!got_numbered(session, &frame, now_us, fault))
            return FALSE;
        line_took(session->line);
    }
    return TRUE;
}

static gboolean
take_numbered(Session *session, const Frame *frame, const guint8 *bytes, gsize size, gint64 now_us,
              Fault *fault)
{
    switch (line_place(session->line, frame->number)) {
    case LINE_NEXT:
        if (!got_numbered(session, frame, now_us, fault))
            return FALSE;
        line_took(session->line);
        return take_held(session, now_us, fault);
    case LINE_OLD:
        return TRUE;
    case LINE_EARLY:
        if (line_hold(session->line, frame->number, bytes, size) == 0)
            return TRUE;
        break;
    case LINE_WRONG:
        break;
    }
    fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent far more than was acknowledged");
    return FALSE;
}

static gboolean
take_frames(Session *session, Strand *strand, gint64 now_us, Fault *fault)
{
    for (;;) {
        gsize length, used;
        const guint8 *bytes = link_rx(strand->link, &length);
        const char *why = NULL;
        Frame frame;
        int result = frame_decode(bytes, length, &frame, &used, &why);

        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker broke the protocol: %s", why);
            return FALSE;
        }
        if (!(frame.number != 0 ? take_numbered(session, &frame, bytes, used, now_us, fault)
                                : got_unnumbered(session, strand, &frame, fault)))
            return FALSE;
        link_rx_drop(strand->link, used);
    }
}

gboolean
traffic_receive(Session *session, Strand *strand, gint64 now_us, gboolean *lost, Fault *fault)
{
    for (int i = 0; i < RECEIVES_PER_ROUND; i++) {
        int result;

        if (!take_frames(session, strand, now_us, fault))
            return FALSE;
        result = link_receive(strand->link);
        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            *lost = TRUE;
            *fault = *link_fault(strand->link);
            return TRUE;
        }
        strand->heard_us = now_us;
        session->heard_us = now_us;
    }
    return take_frames(session, strand, now_us, fault);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* A round's sending: to which connection, and what went wrong. */
typedef struct {
    Session *session;
    Strand *strand;
    Fault *fault;
} Sending;

/* Frames of the connection itself. */
static void
put_unnumbered(const Strand *strand, const Frame *frame)
{
    gsize room;
    guint8 *out = link_tx_room(strand->link, &room);
    gsize size = frame_encode(frame, out, room);

    g_assert(size > 0); /* tx is larger than data and all small frames together */
    link_tx_add(strand->link, size);
}

/* The frame's bytes may stand in the line's room already. Returns its size. */
static gsize
put_numbered(const Sending *sending, Frame *frame)
{
    Line *line = sending->session->line;
    guint8 *kept = line_room(line);
    gsize room, size;
    guint8 *out = link_tx_room(sending->strand->link, &room);

    frame->number = line_next_number(line);
    size = frame_encode(frame, kept, MIN(room, FRAME_SIZE_MAX));
    g_assert(size > 0);
    memcpy(out, kept, size);
    link_tx_add(sending->strand->link, size);
    line_add(line, size, (int)(sending->strand - sending->session->strands));
    return size;
}

/* What finish.c concluded becomes frames and news. */
static void
note_finish(Session *session)
{
    if (session->finish.state == session->finish_known)
        return;
    session->finish_known = session->finish.state;
    session->changed = TRUE;
    session_hurry(session);
    if (session->terms.side != FLYWAY_SOURCE)
        return;
    if (session->finish.state == FINISH_PROVED)
        session->due |= SESSION_DUE_PROVED;
    else if (session->finish.state == FINISH_REFUSED)
        session->due |= SESSION_DUE_REFUSED;
}

/* Destination: the store of the session's pages has ended early. */
static void
note_sets_end(Session *session)
{
    for (guint i = 0; i < FLYWAY_LANES && session->sets_end == G_MAXUINT32; i++) {
        if (session->lanes[i].unpacker != NULL)
            session->sets_end = unpacker_kept(session->lanes[i].unpacker);
        if (session->sets_end != G_MAXUINT32)
            session->due |= SESSION_DUE_SETS_END;
    }
}

static void
fill_session_frame(const Session *session, guint due, Frame *frame)
{
    switch (due) {
    case SESSION_DUE_SETS:
        frame->type = session->terms.side == FLYWAY_SOURCE ? FRAME_SETS : FRAME_SETS_REPLY;
        frame->sets = session->sets;
        break;
    case SESSION_DUE_SETS_END:
        frame->type = FRAME_SETS_END;
        frame->ordinal = session->sets_end;
        break;
    case SESSION_DUE_STOPPED:
        frame->type = FRAME_STOPPED;
        break;
    case SESSION_DUE_PROVED:
        frame->type = FRAME_PROVED;
        frame->clock.sent_us = (guint64)session->finish.proved_us;
        break;
    default:
        frame->type = FRAME_REFUSED;
    }
}

static gboolean
put_session_frames(const Sending *sending)
{
    Session *session = sending->session;
    gboolean any = FALSE;

    for (guint due = SESSION_DUE_SETS; due <= SESSION_DUE_REFUSED; due <<= 1) {
        Frame frame = { 0 };

        if (!(session->due & due) || !line_has_room(session->line))
            continue;
        fill_session_frame(session, due, &frame);
        session->due &= ~due;
        put_numbered(sending, &frame);
        any = TRUE;
    }
    return any;
}

/* Everything but data. A BYE is the last frame. TRUE where something was put. */
static gboolean
put_small_frames(const Sending *sending)
{
    Session *session = sending->session;
    gboolean any;

    note_finish(session);
    note_sets_end(session);
    any = put_session_frames(sending);
    for (guint i = 0; i < FLYWAY_LANES; i++) {
        Frame frame = { 0 };

        while (line_has_room(session->line) && lane_next_frame(&session->lanes[i], &frame)) {
            put_numbered(sending, &frame);
            any = TRUE;
        }
    }
    if ((session->due & SESSION_DUE_BYE) && line_has_room(session->line)) {
        Frame frame = { .type = FRAME_BYE };

        session->due &= ~(guint)SESSION_DUE_BYE;
        put_numbered(sending, &frame);
        any = TRUE;
    }
    return any;
}

#define SMALL_FRAMES (8 * 1024) /* room that stays for what reading makes due */

/* One read of a lane as one frame. Returns its bytes on the wire, as the next two; 0: none. */
static gsize
put_data(const Sending *sending, Lane *lane)
{
    Frame frame = { .type = FRAME_DATA, .lane = lane->number };
    gsize room;
    guint8 *payload;

    link_tx_room(sending->strand->link, &room);
    if (room < SMALL_FRAMES + FRAME_HEADER_SIZE + LEAST_DATA ||
        !line_has_room(sending->session->line))
        return 0;
    payload = line_room(sending->session->line) + FRAME_HEADER_SIZE;
    frame.data.bytes = payload;
    frame.data.length = lane_read(lane, payload, room - SMALL_FRAMES - FRAME_HEADER_SIZE,
                                  &sending->session->finish, sending->fault);
    if (frame.data.length == 0)
        return 0;
    return put_numbered(sending, &frame);
}

/* The next batch of a lane's packer. */
static gsize
put_batch(const Sending *sending, Lane *lane)
{
    Frame frame = { .type = FRAME_BATCH, .lane = lane->number };
    const PageBatch *batch;
    gsize room, size;

    link_tx_room(sending->strand->link, &room);
    lane_pull(lane, &sending->session->finish);
    batch = lane_batch(lane);
    if (batch == NULL || room < SMALL_FRAMES + FRAME_HEADER_SIZE + batch->payload_length ||
        !line_has_room(sending->session->line))
        return 0;
    frame.data.bytes = batch->payload;
    frame.data.length = batch->payload_length;
    size = put_numbered(sending, &frame);
    lane_batch_sent(lane, clock_monotonic_us());
    return size;
}

/* A batch that the peer couldn't fill. */
static gsize
put_batch_again(const Sending *sending, Lane *lane)
{
    Frame frame = { .type = FRAME_AGAIN, .lane = lane->number };
    const PageBatch *batch = lane_again(lane, &frame.data.batch);
    gsize room, size;

    link_tx_room(sending->strand->link, &room);
    if (batch == NULL || room < SMALL_FRAMES + FRAME_HEADER_SIZE + 4 + batch->payload_length ||
        !line_has_room(sending->session->line))
        return 0;
    frame.data.bytes = batch->payload;
    frame.data.length = batch->payload_length;
    size = put_numbered(sending, &frame);
    packer_sent_again(lane->packer);
    return size;
}

static gsize
put_stream(const Sending *sending, Lane *lane)
{
    gsize size = put_batch_again(sending, lane);

    if (size > 0)
        return size;
    return lane->packer != NULL && !packer_is_aside(lane->packer) ? put_batch(sending, lane)
                                                                  : put_data(sending, lane);
}

/* A frame of the stream or disk whose turn it is, if the cap allows it. TRUE where something was
 * put. */
static gboolean
put_bulk(const Sending *sending)
{
    Session *session = sending->session;
    gboolean streams_first = session->stopped || session->terms.side == FLYWAY_DESTINATION;
    LaneKind kinds[FLYWAY_LANES];
    guint8 order[FLYWAY_LANES];
    guint n;

    if (!bucket_has(&session->bucket, clock_monotonic_us())) {
        session->capped = TRUE;
        return FALSE;
    }
    for (guint i = 0; i < FLYWAY_LANES; i++)
        kinds[i] = session->lanes[i].kind;
    n = turns_order(&session->turns, kinds, streams_first, order);
    for (guint i = 0; i < n; i++) {
        Lane *lane = &session->lanes[order[i]];
        gsize size = put_stream(sending, lane);

        if (size == 0)
            continue;
        bucket_take(&session->bucket, size, clock_monotonic_us());
        turns_sent(&session->turns, order[i], lane->kind, size);
        return TRUE;
    }
    return FALSE;
}

static gboolean
put_new(const Sending *sending)
{
    Session *session = sending->session;
    gboolean any = put_small_frames(sending);

    for (guint i = 0; i < FLYWAY_LANES; i++) {
        if (session->lanes[i].kind == LANE_RPC)
            any |= put_data(sending, &session->lanes[i]) > 0;
    }
    any |= put_bulk(sending);
    return put_small_frames(sending) || any;
}

static gboolean
put_again(const Sending *sending)
{
    Session *session = sending->session;
    gboolean any = FALSE;

    for (;;) {
        gsize room, size;
        guint8 *out = link_tx_room(sending->strand->link, &room);
        const guint8 *bytes =
            line_resend(session->line, (int)(sending->strand - session->strands), room, &size);

        if (bytes == NULL)
            return any;
        memcpy(out, bytes, size);
        link_tx_add(sending->strand->link, size);
        bucket_take(&session->bucket, size, clock_monotonic_us());
        any = TRUE;
    }
}

/* Clocks are read anew: the round's beginning may be long ago, and before what is answered was
 * sent. */
static gboolean
put_own(const Sending *sending)
{
    gint64 now_us = clock_monotonic_us();
    Session *session = sending->session;
    Strand *strand = sending->strand;
    gboolean any = FALSE;

    if (session->acked_below != line_taken_below(session->line))
        strand->due |= STRAND_DUE_ACK;
    for (guint due = STRAND_DUE_ACK; due <= STRAND_DUE_PING; due <<= 1) {
        Frame frame = { 0 };

        if (!(strand->due & due))
            continue;
        if (due == STRAND_DUE_ACK) {
            frame.type = FRAME_ACK;
            frame.below = session->acked_below = line_taken_below(session->line);
        } else if (due == STRAND_DUE_PONG) {
            frame.type = FRAME_PONG;
            frame.clock.sent_us = strand->pong_of_us;
            frame.clock.answered_us = (guint64)now_us;
        } else {
            frame.type = FRAME_PING;
            frame.clock.sent_us = (guint64)now_us;
            strand->pinged_us = now_us;
        }
        put_unnumbered(strand, &frame);
        any = TRUE;
    }
    strand->due = 0;
    return any;
}

static gboolean
fill(const Sending *sending)
{
    gboolean any = put_own(sending);

    if (sending->strand->waits)
        return any;
    if (line_resends(sending->session->line))
        return put_again(sending) || any;
    return put_new(sending) || any;
}

gboolean
traffic_send(Session *session, Strand *strand, gboolean *lost, Fault *fault)
{
    Sending sending = { session, strand, fault };

    for (int i = 0;; i++) {
        int result = link_flush(strand->link);

        if (result == -EAGAIN)
            return TRUE;
        if (result < 0) {
            *lost = TRUE;
            *fault = *link_fault(strand->link);
            return TRUE;
        }
        if (i == SENDS_PER_ROUND || !fill(&sending))
            break;
    }
    return !fault->set;
}

void
traffic_abort(Strand *strand, const char *why)
{
    Frame frame = { .type = FRAME_ABORT };

    if (link_flush(strand->link) != 0)
        return;
    g_strlcpy(frame.text, why, sizeof frame.text);
    put_unnumbered(strand, &frame);
    (void)link_flush(strand->link);
    link_bye(strand->link);
}
