/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/protocol.h"

/**
 * Whose turn it is among a session's lanes for streams and disks: who sent less goes first. Pure.
 * See turns.c.
 */
#define TURNS_DISKS_COST 4 /* a byte of a disk counts as so many of a stream */
/** Of what a lane didn't use while it had nothing to send, so much is made up for, in bytes. */
#define TURNS_ALLOWANCE FRAME_SIZE_MAX

typedef struct {
    guint64 now; /* where the one that was served last began */
    guint64 at;  /* where all disks together have come to */
    guint64 disks_now;
    guint64 lanes[FLYWAY_LANES]; /* where each has come to; a disk's: among disks */
} Turns;

/**
 * Fills in the indexes of lanes in the order in which they are to be asked for a frame; returns how
 * many. kinds: of each lane, 0 where it isn't in use; rpc lanes have no turn. streams_first: disks
 * get only what streams leave.
 */
guint turns_order(const Turns *turns, const LaneKind kinds[FLYWAY_LANES], gboolean streams_first,
                  guint8 order[FLYWAY_LANES]);
/** A lane has sent a frame of so many bytes. */
void turns_sent(Turns *turns, guint lane, LaneKind kind, gsize bytes);
