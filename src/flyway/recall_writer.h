/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_format.h"
#include "flyway/recall_reader.h"

/**
 * Makes the set of the present session. Memory: 16 MiB of queue, and up to
 * queue_bytes of it while the disk stalls; 1.1 MiB of batch, 20 bytes a page and 16
 * for each chunk, 4 bytes for each chunk of each reader; 2.6 MiB once a page was fetched. One
 * thread of its own, which compresses, encrypts and writes.
 */
typedef struct RecallWriter RecallWriter;

#define RECALL_QUEUE_BYTES (128u * 1024 * 1024)

typedef struct {
    guint8 id[RECALL_ID_SIZE];    /* the session's */
    int index_fd, pages_fd;       /* empty files, read and write; taken */
    guint64 max_bytes;            /* of both files */
    guint32 max_pages;            /* 0: RECALL_PAGES_MAX */
    gsize queue_bytes;            /* pages that wait for the disk; 0: RECALL_QUEUE_BYTES */
    RecallReader *const *readers; /* by RecallRef.set; some may be NULL; they and the array outlive
                                     the writer */
    guint n_readers;
    /** recall_add() may wait for the disk for so many thousandths of the time since new, in sum:
     * a disk that stalls for a moment doesn't end the set. 0: never. */
    guint patience_permille;
} RecallWriterOptions;

/** 0 or -errno (the descriptors are closed then). Starts the thread. */
int recall_writer_new(const RecallContext *context, RecallWriterOptions *options,
                      RecallWriter **writer);

/** Without finish: there will be no set. Waits for a write under way. */
void recall_writer_free(RecallWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallWriter, recall_writer_free)

/**
 * Appends a page that the session carries for the first time. `known`: the older page that it is
 * equal to, or NULL; its content isn't stored again where linking pays. Never waits longer than
 * patience allows.
 *
 * Returns the page's ordinal, or -errno: the set has ended before this page (and stays ended):
 * -EAGAIN the disk is slower than the session, -ENOSPC the quota or the longest set is reached, or
 * what pwrite said. By one thread at a time.
 */
gint64 recall_add(RecallWriter *writer, const guint8 hash[RECALL_HASH_SIZE],
                  const guint8 page[RECALL_PAGE_SIZE], const RecallRef *known);

/** Pages packed together: unpacked they are `pages` pages, and `extra` bytes behind them. */
typedef struct {
    const guint8 *bytes;
    guint32 size;
    RecallCoding coding; /* not RAW */
    guint8 pages;        /* 1 to RECALL_CHUNK_PAGES */
    guint16 extra;       /* at most RECALL_EXTRA_MAX */
} RecallPacked;

/**
 * The pages of the next packed->pages calls of recall_add(), in that order, none of them known, are
 * in it: they needn't be packed again. May wait as recall_add(). The bytes are copied.
 */
void recall_offer(RecallWriter *writer, const RecallPacked *packed);

/** From now on recall_add() never waits: the VM is stopped. Any thread. */
void recall_writer_hurry(RecallWriter *writer);

/** A page of this set, also while it is being made; its hash (by the calling thread's
 * hasher) compared. 0 or -ENOENT. Any thread. */
int recall_writer_fetch(RecallWriter *writer, PageHasher *hasher, guint32 ordinal,
                        guint8 out[RECALL_PAGE_SIZE]);

/** Pages added. Any thread. */
guint32 recall_writer_count(RecallWriter *writer);

typedef struct {
    guint32 pages; /* may be fewer than were added */
    guint32 linked;
    guint8 digest[RECALL_DIGEST_SIZE];
    guint64 bytes; /* of both files */
    int ended;     /* 0, or -errno: why the set ended before the session */
} RecallSeal;

/** Writes what waits, then the index. Waits for it. 0; or -errno: there is no set (-ENODATA: no
 * page). Afterwards only free() may be called. */
int recall_writer_finish(RecallWriter *writer, RecallSeal *seal);
