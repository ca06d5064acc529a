/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/page.h"
#include "flyway/protocol.h"
#include "flyway/recall_writer.h"

/**
 * What both hosts of a session have of VMs' memory, and may refer to instead of sending it: the
 * older sets that they agreed on, and the pages of the session itself. See known.c; docs/recall.md
 * is the story. Belongs to one thread at a time.
 */
typedef struct Known Known;

/** id: the session's; key: of the VM's group. NULL: GnuTLS refuses. */
Known *known_new(FlywaySide side, const guint8 id[RECALL_ID_SIZE],
                 const guint8 key[RECALL_KEY_SIZE]);
void known_free(Known *known);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Known, known_free)

/** Loads an older set, before known_keep(). Takes the descriptors. 0, or -errno: it isn't there. */
int known_add_set(Known *known, const guint8 id[RECALL_ID_SIZE], RecallFiles *files);
/** The session's own set is written to these files (taken). 0, or -errno: it isn't. */
int known_keep(Known *known, int index_fd, int pages_fd, guint64 max_bytes);

/* ---- what is agreed on ----------------------------------------------------------------------- */

/** Source: what is offered. known may be NULL: nothing; likewise below. */
void known_offer(const Known *known, FrameSets *offer);
/** Destination: what it has of that. From then on references to it are understood. */
void known_answer(Known *known, const FrameSets *offer, FrameSets *answer);
/** Source: the destination's answer. 0, or -EPROTO. From then on pages are found. */
int known_agree(Known *known, const FrameSets *answer);

/** Source: is there, or will there be, something to be found? Else nothing has to be hashed. */
gboolean known_is_useful(const Known *known);
/** For one thread. */
PageHasher *known_hasher_new(const Known *known);

/* ---- pages ----------------------------------------------------------------------------------- */

/** The source's; data is the Known. */
extern const PageKnown known_source;
/** Source: the destination missed a page of that set. TRUE: one too many, it isn't used any more.
 */
gboolean known_missed(Known *known, guint32 set);
/** Source: it has no pages of the session from that ordinal on. */
void known_ended(Known *known, guint32 ordinal);

/** The destination's; data is the Known. */
extern const PageFetch known_destination;
/** Destination: the reference that known_destination.fetch didn't find last. */
PageReference known_unfound(const Known *known);
/** Is the session's own set made? Then it needs the names of new pages. */
gboolean known_keeps(const Known *known);
/** Destination: pages of the session from this ordinal on can't be fetched; G_MAXUINT32: all can.
 */
guint32 known_kept(const Known *known);

/**
 * Source: after page_pack(); destination: after page_fill(); in the order of batches. Puts the
 * batch's pages, where the session carries them for the first time, into its own set. link: those
 * of older sets needn't be stored again. payload, NULL if there is none: the batch as it travels;
 * where it is packed its pages needn't be packed again.
 */
void known_took(Known *known, const PageBatch *batch, gboolean link, const guint8 *payload,
                gsize length);

/** The VM is stopped: nothing waits for the disk any more. Any thread. */
void known_hurry(Known *known);

typedef struct {
    guint64 asked, found; /* source: pages looked for in older sets */
    guint sets;           /* source: older ones agreed on */
    guint32 pages;        /* of the session's own set; 0: none was made */
} KnownCounts;

void known_counts(const Known *known, KnownCounts *counts);
/** Completes the session's own set; waits for the disk. 0, or -errno: there is none. */
int known_seal(Known *known);
