/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_reader.h"

/**
 * Hash -> page, over the sets that both hosts agreed on. Fixed after new, so usable by any thread.
 * Memory: a power of two of 8-byte places, 10.7 to 21.3 bytes a page.
 */
typedef struct RecallIndex RecallIndex;

typedef struct {
    const RecallReader *reader; /* outlives the index; NULL: not agreed, its number is left out */
    guint32 pages;              /* the prefix that was agreed */
} RecallAgreed;

/** A hash in several sets is found in the first. After max_pages pages the rest is left out. NULL:
 * no memory. n <= RECALL_SETS_MAX. */
RecallIndex *recall_index_new(const RecallAgreed *sets, guint n, guint32 max_pages);
void recall_index_free(RecallIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallIndex, recall_index_free)

/** TRUE and *ref if known. */
gboolean recall_index_find(const RecallIndex *index, const guint8 hash[RECALL_HASH_SIZE],
                           RecallRef *ref);

/** Pages in it, each once. */
guint32 recall_index_pages(const RecallIndex *index);
/** Bytes of its table. */
gsize recall_index_bytes(const RecallIndex *index);
