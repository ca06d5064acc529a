/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/crew.h"
#include "flyway/page.h"
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

/** total (kept): where its counts are added when it is freed. The crew is kept, not owned; its
 * tools must be packer_tools_new's. */
Packer *packer_new(Crew *crew, PackerCounts *total);
/** Waits for batches that the crew has. */
void packer_free(Packer *packer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Packer, packer_free)

gpointer packer_tools_new(void);
void packer_tools_free(gpointer tools);

/** Does what is read now go as it is, DATA, and not through the packer? Then tell packer_direct. */
gboolean packer_is_aside(Packer *packer);
void packer_direct(Packer *packer, const guint8 *bytes, gsize length);

/** Where the next bytes of the socket go; room 0: every batch is in use. */
guint8 *packer_room(Packer *packer, gsize *room);
/** So many were put there. */
void packer_filled(Packer *packer, gsize length);
/** The socket has no more at the moment: nothing waits for company. */
void packer_flush(Packer *packer);

/** The next batch that is packed; NULL: none yet. */
const PageBatch *packer_ready(const Packer *packer);
/** It went out. */
void packer_sent(Packer *packer);
/** Nothing is in it. */
gboolean packer_is_empty(const Packer *packer);

/** Once a round: did what is packed wait for a connection since the last call, has QEMU bytes? */
void packer_round(Packer *packer, gint64 now_us, gboolean blocked, gboolean readable);

/** Adds its own. */
void packer_add_counts(const Packer *packer, PackerCounts *counts);
const StreamParser *packer_stream(const Packer *packer);
/** "zstd-fast", "pass"; static. */
const char *packer_way(const Packer *packer);
