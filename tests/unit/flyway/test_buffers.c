/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/buffers.h"

#include <arpa/inet.h>
#include <glib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "flyway/protocol.h"

static int
bytes_of(int fd, int which)
{
    int bytes = 0;
    socklen_t size = sizeof bytes;

    g_assert_cmpint(getsockopt(fd, SOL_SOCKET, which, &bytes, &size), ==, 0);
    return bytes;
}

/* May this process go beyond the kernel's limits? */
static gboolean
may(void)
{
    fd_auto int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int bytes = LINE_KEEP_BYTES;

    return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) == 0;
}

/* Large for what is known, little for what isn't; without the right nothing is touched. */
static void
test_sizes(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    fd_auto int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd_auto int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd_auto int in = -1;
    int before, sends;

    buffers_listen(listener);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    g_assert_cmpint(getsockname(listener, (struct sockaddr *)&address, &size), ==, 0);
    g_assert_cmpint(connect(out, (struct sockaddr *)&address, sizeof address), ==, 0);
    in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    before = bytes_of(in, SO_RCVBUF);
    sends = bytes_of(out, SO_SNDBUF);
    buffers_await(in);
    if (may()) {
        g_assert_cmpint(before, >=, (int)LINE_KEEP_BYTES);
        g_assert_cmpint(bytes_of(in, SO_RCVBUF), <=, 64 * 1024);
    } else {
        g_assert_cmpint(bytes_of(in, SO_RCVBUF), ==, before);
    }
    buffers_open(in);
    buffers_open(out);
    if (may()) {
        g_assert_cmpint(bytes_of(in, SO_RCVBUF), >=, (int)LINE_KEEP_BYTES);
        g_assert_cmpint(bytes_of(out, SO_SNDBUF), >=, (int)LINE_KEEP_BYTES);
    } else {
        g_assert_cmpint(bytes_of(in, SO_RCVBUF), ==, before);
        g_assert_cmpint(bytes_of(out, SO_SNDBUF), ==, sends);
    }
}

/* What the listener didn't make large stays as it is: it couldn't be made large again. */
static void
test_ordinary(void)
{
    fd_auto int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int before = bytes_of(fd, SO_RCVBUF);

    buffers_await(fd);
    g_assert_cmpint(bytes_of(fd, SO_RCVBUF), ==, before);
    buffers_await(-1); /* its connection has ended meanwhile */
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/buffers/sizes", test_sizes);
    g_test_add_func("/flyway/buffers/ordinary", test_ordinary);
    return g_test_run();
}
