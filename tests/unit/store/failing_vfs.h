/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * SQLite's file system with a fault in it: becomes the default, so that the store under test opens
 * its files through it. Counts the calls that change something on disk (write, sync, truncate) and
 * lets the one that is due, and all after it until it is healed, fail.
 */
void failing_vfs_install(void);
/** The n-th changing call from now on fails (1 = the next) with this SQLite code; 0 = none does. */
void failing_vfs_arm(int n, int code);
/** Whether a call has failed since failing_vfs_arm. */
gboolean failing_vfs_struck(void);
