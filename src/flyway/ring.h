/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <string.h>
#include <glib.h>

/** A byte ring of fixed size. Starts at its beginning again whenever it runs empty, so that a lane
 * that keeps up touches little memory. */
typedef struct {
    guint8 *bytes; /* owned */
    gsize size, start, length;
} Ring;

static inline void
ring_init(Ring *ring, gsize size)
{
    *ring = (Ring){ .bytes = g_malloc(size), .size = size };
}

static inline void
ring_clear(Ring *ring)
{
    g_free(ring->bytes);
    *ring = (Ring){ 0 };
}

/** The caller has checked that size - length suffices. */
static inline void
ring_put(Ring *ring, const guint8 *bytes, gsize length)
{
    gsize at = (ring->start + ring->length) % ring->size;
    gsize first = MIN(length, ring->size - at);

    g_assert(length <= ring->size - ring->length);
    memcpy(ring->bytes + at, bytes, first);
    memcpy(ring->bytes, bytes + first, length - first);
    ring->length += length;
}

/** The first bytes that stand together. */
static inline const guint8 *
ring_peek(const Ring *ring, gsize *length)
{
    *length = MIN(ring->length, ring->size - ring->start);
    return ring->bytes + ring->start;
}

static inline void
ring_drop(Ring *ring, gsize length)
{
    g_assert(length <= ring->length);
    ring->length -= length;
    ring->start = ring->length == 0 ? 0 : (ring->start + length) % ring->size;
}
