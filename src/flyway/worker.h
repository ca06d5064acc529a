/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include "flyway/recall_service.h"
#include "net/identity.h"

/**
 * godwitd's end of a flyway worker: starting it, and the control channel.
 *
 * The worker is a process of its own (godwit-flyway), not root, and outlives godwitd: it listens on a SOCK_SEQPACKET unix socket in the migration's
 * folder (made here, passed in), so that a restarted godwitd finds it again with worker_attach. Messages are one JSON object per datagram, at most
 * 64 KiB, descriptors beside them; the list is in flyway/control.h. The worker accepts one controller at a time (the newest wins) and
 * only of its own starter's uid.
 *
 * Thread: all functions and the callback belong to the context given at start.
 */
#define FLYWAY_THREADS 16 /* that pack, at most */
#define FLYWAY_RESUME_S 20 /* libvirt's own keepalive ends its connection after 30 s */
typedef enum { WORKER_SOURCE, WORKER_DESTINATION } WorkerSide;
typedef struct Worker Worker;

typedef enum {
    WORKER_STARTING,  /* process made, nothing heard */
    WORKER_READY,     /* waits for a connection to the peer */
    WORKER_OPEN,      /* both sides proved who they are; lanes may open */
    WORKER_FAILED,    /* ended with an error: final */
    WORKER_ENDED,     /* ended as asked: final */
} WorkerState;

/** Everything the worker has told, also after godwitd was restarted. */
typedef struct {
    WorkerState state;
    int pid;
    gint64 wire_bytes;           /* sent + received on TCP, with TLS; this side's view */
    gint64 rpc_bytes, stream_bytes, nbd_bytes; /* payload carried, both directions */
    gint64 resent_bytes;         /* of wire_bytes: frames sent once more after a connection was lost; this side's */
    int connections;             /* that live; OPEN with 0: all were lost, it waits to be resumed */
    int resumes;                 /* how often it went on after that */
    struct {
        gint64 zero, same, recalled, delta, compressed, raw;
    } pages;                     /* source: page records of the stream, each in one of these; raw: also those that passed unpacked */
    struct {
        int sets;                /* source: older ones agreed on */
        gint64 asked, found;     /* source: pages looked for in them */
        gint64 sealed;           /* pages of this session's own set, when it is complete: just before the end; 0: there is none */
    } recall;
    gint64 direct_bytes;         /* source: of stream_bytes, those that passed unpacked, the link being faster than packing */
    gboolean finish_forwarded;   /* Finish call went to the destination's libvirt */
    gboolean proved;             /* source: Finish's good reply was read by the source's libvirt. destination: the peer worker told so */
    gint64 proved_us;            /* monotonic here */
    gboolean finish_refused;     /* Finish's reply was an error (or never comes any more): the source's libvirt will resume its VM */
    gboolean finish_unsettled;   /* source: the good reply was handed over, but the source's libvirt closed its connection before it was
                                  * seen to have read it: nothing was told to the peer; only that libvirt knows what became of its VM */
    gint64 peer_clock_offset_us; /* to be added to the peer host's monotonic clock to get ours */
    gint64 peer_clock_uncertainty_us; /* -1: not measured */
    GError *error;               /* FAILED */
    char *tls;                   /* "TLS1.3 AES-256-GCM …" */
} WorkerStatus;

typedef enum {
    WORKER_EVENT_STATE,          /* state changed */
    WORKER_EVENT_WANT_CONNECTION,/* source: connect to the destination and worker_give_connection it, or worker_no_connection (address known by
                                  * the caller). At the start, and again for each further one that is missing */
    WORKER_EVENT_WANT_RPC,       /* destination: give a descriptor to the local libvirt, or worker_refuse_lane */
    WORKER_EVENT_WANT_STREAM,    /* destination: give one connected to QEMU's incoming socket, or refuse */
    WORKER_EVENT_WANT_NBD,       /* destination: give one connected to QEMU's NBD server, or refuse */
    WORKER_EVENT_PROVED,         /* see WorkerStatus.proved; as fast as it can be */
    WORKER_EVENT_GONE,           /* the process has ended (or the control channel is lost for good) */
} WorkerEvent;

typedef void (*WorkerFunc)(Worker *worker, WorkerEvent event, gpointer data);

typedef struct {
    WorkerSide side;
    const char *program;      /* absolute path of godwit-flyway; executed by descriptor, as user */
    const char *user;         /* unprivileged system user */
    const char *folder;       /* the migration's folder: control socket is made here as "source.control" / "destination.control" */
    const char *id;           /* migration */
    const char *vm_uuid;
    const char *self_uuid, *peer_uuid; /* hosts */
    const char *ticket;       /* 64 hex digits */
    gint64 ticket_expires_s;  /* destination: the hello must come within */
    int resume_s;             /* so long may nothing be heard from the peer; 0: FLYWAY_RESUME_S */
    int connections;          /* source: how many there shall be; 0: 1 */
    int threads;              /* source: that pack pages, at most FLYWAY_THREADS; 0: half of the cores */
    gint64 max_bps;           /* source: what QEMU's streams and disks may take of the network, bytes per second, until worker_hurry; 0: no cap */
    const RecallLoan *recall; /* what it may recall and keep; NULL: nothing. Descriptors are passed on */
    const Identity *identity; /* passed in a sealed memory file */
    int rpc_listener;         /* source: listening unix socket for libvirt's RPC; passed on; -1 at destination */
    int stream_listener;      /* source: for QEMU's stream */
    int nbd_listener;         /* source: for QEMU's NBD, a connection a disk; 0 or -1: no disk is copied */
} WorkerConfig;

/** (transfer full) */
Worker *worker_start(const WorkerConfig *config, GMainContext *context, WorkerFunc func, gpointer data, GError **error);
/** Finds a running worker again by the folder's control socket; NOT_FOUND where nobody listens. */
Worker *worker_attach(WorkerSide side, const char *folder, GMainContext *context, WorkerFunc func, gpointer data, GError **error);
const WorkerStatus *worker_status(const Worker *worker);
/** Its last state is reached: FAILED or ENDED. The process may live on for a while. */
gboolean worker_is_over(const Worker *worker);
/** Asks for fresh counters; WORKER_EVENT_STATE follows. */
void worker_refresh(Worker *worker);
void worker_give_connection(Worker *worker, int fd); /* takes fd: connected TCP, preamble done */
/** Source: none can be had at the moment. While the session is open, WANT_CONNECTION comes again. */
void worker_no_connection(Worker *worker);
void worker_give_lane(Worker *worker, WorkerEvent which, int fd); /* takes fd */
void worker_refuse_lane(Worker *worker, WorkerEvent which, const char *why);
/** Orderly end: lanes are flushed as far as they go, the process ends. Idempotent. */
void worker_end(Worker *worker);
/** The VM has stopped: from now on recall doesn't wait for the disk, and the cap is lifted. */
void worker_hurry(Worker *worker);
/** Ends it now (SIGKILL by pidfd). */
void worker_kill(Worker *worker);
/** Lets go of it without ending it (godwitd's own stop). */
void worker_free(Worker *worker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Worker, worker_free)

/* ---- preamble: before TLS, tells godwitd's listener which worker a connection is for ---------- */
#define FLYWAY_PREAMBLE_SIZE 24 /* "GWFLY\0\0\1" and the migration's UUID, 16 bytes */
void flyway_preamble_make(guint8 out[FLYWAY_PREAMBLE_SIZE], const char *id);
/** id: 37 bytes. PROTOCOL where it isn't one. */
gboolean flyway_preamble_parse(const guint8 in[FLYWAY_PREAMBLE_SIZE], char id[37], GError **error);
