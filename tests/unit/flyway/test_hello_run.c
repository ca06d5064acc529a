/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hellos over a connection, each against a test that plays the other worker: what comes instead of
 * a hello, too late, or not at all. The verdict itself is test_hello.c's. Calls can be made to fail
 * (the linker puts the __wrap_ functions in their place).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include "base/clock.h"
#include "flyway/hello.h"
#include "rig.h"

#define PATIENCE_MS 40000

/* ---- failing calls --------------------------------------------------------------------------- */

static gboolean no_tls;      /* gnutls_init fails */
static int full_socket = -1; /* takes nothing */

int __real_gnutls_init(gnutls_session_t *out, unsigned flags);
int __wrap_gnutls_init(gnutls_session_t *out, unsigned flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

int
__wrap_gnutls_init(gnutls_session_t *out, unsigned flags)
{
    return no_tls ? GNUTLS_E_MEMORY_ERROR : __real_gnutls_init(out, flags);
}

ssize_t
__wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (fd != full_socket)
        return __real_sendmsg(fd, message, flags);
    errno = EAGAIN;
    return -1;
}

/* ---- a hello, and the test at the other end -------------------------------------------------- */

typedef struct {
    Rig *rig; /* for its identities */
    LinkKeys *keys[2];
    HelloTerms terms;
    Hello hello;
    Link *link; /* the test's end, after its handshake; NULL: none */
    int fd;     /* the test's end, without TLS */
    gint64 now_us;
} Pair;

static void
pair_up(Pair *pair, FlywaySide side)
{
    int fds[2];

    *pair = (Pair){ .rig = rig_new(), .terms = { .side = side, .ticket = "t" }, .now_us = 1000 };
    pair->terms.expires_us = G_MAXINT64;
    g_assert_true(flyway_uuid_parse(pair->rig->hosts[side], pair->terms.self));
    g_assert_true(flyway_uuid_parse(pair->rig->hosts[!side], pair->terms.peer));
    for (int i = 0; i < 2; i++)
        pair->keys[i] = link_keys_new(pair->rig->identities[i], NULL);
    rig_tcp_pair(fds);
    pair->fd = fds[1];
    hello_begin(&pair->hello, &pair->terms, pair->keys[side], fds[0], pair->now_us);
}

static void
run(Pair *pair)
{
    struct pollfd entry = { .fd = link_fd(pair->hello.link), .events = POLLIN };

    poll(&entry, 1, 5);
    hello_run(&pair->hello, &pair->terms, pair->now_us);
}

/* Both handshakes. */
static void
greet(Pair *pair)
{
    Fault fault = { 0 };
    int result = -EAGAIN;

    pair->link = link_new(pair->keys[!pair->terms.side], !pair->terms.side,
                          pair->rig->hosts[pair->terms.side], pair->fd, &fault);
    g_assert_nonnull(pair->link);
    while (result == -EAGAIN || pair->hello.state == HELLO_TLS) {
        if (result == -EAGAIN)
            result = link_handshake(pair->link);
        run(pair);
    }
    g_assert_cmpint(result, ==, 0);
    g_assert_cmpint(pair->hello.state, ==, HELLO_EXCHANGE);
}

static void
say_bytes(Pair *pair, const guint8 *bytes, gsize length)
{
    gsize room;

    memcpy(link_tx_room(pair->link, &room), bytes, length);
    link_tx_add(pair->link, length);
    g_assert_cmpint(link_flush(pair->link), ==, 0);
}

static void
say(Pair *pair, const Frame *frame)
{
    guint8 bytes[1024];

    say_bytes(pair, bytes, frame_encode(frame, bytes, sizeof bytes));
}

/* The source's right hello. */
static Frame
right_hello(const Pair *pair)
{
    Frame frame = { .type = FRAME_HELLO,
                    .hello = { .major = FLYWAY_MAJOR, .side = FLYWAY_SOURCE } };

    memcpy(frame.hello.self, pair->terms.peer, 16);
    memcpy(frame.hello.peer, pair->terms.self, 16);
    memcpy(frame.hello.ticket, pair->terms.ticket, 32);
    return frame;
}

static void
assert_fails(Pair *pair, GodwitError code, const char *part)
{
    while (pair->hello.state < HELLO_ACCEPTED)
        run(pair);
    g_assert_cmpint(pair->hello.state, ==, HELLO_FAILED);
    g_assert_true(pair->hello.fault.set);
    g_assert_cmpint(pair->hello.fault.code, ==, code);
    if (strstr(pair->hello.fault.text, part) == NULL)
        g_error("\"%s\" isn't in: %s", part, pair->hello.fault.text);
    g_assert_false(pair->terms.used); /* the ticket stays good for the right one */
}

static void
pair_down(Pair *pair)
{
    hello_end(&pair->hello);
    if (pair->link != NULL)
        link_free(pair->link);
    else
        close(pair->fd);
    for (int i = 0; i < 2; i++)
        link_keys_free(pair->keys[i]);
    rig_free(pair->rig);
}

/* ---- what comes instead of a hello ----------------------------------------------------------- */

static void
test_other_first_frame(void)
{
    Pair pair;

    for (int side = 0; side < 2; side++) {
        pair_up(&pair, side);
        greet(&pair);
        say(&pair, &(Frame){ .type = FRAME_PING, .clock = { 1 } });
        assert_fails(&pair, GODWIT_ERROR_PROTOCOL, "didn't begin with a hello");
        pair_down(&pair);
    }
}

/* The right frame, with a content that can't be. */
static void
test_impossible_hello(void)
{
    guint8 bytes[256];
    gsize size;
    Frame frame;
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    greet(&pair);
    frame = right_hello(&pair);
    size = frame_encode(&frame, bytes, sizeof bytes);
    bytes[FRAME_HEADER_SIZE + 5] = FLYWAY_LINKS; /* a slot beyond the last one */
    say_bytes(&pair, bytes, size);
    assert_fails(&pair, GODWIT_ERROR_PROTOCOL, "HELLO names no connection");
    pair_down(&pair);
}

/* The ticket is good for what comes in two parts as well; and afterwards for no other first one. */
static void
test_split_hello(void)
{
    guint8 bytes[256];
    gsize size;
    Frame frame;
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    greet(&pair);
    frame = right_hello(&pair);
    frame.hello.slot = 3;
    size = frame_encode(&frame, bytes, sizeof bytes);
    say_bytes(&pair, bytes, 40);
    for (guint i = 0; i < 3; i++)
        run(&pair);
    g_assert_cmpint(pair.hello.state, ==, HELLO_EXCHANGE);
    say_bytes(&pair, bytes + 40, size - 40);
    while (pair.hello.state == HELLO_EXCHANGE)
        run(&pair);
    g_assert_cmpint(pair.hello.state, ==, HELLO_ACCEPTED);
    g_assert_cmpuint(pair.hello.slot, ==, 3);
    g_assert_true(pair.terms.used);
    pair_down(&pair);
}

static const struct {
    Frame frame;
    GodwitError code;
    const char *part;
} replies[] = {
    { { .type = FRAME_HELLO_REPLY, .reply = { .major = FLYWAY_MAJOR + 1 } },
      GODWIT_ERROR_PROTOCOL,
      "it gave no reason" },
    { { .type = FRAME_HELLO_REPLY,
        .reply = { .major = FLYWAY_MAJOR, .code = FLYWAY_BAD_TICKET, .text = "not that one" } },
      GODWIT_ERROR_UNAUTHORIZED,
      "refused the connection: not that one" },
    { { .type = FRAME_HELLO_REPLY, .reply = { .major = FLYWAY_MAJOR, .code = FLYWAY_EXPIRED } },
      GODWIT_ERROR_EXPIRED,
      "it gave no reason" },
};

static void
test_refusals(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(replies); i++) {
        Pair pair;

        pair_up(&pair, FLYWAY_SOURCE);
        greet(&pair);
        say(&pair, &replies[i].frame);
        assert_fails(&pair, replies[i].code, replies[i].part);
        pair_down(&pair);
    }
}

/* ---- what ends before a hello ---------------------------------------------------------------- */

/* Someone of another cluster: its end says so first. */
static void
test_stranger(void)
{
    Identity *foreign;
    int result = -EAGAIN;
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    foreign = rig_foreign_identity(pair.rig);
    link_keys_free(pair.keys[FLYWAY_SOURCE]);
    pair.keys[FLYWAY_SOURCE] = link_keys_new(foreign, NULL);
    pair.link =
        link_new(pair.keys[FLYWAY_SOURCE], FLYWAY_SOURCE, pair.rig->hosts[1], pair.fd, NULL);
    while (pair.hello.state == HELLO_TLS) {
        if (result == -EAGAIN)
            result = link_handshake(pair.link);
        run(&pair);
    }
    assert_fails(&pair, GODWIT_ERROR_UNAUTHORIZED, "are both hosts in one cluster?");
    identity_free(foreign);
    pair_down(&pair);
}

/* Its end, in TLS's handshake and after it. */
static void
test_hang_up(void)
{
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    shutdown(pair.fd, SHUT_RDWR);
    assert_fails(&pair, GODWIT_ERROR_UNREACHABLE, "");
    pair_down(&pair);

    pair_up(&pair, FLYWAY_SOURCE);
    greet(&pair);
    shutdown(pair.fd, SHUT_RDWR);
    assert_fails(&pair, GODWIT_ERROR_UNREACHABLE, "");
    pair_down(&pair);
}

/* Who says nothing is given up at the deadline; a further connection sooner. */
static void
test_silence(void)
{
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    pair.now_us = pair.hello.deadline_us - 1;
    run(&pair);
    g_assert_cmpint(pair.hello.state, ==, HELLO_TLS);
    pair.now_us++;
    assert_fails(&pair, GODWIT_ERROR_TIMEOUT, "didn't finish its hello in time");
    pair_down(&pair);

    pair_up(&pair, FLYWAY_SOURCE);
    g_assert_cmpint(pair.hello.deadline_us, ==, 1000 + FLYWAY_HELLO_US);
    hello_end(&pair.hello);
    pair.hello.further = TRUE;
    hello_begin(&pair.hello, &pair.terms, pair.keys[0], dup(pair.fd), 1000);
    g_assert_cmpint(pair.hello.deadline_us, ==, 1000 + FLYWAY_STALL_US);
    pair_down(&pair);
}

/* Who doesn't even take the no is given up, too; what is told is why it was refused. */
static void
test_refusal_not_taken(void)
{
    Frame frame;
    Pair pair;

    pair_up(&pair, FLYWAY_DESTINATION);
    greet(&pair);
    frame = right_hello(&pair);
    frame.hello.ticket[0] ^= 1;
    full_socket = link_fd(pair.hello.link);
    say(&pair, &frame);
    while (pair.hello.state == HELLO_EXCHANGE)
        run(&pair);
    run(&pair);
    g_assert_cmpint(pair.hello.state, ==, HELLO_REFUSING);
    pair.now_us = pair.hello.deadline_us;
    assert_fails(&pair, GODWIT_ERROR_UNAUTHORIZED, "the ticket isn't the one");
    full_socket = -1;
    pair_down(&pair);
}

static void
test_no_tls(void)
{
    Pair pair;

    no_tls = TRUE;
    pair_up(&pair, FLYWAY_DESTINATION);
    no_tls = FALSE;
    g_assert_null(pair.hello.link);
    assert_fails(&pair, GODWIT_ERROR_INTERNAL, "Can't set up TLS");
    pair_down(&pair);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/hello-run/other-first-frame", test_other_first_frame);
    g_test_add_func("/flyway/hello-run/impossible-hello", test_impossible_hello);
    g_test_add_func("/flyway/hello-run/split-hello", test_split_hello);
    g_test_add_func("/flyway/hello-run/refusals", test_refusals);
    g_test_add_func("/flyway/hello-run/stranger", test_stranger);
    g_test_add_func("/flyway/hello-run/hang-up", test_hang_up);
    g_test_add_func("/flyway/hello-run/silence", test_silence);
    g_test_add_func("/flyway/hello-run/refusal-not-taken", test_refusal_not_taken);
    g_test_add_func("/flyway/hello-run/no-tls", test_no_tls);
    return g_test_run();
}
