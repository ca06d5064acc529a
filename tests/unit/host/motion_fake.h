/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "motion/motion.h"

/**
 * Stands in for src/motion in the tests of src/host: remembers what it was asked and answers what
 * the test set. One at a time.
 */
typedef struct {
    Motion *now; /* the one that lives, or NULL */
    MotionConfig config;
    char *vm, *vm_migration; /* motion_of_vm(vm) = vm_migration */
    gint64 reserved_bytes;
    Migration *migration; /* the only one known; owned */
    guint started, cancelled, connections, events;
    char *peer, *word; /* of the last incoming call */
} MotionFake;

extern MotionFake motion_fake;
void motion_fake_reset(void);
