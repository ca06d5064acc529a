/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/session.h"
#include "rig.h"

/**
 * Two sessions in one process, without godwitd: the test gives them connections and sockets, runs
 * their rounds, and turns the clock (the linker puts __wrap_clock_monotonic_us in its place). Or
 * one of them, and the test plays the other.
 */
#define SECOND G_USEC_PER_SEC
#define PEERS 16

typedef struct {
    Rig *rig;             /* identities and listeners */
    Session *sessions[2]; /* by FlywaySide; NULL: the test plays it */
    int give;             /* a connection for the source, whose other end is the test's; -1 */
    gboolean hold;        /* no connections at present */
    gboolean refuse;      /* no sockets at the destination */
    gint64 wait_us;       /* at most so long for the sessions' descriptors */
    guint refused;        /* connections that were */
    int cuts[FLYWAY_LINKS], ends[FLYWAY_LINKS]; /* duplicates: the source's, the destination's */
    gboolean cut_now;                           /* in the next round, after poll */
    guint n_connections;
    int peers[3][PEERS]; /* the destination's libvirt and QEMU, in order */
    guint n_peers[3];
} Duo;

/** The clock goes on by so much. */
void turn(gint64 by_us);
/** What a side's hello must say. */
HelloTerms terms_of(const Rig *rig, FlywaySide side);
/** READY. */
Session *make_session(const Rig *rig, FlywaySide side, guint connections);
/** Both sessions, READY; connections 0: only the destination. */
void duo_up(Duo *duo, guint connections);
/** Ends it without a word. */
void drop_session(Duo *duo, FlywaySide side);
/** Frees everything. */
void duo_down(Duo *duo);
/** One round of both; answers what they ask for. */
void round_of(Duo *duo);
/** Both, OPEN, with so many connections. */
void duo_open(Duo *duo, guint connections);
/** A lane; returns the source's local end, the destination's is in peers. */
int open_lane(Duo *duo, guint which);
/** What is on its way is lost. */
void cut_all(Duo *duo);
/** Waits until the session fails; part: of the text. */
void assert_failed(Duo *duo, FlywaySide side, GodwitError code, const char *part);

/** Runs rounds until the condition holds; fails after 40 s. */
#define UNTIL(duo, condition)                                                                      \
    do {                                                                                           \
        gint64 until_us = g_get_monotonic_time() + 40 * SECOND;                                    \
        while (!(condition)) {                                                                     \
            if (g_get_monotonic_time() > until_us)                                                 \
                g_error("%s:%d: waited in vain for: %s", __FILE__, __LINE__, #condition);          \
            round_of(duo);                                                                         \
        }                                                                                          \
    } while (0)
