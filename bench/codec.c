/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the page codec is, and how much it saves: a file of raw pages (a guest's memory, as
 * QEMU's pmemsave writes it) goes through every step at every level, on one thread, and is compared
 * with what it was. With a second file, of the memory that the destination is to know already
 * (recall), pages of it are referred to.
 *
 *     build/bench/codec MEMORY [KNOWN]
 *
 * Prints for each level: MB/s of raw pages (those that aren't zero) by step, bytes of payload.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "flyway/page.h"

enum { PREPARE, CHOOSE, PACK, UNPACK, FILL, STEPS };

typedef struct {
    const guint8 *memory, *known;
    gsize length, known_length; /* whole pages */
    PageHasher *hasher;
    PageCodec *codec;
    PageBatch *out, *in;
    GHashTable *set;    /* hash of a page of KNOWN → ordinal + 1 */
    GHashTable *sent;   /* hash of a page sent → ordinal + 1 */
    const guint8 **got; /* pages that the destination was sent, in order */
    guint n_got;
    double seconds[STEPS];
    PageCounts sum;
    guint64 raw, payload;
} Run;

static const guint8 nothing[PAGE_BYTES];

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static guint
hash_of_key(gconstpointer key)
{
    guint value;

    memcpy(&value, key, sizeof value);
    return value;
}

static gboolean
same_key(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, PAGE_HASH_BYTES) == 0;
}

static gboolean
find(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference)
{
    Run *run = data;
    guint sent = GPOINTER_TO_UINT(g_hash_table_lookup(run->sent, hash));
    guint known = GPOINTER_TO_UINT(g_hash_table_lookup(run->set, hash));

    *reference = (PageReference){ sent == 0, (sent > 0 ? sent : known) - 1 };
    return sent > 0 || known > 0;
}

static void
added(gpointer data, const guint8 hash[PAGE_HASH_BYTES])
{
    Run *run = data;

    g_hash_table_insert(run->sent, g_memdup2(hash, PAGE_HASH_BYTES),
                        GUINT_TO_POINTER(g_hash_table_size(run->sent) + 1));
}

static int
fetch(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES])
{
    Run *run = data;

    memcpy(out,
           reference->set == 0 ? run->got[reference->ordinal]
                               : run->known + (gsize)reference->ordinal * PAGE_BYTES,
           PAGE_BYTES);
    return 0;
}

static void
added_there(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash)
{
    Run *run = data;

    run->got[run->n_got++] = g_memdup2(page, PAGE_BYTES);
}

/* As QEMU sends them, until the batch is full. */
static gsize
fill(Run *run, gsize page, GArray *spans)
{
    PageBatch *batch = run->out;

    page_batch_clear(batch);
    g_array_set_size(spans, 0);
    for (; page < run->length / PAGE_BYTES; page++) {
        const guint8 *bytes = run->memory + page * PAGE_BYTES;
        gboolean zero = memcmp(bytes, nothing, PAGE_BYTES) == 0;
        guint32 size = zero ? 1 : PAGE_BYTES;
        StreamSpan span = { .kind = zero ? STREAM_ZERO : STREAM_PAGE };
        guint64 word = GUINT64_TO_BE(page * PAGE_BYTES | (zero ? 0x22 : 0x28));

        if (batch->raw_length + 8 + size > PAGE_BATCH_RAW)
            break;
        span.header = batch->raw_length;
        span.body = span.header + 8;
        memcpy(batch->raw + span.header, &word, 8);
        memcpy(batch->raw + span.body, bytes, size);
        batch->raw_length += 8 + size;
        g_array_append_val(spans, span);
    }
    return page;
}

static void
step(Run *run, guint which, double *last)
{
    double at = now();

    run->seconds[which] += at - *last;
    *last = at;
}

static gboolean
carry(Run *run, PagePackLevel level, const GArray *spans)
{
    static const PageKnown known = { .find = find, .added = added };
    static const PageFetch fetches = { .fetch = fetch, .added = added_there };
    const char *why = "";
    double last = now();
    int result;

    page_spans(run->out, &g_array_index(spans, StreamSpan, 0), spans->len);
    page_prepare(run->out, run->hasher);
    step(run, PREPARE, &last);
    page_choose(run->out, &known, run);
    step(run, CHOOSE, &last);
    page_pack(run->out, run->codec, level);
    step(run, PACK, &last);
    result = page_unpack(run->in, run->codec, run->out->payload, run->out->payload_length, &why);
    step(run, UNPACK, &last);
    if (result == 0)
        result = page_fill(run->in, &fetches, run);
    step(run, FILL, &last);
    if (result < 0 || run->in->raw_length != run->out->raw_length ||
        memcmp(run->in->raw, run->out->raw, run->out->raw_length) != 0) {
        fprintf(stderr, "codec: what came out isn't what went in: %s\n", why);
        return FALSE;
    }
    run->raw += run->out->raw_length;
    run->payload += run->out->payload_length;
    run->sum.zero += run->out->counts.zero;
    run->sum.same += run->out->counts.same;
    run->sum.recalled += run->out->counts.recalled;
    run->sum.compressed += run->out->counts.compressed;
    run->sum.raw += run->out->counts.raw;
    return TRUE;
}

static void
print_run(const Run *run, const char *name)
{
    const PageCounts *sum = &run->sum;
    guint pages = sum->same + sum->recalled + sum->compressed + sum->raw;
    double megabytes = (double)pages * PAGE_BYTES / 1e6;

    printf("%-10s", name);
    for (guint i = 0; i < STEPS; i++)
        printf(" %8.0f", megabytes / run->seconds[i]);
    printf(" %9.1f %9.1f %7.2f  %u %u %u %u %u\n", (double)run->raw / 1e6,
           (double)run->payload / 1e6, (double)run->raw / (double)run->payload, sum->zero,
           sum->same, sum->recalled, sum->compressed, sum->raw);
}

static gboolean
run_level(Run *run, PagePackLevel level, const char *name)
{
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(StreamSpan));
    gboolean good = TRUE;

    memset(run->seconds, 0, sizeof run->seconds);
    run->sum = (PageCounts){ 0 };
    run->raw = run->payload = 0;
    run->sent = g_hash_table_new_full(hash_of_key, same_key, g_free, NULL);
    run->got = g_new0(const guint8 *, run->length / PAGE_BYTES);
    run->n_got = 0;
    for (gsize page = 0; good && page < run->length / PAGE_BYTES;) {
        page = fill(run, page, spans);
        good = carry(run, level, spans);
    }
    if (good)
        print_run(run, name);
    for (guint i = 0; i < run->n_got; i++)
        g_free((gpointer)run->got[i]);
    g_free(run->got);
    g_hash_table_unref(run->sent);
    return good;
}

/* All pages of a file are known, as set 1. */
static void
learn(Run *run)
{
    run->set = g_hash_table_new_full(hash_of_key, same_key, g_free, NULL);
    for (gsize i = 0; i < run->known_length / PAGE_BYTES; i++) {
        guint8 *hash = g_malloc(PAGE_HASH_BYTES);

        page_hash(run->hasher, run->known + i * PAGE_BYTES, hash);
        if (g_hash_table_contains(run->set, hash))
            g_free(hash);
        else
            g_hash_table_insert(run->set, hash, GUINT_TO_POINTER(i + 1));
    }
}

static GMappedFile *
open_pages(const char *path)
{
    g_autoptr(GError) error = NULL;
    GMappedFile *file = g_mapped_file_new(path, FALSE, &error);

    if (file == NULL)
        fprintf(stderr, "codec: %s\n", error->message);
    return file;
}

int
main(int argc, char **argv)
{
    static const char *const names[PAGE_LEVELS] = { "raw", "lz4", "zstd-fast", "zstd-best" };
    static const guint8 key[PAGE_KEY_BYTES] = "a benchmark's key";
    g_autoptr(GMappedFile) memory = argc > 1 ? open_pages(argv[1]) : NULL;
    g_autoptr(GMappedFile) known = argc > 2 ? open_pages(argv[2]) : NULL;
    g_autoptr(PageHasher) hasher = hash_new(key);
    g_autoptr(PageCodec) codec = page_codec_new();
    g_autoptr(PageBatch) out = page_batch_new(), in = page_batch_new();
    Run run = { .hasher = hasher, .codec = codec, .out = out, .in = in };
    gboolean good = TRUE;

    if (memory == NULL || argc > 3 || (argc == 3 && known == NULL)) {
        fprintf(stderr, "usage: codec MEMORY [KNOWN]\n");
        return 2;
    }
    run.memory = (const guint8 *)g_mapped_file_get_contents(memory);
    run.length = g_mapped_file_get_length(memory) / PAGE_BYTES * PAGE_BYTES;
    if (known != NULL) {
        run.known = (const guint8 *)g_mapped_file_get_contents(known);
        run.known_length = g_mapped_file_get_length(known) / PAGE_BYTES * PAGE_BYTES;
    }
    learn(&run);
    printf("%-10s %8s %8s %8s %8s %8s %9s %9s %7s  zero same recalled compressed raw\n", "MB/s of",
           "prepare", "choose", "pack", "unpack", "fill", "raw MB", "payload", "ratio");
    for (guint level = 0; good && level < PAGE_LEVELS; level++)
        good = run_level(&run, level, names[level]);
    g_hash_table_unref(run.set);
    return good ? 0 : 1;
}
