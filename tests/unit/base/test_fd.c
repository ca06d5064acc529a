/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"

typedef struct {
    int pair[2];
} Fixture;

static void
set_up(Fixture *f, gconstpointer unused)
{
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f->pair), ==, 0);
}

static void
tear_down(Fixture *f, gconstpointer unused)
{
    fd_close_p(&f->pair[0]);
    fd_close_p(&f->pair[1]);
}

static int
count_open(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    int n = 0;
    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static void
test_descriptors_travel(Fixture *f, gconstpointer unused)
{
    fd_auto int one = fd_sealed("one", "1", 1);
    fd_auto int two = fd_sealed("two", "22", 2);
    int sent[2] = { one, two };
    g_assert_cmpint(fd_send(f->pair[0], "hello", 5, sent, 2), ==, 0);

    char text[16];
    int got[4];
    gsize n = 4;
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, got, &n), ==, 5);
    g_assert_cmpmem(text, 5, "hello", 5);
    g_assert_cmpuint(n, ==, 2);
    static const char *const contents[] = { "1", "22" };
    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        gsize length;
        g_autofree char *content = fd_read_all(got[i], 100, &length, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(content, ==, contents[i]);
        g_assert_cmpuint(length, ==, strlen(contents[i]));
        g_assert_cmpint(fcntl(got[i], F_GETFD), ==, FD_CLOEXEC);
        close(got[i]);
    }
}

static void
test_without_descriptors(Fixture *f, gconstpointer unused)
{
    char text[4];
    g_assert_cmpint(fd_send(f->pair[0], "abcd", 4, NULL, 0), ==, 0);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, NULL, NULL), ==, 4);
}

/* More than there is room for: nothing is taken, nothing is left open. */
static void
test_too_much(Fixture *f, gconstpointer unused)
{
    int before = count_open();
    int eleven[11] = { 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    g_assert_cmpint(fd_send(f->pair[0], "x", 1, eleven, 11), ==, -EINVAL);

    char text[4];
    int got[1];
    gsize n = 1;
    g_assert_cmpint(fd_send(f->pair[0], "x", 1, eleven, 2), ==, 0);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, got, &n), ==, -EMSGSIZE);
    g_assert_cmpuint(n, ==, 0);

    n = 1;
    g_assert_cmpint(fd_send(f->pair[0], "too long", 8, eleven, 1), ==, 0);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, got, &n), ==, -EMSGSIZE);
    g_assert_cmpuint(n, ==, 0);

    g_assert_cmpint(fd_send(f->pair[0], "x", 1, eleven, 1), ==, 0);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, NULL, NULL), ==, -EMSGSIZE);
    g_assert_cmpint(count_open(), ==, before);
}

static void
test_peer_closed(Fixture *f, gconstpointer unused)
{
    char text[4];
    gsize n = 0;
    fd_close_p(&f->pair[0]);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, NULL, &n), ==, 0);
    g_assert_cmpint(fd_send(f->pair[1], "x", 1, NULL, 0), ==, -EPIPE); /* and no signal */
    g_assert_cmpint(fd_receive(-1, text, sizeof text, NULL, NULL), ==, -EBADF);
}

static void
test_would_block(Fixture *f, gconstpointer unused)
{
    char text[4];
    g_assert_cmpint(fcntl(f->pair[1], F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(fd_receive(f->pair[1], text, sizeof text, NULL, NULL), ==, -EAGAIN);
}

static void
test_sealed(void)
{
    fd_auto int fd = fd_sealed("ticket", "secret", 6);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, "x", 1), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(ftruncate(fd, 0), ==, -1);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
}

static void
test_read_all(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *large = g_strnfill(50000, 'x');
    fd_auto int fd = fd_sealed("large", large, 50000);
    g_assert_cmpint(lseek(fd, 17, SEEK_SET), ==, 17); /* position doesn't matter */
    gsize length;
    g_autofree char *back = fd_read_all(fd, 50000, &length, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(length, ==, 50000);
    g_assert_cmpstr(back, ==, large);

    g_assert_null(fd_read_all(fd, 49999, &length, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE);
    g_autoptr(GError) bad = NULL;
    g_assert_null(fd_read_all(-1, 10, &length, &bad));
    g_assert_error(bad, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
}

static void
test_scope_closes(void)
{
    int before = count_open(), kept = -1;
    {
        fd_auto int closed = dup(0);
        fd_auto int stolen = dup(0);
        g_assert_cmpint(closed, >=, 0);
        kept = fd_steal(&stolen);
        g_assert_cmpint(stolen, ==, -1);
    }
    g_assert_cmpint(count_open(), ==, before + 1);
    close(kept);
}

#define ADD(name, function) g_test_add(name, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/fd/descriptors-travel", test_descriptors_travel);
    ADD("/fd/without-descriptors", test_without_descriptors);
    ADD("/fd/too-much", test_too_much);
    ADD("/fd/peer-closed", test_peer_closed);
    ADD("/fd/would-block", test_would_block);
    g_test_add_func("/fd/sealed", test_sealed);
    g_test_add_func("/fd/read-all", test_read_all);
    g_test_add_func("/fd/scope-closes", test_scope_closes);
    return g_test_run();
}
