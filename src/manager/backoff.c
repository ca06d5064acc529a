/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/backoff.h"

guint
backoff_ms(guint failures, guint32 dice)
{
    guint full = BACKOFF_FIRST_MS << MIN(failures > 0 ? failures - 1 : 0, 5);

    full = MIN(full, BACKOFF_MAX_MS);
    return full - dice % (full / 4);
}
