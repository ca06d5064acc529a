/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "motion/announce.h"
#include "motion/motion_private.h"
#include "motion/recollect.h"

typedef enum { WORD_NONE, WORD_GONE, WORD_RUNS } SourceWord;

struct Destination {
    gatomicrefcount references;
    /* read-only after start */
    Motion *motion;
    Runner runner;
    ReservationRequest *request;
    char *folder, *stream_socket, *disks_socket, *ticket;
    gboolean recovering;
    gsize first_stage;
    GCancellable *leaving;

    /* runner's thread */
    Worker *worker;
    Recollection recalled; /* what the worker told of it before it ended */
    Announcer *announcer;
    HttpClient *peer;
    GPtrArray *notes;   /* warnings, strings */
    GSource *ask_timer; /* set: the source is being asked what became of the VM */
    guint ask_ms;
    gboolean stream_given, alarmed;
    gboolean
        worker_told_end;  /* it said itself that it failed or ended: its status is its last word */
    gboolean worker_lost; /* its process is gone */

    GMutex lock;
    GCond changed;
    /* under lock */
    IncomingState state;
    char *reason;
    SourceWord word;
    gboolean reserved, verified, released;
    GError *refused;
    gint64 resumed_us, first_frame_us, announced;
    GStrv warnings;

    gint over;  /* atomic: but for keeping its pages */
    gint ended; /* atomic */
};

/* ---- destination_stages.c ---- */
extern const Stage destination_stages[];
extern const gsize destination_n_stages;
#define DESTINATION_STAGE_COPY 2   /* index: from here on libvirt may have something of the VM */
#define DESTINATION_STAGE_SWITCH 3 /* where a restarted godwitd goes on */
#define RESERVATION_SECONDS 60

/* ---- destination.c, for the stages ---- */
/** Moves to a state, if the table of moves allows; logs it. reason may be NULL. */
void destination_set_state(Destination *destination, IncomingState state, const char *reason);
SourceWord destination_word(Destination *destination);
void destination_note_warnings(Destination *destination);
/** Raises one alarm per migration. takes text */
void destination_alarm(Destination *destination, char *text);
