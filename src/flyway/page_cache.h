/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include "flyway/hash.h"

/**
 * The last versions of pages that a stream sends again and again, by guest address: what DELTA
 * (page.h) refers to. Both ends of a lane have one and feed it the same pages in the same order, so
 * both hold the same. This rule is a part of payload format 1, for a page at an address whose page
 * number n is address / 4096:
 *
 * 1. Bit n mod PAGE_CACHE_SEEN tells whether such a page was met. The first time it is set, and
 *    nothing else happens: a first pass over the memory takes no room here.
 * 2. Else the clock, 32 bits from 0, goes on by 1, modulo 2^32.
 * 3. With x = n x 0x9e3779b97f4a7c15, the page's row is the top PAGE_CACHE_ROW_BITS bits of
 *    (x xor x / 2^32) x 0x9e3779b97f4a7c15, all modulo 2^64. If one of its PAGE_CACHE_WAYS places
 *    has the address, that one takes the content and the clock.
 * 4. Else the first empty place of the row takes address, content and clock.
 * 5. Else the place whose clock is furthest back, if by more than PAGE_CACHE_STALE. Else none: what
 *    is in use stays, or a set of pages larger than the room would push out each before its turn.
 *
 * Addresses are as QEMU's words have them, of whichever RAM block. Where two blocks' pages have one
 * address, each is the other's last version: a bad one, which costs bytes and nothing else.
 *
 * Memory: 34.1 MiB of address space; of the pages' 32 MiB and the bits' 2 MiB only what was used.
 */
#define PAGE_CACHE_ROW_BITS 10
#define PAGE_CACHE_WAYS 8
#define PAGE_CACHE_PAGES (PAGE_CACHE_WAYS << PAGE_CACHE_ROW_BITS)
#define PAGE_CACHE_STALE (2 * PAGE_CACHE_PAGES)
#define PAGE_CACHE_SEEN (1u << 24) /* 64 GiB; larger VMs are believed to be met sooner */

/** One thread at a time; reading alone by any number. */
typedef struct PageCache PageCache;

/** Never NULL. */
PageCache *page_cache_new(void);
void page_cache_free(PageCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageCache, page_cache_free)

/** The last version, PAGE_BYTES until the next page_cache_take(); NULL: there is none. */
const guint8 *page_cache_find(const PageCache *cache, guint64 address);
/** The rule. address: a multiple of PAGE_BYTES. */
void page_cache_take(PageCache *cache, guint64 address, const guint8 page[PAGE_BYTES]);
