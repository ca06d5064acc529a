/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/error.h"

#define FDS_MAX 10 /* descriptors in one datagram */

int
fd_send(int socket, const void *data, gsize length, const int *fds, gsize n_fds)
{
    if (n_fds > FDS_MAX)
        return -EINVAL;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control = { 0 };
    struct iovec part = { .iov_base = (void *)data, .iov_len = length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n_fds > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
    }
    gssize sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* Moves the descriptors of a message to fds as far as there is room and closes the others.
 * Returns how many came; *n_fds how many were kept. */
static gsize
take_fds(struct msghdr *message, int *fds, gsize room, gsize *n_fds)
{
    gsize came = 0, kept = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        gsize n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (gsize i = 0; i < n; i++, came++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            if (kept < room)
                fds[kept++] = fd;
            else
                close(fd);
        }
    }
    *n_fds = kept;
    return came;
}

gssize
fd_receive(int socket, void *data, gsize size, int *fds, gsize *n_fds)
{
    gsize room = n_fds != NULL ? *n_fds : 0, kept = 0;
    if (n_fds != NULL)
        *n_fds = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control = { 0 };
    struct iovec part = { .iov_base = data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    gssize length;
    do
        length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;

    gsize came = take_fds(&message, fds, room, &kept);
    if (came > kept || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (gsize i = 0; i < kept; i++)
            close(fds[i]);
        return -EMSGSIZE;
    }
    if (n_fds != NULL)
        *n_fds = kept;
    return length;
}

static gboolean
write_all(int fd, const char *data, gsize length)
{
    while (length > 0) {
        gssize n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FALSE;
        data += n;
        length -= (gsize)n;
    }
    return TRUE;
}

int
fd_sealed(const char *name, const void *data, gsize length)
{
    fd_auto int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !write_all(fd, data, length) || lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        int saved = errno; /* close() in the scope's end must not hide it */
        fd_close_p(&fd);
        errno = saved;
        return -1;
    }
    return fd_steal(&fd);
}

char *
fd_read_all(int fd, gsize max, gsize *length, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    for (;;) {
        guint8 part[16384];
        gssize n = pread(fd, part, sizeof part, (off_t)bytes->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "Reading descriptor %d: %s", fd,
                        g_strerror(errno));
            return NULL;
        }
        if (n == 0)
            break;
        if (bytes->len + (gsize)n > max) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                        "Reading descriptor %d: it holds more than the %" G_GSIZE_FORMAT
                        " bytes allowed",
                        fd, max);
            return NULL;
        }
        g_byte_array_append(bytes, part, (guint)n);
    }
    if (length != NULL)
        *length = bytes->len;
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    return (char *)g_byte_array_free(g_steal_pointer(&bytes), FALSE);
}
