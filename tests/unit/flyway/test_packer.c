/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/packer.h"

#include <string.h>

/*
 * A stream of 2,000 page records goes through a packer in pieces of random sizes, some of them past
 * it: what comes out is what went in, and each record is counted once.
 */
#define RECORDS 2000u
#define PAGES_OF_RANDOM 5u /* one of so many pages doesn't compress */

typedef struct {
    GByteArray *in, *out;
    guint64 zero_records;
    PageBatch *unpacked;
    PageCodec *codec;
} Trip;

static void
put(GByteArray *out, guint64 value, guint size)
{
    for (guint i = size; i-- > 0;) {
        guint8 byte = (guint8)(value >> 8 * i);

        g_byte_array_append(out, &byte, 1);
    }
}

static void
put_text(GByteArray *out, const char *text)
{
    put(out, strlen(text), 1);
    g_byte_array_append(out, (const guint8 *)text, (guint)strlen(text));
}

static void
put_body(GByteArray *out, guint number)
{
    for (guint i = 0; i < STREAM_PAGE_SIZE; i += 4)
        put(out, number % PAGES_OF_RANDOM == 0 ? g_test_rand_int() & G_MAXUINT32 : number + i, 4);
}

static void
write_stream(Trip *trip)
{
    GByteArray *out = trip->in;

    put(out, 0x5145564d, 4);
    put(out, 3, 4);
    put(out, 1, 1); /* the ram section: number 2, its list of blocks */
    put(out, 2, 4);
    put_text(out, "ram");
    put(out, 0, 4);
    put(out, 4, 4);
    put(out, (guint64)RECORDS * STREAM_PAGE_SIZE | 0x04, 8);
    put_text(out, "pc.ram");
    put(out, (guint64)RECORDS * STREAM_PAGE_SIZE, 8);
    put(out, 0x10, 8);
    put(out, 2, 1);
    put(out, 2, 4);
    for (guint i = 0; i < RECORDS; i++) {
        gboolean zero = g_test_rand_int_range(0, 3) == 0;

        put(out, (guint64)i * STREAM_PAGE_SIZE | (zero ? 0x02 : 0x08) | (i > 0 ? 0x20 : 0), 8);
        if (i == 0)
            put_text(out, "pc.ram");
        if (zero)
            put(out, 0, 1);
        else
            put_body(out, i);
        trip->zero_records += zero;
    }
    put(out, 0x10, 8);
}

/* What is ready goes to the other end; with `all` until nothing is left. */
static void
drain(Trip *trip, Packer *packer, gboolean all)
{
    const PageBatch *batch;

    if (all)
        packer_flush(packer);
    packer_run(packer);
    while ((batch = packer_ready(packer)) != NULL || (all && !packer_is_empty(packer))) {
        const char *why = NULL;

        if (batch == NULL) {
            packer_flush(packer);
            packer_run(packer);
            g_thread_yield();
            continue;
        }
        g_assert_cmpint(
            page_unpack(trip->unpacked, trip->codec, batch->payload, batch->payload_length, &why),
            ==, 0);
        g_assert_cmpint(page_fill(trip->unpacked, NULL, NULL), ==, 0);
        g_byte_array_append(trip->out, trip->unpacked->raw, trip->unpacked->raw_length);
        page_batch_clear(trip->unpacked);
        packer_sent(packer);
    }
}

/* Takes up to `length` bytes through the packer; gives how many. */
static gsize
through(Trip *trip, Packer *packer, const guint8 *bytes, gsize length)
{
    gsize room;
    guint8 *at = packer_room(packer, &room);

    if (room == 0) {
        drain(trip, packer, packer_is_aside(packer));
        return 0;
    }
    length = MIN(length, room);
    memcpy(at, bytes, length);
    packer_filled(packer, length);
    return length;
}

static guint64
sum(const PackerCounts *counts)
{
    return counts->zero + counts->same + counts->recalled + counts->delta + counts->compressed +
           counts->raw;
}

/* past: of a hundred pieces, how many go past it. most: of a piece. */
static PackerCounts
travel(Trip *trip, gint past, gint most)
{
    Crew *crew = crew_new(2, packer_tools_new, packer_tools_free);
    PackerCounts total = { 0 }, before_end = { 0 };
    Packer *packer = packer_new(crew, NULL, &total);
    guint64 direct = 0;
    gint64 now_us = 1;

    for (gsize at = 0; at < trip->in->len;) {
        gsize length = (gsize)g_test_rand_int_range(1, most);

        length = MIN(length, trip->in->len - at);
        if (packer_is_aside(packer) || g_test_rand_int_range(0, 100) < past) {
            drain(trip, packer, TRUE);
            packer_direct(packer, trip->in->data + at, length);
            g_byte_array_append(trip->out, trip->in->data + at, (guint)length);
            direct += length;
            at += length;
        } else {
            at += through(trip, packer, trip->in->data + at, length);
            drain(trip, packer, FALSE);
        }
        packer_round(packer, now_us += 10000, TRUE, TRUE); /* as on a slow link */
    }
    drain(trip, packer, TRUE);
    packer_add_counts(packer, &before_end);
    packer_free(packer);
    crew_free(crew);
    g_assert_cmpmem(&before_end, sizeof before_end, &total, sizeof total);
    g_assert_cmpuint(total.direct_bytes, ==, direct);
    return total;
}

static void
test_counts(gconstpointer data)
{
    gint past = GPOINTER_TO_INT(data);

    for (gint most = 1000; most <= 1000000; most *= 10) {
        Trip trip = { .in = g_byte_array_new(),
                      .out = g_byte_array_new(),
                      .unpacked = page_batch_new(),
                      .codec = page_codec_new() };
        PackerCounts counts;

        write_stream(&trip);
        counts = travel(&trip, past, most);
        g_assert_cmpmem(trip.out->data, trip.out->len, trip.in->data, trip.in->len);
        g_assert_cmpuint(sum(&counts), ==, RECORDS);
        g_assert_cmpuint(counts.raw, >, 0); /* those of random bytes */
        if (past == 0) {
            g_assert_cmpuint(counts.compressed, >, RECORDS / 4);
            g_assert_cmpuint(counts.zero, <=, trip.zero_records);
        } else if (past == 100) {
            g_assert_cmpuint(counts.zero, ==, trip.zero_records);
            g_assert_cmpuint(counts.raw, ==, RECORDS - trip.zero_records);
            g_assert_cmpuint(counts.direct_bytes, ==, trip.in->len);
        }
        g_byte_array_unref(trip.in);
        g_byte_array_unref(trip.out);
        page_batch_free(trip.unpacked);
        page_codec_free(trip.codec);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/flyway/packer/packed", GINT_TO_POINTER(0), test_counts);
    g_test_add_data_func("/flyway/packer/mixed", GINT_TO_POINTER(20), test_counts);
    g_test_add_data_func("/flyway/packer/past-it", GINT_TO_POINTER(100), test_counts);
    return g_test_run();
}
