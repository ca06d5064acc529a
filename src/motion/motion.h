/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_service.h"
#include "hv/hv.h"
#include "net/identity.h"

/**
 * Migrations of one host, out and in. Owned by godwitd's main loop: every function is called there
 * (and returns quickly) unless it says "any thread". Work that blocks runs in one thread per
 * migration; see motion/source.c and motion/incoming.c for the theory of operation,
 * docs/architecture.md for the whole.
 */
typedef struct Motion Motion;

typedef struct {
    void (*migration_changed)(const Migration *migration,
                              gpointer data); /* outgoing: stage, progress, result */
    void (*vm_changed)(const char *vm_uuid,
                       gpointer data); /* began or ended being in a migration */
    void (*alarm)(const Alarm *alarm, gpointer data);
} MotionNotify;

typedef struct {
    Hv *hv;                   /* not owned */
    RecallService *recall;    /* not owned; NULL: migrations go without */
    const Identity *identity; /* not owned */
    const char *host_name;    /* of this host */
    const char *state_dir;    /* journals and reports: state_dir/migrations */
    const char *run_dir;      /* sockets: run_dir/migration/ID */
    const char *flyway_program, *flyway_user;
    guint flyway_resume_s;       /* so long may a session be without connections; 0: 20 */
    guint flyway_connections;    /* of an outgoing migration, at least: one for each address of the
                                    destination, at most 8 */
    guint flyway_threads;        /* of a worker; 0: half of the cores */
    gint64 max_bps;              /* of each outgoing migration, bytes per second; 0: no cap */
    const char *control_address; /* where other agents reach ours */
    guint control_port;
    const char *const *migration_addresses; /* ours */
    guint migration_port;
    guint max_outgoing, max_incoming; /* at once */
    guint keep_reports;               /* ended ones kept on disk */
    gint64 memory_headroom_bytes;     /* never given to incoming VMs */
    MotionNotify notify;
    gpointer data;
} MotionConfig;

/** Reads the journals and settles or goes on with what it finds. Strings are copied. */
Motion *motion_new(const MotionConfig *config, GError **error);
/** Lets go: running migrations go on by their workers and libvirt; waits for threads at most a few
 * seconds. */
void motion_free(Motion *motion);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Motion, motion_free)

/* Source. */
Migration *motion_start(Motion *motion, const MigrationRequest *request,
                        GError **error); /* (transfer full) as accepted; same id again: the same */
gboolean motion_cancel(Motion *motion, const char *id,
                       GError **error); /* CONFLICT past the point of no return */
GPtrArray *
motion_list(Motion *motion); /* Migration copies: running, and the kept reports, newest first */
Migration *motion_get(Motion *motion, const char *id, GError **error);

/* Destination; peer_uuid is the certificate's. Any thread (they block). */
Reservation *motion_reserve(Motion *motion, const ReservationRequest *request,
                            const char *peer_uuid, GError **error);
Incoming *motion_incoming(Motion *motion, const char *id, const char *peer_uuid, GError **error);
/** The source's word on its own VM: "gone" (stopped here for good: start it there) or "runs" (it
 * goes on here: clean up there). */
Incoming *motion_settle(Motion *motion, const char *id, const char *peer_uuid, const char *source,
                        GError **error);

/** A connection accepted on the flyway port: takes fd, reads the preamble without blocking, hands
 * it to the worker it is for. */
void motion_take_connection(Motion *motion, int fd);
/** Forward libvirt's events. */
void motion_hv_event(Motion *motion, const HvEvent *event);

gint64 motion_reserved_bytes(Motion *motion); /* any thread */
char *motion_of_vm(Motion *motion,
                   const char *vm_uuid); /* any thread; (transfer full) id or NULL */
