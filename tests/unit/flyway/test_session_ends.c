/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a session begins and ends where not all goes well: certificates that aren't any, tickets that
 * are too old, strangers, more lanes than there are, calls that fail (the linker puts the __wrap_
 * functions in their place), and an orderly end against sockets that take nothing. What it carries
 * in between is test_traffic.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include "base/fd.h"
#include "foe.h"
#include "rpc_message.h"
#include "stream_kit.h"

/* ---- failing calls --------------------------------------------------------------------------- */

static int accept_problem; /* of the next accept4 */
static gboolean no_crew, no_tls;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __real_gnutls_init(gnutls_session_t *out, unsigned flags);
int __wrap_gnutls_init(gnutls_session_t *out, unsigned flags);

int
__wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    errno = accept_problem;
    if (accept_problem == 0)
        return __real_accept4(fd, address, size, flags);
    accept_problem = 0;
    return -1;
}

int
__wrap_eventfd(unsigned count, int flags)
{
    errno = EMFILE;
    return no_crew ? -1 : __real_eventfd(count, flags);
}

int
__wrap_gnutls_init(gnutls_session_t *out, unsigned flags)
{
    return no_tls ? GNUTLS_E_MEMORY_ERROR : __real_gnutls_init(out, flags);
}

/* ---- helpers --------------------------------------------------------------------------------- */

static gboolean
is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

/* A descriptor to give away. */
static int
some_socket(void)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    close(fds[1]);
    return fds[0];
}

static void
assert_fault(const Session *session, GodwitError code, const char *part)
{
    g_assert_cmpint(session->state, ==, SESSION_FAILED);
    g_assert_cmpint(session->fault.code, ==, code);
    if (strstr(session->fault.text, part) == NULL)
        g_error("\"%s\" isn't in: %s", part, session->fault.text);
}

static void
write_call(int fd, guint32 type, guint status, gsize body)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    rpc_append(bytes, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, type, 5, status, body });
    rig_write(fd, bytes->data, bytes->len);
}

/* Without waiting: one session's round where the test comes in between. */
typedef struct {
    struct pollfd entries[SESSION_POLL_MAX];
} Round;

static void
look(Session *session, Round *round)
{
    gsize n = session_poll(session, round->entries, SESSION_POLL_MAX);

    poll(round->entries, n, 0);
}

/* ---- beginnings ------------------------------------------------------------------------------ */

/* A key that isn't one: the session fails, and stays so whatever comes. */
static void
test_bad_identity(void)
{
    Rig *rig = rig_new();
    Identity broken = *rig->identities[0];
    SessionConfig config = { .terms = terms_of(rig, FLYWAY_SOURCE),
                             .identity = &broken,
                             .rpc_listener = -1,
                             .stream_listener = -1 };
    SessionWant wants[SESSION_WANTS_MAX];
    Fault fault = { 0 };
    int fd = some_socket();
    Session session;

    broken.key = (char *)"no key at all";
    g_assert_null(link_keys_new(&broken, NULL)); /* where nobody wants to know why */
    session_init(&session);
    session_start(&session, &config);
    assert_fault(&session, GODWIT_ERROR_INVALID, "Can't use this host's certificate");
    fault_set(&fault, GODWIT_ERROR_INTERNAL, "later");
    session_fail(&session, &fault);
    session_leave(&session);
    assert_fault(&session, GODWIT_ERROR_INVALID, "Can't use this host's certificate");
    g_assert_cmpuint(session_wants(&session, wants), ==, 0);
    session_give_connection(&session, 1, fd);
    g_assert_true(is_closed(fd));
    session_clear(&session);
    rig_free(rig);
}

/* However many are asked for, there are no more than slots. */
static void
test_many_connections(void)
{
    Duo duo;

    duo_up(&duo, 100);
    g_assert_cmpuint(duo.sessions[0]->connections, ==, FLYWAY_LINKS);
    UNTIL(&duo, duo.sessions[0]->n_links == FLYWAY_LINKS);
    g_assert_cmpuint(duo.sessions[1]->n_links, ==, FLYWAY_LINKS);
    duo_down(&duo);
}

/* Nobody comes with the ticket: at its last moment the session waits yet, then it fails. */
static void
test_expiry(void)
{
    Session *session;
    Duo duo;

    duo_up(&duo, 0);
    session = duo.sessions[1];
    session->terms.expires_us = clock_monotonic_us() + 50 * SECOND;
    turn(40 * SECOND);
    round_of(&duo);
    g_assert_cmpint(session->state, ==, SESSION_READY);
    g_assert_cmpint(session_wake_us(session, clock_monotonic_us()), ==,
                    session->terms.expires_us + 1);
    turn(11 * SECOND);
    round_of(&duo);
    assert_fault(session, GODWIT_ERROR_EXPIRED, "No worker of the source came");
    duo_down(&duo);
}

/* What the destination says no to is final for the source; the destination waits on. */
static void
test_wrong_ticket(void)
{
    Duo duo;

    duo_up(&duo, 1);
    duo.sessions[0]->terms.ticket[0] ^= 1;
    assert_failed(&duo, 0, GODWIT_ERROR_UNAUTHORIZED, "the ticket isn't the one");
    g_assert_cmpint(duo.sessions[1]->state, ==, SESSION_READY);
    g_assert_false(duo.sessions[1]->terms.used);
    duo_down(&duo);
}

/* Not enough memory for TLS: the source can't go on, the destination only loses that connection. */
static void
test_no_tls(void)
{
    int fds[2];
    Duo duo;

    duo_up(&duo, 0);
    rig_tcp_pair(fds);
    no_tls = TRUE;
    session_give_connection(duo.sessions[1], 0, fds[0]);
    no_tls = FALSE;
    g_assert_true(is_closed(fds[0]));
    round_of(&duo);
    g_assert_cmpint(duo.sessions[1]->state, ==, SESSION_READY);
    duo_down(&duo);
    close(fds[1]);

    duo_up(&duo, 1);
    no_tls = TRUE;
    UNTIL(&duo, duo.sessions[0]->state == SESSION_FAILED);
    no_tls = FALSE;
    assert_fault(duo.sessions[0], GODWIT_ERROR_INTERNAL, "Can't set up TLS");
    duo_down(&duo);
}

/* ---- strangers ------------------------------------------------------------------------------- */

/* Reads whatever comes until the end. */
static void
await_end(Duo *duo, int fd)
{
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    guint8 bytes[256];

    UNTIL(duo, poll(&entry, 1, 0) == 1 && recv(fd, bytes, sizeof bytes, 0) <= 0);
}

/* Who connects and says nothing is turned away in time; before that he displaces nobody but the
 * oldest of his kind; and the right one is let in afterwards. */
static void
test_strangers(void)
{
    int fds[SESSION_HELLOS + 3][2];
    guint8 byte;
    Duo duo;

    duo_up(&duo, 1);
    duo.hold = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        rig_tcp_pair(fds[i]);
        session_give_connection(duo.sessions[1], 0, fds[i][0]);
        round_of(&duo);
    }
    for (guint i = 0; i < 3; i++)
        rig_read_end(fds[i][1]);
    for (guint i = 3; i < G_N_ELEMENTS(fds); i++)
        g_assert_cmpint(recv(fds[i][1], &byte, 1, MSG_DONTWAIT), <, 0);
    g_assert_cmpuint(session_wire_bytes(duo.sessions[1]), ==, 0);
    rig_write(fds[3][1], "\x16\x03\x01\x02\x00", 5); /* the begin of TLS */
    UNTIL(&duo, session_wire_bytes(duo.sessions[1]) == 5);
    rig_write(fds[4][1], "GET / HTTP/1.1\r\n\r\n", 18);
    await_end(&duo, fds[4][1]);
    turn(FLYWAY_HELLO_US);
    for (guint i = 5; i < G_N_ELEMENTS(fds); i++)
        await_end(&duo, fds[i][1]);
    g_assert_cmpint(duo.sessions[1]->state, ==, SESSION_READY);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i][1]);
    duo.hold = FALSE;
    turn(SECOND);
    UNTIL(&duo, duo.sessions[0]->state == SESSION_OPEN && duo.sessions[1]->state == SESSION_OPEN);
    g_assert_cmpuint(session_wire_bytes(duo.sessions[1]), >, 23);
    duo_down(&duo);
}

/* While there is room for all nobody is displaced, whose turn it may be. */
static void
test_patient_stranger(void)
{
    int patient[2], fds[2];
    guint8 byte;
    Duo duo;

    duo_up(&duo, 0);
    rig_tcp_pair(patient);
    session_give_connection(duo.sessions[1], 0, patient[0]);
    for (guint i = 0; i < SESSION_HELLOS + 1; i++) {
        rig_tcp_pair(fds);
        session_give_connection(duo.sessions[1], 0, fds[0]);
        shutdown(fds[1], SHUT_WR);
        await_end(&duo, fds[1]);
        close(fds[1]);
    }
    g_assert_cmpuint(duo.sessions[1]->n_hellos, >, SESSION_HELLOS);
    g_assert_cmpint(recv(patient[1], &byte, 1, MSG_DONTWAIT), <, 0);
    g_assert_cmpint(errno, ==, EAGAIN);
    close(patient[1]);
    duo_down(&duo);
}

/* ---- answers to no question ------------------------------------------------------------------ */

static void
test_wrong_answers(void)
{
    Session *session;
    SessionWant wants[SESSION_WANTS_MAX];
    int fds[] = { some_socket(), some_socket(), some_socket() };
    gint64 offset_us, uncertainty_us;
    Round round;
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    session = foe.duo.sessions[1];
    g_assert_false(session_clock(session, &offset_us, &uncertainty_us)); /* nothing measured yet */
    say_next(&foe, (Frame){ .type = FRAME_LANE_OPEN, .lane = 3, .open = { LANE_RPC, 1000 } });
    while (session->lanes[2].state != LANE_ASKED) {
        look(session, &round);
        session_run(session, round.entries);
    }
    g_assert_cmpuint(session_wants(session, wants), ==, 1);
    g_assert_cmpint(wants[0].what, ==, WANT_RPC);
    session_give_lane(session, wants[0].number + 1, fds[0]);
    g_assert_true(is_closed(fds[0]));
    session_give_lane(session, 0, fds[1]);
    g_assert_true(is_closed(fds[1]));
    session_refuse_lane(session, wants[0].number + 1, "not here");
    g_assert_cmpint(session->lanes[2].state, ==, LANE_ASKED);
    session_give_lane(session, wants[0].number, fds[2]);
    g_assert_cmpint(session->lanes[2].state, ==, LANE_OPEN);
    g_assert_cmpuint(session_wants(session, wants), ==, 0);
    foe_down(&foe);
}

/* What nobody asked for any more. */
static void
test_late_connection(void)
{
    int fd = some_socket();
    Duo duo;

    duo_open(&duo, 1);
    session_give_connection(duo.sessions[0], 77, fd);
    g_assert_true(is_closed(fd));
    fd = some_socket();
    session_leave(duo.sessions[1]);
    UNTIL(&duo, duo.sessions[1]->state == SESSION_ENDED);
    session_leave(duo.sessions[1]); /* once more: nothing */
    session_give_connection(duo.sessions[1], 0, fd);
    g_assert_true(is_closed(fd));
    duo_down(&duo);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

/* With one number left only one of two clients gets a lane; the other waits for a free one. */
static void
test_all_lanes(void)
{
    int fds[FLYWAY_LANES + 1];
    guint n = 0;
    Session *source;
    Duo duo;

    duo_open(&duo, 1);
    source = duo.sessions[0];
    while (n < FLYWAY_LANES - 1) {
        fds[n] = open_lane(&duo, n % 2);
        n++;
    }
    fds[n++] = rig_connect(duo.rig, RIG_RPC);
    fds[n++] = rig_connect(duo.rig, RIG_STREAM);
    UNTIL(&duo, duo.n_peers[RIG_RPC] == FLYWAY_LANES / 2 + 1);
    for (guint i = 0; i < 10; i++)
        round_of(&duo);
    g_assert_cmpuint(duo.n_peers[RIG_STREAM], ==, FLYWAY_LANES / 2 - 1);
    g_assert_cmpint(source->listener_index[RIG_STREAM], ==, -1); /* no reason to turn round */
    close(fds[0]);
    UNTIL(&duo, duo.n_peers[RIG_STREAM] == FLYWAY_LANES / 2);
    for (guint i = 1; i < n; i++)
        close(fds[i]);
    duo_down(&duo);
}

/* No descriptor is left for the moment: the client is let in later. */
static void
test_accept_fails(void)
{
    int fd;
    Duo duo;

    duo_open(&duo, 1);
    accept_problem = EMFILE;
    fd = open_lane(&duo, RIG_RPC);
    g_assert_cmpint(accept_problem, ==, 0);
    close(fd);
    duo_down(&duo);
}

/* The order to leave comes between poll and what it told. */
static void
test_leave_in_between(void)
{
    Round round;
    int fd;
    Duo duo;

    duo_open(&duo, 1);
    fd = rig_connect(duo.rig, RIG_STREAM);
    look(duo.sessions[0], &round);
    g_assert_cmpint(duo.sessions[0]->listener_index[RIG_STREAM], >=, 0);
    session_leave(duo.sessions[0]);
    session_run(duo.sessions[0], round.entries);
    for (guint i = 0; i < FLYWAY_LANES; i++)
        g_assert_cmpint(duo.sessions[0]->lanes[i].state, ==, LANE_FREE);
    UNTIL(&duo, duo.sessions[0]->state == SESSION_ENDED && duo.sessions[1]->state == SESSION_ENDED);
    close(fd);
    duo_down(&duo);
}

static void
carry_bytes(Duo *duo, int from, int to, const guint8 *bytes, gsize length)
{
    gsize sent = 0, taken = 0;
    guint8 got[4096];

    while (taken < length) {
        ssize_t n = write(from, bytes + sent, length - sent);

        sent += n > 0 ? (gsize)n : 0;
        n = read(to, got, sizeof got);
        for (ssize_t i = 0; i < n; i++)
            g_assert_cmpuint(got[i], ==, bytes[taken + (gsize)i]);
        taken += n > 0 ? (gsize)n : 0;
        round_of(duo);
    }
}

/* No thread can be had, at either end: the stream passes as it is. */
static void
test_no_crew(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    PackerCounts counts;
    int fd;
    Duo duo;

    begin_stream(stream, "pc.ram");
    g_byte_array_set_size(stream, 1 << 20);
    memset(stream->data + 100, 7, (1 << 20) - 100);
    duo_open(&duo, 1);
    no_crew = TRUE;
    fd = open_lane(&duo, RIG_STREAM);
    g_assert_null(duo.sessions[0]->lanes[0].packer);
    g_assert_null(duo.sessions[1]->lanes[0].unpacker);
    duo.wait_us = 1000;
    carry_bytes(&duo, fd, duo.peers[RIG_STREAM][0], stream->data, stream->len);
    no_crew = FALSE;
    session_packed(duo.sessions[0], &counts);
    g_assert_cmpuint(counts.zero + counts.raw + counts.compressed, ==, 0);
    close(fd);
    duo_down(&duo);
}

/* What is packed is counted while the stream runs. */
static void
test_counts(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    PackerCounts counts;
    int fd;
    Duo duo;

    begin_stream(stream, "pc.ram");
    put(stream, 0x02, 8);
    put_text(stream, "pc.ram");
    put(stream, 0, 1);
    for (guint64 i = 1; i < 40; i++) {
        put(stream, i << 12 | 0x22, 8);
        put(stream, 0, 1);
    }
    duo_open(&duo, 1);
    fd = open_lane(&duo, RIG_STREAM);
    carry_bytes(&duo, fd, duo.peers[RIG_STREAM][0], stream->data, stream->len);
    g_assert_nonnull(duo.sessions[0]->lanes[0].packer);
    session_packed(duo.sessions[0], &counts);
    g_assert_cmpuint(counts.zero + counts.raw, ==, 40);
    close(fd);
    duo_down(&duo);
}

/* The destination's disk is full in the middle: the source is told how far it may refer, and what
 * comes after is carried all the same. */
static void
test_short_store(void)
{
    static const guint64 room[] = { 64 << 20, 1 << 20 };
    guint8 id[RECALL_ID_SIZE] = { 1 }, key[RECALL_KEY_SIZE] = "a group's key";
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    int fd;
    Duo duo;

    begin_stream(stream, "pc.ram");
    for (guint64 i = 0; i < 1200; i++) { /* each page twice */
        put(stream, i << 12 | (i > 0 ? 0x28 : 0x08), 8);
        if (i == 0)
            put_text(stream, "pc.ram");
        if (i % 600 == 0)
            g_rand_set_seed(rand, 3);
        for (guint k = 0; k < PAGE_BYTES / 4; k++)
            put(stream, g_rand_int(rand), 4);
    }
    duo_up(&duo, 1);
    for (int side = 0; side < 2; side++) {
        Known *known = known_new(side, id, key);

        g_assert_cmpint(known_keep(known, memfd_create("index", MFD_CLOEXEC),
                                   memfd_create("pages", MFD_CLOEXEC), room[side]),
                        ==, 0);
        session_set_known(duo.sessions[side], known);
    }
    UNTIL(&duo, duo.sessions[0]->sets_came);
    fd = open_lane(&duo, RIG_STREAM);
    duo.wait_us = 1000;
    carry_bytes(&duo, fd, duo.peers[RIG_STREAM][0], stream->data, stream->len);
    UNTIL(&duo, duo.sessions[1]->sets_end != G_MAXUINT32 && duo.sessions[1]->due == 0);
    g_assert_cmpuint(duo.sessions[1]->sets_end, <, 600);
    UNTIL(&duo, line_kept_bytes(duo.sessions[1]->line) == 0); /* the source has heard of it */
    g_assert_true(session_is_open(duo.sessions[0]));
    close(fd);
    duo_down(&duo);
}

/* ---- peers that can less --------------------------------------------------------------------- */

static void
test_plain_destination(void)
{
    static const guint8 bytes[3000] = { 1, 2, 3 };
    Frame frame;
    Foe foe;
    int fd;

    foe_up_plain(&foe, FLYWAY_SOURCE);
    fd = rig_connect(foe.duo.rig, RIG_STREAM);
    frame = await_frame(&foe, FRAME_LANE_OPEN);
    g_assert_cmpuint(frame.number, ==, 1); /* no SETS before */
    say_next(&foe, (Frame){ .type = FRAME_LANE_ACCEPT, .lane = frame.lane, .window = 1 << 20 });
    rig_write(fd, bytes, sizeof bytes);
    frame = await_frame(&foe, FRAME_DATA);
    g_assert_cmpmem(frame.data.bytes, frame.data.length, bytes, sizeof bytes);
    close(fd);
    foe_down(&foe);
}

static void
test_plain_source(void)
{
    static const guint8 bytes[100] = { 0 };
    Foe foe;

    foe_up_plain(&foe, FLYWAY_DESTINATION);
    say_next(&foe, (Frame){ .type = FRAME_SETS });
    assert_failed(&foe.duo, 1, GODWIT_ERROR_PROTOCOL, "SETS that can't be");
    foe_down(&foe);

    foe_up_plain(&foe, FLYWAY_DESTINATION);
    foe_lane(&foe, 1, LANE_STREAM, 1000);
    say_next(&foe, (Frame){ .type = FRAME_BATCH, .lane = 1, .data = { bytes, sizeof bytes } });
    assert_failed(&foe.duo, 1, GODWIT_ERROR_PROTOCOL, "BATCH on lane 1 that can't be there");
    foe_down(&foe);
}

/* ---- a peer that never acknowledges ---------------------------------------------------------- */

/* Takes what the session says, and gives credit for data; returns its bytes. */
static gsize
take_data(Foe *foe)
{
    gsize taken = 0, length, used;
    const char *why;
    Frame frame;

    while (link_receive(foe->link) == 0) {
        const guint8 *bytes = link_rx(foe->link, &length);

        while (frame_decode(bytes, length, &frame, &used, &why) == 0) {
            taken += frame.type == FRAME_DATA ? frame.data.length : 0;
            g_assert_cmpint(frame.type, !=, FRAME_BYE);
            link_rx_drop(foe->link, used);
            bytes = link_rx(foe->link, &length);
        }
    }
    if (taken > 0)
        say_next(foe, (Frame){ .type = FRAME_CREDIT, .lane = 1, .credit = (guint32)taken });
    return taken;
}

/* Until nothing more comes. */
static gsize
drain(Foe *foe, int fd)
{
    static guint8 bytes[65536];
    gsize sum = 0;

    for (guint idle = 0; idle < 30;) {
        gsize taken;

        while (fd >= 0 && send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
        round_of(&foe->duo);
        taken = take_data(foe);
        sum += taken;
        idle = taken > 0 ? 0 : idle + 1;
    }
    return sum;
}

/* What is kept for it is bounded; an ACK lets the lane go on. Without one even the good-bye waits,
 * but not for ever. */
static void
test_no_acks(void)
{
    Session *session;
    Foe foe;
    gsize sum;
    int fd;

    foe_up_plain(&foe, FLYWAY_SOURCE);
    session = foe.duo.sessions[0];
    foe.duo.wait_us = 1000;
    fd = rig_connect(foe.duo.rig, RIG_STREAM);
    await_frame(&foe, FRAME_LANE_OPEN);
    say_next(&foe, (Frame){ .type = FRAME_LANE_ACCEPT, .lane = 1, .window = 1 << 20 });
    sum = drain(&foe, fd);
    g_assert_cmpuint(sum, <=, LINE_KEEP_BYTES);
    g_assert_cmpuint(sum, >, LINE_KEEP_BYTES / 2);
    g_assert_cmpuint(line_kept_bytes(session->line), <=, LINE_KEEP_BYTES);
    g_assert_cmpuint(drain(&foe, fd), ==, 0);
    say(&foe, &(Frame){ .type = FRAME_ACK, .below = 100 });
    g_assert_cmpuint(drain(&foe, fd), >, 0);
    g_assert_cmpint(session->state, ==, SESSION_OPEN);
    close(fd);
    session_leave(session);
    for (guint i = 0; i < 10; i++)
        round_of(&foe.duo);
    take_data(&foe);
    g_assert_cmpint(session->state, ==, SESSION_LEAVING);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_CLOSED);
    say_next(&foe, (Frame){ .type = FRAME_CLOSE, .lane = 1 }); /* crosses ours, which waits */
    rounds_of(&foe);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_LAST);
    turn(3 * SECOND);
    UNTIL(&foe.duo, session->state == SESSION_ENDED);
    foe_down(&foe);
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* A destination whose QEMU takes nothing at the moment: returns QEMU's end. */
static int
leave_with_full_lane(Foe *foe, gsize length)
{
    static const guint8 bytes[32768] = { 1 };
    int fd;

    foe_up(foe, FLYWAY_DESTINATION);
    fd = foe_lane(foe, 1, LANE_STREAM, 1 << 20);
    for (gsize sent = 0; sent < length; sent += sizeof bytes)
        say_next(foe, (Frame){ .type = FRAME_DATA, .lane = 1, .data = { bytes, sizeof bytes } });
    settle(foe);
    session_leave(foe->duo.sessions[1]);
    rounds_of(foe);
    g_assert_cmpint(foe->duo.sessions[1]->state, ==, SESSION_LEAVING);
    return fd;
}

/* What came before is delivered. */
static void
test_leave_delivers(void)
{
    gsize length = 2 << 20, got = 0;
    guint8 bytes[65536];
    Foe foe;
    int fd = leave_with_full_lane(&foe, length);

    while (got < length) {
        ssize_t n = read(fd, bytes, sizeof bytes);

        got += n > 0 ? (gsize)n : 0;
        round_of(&foe.duo);
    }
    await_frame(&foe, FRAME_BYE);
    UNTIL(&foe.duo, foe.duo.sessions[1]->state == SESSION_ENDED);
    rig_read_end(fd);
    foe_down(&foe);
}

/* But nobody waits for long. */
static void
test_leave_late(void)
{
    Session *session;
    Foe foe;

    leave_with_full_lane(&foe, 2 << 20);
    session = foe.duo.sessions[1];
    g_assert_cmpint(session_wake_us(session, clock_monotonic_us()), <=, session->leave_by_us);
    turn(3 * SECOND);
    UNTIL(&foe.duo, session->state == SESSION_ENDED);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_FREE);
    foe_down(&foe);
}

/* A peer that breaks the protocol meanwhile only loses its connections: the end is as asked for. */
static void
test_leave_foul(void)
{
    Session *session;
    Foe foe;

    leave_with_full_lane(&foe, 2 << 20);
    session = foe.duo.sessions[1];
    say(&foe, &(Frame){ .type = FRAME_ACK, .below = 5000 });
    UNTIL(&foe.duo, session->n_links == 0);
    rounds_of(&foe);
    g_assert_cmpint(session->state, ==, SESSION_LEAVING);
    turn(3 * SECOND);
    UNTIL(&foe.duo, session->state == SESSION_ENDED);
    g_assert_false(session->fault.set);
    foe_down(&foe);
}

/* The connection is lost in the moment in which the good-bye would be said. */
static void
test_leave_lost(void)
{
    Duo duo;

    duo_open(&duo, 1);
    cut_all(&duo);
    session_leave(duo.sessions[0]);
    UNTIL(&duo, duo.sessions[0]->state == SESSION_ENDED);
    g_assert_false(duo.sessions[0]->fault.set);
    duo_down(&duo);
}

/* ---- Finish's outcome ------------------------------------------------------------------------ */

/* Both, with Finish's good reply in the socket of the source's libvirt, unread; returns its end. */
static int
finish_unread(Duo *duo)
{
    guint8 call[128];
    gsize got = 0;
    int a, b;

    duo_open(duo, 1);
    a = open_lane(duo, RIG_RPC);
    b = duo->peers[RIG_RPC][0];
    write_call(a, RPC_CALL, RPC_OK, 100);
    while (got < sizeof call) {
        ssize_t n = read(b, call, sizeof call - got);

        got += n > 0 ? (gsize)n : 0;
        round_of(duo);
    }
    write_call(b, RPC_REPLY, RPC_OK, 50);
    UNTIL(duo, duo->sessions[0]->finish.state == FINISH_HANDED);
    return a;
}

static void
lose(Duo *duo)
{
    duo->hold = TRUE;
    cut_all(duo);
    drop_session(duo, 1);
    UNTIL(duo, duo->sessions[0]->n_links == 0);
}

/* The session has failed, or is leaving, without connections: that libvirt has read the reply, or
 * never will, is noticed all the same. */
static void
finish_later(gboolean leaves, gboolean reads, FinishState expected)
{
    guint8 reply[28 + 50];
    Session *source;
    Duo duo;
    int a = finish_unread(&duo);

    source = duo.sessions[0];
    lose(&duo);
    if (leaves) {
        session_leave(source);
    } else {
        turn(21 * SECOND);
        UNTIL(&duo, source->state == SESSION_FAILED);
    }
    round_of(&duo);
    g_assert_cmpint(source->finish.state, ==, FINISH_HANDED);
    source->changed = FALSE;
    if (reads)
        rig_read(a, reply, sizeof reply);
    else
        close(a);
    UNTIL(&duo, source->finish.state != FINISH_HANDED);
    g_assert_cmpint(source->finish.state, ==, expected);
    g_assert_true(source->changed);
    if (reads)
        close(a);
    UNTIL(&duo, source->lanes[0].state == LANE_FREE);
    duo_down(&duo);
}

static void
test_finish_later(void)
{
    finish_later(FALSE, TRUE, FINISH_PROVED);
    finish_later(FALSE, FALSE, FINISH_REFUSED); /* closed with the reply unread */
    finish_later(TRUE, TRUE, FINISH_PROVED);
    finish_later(TRUE, FALSE, FINISH_REFUSED);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL); /* test_no_crew warns */
    g_test_add_func("/flyway/session-ends/bad-identity", test_bad_identity);
    g_test_add_func("/flyway/session-ends/many-connections", test_many_connections);
    g_test_add_func("/flyway/session-ends/expiry", test_expiry);
    g_test_add_func("/flyway/session-ends/wrong-ticket", test_wrong_ticket);
    g_test_add_func("/flyway/session-ends/no-tls", test_no_tls);
    g_test_add_func("/flyway/session-ends/strangers", test_strangers);
    g_test_add_func("/flyway/session-ends/patient-stranger", test_patient_stranger);
    g_test_add_func("/flyway/session-ends/wrong-answers", test_wrong_answers);
    g_test_add_func("/flyway/session-ends/late-connection", test_late_connection);
    g_test_add_func("/flyway/session-ends/all-lanes", test_all_lanes);
    g_test_add_func("/flyway/session-ends/accept-fails", test_accept_fails);
    g_test_add_func("/flyway/session-ends/leave-in-between", test_leave_in_between);
    g_test_add_func("/flyway/session-ends/no-crew", test_no_crew);
    g_test_add_func("/flyway/session-ends/counts", test_counts);
    g_test_add_func("/flyway/session-ends/short-store", test_short_store);
    g_test_add_func("/flyway/session-ends/plain-destination", test_plain_destination);
    g_test_add_func("/flyway/session-ends/plain-source", test_plain_source);
    g_test_add_func("/flyway/session-ends/no-acks", test_no_acks);
    g_test_add_func("/flyway/session-ends/leave-delivers", test_leave_delivers);
    g_test_add_func("/flyway/session-ends/leave-late", test_leave_late);
    g_test_add_func("/flyway/session-ends/leave-foul", test_leave_foul);
    g_test_add_func("/flyway/session-ends/leave-lost", test_leave_lost);
    g_test_add_func("/flyway/session-ends/finish-later", test_finish_later);
    return g_test_run();
}
