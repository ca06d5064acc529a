/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_service.h"
#include "model/model.h"

/**
 * Recall's part in one side of one migration: what to ask the service for, and what to tell it.
 *
 *     reserve   recollect_begin(), just before the worker is started: the loan's descriptors and
 *               key are for the worker, and for nobody else
 *     the end   recollect_end(), once, whatever became of the migration; also by a godwitd that was
 *               restarted meanwhile and has no loan
 *
 * A migration never fails by it. Runner's thread; service may be NULL.
 */

/** So long a worker may write its set after the session. */
#define RECOLLECT_SEAL_MS 60000

/** What the worker told of recall before it ended. All zero: it told nothing, it was lost. */
typedef struct {
    gboolean sealed;      /* the set is whole in its files */
    guint64 asked, found; /* source: pages that were looked up, and those sent as a number */
} Recollection;

/** NULL: the migration goes on without, and the log of level debug says why. (transfer full): free
 * it as soon as the worker has it. */
RecallLoan *recollect_begin(RecallService *service, const char *migration, const Vm *vm,
                            const char *peer_uuid);
/** How many pages, over all sets, the worker of a VM of this size may load: four times the VM's,
 * and at least RECOLLECT_PAGES_MIN. Each takes about 40 bytes of the worker's memory. */
guint32 recollect_max_pages(gint64 memory_bytes);
#define RECOLLECT_PAGES_MIN (1u << 20)
/** Keeps the set where the worker sealed it and the VM moved, else drops it; counts. */
void recollect_end(RecallService *service, const char *migration, gboolean moved,
                   const Recollection *told);
