/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include "base/error.h"

/**
 * A fault: why something ended, without allocation, for the worker's data path. The first one told
 * stays: what follows from it is not its cause.
 */
typedef struct {
    gboolean set;
    GodwitError code;
    char text[400]; /* UTF-8 */
} Fault;

/** Sets the fault unless one is set. fault may be NULL. */
void fault_set(Fault *fault, GodwitError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
