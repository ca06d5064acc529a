/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/worker.h"

/**
 * Two real workers on this machine, both controlled from here, joined by loopback TCP: each with
 * a certificate of a CA of its own making. The test plays libvirt and QEMU at both ends.
 *
 * What workers ask for is given at once unless the test says otherwise. A worker started with
 * rig_start_other plays whoever else comes: its connection goes to the destination too.
 */
typedef struct Rig Rig;

typedef struct {
    Rig *rig;
    Worker *worker;
    guint seen[WORKER_EVENT_GONE + 1]; /* events so far */
} RigEnd;

typedef struct {
    const char *ticket, *vm, *id; /* NULL: the right ones */
    const Identity *identity;
    gint64 expires_s; /* 0: 60 */
} RigOther;

#define RIG_PEERS 16
#define RIG_LINKS 8

struct Rig {
    char *dir;
    Identity *identities[2];
    char *hosts[2], *id, *vm, *ticket;
    gint64 expires_s; /* of the destination's ticket */
    gboolean hold_connection, hold_lanes, refuse_lanes;
    RigEnd source, destination, other;
    int listeners[3];          /* rpc, stream, nbd */
    int tcp[2];                /* duplicates of the source's and the destination's first TCP ends */
    int links[RIG_LINKS];      /* duplicates of the source's ends, the newest last; -1: none */
    guint n_connections;       /* given so far */
    int resume_s, connections; /* of both workers */
    int peers[3][RIG_PEERS];   /* sockets of the destination's libvirt and QEMU, in order */
    guint n_peers[3];
    char *nbd_server; /* NULL: the test is it; else the path of its socket */
    guint tick;
};

enum { RIG_RPC = 0, RIG_STREAM = 1, RIG_NBD = 2 };

/** Makes all but the workers. */
Rig *rig_new(void);
void rig_free(Rig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)
void rig_start_source(Rig *rig);
void rig_start_destination(Rig *rig);
/** Both, and waits until the session is open. */
Rig *rig_open(void);
/** The same with so many seconds to resume, and connections. */
Rig *rig_open_with(int resume_s, int connections);
/** No more connections, and those there are end: both sides fail after resume_s. */
void rig_lose(Rig *rig);
/** One more source, into rig->other. */
void rig_start_other(Rig *rig, const RigOther *other);
/** An identity of another cluster for the same host. */
Identity *rig_foreign_identity(Rig *rig);

/** A lane: fds[0] is the source's local end, fds[1] the destination's. */
void rig_lane(Rig *rig, int which, int fds[2]);
int rig_connect(Rig *rig, int which);
/** Gives up rig->tcp: only the workers hold their connection then, so that its end is seen. */
void rig_drop_tcp(Rig *rig);
/** Ends the connections that the source has. */
void rig_cut(Rig *rig);
/** Loopback TCP; fds[0] connected to fds[1]. */
void rig_tcp_pair(int fds[2]);
/** Fresh counters of a worker that lives. */
const WorkerStatus *rig_refresh(RigEnd *end);
WorkerState rig_state(const RigEnd *end);

/** Runs the main loop until the condition holds; fails after 40 s. */
#define RIG_UNTIL(condition)                                                                       \
    do {                                                                                           \
        gint64 rig_deadline_us = g_get_monotonic_time() + 40 * G_USEC_PER_SEC;                     \
        while (!(condition)) {                                                                     \
            if (g_get_monotonic_time() > rig_deadline_us)                                          \
                g_error("%s:%d: waited in vain for: %s", __FILE__, __LINE__, #condition);          \
            g_main_context_iteration(NULL, TRUE);                                                  \
        }                                                                                          \
    } while (0)

void rig_write(int fd, const void *bytes, gsize length);
void rig_read(int fd, void *bytes, gsize length);
/** Reads to the end of file. */
void rig_read_end(int fd);
/** Bytes in the socket to be read. */
int rig_readable(int fd);
