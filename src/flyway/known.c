/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Agreement. The source offers its older sets (id, pages, digest); the destination answers for each
 * with the prefix that both may have, the shorter of the two, and the digest over its own hashes of
 * that. The source compares: only what is equal is used. Both also tell a check, the session's id
 * under the group's hash key: without the same key nothing is agreed on. A page of an older set is
 * named by the set's place in the offer, from 1, and its number in the set.
 *
 * The session's pages are set 0: each page that isn't known gets the next number (page.h: NEW). The
 * source remembers hash and number, up to SESSION_PAGES; the destination has them in the writer
 * (recall_writer.h), and tells where that ends. Without a writer there, set 0 isn't used.
 *
 * The session's own set, for later ones, has also those older pages that it referred to: both sides
 * add, for each batch, first the older pages that it refers to for the first time, then its new
 * ones. So the two writers' numbers are the same though neither tells the other, and a number of
 * set 0 isn't one of the writer: the destination maps them (places).
 *
 * A set of which pages were missed PATIENCE times isn't used any more: each miss costs a round
 * trip.
 *
 * Memory: 24 to 48 bytes for each new page at the source, 4 to 8 at the destination, a bit for each
 * older page; and what readers, index and writer say.
 */
#include "flyway/known.h"

#include <errno.h>
#include <string.h>
#include "flyway/recall_index.h"
#include "flyway/recall_key.h"

#define SESSION_PAGES (1u << 22) /* 16 GiB that differ: no more are found again in the session */
#define PATIENCE 16
#define OFFER_LEAST 8    /* pages that are stored as they were packed for the link */
#define WAIT_PERMILLE 30 /* of the session's time, for a disk that can't follow */

typedef struct {
    guint8 id[RECALL_ID_SIZE];
    RecallReader *reader;
    guint32 pages; /* agreed; 0: not used */
    guint8 *met;   /* a bit for each of the reader's pages: the session's own set has it */
    gboolean agreed;
    guint misses;
} Older;

struct Known {
    FlywaySide side;
    guint8 id[RECALL_ID_SIZE];
    guint8 hash_key[RECALL_KEY_SIZE];
    RecallContext context;
    guint8 check[PAGE_HASH_BYTES];

    guint n_older;
    Older older[RECALL_SETS_MAX];
    RecallReader *readers[RECALL_SETS_MAX]; /* theirs, for the writer */
    guint8 of_offer[RECALL_SETS_MAX]; /* destination: place in the offer -> in older[], or NONE */
    RecallIndex *index;               /* source, where any is agreed on */
    RecallWriter *writer;
    PageHasher *hasher; /* for fetching */

    /* set 0 */
    gboolean peer_keeps;         /* source: what is added here is added there */
    guint32 n_session, peer_has; /* source: numbers below the second may be referred to */
    guint32 room;                /* of the arrays */
    guint8 *hashes;              /* source */
    guint32 *table;              /* source: number + 1 by hash; twice as many places as room */
    guint32 *places;             /* destination: the writer's numbers */
    guint32 n_places;

    PageReference unfound;
    guint64 asked, found;
    guint32 sealed;
};

#define NONE G_MAXUINT8

Known *
known_new(FlywaySide side, const guint8 id[RECALL_ID_SIZE], const guint8 key[RECALL_KEY_SIZE])
{
    g_autoptr(Known) known = g_new0(Known, 1);
    guint8 page[PAGE_BYTES] = { 0 };

    known->side = side;
    memcpy(known->id, id, RECALL_ID_SIZE);
    known->context = (RecallContext){ .io = &recall_io_real, .hash = page_hash };
    memcpy(known->context.group_key, key, RECALL_KEY_SIZE);
    memset(known->of_offer, NONE, sizeof known->of_offer);
    if (recall_key_hash(key, known->hash_key) < 0)
        return NULL;
    known->hasher = known_hasher_new(known);
    if (known->hasher == NULL)
        return NULL;
    memcpy(page, id, RECALL_ID_SIZE);
    page_hash(known->hasher, page, known->check);
    return g_steal_pointer(&known);
}

void
known_free(Known *known)
{
    if (known == NULL)
        return;
    recall_writer_free(known->writer); /* before the readers that it uses */
    recall_index_free(known->index);
    for (guint i = 0; i < known->n_older; i++) {
        recall_reader_free(known->older[i].reader);
        g_free(known->older[i].met);
    }
    hash_free(known->hasher);
    g_free(known->hashes);
    g_free(known->table);
    g_free(known->places);
    explicit_bzero(known, sizeof *known);
    g_free(known);
}

PageHasher *
known_hasher_new(const Known *known)
{
    return hash_new(known->hash_key);
}

int
known_add_set(Known *known, const guint8 id[RECALL_ID_SIZE], RecallFiles *files)
{
    Older *older = &known->older[known->n_older];
    int result = known->n_older < RECALL_SETS_MAX && known->writer == NULL ? 0 : -E2BIG;

    if (result == 0)
        result = recall_reader_new(&known->context, id, files, &older->reader);
    if (result < 0)
        return result;
    memcpy(older->id, id, RECALL_ID_SIZE);
    older->met = g_malloc0(recall_reader_header(older->reader)->pages / 8 + 1);
    known->n_older++;
    return 0;
}

int
known_keep(Known *known, int index_fd, int pages_fd, guint64 max_bytes)
{
    RecallWriterOptions options = { .index_fd = index_fd,
                                    .pages_fd = pages_fd,
                                    .max_bytes = max_bytes,
                                    .readers = known->readers,
                                    .n_readers = known->n_older,
                                    .patience_permille = 0 };

    g_assert(known->writer == NULL);
    if (known->side == FLYWAY_DESTINATION) /* the source's loop has others to serve */
        options.patience_permille = WAIT_PERMILLE;
    for (guint i = 0; i < known->n_older; i++)
        known->readers[i] = known->older[i].reader;
    memcpy(options.id, known->id, RECALL_ID_SIZE);
    return recall_writer_new(&known->context, &options, &known->writer);
}

/* ---- what is agreed on ----------------------------------------------------------------------- */

static void
describe(const Known *known, FrameSets *sets)
{
    memcpy(sets->check, known->check, sizeof sets->check);
    sets->keeps = known->writer != NULL;
}

void
known_offer(const Known *known, FrameSets *offer)
{
    *offer = (FrameSets){ 0 };
    if (known == NULL)
        return;
    describe(known, offer);
    for (guint i = 0; i < known->n_older; i++) {
        const RecallHeader *header = recall_reader_header(known->older[i].reader);
        FrameSet *set = &offer->sets[offer->n++];

        memcpy(set->id, known->older[i].id, sizeof set->id);
        set->pages = header->pages;
        memcpy(set->digest, header->digest, sizeof set->digest);
    }
}

static Older *
find_older(Known *known, const guint8 id[RECALL_ID_SIZE])
{
    for (guint i = 0; i < known->n_older; i++) {
        if (memcmp(known->older[i].id, id, RECALL_ID_SIZE) == 0)
            return &known->older[i];
    }
    return NULL;
}

void
known_answer(Known *known, const FrameSets *offer, FrameSets *answer)
{
    *answer = (FrameSets){ .n = offer->n };
    for (guint i = 0; i < offer->n; i++)
        memcpy(answer->sets[i].id, offer->sets[i].id, sizeof answer->sets[i].id);
    if (known == NULL || memcmp(offer->check, known->check, sizeof known->check) != 0)
        return;
    describe(known, answer);
    for (guint i = 0; i < offer->n; i++) {
        Older *older = find_older(known, offer->sets[i].id);

        if (older == NULL)
            continue;
        older->pages = MIN(recall_reader_header(older->reader)->pages, offer->sets[i].pages);
        known->of_offer[i] = (guint8)(older - known->older);
        answer->sets[i].pages = older->pages;
        recall_reader_digest(older->reader, older->pages, answer->sets[i].digest);
    }
}

/* Does the answer's set stand for pages that are here, too? */
static gboolean
is_equal(const Older *older, const FrameSet *answer)
{
    guint8 digest[RECALL_DIGEST_SIZE];

    if (answer->pages == 0)
        return FALSE;
    recall_reader_digest(older->reader, answer->pages, digest);
    return memcmp(digest, answer->digest, sizeof digest) == 0;
}

/* Over the sets that are used. */
static void
build_index(Known *known)
{
    RecallAgreed agreed[RECALL_SETS_MAX] = { 0 };
    gboolean any = FALSE;

    for (guint i = 0; i < known->n_older; i++) {
        if (known->older[i].pages == 0)
            continue;
        agreed[i] = (RecallAgreed){ known->older[i].reader, known->older[i].pages };
        any = TRUE;
    }
    recall_index_free(known->index);
    known->index = any ? recall_index_new(agreed, known->n_older, RECALL_PAGES_MAX) : NULL;
}

static void
say_why_nothing(const FrameSets *answer)
{
    static const guint8 zeros[sizeof answer->check];

    if (memcmp(answer->check, zeros, sizeof zeros) == 0)
        g_message("Nothing is recalled in this migration: the destination has recall switched off "
                  "or not got the cluster's key yet");
    else
        g_message("Nothing is recalled in this migration: the destination names pages with another "
                  "key; set [recall] share alike on all hosts");
}

int
known_agree(Known *known, const FrameSets *answer)
{
    if (known == NULL)
        return answer->n == 0 ? 0 : -EPROTO;
    if (answer->n != known->n_older || known->index != NULL)
        return -EPROTO;
    if (memcmp(answer->check, known->check, sizeof known->check) != 0) {
        say_why_nothing(answer);
        return 0;
    }
    known->peer_has = answer->keeps ? SESSION_PAGES : 0;
    known->peer_keeps = answer->keeps;
    for (guint i = 0; i < known->n_older; i++) {
        Older *older = &known->older[i];

        if (answer->sets[i].pages > recall_reader_header(older->reader)->pages)
            return -EPROTO;
        older->pages = is_equal(older, &answer->sets[i]) ? answer->sets[i].pages : 0;
        older->agreed = older->pages > 0;
    }
    build_index(known);
    return 0;
}

gboolean
known_is_useful(const Known *known)
{
    return known != NULL && (known->index != NULL || known->peer_has > 0);
}

/* ---- the source's set 0 ---------------------------------------------------------------------- */

static guint32
begin_at(const Known *known, const guint8 *hash)
{
    guint32 start;

    memcpy(&start, hash, sizeof start); /* as good as random */
    return start & (known->room * 2 - 1);
}

static void
enter(Known *known, guint32 ordinal)
{
    guint32 at = begin_at(known, known->hashes + (gsize)ordinal * PAGE_HASH_BYTES);

    while (known->table[at] != 0)
        at = (at + 1) & (known->room * 2 - 1);
    known->table[at] = ordinal + 1;
}

static void
grow(Known *known)
{
    known->room = MAX(known->room * 2, 4096);
    known->hashes = g_realloc_n(known->hashes, known->room, PAGE_HASH_BYTES);
    g_free(known->table);
    known->table = g_new0(guint32, (gsize)known->room * 2);
    for (guint32 i = 0; i < known->n_session; i++)
        enter(known, i);
}

static void
source_added(gpointer data, const guint8 hash[PAGE_HASH_BYTES])
{
    Known *known = data;

    if (known->n_session >= known->peer_has)
        return; /* the destination wouldn't find it: its number is none of ours any more */
    if (known->n_session == known->room)
        grow(known);
    memcpy(known->hashes + (gsize)known->n_session * PAGE_HASH_BYTES, hash, PAGE_HASH_BYTES);
    enter(known, known->n_session++);
}

static gboolean
find_in_session(const Known *known, const guint8 *hash, PageReference *reference)
{
    if (known->room == 0)
        return FALSE;
    for (guint32 at = begin_at(known, hash); known->table[at] != 0;
         at = (at + 1) & (known->room * 2 - 1)) {
        guint32 ordinal = known->table[at] - 1;

        if (memcmp(known->hashes + (gsize)ordinal * PAGE_HASH_BYTES, hash, PAGE_HASH_BYTES) != 0)
            continue;
        *reference = (PageReference){ 0, ordinal };
        return ordinal < known->peer_has;
    }
    return FALSE;
}

static gboolean
source_find(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    Known *known = data;
    RecallRef ref;

    if (find_in_session(known, hash, reference))
        return TRUE;
    if (known->index == NULL)
        return FALSE;
    known->asked++;
    if (!recall_index_find(known->index, hash, &ref))
        return FALSE;
    known->found++;
    *reference = (PageReference){ ref.set + 1, ref.ordinal };
    return TRUE;
}

const PageKnown known_source = { source_find, source_added };

gboolean
known_missed(Known *known, guint32 set)
{
    if (known == NULL || set == 0 || set > known->n_older)
        return FALSE;
    if (++known->older[set - 1].misses < PATIENCE || known->older[set - 1].pages == 0)
        return FALSE;
    known->older[set - 1].pages = 0;
    build_index(known); /* what other sets have of its pages is found in them */
    g_message("The other host misses too many pages of a set that both had: it isn't used now");
    return TRUE;
}

void
known_ended(Known *known, guint32 ordinal)
{
    known->peer_has = MIN(known->peer_has, ordinal);
    known->peer_keeps = FALSE;
}

/* ---- the destination's fetching -------------------------------------------------------------- */

/* The older set of a reference, on either side; NULL where there is no such page. */
static Older *
older_of(Known *known, const PageReference *reference)
{
    guint place = reference->set - 1;

    if (known->side == FLYWAY_DESTINATION)
        place = place < RECALL_SETS_MAX ? known->of_offer[place] : NONE;
    if (place >= known->n_older ||
        reference->ordinal >= recall_reader_header(known->older[place].reader)->pages)
        return NULL;
    return &known->older[place];
}

static int
fetch_older(Known *known, const PageReference *reference, guint8 *out)
{
    const Older *older = older_of(known, reference);

    if (older == NULL || reference->ordinal >= older->pages)
        return -EPROTO;
    return recall_fetch(older->reader, known->hasher, reference->ordinal, out);
}

static int
destination_fetch(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    Known *known = data;

    known->unfound = *reference;
    if (reference->set != 0)
        return fetch_older(known, reference, out);
    if (reference->ordinal >= known->n_session)
        return -EPROTO;
    if (reference->ordinal >= known->n_places)
        return -ENOENT;
    return recall_writer_fetch(known->writer, known->hasher, known->places[reference->ordinal],
                               out);
}

/* known_took() does it for the whole batch. */
static void
destination_added(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
}

const PageFetch known_destination = { destination_fetch, destination_added };

PageReference
known_unfound(const Known *known)
{
    return known->unfound;
}

gboolean
known_keeps(const Known *known)
{
    return known != NULL && known->writer != NULL;
}

guint32
known_kept(const Known *known)
{
    return known->n_session > known->n_places ? known->n_places : G_MAXUINT32;
}

/* ---- the session's own set ------------------------------------------------------------------- */

static void
take_older(Known *known, const PageItem *item, const guint8 *page, gboolean link)
{
    Older *older = older_of(known, &item->reference);
    guint32 ordinal = item->reference.ordinal;
    RecallRef ref = { .ordinal = ordinal };

    if (older == NULL || older->met[ordinal / 8] & 1 << ordinal % 8)
        return;
    ref.set = (guint32)(older - known->older);
    older->met[ordinal / 8] |= (guint8)(1 << ordinal % 8);
    recall_add(known->writer,
               recall_reader_body(older->reader)->hashes + (gsize)ordinal * RECALL_HASH_SIZE, page,
               link ? &ref : NULL);
}

/* Destination: the next number of set 0 is that one of the writer. */
static void
map_place(Known *known, gint64 place)
{
    if (place < 0 || known->n_places != known->n_session || known->n_places == SESSION_PAGES)
        return; /* the writer has ended: so has what can be referred to */
    if (known->n_places == known->room) {
        known->room = MAX(known->room * 2, 4096);
        known->places = g_realloc_n(known->places, known->room, sizeof *known->places);
    }
    known->places[known->n_places++] = (guint32)place;
}

/* Few pages share a chunk with others': there they pack better. */
static void
offer(Known *known, const PageBatch *batch, const guint8 *payload, gsize length)
{
    PageBody body;

    if (payload == NULL || !page_body(batch, payload, length, &body) || body.pages < OFFER_LEAST)
        return;
    recall_offer(known->writer,
                 &(RecallPacked){ .bytes = body.bytes,
                                  .size = body.size,
                                  .coding = body.coding == PAGE_CODED_LZ4 ? RECALL_CODING_LZ4
                                                                          : RECALL_CODING_ZSTD,
                                  .pages = (guint8)body.pages,
                                  .extra = body.extra });
}

void
known_took(Known *known, const PageBatch *batch, gboolean link, const guint8 *payload, gsize length)
{
    gboolean keeps =
        known->writer != NULL && (known->side == FLYWAY_DESTINATION || known->peer_keeps);

    for (guint i = 0; i < batch->n_pages && keeps; i++) {
        const PageItem *item = &batch->pages[i];

        if (item->op == PAGE_OP_REF && item->reference.set != 0)
            take_older(known, item, batch->raw + item->body, link);
    }
    if (keeps)
        offer(known, batch, payload, length);
    for (guint i = 0; i < batch->n_pages; i++) {
        const PageItem *item = &batch->pages[i];
        gint64 place = -ENOENT;

        if (item->op != PAGE_OP_NEW)
            continue;
        if (keeps)
            place = recall_add(known->writer, item->hash, batch->raw + item->body, NULL);
        if (known->side == FLYWAY_DESTINATION) {
            map_place(known, place);
            known->n_session++;
        }
    }
}

void
known_hurry(Known *known)
{
    if (known != NULL && known->writer != NULL)
        recall_writer_hurry(known->writer);
}

void
known_counts(const Known *known, KnownCounts *counts)
{
    *counts = (KnownCounts){ 0 };
    if (known == NULL)
        return;
    counts->asked = known->asked;
    counts->found = known->found;
    counts->pages = known->sealed;
    for (guint i = 0; i < known->n_older; i++)
        counts->sets += known->older[i].agreed ? 1 : 0;
}

int
known_seal(Known *known)
{
    RecallSeal seal = { 0 };
    int result = known != NULL && known->writer != NULL ? 0 : -ENOENT;

    if (result == 0)
        result = recall_writer_finish(known->writer, &seal);
    if (result < 0)
        return result;
    known->sealed = seal.pages;
    if (seal.ended != 0)
        g_message("The set of this migration's pages ends early, with %u: %s", seal.pages,
                  g_strerror(-seal.ended));
    return 0;
}
