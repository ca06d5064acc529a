/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/** Connects to a destination's flyway port, without blocking, for a source's worker. See dial.c. */

/** fd: connected, preamble sent; the callee's. -1: no address could be reached, error says what was
 * tried. address: the one it is connected to; NULL where there is none. */
typedef void (*DialFunc)(int fd, const char *address, const GError *error, gpointer data);

/**
 * Tries the addresses in turn, each once, beginning with the one at `first` (modulo their number).
 * func is called once, in the thread's default context, also when cancelled. addresses: at least
 * one; copied. id: the migration.
 */
void dial(const char *const *addresses, guint first, guint16 port, const char *id,
          GCancellable *cancel, DialFunc func, gpointer data);
