/* SPDX-License-Identifier: Apache-2.0 */
#include "host/notify.h"

#include <errno.h>
#include <glib.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"

int
notify_send(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    gsize length = path ? strlen(path) : 0;
    if (length == 0)
        return 0;
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof name.sun_path)
        return -EINVAL;
    memcpy(name.sun_path, path, length);
    if (path[0] == '@') /* the abstract namespace */
        name.sun_path[0] = '\0';
    fd_auto int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + length;
    return sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&name, size) < 0
               ? -errno
               : 0;
}
