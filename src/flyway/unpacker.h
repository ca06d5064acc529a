/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/crew.h"
#include "flyway/fault.h"
#include "flyway/known.h"

/**
 * The destination's side of a stream lane: batches become the bytes that QEMU gets, in order.
 * Belongs to the loop's thread. See unpacker.c.
 */
typedef struct Unpacker Unpacker;

/** crew: of one thread, its tools tools_new()'s (tools.h); known: NULL, or only the crew's from now
 * on. Both are kept, not owned. */
Unpacker *unpacker_new(Crew *crew, Known *known);
/** Pages may come as differences from what came before; the source's remembers, too. To be called
 * before any batch. */
void unpacker_remember(Unpacker *unpacker);
/** Waits for a batch that the crew has. */
void unpacker_free(Unpacker *unpacker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Unpacker, unpacker_free)

/** What came, in its order. room: raw bytes that it may have at most. FALSE with fault. */
gboolean unpacker_batch(Unpacker *unpacker, const guint8 *payload, gsize length, gsize room,
                        Fault *fault);
void unpacker_direct(Unpacker *unpacker, const guint8 *bytes, gsize length);
/** A batch's payload without references. FALSE with fault. */
gboolean unpacker_again(Unpacker *unpacker, guint32 batch, const guint8 *payload, gsize length,
                        Fault *fault);

/** The next bytes, until unpacker_taken(); NULL: none yet, or none at all with fault set. */
const guint8 *unpacker_ready(Unpacker *unpacker, gsize *length, Fault *fault);
void unpacker_taken(Unpacker *unpacker);
/** Raw bytes that are in it. */
gsize unpacker_bytes(const Unpacker *unpacker);

/** TRUE once for each batch that has to come again: which, and of which set a page is missing. */
gboolean unpacker_misses(Unpacker *unpacker, guint32 *batch, guint32 *set);
/** known_kept() of what is done. */
guint32 unpacker_kept(const Unpacker *unpacker);
