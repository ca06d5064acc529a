/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Memory whose every byte the guest knows, so that it can tell whether a page was lost, mixed up or
 * set back. See memory.c. Whatever can't be done ends the program. */

#define MEMORY_PAGE_BYTES 4096

/* What the checks found since the start. */
struct memory_found {
    uint64_t pages;             /* that are walked over: one round */
    uint64_t checked, rounds;   /* checks of a page, and complete rounds */
    uint64_t wrong;             /* checks that failed */
    uint64_t sum;               /* over the still region in the last complete round; 0: none yet */
    uint64_t wrong_page, wrong_carries, wrong_expected;     /* the last failure: the page's place
                                   in the round, the version it carries, the one it should */
};

/* Once, before all others. Either size may be 0. */
void memory_setup(uint64_t seed, size_t dirty_bytes, size_t still_bytes);
/* Fills the still region. Thread: the checking one, first of all. */
void memory_fill(void);
/* Checks the next page. Thread: the checking one. */
void memory_check_next(void);
/* Thread: the checking one. */
const struct memory_found *memory_found(void);
/* Writes the next page of the dirty region. Any one thread. */
void memory_dirty_next(void);
/* Changes one bit behind the checks' back, of a still page if there are any. Any thread. */
void memory_spoil(void);
