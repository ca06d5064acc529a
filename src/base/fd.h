/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <unistd.h>

/** A descriptor owned by a scope: `fd_auto int fd = -1;`. */
static inline void
fd_close_p(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define fd_auto __attribute__((cleanup(fd_close_p)))

/** Returns *fd and leaves -1: ownership moves to the caller. */
static inline int
fd_steal(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/** Sends one datagram of a SOCK_SEQPACKET socket with up to 10 descriptors (not closed here). 0 or -errno. */
int fd_send(int socket, const void *data, gsize length, const int *fds, gsize n_fds);
/** Receives one; returns its length (0 = peer closed) or -errno; -EMSGSIZE if it was longer than size
 * (the rest is dropped, descriptors closed). *n_fds: in room, out received; received ones are
 * CLOEXEC and the caller's. */
gssize fd_receive(int socket, void *data, gsize size, int *fds, gsize *n_fds);
/** An anonymous sealed memory file holding the bytes, CLOEXEC, offset 0; -1 with errno. */
int fd_sealed(const char *name, const void *data, gsize length);
/** Whole content of fd from offset 0, at most max bytes. (transfer full) NUL-terminated, or NULL with error. */
char *fd_read_all(int fd, gsize max, gsize *length, GError **error);
