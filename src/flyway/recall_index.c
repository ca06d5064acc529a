/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Open addressing with linear probing, at most three quarters full. A place is 0 or
 *
 *     bits 63..32  part of the hash    31..28  set + 1    27..0  ordinal
 *
 * and the whole hash is compared in the reader's list, so that a wrong answer is impossible and
 * nearly every probe that misses is settled within the table. The hashes are keyed: a guest that
 * doesn't know the key can't choose pages that meet in one place, so probing stays short.
 */
#include "flyway/recall_index.h"

#include <string.h>
#include <sys/mman.h>

#define ORDINAL_BITS 28

G_STATIC_ASSERT(RECALL_PAGES_MAX <= 1u << ORDINAL_BITS);
G_STATIC_ASSERT(RECALL_SETS_MAX + 1 < 1u << (32 - ORDINAL_BITS));

struct RecallIndex {
    guint64 *places;
    gsize mask; /* number of places - 1 */
    guint32 pages;
    const guint8 *hashes[RECALL_SETS_MAX];
};

static guint64
half_of(const guint8 *hash, guint which)
{
    guint64 half;

    memcpy(&half, hash + which * sizeof half, sizeof half);
    return half;
}

static RecallRef
ref_of(guint64 place)
{
    guint32 low = (guint32)place;

    return (RecallRef){ .set = (low >> ORDINAL_BITS) - 1,
                        .ordinal = low & ((1u << ORDINAL_BITS) - 1) };
}

/* The place of the hash, or the empty one where it would be. */
static gsize
probe(const RecallIndex *index, const guint8 *hash)
{
    guint64 part = half_of(hash, 1) >> 32;
    gsize at = half_of(hash, 0) & index->mask;

    while (index->places[at] != 0) {
        RecallRef ref = ref_of(index->places[at]);

        if (index->places[at] >> 32 == part &&
            memcmp(index->hashes[ref.set] + (gsize)ref.ordinal * RECALL_HASH_SIZE, hash,
                   RECALL_HASH_SIZE) == 0)
            break;
        at = (at + 1) & index->mask;
    }
    return at;
}

static void
add_set(RecallIndex *index, guint set, guint32 pages, guint32 max_pages)
{
    for (guint32 i = 0; i < pages && index->pages < max_pages; i++) {
        const guint8 *hash = index->hashes[set] + (gsize)i * RECALL_HASH_SIZE;
        gsize at = probe(index, hash);

        if (index->places[at] != 0)
            continue;
        index->places[at] = half_of(hash, 1) >> 32 << 32 | (guint64)(set + 1) << ORDINAL_BITS | i;
        index->pages++;
    }
}

RecallIndex *
recall_index_new(const RecallAgreed *sets, guint n, guint32 max_pages)
{
    g_autoptr(RecallIndex) index = g_new0(RecallIndex, 1);
    guint64 pages = 0;
    gsize places = 64;

    g_assert(n <= RECALL_SETS_MAX);
    for (guint i = 0; i < n; i++) {
        if (sets[i].reader == NULL)
            continue;
        g_assert(sets[i].pages <= recall_reader_header(sets[i].reader)->pages);
        index->hashes[i] = recall_reader_body(sets[i].reader)->hashes;
        pages += sets[i].pages;
    }
    pages = MIN(pages, max_pages);
    while (places / 4 * 3 < pages)
        places *= 2;
    index->mask = places - 1;
    index->places = mmap(NULL, places * sizeof(guint64), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (index->places == MAP_FAILED) {
        index->places = NULL;
        return NULL;
    }
    for (guint i = 0; i < n; i++)
        if (index->hashes[i] != NULL)
            add_set(index, i, sets[i].pages, max_pages);
    return g_steal_pointer(&index);
}

void
recall_index_free(RecallIndex *index)
{
    if (index == NULL)
        return;
    if (index->places != NULL)
        munmap(index->places, recall_index_bytes(index));
    g_free(index);
}

gboolean
recall_index_find(const RecallIndex *index, const guint8 hash[RECALL_HASH_SIZE], RecallRef *ref)
{
    guint64 place = index->places[probe(index, hash)];

    if (place == 0)
        return FALSE;
    *ref = ref_of(place);
    return TRUE;
}

guint32
recall_index_pages(const RecallIndex *index)
{
    return index->pages;
}

gsize
recall_index_bytes(const RecallIndex *index)
{
    return (index->mask + 1) * sizeof(guint64);
}
