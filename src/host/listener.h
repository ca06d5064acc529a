/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/**
 * The flyway port: accepts connections of other hosts' workers and hands each on once its preamble
 * has arrived. Main loop only.
 */
typedef struct Listener Listener;

/** Takes fd: a connected, non-blocking socket with at least FLYWAY_PREAMBLE_SIZE bytes to read. */
typedef void (*ListenerFunc)(int fd, gpointer user_data);

typedef struct {
    guint max_pending;      /* connections whose preamble is awaited; 0 = 64 */
    guint per_second;       /* accepted on average; 0 = 50 */
    guint preamble_wait_ms; /* 0 = 5000 */
} ListenerLimits;

/** addresses: IP addresses, NULL-terminated. port 0: any free (tests). CONFLICT where it is taken,
 * INVALID where an address can't be listened on; both say which and what to do. */
Listener *listener_new(const char *const *addresses, guint port, const ListenerLimits *limits,
                       ListenerFunc func, gpointer user_data, GError **error);
guint listener_port(const Listener *listener);
guint listener_pending(const Listener *listener);
void listener_free(Listener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Listener, listener_free)

/** A bound, non-blocking TCP socket for address and port, or -1. Also what --check tries. */
int listener_bind(const char *address, guint port, GError **error);
