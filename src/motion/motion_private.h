/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/worker.h"
#include "motion/motion.h"
#include "motion/runner.h"
#include "net/http_client.h"

/** What both sides share. Read-only after motion_new, but for what stands under `lock`. */
struct Motion {
    MotionConfig config;   /* strings owned */
    GMainContext *context; /* main loop's */
    char *folder;          /* state_dir/migrations */
    GMutex lock;
    /* under lock */
    GHashTable *sources;      /* id → Source, running */
    GHashTable *destinations; /* id → Destination, running and the last ended ones */
    GHashTable *reports;      /* id → Migration, ended */
};

typedef struct Source Source;
typedef struct Destination Destination;

/* ---- source.c: functions of the main context unless said otherwise ---- */
Source *source_new(Motion *motion, const MigrationRequest *request, GError **error);
/** Goes on with what a journal tells. */
Source *source_recover(Motion *motion, const char *id, GPtrArray *lines, GError **error);
gboolean source_cancel(Source *source, GError **error);
Migration *source_report(Source *source); /* any thread; a copy */
const char *source_vm(Source *source);    /* UUID; any thread */
void source_hv_event(Source *source, const HvEvent *event);
void source_leave(Source *source);
void source_free(Source *source); /* waits for its thread */

/* ---- destination.c ---- */
/** The first reference is the caller's. */
Destination *destination_new(Motion *motion, const ReservationRequest *request, GError **error);
Destination *destination_recover(Motion *motion, const char *id, GPtrArray *lines, GError **error);
/** Blocks until it is reserved or refused. (transfer full) */
Reservation *destination_wait_reserved(Destination *destination, GError **error);
/** Blocks until the word has been acted upon, or ten seconds. (transfer full) */
Incoming *destination_settle(Destination *destination, gboolean source_gone);
Incoming *destination_tell(Destination *destination); /* any thread */
const char *destination_vm(Destination *destination);
const char *destination_peer(Destination *destination);
gboolean destination_is_ended(Destination *destination);
/** The migration is over, though its pages may be kept yet. */
gboolean destination_is_over(Destination *destination);
gboolean source_is_ended(Source *source); /* likewise */
gint64 destination_reserved_bytes(Destination *destination);
void destination_give_connection(Destination *destination, int fd); /* takes fd */
void destination_leave(Destination *destination);
void destination_release(
    Destination *destination); /* once it has ended: joins its thread, closes its descriptors */
Destination *destination_ref(Destination *destination); /* any thread */
void destination_unref(Destination *destination);       /* the last one waits for its thread */

/* ---- motion.c: for both sides, any thread ---- */
/** A migration's folder for sockets: run_dir/migration/ID. (transfer full) */
char *motion_folder(Motion *motion, const char *id);
/** The unix socket of QEMU's stream, the same on both hosts: folder/qemu/stream.sock. (transfer
 * full) */
char *motion_stream_socket(Motion *motion, const char *id);
/** The unix socket of QEMU's NBD, likewise: folder/qemu/disks.sock. (transfer full) */
char *motion_disks_socket(Motion *motion, const char *id);
/** Makes the folder (0711) and its `qemu` subfolder (0700, owned by owner "uid:gid" or, NULL, by
 * us). */
gboolean motion_make_folder(Motion *motion, const char *id, const char *owner, GError **error);
void motion_remove_folder(Motion *motion, const char *id);
char *motion_journal_path(Motion *motion, const char *id, const char *side);
/** A client for the agent of a peer. Belongs to the calling thread. */
HttpClient *motion_peer(Motion *motion, const Peer *peer, guint timeout_s, GError **error);
/** Hands a connection to the destination that it is for, or closes it. takes fd */
void motion_route_connection(Motion *motion, const char *id, int fd);
/** Calls notify.* in the main context; migration is copied. */
void motion_publish(Motion *motion, const Migration *migration);
void motion_publish_vm(Motion *motion, const char *vm_uuid);
/** One alarm of one migration, told once per text. message: printf. */
void motion_alarm(Motion *motion, const char *id, const char *vm,
                  char *message); /* takes message */
/** The source's thread ended: report is kept on disk and in memory, the Source freed. */
void motion_source_ended(Motion *motion, const char *id);
/** A destination's thread has ended: it is joined, its descriptors closed. */
void motion_destination_ended(Motion *motion, const char *id);
/** Writes a report durably. */
gboolean motion_save_report(Motion *motion, const Migration *report, GError **error);
