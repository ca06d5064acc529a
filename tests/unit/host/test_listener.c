/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "flyway/worker.h"
#include "host/listener.h"

#define ID "11112222-3333-4444-5555-666677778888"

typedef struct {
    guint taken;
    char preamble[FLYWAY_PREAMBLE_SIZE];
    gssize read;
} Taken;

static void
on_taken(int fd, gpointer data)
{
    Taken *taken = data;
    taken->taken++;
    taken->read = recv(fd, taken->preamble, sizeof taken->preamble, MSG_DONTWAIT);
    close(fd);
}

static const char *const loopback[] = { "127.0.0.1", NULL };

static int
connect_to(guint port)
{
    struct sockaddr_in name = { .sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&name, sizeof name), ==, 0);
    return fd;
}

#define WAIT_FOR(condition)                                                                        \
    while (!(condition))                                                                           \
    g_main_context_iteration(NULL, TRUE)

static gboolean
is_closed(int fd)
{
    char byte;
    gssize got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* The peer's end of a connection is closed at once or a little later by the loopback device. */
static void
assert_closes(int fd)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };
    g_assert_cmpint(poll(&wait, 1, 5000), ==, 1);
    g_assert_true(is_closed(fd));
}

static void
test_hands_on_whole_preamble(void)
{
    Taken taken = { 0 };
    g_autoptr(Listener) listener = listener_new(loopback, 0, NULL, on_taken, &taken, NULL);
    guint8 preamble[FLYWAY_PREAMBLE_SIZE];
    memcpy(preamble, "GWFLY\0\0\1-sixteen bytes-", sizeof preamble);
    fd_auto int fd = connect_to(listener_port(listener));
    g_assert_cmpint(write(fd, preamble, 10), ==, 10);
    WAIT_FOR(listener_pending(listener) == 1);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(taken.taken, ==, 0); /* half of it is not enough */
    g_assert_cmpint(write(fd, preamble + 10, sizeof preamble - 10), ==, sizeof preamble - 10);
    WAIT_FOR(taken.taken == 1);
    g_assert_cmpint(taken.read, ==, sizeof preamble); /* peeked at, not eaten */
    g_assert_cmpmem(taken.preamble, sizeof preamble, preamble, sizeof preamble);
    g_assert_cmpuint(listener_pending(listener), ==, 0);
}

static void
test_silent_peer_is_dropped(void)
{
    Taken taken = { 0 };
    ListenerLimits limits = { .preamble_wait_ms = 30 };
    g_autoptr(Listener) listener = listener_new(loopback, 0, &limits, on_taken, &taken, NULL);
    fd_auto int fd = connect_to(listener_port(listener));
    WAIT_FOR(listener_pending(listener) == 1);
    WAIT_FOR(listener_pending(listener) == 0);
    assert_closes(fd);
    g_assert_cmpuint(taken.taken, ==, 0);
}

static void
test_peer_that_leaves_is_dropped(void)
{
    Taken taken = { 0 };
    g_autoptr(Listener) listener = listener_new(loopback, 0, NULL, on_taken, &taken, NULL);
    fd_auto int fd = connect_to(listener_port(listener));
    g_assert_cmpint(write(fd, "GWFLY", 5), ==, 5);
    WAIT_FOR(listener_pending(listener) == 1);
    fd_close_p(&fd);
    WAIT_FOR(listener_pending(listener) == 0);
    g_assert_cmpuint(taken.taken, ==, 0);
}

static void
test_pending_is_bounded(void)
{
    Taken taken = { 0 };
    ListenerLimits limits = { .max_pending = 3, .per_second = 1000 };
    g_autoptr(Listener) listener = listener_new(loopback, 0, &limits, on_taken, &taken, NULL);
    int fds[5];
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = connect_to(listener_port(listener));
        guint expected = MIN(i + 1, 3);
        WAIT_FOR(listener_pending(listener) == expected);
        if (i >= 3) { /* the count stays: wait for the one that made room */
            WAIT_FOR(is_closed(fds[i - 3]));
        }
    }
    g_assert_cmpuint(listener_pending(listener), ==, 3);
    char preamble[FLYWAY_PREAMBLE_SIZE] = "x";
    g_assert_cmpint(write(fds[4], preamble, sizeof preamble), ==, sizeof preamble);
    WAIT_FOR(taken.taken == 1); /* an honest one comes through */
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
}

static void
test_rate_is_bounded(void)
{
    Taken taken = { 0 };
    ListenerLimits limits = { .per_second = 20 };
    g_autoptr(Listener) listener = listener_new(loopback, 0, &limits, on_taken, &taken, NULL);
    char preamble[FLYWAY_PREAMBLE_SIZE] = "x";
    int fds[30];
    gint64 start = g_get_monotonic_time();
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = connect_to(listener_port(listener));
        g_assert_cmpint(write(fds[i], preamble, sizeof preamble), ==, sizeof preamble);
    }
    WAIT_FOR(taken.taken == G_N_ELEMENTS(fds));                      /* all in the end */
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 400 * 1000); /* 10 over the first 20 */
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
}

static void
test_bad_addresses(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Listener) first = listener_new(loopback, 0, NULL, on_taken, NULL, NULL);
    g_assert_null(listener_new(loopback, listener_port(first), NULL, on_taken, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_clear_error(&error);
    const char *const name[] = { "h1.example", NULL };
    g_assert_null(listener_new(name, 0, NULL, on_taken, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    const char *const not_yet[] = { "192.0.2.1", NULL }; /* not this machine's, maybe later */
    g_autoptr(Listener) early = listener_new(not_yet, 0, NULL, on_taken, NULL, NULL);
    g_assert_nonnull(early);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/listener/whole-preamble", test_hands_on_whole_preamble);
    g_test_add_func("/host/listener/silent-peer", test_silent_peer_is_dropped);
    g_test_add_func("/host/listener/leaving-peer", test_peer_that_leaves_is_dropped);
    g_test_add_func("/host/listener/pending-bounded", test_pending_is_bounded);
    g_test_add_func("/host/listener/rate-bounded", test_rate_is_bounded);
    g_test_add_func("/host/listener/bad-addresses", test_bad_addresses);
    return g_test_run();
}
