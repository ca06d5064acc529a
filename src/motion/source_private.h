/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "motion/controller.h"
#include "motion/motion_private.h"
#include "motion/recollect.h"

/** libvirt's blocking migrate call in a thread of its own, so that the runner goes on serving
 * events. */
typedef struct {
    GThread *thread;
    HvMigrate how; /* strings owned by Source */
    /* written by the call's thread before `done`, read by the runner after it */
    gboolean ok;
    GError *error;
    gint done; /* atomic */
} MigrateCall;

struct Source {
    /* read-only after start */
    Motion *motion;
    Runner runner;
    MigrationRequest *request;
    char *folder, *rpc_socket, *stream_socket, *disks_socket;
    gint64 origin_us; /* monotonic start; of this godwitd's life where it was restarted */
    gboolean recovering;
    gsize first_stage;

    /* runner's thread */
    Vm *vm;
    Host *host;
    Reservation *reservation;
    HttpClient *peer;
    Worker *worker;
    Recollection recalled; /* what the worker told of it before it ended */
    int rpc_listener, stream_listener;
    MigrateCall call;
    Controller controller;
    GSource *progress_timer;
    Incoming *incoming;       /* the destination's last word */
    gint64 job_pages;         /* that QEMU has counted, when it was asked last */
    gint64 suspended_us;      /* CPUs stopped for the switch; 0 = not seen */
    gint64 resumed_us;        /* CPUs started there, in our clock; 0 = unknown */
    gint64 offset_us;         /* added to the destination's clock gives ours */
    gboolean storage_proved;  /* see shared.h */
    GError *connection_error; /* no address of the destination could be reached */
    guint n_dials, dialled;   /* connections being made; asked for so far */
    GCancellable *dialling;
    gboolean clock_known, abort_sent, told_destination, gave_up_telling, alarmed;
    gboolean worker_gone; /* its process has ended */

    GMutex lock;
    Migration *report; /* under lock */

    gint cancel;           /* atomic */
    gint moved;            /* atomic: past the point of no return */
    GCancellable *leaving; /* for calls to the peer when godwitd stops */
};

/* ---- source_stages.c ---- */
extern const Stage source_stages[];
extern const gsize source_n_stages;
/** Sets why the data connection failed, in words that say what to do. FALSE where it didn't. */
gboolean source_worker_failure(Source *source, GError **error);
/** The end: the worker completes the set of the migration's pages (nobody waits for it but the next
 * migration), then goes. */
void source_seal(Source *source);
#define SOURCE_STAGE_SWITCH 4 /* index: where a restarted godwitd goes on */

/* ---- source_fate.c ---- */
/**
 * Finds out what became of the VM once libvirt's call has ended (or was lost with godwitd's
 * restart), and makes both sides agree. TRUE: it runs on the destination (source->incoming is
 * filled). FALSE with error: it runs here. Doesn't return while neither is known.
 */
gboolean source_settle(Source *source, GError **error);
/** Tells the destination that the VM stays here: once, with a few tries; the destination asks by
 * itself where it could not be told. */
void source_tell_runs(Source *source);

/* ---- source.c, for the other two ---- */
void source_publish(Source *source);
void source_set_result(Source *source, MigrationResult result, const GError *error);
void source_warn(Source *source, char *text); /* takes text */
gboolean source_cancelled(Source *source, GError **error);
JsonNode *source_call_peer(Source *source, const char *method, const char *path, JsonNode *body,
                           GError **error);
/** Ends with the words that tell an administrator where the VM is. */
void source_stage_detail(Source *source, char *text); /* takes text; of the stage at work */
