/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's pipeline: whatever the stream, however it is read, what is unpacked from its batches
 * and what went past it are, in order, the bytes that went in; and nothing stays in it. The streams
 * are the fuzz corpus, recorded and written ones, and long ones made here.
 */
#include "flyway/packer.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "flyway/tools.h"
#include "flyway/unpacker.h"
#include "stream_kit.h"

#define PATIENCE_MS 40000
#define EXTRA 2 /* batches beside one for each thread */
#define ASIDE_BYTES (16u * 1024 * 1024)
#define GO_BYTES (60u * 1024 * 1024) /* until they go aside */

/* ---- both ends ------------------------------------------------------------------------------- */

typedef struct {
    Crew *crew;
    Packer *packer;
    PackerCounts total;
    GRand *rand;
    gint64 now_us;

    /* the other end */
    PageBatch *in;
    PageCodec *codec;
    PageCache *cache;
    const GByteArray *input;
    gsize fed, taken;    /* bytes of input */
    gsize repeated;      /* of them, those that came again */
    PackerCounts counts; /* of what was unpacked, and what went past */
    guint batches;
} Rig;

static Packer *
make_packer(Crew *crew, Known *known, PackerCounts *total)
{
    Packer *packer = packer_new(crew, known, total);

    packer_remember(packer);
    return packer;
}

static void
rig_up(Rig *rig, guint threads, guint32 seed)
{
    *rig = (Rig){ .rand = g_rand_new_with_seed(seed), .now_us = 1 };
    rig->crew = crew_new(threads, tools_new, tools_free);
    g_assert_nonnull(rig->crew);
    rig->packer = make_packer(rig->crew, NULL, &rig->total);
    rig->in = page_batch_new();
    rig->codec = page_codec_new();
    rig->cache = page_cache_new();
}

static void
rig_down(Rig *rig)
{
    packer_free(rig->packer);
    crew_free(rig->crew);
    page_batch_free(rig->in);
    page_codec_free(rig->codec);
    page_cache_free(rig->cache);
    g_rand_free(rig->rand);
}

/* For the next stream. */
static void
rig_again(Rig *rig, const GByteArray *input)
{
    packer_free(rig->packer);
    rig->total = rig->counts = (PackerCounts){ 0 };
    rig->packer = make_packer(rig->crew, NULL, &rig->total);
    page_cache_free(rig->cache);
    rig->cache = page_cache_new();
    rig->input = input;
    rig->fed = rig->taken = rig->batches = 0;
}

static guint64
pages_of(const PackerCounts *counts)
{
    return counts->zero + counts->same + counts->recalled + counts->delta + counts->compressed +
           counts->raw;
}

/* What the packer told, against what came out: pages that went past it, or of which the batch had
 * only a part, are told as what QEMU made of them. */
static void
assert_told(const PackerCounts *told, const PackerCounts *came)
{
    g_assert_cmpuint(told->zero, >=, came->zero);
    g_assert_cmpuint(told->same, ==, came->same);
    g_assert_cmpuint(told->recalled, ==, came->recalled);
    g_assert_cmpuint(told->delta, >=, came->delta);
    g_assert_cmpuint(told->compressed, >=, came->compressed);
    g_assert_cmpuint(told->raw, >=, came->raw);
    g_assert_cmpuint(told->direct_bytes, ==, came->direct_bytes);
}

static int
fetch(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    g_assert_not_reached(); /* no page is known */
    return -1;
}

static void
added(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
}

static void
take(Rig *rig, const guint8 *bytes, gsize length)
{
    g_assert_cmpuint(rig->taken + length, <=, rig->fed);
    g_assert_cmpint(memcmp(bytes, rig->input->data + rig->taken, length), ==, 0);
    rig->taken += length;
}

static const PageBatch *
ready(Rig *rig)
{
    packer_run(rig->packer);
    return packer_ready(rig->packer);
}

/* Takes the batch that is ready, if one is. */
static gboolean
take_batch(Rig *rig)
{
    static const PageFetch ops = { .fetch = fetch, .added = added };
    const PageBatch *out = ready(rig);
    const char *why = "";

    if (out == NULL)
        return FALSE;
    page_batch_clear(rig->in);
    g_assert_cmpint(page_unpack(rig->in, rig->codec, out->payload, out->payload_length, &why), ==,
                    0);
    g_assert_cmpint(page_rebuild(rig->in, rig->cache, &why), ==, 0);
    g_assert_cmpint(page_fill(rig->in, &ops, NULL), ==, 0);
    page_remember(rig->in, rig->cache);
    g_assert_cmpuint(rig->in->raw_length, ==, out->raw_length);
    take(rig, rig->in->raw, rig->in->raw_length);
    rig->counts.zero += out->counts.zero;
    rig->counts.same += out->counts.same;
    rig->counts.recalled += out->counts.recalled;
    rig->counts.delta += out->counts.delta;
    rig->counts.compressed += out->counts.compressed;
    rig->counts.raw += out->counts.raw;
    rig->batches++;
    packer_sent(rig->packer);
    return TRUE;
}

static void
wait_and_take(Rig *rig)
{
    while (!take_batch(rig)) {
        struct pollfd entry = { .fd = crew_fd(rig->crew), .events = POLLIN };

        g_assert_cmpint(poll(&entry, 1, PATIENCE_MS), ==, 1);
        crew_notice(rig->crew);
    }
}

/* One read of at most so many bytes, as a lane does it. */
static void
feed(Rig *rig, gsize most)
{
    gsize left = MIN(most, rig->input->len - rig->fed), room;
    const guint8 *bytes = rig->input->data + rig->fed;
    guint8 *at;

    if (packer_is_aside(rig->packer)) {
        packer_direct(rig->packer, bytes, left);
        rig->fed += left;
        rig->counts.direct_bytes += left;
        take(rig, bytes, left);
        return;
    }
    at = packer_room(rig->packer, &room);
    if (room == 0) {
        wait_and_take(rig);
        return;
    }
    left = MIN(left, room);
    memcpy(at, bytes, left);
    rig->fed += left;
    packer_filled(rig->packer, left);
}

/* The socket has no more: all must come out, with nothing further put in. */
static void
drain(Rig *rig)
{
    for (guint i = 0; !packer_is_empty(rig->packer); i++) {
        g_assert_cmpuint(i, <, crew_threads(rig->crew) + EXTRA + 2);
        packer_flush(rig->packer);
        wait_and_take(rig);
    }
    g_assert_cmpuint(rig->taken, ==, rig->fed);
}

static void
assert_over(Rig *rig)
{
    const StreamCounts *seen = stream_counts(packer_stream(rig->packer));
    PackerCounts now = { 0 };

    g_assert_cmpuint(rig->taken, ==, rig->input->len);
    g_assert_cmpuint(seen->bytes, ==, rig->input->len + rig->repeated);
    packer_add_counts(rig->packer, &now);
    assert_told(&now, &rig->counts);
    g_assert_cmpuint(pages_of(&now), ==,
                     seen->pages + seen->zero_pages + seen->xbzrle_pages + seen->compressed_pages);
}

/* A whole stream in reads of at most so many bytes. pauses: in so many of 1000 reads the socket is
 * found empty. */
static void
carry(Rig *rig, const GByteArray *input, guint most, guint pauses)
{
    StreamParser alone;

    rig_again(rig, input);
    while (rig->fed < input->len) {
        feed(rig, (gsize)g_rand_int_range(rig->rand, 1, (gint32)most + 1));
        if (g_rand_int_range(rig->rand, 0, 1000) < (gint32)pauses)
            packer_flush(rig->packer);
        if (g_rand_boolean(rig->rand))
            take_batch(rig);
        if (g_rand_int_range(rig->rand, 0, 200) == 0)
            drain(rig);
    }
    drain(rig);
    assert_over(rig);

    /* The parser has seen what it would have without a packer. */
    stream_init(&alone);
    stream_feed(&alone, input->data, input->len, NULL, 0);
    g_assert_cmpmem(stream_counts(&alone), sizeof(StreamCounts),
                    stream_counts(packer_stream(rig->packer)), sizeof(StreamCounts));
    g_assert_cmpint(stream_phase(&alone), ==, stream_phase(packer_stream(rig->packer)));
}

/* ---- streams --------------------------------------------------------------------------------- */

typedef enum { ZERO, EASY, HARD, SAME, KINDS } PageKind;

static void
put_page(GByteArray *stream, GRand *rand, PageKind kind, guint64 number, const char *block)
{
    static guint8 page[PAGE_BYTES];
    guint64 flags = kind == ZERO ? 0x02 : 0x08;

    put(stream, number << 12 | flags | (block == NULL ? 0x20 : 0), 8);
    if (block != NULL)
        put_text(stream, block);
    if (kind == ZERO) {
        put(stream, 0, 1);
        return;
    }
    for (guint i = 0; i < PAGE_BYTES && kind != SAME; i++) /* SAME: as the last one */
        page[i] = (guint8)(kind == HARD ? g_rand_int(rand) >> 7 : i / 64 + (i % 64 ? 0 : number));
    g_byte_array_append(stream, page, PAGE_BYTES);
}

static GByteArray *
random_stream(guint32 seed, guint pages, const char *block)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    GByteArray *stream = g_byte_array_new();

    begin_stream(stream, block);
    for (guint i = 0; i < pages; i++) {
        PageKind kind = i > 0 ? (PageKind)g_rand_int_range(rand, ZERO, KINDS) : EASY;
        guint64 number =
            g_rand_int_range(rand, 0, 4) ? i : (guint64)g_rand_int_range(rand, 0, 9999);
        /* A zero page that names its block is left as it is, and isn't counted. */
        gboolean named = i == 0 || (kind != ZERO && g_rand_int_range(rand, 0, 10) == 0);

        put_page(stream, rand, kind, number, named ? block : NULL);
    }
    put(stream, 0x10, 8);
    return stream;
}

static GByteArray *
file_stream(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
    return g_byte_array_append(g_byte_array_new(), (const guint8 *)bytes, (guint)length);
}

/* ---- the property ---------------------------------------------------------------------------- */

static void
carry_in_many_ways(Rig *rig, const GByteArray *input)
{
    static const struct {
        guint most, pauses;
    } ways[] = { { PAGE_BATCH_RAW, 0 }, { 40, 2 }, { 5000, 300 }, { 70000, 500 }, { 4112, 1000 } };

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++)
        carry(rig, input, ways[i].most, ways[i].pauses);
}

static void
test_corpus(void)
{
    g_autoptr(GDir) dir = g_dir_open(STREAM_CORPUS, 0, NULL);
    const char *name;
    Rig rig;

    g_assert_nonnull(dir);
    rig_up(&rig, 2, 1);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(STREAM_CORPUS, name, NULL);
        g_autoptr(GByteArray) stream = file_stream(path);

        g_test_message("%s", name);
        carry_in_many_ways(&rig, stream);
        carry(&rig, stream, 1, 50);
    }
    rig_down(&rig);
}

static void
test_random(void)
{
    for (guint threads = 1; threads <= 3; threads++) {
        g_autoptr(GByteArray) stream = random_stream(threads, 600, "pc.ram");
        Rig rig;

        rig_up(&rig, threads, threads);
        carry_in_many_ways(&rig, stream);
        rig_down(&rig);
    }
}

/* Streams whose bytes were changed: the parser gives up or is misled, the bytes arrive. */
static void
test_damaged(void)
{
    Rig rig;

    rig_up(&rig, 2, 5);
    for (guint round = 0; round < 20; round++) {
        g_autoptr(GByteArray) stream = random_stream(round, 90, "pc.ram");

        for (guint i = 0; i < 1 + round % 4; i++)
            stream->data[g_rand_int_range(rig.rand, 0, (gint32)stream->len)] =
                (guint8)g_rand_int(rig.rand);
        carry(&rig, stream, round % 2 ? 3000 : PAGE_BATCH_RAW, 20);
    }
    rig_down(&rig);
}

/* ---- single qualities ------------------------------------------------------------------------ */

/* Read without pauses and sent at once, each page is met whole, and counts once. */
static void
test_each_page_once(void)
{
    static const guint reads[] = { 1, 100, 4096, 65536, PAGE_BATCH_RAW };
    g_autoptr(GByteArray) stream = random_stream(9, 700, "pc.ram");
    Rig rig;

    rig_up(&rig, 2, 9);
    for (guint i = 0; i < G_N_ELEMENTS(reads); i++) {
        const StreamCounts *seen;

        rig_again(&rig, stream);
        while (rig.fed < stream->len) {
            gsize before, after, fed = rig.fed;

            packer_room(rig.packer, &before);
            feed(&rig, reads[i]);
            packer_room(rig.packer, &after);
            if (after != before - (rig.fed - fed)) /* a batch has gone */
                wait_and_take(&rig);
        }
        drain(&rig);
        assert_over(&rig);
        seen = stream_counts(packer_stream(rig.packer));
        g_assert_cmpuint(seen->pages + seen->zero_pages, ==, 700);
        g_assert_cmpuint(rig.counts.zero, ==, seen->zero_pages);
        g_assert_cmpuint(pages_of(&rig.counts), ==, 700);
    }
    rig_down(&rig);
}

/* Nothing is on its way: a pause sends what is there, in at most two batches (a page that is cut
 * goes in the second). With something on its way it waits for company. */
static void
test_flush(void)
{
    g_autoptr(GByteArray) stream = random_stream(11, 200, "pc.ram");
    Rig rig;

    rig_up(&rig, 2, 11);
    rig_again(&rig, stream);
    packer_flush(rig.packer); /* of nothing */
    g_assert_true(packer_is_empty(rig.packer));
    g_assert_null(ready(&rig));
    while (rig.fed < stream->len) {
        guint before = rig.batches;

        feed(&rig, (gsize)g_rand_int_range(rig.rand, 1, 30000));
        g_assert_false(packer_is_empty(rig.packer));
        packer_flush(rig.packer);
        packer_flush(rig.packer); /* is no other */
        drain(&rig);
        g_assert_cmpuint(rig.batches - before, <=, 2);
    }
    assert_over(&rig);
    rig_down(&rig);
}

/* ---- with the crew held ---------------------------------------------------------------------- */

typedef struct {
    CrewJob job; /* first */
    gint go;
} Gate;

static void
wait_at_gate(CrewJob *job, gpointer tools)
{
    while (!__atomic_load_n(&((Gate *)job)->go, __ATOMIC_ACQUIRE))
        g_thread_yield();
}

static void
open_gate(Gate *gate)
{
    __atomic_store_n(&gate->go, 1, __ATOMIC_RELEASE);
}

static void *
open_gate_beside(void *gate)
{
    open_gate(gate);
    return NULL;
}

/* Fills it until it takes no more; the crew's only thread is held at the gate. */
static void
fill_up(Rig *rig, Gate *gate, const GByteArray *stream)
{
    gsize room;

    rig_again(rig, stream);
    *gate = (Gate){ .job.run = wait_at_gate };
    crew_submit(rig->crew, &gate->job);
    while (packer_room(rig->packer, &room) != NULL)
        feed(rig, 30000);
    g_assert_cmpuint(room, ==, 0);
}

/* What it takes is bounded, and it waits for nobody; and also of the last batch that it takes no
 * page is cut. */
static void
test_bounded(void)
{
    g_autoptr(GByteArray) stream = random_stream(12, 400, "pc.ram");
    gsize most = (1 + EXTRA) * PAGE_BATCH_RAW;
    Gate gate;
    Rig rig;

    rig_up(&rig, 1, 12);
    fill_up(&rig, &gate, stream);
    g_assert_cmpuint(rig.fed, <=, most);
    g_assert_cmpuint(rig.fed, >, most - 3 * 2 * (PAGE_BYTES + 16));
    g_assert_null(ready(&rig));
    packer_flush(rig.packer); /* has nothing to send */
    open_gate(&gate);
    while (rig.fed < stream->len)
        feed(&rig, 9000);
    drain(&rig);
    assert_over(&rig);
    g_assert_cmpuint(pages_of(&rig.counts), ==, 400);
    rig_down(&rig);
}

/* Freed with all batches at work, or some of them: what was sent is in the total, no more. */
static void
test_free_at_work(void)
{
    g_autoptr(GByteArray) stream = random_stream(13, 400, "pc.ram");
    Gate gate;
    Rig rig;

    rig_up(&rig, 1, 13);
    for (guint round = 0; round < 20; round++) {
        GThread *beside;

        fill_up(&rig, &gate, stream);
        beside = g_thread_new("gate", open_gate_beside, &gate);
        for (guint i = 0; i < round % 3; i++)
            wait_and_take(&rig);
        g_clear_pointer(&rig.packer, packer_free);
        g_thread_join(beside);
        g_assert_true(crew_is_done(&gate.job));
        assert_told(&rig.total, &rig.counts);
    }
    rig_down(&rig);
    packer_free(NULL);
}

/* Two lanes' packers share a crew. */
static void
test_two(void)
{
    g_autoptr(GByteArray) stream = random_stream(14, 300, "pc.ram");
    PackerCounts total = { 0 };
    Rig a, b;

    rig_up(&a, 2, 14);
    rig_up(&b, 1, 15);
    packer_free(b.packer);
    crew_free(b.crew);
    b.crew = a.crew;
    b.packer = NULL;
    b.input = a.input = stream;
    b.packer = make_packer(a.crew, NULL, &total);
    while (a.fed < stream->len || b.fed < stream->len) {
        feed(&a, 50000);
        feed(&b, 40000);
        take_batch(&b);
    }
    drain(&a);
    drain(&b);
    assert_over(&a);
    assert_over(&b);
    packer_free(b.packer);
    assert_told(&total, &b.counts);
    b.packer = NULL;
    b.crew = NULL;
    rig_down(&b);
    rig_down(&a);
    assert_told(&a.total, &a.counts);
}

/* ---- with pages that both hosts have --------------------------------------------------------- */

/* A host's side of recall. */
typedef struct {
    Known *known;
    int index, pages; /* files of this session's set */
} Host;

/* A packer's and an unpacker's session; the sets of the one before may be known. */
typedef struct {
    Rig rig;
    Host hosts[2]; /* by FlywaySide */
    Crew *crew;    /* the destination's */
    Unpacker *unpacker;
    guint misses, agains;
    guint64 payload;
} Visit;

static int
memory_file(void)
{
    int fd = memfd_create("recall", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static Host
make_host(FlywaySide side, guint8 number, const Host *before, gboolean lost)
{
    guint8 id[RECALL_ID_SIZE] = { number }, older_id[RECALL_ID_SIZE] = { (guint8)(number - 1) };
    guint8 key[RECALL_KEY_SIZE] = "a group's key";
    Host host = { known_new(side, id, key), memory_file(), memory_file() };

    g_assert_nonnull(host.known);
    if (before != NULL) {
        RecallFiles files = { .index_fd = dup(before->index) };

        for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
            files.segment_fds[i] = -1;
        if (!lost)
            files.segment_fds[0] = dup(before->pages);
        g_assert_cmpint(known_add_set(host.known, older_id, &files), ==, 0);
    }
    g_assert_cmpint(known_keep(host.known, dup(host.index), dup(host.pages), 64 << 20), ==, 0);
    return host;
}

/* Both ends, once it is said what they know. */
static void
visit_open(Visit *visit)
{
    visit->crew = crew_new(1, tools_new, tools_free);
    visit->unpacker = unpacker_new(visit->crew, visit->hosts[1].known);
    unpacker_remember(visit->unpacker);
    packer_free(visit->rig.packer);
    visit->rig.packer = make_packer(visit->rig.crew, visit->hosts[0].known, &visit->rig.total);
}

static void
visit_begin(Visit *visit, guint8 number, const Visit *before, gboolean lost)
{
    FrameSets offer, answer;

    *visit = (Visit){ 0 };
    rig_up(&visit->rig, 2, number);
    for (int i = 0; i < 2; i++)
        visit->hosts[i] = make_host(i, number, before != NULL ? &before->hosts[i] : NULL,
                                    lost && i == FLYWAY_DESTINATION);
    known_offer(visit->hosts[0].known, &offer);
    known_answer(visit->hosts[1].known, &offer, &answer);
    g_assert_cmpint(known_agree(visit->hosts[0].known, &answer), ==, 0);
    visit_open(visit);
}

/* Without recall on either side. */
static void
visit_begin_alone(Visit *visit)
{
    *visit = (Visit){ .hosts = { { NULL, -1, -1 }, { NULL, -1, -1 } } };
    rig_up(&visit->rig, 2, 1);
    visit_open(visit);
}

/* Completes both sets. */
static void
visit_seal(Visit *visit)
{
    g_assert_cmpint(known_seal(visit->hosts[0].known), ==, 0);
    g_assert_cmpint(known_seal(visit->hosts[1].known), ==, 0);
}

static void
visit_end(Visit *visit)
{
    unpacker_free(visit->unpacker);
    crew_free(visit->crew);
    rig_down(&visit->rig);
    for (int i = 0; i < 2; i++) {
        if (visit->hosts[i].known == NULL)
            continue;
        known_free(visit->hosts[i].known);
        close(visit->hosts[i].index);
        close(visit->hosts[i].pages);
    }
}

/* What the destination says and does at the moment. TRUE where there was something. */
static gboolean
visit_destination(Visit *visit)
{
    const PageBatch *plain;
    const guint8 *bytes;
    gboolean any = FALSE;
    guint32 number, set;
    Fault fault = { 0 };
    gsize length;

    while ((bytes = unpacker_ready(visit->unpacker, &length, &fault)) != NULL) {
        take(&visit->rig, bytes, length);
        unpacker_taken(visit->unpacker);
        packer_delivered(visit->rig.packer, length);
        any = TRUE;
    }
    g_assert_false(fault.set);
    while (unpacker_misses(visit->unpacker, &number, &set)) {
        visit->misses++;
        g_assert_true(packer_missed(visit->rig.packer, number, set));
    }
    while ((plain = packer_again(visit->rig.packer, &number)) != NULL) {
        g_assert_true(
            unpacker_again(visit->unpacker, number, plain->payload, plain->payload_length, &fault));
        packer_sent_again(visit->rig.packer);
        visit->agains++;
        any = TRUE;
    }
    return any;
}

/* One step of both ends; waits where neither has anything to do. */
static void
visit_step(Visit *visit)
{
    struct pollfd entries[] = { { .fd = crew_fd(visit->rig.crew), .events = POLLIN },
                                { .fd = crew_fd(visit->crew), .events = POLLIN } };
    const PageBatch *out = ready(&visit->rig);
    Fault fault = { 0 };

    if (out != NULL) {
        visit->payload += out->payload_length;
        g_assert_true(unpacker_batch(visit->unpacker, out->payload, out->payload_length,
                                     out->raw_length, &fault));
        packer_sent(visit->rig.packer);
    }
    if (visit_destination(visit) || out != NULL)
        return;
    g_assert_cmpint(poll(entries, 2, PATIENCE_MS), >, 0);
    crew_notice(visit->rig.crew);
    crew_notice(visit->crew);
}

static void
visit_carry(Visit *visit, const GByteArray *stream)
{
    Rig *rig = &visit->rig;

    rig->input = stream;
    while (rig->taken < stream->len) {
        gsize part = (gsize)g_rand_int_range(rig->rand, 1, 60000), room;
        guint8 *at = packer_room(rig->packer, &room);

        part = MIN(part, MIN(room, stream->len - rig->fed));
        if (part == 0) {
            packer_flush(rig->packer);
            visit_step(visit);
            continue;
        }
        memcpy(at, stream->data + rig->fed, part);
        rig->fed += part;
        packer_filled(rig->packer, part);
        if (g_rand_boolean(rig->rand) && !packer_is_empty(rig->packer)) {
            packer_flush(rig->packer);
            visit_step(visit);
        }
    }
    g_assert_true(packer_is_empty(rig->packer));
    g_clear_pointer(&rig->packer, packer_free); /* total has it all */
}

/* There, and back: what was carried before is referred to. */
static void
test_recalled(void)
{
    g_autoptr(GByteArray) stream = random_stream(20, 1500, "pc.ram");
    Visit first, second;

    visit_begin(&first, 1, NULL, FALSE);
    visit_carry(&first, stream);
    g_assert_cmpuint(first.rig.total.same, >, 100);
    g_assert_cmpuint(first.rig.total.recalled, ==, 0);
    visit_seal(&first);
    visit_begin(&second, 2, &first, FALSE);
    visit_carry(&second, stream);
    g_assert_cmpuint(second.rig.total.recalled, >, 500);
    g_assert_cmpuint(second.payload, <, first.payload / 4);
    g_assert_cmpuint(second.misses, ==, 0);
    visit_end(&second);
    visit_end(&first);
}

/* The destination has lost its pages: batches come again without references, and after some of them
 * the set isn't used any more. */
static void
test_missed(void)
{
    g_autoptr(GByteArray) stream = random_stream(21, 3000, "pc.ram");
    Visit first, second;

    visit_begin(&first, 1, NULL, FALSE);
    visit_carry(&first, stream);
    visit_seal(&first);
    visit_begin(&second, 2, &first, TRUE);
    visit_carry(&second, stream);
    g_assert_cmpuint(second.misses, >, 0);
    g_assert_cmpuint(second.agains, >=, second.misses);
    g_test_message("%u misses, %u batches again", second.misses, second.agains);
    visit_end(&second);
    visit_end(&first);
}

/* What is written to between passes goes as differences, with and without recall. */
static void
test_differences(void)
{
    g_autoptr(GByteArray) stream = written_stream(23, 700, 5);
    Visit with, without;

    visit_begin(&with, 1, NULL, FALSE);
    visit_carry(&with, stream);
    g_test_message("%" G_GUINT64_FORMAT " differed", with.rig.total.delta);
    g_assert_cmpuint(with.rig.total.delta, >, 700);
    visit_begin_alone(&without);
    visit_carry(&without, stream);
    g_assert_cmpuint(without.rig.total.delta, >, 700);
    g_assert_cmpuint(without.payload, <, 700 * PAGE_BYTES * 5 / 2);
    visit_end(&without);
    visit_end(&with);
}

/* Of batches that come again each is remembered once: differences behind them are right. */
static void
test_differences_missed(void)
{
    g_autoptr(GByteArray) stream = written_stream(24, 500, 4);
    Visit first, second;

    visit_begin(&first, 1, NULL, FALSE);
    visit_carry(&first, stream);
    visit_seal(&first);
    g_byte_array_unref(g_steal_pointer(&stream));
    stream = written_stream(24, 500, 6); /* the same, and two passes more */
    visit_begin(&second, 2, &first, TRUE);
    visit_carry(&second, stream);
    g_assert_cmpuint(second.misses, >, 0);
    g_assert_cmpuint(second.rig.total.delta, >, 100);
    g_test_message("%u misses, %u batches again, %" G_GUINT64_FORMAT " differed", second.misses,
                   second.agains, second.rig.total.delta);
    visit_end(&second);
    visit_end(&first);
}

/* What was delivered, or was never sent, can't be missed. */
static void
test_missed_wrongly(void)
{
    Rig rig;
    guint32 number;

    rig_up(&rig, 1, 22);
    g_assert_false(packer_missed(rig.packer, 0, 0));
    g_assert_false(packer_missed(rig.packer, G_MAXUINT32, G_MAXUINT32));
    g_assert_null(packer_again(rig.packer, &number));
    packer_sent_again(rig.packer);
    packer_delivered(rig.packer, 1000);
    rig_down(&rig);
}

/* ---- past the packer ------------------------------------------------------------------------- */

/* All that is read is taken at once, 4 GB in each second of the clock that the packer is shown: the
 * link is faster than any packing. The pieces are so small that the codec's speed isn't measured.
 */
static void
go_aside(Rig *rig)
{
    gsize start = rig->fed;

    while (!packer_is_aside(rig->packer)) {
        g_assert_cmpuint(rig->fed - start, <, GO_BYTES);
        feed(rig, 4000);
        drain(rig);
        rig->now_us++;
        packer_round(rig->packer, rig->now_us, PACKER_BY_NOTHING);
    }
    g_assert_true(packer_is_aside(rig->packer));
    g_assert_cmpstr(packer_way(rig->packer), ==, "pass");
}

/* Bytes go past it when it is empty, not before; a batch now and then still goes through it. */
static void
test_aside(void)
{
    g_autoptr(GByteArray) stream = random_stream(16, 34000, "pc.ram");
    g_autoptr(GByteArray) one = random_stream(16, 1, "pc.ram");
    guint64 direct;
    Rig rig;

    g_assert_cmpuint(stream->len, >, GO_BYTES + ASIDE_BYTES);
    rig_up(&rig, 2, 16);
    rig_again(&rig, stream);
    go_aside(&rig);
    while (packer_is_aside(rig.packer)) {
        gsize end = stream->len - 8;

        feed(&rig, (guint)MIN(60000, end - rig.fed));
        if (rig.fed == end) { /* further pages: the same again */
            rig.fed = rig.taken = one->len - 8;
            rig.repeated += end - rig.fed;
        }
    }
    direct = rig.counts.direct_bytes;
    g_assert_cmpuint(direct, >=, ASIDE_BYTES);
    g_assert_cmpuint(rig.fed, <, stream->len);
    while (ready(&rig) == NULL) { /* the batch that shows what packing would do */
        gsize room;

        g_assert_false(packer_is_aside(rig.packer));
        if (packer_room(rig.packer, &room) != NULL)
            feed(&rig, 60000);
    }
    wait_and_take(&rig);
    g_assert_cmpuint(rig.counts.direct_bytes, ==, direct);
    while (rig.fed < stream->len) {
        feed(&rig, 60000);
        take_batch(&rig);
    }
    drain(&rig);
    g_assert_cmpuint(rig.counts.direct_bytes, >, direct);
    assert_over(&rig);
    g_clear_pointer(&rig.packer, packer_free);
    assert_told(&rig.total, &rig.counts);
    rig_down(&rig);
}

/* The link becomes slow: packing begins again. The stream needs no parsing, so that it's quick. */
static void
test_back(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    guint batches = 0;
    Rig rig;

    g_byte_array_set_size(stream, GO_BYTES + ASIDE_BYTES);
    memset(stream->data, 'x', stream->len);
    rig_up(&rig, 1, 17);
    rig_again(&rig, stream);
    go_aside(&rig);
    for (; strcmp(packer_way(rig.packer), "pass") == 0; batches++) {
        g_assert_cmpuint(batches, <, 400);
        while (packer_is_aside(rig.packer)) {
            rig.fed = rig.taken = 0; /* the stream again */
            feed(&rig, ASIDE_BYTES);
        }
        rig.fed = rig.taken = 0;
        feed(&rig, PAGE_BATCH_RAW);
        packer_flush(rig.packer);
        wait_and_take(&rig);
        rig.now_us += 10 * G_USEC_PER_SEC;
        packer_round(rig.packer, rig.now_us, PACKER_BY_LINK);
    }
    g_test_message("after %u batches", batches);
    rig_down(&rig);
}

/* Rounds in all states. */
static void
test_rounds(void)
{
    g_autoptr(GByteArray) stream = random_stream(18, 500, "pc.ram");
    Rig rig;

    rig_up(&rig, 2, 18);
    rig_again(&rig, stream);
    while (rig.fed < stream->len) {
        guint what = (guint)g_rand_int_range(rig.rand, 0, 8);

        feed(&rig, 20000);
        if (what & 4)
            drain(&rig);
        rig.now_us += g_rand_int_range(rig.rand, 0, 30000);
        packer_round(rig.packer, rig.now_us, (PackerWait)(what % (PACKER_BY_NOTHING + 1)));
        g_assert_cmpuint(strlen(packer_way(rig.packer)), >, 0);
    }
    drain(&rig);
    for (guint i = 0; i < 20; i++) /* idle: nothing was read, nothing is learnt */
        packer_round(rig.packer, rig.now_us += 50000, PACKER_BY_SOURCE);
    assert_over(&rig);
    rig_down(&rig);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/packer/corpus", test_corpus);
    g_test_add_func("/flyway/packer/random", test_random);
    g_test_add_func("/flyway/packer/damaged", test_damaged);
    g_test_add_func("/flyway/packer/each-page-once", test_each_page_once);
    g_test_add_func("/flyway/packer/flush", test_flush);
    g_test_add_func("/flyway/packer/bounded", test_bounded);
    g_test_add_func("/flyway/packer/free-at-work", test_free_at_work);
    g_test_add_func("/flyway/packer/two", test_two);
    g_test_add_func("/flyway/packer/recalled", test_recalled);
    g_test_add_func("/flyway/packer/missed", test_missed);
    g_test_add_func("/flyway/packer/differences", test_differences);
    g_test_add_func("/flyway/packer/differences-missed", test_differences_missed);
    g_test_add_func("/flyway/packer/missed-wrongly", test_missed_wrongly);
    g_test_add_func("/flyway/packer/aside", test_aside);
    g_test_add_func("/flyway/packer/back", test_back);
    g_test_add_func("/flyway/packer/rounds", test_rounds);
    return g_test_run();
}
