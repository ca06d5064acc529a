/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_format.h"
#include "flyway/recall_key.h"

/** Compresses up to 16 pages if that makes them smaller. `out` has RECALL_CHUNK_SIZE bytes. Returns
 * the size and sets *coding. */
gsize recall_chunk_pack(const guint8 *pages, guint n_pages, guint8 *out, RecallCoding *coding);

/** The reverse: exactly n_pages into `out`, or -EBADMSG. */
int recall_chunk_unpack(const guint8 *packed, gsize size, RecallCoding coding, guint8 *out,
                        guint n_pages);

/**
 * Chunks of a set's segments, read and kept for the next page: 32 of 64 KiB, 2.1 MiB. May be used
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

/** Asks the kernel to read the chunk ahead. Doesn't wait. */
void recall_shelf_advise(RecallShelf *shelf, const RecallChunk *chunk);
