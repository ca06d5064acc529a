/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/inventory.h"
#include "manager/taskbook.h"

/** What a client wishes: all as it was given. */
typedef struct {
    const char *vm;     /* name or UUID */
    const char *to;     /* name or UUID of a host */
    const char *policy; /* NULL: standard */
    gint64 max_bps;     /* cap in bytes per second; 0: none */
} MigrationOrder;

/**
 * May this migration begin, by all that the manager knows? Pure: nothing is changed. (transfer
 * full) a queued task with a new id, not stored yet; its warnings are in migration->warnings.
 * Errors: NOT_FOUND (VM, host), CONFLICT (several VMs of that name; being migrated already),
 * UNREACHABLE (source not connected), REFUSED (destination not connected, and all that preflight
 * blocks).
 */
Task *admission_admit(const Inventory *inventory, const TaskBook *book, const MigrationOrder *order,
                      gint64 now_ms, GError **error);
