/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall.h"

/**
 * A set's index file: a header in clear, authenticated; then, as one encrypted message with nonce
 * 0, the body; then its tag. All integers are little endian: the file never leaves the host.
 *
 *     header, 320 bytes
 *       0  magic     "GWRECALL"
 *       8  version   u32  2
 *      12  segments  u32  1..8
 *      16  id        16   the session's UUID
 *      32  salt      16   of the file's key
 *      48  pages     u32  n, at most RECALL_PAGES_MAX
 *      52  chunks    u32  c, at most n
 *      56  digest    32   recall_digest() over the n hashes
 *      88  zero       8
 *      96  segments  8 times: id 16, live u32, total u32, zero u32; all 0 beyond the count
 *     body
 *       hashes    n times 16
 *       locators  n times u32: chunk << 5 | page in the chunk
 *       chunks    c times: segment << 56 | offset u64, stored size u32, pages u8, coding u8,
 *                 extra u16: bytes behind the pages once unpacked, of no use here
 *
 * Segment 0 is the set's own file of pages, the others are older sets' own ones. `live` pages of
 * `total` in it are pages of this set. A pages file is a header of RECALL_PAGES_HEADER_SIZE bytes
 * (magic "GWPAGES1", id, salt) and chunks, each an encrypted message (nonce: its offset) and tag.
 */
#define RECALL_INDEX_HEADER_SIZE 320u
#define RECALL_PAGES_HEADER_SIZE 40u
#define RECALL_CHUNK_PAGES 32u
#define RECALL_CHUNK_SIZE (RECALL_CHUNK_PAGES * RECALL_PAGE_SIZE)
/** What a batch's packed body has behind its pages: its ops. */
#define RECALL_EXTRA_MAX (28u * 1024)
#define RECALL_CHUNK_RECORD_SIZE 16u
#define RECALL_OFFSET_MAX (G_GUINT64_CONSTANT(1) << 48)

typedef enum {
    RECALL_CODING_RAW = 0,
    RECALL_CODING_LZ4 = 1,
    RECALL_CODING_ZSTD = 2,
} RecallCoding;

typedef struct {
    guint8 id[RECALL_ID_SIZE]; /* of the set that made it */
    guint32 live;              /* of its pages, so many are this set's; 0: nothing refers to it */
    guint32 total;             /* so many it holds */
} RecallSegment;

typedef struct {
    guint8 id[RECALL_ID_SIZE];
    guint8 salt[RECALL_SALT_SIZE];
    guint8 digest[RECALL_DIGEST_SIZE];
    guint32 pages;
    guint32 chunks;
    guint32 n_segments;
    RecallSegment segments[RECALL_SEGMENTS_MAX];
} RecallHeader;

/** Where up to 32 pages lie. In memory as in the file. */
typedef struct {
    guint64 place; /* segment << 56 | offset */
    guint32 size;  /* stored, with its tag; 0 only while the writer has it in memory */
    guint8 pages;
    guint8 coding;
    guint16 extra;
} RecallChunk;
G_STATIC_ASSERT(sizeof(RecallChunk) == RECALL_CHUNK_RECORD_SIZE);

/** A body's three parts. They point into one block of recall_body_size() bytes. */
typedef struct {
    const guint8 *hashes;
    const guint32 *locators;
    const RecallChunk *chunks;
} RecallBody;

static inline guint
recall_chunk_segment(const RecallChunk *chunk)
{
    return (guint)(chunk->place >> 56);
}

static inline guint64
recall_chunk_offset(const RecallChunk *chunk)
{
    return chunk->place & (G_GUINT64_CONSTANT(0xff) << 56 ^ G_MAXUINT64);
}

void recall_header_encode(const RecallHeader *header, guint8 out[RECALL_INDEX_HEADER_SIZE]);

/** Takes nothing that recall_header_encode() doesn't write. 0, or -EBADMSG with *why set (static).
 */
int recall_header_decode(const guint8 *bytes, gsize size, RecallHeader *header, const char **why);

/** Bytes of the body, without tag. */
guint64 recall_body_size(const RecallHeader *header);

/** Checks a decrypted body: after that every locator names a page of a chunk of a segment. `bytes`
 * is aligned to 8 and has recall_body_size() bytes. 0, or -EBADMSG with *why set (static). */
int recall_body_decode(const RecallHeader *header, const guint8 *bytes, RecallBody *body,
                       const char **why);

/** A pages file's header. */
void recall_pages_encode(const guint8 id[RECALL_ID_SIZE], const guint8 salt[RECALL_SALT_SIZE],
                         guint8 out[RECALL_PAGES_HEADER_SIZE]);
/** 0, or -EBADMSG if it isn't the header of that segment. */
int recall_pages_decode(const guint8 bytes[RECALL_PAGES_HEADER_SIZE],
                        const guint8 id[RECALL_ID_SIZE], guint8 salt[RECALL_SALT_SIZE]);

/** What two hosts compare: SHA-256 over the set's id, n and its first n hashes. */
void recall_digest(const guint8 id[RECALL_ID_SIZE], const guint8 *hashes, guint32 n,
                   guint8 out[RECALL_DIGEST_SIZE]);
