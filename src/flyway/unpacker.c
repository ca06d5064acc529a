/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What came waits in a queue, in its order: batches packed as they came, and direct bytes. The
 * first AHEAD of the batches are with the crew, whose one thread does them in order: unpacks, names
 * the new pages, fetches those that are referred to, and tells the set of the session (known.c). So
 * neither decompression nor the disk holds up the loop. What is done leaves at the queue's head.
 *
 * A batch of which a page can't be had is missed. Then the thread lets those pass that it has
 * already been given (stalled), since each may refer to pages of the ones before, and the loop asks
 * for the batch again; when it is here all of them are done anew. The one that came again has the
 * pages in it that were referred to, at the same places: they are told to the session's set as if
 * they had been fetched, but stored anew.
 *
 * Where both sides remember pages that come again (page_cache.h), differences become pages before
 * they are named; a batch is remembered once, when it is whole, also where it came again.
 *
 * Bounds: AHEAD batches of 274 KiB, and what the lane's window lets in, packed: a payload is at
 * most 256 bytes longer than what it becomes, and there are at most ENTRIES_MAX entries.
 * And what page_cache.h says.
 */
#include "flyway/unpacker.h"

#include <errno.h>
#include <string.h>
#include "flyway/tools.h"

#define AHEAD 4u
#define ENTRIES_MAX 8192u

/* A batch, or direct bytes. */
typedef struct {
    CrewJob job; /* first */
    Unpacker *owner;
    guint32 number;
    gboolean is_direct;
    guint8 *bytes; /* as they came */
    gsize length;
    guint8 *again; /* the same without references; NULL: not here */
    gsize again_length;
    guint32 raw; /* bytes that it becomes */
    PageBatch *batch;
    gboolean asked; /* MISSING was said */

    /* the thread's, until it is done */
    int result; /* 0; -ENOENT: missed; -EAGAIN: one before it was; -EPROTO with why */
    const char *why;
    guint32 missing_set, kept;
} Entry;

struct Unpacker {
    Crew *crew;
    Known *known;
    PageCache *cache;   /* may be NULL; the thread's */
    GQueue entries;     /* Entry */
    GPtrArray *batches; /* that no entry has */
    guint n_submitted;  /* batches that are with the crew, or done */
    guint32 n_came;     /* batches so far */
    gsize bytes;
    guint32 kept;
    gboolean stalled; /* the thread's while it has any */
};

Unpacker *
unpacker_new(Crew *crew, Known *known)
{
    Unpacker *unpacker = g_new0(Unpacker, 1);

    g_assert(crew_threads(crew) == 1);
    unpacker->crew = crew;
    unpacker->known = known;
    unpacker->batches = g_ptr_array_new_with_free_func((GDestroyNotify)page_batch_free);
    unpacker->kept = G_MAXUINT32;
    g_queue_init(&unpacker->entries);
    return unpacker;
}

void
unpacker_remember(Unpacker *unpacker)
{
    g_assert(unpacker->n_came == 0);
    unpacker->cache = page_cache_new();
}

static void
entry_free(Entry *entry)
{
    page_batch_free(entry->batch);
    g_free(entry->bytes);
    g_free(entry->again);
    g_free(entry);
}

void
unpacker_free(Unpacker *unpacker)
{
    if (unpacker == NULL)
        return;
    for (GList *link = unpacker->entries.head; link != NULL; link = link->next) {
        Entry *entry = link->data;

        if (entry->batch != NULL)
            crew_wait(unpacker->crew, &entry->job); /* a disk's read at worst */
    }
    g_queue_clear_full(&unpacker->entries, (GDestroyNotify)entry_free);
    g_ptr_array_unref(unpacker->batches);
    page_cache_free(unpacker->cache);
    g_free(unpacker);
}

/* ---- in the crew's thread -------------------------------------------------------------------- */

/* What comes again must have the same length: the window has counted it. */
static int
unpack(Entry *entry, Tools *tools, const guint8 *bytes, gsize length)
{
    int result = page_unpack(entry->batch, tools->codec, bytes, length, &entry->why);

    if (result == 0 && entry->batch->raw_length != entry->raw) {
        entry->why = "it came again with another length";
        return -EPROTO;
    }
    return result;
}

/* Names the pages that become the session's, if anybody wants to know. */
static void
prepare(const Entry *entry, Tools *tools)
{
    const Known *known = entry->owner->known;

    if (known_keeps(known) && page_batch_has(entry->batch, PAGE_OP_NEW))
        page_prepare(entry->batch, tools_hasher(tools, known));
}

/* The batch that came again. */
static int
take_again(Entry *entry, Tools *tools)
{
    Unpacker *unpacker = entry->owner;
    PageItem first[PAGE_PAGES_MAX];
    guint n_first = entry->batch->n_pages;
    int result;

    memcpy(first, entry->batch->pages, n_first * sizeof *first);
    result = unpack(entry, tools, entry->again, entry->again_length);
    if (result < 0)
        return result;
    prepare(entry, tools);
    if (page_fill(entry->batch, &known_destination, unpacker->known) < 0) {
        entry->why = "it came again with references or differences";
        return -EPROTO;
    }
    for (guint i = 0; i < n_first; i++) {
        PageItem *item = &entry->batch->pages[i];

        if (i >= entry->batch->n_pages || item->body != first[i].body) {
            entry->why = "it came again as another one";
            return -EPROTO;
        }
        if (first[i].op == PAGE_OP_REF) {
            item->op = PAGE_OP_REF;
            item->reference = first[i].reference;
        }
    }
    known_took(unpacker->known, entry->batch, FALSE, NULL, 0);
    return 0;
}

static int
fill(Entry *entry, Tools *tools)
{
    Unpacker *unpacker = entry->owner;
    int result;

    prepare(entry, tools);
    result = page_fill(entry->batch, &known_destination, unpacker->known);
    if (result == 0) {
        known_took(unpacker->known, entry->batch, TRUE, entry->bytes, entry->length);
        return 0;
    }
    if (result == -EPROTO) {
        entry->why = "it refers to a page that was never agreed on";
        return result;
    }
    entry->missing_set = known_unfound(unpacker->known).set;
    return entry->again != NULL ? take_again(entry, tools) : -ENOENT;
}

static void
run(CrewJob *job, gpointer data)
{
    Entry *entry = (Entry *)job;
    Unpacker *unpacker = entry->owner;
    Tools *tools = data;

    entry->result = -EAGAIN;
    if (unpacker->stalled)
        return;
    entry->result = unpack(entry, tools, entry->bytes, entry->length);
    if (entry->result == 0)
        entry->result = page_rebuild(entry->batch, unpacker->cache, &entry->why);
    if (entry->result == 0 && unpacker->known != NULL) {
        entry->result = fill(entry, tools);
        entry->kept = known_kept(unpacker->known);
    } else if (entry->result == 0) {
        entry->kept = G_MAXUINT32;
        if (page_batch_has(entry->batch, PAGE_OP_REF)) {
            entry->result = -EPROTO;
            entry->why = "it refers to what this host never had";
        }
    }
    if (entry->result == 0 && unpacker->cache != NULL)
        page_remember(entry->batch, unpacker->cache);
    unpacker->stalled = entry->result == -ENOENT;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void
submit(Unpacker *unpacker)
{
    for (GList *link = unpacker->entries.head; link != NULL && unpacker->n_submitted < AHEAD;
         link = link->next) {
        Entry *entry = link->data;

        if (entry->is_direct || entry->batch != NULL)
            continue;
        if (unpacker->batches->len > 0)
            entry->batch = g_ptr_array_steal_index_fast(unpacker->batches, 0);
        else
            entry->batch = page_batch_new();
        entry->job.run = run;
        unpacker->n_submitted++;
        crew_submit(unpacker->crew, &entry->job);
    }
}

static Entry *
push(Unpacker *unpacker, const guint8 *bytes, gsize length, guint32 raw)
{
    Entry *entry = g_new0(Entry, 1);

    entry->owner = unpacker;
    entry->bytes = g_memdup2(bytes, length);
    entry->length = length;
    entry->raw = raw;
    unpacker->bytes += raw;
    g_queue_push_tail(&unpacker->entries, entry);
    return entry;
}

gboolean
unpacker_batch(Unpacker *unpacker, const guint8 *payload, gsize length, gsize room, Fault *fault)
{
    guint32 raw = page_payload_raw(payload, length);

    if (raw == 0 || length > raw + PAGE_PAYLOAD_MAX - PAGE_BATCH_RAW) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker sent a batch that can't be: its size is impossible");
        return FALSE;
    }
    if (raw > room || unpacker->entries.length >= ENTRIES_MAX) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker sent more than the lane's window");
        return FALSE;
    }
    push(unpacker, payload, length, raw)->number = unpacker->n_came++;
    submit(unpacker);
    return TRUE;
}

void
unpacker_direct(Unpacker *unpacker, const guint8 *bytes, gsize length)
{
    Entry *last = g_queue_peek_tail(&unpacker->entries);

    if (last == NULL || !last->is_direct) {
        push(unpacker, bytes, length, (guint32)length)->is_direct = TRUE;
        return;
    }
    last->bytes = g_realloc(last->bytes, last->length + length);
    memcpy(last->bytes + last->length, bytes, length);
    last->length += length;
    last->raw += (guint32)length;
    unpacker->bytes += length;
}

/* The thread has let pass all that it was given: they are to be done again. */
static void
restart(Unpacker *unpacker)
{
    for (GList *link = unpacker->entries.head; link != NULL; link = link->next) {
        const Entry *entry = link->data;

        if (entry->batch != NULL && !crew_is_done(&entry->job))
            return; /* not yet */
    }
    unpacker->stalled = FALSE;
    for (GList *link = unpacker->entries.head; link != NULL; link = link->next) {
        Entry *entry = link->data;

        if (entry->batch != NULL)
            crew_submit(unpacker->crew, &entry->job);
    }
}

gboolean
unpacker_again(Unpacker *unpacker, guint32 batch, const guint8 *payload, gsize length, Fault *fault)
{
    if (unpacker->known == NULL || page_payload_raw(payload, length) == 0 ||
        batch >= unpacker->n_came) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker sent batch %u again, which can't be", batch);
        return FALSE;
    }
    for (GList *link = unpacker->entries.head; link != NULL; link = link->next) {
        Entry *entry = link->data;

        if (entry->is_direct || entry->number != batch || entry->again != NULL)
            continue;
        if (entry->batch != NULL && !crew_is_done(&entry->job))
            continue; /* the thread looks at it: it is asked for, if it is missed */
        entry->again = g_memdup2(payload, length);
        entry->again_length = length;
        return TRUE;
    }
    return TRUE; /* it was filled meanwhile */
}

const guint8 *
unpacker_ready(Unpacker *unpacker, gsize *length, Fault *fault)
{
    Entry *entry = g_queue_peek_head(&unpacker->entries);

    if (entry == NULL)
        return NULL;
    *length = entry->raw;
    if (entry->is_direct)
        return entry->bytes;
    if (entry->batch == NULL || !crew_is_done(&entry->job))
        return NULL;
    if (entry->result == 0)
        return entry->batch->raw;
    if (entry->result == -EPROTO)
        fault_set(fault, GODWIT_ERROR_PROTOCOL, "The other worker sent a batch that can't be: %s",
                  entry->why);
    else if (entry->result == -EAGAIN || entry->again != NULL)
        restart(unpacker);
    return NULL;
}

void
unpacker_taken(Unpacker *unpacker)
{
    Entry *entry = g_queue_pop_head(&unpacker->entries);

    unpacker->bytes -= entry->raw;
    if (!entry->is_direct) {
        unpacker->kept = entry->kept;
        unpacker->n_submitted--;
        g_ptr_array_add(unpacker->batches, g_steal_pointer(&entry->batch));
    }
    entry_free(entry);
    submit(unpacker);
}

gsize
unpacker_bytes(const Unpacker *unpacker)
{
    return unpacker->bytes;
}

gboolean
unpacker_misses(Unpacker *unpacker, guint32 *batch, guint32 *set)
{
    Entry *entry = g_queue_peek_head(&unpacker->entries);

    if (entry == NULL || entry->batch == NULL || !crew_is_done(&entry->job) ||
        entry->result != -ENOENT || entry->asked || entry->again != NULL)
        return FALSE;
    entry->asked = TRUE;
    *batch = entry->number;
    *set = entry->missing_set;
    return TRUE;
}

guint32
unpacker_kept(const Unpacker *unpacker)
{
    return unpacker->kept;
}
