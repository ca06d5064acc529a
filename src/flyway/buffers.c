/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * TCP carries at most a window each round trip. The kernel lets its buffers grow to tcp_wmem and
 * tcp_rmem, commonly 4 and 6 MiB of which a part is overhead: at 150 ms some 25 MB/s, a fifth of
 * 1 Gbit/s. Those are limits for everyone; for these few connections they are set higher.
 *
 * The receiver's must be set on the listening socket: how large a window can be said is settled
 * when the connection is made. What is accepted inherits it; until its preamble has come it may
 * hold little, so that strangers can't fill this host's memory.
 *
 * Nothing grows by it on a short path: how much is on its way is pace.c's, and the line's 32 MiB
 * are the most in any case, over all connections of a session together.
 *
 * A buffer that is set isn't tuned by the kernel any more. So without the right to go beyond the
 * limits (EPERM) nothing is set at all: the kernel's tuning reaches further than what is allowed to
 * everyone (wmem_max, rmem_max).
 */
#include "flyway/buffers.h"

#include <sys/socket.h>
#include "flyway/protocol.h"

#define AWAITING_BYTES (16 * 1024)

static const int most_bytes = LINE_KEEP_BYTES; /* the kernel doubles it, for its own */

void
buffers_listen(int fd)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &most_bytes, sizeof most_bytes);
}

void
buffers_await(int fd)
{
    const int little = AWAITING_BYTES;
    int bytes = 0;
    socklen_t size = sizeof bytes;

    /* Only what can be made large again is made small. */
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0 && bytes >= most_bytes)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
}

void
buffers_open(int fd)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &most_bytes, sizeof most_bytes);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &most_bytes, sizeof most_bytes);
}
