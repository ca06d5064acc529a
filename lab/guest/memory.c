/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Two regions. The *still* one is filled once. The *dirty* one is rewritten page by page, in order,
 * round and round. A page's content follows from (seed, number, version): the number and the
 * version themselves, then random bytes to the middle, then the version again and again.
 *
 * Which version a page must have isn't taken from the page, which may be an old one, consistent in
 * itself: still pages have version 1, and since dirty ones are written in order, round and place of
 * the next write tell all of theirs. Version 0 is a page that wasn't written yet: zeros.
 *
 * So a page that was lost, damaged, exchanged with another or set back alone is found at the next
 * check. Memory that is set back as a whole isn't: the witness's counters find that.
 *
 * The still region is the same in all guests, as if they had loaded the same system; of the dirty
 * one each guest has its own.
 *
 * The sum is over the bytes that were read (but number and version), not over those expected.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORDS           (MEMORY_PAGE_BYTES / sizeof(uint64_t))
#define STILL_SEED      0x676f64776974u
#define STILL_VERSION   1
#define FNV_BASIS       0xcbf29ce484222325u
#define FNV_PRIME       0x100000001b3u

static struct {
    /* read-only after setup */
    uint64_t seed;
    size_t dirty_pages, still_pages;
    uint64_t *dirty, *still;
    /* under the lock, as the dirty pages themselves */
    pthread_mutex_t lock;
    uint64_t round;             /* the next dirty page gets version round + 1 */
    size_t next_dirty;
    /* owned by the checking thread */
    size_t next;                /* of a round: still pages, then dirty ones */
    uint64_t sum, still_sum;
    struct memory_found found;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t
random_start(uint64_t seed, uint64_t number, uint64_t version)
{
    return mix(mix(seed ^ number) ^ version) | 1;
}

static inline uint64_t
random_next(uint64_t random)
{
    random ^= random << 13;
    random ^= random >> 7;
    return random ^ random << 17;
}

static void
make_page(uint64_t *page, uint64_t seed, uint64_t number, uint64_t version)
{
    uint64_t random = random_start(seed, number, version);

    page[0] = number;
    page[1] = version;
    for (size_t i = 2; i < WORDS / 2; i++)
        page[i] = random = random_next(random);
    for (size_t i = WORDS / 2; i < WORDS; i++)
        page[i] = version;
}

static uint64_t *
region(size_t bytes)
{
    void *memory;

    if (bytes == 0)
        return NULL;
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "witness: %zu bytes of memory to check: %s\n", bytes, strerror(errno));
        exit(1);
    }
    return memory;
}

void
memory_setup(uint64_t seed, size_t dirty_bytes, size_t still_bytes)
{
    self.seed = seed;
    self.dirty_pages = dirty_bytes / MEMORY_PAGE_BYTES;
    self.still_pages = still_bytes / MEMORY_PAGE_BYTES;
    self.dirty = region(dirty_bytes);
    self.still = region(still_bytes);
    self.found.pages = self.dirty_pages + self.still_pages;
}

void
memory_fill(void)
{
    for (size_t i = 0; i < self.still_pages; i++)
        make_page(self.still + i * WORDS, STILL_SEED, i, STILL_VERSION);
    self.sum = FNV_BASIS;
}

void
memory_dirty_next(void)
{
    pthread_mutex_lock(&self.lock);
    make_page(self.dirty + self.next_dirty * WORDS, self.seed, self.next_dirty, self.round + 1);
    if (++self.next_dirty == self.dirty_pages) {
        self.next_dirty = 0;
        self.round++;
    }
    pthread_mutex_unlock(&self.lock);
}

/* The bits in which a page isn't make_page()'s, over each other; each byte is read once: memory is
 * what is slow in an emulated guest. */
static uint64_t
difference(const uint64_t *page, uint64_t seed, uint64_t number, uint64_t version)
{
    uint64_t random = random_start(seed, number, version);
    uint64_t differ = (page[0] ^ number) | (page[1] ^ version);

    for (size_t i = 2; i < WORDS / 2; i++) {
        random = random_next(random);
        differ |= page[i] ^ random;
        self.sum = (self.sum ^ page[i]) * FNV_PRIME;
    }
    for (size_t i = WORDS / 2; i < WORDS; i++) {
        differ |= page[i] ^ version;
        self.sum = (self.sum ^ page[i]) * FNV_PRIME;
    }
    return differ;
}

static uint64_t
not_zero(const uint64_t *page)
{
    uint64_t differ = 0;

    for (size_t i = 0; i < WORDS; i++)
        differ |= page[i];
    return differ;
}

static void
compare(const uint64_t *page, uint64_t seed, uint64_t number, uint64_t version)
{
    self.found.checked++;
    if ((version > 0 ? difference(page, seed, number, version) : not_zero(page)) == 0)
        return;
    self.found.wrong++;
    self.found.wrong_page = self.next;
    self.found.wrong_carries = page[1];
    self.found.wrong_expected = version;
}

static void
check_still(size_t number)
{
    compare(self.still + number * WORDS, STILL_SEED, number, STILL_VERSION);
    if (number == self.still_pages - 1)     /* dirty pages, which come now, aren't in the sum */
        self.still_sum = self.sum;
}

static void
check_dirty(size_t number)
{
    pthread_mutex_lock(&self.lock);
    compare(self.dirty + number * WORDS, self.seed, number,
            self.round + (number < self.next_dirty));
    pthread_mutex_unlock(&self.lock);
}

void
memory_check_next(void)
{
    if (self.next < self.still_pages)
        check_still(self.next);
    else
        check_dirty(self.next - self.still_pages);
    if (++self.next < self.found.pages)
        return;
    self.next = 0;
    self.found.rounds++;
    self.found.sum = self.still_sum;
    self.sum = FNV_BASIS;
}

const struct memory_found *
memory_found(void)
{
    return &self.found;
}

void
memory_spoil(void)
{
    uint64_t *page = self.still != NULL ? self.still + self.still_pages / 2 * WORDS : self.dirty;

    if (page == NULL)
        return;
    pthread_mutex_lock(&self.lock);
    page[WORDS - 1] ^= 1;
    pthread_mutex_unlock(&self.lock);
}
