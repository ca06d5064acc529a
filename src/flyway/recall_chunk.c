/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Pages are stored up to 32 at a time. Those of a batch that was packed for the link anyway, LZ4 or
 * zstd, are stored as they were packed: to pack them once more would cost a host more than all else
 * that is done for recall but the hashes. Others are packed here, LZ4 where that helps: a disk that
 * takes 200 MB/s then takes a guest's memory at 500 MB/s or more. So many at a time, since pages
 * are asked for nearly in the order in which they were stored, so that one read serves many; the
 * shelf keeps the last chunks for that (direct mapped, 16 places).
 *
 * The shelf's lock is held while a chunk is read: one thread waits for the disk, others that want
 * another chunk wait for it. Who knows beforehand what it will want says so with
 * recall_shelf_advise().
 *
 * What is read doesn't stay in the page cache, which is the VMs': each 64 MiB read of a file are
 * followed by POSIX_FADV_DONTNEED for it.
 */
#include "flyway/recall_chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <lz4.h>
#include <zstd.h>

#define PLACES 16u
#define PLACE_BITS 4
#define DROP_BYTES (64u * 1024 * 1024)

typedef struct {
    guint8 id[RECALL_ID_SIZE];
    int fd;
    RecallCipher *cipher; /* NULL until the first page, and for good if the header is damaged */
    gboolean tried;
    gsize read_bytes; /* since the page cache was told to forget */
} ShelfSegment;

struct RecallShelf {
    RecallContext context; /* read-only after new */

    pthread_mutex_t lock; /* of all that follows */
    ShelfSegment segments[RECALL_SEGMENTS_MAX];
    guint64 held[PLACES]; /* RecallChunk.place of what lies there; 0: nothing */
    guint8 *pages;        /* PLACES times RECALL_CHUNK_ROOM; NULL until the first page */
    guint8 packed[RECALL_CHUNK_SIZE + RECALL_TAG_SIZE];
};

gsize
recall_chunk_pack(const guint8 *pages, guint n_pages, guint8 *out, RecallCoding *coding)
{
    int size = (int)(n_pages * RECALL_PAGE_SIZE);
    int packed = LZ4_compress_default((const char *)pages, (char *)out, size, size - 1);

    *coding = packed > 0 ? RECALL_CODING_LZ4 : RECALL_CODING_RAW;
    if (packed > 0)
        return (gsize)packed;
    memcpy(out, pages, (gsize)size);
    return (gsize)size;
}

int
recall_chunk_unpack(const RecallChunk *chunk, const guint8 *packed, gsize size, guint8 *out)
{
    gsize whole = chunk->pages * RECALL_PAGE_SIZE + chunk->extra;

    switch (chunk->coding) {
    case RECALL_CODING_RAW:
        if (size != whole)
            return -EBADMSG;
        memcpy(out, packed, size);
        return 0;
    case RECALL_CODING_LZ4:
        if (LZ4_decompress_safe((const char *)packed, (char *)out, (int)size, (int)whole) !=
            (int)whole)
            return -EBADMSG;
        return 0;
    default:
        return ZSTD_decompress(out, whole, packed, size) == whole ? 0 : -EBADMSG;
    }
}

RecallShelf *
recall_shelf_new(const RecallContext *context)
{
    RecallShelf *shelf = g_new0(RecallShelf, 1);

    shelf->context = *context;
    pthread_mutex_init(&shelf->lock, NULL);
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        shelf->segments[i].fd = -1;
    return shelf;
}

void
recall_shelf_free(RecallShelf *shelf)
{
    if (shelf == NULL)
        return;
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        recall_cipher_free(shelf->segments[i].cipher);
    pthread_mutex_destroy(&shelf->lock);
    g_free(shelf->pages);
    g_free(shelf);
}

void
recall_shelf_set(RecallShelf *shelf, guint segment, int fd, const guint8 id[RECALL_ID_SIZE])
{
    shelf->segments[segment].fd = fd;
    memcpy(shelf->segments[segment].id, id, RECALL_ID_SIZE);
}

/* Called with the lock. */
static RecallCipher *
cipher_of(RecallShelf *shelf, ShelfSegment *segment)
{
    guint8 header[RECALL_PAGES_HEADER_SIZE], salt[RECALL_SALT_SIZE];

    if (segment->tried)
        return segment->cipher;
    segment->tried = TRUE;
    if (segment->fd >= 0 &&
        recall_read_all(shelf->context.io, segment->fd, header, sizeof header, 0) == 0 &&
        recall_pages_decode(header, segment->id, salt) == 0)
        segment->cipher = recall_cipher_new(shelf->context.group_key, RECALL_FILE_PAGES, salt);
    return segment->cipher;
}

/* Reads the chunk to `to`. Called with the lock. */
static int
load(RecallShelf *shelf, const RecallChunk *chunk, guint8 *to)
{
    ShelfSegment *segment = &shelf->segments[recall_chunk_segment(chunk)];
    RecallCipher *cipher = cipher_of(shelf, segment);
    gsize size = chunk->size - RECALL_TAG_SIZE;
    struct iovec body = { shelf->packed, size };
    RecallMessage message = { .nonce = recall_chunk_offset(chunk), .body = &body, .n_body = 1 };

    if (cipher == NULL || recall_read_all(shelf->context.io, segment->fd, shelf->packed,
                                          chunk->size, message.nonce) != 0)
        return -ENOENT;
    segment->read_bytes += chunk->size;
    if (segment->read_bytes >= DROP_BYTES) {
        posix_fadvise(segment->fd, 0, 0, POSIX_FADV_DONTNEED);
        segment->read_bytes = 0;
    }
    if (recall_cipher_open(cipher, &message, shelf->packed + size) != 0 ||
        recall_chunk_unpack(chunk, shelf->packed, size, to) != 0)
        return -ENOENT;
    return 0;
}

/* The page, after the chunk was brought to its place unless it lies there; packed NULL: from its
 * file. */
static int
get(RecallShelf *shelf, const RecallChunk *chunk, const guint8 *packed, gsize size, guint slot,
    guint8 *out)
{
    /* Fibonacci hashing: neighbours in the file get places of their own. */
    guint place =
        (guint)((chunk->place / 64 * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) >> (64 - PLACE_BITS));
    guint8 *pages;
    int result = 0;

    pthread_mutex_lock(&shelf->lock);
    if (shelf->pages == NULL)
        shelf->pages = g_malloc(PLACES * RECALL_CHUNK_ROOM);
    pages = shelf->pages + (gsize)place * RECALL_CHUNK_ROOM;
    if (shelf->held[place] != chunk->place) {
        shelf->held[place] = 0;
        result = packed != NULL ? recall_chunk_unpack(chunk, packed, size, pages)
                                : load(shelf, chunk, pages);
        if (result == 0)
            shelf->held[place] = chunk->place;
    }
    if (result == 0)
        memcpy(out, pages + (gsize)slot * RECALL_PAGE_SIZE, RECALL_PAGE_SIZE);
    pthread_mutex_unlock(&shelf->lock);
    return result == 0 ? 0 : -ENOENT;
}

int
recall_shelf_page(RecallShelf *shelf, const RecallChunk *chunk, guint slot,
                  guint8 out[RECALL_PAGE_SIZE])
{
    return get(shelf, chunk, NULL, 0, slot, out);
}

int
recall_shelf_packed(RecallShelf *shelf, const RecallChunk *chunk, const guint8 *packed, gsize size,
                    guint slot, guint8 out[RECALL_PAGE_SIZE])
{
    return get(shelf, chunk, packed, size, slot, out);
}

void
recall_shelf_advise(RecallShelf *shelf, const RecallChunk *chunk)
{
    int fd = shelf->segments[recall_chunk_segment(chunk)].fd;

    if (fd >= 0)
        posix_fadvise(fd, (off_t)recall_chunk_offset(chunk), chunk->size, POSIX_FADV_WILLNEED);
}
