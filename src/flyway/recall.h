/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>
#include <glib.h>

/**
 * Recall: pages of VMs' memory that sessions carried, kept on local disk. What every part of it
 * shares; docs/recall.md is the story, and tells which part does what:
 *
 *     recall_key      keys and the cipher                          godwitd and worker
 *     recall_format   the index file, pure                         godwitd and worker
 *     recall_library  the folder: which sets there are             godwitd only
 *     recall_chunk    16 pages, compressed and encrypted           worker
 *     recall_writer   makes the set of the present session         worker
 *     recall_reader   one older set: hashes, and content           worker
 *     recall_index    hash -> (set, ordinal) over several readers  worker
 *
 * The worker's parts open nothing: they are given descriptors. They return 0 or -errno.
 */
#define RECALL_PAGE_SIZE 4096u
#define RECALL_KEY_SIZE 32u
#define RECALL_HASH_SIZE 16u
#define RECALL_DIGEST_SIZE 32u
#define RECALL_ID_SIZE 16u
#define RECALL_SALT_SIZE 16u
/** A session reads at most so many older sets. */
#define RECALL_SETS_MAX 8u
/** A set's content is in at most so many files. */
#define RECALL_SEGMENTS_MAX 8u
/** No set is longer: 64 GiB of pages that differ. The set ends there, the session goes on. */
#define RECALL_PAGES_MAX (1u << 24)

/** A page's keyed hash: page_hash() of flyway/hash.h. `page` has RECALL_PAGE_SIZE bytes. A hasher
 * serves one thread at a time and is made by the caller, with recall_key_hash() of the group. */
typedef struct PageHasher PageHasher;
typedef void (*RecallHash)(PageHasher *hasher, const guint8 *page, guint8 *out);

/** How files are read and written: pread(2) and pwrite(2), or a test's faults. */
typedef struct {
    ssize_t (*pread)(int fd, void *buffer, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t size, off_t offset);
} RecallIo;

extern const RecallIo recall_io_real;

/** What a session's recall works with. Copied by who is given it. */
typedef struct {
    const RecallIo *io;
    RecallHash hash;
    guint8 group_key[RECALL_KEY_SIZE]; /* recall_key_group(): never the cluster's key */
} RecallContext;

/** A committed set's files, open for reading. Segments in the order of the index's header; -1 for
 * one that is missing or isn't needed: its pages are then -ENOENT. */
typedef struct {
    int index_fd;
    int segment_fds[RECALL_SEGMENTS_MAX];
} RecallFiles;

/** A page of one of the sets that a session reads. */
typedef struct {
    guint32 set; /* index into the session's readers */
    guint32 ordinal;
} RecallRef;

/** Reads or writes all of it, over short counts and EINTR. 0 or -errno; -ENODATA at end of file. */
int recall_read_all(const RecallIo *io, int fd, void *buffer, gsize size, guint64 offset);
int recall_write_all(const RecallIo *io, int fd, const void *buffer, gsize size, guint64 offset);
