/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_index.h"
#include "flyway/recall_key.h"
#include "flyway/recall_service.h"
#include "flyway/recall_writer.h"

/** Sets in memory files, pages by number, and faults of reading and writing. */

/** One set's two files, which stay when readers and writers close theirs. */
typedef struct {
    guint8 id[RECALL_ID_SIZE];
    int index_fd, pages_fd;
} KitSet;

extern RecallContext kit_context;

/** The tests' own: usable by all threads. */
struct PageHasher {
    guint8 key[RECALL_KEY_SIZE];
};
extern PageHasher kit_hasher;

/** What happens to reads and writes; all 0: nothing. */
typedef struct {
    gint reads_left, writes_left; /* > 0: the one that makes it 0 fails, and all after it */
    int error;
    gboolean stutter; /* every call is interrupted once, then done by halves */
    gboolean block;   /* writes wait for kit_unblock() */
} KitFaults;

extern KitFaults kit_faults;

void kit_init(void);
void kit_unblock(void);

/** Page `number`: the same number, the same content. Every third doesn't compress. */
void kit_page(guint32 number, guint8 *page);
void kit_hash(guint32 number, guint8 *hash);

void kit_set_new(KitSet *set, guint8 id);
void kit_set_close(KitSet *set);
/** A writer for the set; fails the test if it can't be. */
RecallWriter *kit_writer(const KitSet *set, RecallReader *const *readers, guint n);
/** Options for the set, with duplicates of its descriptors. */
RecallWriterOptions kit_options(const KitSet *set);
/** Adds pages first..first+n-1, each linked if found. Returns how many were taken. */
guint32 kit_add(RecallWriter *writer, const RecallIndex *index, guint32 first, guint32 n);

/** A reader of sets[0]; segments are looked for among all n. */
int kit_try_reader(const KitSet *sets, guint n, RecallReader **reader);
RecallReader *kit_reader(const KitSet *sets, guint n);

/** What a worker does with a loan: makes the set of that migration (its UUID) of n pages, from page
 * number `first` on, and seals it. */
void kit_work(const RecallLoan *loan, const char *migration, guint32 first, guint32 n);

/** Fetches page `ordinal`, which must be page `number` or missing. TRUE: it was there. */
gboolean kit_check(RecallReader *reader, guint32 ordinal, guint32 number);
/** The set, read anew, has its first n pages, the pages 0 to n - 1. */
void kit_check_set(const KitSet *set, guint32 n);
