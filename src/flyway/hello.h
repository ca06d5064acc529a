/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/link.h"

/** What a session's hello must say; the same at both ends, seen from each. */
typedef struct {
    FlywaySide side; /* ours */
    guint8 id[16], vm[16], self[16], peer[16];
    guint8 ticket[32];
    gint64 expires_us; /* destination: monotonic; no hello is accepted later */
    gboolean used;     /* destination: the first hello was accepted */
} HelloTerms;

typedef enum {
    HELLO_TLS,      /* handshake. Leaves by its end */
    HELLO_EXCHANGE, /* source: HELLO is on its way; destination: awaited. By HELLO or its reply */
    HELLO_REFUSING, /* destination: a reply that says no is on its way. By its last byte */
    HELLO_ACCEPTED, /* final: the link is the session's; destination: the reply is in its tx yet */
    HELLO_FAILED,   /* final: fault tells why */
} HelloState;

/** One connection that isn't trusted yet. */
typedef struct {
    HelloState state;
    Link *link;         /* owned until taken with hello_take */
    gint64 deadline_us; /* monotonic */
    int poll_index;
    Fault fault;
    guint8 slot;       /* source: from the start; destination: ACCEPTED */
    gboolean further;  /* likewise: the session was open already */
    guint64 abilities; /* ACCEPTED: those of both */
} Hello;

/** Destination: the verdict on a hello; text (FRAME_TEXT_MAX + 1 bytes) says why not. Pure. */
FlywayCode hello_judge(const HelloTerms *terms, const FrameHello *hello, gint64 now_us, char *text);

/** Takes fd. state is HELLO_FAILED where TLS can't be set up. slot and further are the source's. */
void hello_begin(Hello *hello, const HelloTerms *terms, const LinkKeys *keys, int fd,
                 gint64 now_us);
/** Goes on as far as it goes. Destination: on acceptance terms->used is set. */
void hello_run(Hello *hello, HelloTerms *terms, gint64 now_us);
/** (transfer full) of an ACCEPTED one. */
Link *hello_take(Hello *hello);
/** Ends it, whatever its state. */
void hello_end(Hello *hello);
