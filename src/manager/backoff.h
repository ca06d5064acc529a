/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS 30000

/**
 * How long to wait before the next try after `failures` (>= 1) in a row: doubled from 1 s to 30 s,
 * and up to a quarter less by `dice` (any number), so that a thousand hosts don't come back at
 * once. Pure.
 */
guint backoff_ms(guint failures, guint32 dice);
