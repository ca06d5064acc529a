/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_format.h"
#include "flyway/recall_key.h"

/** Compresses up to 32 pages if that makes them smaller. `out` has RECALL_CHUNK_SIZE bytes. Returns
 * the size and sets *coding. */
gsize recall_chunk_pack(const guint8 *pages, guint n_pages, guint8 *out, RecallCoding *coding);

/** What a chunk unpacks to. */
#define RECALL_CHUNK_ROOM (RECALL_CHUNK_SIZE + RECALL_EXTRA_MAX)

/** The reverse: exactly the chunk's pages and extra into `out`, RECALL_CHUNK_ROOM bytes; or
 * -EBADMSG. Of the chunk, pages, coding and extra count. */
int recall_chunk_unpack(const RecallChunk *chunk, const guint8 *packed, gsize size, guint8 *out);

/**
 * Chunks of a set's segments, read and kept for the next page: 16 of 156 KiB, 2.6 MiB. May be used
 * by several threads: one reads at a time.
 */
typedef struct RecallShelf RecallShelf;

RecallShelf *recall_shelf_new(const RecallContext *context);
void recall_shelf_free(RecallShelf *shelf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallShelf, recall_shelf_free)

/** Before the first page. fd (-1: missing) stays the caller's and open. */
void recall_shelf_set(RecallShelf *shelf, guint segment, int fd, const guint8 id[RECALL_ID_SIZE]);

/** Page `slot` of the chunk, as the file has it: whoever asks compares its hash. 0, or -ENOENT:
 * missing, damaged, unreadable. */
int recall_shelf_page(RecallShelf *shelf, const RecallChunk *chunk, guint slot,
                      guint8 out[RECALL_PAGE_SIZE]);

/** The same of a chunk that isn't in a file yet: packed, as it will be there; chunk->place is a
 * number of its own, in no segment. 0, or -ENOENT: it can't be unpacked. */
int recall_shelf_packed(RecallShelf *shelf, const RecallChunk *chunk, const guint8 *packed,
                        gsize size, guint slot, guint8 out[RECALL_PAGE_SIZE]);

/** Asks the kernel to read the chunk ahead. Doesn't wait. */
void recall_shelf_advise(RecallShelf *shelf, const RecallChunk *chunk);
