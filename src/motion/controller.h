/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * The convergence controller: a pure function from what was observed at pass boundaries to QEMU's
 * downtime limit. The limit begins small, so that a VM which converges is stopped for little, and
 * grows only when a pass brought no progress: left to itself QEMU would then copy for ever.
 */
typedef enum { POLICY_GENTLE, POLICY_STANDARD, POLICY_URGENT } Policy;
extern const char *const policy_nicks[]; /* gentle standard urgent */
/** NULL means standard. FALSE where unknown. */
gboolean policy_parse(const char *word, Policy *policy);

#define CONTROLLER_FIRST_LIMIT_MS 20

typedef struct {
    Policy policy;
    gint64 limit_ms;   /* in force; 0 = none set yet */
    gint64 best_bytes; /* smallest amount left that a pass began with; 0 = no pass yet */
    guint stalled;     /* passes since that did not get clearly below it */
    gboolean at_cap;   /* the limit may not grow any more */
} Controller;

/** A pass begins with remaining_bytes left: the downtime limit to set, in milliseconds. */
gint64 controller_pass(Controller *controller, gint64 remaining_bytes);
