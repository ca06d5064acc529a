/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/clock.h"
#include "flyway/bucket.h"
#include "flyway/hello.h"
#include "flyway/lane.h"
#include "flyway/line.h"
#include "flyway/turns.h"

/**
 * A session: everything of one migration that two workers share. See session.c for the theory of
 * operation. One thread; nothing blocks; times are monotonic microseconds.
 */
typedef enum {
    SESSION_STARTING, /* nothing known yet. Leaves by session_start */
    SESSION_READY,    /* source: wants a connection; destination: awaits the right hello. By it, or
                         FAILED */
    SESSION_OPEN,     /* lanes open and carry. By session_leave, the peer's BYE, CUT, or FAILED */
    SESSION_CUT,      /* no connection lives: lanes wait. By a further connection, session_leave, or
                         FAILED after the time to resume */
    SESSION_LEAVING,  /* lanes are emptied, then BYE. By that, or its deadline */
    SESSION_FAILED,   /* final: fault. Only Finish's reply may be watched yet */
    SESSION_ENDED,    /* final: as asked, here or by the peer */
    SESSION_N_STATES
} SessionState;

enum { SESSION_HELLOS = FLYWAY_LINKS, SESSION_SAMPLES = 8 };

/** Numbered session frames to be sent, in this order. */
enum {
    SESSION_DUE_SETS = 1 << 0,
    SESSION_DUE_SETS_END = 1 << 1,
    SESSION_DUE_STOPPED = 1 << 2,
    SESSION_DUE_PROVED = 1 << 3,
    SESSION_DUE_REFUSED = 1 << 4,
    SESSION_DUE_BYE = 1 << 5,
};

/** Frames of one connection to be sent, in this order. */
enum {
    STRAND_DUE_ACK = 1 << 0,
    STRAND_DUE_PONG = 1 << 1,
    STRAND_DUE_PING = 1 << 2,
};

/** One of the session's connections; its index is its slot. */
typedef struct {
    Link *link;     /* NULL: none */
    int poll_index; /* in the round's pollfds */
    guint due;
    gboolean waits;     /* a further one: no numbered frame before the peer's ACK */
    guint64 pong_of_us; /* clock of the PING to be answered */
    gint64 heard_us, pinged_us;
    guint32 want;    /* source: number of the question for this connection; 0 = none */
    gint64 retry_us; /* source: not to be asked for before */
} Strand;

typedef struct {
    SessionState state;
    Fault fault;

    /* read-only after start */
    HelloTerms terms; /* but for .used */
    LinkKeys *keys;
    int listeners[3];  /* source: rpc, stream, nbd; -1: none */
    gint64 resume_us;  /* so long may nothing be heard */
    guint connections; /* source: how many there shall be */
    guint threads;     /* source: of the crew; the destination's has one */

    Strand strands[FLYWAY_LINKS]; /* with links in OPEN and LEAVING */
    guint n_links;                /* of them that live */
    Line *line;                   /* OPEN on */
    guint64 abilities;            /* of both sides, since OPEN */
    Crew *crew;                   /* from the first stream lane on that may be packed */
    Known *known;                 /* NULL: without recall */
    gboolean known_used;          /* by a stream lane: it is for one only; differences, too */
    FrameSets sets;               /* to be sent: offer, or answer to it */
    gboolean sets_came;           /* the peer's */
    guint32 sets_end;             /* destination: what was told, G_MAXUINT32: nothing */
    gboolean stopped;             /* the VM, as far as this side knows */
    int crew_index;               /* in the round's pollfds */
    guint64 acked_below;          /* what our last ACK said; 0 = it may not have arrived */
    guint away;                   /* further connections turned away in a row */
    Fault lost;                   /* why the last connection ended */
    Hello hellos[SESSION_HELLOS];
    guint n_hellos;           /* begun so far */
    Lane lanes[FLYWAY_LANES]; /* lane n at n - 1 */
    Turns turns;              /* among lanes of streams and disks */
    Bucket bucket;            /* the cap on what these send */
    gboolean capped;          /* in this round they had to wait for it */
    Finish finish;
    FinishState finish_known; /* what was told to the peer and upwards */
    int listener_index[3];    /* in the round's pollfds */

    guint32 wants;        /* questions to godwitd so far */
    gboolean peer_failed; /* it said so */
    gboolean said_bye;    /* LEAVING: BYE is due or sent */
    gboolean changed;     /* something that godwitd has to hear: the reader clears it */

    guint due;
    gint64 heard_us, leave_by_us;
    ClockSample samples[SESSION_SAMPLES];
    guint n_samples; /* so far */

    guint64 wire_bytes_before; /* of connections that ended */
    guint cuts;                /* how often the session went on after it was CUT */
    guint64 rpc_bytes, stream_bytes, nbd_bytes;
    PackerCounts packed; /* of lanes that are closed */
    char tls[96];
} Session;

typedef struct {
    HelloTerms terms;
    const Identity *identity;          /* not kept */
    int rpc_listener, stream_listener; /* taken; -1 at the destination */
    int nbd_listener;                  /* source: taken; 0 or -1: no disk is copied */
    gint64 resume_us;                  /* how long it waits to be resumed */
    guint connections;                 /* source: how many, 1 to FLYWAY_LINKS */
    guint threads;                     /* source: that pack, at least 1 */
    gint64 max_bps; /* of what streams and disks send, bytes per second; 0: no cap */
} SessionConfig;

typedef struct {
    guint32 number;
    enum { WANT_CONNECTION, WANT_RPC, WANT_STREAM, WANT_NBD } what;
} SessionWant;

void session_init(Session *session);
void session_start(Session *session, const SessionConfig *config);
void session_clear(Session *session);
/** Takes it. Before the first connection. */
void session_set_known(Session *session, Known *known);
/** Final: completes the set of this session's pages; waits for the disk. 0, or -errno: none. */
int session_seal(Session *session);

/** What godwitd is asked for at present; returns how many (at most SESSION_WANTS_MAX). */
enum { SESSION_WANTS_MAX = FLYWAY_LANES + FLYWAY_LINKS };
gsize session_wants(const Session *session, SessionWant out[SESSION_WANTS_MAX]);
/** Take fd. An answer to a question that is no more is dropped. The destination isn't asked for
 * connections. */
void session_give_connection(Session *session, guint32 want, int fd);
/** Source: it can't be had at the moment; it is asked for again. */
void session_no_connection(Session *session, guint32 want);
void session_give_lane(Session *session, guint32 want, int fd);
void session_refuse_lane(Session *session, guint32 want, const char *why);
/** The VM has stopped: neither the cap nor recall's disk holds up what is left; streams go before
 * disks. */
void session_hurry(Session *session);
/** Orderly end; ENDED follows soon. */
void session_leave(Session *session);
void session_fail(Session *session, const Fault *fault);
gboolean session_is_final(const Session *session);

guint64 session_wire_bytes(const Session *session);
/** Source: what became of the streams' pages so far. */
void session_packed(const Session *session, PackerCounts *counts);
/** Offset of the peer's monotonic clock to ours; FALSE where none was measured. */
gboolean session_clock(const Session *session, gint64 *offset_us, gint64 *uncertainty_us);

/** One round: what to poll, until when, and what to do then. */
gsize session_poll(Session *session, struct pollfd *entries, gsize room);
gint64 session_wake_us(const Session *session, gint64 now_us);
void session_run(Session *session, const struct pollfd *entries);
enum { SESSION_POLL_MAX = 1 + FLYWAY_LINKS + 3 + SESSION_HELLOS + FLYWAY_LANES };

/* ---- strand.c: the connections --------------------------------------------------------------- */

/** OPEN or CUT. */
gboolean session_is_open(const Session *session);
/** Closes it, if it lives; what it carried is sent again. fault: why, where it wasn't our wish. */
void strand_drop(Session *session, Strand *strand, const Fault *fault);
/** The connection of an ACCEPTED hello takes its slot. The session has a line. */
void strand_attach(Session *session, Hello *hello, gint64 now_us);
/** Source: a further connection came to nothing. */
void strand_refused(Session *session, guint slot, const Fault *fault);
gint64 strands_wake_us(const Session *session);
/** Pings, gives up what is silent, asks for what is missing. */
void strands_run_time(Session *session, gint64 now_us);

/** For traffic.c: how many lanes of a kind are in use. */
guint session_lanes(const Session *session, LaneKind kind);
/** For traffic.c: the counter of a kind's payload bytes, both directions. */
guint64 *session_carried(Session *session, LaneKind kind);
/** For traffic.c: what a new stream lane needs; NULL: none. */
Unpacker *session_unpacker(Session *session);

/** Do bytes wait here to be sent by TCP? */
gboolean strands_are_busy(const Session *session);
/** Tells the lanes the longest round trip of the connections. */
void strands_pace(Session *session);

/** For strand.c: OPEN becomes CUT. */
void session_cut(Session *session);
/** Fails with what ended the last connection. */
void session_fail_lost(Session *session, const char *advice);

/* ---- traffic.c: frames between the session and its link -------------------------------------- */

/** Receives and acts on frames of a connection as far as there are. FALSE with fault: the session
 * can't go on. *lost: the connection has ended, fault says why. */
gboolean traffic_receive(Session *session, Strand *strand, gint64 now_us, gboolean *lost,
                         Fault *fault);
/** Sends what is due and what lanes have over a connection, as far as it takes it. Likewise. */
gboolean traffic_send(Session *session, Strand *strand, gboolean *lost, Fault *fault);
/** Tells the peer that this side has failed, as far as the connection takes it at once. */
void traffic_abort(Strand *strand, const char *why);
