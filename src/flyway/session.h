/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/clock.h"
#include "flyway/hello.h"
#include "flyway/lane.h"

/**
 * A session: everything of one migration that two workers share. See session.c for the theory of
 * operation. One thread; nothing blocks; times are monotonic microseconds.
 */
typedef enum {
    SESSION_STARTING, /* nothing known yet. Leaves by session_start */
    SESSION_READY,    /* source: wants a connection; destination: awaits the right hello. By it, or
                         FAILED */
    SESSION_OPEN,     /* lanes open and carry. By session_leave, the peer's BYE, or FAILED */
    SESSION_LEAVING,  /* lanes are emptied, then BYE. By that, or its deadline */
    SESSION_FAILED,   /* final: fault. Only Finish's reply may be watched yet */
    SESSION_ENDED,    /* final: as asked, here or by the peer */
    SESSION_N_STATES
} SessionState;

enum { SESSION_HELLOS = 4, SESSION_SAMPLES = 8 };

/** Session frames to be sent, in this order. */
enum {
    SESSION_DUE_PROVED = 1 << 0,
    SESSION_DUE_REFUSED = 1 << 1,
    SESSION_DUE_PONG = 1 << 2,
    SESSION_DUE_PING = 1 << 3,
    SESSION_DUE_BYE = 1 << 4,
};

typedef struct {
    SessionState state;
    Fault fault;

    /* read-only after start */
    HelloTerms terms; /* but for .used */
    LinkKeys *keys;
    int listeners[2]; /* source: rpc, stream; -1 otherwise */

    Link *link; /* OPEN and LEAVING; NULL once lost */
    Hello hellos[SESSION_HELLOS];
    guint n_hellos;           /* begun so far */
    Lane lanes[FLYWAY_LANES]; /* lane n at n - 1 */
    guint next_lane;          /* whose turn it is among the streams */
    Finish finish;
    FinishState finish_known;          /* what was told to the peer and upwards */
    int link_index, listener_index[2]; /* in the round's pollfds */

    guint32 wants;           /* questions to godwitd so far */
    guint32 want_connection; /* READY source: number of that question; 0 = none */
    gboolean said_bye;       /* LEAVING: BYE is due or sent */
    gboolean changed;        /* something that godwitd has to hear: the reader clears it */

    guint due;
    guint64 pong_of_us; /* clock of the PING to be answered */
    gint64 heard_us, pinged_us, leave_by_us;
    ClockSample samples[SESSION_SAMPLES];
    guint n_samples; /* so far */

    guint64 wire_bytes_before; /* of connections that ended */
    guint64 rpc_bytes, stream_bytes;
    char tls[96];
} Session;

typedef struct {
    HelloTerms terms;
    const Identity *identity;          /* not kept */
    int rpc_listener, stream_listener; /* taken; -1 at the destination */
} SessionConfig;

typedef struct {
    guint32 number;
    enum { WANT_CONNECTION, WANT_RPC, WANT_STREAM } what;
} SessionWant;

void session_init(Session *session);
void session_start(Session *session, const SessionConfig *config);
void session_clear(Session *session);

/** What godwitd is asked for at present; returns how many (at most FLYWAY_LANES + 1). */
gsize session_wants(const Session *session, SessionWant out[FLYWAY_LANES + 1]);
/** Take fd. An answer to a question that is no more is dropped. The destination isn't asked for
 * connections. */
void session_give_connection(Session *session, guint32 want, int fd);
void session_give_lane(Session *session, guint32 want, int fd);
void session_refuse_lane(Session *session, guint32 want, const char *why);
/** Orderly end; ENDED follows soon. */
void session_leave(Session *session);
void session_fail(Session *session, const Fault *fault);
gboolean session_is_final(const Session *session);

guint64 session_wire_bytes(const Session *session);
/** Offset of the peer's monotonic clock to ours; FALSE where none was measured. */
gboolean session_clock(const Session *session, gint64 *offset_us, gint64 *uncertainty_us);

/** One round: what to poll, until when, and what to do then. */
gsize session_poll(Session *session, struct pollfd *entries, gsize room);
gint64 session_wake_us(const Session *session, gint64 now_us);
void session_run(Session *session, const struct pollfd *entries);
enum { SESSION_POLL_MAX = 1 + 2 + SESSION_HELLOS + FLYWAY_LANES };

/* ---- traffic.c: frames between the session and its link -------------------------------------- */

/** Receives and acts on frames as far as there are. FALSE with fault: the session can't go on. */
gboolean traffic_receive(Session *session, gint64 now_us, Fault *fault);
/** Sends what is due and what lanes have, as far as the link takes it. */
gboolean traffic_send(Session *session, Fault *fault);
