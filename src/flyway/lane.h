/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <poll.h>
#include "flyway/finish.h"
#include "flyway/pace.h"
#include "flyway/packer.h"
#include "flyway/protocol.h"
#include "flyway/ring.h"
#include "flyway/rpc.h"
#include "flyway/unpacker.h"

/**
 * One lane: a local socket at this end, frames at the other. See lane.c. A lane neither knows the
 * link nor the session: it is fed frames, leaves frames to be sent (`due`), and moves bytes of its
 * socket.
 */
typedef enum {
    LANE_FREE,  /* number not in use. Leaves by lane_open, lane_asked */
    LANE_ASKED, /* source: LANE_OPEN is due or sent; destination: waits for a socket from godwitd.
                   By answer or CLOSE */
    LANE_OPEN,  /* carries. By CLOSE of either side */
    LANE_DRAINING, /* the peer's CLOSE came: what it sent before goes to the socket yet. By the last
                      byte, or the socket's end */
    LANE_LEAVING,  /* the session ends: what is here goes to the socket yet, then CLOSE; the peer's
                      frames are dropped */
    LANE_CLOSED,   /* our CLOSE is due or sent, the peer's is awaited: its frames are dropped */
    LANE_LAST,     /* the peer's CLOSE came, ours is due. By its being sent */
    LANE_N_STATES
} LaneState;

/** One direction of an open lane. */
typedef enum {
    FLOW_RUNS,
    FLOW_ENDING, /* from the peer: EOF came, the ring isn't empty yet. To the peer: the socket has
                    no more, the packer isn't empty yet */
    FLOW_ENDED,
} LaneFlow;

/** Frames to be sent, by the session, in this order. */
enum {
    DUE_OPEN = 1 << 0,
    DUE_ACCEPT = 1 << 1,
    DUE_REFUSE = 1 << 2,
    DUE_CREDIT = 1 << 3,
    DUE_EOF = 1 << 4,
    DUE_CLOSE = 1 << 5,
};

typedef struct {
    guint8 number; /* read-only */
    LaneState state;
    LaneKind kind;
    int fd;       /* owned; -1 = none */
    guint32 want; /* ASKED at the destination: number of the question to godwitd */
    guint due;
    LaneFlow out, in;         /* to the peer, from the peer */
    guint32 credit;           /* bytes that may be sent to the peer */
    guint32 credit_due;       /* bytes taken since the last CREDIT */
    Ring ring;                /* from the peer, not yet taken by the socket */
    Packer *packer;           /* source's stream, where the peer can unpack; else NULL */
    Unpacker *unpacker;       /* destination's stream, where the peer may pack; else NULL */
    Pace pace;                /* to the peer */
    guint64 written;          /* bytes the socket took */
    gboolean readable;        /* poll, or the last read, says that more is there */
    gboolean blocked;         /* the socket took not all: wait for POLLOUT */
    gboolean hung_up;         /* POLLHUP: the local end is closed in both directions */
    gboolean broken;          /* out is ENDING: close altogether then */
    int poll_index;           /* in the present round's pollfds, -1 = not polled */
    guint64 *carried;         /* counter of payload bytes of this kind, both directions */
    RpcParser calls, replies; /* of LANE_RPC: source to destination, and back */
    char text[FRAME_REFUSE_TEXT_MAX + 1]; /* of LANE_REFUSE */
} Lane;

void lane_init(Lane *lane, guint8 number);
/** Closes what is open; the lane is FREE. */
void lane_reset(Lane *lane);

/** Source: a local client has connected. Takes fd, and packer (NULL: none). Only of a FREE lane. */
void lane_open(Lane *lane, LaneKind kind, int fd, Packer *packer, guint64 *carried);
/** Destination: the peer's LANE_OPEN. FALSE with fault. */
gboolean lane_asked(Lane *lane, LaneKind kind, guint32 window, guint64 *carried, Fault *fault);
/** Takes it. Right after lane_asked(). */
void lane_unpack_by(Lane *lane, Unpacker *unpacker);
/** Destination, ASKED: godwitd's answer. Takes fd. */
void lane_answer(Lane *lane, int fd);
void lane_refuse(Lane *lane, const char *why);

/** Any other frame of the lane. FALSE with fault where it breaks the protocol. */
gboolean lane_frame(Lane *lane, const Frame *frame, Finish *finish, Fault *fault);

/** Fills in fd and events; FALSE where nothing is to be polled. may_read: the link has room. */
gboolean lane_poll(const Lane *lane, const Finish *finish, gboolean may_read, struct pollfd *entry);
void lane_polled(Lane *lane, short revents);
/** Destination: brings what is unpacked to the ring. FALSE with fault. */
gboolean lane_unpack(Lane *lane, Fault *fault);
/** Gives the socket what it takes, ends what has ended, looks for Finish's reply being read. */
void lane_deliver(Lane *lane, Finish *finish, gint64 now_us);
/** May it have bytes for the peer, and credit to send them? */
gboolean lane_wants_read(const Lane *lane, const Finish *finish);
/** Reads at most room bytes of the socket, to be sent as DATA; 0 = nothing now. fault is set where
 * it can't be libvirt's RPC. */
gsize lane_read(Lane *lane, guint8 *out, gsize room, Finish *finish, Fault *fault);
/** With a packer: gives it what the socket has, as far as there is room. */
void lane_pull(Lane *lane, Finish *finish);
/** With a packer: the payload of the next BATCH, if one is ready and credit suffices; else NULL. */
const PageBatch *lane_batch(const Lane *lane);
/** It was sent. */
void lane_batch_sent(Lane *lane, gint64 now_us);
/** The payload of the next AGAIN, and which batch it is; NULL: none. */
const PageBatch *lane_again(const Lane *lane, guint32 *number);
/** There is something to be sent that wasn't sent yet. */
gboolean lane_is_held(const Lane *lane);
/** The next due frame that may be sent now; FALSE: none. It counts as sent. */
gboolean lane_next_frame(Lane *lane, Frame *frame);

/** Takes no more from the socket, delivers what is here, then CLOSE: the session is ending. */
void lane_leave(Lane *lane);
/** The link is gone: closes, unless Finish's reply in the socket has to be watched yet. */
void lane_abandon(Lane *lane, Finish *finish);
