/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Batches lie in a ring, in the stream's order: [ready …| at work …| filling | free …]. The one
 * that is filled takes bytes as the socket gives them; it goes to the crew when there is no room in
 * it for a whole page record, or when the socket has nothing and no other batch is on its way: then
 * waiting for company would only add to the blackout. The crew may end batches in any order; they
 * leave in theirs.
 *
 * The parser looks at a batch when it goes. A page that the batch's end would cut goes over to the
 * next one, so that each is met whole: for that the parser is taken back (a copy of 17 KiB) and
 * shown the batch up to there. Where no other batch is free, the page's part waits until one is.
 *
 * The policy (policy.c) says for each batch what to spend on it, from what was measured: how long
 * batches took, what came out, and how often the connections were the ones to wait for. Where it
 * says that the link is faster than any packing, bytes go past the packer as DATA (aside), once
 * nothing is in it any more; the parser still looks on, and the policy is asked as if they were
 * batches: where it changes its mind, or wants to try another way, the next batch is packed.
 *
 * Where pages may be known to the destination (known.c), packing has two parts, since what is known
 * depends on all batches before: the crew names the pages, the loop looks them up, batch for batch
 * in order, then the crew packs.
 *
 * Where the destination remembers pages that come again, so does the loop (page_cache.h): as each
 * batch goes to the crew, the last versions of its pages are put beside them, and it is remembered
 * itself. That needs nothing of earlier batches but their bytes, so it waits for none of them. In a
 * first pass it costs a bit a page, later two copies, or one where what is passed on isn't to be
 * compared.
 *
 * A batch that refers to pages stays here until the destination has delivered it, so that it can be
 * sent again without references. The loop packs it then: only a damaged store makes it necessary.
 *
 * Bounds: threads + EXTRA batches of 274 KiB and the spans, so with one thread 1.2 MiB, of which at
 * most 388 KiB are bytes that QEMU believes to be gone. Besides, batches that refer to pages and
 * aren't delivered yet, at most SENT_MAX: until one is, no other is ready; in practice what the
 * path carries (pace.c). SPARE_MAX delivered ones are kept for the next. And what page_cache.h
 * says.
 */
#include "flyway/packer.h"

#include <string.h>
#include "base/clock.h"
#include "flyway/tools.h"

#define EXTRA 2 /* one is filled, one waits to go */
#define RECORD_BYTES (STREAM_PAGE_SIZE + 16)
#define SPANS_MAX (PAGE_BATCH_RAW / 9 + 1)
#define SPARE_MAX 32
#define SENT_MAX 320 /* that are kept: a window full of whole batches, and some short ones */
#define INTERVAL_US (100 * 1000)
#define FIRST_INTERVAL_US (10 * 1000)

typedef struct {
    CrewJob job; /* first */
    Known *known;
    PageBatch *batch;
    PolicyWay way;
    gboolean looks_up;
    double prepare_s, pack_s;
    PackerCounts met; /* in it, by the parser */
} Work;

/* A batch that was sent and may have to be sent again. */
typedef struct {
    PageBatch *batch;
    guint32 number;
    guint64 end; /* of all bytes up to its last */
    gboolean again, packed;
} Sent;

struct Packer {
    /* read-only after start */
    Crew *crew;
    PackerCounts *total;
    guint n_works;
    Work *works;

    Known *known;
    PageCache *cache; /* may be NULL */

    guint n_chosen;           /* of those submitted, from the first: looked up, or needn't be */
    guint first, n_submitted; /* at work or ready, from works[first] on; the next one is filled */
    StreamParser parser, before; /* the second: as it was before the batch that goes now */
    Policy policy;
    PackerCounts counts;
    guint32 n_over; /* bytes in over; if any, all works are submitted */
    guint8 over[RECORD_BYTES]; /* the begin of the batch after those */
    gboolean aside;
    guint64 aside_bytes; /* for which the policy wasn't asked yet */
    PolicyWay said;      /* by the policy, for the next batch; POLICY_WAYS: it is to be asked */

    /* the present interval */
    gint64 round_us, interval_us, interval_length_us;
    PackerWait wait; /* since round_us */
    gint64 blocked_us, starved_us;
    guint64 raw_bytes, sent_bytes;

    /* sent, not delivered */
    GQueue sent;      /* Sent */
    GPtrArray *spare; /* PageBatch: what was delivered */
    guint32 n_sent;
    guint64 sent_end, delivered;
    guint n_again;    /* of sent, to be sent again */
    PageCodec *codec; /* for those; made when first needed */

    StreamSpan spans[SPANS_MAX];
};

static void
add(PackerCounts *counts, const PackerCounts *more)
{
    counts->zero += more->zero;
    counts->same += more->same;
    counts->recalled += more->recalled;
    counts->delta += more->delta;
    counts->compressed += more->compressed;
    counts->raw += more->raw;
    counts->direct_bytes += more->direct_bytes;
}

Packer *
packer_new(Crew *crew, Known *known, PackerCounts *total)
{
    Packer *packer = g_new0(Packer, 1);

    packer->crew = crew;
    packer->known = known;
    packer->total = total;
    packer->n_works = crew_threads(crew) + EXTRA;
    packer->works = g_new0(Work, packer->n_works);
    for (guint i = 0; i < packer->n_works; i++)
        packer->works[i].batch = page_batch_new();
    stream_init(&packer->parser);
    policy_init(&packer->policy, crew_threads(crew));
    packer->interval_length_us = FIRST_INTERVAL_US;
    packer->spare = g_ptr_array_new_with_free_func((GDestroyNotify)page_batch_free);
    packer->said = POLICY_WAYS;
    packer->wait = PACKER_BY_NOTHING;
    return packer;
}

void
packer_remember(Packer *packer)
{
    g_assert(packer->sent_end == 0);
    packer->cache = page_cache_new();
}

static void
sent_free(Sent *sent)
{
    page_batch_free(sent->batch);
    g_free(sent);
}

void
packer_free(Packer *packer)
{
    if (packer == NULL)
        return;
    for (; packer->n_submitted > 0; packer->n_submitted--) {
        crew_wait(packer->crew, &packer->works[packer->first].job); /* some hundred microseconds */
        packer->first = (packer->first + 1) % packer->n_works;
    }
    packer_add_counts(packer, packer->total);
    for (guint i = 0; i < packer->n_works; i++)
        page_batch_free(packer->works[i].batch);
    g_queue_clear_full(&packer->sent, (GDestroyNotify)sent_free);
    g_ptr_array_unref(packer->spare);
    page_codec_free(packer->codec);
    page_cache_free(packer->cache);
    g_free(packer->works);
    g_free(packer);
}

/* ---- in -------------------------------------------------------------------------------------- */

static Work *
filling(const Packer *packer)
{
    return &packer->works[(packer->first + packer->n_submitted) % packer->n_works];
}

static double
seconds_since(gint64 begin_us)
{
    return (double)(clock_monotonic_us() - begin_us) / G_USEC_PER_SEC;
}

static void
prepare(CrewJob *job, gpointer data)
{
    Work *work = (Work *)job;
    Tools *tools = data;
    gint64 begin_us = clock_monotonic_us();

    page_prepare(work->batch, tools_hasher(tools, work->known));
    work->prepare_s = seconds_since(begin_us);
}

static void
pack(CrewJob *job, gpointer data)
{
    Work *work = (Work *)job;
    Tools *tools = data;
    gint64 begin_us = clock_monotonic_us();

    if (!work->looks_up)
        page_prepare(work->batch, NULL);
    page_pack(work->batch, tools->codec, policy_level(work->way));
    work->pack_s = seconds_since(begin_us);
}

static guint64
sum(const PackerCounts *counts)
{
    return counts->zero + counts->same + counts->recalled + counts->delta + counts->compressed +
           counts->raw;
}

/* What QEMU made of the pages between two states of the parser. */
static PackerCounts
met_between(const StreamCounts *before, const StreamCounts *after)
{
    return (PackerCounts){ .zero = after->zero_pages - before->zero_pages,
                           .delta = after->xbzrle_pages - before->xbzrle_pages,
                           .compressed = after->compressed_pages - before->compressed_pages,
                           .raw = after->pages - before->pages };
}

/* Where the batch is to be cut: after its last record, if a part of a page follows; else 0. */
static guint32
cut_of(const Packer *packer, const PageBatch *batch, gsize n_spans)
{
    const StreamSpan *last;
    guint32 end;

    if (n_spans == 0)
        return 0;
    last = &packer->spans[n_spans - 1];
    end = last->body + (last->kind == STREAM_PAGE ? STREAM_PAGE_SIZE : 1);
    return batch->raw_length - end < RECORD_BYTES ? end : 0;
}

/* Cuts the batch that goes; its rest waits until another can take it (take_over()). */
static void
cut_off(Packer *packer, PageBatch *batch, guint32 length)
{
    packer->n_over = batch->raw_length - length;
    memcpy(packer->over, batch->raw + length, packer->n_over);
    batch->raw_length = length;
}

static void
take_over(Packer *packer)
{
    PageBatch *batch = filling(packer)->batch;

    if (packer->n_over == 0 || packer->n_submitted == packer->n_works)
        return;
    memcpy(batch->raw, packer->over, packer->n_over);
    batch->raw_length = packer->n_over;
    packer->n_over = 0;
}

static void
look(Packer *packer, Work *work, gboolean may_cut)
{
    PageBatch *batch = work->batch;
    gsize n;
    guint32 cut;

    packer->before = packer->parser;
    n = stream_feed(&packer->parser, batch->raw, batch->raw_length, packer->spans, SPANS_MAX);
    cut = may_cut ? cut_of(packer, batch, n) : 0;
    if (cut > 0 && cut < batch->raw_length) {
        packer->parser = packer->before;
        n = stream_feed(&packer->parser, batch->raw, cut, packer->spans, SPANS_MAX);
        cut_off(packer, batch, cut);
    }
    work->met = met_between(stream_counts(&packer->before), stream_counts(&packer->parser));
    page_spans(batch, packer->spans, (guint)n);
}

static void
remember(Packer *packer, const Work *work)
{
    if (packer->cache == NULL)
        return;
    if (policy_hashes(work->way)) /* else the link is faster than any comparing */
        page_bases(work->batch, packer->cache);
    page_remember(work->batch, packer->cache);
}

static void
submit(Packer *packer)
{
    Work *work = filling(packer);

    work->way = packer->said != POLICY_WAYS ? packer->said : policy_choose(&packer->policy);
    packer->said = POLICY_WAYS;
    packer->aside = work->way == POLICY_PASS;
    packer->aside_bytes = 0;
    look(packer, work, !packer->aside);
    remember(packer, work);
    work->known = packer->known;
    work->looks_up = policy_hashes(work->way) && known_is_useful(packer->known);
    work->prepare_s = 0;
    work->job.run = work->looks_up ? prepare : pack;
    packer->n_submitted++;
    take_over(packer);
    crew_submit(packer->crew, &work->job);
}

gboolean
packer_is_aside(Packer *packer)
{
    return packer->aside && packer_is_empty(packer);
}

/* The policy hears of what passes as if it were batches. */
static void
ask_aside(Packer *packer, gsize length)
{
    packer->aside_bytes += length;
    while (packer->aside && packer->aside_bytes >= PAGE_BATCH_RAW) {
        packer->aside_bytes -= PAGE_BATCH_RAW;
        packer->said = policy_choose(&packer->policy);
        packer->aside = packer->said == POLICY_PASS;
    }
}

void
packer_direct(Packer *packer, const guint8 *bytes, gsize length)
{
    StreamCounts before = *stream_counts(&packer->parser);
    PackerCounts met;

    stream_feed(&packer->parser, bytes, length, NULL, 0);
    met = met_between(&before, stream_counts(&packer->parser));
    add(&packer->counts, &met);
    ask_aside(packer, length);
    packer->counts.direct_bytes += length;
    packer->sent_end += length;
    packer->raw_bytes += length;
    packer->sent_bytes += length;
}

guint8 *
packer_room(Packer *packer, gsize *room)
{
    PageBatch *batch = filling(packer)->batch;

    if (packer->n_submitted == packer->n_works || packer->aside) {
        *room = 0; /* in the second case: until it is empty */
        return NULL;
    }
    *room = PAGE_BATCH_RAW - batch->raw_length;
    return batch->raw + batch->raw_length;
}

void
packer_filled(Packer *packer, gsize length)
{
    PageBatch *batch = filling(packer)->batch;

    g_assert(length <= PAGE_BATCH_RAW - batch->raw_length);
    batch->raw_length += (guint32)length;
    packer->raw_bytes += length;
    if (PAGE_BATCH_RAW - batch->raw_length < RECORD_BYTES)
        submit(packer);
}

void
packer_flush(Packer *packer)
{
    if (packer->n_submitted == 0 && filling(packer)->batch->raw_length > 0)
        submit(packer);
}

/* ---- out ------------------------------------------------------------------------------------- */

void
packer_run(Packer *packer)
{
    for (; packer->n_chosen < packer->n_submitted; packer->n_chosen++) {
        Work *work = &packer->works[(packer->first + packer->n_chosen) % packer->n_works];

        if (!work->looks_up)
            continue;
        if (!crew_is_done(&work->job))
            break;
        page_choose(work->batch, &known_source, packer->known);
        work->job.run = pack;
        crew_submit(packer->crew, &work->job);
    }
}

const PageBatch *
packer_ready(const Packer *packer)
{
    const Work *work = &packer->works[packer->first];

    if (packer->sent.length >= SENT_MAX)
        return NULL;
    return packer->n_chosen > 0 && crew_is_done(&work->job) ? work->batch : NULL;
}

/* What became of a batch's pages. One of which the batch has only a part is among those met, not
 * among those packed. */
static PackerCounts
packed(const Work *work)
{
    const PageCounts *counts = &work->batch->counts;
    PackerCounts packed = { .zero = counts->zero,
                            .same = counts->same,
                            .recalled = counts->recalled,
                            .delta = counts->delta,
                            .compressed = counts->compressed,
                            .raw = counts->raw };
    guint64 n_met = sum(&work->met), n_packed = sum(&packed);

    packed.raw += n_met - MIN(n_packed, n_met);
    return packed;
}

/* It stays; the work gets another one. */
static void
keep(Packer *packer, Work *work)
{
    Sent *sent = g_new0(Sent, 1);

    *sent = (Sent){ .batch = work->batch, .number = packer->n_sent, .end = packer->sent_end };
    g_queue_push_tail(&packer->sent, sent);
    if (packer->spare->len > 0)
        work->batch = g_ptr_array_steal_index_fast(packer->spare, packer->spare->len - 1);
    else
        work->batch = page_batch_new();
}

void
packer_sent(Packer *packer)
{
    Work *work = &packer->works[packer->first];
    PolicySample sample =
        policy_sample(work->way, &work->batch->counts, work->prepare_s, work->pack_s);
    PackerCounts counts = packed(work);

    g_assert(packer_ready(packer) == work->batch);
    policy_packed(&packer->policy, &sample);
    add(&packer->counts, &counts);
    if (work->looks_up)
        known_took(packer->known, work->batch, TRUE, work->batch->payload,
                   work->batch->payload_length);
    packer->sent_bytes += work->batch->payload_length;
    packer->sent_end += work->batch->raw_length;
    if (page_batch_has(work->batch, PAGE_OP_REF))
        keep(packer, work);
    else
        page_batch_clear(work->batch);
    packer->n_sent++;
    packer->first = (packer->first + 1) % packer->n_works;
    packer->n_submitted--;
    packer->n_chosen--;
    take_over(packer);
}

/* ---- sent ------------------------------------------------------------------------------------ */

void
packer_delivered(Packer *packer, guint64 bytes)
{
    Sent *sent;

    packer->delivered += bytes;
    while ((sent = g_queue_peek_head(&packer->sent)) != NULL && sent->end <= packer->delivered) {
        packer->n_again -= sent->again ? 1 : 0;
        if (packer->spare->len < SPARE_MAX) {
            page_batch_clear(sent->batch);
            g_ptr_array_add(packer->spare, g_steal_pointer(&sent->batch));
        }
        sent_free(g_queue_pop_head(&packer->sent));
    }
}

static gboolean
refers_to(const PageBatch *batch, guint32 set)
{
    for (guint i = 0; i < batch->n_pages; i++) {
        if (batch->pages[i].op == PAGE_OP_REF && batch->pages[i].reference.set == set)
            return TRUE;
    }
    return FALSE;
}

gboolean
packer_missed(Packer *packer, guint32 batch, guint32 set)
{
    gboolean given_up = known_missed(packer->known, set), found = FALSE;

    for (GList *link = packer->sent.head; link != NULL; link = link->next) {
        Sent *sent = link->data;

        if (sent->number != batch && !(found && given_up && refers_to(sent->batch, set)))
            continue;
        packer->n_again += sent->again ? 0 : 1;
        sent->again = TRUE;
        found = TRUE;
    }
    return found;
}

/* The first that is to be sent again; NULL: none. */
static Sent *
first_again(const Packer *packer)
{
    for (GList *link = packer->sent.head; link != NULL && packer->n_again > 0; link = link->next) {
        Sent *sent = link->data;

        if (sent->again)
            return sent;
    }
    return NULL;
}

const PageBatch *
packer_again(Packer *packer, guint32 *number)
{
    Sent *sent = first_again(packer);

    if (sent == NULL)
        return NULL;
    if (packer->codec == NULL)
        packer->codec = page_codec_new();
    if (!sent->packed)
        page_pack_plain(sent->batch, packer->codec, PAGE_LEVEL_ZSTD_FAST);
    sent->packed = TRUE;
    *number = sent->number;
    return sent->batch;
}

void
packer_sent_again(Packer *packer)
{
    Sent *sent = first_again(packer);

    if (sent == NULL)
        return;
    sent->again = FALSE;
    packer->n_again--;
}

gboolean
packer_is_empty(const Packer *packer)
{
    return packer->n_submitted == 0 && filling(packer)->batch->raw_length == 0;
}

/* ---- what was measured ----------------------------------------------------------------------- */

static void
begin_interval(Packer *packer, gint64 now_us)
{
    packer->interval_us = now_us;
    packer->blocked_us = packer->starved_us = 0;
    packer->raw_bytes = packer->sent_bytes = 0;
}

void
packer_round(Packer *packer, gint64 now_us, PackerWait wait)
{
    gint64 passed_us = packer->round_us > 0 ? now_us - packer->round_us : 0;
    gint64 length_us;
    PolicyInterval interval;

    packer->round_us = now_us;
    if (packer->interval_us == 0 || wait == PACKER_BY_CUT) {
        begin_interval(packer, now_us);
        return;
    }
    if (packer->wait == PACKER_BY_LINK)
        packer->blocked_us += passed_us;
    else if (packer->wait == PACKER_BY_DESTINATION || packer->wait == PACKER_BY_SOURCE)
        packer->starved_us += passed_us;
    packer->wait = wait == PACKER_BY_SOURCE && packer->n_submitted > 0 ? PACKER_BY_NOTHING : wait;
    length_us = now_us - packer->interval_us;
    if (length_us < packer->interval_length_us)
        return;
    interval = (PolicyInterval){ .seconds = (double)length_us / G_USEC_PER_SEC,
                                 .raw_bytes = packer->raw_bytes,
                                 .sent_bytes = packer->sent_bytes,
                                 .blocked = (double)packer->blocked_us / (double)length_us,
                                 .starved = (double)packer->starved_us / (double)length_us };
    if (interval.raw_bytes > 0)
        policy_interval(&packer->policy, &interval);
    packer->interval_length_us = MIN(packer->interval_length_us * 2, INTERVAL_US);
    begin_interval(packer, now_us);
}

void
packer_add_counts(const Packer *packer, PackerCounts *counts)
{
    add(counts, &packer->counts);
}

const StreamParser *
packer_stream(const Packer *packer)
{
    return &packer->parser;
}

const char *
packer_way(const Packer *packer)
{
    return policy_name(packer->policy.way);
}
