/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Connections to the flyway port say in a preamble which migration they are for. It is read here
 * without blocking and with a time limit, before anything else is done for them; how many may be
 * waiting is bounded by the listener (host/listener.c).
 */
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "motion/motion_private.h"

#define PREAMBLE_SECONDS 5

typedef struct {
    Motion *motion;
    int fd;
    GSource *timeout, *readable;
} Caller;

static void
caller_free(Caller *caller)
{
    g_source_destroy(caller->timeout);
    g_source_unref(caller->timeout);
    g_source_destroy(caller->readable);
    g_source_unref(caller->readable);
    fd_close_p(&caller->fd);
    g_free(caller);
}

static gboolean
caller_late(gpointer data)
{
    caller_free(data);
    return G_SOURCE_REMOVE;
}

static void
caller_route(Caller *caller, const char *id)
{
    int low_water = 1;

    setsockopt(caller->fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water);
    motion_route_connection(caller->motion, id, fd_steal(&caller->fd));
}

static gboolean
caller_readable(int fd, GIOCondition condition, gpointer data)
{
    Caller *caller = data;
    guint8 preamble[FLYWAY_PREAMBLE_SIZE];
    gssize length = recv(fd, preamble, sizeof preamble, MSG_PEEK | MSG_DONTWAIT);
    char id[37];

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (length > 0 && (gsize)length < sizeof preamble && !(condition & (G_IO_HUP | G_IO_ERR)))
        return G_SOURCE_CONTINUE;
    if (length == sizeof preamble &&
        recv(fd, preamble, sizeof preamble, MSG_DONTWAIT) == (gssize)sizeof preamble &&
        flyway_preamble_parse(preamble, id, NULL))
        caller_route(caller, id);
    caller_free(caller);
    return G_SOURCE_REMOVE;
}

void
motion_take_connection(Motion *motion, int fd)
{
    Caller *caller = g_new0(Caller, 1);
    int low_water = FLYWAY_PREAMBLE_SIZE;

    caller->motion = motion;
    caller->fd = fd;
    /* Readable only with the whole preamble, so that a slow sender doesn't make us spin. */
    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water);
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    caller->timeout = g_timeout_source_new_seconds(PREAMBLE_SECONDS);
    g_source_set_callback(caller->timeout, caller_late, caller, NULL);
    g_source_attach(caller->timeout, motion->context);
    caller->readable = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(caller->readable, (GSourceFunc)(void (*)(void))caller_readable, caller,
                          NULL);
    g_source_attach(caller->readable, motion->context);
}
