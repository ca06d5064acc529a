/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A page is either *linked*, its locator names a chunk of an older set's file, or *stored*: copied
 * into the chunk that is being filled, in one of the queue's buffers of 128 KiB. Full chunks are
 * handed to the thread, which packs and encrypts them into a batch of 1 MiB and writes it with one
 * call. Pages that were packed for the link together are a chunk as they are (recall_offer()): the
 * buffer then holds them packed. A buffer is free again only when its chunk is in the file, so a
 * page of this set can be fetched at any time, from the queue or from the file. A batch also goes
 * out when it stands for 128 buffers (what compresses well would use them all before the batch is
 * full). The queue is long enough for a disk that stalls for tenths of a second; while it doesn't,
 * a few MiB of it are used.
 *
 * What links cost. Links keep an older file alive, of which a part is garbage. So a file is linked
 * to only if at least half of its pages belong to one of the sets read, and only the 7 files with
 * the most such pages; pages of other files are stored again, here, where they are in memory
 * anyway. Thus files are compacted by the moves themselves and without a background job: a set's
 * files were at least half alive one move earlier, and there are at most 8 of them. Layout is each
 * host's own affair; both have the same hashes in the same order.
 *
 * The end of a set. Whatever goes wrong (queue full: the disk is too slow; quota; an error) ends
 * the set there: `ended` is set once, and each further page is refused at the cost of one load. The
 * adder waits for the disk only within its patience, a share of the session's time, and not at all
 * once told to hurry. Nothing is written a second time. A set is a prefix without
 * holes: finish cuts it before the first page whose chunk didn't get into the file.
 *
 * The page cache is the VMs': writing out is started after each batch, and what is more than 32 MiB
 * back is waited for and dropped. That wait holds the thread, not the session, and is what makes
 * the queue fill when the disk is slow. No fsync: after a power cut, tags tell what is torn.
 *
 * Locks are pthread's, not GLib's, so that the thread sanitizer sees them.
 *
 * Threads: the adder (recall_add, finish), the thread, and any number of fetchers. A chunk's record
 * with size 0 stands for a chunk in the queue, its place being its number among the stored ones.
 */
#include "flyway/recall_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include "base/clock.h"
#include "base/fd.h"
#include "flyway/recall_chunk.h"

#define BATCH_SIZE (1024u * 1024)
#define BATCH_CHUNKS 128u
#define SLOTS_MIN 4u
/* So much of the queue is there from the start, and is all that is used while the disk keeps up. */
#define READY_BYTES (16u * 1024 * 1024)
#define BEHIND_BYTES (32u * 1024 * 1024)
#define NO_CHUNK G_MAXUINT32
#define QUEUED (G_GUINT64_CONSTANT(0xff) << 56) /* on the shelf, of no segment */
/* Adder and thread each look at the quota without the other's last step. */
#define QUOTA_SLACK (64u * 1024)

typedef struct {
    guint32 chunk;  /* index of its record */
    guint32 first;  /* the ordinal of its first page */
    guint buffer;   /* where its pages are, */
    guint32 packed; /* packed already, so many bytes, */
    guint8 pages;   /* of so many pages; 0: as they are */
} Slot;

struct RecallWriter {
    /* read-only after new */
    RecallContext context;
    RecallHeader header; /* but pages, chunks, digest, live: finish */
    int index_fd, pages_fd;
    guint64 max_bytes;
    guint32 max_pages;
    guint n_slots;
    guint patience_permille;
    gint64 start_us;
    guint n_readers;
    RecallReader *const *readers;
    gint8 segment_of[RECALL_SETS_MAX][RECALL_SEGMENTS_MAX]; /* reader's -> own; -1: store again */
    RecallCipher *cipher;                                   /* the thread's */
    RecallShelf *shelf;
    pthread_t thread;
    gboolean started;

    /* the adder's; a record once published by `count` is read by fetchers */
    guint8 *map;
    gsize map_size;
    guint8 *hashes;
    guint32 *locators;
    RecallChunk *chunks;             /* stored ones' place, size and coding: under lock */
    guint32 *links[RECALL_SETS_MAX]; /* reader's chunk -> own record + 1 */
    guint32 filling;                 /* record of the chunk being filled, or NO_CHUNK */
    guint offered;   /* of its pages, so many are in it packed; 0: it is copied to */
    guint8 *buffers; /* n_slots of RECALL_CHUNK_SIZE */

    /* atomic */
    gint count;    /* pages */
    gint n_chunks; /* records */
    gint ended;    /* 0 or -errno */
    guint64 used;  /* bytes of the pages file, batch included; stored by the thread */

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t work;
    Slot *slots; /* of chunk number n at n % n_slots */
    guint *free; /* a stack of buffers, so that few are touched while the disk keeps up */
    guint n_free;
    guint64 submitted;   /* chunks handed to the thread, */
    guint64 written;     /* of which so many are in the file */
    pthread_cond_t room; /* `written` has grown, or there is no hope that it will */
    gboolean stopping, hurry;
    gint64 waited_us;
    guint64 end; /* of the file, whole batches; written by the thread */

    /* the thread's */
    guint8 *batch;
    gsize batch_bytes;
    guint64 batched; /* chunks in file and batch */
    guint64 dropped; /* up to here the page cache was told to forget */
};

static void
end_set(RecallWriter *writer, int error)
{
    g_atomic_int_compare_and_exchange(&writer->ended, 0, error);
}

static Slot *
slot_of(RecallWriter *writer, guint64 number)
{
    return &writer->slots[number % writer->n_slots];
}

/* Where the pages of chunk `number` are until it is in the file. */
static guint8 *
buffer_of(RecallWriter *writer, guint64 number)
{
    return writer->buffers + (gsize)slot_of(writer, number)->buffer * RECALL_CHUNK_SIZE;
}

/* The thread. */

static void
keep_cache_small(RecallWriter *writer, guint64 end)
{
    sync_file_range(writer->pages_fd, (off_t)(end - writer->batch_bytes),
                    (off_t)writer->batch_bytes, SYNC_FILE_RANGE_WRITE);
    if (end - writer->dropped < 2 * BEHIND_BYTES)
        return;
    sync_file_range(writer->pages_fd, (off_t)writer->dropped, BEHIND_BYTES,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(writer->pages_fd, (off_t)writer->dropped, BEHIND_BYTES, POSIX_FADV_DONTNEED);
    writer->dropped += BEHIND_BYTES;
}

typedef struct {
    guint64 place;
    guint32 size;
    guint8 coding;
} Packed;

/* Writes the batch: packed[i] is chunk number written + i. */
static gboolean
flush(RecallWriter *writer, const Packed *packed)
{
    int result;

    if (writer->batch_bytes == 0)
        return TRUE;
    result = recall_write_all(writer->context.io, writer->pages_fd, writer->batch,
                              writer->batch_bytes, writer->end);
    if (result != 0) {
        end_set(writer, result);
        /* Nothing more is written to this file. */
        writer->batch_bytes = 0;
        return FALSE;
    }
    pthread_mutex_lock(&writer->lock);
    for (guint64 n = writer->written; n < writer->batched; n++) {
        const Slot *slot = slot_of(writer, n);
        RecallChunk *chunk = &writer->chunks[slot->chunk];

        writer->free[writer->n_free++] = slot->buffer;
        chunk->place = packed[n - writer->written].place;
        chunk->size = packed[n - writer->written].size;
        chunk->coding = packed[n - writer->written].coding;
        if (slot->packed > 0) /* though the set may have ended amid them */
            chunk->pages = slot->pages;
    }
    writer->written = writer->batched;
    writer->end += writer->batch_bytes;
    pthread_cond_signal(&writer->room);
    pthread_mutex_unlock(&writer->lock);
    keep_cache_small(writer, writer->end);
    writer->batch_bytes = 0;
    return TRUE;
}

static guint64
index_bytes(guint32 pages, guint32 chunks)
{
    RecallHeader header = { .pages = pages, .chunks = chunks };

    return RECALL_INDEX_HEADER_SIZE + recall_body_size(&header) + RECALL_TAG_SIZE;
}

static gboolean
fits(RecallWriter *writer, guint64 file_bytes)
{
    return file_bytes + QUOTA_SLACK +
               index_bytes((guint32)g_atomic_int_get(&writer->count),
                           (guint32)g_atomic_int_get(&writer->n_chunks)) <=
           writer->max_bytes;
}

/* Chunk number `batched` to the batch, which has room for it. */
static gboolean
pack(RecallWriter *writer, guint n_pages, Packed *packed)
{
    guint8 *to = writer->batch + writer->batch_bytes;
    /* A slot in use is written by nobody. */
    const guint8 *from = buffer_of(writer, writer->batched);
    const Slot *slot = slot_of(writer, writer->batched);
    RecallCoding coding = (RecallCoding)writer->chunks[slot->chunk].coding;
    gsize size = slot->packed;
    struct iovec body = { to, size };
    RecallMessage message = { .nonce = writer->end + writer->batch_bytes,
                              .body = &body,
                              .n_body = 1 };

    if (size > 0)
        memcpy(to, from, size);
    else
        body.iov_len = size = recall_chunk_pack(from, n_pages, to, &coding);
    if (!fits(writer, message.nonce + size + RECALL_TAG_SIZE)) {
        end_set(writer, -ENOSPC);
        return FALSE;
    }
    if (recall_cipher_seal(writer->cipher, &message, to + size) != 0) {
        end_set(writer, -EIO);
        return FALSE;
    }
    *packed = (Packed){ message.nonce, (guint32)size + RECALL_TAG_SIZE, (guint8)coding };
    writer->batch_bytes += size + RECALL_TAG_SIZE;
    writer->batched++;
    __atomic_store_n(&writer->used, writer->end + writer->batch_bytes, __ATOMIC_RELAXED);
    return TRUE;
}

/* Waits for a chunk: its number of pages, or 0 at the end. */
static guint
next_chunk(RecallWriter *writer)
{
    guint n_pages = 0;

    pthread_mutex_lock(&writer->lock);
    while (writer->submitted <= writer->batched && !writer->stopping)
        pthread_cond_wait(&writer->work, &writer->lock);
    if (writer->submitted > writer->batched)
        n_pages = writer->chunks[slot_of(writer, writer->batched)->chunk].pages;
    pthread_mutex_unlock(&writer->lock);
    return n_pages;
}

static void *
run(void *data)
{
    RecallWriter *writer = data;
    g_autofree Packed *packed = g_new(Packed, writer->n_slots);
    gboolean good = TRUE;
    guint n_pages;

    while (good && (n_pages = next_chunk(writer)) > 0) {
        good = pack(writer, n_pages, &packed[writer->batched - writer->written]);
        if (writer->batch_bytes + RECALL_CHUNK_SIZE + RECALL_TAG_SIZE > BATCH_SIZE ||
            writer->batched - writer->written >= MIN(writer->n_slots / 2, BATCH_CHUNKS))
            good = flush(writer, packed) && good;
    }
    /* What was packed before the quota was reached still counts. */
    flush(writer, packed);
    recall_writer_hurry(writer);
    return NULL;
}

/* Set-up. */

typedef struct {
    RecallSegment segment;
    gboolean worth; /* half of it is alive in one of the sets */
} Candidate;

static int
by_live(gconstpointer a, gconstpointer b)
{
    const Candidate *x = a, *y = b;

    if (x->worth != y->worth)
        return x->worth ? -1 : 1;
    return x->segment.live > y->segment.live ? -1 : x->segment.live < y->segment.live;
}

static void
add_candidate(GArray *candidates, const RecallSegment *segment)
{
    gboolean worth = segment->live > 0 && segment->live >= segment->total - segment->live;

    for (guint i = 0; i < candidates->len; i++) {
        Candidate *known = &g_array_index(candidates, Candidate, i);

        if (memcmp(known->segment.id, segment->id, RECALL_ID_SIZE) == 0) {
            known->segment.live = MAX(known->segment.live, segment->live);
            known->worth |= worth;
            return;
        }
    }
    g_array_append_vals(candidates, &(Candidate){ *segment, worth }, 1);
}

/* Which files are linked to, and how the shelf finds them. */
static void
choose_segments(RecallWriter *writer)
{
    g_autoptr(GArray) candidates = g_array_new(FALSE, FALSE, sizeof(Candidate));
    RecallHeader *header = &writer->header;

    for (guint set = 0; set < writer->n_readers; set++) {
        const RecallHeader *theirs =
            writer->readers[set] != NULL ? recall_reader_header(writer->readers[set]) : NULL;

        /* A file that is missing here can't be linked to. */
        for (guint i = 0; theirs != NULL && i < theirs->n_segments; i++)
            if (recall_reader_segment_fd(writer->readers[set], i) >= 0)
                add_candidate(candidates, &theirs->segments[i]);
    }
    g_array_sort(candidates, by_live);
    for (guint i = 0; i < candidates->len && header->n_segments < RECALL_SEGMENTS_MAX; i++) {
        const Candidate *candidate = &g_array_index(candidates, Candidate, i);

        if (candidate->worth)
            header->segments[header->n_segments++] = candidate->segment;
    }
    for (guint i = 1; i < header->n_segments; i++)
        header->segments[i].live = 0;
}

static void
map_segments(RecallWriter *writer)
{
    memset(writer->segment_of, -1, sizeof writer->segment_of);
    for (guint set = 0; set < writer->n_readers; set++) {
        RecallReader *reader = writer->readers[set];
        const RecallHeader *theirs = reader != NULL ? recall_reader_header(reader) : NULL;

        if (theirs == NULL)
            continue;
        writer->links[set] = g_new0(guint32, theirs->chunks);
        for (guint i = 0; i < theirs->n_segments; i++) {
            for (guint own = 1; own < writer->header.n_segments; own++) {
                int fd = recall_reader_segment_fd(reader, i);

                if (fd < 0 || memcmp(writer->header.segments[own].id, theirs->segments[i].id,
                                     RECALL_ID_SIZE) != 0)
                    continue;
                writer->segment_of[set][i] = (gint8)own;
                recall_shelf_set(writer->shelf, own, fd, theirs->segments[i].id);
            }
        }
    }
}

/* Address space for the longest set; memory only for what is touched. */
static int
map_tables(RecallWriter *writer)
{
    gsize n = writer->max_pages;

    writer->map_size = n * (RECALL_HASH_SIZE + sizeof(RecallChunk) + sizeof(guint32)) + 8;
    writer->map = mmap(NULL, writer->map_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (writer->map == MAP_FAILED) {
        writer->map = NULL;
        return -ENOMEM;
    }
    writer->hashes = writer->map;
    writer->chunks = (RecallChunk *)(void *)(writer->map + n * RECALL_HASH_SIZE);
    writer->locators = (guint32 *)(void *)(writer->chunks + n);
    return 0;
}

static int
begin_pages_file(RecallWriter *writer)
{
    guint8 salts[2 * RECALL_SALT_SIZE], raw[RECALL_PAGES_HEADER_SIZE];
    int result;

    if (gnutls_rnd(GNUTLS_RND_RANDOM, salts, sizeof salts) != 0)
        return -EIO;
    memcpy(writer->header.salt, salts, RECALL_SALT_SIZE);
    recall_pages_encode(writer->header.id, salts + RECALL_SALT_SIZE, raw);
    writer->cipher =
        recall_cipher_new(writer->context.group_key, RECALL_FILE_PAGES, salts + RECALL_SALT_SIZE);
    if (writer->cipher == NULL)
        return -EIO;
    result = recall_write_all(writer->context.io, writer->pages_fd, raw, sizeof raw, 0);
    writer->end = sizeof raw;
    return result;
}

static int
start(RecallWriter *writer)
{
    int result = map_tables(writer);

    if (result == 0)
        result = begin_pages_file(writer);
    if (result != 0)
        return result;
    choose_segments(writer);
    map_segments(writer);
    recall_shelf_set(writer->shelf, 0, writer->pages_fd, writer->header.id);
    writer->buffers = mmap(NULL, (gsize)writer->n_slots * RECALL_CHUNK_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (writer->buffers == MAP_FAILED) {
        writer->buffers = NULL;
        return -ENOMEM;
    }
    /* Touched here, not while pages come. */
    madvise(writer->buffers, MIN((gsize)writer->n_slots * RECALL_CHUNK_SIZE, READY_BYTES),
            MADV_POPULATE_WRITE);
    writer->free = g_new(guint, writer->n_slots);
    while (writer->n_free < writer->n_slots) {
        writer->free[writer->n_free] = writer->n_slots - 1 - writer->n_free;
        writer->n_free++;
    }
    writer->slots = g_new0(Slot, writer->n_slots);
    writer->batch = g_malloc(BATCH_SIZE + RECALL_CHUNK_SIZE + RECALL_TAG_SIZE);
    result = pthread_create(&writer->thread, NULL, run, writer);
    writer->started = result == 0;
    return -result;
}

static void
init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

int
recall_writer_new(const RecallContext *context, RecallWriterOptions *options, RecallWriter **writer)
{
    g_autoptr(RecallWriter) made = g_new0(RecallWriter, 1);
    gsize queue = options->queue_bytes != 0 ? options->queue_bytes : RECALL_QUEUE_BYTES;
    int result;

    g_assert(options->n_readers <= RECALL_SETS_MAX);
    g_assert(options->max_pages <= RECALL_PAGES_MAX);
    made->context = *context;
    made->index_fd = fd_steal(&options->index_fd);
    made->pages_fd = fd_steal(&options->pages_fd);
    made->max_bytes = MIN(options->max_bytes, RECALL_OFFSET_MAX);
    made->max_pages = options->max_pages != 0 ? options->max_pages : RECALL_PAGES_MAX;
    made->n_slots = (guint)MAX(queue / RECALL_CHUNK_SIZE, SLOTS_MIN);
    made->readers = options->readers;
    made->n_readers = options->n_readers;
    made->patience_permille = options->patience_permille;
    made->start_us = clock_monotonic_us();
    made->header.n_segments = 1;
    memcpy(made->header.id, options->id, RECALL_ID_SIZE);
    memcpy(made->header.segments[0].id, options->id, RECALL_ID_SIZE);
    made->filling = NO_CHUNK;
    made->shelf = recall_shelf_new(context);
    pthread_mutex_init(&made->lock, NULL);
    init_condition(&made->work);
    init_condition(&made->room);
    result = start(made);
    if (result == 0)
        *writer = g_steal_pointer(&made);
    return result;
}

static void
stop(RecallWriter *writer)
{
    if (!writer->started)
        return;
    pthread_mutex_lock(&writer->lock);
    writer->stopping = TRUE;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    writer->started = FALSE;
}

void
recall_writer_free(RecallWriter *writer)
{
    if (writer == NULL)
        return;
    /* Nobody will want what waits. */
    pthread_mutex_lock(&writer->lock);
    writer->submitted = MIN(writer->submitted, writer->written);
    pthread_mutex_unlock(&writer->lock);
    stop(writer);
    recall_cipher_free(writer->cipher);
    recall_shelf_free(writer->shelf);
    for (guint i = 0; i < RECALL_SETS_MAX; i++)
        g_free(writer->links[i]);
    if (writer->map != NULL)
        munmap(writer->map, writer->map_size);
    fd_close_p(&writer->index_fd);
    fd_close_p(&writer->pages_fd);
    if (writer->buffers != NULL)
        munmap(writer->buffers, (gsize)writer->n_slots * RECALL_CHUNK_SIZE);
    g_free(writer->slots);
    g_free(writer->free);
    g_free(writer->batch);
    pthread_cond_destroy(&writer->work);
    pthread_cond_destroy(&writer->room);
    pthread_mutex_destroy(&writer->lock);
    g_free(writer);
}

/* The adder. */

/* The locator of the older page, or 0 and FALSE if its file isn't linked to. */
static gboolean
link_page(RecallWriter *writer, const RecallRef *known, guint32 *locator)
{
    const RecallReader *reader =
        known->set < writer->n_readers ? writer->readers[known->set] : NULL;
    const RecallChunk *chunk;
    guint32 theirs, *link;
    gint8 segment;

    if (reader == NULL || known->ordinal >= recall_reader_header(reader)->pages)
        return FALSE;
    theirs = recall_reader_body(reader)->locators[known->ordinal];
    chunk = &recall_reader_body(reader)->chunks[theirs / RECALL_CHUNK_PAGES];
    segment = writer->segment_of[known->set][recall_chunk_segment(chunk)];
    if (segment < 0)
        return FALSE;
    link = &writer->links[known->set][theirs / RECALL_CHUNK_PAGES];
    if (*link == 0) {
        RecallChunk *record = &writer->chunks[writer->n_chunks];

        *record = *chunk;
        record->place = (guint64)segment << 56 | recall_chunk_offset(chunk);
        g_atomic_int_inc(&writer->n_chunks);
        *link = (guint32)writer->n_chunks;
    }
    *locator = (*link - 1) * RECALL_CHUNK_PAGES + theirs % RECALL_CHUNK_PAGES;
    return TRUE;
}

static void
submit(RecallWriter *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->submitted++;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->lock);
    writer->filling = NO_CHUNK;
    writer->offered = 0;
}

void
recall_writer_hurry(RecallWriter *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->hurry = TRUE;
    pthread_cond_signal(&writer->room);
    pthread_mutex_unlock(&writer->lock);
}

/* Is there no slot for chunk `number`, even after waiting as long as allowed? Called with the lock.
 */
static gboolean
is_full(RecallWriter *writer, guint64 number)
{
    gint64 now_us, until_us;
    struct timespec until;
    int result = 0;

    if (number - writer->written < writer->n_slots)
        return FALSE;
    now_us = clock_monotonic_us();
    until_us =
        now_us - writer->waited_us + (now_us - writer->start_us) * writer->patience_permille / 1000;
    until = (struct timespec){ until_us / G_USEC_PER_SEC, until_us % G_USEC_PER_SEC * 1000 };
    while (result == 0 && !writer->hurry && number - writer->written >= writer->n_slots)
        result = pthread_cond_timedwait(&writer->room, &writer->lock, &until);
    writer->waited_us += clock_monotonic_us() - now_us;
    return number - writer->written >= writer->n_slots;
}

/* A slot and a record for the next pages. */
static int
begin_chunk(RecallWriter *writer, guint32 first)
{
    guint64 number;
    gboolean full;

    pthread_mutex_lock(&writer->lock);
    number = writer->submitted;
    full = is_full(writer, number);
    if (!full)
        *slot_of(writer, number) =
            (Slot){ (guint32)writer->n_chunks, first, writer->free[--writer->n_free], 0, 0 };
    pthread_mutex_unlock(&writer->lock);
    if (full)
        return -EAGAIN;
    writer->filling = (guint32)writer->n_chunks;
    writer->chunks[writer->filling].place = number;
    g_atomic_int_inc(&writer->n_chunks);
    return 0;
}

static int
store_page(RecallWriter *writer, guint32 ordinal, const guint8 *page, guint32 *locator)
{
    RecallChunk *chunk;
    int result = writer->filling == NO_CHUNK ? begin_chunk(writer, ordinal) : 0;

    if (result != 0)
        return result;
    chunk = &writer->chunks[writer->filling];
    /* The place is the thread's to change only after submit. */
    if (writer->offered == 0)
        memcpy(buffer_of(writer, chunk->place) + (gsize)chunk->pages * RECALL_PAGE_SIZE, page,
               RECALL_PAGE_SIZE);
    *locator = writer->filling * RECALL_CHUNK_PAGES + chunk->pages++;
    if (chunk->pages == (writer->offered > 0 ? writer->offered : RECALL_CHUNK_PAGES))
        submit(writer);
    return 0;
}

void
recall_offer(RecallWriter *writer, const RecallPacked *packed)
{
    RecallChunk *chunk;

    g_assert(packed->pages > 0 && packed->pages <= RECALL_CHUNK_PAGES);
    g_assert(packed->coding != RECALL_CODING_RAW && packed->extra <= RECALL_EXTRA_MAX);
    if (g_atomic_int_get(&writer->ended) != 0 || packed->size == 0 ||
        packed->size > packed->pages * RECALL_PAGE_SIZE)
        return;
    g_assert(writer->offered == 0);
    if (writer->filling != NO_CHUNK)
        submit(writer);
    /* Without room the first page finds out, and ends the set. */
    if (begin_chunk(writer, (guint32)g_atomic_int_get(&writer->count)) != 0)
        return;
    chunk = &writer->chunks[writer->filling];
    chunk->coding = (guint8)packed->coding;
    chunk->extra = packed->extra;
    memcpy(buffer_of(writer, chunk->place), packed->bytes, packed->size);
    slot_of(writer, chunk->place)->packed = packed->size;
    slot_of(writer, chunk->place)->pages = packed->pages;
    writer->offered = packed->pages;
}

gint64
recall_add(RecallWriter *writer, const guint8 hash[RECALL_HASH_SIZE],
           const guint8 page[RECALL_PAGE_SIZE], const RecallRef *known)
{
    guint32 ordinal = (guint32)g_atomic_int_get(&writer->count);
    int result = g_atomic_int_get(&writer->ended);

    if (result != 0)
        return result;
    if (ordinal >= writer->max_pages ||
        !fits(writer, __atomic_load_n(&writer->used, __ATOMIC_RELAXED)))
        result = -ENOSPC;
    else if (known == NULL || !link_page(writer, known, &writer->locators[ordinal]))
        result = store_page(writer, ordinal, page, &writer->locators[ordinal]);
    if (result != 0) {
        end_set(writer, result);
        return result;
    }
    memcpy(writer->hashes + (gsize)ordinal * RECALL_HASH_SIZE, hash, RECALL_HASH_SIZE);
    g_atomic_int_inc(&writer->count);
    return ordinal;
}

guint32
recall_writer_count(RecallWriter *writer)
{
    return (guint32)g_atomic_int_get(&writer->count);
}

/* Any thread. */

/* A page of a chunk that isn't in the file. Called with the lock. */
static int
fetch_queued(RecallWriter *writer, const RecallChunk *chunk, guint slot, guint8 *out)
{
    const guint8 *from = buffer_of(writer, chunk->place);
    const Slot *queued = slot_of(writer, chunk->place);
    RecallChunk packed = { .place = QUEUED | chunk->place * 64,
                           .pages = queued->pages,
                           .coding = chunk->coding,
                           .extra = chunk->extra };

    if (queued->packed > 0)
        return recall_shelf_packed(writer->shelf, &packed, from, queued->packed, slot, out);
    memcpy(out, from + (gsize)slot * RECALL_PAGE_SIZE, RECALL_PAGE_SIZE);
    return 0;
}

int
recall_writer_fetch(RecallWriter *writer, PageHasher *hasher, guint32 ordinal,
                    guint8 out[RECALL_PAGE_SIZE])
{
    guint8 hash[RECALL_HASH_SIZE];
    guint32 locator, slot;
    RecallChunk chunk;
    gboolean in_file;
    int result = 0;

    if (ordinal >= recall_writer_count(writer)) {
        memset(out, 0, RECALL_PAGE_SIZE);
        return -ENOENT;
    }
    locator = writer->locators[ordinal];
    slot = locator % RECALL_CHUNK_PAGES;
    pthread_mutex_lock(&writer->lock);
    in_file = writer->chunks[locator / RECALL_CHUNK_PAGES].size != 0;
    if (in_file) {
        chunk = writer->chunks[locator / RECALL_CHUNK_PAGES];
    } else {
        result = fetch_queued(writer, &writer->chunks[locator / RECALL_CHUNK_PAGES], slot, out);
    }
    pthread_mutex_unlock(&writer->lock);
    if (in_file)
        result = recall_shelf_page(writer->shelf, &chunk, slot, out);
    if (result == 0) {
        writer->context.hash(hasher, out, hash);
        if (memcmp(hash, writer->hashes + (gsize)ordinal * RECALL_HASH_SIZE, sizeof hash) != 0)
            result = -ENOENT;
    }
    if (result != 0)
        memset(out, 0, RECALL_PAGE_SIZE);
    return result;
}

/* The end; the thread is gone. */

/* The set's length, and which records and how much of the segments it uses. */
static void
cut(RecallWriter *writer)
{
    RecallHeader *header = &writer->header;
    guint64 begun = writer->submitted;

    header->pages = (guint32)writer->count;
    if (writer->written < begun)
        header->pages = MIN(header->pages, writer->slots[writer->written % writer->n_slots].first);
    header->chunks = 0;
    for (guint32 i = 0; i < header->pages; i++) {
        guint32 chunk = writer->locators[i] / RECALL_CHUNK_PAGES;

        header->segments[recall_chunk_segment(&writer->chunks[chunk])].live++;
        header->chunks = MAX(header->chunks, chunk + 1);
    }
    header->segments[0].total = header->segments[0].live;
    /* The padding before the records. */
    writer->locators[header->pages] = 0;
}

static int
write_index(RecallWriter *writer)
{
    g_autoptr(RecallCipher) cipher =
        recall_cipher_new(writer->context.group_key, RECALL_FILE_INDEX, writer->header.salt);
    const RecallHeader *header = &writer->header;
    guint8 raw[RECALL_INDEX_HEADER_SIZE], tag[RECALL_TAG_SIZE];
    struct iovec parts[5] = {
        { raw, sizeof raw },
        { writer->hashes, (gsize)header->pages * RECALL_HASH_SIZE },
        { writer->locators, ((gsize)header->pages + (header->pages & 1)) * sizeof(guint32) },
        { writer->chunks, (gsize)header->chunks * sizeof(RecallChunk) },
        { tag, sizeof tag },
    };
    RecallMessage message = { .head = parts[0], .body = parts + 1, .n_body = 3 };
    guint64 offset = 0;
    int result;

    recall_header_encode(header, raw);
    if (cipher == NULL || recall_cipher_seal(cipher, &message, tag) != 0)
        return -EIO;
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        result = recall_write_all(writer->context.io, writer->index_fd, parts[i].iov_base,
                                  parts[i].iov_len, offset);
        if (result != 0)
            return result;
        offset += parts[i].iov_len;
    }
    return 0;
}

int
recall_writer_finish(RecallWriter *writer, RecallSeal *seal)
{
    RecallHeader *header = &writer->header;

    if (writer->filling != NO_CHUNK)
        submit(writer);
    stop(writer);
    cut(writer);
    recall_digest(header->id, writer->hashes, header->pages, header->digest);
    /* From here on the hashes are no hashes any more. */
    g_atomic_int_set(&writer->count, 0);
    *seal = (RecallSeal){
        .pages = header->pages,
        .linked = header->pages - header->segments[0].live,
        .bytes = writer->end + index_bytes(header->pages, header->chunks),
        .ended = g_atomic_int_get(&writer->ended),
    };
    memcpy(seal->digest, header->digest, RECALL_DIGEST_SIZE);
    return header->pages > 0 ? write_index(writer) : -ENODATA;
}
