/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * What must be true for a migration to begin: a const table of checks, each a pure function over
 * facts. Used by the manager before it accepts, and again by the destination at reserve, with its
 * own fresh facts.
 */
typedef struct {
    const Vm *vm;
    const Facts *source; /* NULL: unknown (not connected) */
    const Facts *destination;
    gint64 destination_headroom_bytes;
} PreflightInput;

typedef enum { PREFLIGHT_BLOCKS, PREFLIGHT_WARNS } PreflightSeverity;

typedef struct {
    const char *id; /* "vm-running", static */
    PreflightSeverity severity;
    char *message; /* names VM, device, host, value; what to do */
} PreflightFinding;
void preflight_finding_free(PreflightFinding *finding);

/** All findings, in table order, empty where nothing speaks against it. (transfer full) */
GPtrArray *preflight_check(const PreflightInput *input);
/** REFUSED with all blocking messages; warnings (may be NULL) gets the others' texts. */
gboolean preflight_admit(const PreflightInput *input, GStrv *warnings, GError **error);
