/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differences save and cost, in one run: passes over memory of which a few words a page were
 * written, packed with and without; and the time of the step that the loop does in order.
 */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "flyway/page.h"

#define RECORD (8 + PAGE_BYTES)
#define PAGES 6000u
#define A_BATCH 31u
#define PASSES 5u

typedef struct {
    const char *name;
    guint words; /* written in a page, between passes */
} Load;

typedef struct {
    double step_ns, pack_ns, rebuild_ns, remember_ns; /* a page; the last three: last pass */
    guint64 bytes, delta, plain;
    double first_ns, second_ns;
} Figures;

/* Text and numbers, as they stand in memory: LZ4 makes a half of it. */
static guint8 *
make_memory(GRand *rand)
{
    guint8 *memory = g_malloc((gsize)PAGES * PAGE_BYTES);

    for (gsize i = 0; i < (gsize)PAGES * PAGE_BYTES; i += 8) {
        guint64 word = i % 32 < 16
                           ? G_GUINT64_CONSTANT(0x7f0000000000) + g_rand_int(rand) % 65536 * 16
                           : (guint64)g_rand_int(rand) << 32 | g_rand_int(rand);

        if (i % 64 >= 40)
            word = 0;
        memcpy(memory + i, &word, sizeof word);
    }
    return memory;
}

static void
write_words(GRand *rand, guint8 *memory, guint words)
{
    for (guint page = 0; page < PAGES; page++) {
        for (guint i = 0; i < words; i++) {
            guint64 word = (guint64)g_rand_int(rand) << 32 | g_rand_int(rand);
            gsize at = (gsize)page * PAGE_BYTES + (gsize)g_rand_int_range(rand, 0, 512) * 8;

            memcpy(memory + at, &word, sizeof word);
        }
    }
}

static void
fill(PageBatch *batch, const guint8 *memory, guint first, guint n)
{
    page_batch_clear(batch);
    for (guint i = 0; i < n; i++) {
        StreamSpan span = { .kind = STREAM_PAGE, .header = i * RECORD, .body = i * RECORD + 8 };
        guint64 word = GUINT64_TO_BE((guint64)(first + i) * 7 << 12 | 0x28);

        memcpy(batch->raw + span.header, &word, sizeof word);
        memcpy(batch->raw + span.body, memory + (gsize)(first + i) * PAGE_BYTES, PAGE_BYTES);
        batch->raw_length += RECORD;
        page_spans(batch, &span, 1);
    }
}

static double
ns_since(gint64 begin_us)
{
    return (double)(clock_monotonic_us() - begin_us) * 1000;
}

typedef struct {
    PageBatch *out, *in;
    PageCodec *codec;
    PageCache *here, *there;
} Ends;

/* A pass; ns summed in figures. */
static void
carry(Ends *ends, const guint8 *memory, PagePackLevel level, gboolean differs, Figures *f)
{
    *f = (Figures){ 0 };
    for (guint first = 0; first < PAGES; first += A_BATCH) {
        const char *why;
        gint64 begin_us;

        fill(ends->out, memory, first, MIN(A_BATCH, PAGES - first));
        begin_us = clock_monotonic_us();
        if (differs) {
            page_bases(ends->out, ends->here);
            page_remember(ends->out, ends->here);
        }
        f->step_ns += ns_since(begin_us);
        begin_us = clock_monotonic_us();
        page_pack(ends->out, ends->codec, level);
        f->pack_ns += ns_since(begin_us);
        f->bytes += ends->out->payload_length;
        f->plain += ends->out->counts.plain_bytes;
        f->delta += ends->out->counts.delta;
        begin_us = clock_monotonic_us();
        g_assert(page_unpack(ends->in, ends->codec, ends->out->payload, ends->out->payload_length,
                             &why) == 0);
        g_assert(page_rebuild(ends->in, ends->there, &why) == 0);
        f->rebuild_ns += ns_since(begin_us);
        begin_us = clock_monotonic_us();
        if (differs)
            page_remember(ends->in, ends->there);
        f->remember_ns += ns_since(begin_us);
        g_assert(memcmp(ends->in->raw, ends->out->raw, ends->out->raw_length) == 0);
    }
}

static Figures
measure(const Load *load, PagePackLevel level, gboolean differs)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autofree guint8 *memory = make_memory(rand);
    Ends ends = { page_batch_new(), page_batch_new(), page_codec_new(), page_cache_new(),
                  page_cache_new() };
    Figures f = { 0 };
    double first_ns = 0, second_ns = 0;

    for (guint pass = 0; pass < PASSES; pass++) {
        carry(&ends, memory, level, differs, &f);
        if (pass == 0)
            first_ns = f.step_ns;
        if (pass == 1)
            second_ns = f.step_ns;
        write_words(rand, memory, load->words);
    }
    f.first_ns = first_ns / PAGES;
    f.second_ns = second_ns / PAGES;
    f.step_ns /= PAGES;
    f.pack_ns /= PAGES;
    f.rebuild_ns /= PAGES;
    f.remember_ns /= PAGES;
    page_batch_free(ends.out);
    page_batch_free(ends.in);
    page_codec_free(ends.codec);
    page_cache_free(ends.here);
    page_cache_free(ends.there);
    return f;
}

int
main(void)
{
    static const char *const levels[] = { "raw", "lz4", "zstd-fast", "zstd-best" };
    static const Load loads[] = { { "1 word", 1 }, { "8 words", 8 }, { "64 words", 64 } };

    printf("%u pages, pass %u; ns per page\n", PAGES, PASSES);
    printf("%-9s %-10s %-5s %9s %9s %6s %6s %6s %6s %6s | in order: %5s %6s\n", "written", "level",
           "", "plain", "payload", "delta", "order", "pack", "unpack", "remem", "first", "second");
    for (guint i = 0; i < G_N_ELEMENTS(loads); i++) {
        for (guint level = 0; level < PAGE_LEVELS; level++) {
            for (guint differs = 0; differs < 2; differs++) {
                Figures f = measure(&loads[i], level, differs != 0);

                printf("%-9s %-10s %-5s %9" G_GUINT64_FORMAT " %9" G_GUINT64_FORMAT
                       " %6" G_GUINT64_FORMAT " %6.0f %6.0f %6.0f %6.0f | %15.0f %6.0f\n",
                       loads[i].name, levels[level], differs ? "delta" : "", f.plain, f.bytes,
                       f.delta, f.step_ns, f.pack_ns, f.rebuild_ns, f.remember_ns, f.first_ns,
                       f.second_ns);
            }
        }
    }
    return 0;
}
