/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/crew.h"
#include "flyway/known.h"
#include "flyway/policy.h"
#include "flyway/stream.h"

/**
 * The source's side of a stream lane: bytes of QEMU's socket become batches that are packed by a
 * crew, and come out in order. Belongs to the loop's thread. See packer.c.
 */
typedef struct Packer Packer;

/** What became of the stream's page records, each in one of these. raw: as QEMU wrote them. */
typedef struct {
    guint64 zero, same, recalled, delta, compressed, raw;
    guint64 direct_bytes; /* of the stream, that weren't packed */
} PackerCounts;

/** total (kept): where its counts are added when it is freed. Crew and known (may be NULL) are
 * kept, not owned; the crew's tools must be tools_new()'s (tools.h). */
Packer *packer_new(Crew *crew, Known *known, PackerCounts *total);
/** Pages that come again go as differences, from the first batch on; the destination's does so,
 * too. To be called before any batch. */
void packer_remember(Packer *packer);
/** Waits for batches that the crew has. */
void packer_free(Packer *packer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Packer, packer_free)

/** Does what is read now go as it is, DATA, and not through the packer? Then tell packer_direct. */
gboolean packer_is_aside(Packer *packer);
void packer_direct(Packer *packer, const guint8 *bytes, gsize length);

/** Where the next bytes of the socket go; room 0: every batch is in use. */
guint8 *packer_room(Packer *packer, gsize *room);
/** So many were put there. */
void packer_filled(Packer *packer, gsize length);
/** The socket has no more at the moment: nothing waits for company. */
void packer_flush(Packer *packer);

/** Moves on what the crew has done. */
void packer_run(Packer *packer);
/** The next batch that is packed; NULL: none yet. */
const PageBatch *packer_ready(const Packer *packer);
/** It went out. */
void packer_sent(Packer *packer);
/** The destination has delivered so many bytes more. */
void packer_delivered(Packer *packer, guint64 bytes);
/** The destination misses a page of a set in that batch. FALSE: it has been delivered, or never
 * sent. */
gboolean packer_missed(Packer *packer, guint32 batch, guint32 set);
/** The next batch to be sent again, without references, until packer_sent_again(); NULL: none. */
const PageBatch *packer_again(Packer *packer, guint32 *number);
void packer_sent_again(Packer *packer);
/** Nothing is in it. */
gboolean packer_is_empty(const Packer *packer);

/** What kept a packer from going on. */
typedef enum {
    PACKER_BY_LINK,        /* what is packed waited for a connection */
    PACKER_BY_DESTINATION, /* it waited for bytes to be delivered there */
    PACKER_BY_SOURCE,      /* QEMU had none */
    PACKER_BY_CUT,         /* there was no connection: nothing is learned of that */
    PACKER_BY_NOTHING
} PackerWait;

/** Once a round: what is it from now on? */
void packer_round(Packer *packer, gint64 now_us, PackerWait wait);

/** Adds its own. */
void packer_add_counts(const Packer *packer, PackerCounts *counts);
const StreamParser *packer_stream(const Packer *packer);
/** "zstd-fast", "pass"; static. */
const char *packer_way(const Packer *packer);
