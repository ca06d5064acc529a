/* SPDX-License-Identifier: Apache-2.0 */
#include "motion/controller.h"

#include <string.h>

const char *const policy_nicks[] = { "gentle", "standard", "urgent", NULL };

/* The longest pause that a policy accepts, in milliseconds. */
static const gint64 cap_ms[] = {
    [POLICY_GENTLE] = 500, [POLICY_STANDARD] = 2000, [POLICY_URGENT] = 30000
};

/* A pass that begins with less than 7/8 of the best before it is progress. */
#define PROGRESS_NUMERATOR 7
#define PROGRESS_DENOMINATOR 8
/* So many passes without progress before the limit grows: dirtying comes in waves. */
#define STALLED_PASSES 2

gboolean
policy_parse(const char *word, Policy *policy)
{
    if (!word) {
        *policy = POLICY_STANDARD;
        return TRUE;
    }
    for (int i = 0; policy_nicks[i]; i++) {
        if (strcmp(word, policy_nicks[i]) == 0) {
            *policy = (Policy)i;
            return TRUE;
        }
    }
    return FALSE;
}

gint64
controller_pass(Controller *controller, gint64 remaining_bytes)
{
    if (controller->limit_ms == 0) {
        controller->limit_ms = CONTROLLER_FIRST_LIMIT_MS;
        controller->best_bytes = remaining_bytes;
        return controller->limit_ms;
    }
    if (remaining_bytes < controller->best_bytes / PROGRESS_DENOMINATOR * PROGRESS_NUMERATOR) {
        controller->best_bytes = remaining_bytes;
        controller->stalled = 0;
        return controller->limit_ms;
    }
    if (++controller->stalled >= STALLED_PASSES) {
        controller->stalled = 0;
        controller->limit_ms = MIN(controller->limit_ms * 2, cap_ms[controller->policy]);
        controller->at_cap = controller->limit_ms == cap_ms[controller->policy];
    }
    return controller->limit_ms;
}
