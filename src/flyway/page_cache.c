/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The header has the rule; this is why. What a running VM writes to again and
 * again is a small part of its memory, it is sent in each pass, and it is what is left at the end,
 * when the VM stands still. So a page gets room when it comes a second time; the bits that tell are
 * in the order of addresses, as QEMU sends, and stay in the processor's caches.
 *
 * Passes go over the addresses in order, so that what was used longest ago is what comes next:
 * where more pages are written than there is room, replacing the oldest at once would leave nothing
 * to be found. A page stays until PAGE_CACHE_STALE others came again after it was last sent: for
 * two passes of as many as there is room for. Then a pass over more finds a part of them, and what
 * the VM has stopped writing makes room all the same.
 *
 * Eight places a row: where three quarters of all are in use, one page in twenty finds its row
 * full; with four one in nine, with one three in ten.
 *
 * It is one allocation, larger than what malloc gives from its heap: untouched parts of it take no
 * memory, and zeros cost nothing.
 */
#include "flyway/page_cache.h"

#include <string.h>

#define GOLDEN G_GUINT64_CONSTANT(0x9e3779b97f4a7c15) /* 2^64 by the golden ratio */

typedef struct {
    guint64 key; /* the address, and 1; 0: empty */
    guint32 clock;
} Place;

struct PageCache {
    guint32 clock;
    Place places[PAGE_CACHE_PAGES];
    guint8 seen[PAGE_CACHE_SEEN / 8];
    guint8 pages[PAGE_CACHE_PAGES][PAGE_BYTES];
};

PageCache *
page_cache_new(void)
{
    return g_new0(PageCache, 1);
}

void
page_cache_free(PageCache *cache)
{
    g_free(cache);
}

/* The first of its row's places. */
static guint
row_of(guint64 address)
{
    guint64 hash = address / PAGE_BYTES * GOLDEN;

    hash = (hash ^ hash >> 32) * GOLDEN; /* once alone crowds some strides */
    return (guint)(hash >> (64 - PAGE_CACHE_ROW_BITS)) * PAGE_CACHE_WAYS;
}

static guint
bit_of(guint64 address)
{
    return (guint)(address / PAGE_BYTES % PAGE_CACHE_SEEN);
}

/* The place that has it, or -1. */
static gint
place_of(const PageCache *cache, guint64 address)
{
    guint row = row_of(address);

    for (guint i = row; i < row + PAGE_CACHE_WAYS; i++) {
        if (cache->places[i].key == (address | 1))
            return (gint)i;
    }
    return -1;
}

/* The place that a page may have which isn't there yet, or -1. */
static gint
room_for(const PageCache *cache, guint64 address)
{
    guint row = row_of(address), oldest = row;

    for (guint i = row; i < row + PAGE_CACHE_WAYS; i++) {
        if (cache->places[i].key == 0)
            return (gint)i;
        if (cache->clock - cache->places[i].clock > cache->clock - cache->places[oldest].clock)
            oldest = i;
    }
    return cache->clock - cache->places[oldest].clock > PAGE_CACHE_STALE ? (gint)oldest : -1;
}

const guint8 *
page_cache_find(const PageCache *cache, guint64 address)
{
    guint bit = bit_of(address);
    gint place = -1;

    if (cache->seen[bit / 8] & 1 << bit % 8) /* near others': a row seldom is */
        place = place_of(cache, address);
    return place < 0 ? NULL : cache->pages[place];
}

void
page_cache_take(PageCache *cache, guint64 address, const guint8 page[PAGE_BYTES])
{
    guint bit = bit_of(address);
    gint place;

    g_assert(address % PAGE_BYTES == 0);
    if (!(cache->seen[bit / 8] & 1 << bit % 8)) {
        cache->seen[bit / 8] |= (guint8)(1 << bit % 8);
        return;
    }
    cache->clock++;
    place = place_of(cache, address);
    if (place < 0)
        place = room_for(cache, address);
    if (place < 0)
        return;
    cache->places[place] = (Place){ .key = address | 1, .clock = cache->clock };
    memcpy(cache->pages[place], page, PAGE_BYTES);
}
