/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_format.h"

/**
 * One older set. Immutable, so usable by any thread. Memory: 20 bytes a page and 16 a chunk (about
 * 21 a page), and 2.1 MiB once a page was fetched.
 */
typedef struct RecallReader RecallReader;

/**
 * Loads the index of set `id`. Takes the descriptors, also on error (they are set to -1). 0, or
 * -errno: -EBADMSG damaged, of another set or group; -EFBIG larger than any; -ENODATA cut; what
 * pread says. On error there is no such set: the session goes on without.
 */
int recall_reader_new(const RecallContext *context, const guint8 id[RECALL_ID_SIZE],
                      RecallFiles *files, RecallReader **reader);
void recall_reader_free(RecallReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallReader, recall_reader_free)

/** Ids, number of pages, digest over all, segments. */
const RecallHeader *recall_reader_header(const RecallReader *reader);
/** header->pages times RECALL_HASH_SIZE; and where the pages lie. */
const RecallBody *recall_reader_body(const RecallReader *reader);
/** A segment's descriptor, the reader's; -1: missing. */
int recall_reader_segment_fd(const RecallReader *reader, guint segment);

/** The digest of the first n pages: hosts agree on the shorter of their two. n <= pages. */
void recall_reader_digest(const RecallReader *reader, guint32 n, guint8 out[RECALL_DIGEST_SIZE]);

/** Page `ordinal`, its hash (by the calling thread's hasher) compared. 0, or -ENOENT (out is
 * zeroed): it has to be asked for. */
int recall_fetch(RecallReader *reader, PageHasher *hasher, guint32 ordinal,
                 guint8 out[RECALL_PAGE_SIZE]);

/** It will be fetched soon: the disk may begin. A page of the same chunk needs no other call. */
void recall_prefetch(RecallReader *reader, guint32 ordinal);
