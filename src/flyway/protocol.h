/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include "base/error.h"

/**
 * The flyway protocol, version 2.0: what two godwit-flyway workers say to each other. This header
 * is the specification; docs/flyway-protocol.md draws the sequences.
 *
 * Transport: TCP, the 24 bytes of preamble (flyway/worker.h) in clear, then TLS 1.3 with both
 * certificates demanded; the source is the TLS client. Inside are frames, nothing else. All
 * integers are big endian, all UUIDs 16 bytes as in RFC 4122, all texts UTF-8 without control
 * characters and without a terminating NUL.
 *
 *     offset 0  type    u8   FrameType; unknown: protocol error
 *            1  lane    u8   0 = the session, 1..FLYWAY_LANES a lane
 *            2  flags   u16  0 in this version, else protocol error
 *            4  length  u32  of the payload that follows; limits in the table of protocol.c
 *            8  number  u64  of a numbered frame, else 0
 *
 * A protocol error ends the session. Nothing is negotiated by trying.
 *
 * | frame        | lane | number | sender      | payload, bytes                                   |
 * |--------------|------|--------|-------------|--------------------------------------------------|
 * | HELLO        | 0    |        | source      | FrameHello, 112                                  |
 * | HELLO_REPLY  | 0    |        | destination | FrameReply, 16 and text of at most 512           |
 * | LANE_OPEN    | n    | yes    | source      | kind u8, 0 u8, 0 u16, window u32                 |
 * | LANE_ACCEPT  | n    | yes    | destination | window u32                                       |
 * | LANE_REFUSE  | n    | yes    | destination | text of at most 256                              |
 * | DATA         | n    | yes    | both        | 1 to FRAME_DATA_MAX bytes of the lane            |
 * | BATCH        | n    | yes    | source      | 1 to FRAME_BATCH_MAX bytes: DATA as the page     |
 * |              |      |        |             | codec packs it (flyway/page.h)                   |
 * | MISSING      | n    | yes    | destination | batch u32, set u32: a page of the set isn't here |
 * | AGAIN        | n    | yes    | source      | batch u32; then that batch without references    |
 * |              |      |        |             | and differences                                  |
 * | CREDIT       | n    | yes    | both        | u32: so many bytes more may be sent              |
 * | EOF          | n    | yes    | both        | none: no more DATA in this direction             |
 * | CLOSE        | n    | yes    | both        | none: the sender neither sends nor takes any more|
 * | SETS         | 0    | yes    | source      | FrameSets, 20 + 52 n: what it has of older sets  |
 * | SETS_REPLY   | 0    | yes    | destination | FrameSets of as many: what both may have         |
 * | SETS_END     | 0    | yes    | destination | u32: pages of the session from that number on    |
 * |              |      |        |             | can't be referred to                             |
 * | STOPPED      | 0    | yes    | source      | none: the VM doesn't run any more                |
 * | PROVED       | 0    | yes    | source      | u64 sender's monotonic clock, us                 |
 * | REFUSED      | 0    | yes    | source      | none                                             |
 * | PING         | 0    |        | both        | u64 sender's monotonic clock, us                 |
 * | PONG         | 0    |        | both        | u64 of the PING, u64 answerer's clock, us        |
 * | ACK          | 0    |        | both        | u64: all numbered frames below it have been taken|
 * | ABORT        | 0    |        | both        | text of at most 256: why the sender has given up |
 * | BYE          | 0    | yes    | both        | none: the sender ends the session as asked to    |
 *
 * HELLO is the first frame of a connection and HELLO_REPLY the answer; no other frame comes before
 * them, and neither comes again. A session has up to FLYWAY_LINKS connections at once, each with a
 * slot of its own. The first one's HELLO uses the ticket up; each further one, to carry beside it
 * or to replace one that was lost, says so (further) and brings the same ticket again. A further
 * HELLO for a slot in use replaces that connection. A reply whose code isn't FLYWAY_OK is the last
 * frame of its connection.
 *
 * Numbers. Each side numbers the frames marked above 1, 2, 3 … in the order in which they are made,
 * and may send each on any connection. The receiver takes them in the order of their numbers,
 * whatever connection brings them, each once; it may hold back at most LINE_FRAMES_MAX frames and
 * LINE_KEEP_BYTES bytes that came too early, and no sender has more than that unacknowledged. A
 * frame is kept by its sender until an ACK covers it, and sent again when its connection was lost
 * before. On a further connection each side sends an ACK first, and waits for the other's before it
 * sends a numbered frame: so only what didn't arrive is sent twice.
 *
 * Lanes. Only the source opens them, with a number that isn't in use. It sends no DATA before
 * LANE_ACCEPT. Each side may have sent at most the other's window plus all CREDIT got, a BATCH
 * counting as the bytes that it unpacks to; more is a protocol error, as is DATA after EOF. BATCH
 * is for stream lanes, where both sides have the ability. Each side ends a lane with exactly one
 * CLOSE (LANE_REFUSE counts as the destination's); what came before a CLOSE is still delivered. A
 * number is free again when both have been sent. DATA, CREDIT and EOF may still arrive after one's
 * own CLOSE: dropped. Of lanes for disks the destination refuses more than FLYWAY_NBD_LANES.
 *
 * Recall. Where both have the ability, the source's first numbered frame is SETS, and SETS_REPLY
 * answers it; neither comes twice. Batches may refer to pages of the sets that are agreed on
 * (flyway/known.c), and, if the destination keeps the session's pages, to those; only on the first
 * stream lane. So it is with DELTA: where both have that ability, both remember pages of the first
 * stream lane's batches, from its first on (flyway/page_cache.h), whatever there is of recall.
 * Batches of a lane count from 0. The destination that can't fill one says so with MISSING, once
 * for each; nothing that came after it is delivered before AGAIN has brought it. The source can
 * make it again until it has CREDIT for its bytes. It may send AGAIN unasked for a batch sent
 * before.
 *
 * STOPPED, at most once: from here on all that is carried adds to the blackout, so the destination
 * waits for no disk of its own that it can do without.
 *
 * PROVED: the source's libvirt has read the good reply to Finish, so that it can only kill its VM
 * (flyway/finish.c argues it). REFUSED: it has not and never will, it goes on with its VM or leaves
 * it paused. At most one of the two is sent, once, and only after a Finish call was carried.
 *
 * ABORT: the sender's session has failed for another reason than lost connections; the receiver's
 * fails with it. Sent as far as a connection takes it at once, and nothing follows.
 *
 * Silence: each side sends a PING on each connection after FLYWAY_PING_US of having sent none. The
 * source gives a connection up on which it received nothing for FLYWAY_STALL_US and makes another.
 * Each side calls the session dead when it has received nothing on any for the time to resume that
 * its godwitd has set.
 */
#define FLYWAY_MAJOR 2 /* another one is refused */
#define FLYWAY_MINOR 0 /* the lower of both is spoken */
/** A bit each; those of both sides are used. */
#define FLYWAY_ABILITY_PAGES (G_GUINT64_CONSTANT(1) << 0)  /* BATCH, payload format 1 */
#define FLYWAY_ABILITY_RECALL (G_GUINT64_CONSTANT(1) << 1) /* SETS; MISSING and AGAIN */
#define FLYWAY_ABILITY_DELTA (G_GUINT64_CONSTANT(1) << 2)  /* DELTA in batches */
#define FLYWAY_ABILITIES (FLYWAY_ABILITY_PAGES | FLYWAY_ABILITY_RECALL | FLYWAY_ABILITY_DELTA)

#define FLYWAY_LANES 16
/** Of which so many may be disks': libvirt copies them first, and its RPC, QEMU's stream and two
 * further channels of it need lanes yet. */
#define FLYWAY_NBD_LANES 12
#define FLYWAY_LINKS 8
#define FLYWAY_HELLO_US (10 * G_USEC_PER_SEC) /* from TCP connection to HELLO's acceptance */
#define FLYWAY_PING_US (1 * G_USEC_PER_SEC)
#define FLYWAY_STALL_US (3 * G_USEC_PER_SEC)

#define FRAME_HEADER_SIZE 16
/** With its header the largest DATA fills four TLS records. */
#define FRAME_DATA_MAX (4 * 16384 - FRAME_HEADER_SIZE)
#define FRAME_BATCH_MAX (128 * 1024 + 256)
#define FRAME_SIZE_MAX (FRAME_HEADER_SIZE + 4 + FRAME_BATCH_MAX)
#define FRAME_TEXT_MAX 512
#define FRAME_REFUSE_TEXT_MAX 256
/** No window is larger, so that sums of credit can't overflow. */
#define FRAME_WINDOW_MAX (64u * 1024 * 1024)
/** What one side may have sent without an ACK, frames with their headers. */
#define LINE_FRAMES_MAX 4096
#define LINE_KEEP_BYTES (32u * 1024 * 1024)

typedef enum {
    FRAME_HELLO = 1,
    FRAME_HELLO_REPLY = 2,
    FRAME_LANE_OPEN = 16,
    FRAME_LANE_ACCEPT = 17,
    FRAME_LANE_REFUSE = 18,
    FRAME_DATA = 19,
    FRAME_CREDIT = 20,
    FRAME_EOF = 21,
    FRAME_CLOSE = 22,
    FRAME_BATCH = 23,
    FRAME_MISSING = 24,
    FRAME_AGAIN = 25,
    FRAME_PROVED = 32,
    FRAME_REFUSED = 33,
    FRAME_STOPPED = 34,
    FRAME_SETS = 40,
    FRAME_SETS_REPLY = 41,
    FRAME_SETS_END = 42,
    FRAME_PING = 48,
    FRAME_PONG = 49,
    FRAME_ACK = 50,
    FRAME_ABORT = 51,
    FRAME_BYE = 63,
} FrameType;

typedef enum { FLYWAY_SOURCE = 0, FLYWAY_DESTINATION = 1 } FlywaySide;

typedef enum {
    LANE_RPC = 1,    /* libvirt's RPC */
    LANE_STREAM = 2, /* QEMU's migration stream */
    LANE_NBD = 3,    /* a disk that is copied: QEMU's NBD */
} LaneKind;

/** What HELLO_REPLY says. */
typedef enum {
    FLYWAY_OK = 0,
    FLYWAY_BAD_VERSION = 1, /* another major version */
    FLYWAY_BAD_TICKET = 2,  /* not the ticket that was given out */
    FLYWAY_EXPIRED = 3,     /* the ticket was used already, or is too old */
    FLYWAY_WRONG = 4,       /* right ticket, but for another migration, VM, direction or host */
    FLYWAY_BUSY = 5,        /* not ready for it, or ending */
} FlywayCode;

typedef struct {
    guint16 major, minor; /* offset 0, 2 */
    FlywaySide side;      /* 4: u8; the sender's */
    guint8 slot;          /* 5: of the connection, below FLYWAY_LINKS */
    gboolean further;     /* 6: u8, 0 or 1, then a 0 byte: the session is open already */
    guint64 abilities;    /* 8 */
    guint8 id[16];        /* 16: the migration */
    guint8 vm[16];        /* 32 */
    guint8 self[16];      /* 48: the sender's host */
    guint8 peer[16];      /* 64: whom it believes to talk to */
    guint8 ticket[32];    /* 80 */
} FrameHello;
#define FRAME_HELLO_SIZE 112

typedef struct {
    guint16 major, minor;          /* offset 0, 2: that are spoken from now on */
    FlywayCode code;               /* 4: u16, then a 0 u16 */
    guint64 abilities;             /* 8: those of both */
    char text[FRAME_TEXT_MAX + 1]; /* 16: why not; empty where FLYWAY_OK */
} FrameReply;
#define FRAME_REPLY_SIZE 16

/** A set of pages (docs/recall.md). */
typedef struct {
    guint8 id[16];     /* offset 0: the session's that made it */
    guint32 pages;     /* 16: the reply's: the shorter of both; 0: none */
    guint8 digest[32]; /* 20: recall_digest() of so many */
} FrameSet;
#define FRAME_SET_SIZE 52
#define FRAME_SETS_MAX 8

typedef struct {
    gboolean keeps;                /* offset 0: u8, 0 or 1: the session's pages become a set here */
    guint8 n;                      /* 1: then a 0 u16 */
    guint8 check[16];              /* 4: the session's id under the sender's key; 0: it has none */
    FrameSet sets[FRAME_SETS_MAX]; /* 20; the reply's in the same order */
} FrameSets;
#define FRAME_SETS_SIZE 20

/** One decoded frame. Which member of the union holds follows from the type. */
typedef struct {
    FrameType type;
    guint8 lane;
    guint64 number; /* of a numbered frame, from 1; else 0 */
    union {
        FrameHello hello;
        FrameReply reply;
        struct {
            LaneKind kind;
            guint32 window;
        } open;                               /* LANE_OPEN */
        guint32 window;                       /* LANE_ACCEPT */
        char text[FRAME_REFUSE_TEXT_MAX + 1]; /* LANE_REFUSE, ABORT */
        struct {
            const guint8 *bytes; /* in the decoded buffer */
            gsize length;
            guint32 batch; /* AGAIN */
        } data;            /* DATA, BATCH, AGAIN */
        struct {
            guint32 batch, set;
        } missing;       /* MISSING */
        FrameSets sets;  /* SETS, SETS_REPLY */
        guint32 ordinal; /* SETS_END */
        guint32 credit;  /* CREDIT */
        guint64 below;   /* ACK */
        struct {
            guint64 sent_us, answered_us; /* PROVED and PING have only the first */
        } clock;                          /* PROVED, PING, PONG */
    };
} Frame;

/**
 * Decodes the frame at the start of a buffer. 0 with *used = its size; -EAGAIN where it isn't whole
 * yet (never for FRAME_SIZE_MAX bytes or more); -EPROTO where it breaks the rules above: *why then
 * gets a static English phrase. Pure.
 */
int frame_decode(const guint8 *in, gsize length, Frame *frame, gsize *used, const char **why);

/**
 * Encodes; returns the size, or 0 where room doesn't suffice. The frame must keep the rules (ours:
 * asserted). For DATA and BATCH, bytes may stand in out already, at FRAME_HEADER_SIZE. Texts are
 * cut at a character to fit. Pure.
 */
gsize frame_encode(const Frame *frame, guint8 *out, gsize room);

/** Is a frame of this type numbered? */
gboolean frame_is_numbered(FrameType type);
/** "DATA"; static. "?" where unknown. */
const char *frame_name(guint type);
/** The code a client sees for a reply that isn't FLYWAY_OK. */
GodwitError flyway_code_error(FlywayCode code);

/** 16 bytes of a UUID's text and back; FALSE where it isn't one. */
gboolean flyway_uuid_parse(const char *text, guint8 out[16]);
void flyway_uuid_format(const guint8 in[16], char out[37]);
