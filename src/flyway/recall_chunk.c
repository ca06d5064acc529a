/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Pages are stored 16 at a time, LZ4 over the 64 KiB where that helps: it is several times faster
 * than a migration link, and a disk that takes 200 MB/s then takes a guest's memory at 500 MB/s or
 * more. Sixteen, since pages are asked for nearly in the order in which they were stored, so that
 * one read serves many; the shelf keeps the last chunks for that (direct mapped, 32 places).
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

#define PLACES 32u
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
    guint8 *pages;        /* PLACES times RECALL_CHUNK_SIZE; NULL until the first page */
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
recall_chunk_unpack(const guint8 *packed, gsize size, RecallCoding coding, guint8 *out,
                    guint n_pages)
{
    int whole = (int)(n_pages * RECALL_PAGE_SIZE);

    if (coding == RECALL_CODING_RAW) {
        if (size != (gsize)whole)
            return -EBADMSG;
        memcpy(out, packed, size);
        return 0;
    }
    if (LZ4_decompress_safe((const char *)packed, (char *)out, (int)size, whole) != whole)
        return -EBADMSG;
    return 0;
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
        recall_chunk_unpack(shelf->packed, size, chunk->coding, to, chunk->pages) != 0)
        return -ENOENT;
    return 0;
}

int
recall_shelf_page(RecallShelf *shelf, const RecallChunk *chunk, guint slot,
                  guint8 out[RECALL_PAGE_SIZE])
{
    /* Fibonacci hashing: neighbours in the file get places of their own. */
    guint place = (guint)((chunk->place / 64 * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) >> 59);
    guint8 *pages;
    int result = 0;

    pthread_mutex_lock(&shelf->lock);
    if (shelf->pages == NULL)
        shelf->pages = g_malloc(PLACES * RECALL_CHUNK_SIZE);
    pages = shelf->pages + (gsize)place * RECALL_CHUNK_SIZE;
    if (shelf->held[place] != chunk->place) {
        shelf->held[place] = 0;
        result = load(shelf, chunk, pages);
        if (result == 0)
            shelf->held[place] = chunk->place;
    }
    if (result == 0)
        memcpy(out, pages + (gsize)slot * RECALL_PAGE_SIZE, RECALL_PAGE_SIZE);
    pthread_mutex_unlock(&shelf->lock);
    return result;
}

void
recall_shelf_advise(RecallShelf *shelf, const RecallChunk *chunk)
{
    int fd = shelf->segments[recall_chunk_segment(chunk)].fd;

    if (fd >= 0)
        posix_fadvise(fd, (off_t)recall_chunk_offset(chunk), chunk->size, POSIX_FADV_WILLNEED);
}
