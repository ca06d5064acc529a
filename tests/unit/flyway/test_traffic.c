/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sessions in one process (duo.h): what they carry, over connections that are cut, silent or
 * full. And one session, against a peer that breaks the protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "duo.h"
#include "foe.h"
#include "rpc_message.h"
#include "stream_kit.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct {
    int from, to;
    gsize sent, taken, total;
    const guint8 *bytes; /* NULL: byte_at() */
} Flow;

static guint8
byte_at(gsize at)
{
    return (guint8)(at >> 3 ^ at >> 11 ^ at >> 17);
}

static guint8
flow_byte(const Flow *flow, gsize at)
{
    return flow->bytes != NULL ? flow->bytes[at] : byte_at(at);
}

static void
push(Flow *flow)
{
    guint8 bytes[8192];
    gsize n = MIN(sizeof bytes, flow->total - flow->sent);
    ssize_t done;

    for (gsize i = 0; i < n; i++)
        bytes[i] = flow_byte(flow, flow->sent + i);
    done = n > 0 ? write(flow->from, bytes, n) : 0;
    flow->sent += done > 0 ? (gsize)done : 0;
}

static void
pull(Flow *flow)
{
    guint8 bytes[16384];
    ssize_t n = read(flow->to, bytes, sizeof bytes);

    for (ssize_t i = 0; i < n; i++)
        g_assert_cmpuint(bytes[i], ==, flow_byte(flow, flow->taken + (gsize)i));
    flow->taken += n > 0 ? (gsize)n : 0;
}

/* With frames on their way, while both know nothing of it, or while the source sends. */
static void
cut_sometimes(Duo *duo, GRand *rand, int cuts)
{
    Session *destination = duo->sessions[1];

    if (g_rand_int_range(rand, 0, 1000) >= cuts)
        return;
    if (g_rand_boolean(rand)) {
        duo->cut_now = TRUE;
        return;
    }
    duo->sessions[1] = NULL; /* the source's round only */
    duo->hold = TRUE;
    round_of(duo);
    duo->hold = FALSE;
    duo->sessions[1] = destination;
    cut_all(duo);
}

/* Both ways over two lanes; cuts: of 1000 rounds so many lose every connection. */
static void
carry(Duo *duo, gsize total, int cuts)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    int a = open_lane(duo, RIG_STREAM), b = open_lane(duo, RIG_STREAM);
    guint n = duo->n_peers[RIG_STREAM];
    Flow flows[] = { { a, duo->peers[RIG_STREAM][n - 2], 0, 0, total },
                     { duo->peers[RIG_STREAM][n - 2], a, 0, 0, total / 4 },
                     { b, duo->peers[RIG_STREAM][n - 1], 0, 0, total } };
    gboolean over = FALSE;

    duo->wait_us = 1000; /* the flows' ends aren't polled */
    while (!over) {
        over = TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(flows); i++) {
            push(&flows[i]);
            pull(&flows[i]);
            over &= flows[i].taken == flows[i].total;
        }
        cut_sometimes(duo, rand, cuts);
        round_of(duo);
        g_assert_true(session_is_open(duo->sessions[0]));
    }
    duo->wait_us = 20000;
    close(a);
    close(b);
    UNTIL(duo, duo->sessions[0]->lanes[0].state == LANE_FREE &&
                   duo->sessions[1]->lanes[0].state == LANE_FREE);
}

static void
test_carries(void)
{
    PackerCounts counts;
    gint64 offset_us, uncertainty_us;
    Duo duo;

    duo_open(&duo, 3);
    carry(&duo, 4 << 20, 0);
    g_assert_cmpuint(duo.n_connections, ==, 3);
    g_assert_cmpuint(duo.sessions[0]->cuts, ==, 0);
    session_packed(duo.sessions[0], &counts);
    g_assert_cmpuint(session_wire_bytes(duo.sessions[0]), >, 1000);
    turn(FLYWAY_PING_US);
    UNTIL(&duo, session_clock(duo.sessions[0], &offset_us, &uncertainty_us));
    g_assert_cmpint(ABS(offset_us), <=, uncertainty_us);
    duo_down(&duo);
}

/* QEMU has ended its stream, then closes its socket altogether, while a part of a batch waits for
 * the one before it: all of it still arrives. */
static void
test_hang_up_after_the_end(void)
{
    gsize length = PAGE_BATCH_RAW + 50000, got = 0;
    g_autofree guint8 *bytes = g_malloc0(length);
    Lane *lane;
    guint32 credit;
    Duo duo;
    int fd;

    duo_open(&duo, 1);
    fd = open_lane(&duo, RIG_STREAM);
    lane = &duo.sessions[0]->lanes[0];
    UNTIL(&duo, lane->state == LANE_OPEN);
    credit = lane->credit;
    lane->credit = 0;
    for (gsize done = 0; done < length;) {
        ssize_t sent = send(fd, bytes + done, length - done, MSG_DONTWAIT | MSG_NOSIGNAL);

        done += sent > 0 ? (gsize)sent : 0;
        round_of(&duo);
    }
    shutdown(fd, SHUT_WR);
    UNTIL(&duo, lane->out == FLOW_ENDING);
    close(fd);
    UNTIL(&duo, lane->hung_up);
    lane->credit = credit;
    while (got < length) {
        ssize_t more = recv(duo.peers[RIG_STREAM][0], bytes, length, MSG_DONTWAIT);

        got += more > 0 ? (gsize)more : 0;
        if (more < 0)
            UNTIL(&duo, rig_readable(duo.peers[RIG_STREAM][0]) > 0);
    }
    UNTIL(&duo, lane->state == LANE_FREE);
    duo_down(&duo);
}

static void
test_cuts(void)
{
    for (guint connections = 1; connections <= 3; connections += 2) {
        Duo duo;

        duo_open(&duo, connections);
        carry(&duo, 3 << 20, 30);
        g_assert_cmpuint(duo.sessions[0]->cuts, >, 0);
        g_assert_cmpuint(duo.sessions[1]->cuts, >, 0);
        g_assert_cmpuint(line_resent_bytes(duo.sessions[0]->line), >, 0);
        g_assert_cmpuint(duo.sessions[0]->n_links, <=, connections);
        g_assert_cmpuint(session_wire_bytes(duo.sessions[0]), >, 0);
        duo_down(&duo);
    }
}

/* ---- recall ---------------------------------------------------------------------------------- */

/* So many pages that differ, as QEMU sends them. */
static GByteArray *
pages_stream(guint pages)
{
    GByteArray *stream = g_byte_array_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(pages);

    begin_stream(stream, "pc.ram");
    for (guint i = 0; i < pages; i++) {
        put(stream, (guint64)i << 12 | (i > 0 ? 0x28 : 0x08), 8);
        if (i == 0)
            put_text(stream, "pc.ram");
        for (guint k = 0; k < PAGE_BYTES / 4; k++)
            put(stream, g_rand_int(rand), 4);
    }
    put(stream, 0x10, 8);
    return stream;
}

/* Files of the two sides' sets. */
typedef struct {
    int index[2], pages[2];
} Sets;

static void
recall_with(Duo *duo, guint8 number, const Sets *before, Sets *sets)
{
    guint8 older_id[RECALL_ID_SIZE] = { (guint8)(number - 1) }, id[RECALL_ID_SIZE] = { number };
    guint8 key[RECALL_KEY_SIZE] = "a group's key";

    for (int side = 0; side < 2; side++) {
        Known *known = known_new(side, id, key);
        RecallFiles files = { .index_fd = before != NULL ? dup(before->index[side]) : -1 };

        for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
            files.segment_fds[i] = -1;
        if (before != NULL && side == FLYWAY_SOURCE) /* the destination has lost its pages */
            files.segment_fds[0] = dup(before->pages[side]);
        if (before != NULL)
            g_assert_cmpint(known_add_set(known, older_id, &files), ==, 0);
        sets->index[side] = memfd_create("index", MFD_CLOEXEC);
        sets->pages[side] = memfd_create("pages", MFD_CLOEXEC);
        g_assert_cmpint(known_keep(known, dup(sets->index[side]), dup(sets->pages[side]), 64 << 20),
                        ==, 0);
        session_set_known(duo->sessions[side], known);
    }
}

static void
carry_stream(Duo *duo, const GByteArray *stream, int cuts)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(9);
    Flow flow = { .total = stream->len, .bytes = stream->data };

    UNTIL(duo, duo->sessions[0]->sets_came);
    flow.from = open_lane(duo, RIG_STREAM);
    flow.to = duo->peers[RIG_STREAM][0];
    duo->wait_us = 1000;
    while (flow.taken < flow.total) {
        push(&flow);
        pull(&flow);
        cut_sometimes(duo, rand, cuts);
        round_of(duo);
    }
    close(flow.from);
    session_leave(duo->sessions[0]);
    UNTIL(duo, session_is_final(duo->sessions[0]) && session_is_final(duo->sessions[1]));
    g_assert_cmpint(session_seal(duo->sessions[0]), ==, 0);
    g_assert_cmpint(session_seal(duo->sessions[1]), ==, 0);
}

/* There and back; on the way back the destination misses what it should have, so that batches come
 * again, over connections that are cut. */
static void
test_recall(void)
{
    g_autoptr(GByteArray) stream = pages_stream(600);
    Sets first, second;

    for (int cuts = 0; cuts <= 20; cuts += 20) {
        Duo there, back;
        PackerCounts counts;

        duo_up(&there, 2);
        recall_with(&there, 1, NULL, &first);
        carry_stream(&there, stream, cuts);
        duo_down(&there);
        duo_up(&back, 2);
        recall_with(&back, 2, &first, &second);
        carry_stream(&back, stream, cuts);
        session_packed(back.sessions[0], &counts);
        g_assert_cmpuint(counts.recalled, >, 0);
        duo_down(&back);
        for (int i = 0; i < 2; i++) {
            close(first.index[i]);
            close(first.pages[i]);
            close(second.index[i]);
            close(second.pages[i]);
        }
    }
}

/* Pages that come again go as differences, without recall, while connections are cut; not where one
 * side hasn't that ability. */
static void
test_differences(void)
{
    g_autoptr(GByteArray) stream = written_stream(8, 300, 4);

    for (int way = 0; way < 3; way++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(9);
        Flow flow = { .total = stream->len, .bytes = stream->data };
        PackerCounts counts;
        Duo duo;

        duo_open(&duo, 2);
        for (int side = 0; side < 2 && way == 2; side++)
            duo.sessions[side]->abilities &= ~(guint64)FLYWAY_ABILITY_DELTA;
        flow.from = open_lane(&duo, RIG_STREAM);
        flow.to = duo.peers[RIG_STREAM][0];
        duo.wait_us = 1000;
        while (flow.taken < flow.total) {
            push(&flow);
            pull(&flow);
            cut_sometimes(&duo, rand, way == 1 ? 20 : 0);
            round_of(&duo);
        }
        session_packed(duo.sessions[0], &counts);
        g_test_message("%" G_GUINT64_FORMAT " differed", counts.delta);
        /* Pages that a read cut in two don't. */
        g_assert_cmpint(counts.delta > 50, ==, way < 2);
        close(flow.from);
        duo_down(&duo);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Quiet, but not dead. */
static void
test_idle(void)
{
    Duo duo;

    duo_open(&duo, 2);
    for (guint i = 0; i < 60; i++) {
        guint before = duo.sessions[0]->n_samples;

        turn(FLYWAY_PING_US);
        UNTIL(&duo, duo.sessions[0]->n_samples >= before + 2);
    }
    g_assert_cmpuint(duo.n_connections, ==, 2);
    duo_down(&duo);
}

/* Of what says nothing the source makes another. */
static void
test_stalled(void)
{
    Session *silent;
    Duo duo;

    duo_open(&duo, 2);
    silent = g_steal_pointer(&duo.sessions[1]); /* has no rounds */
    duo.hold = TRUE;
    turn(FLYWAY_STALL_US + 1);
    UNTIL(&duo, duo.sessions[0]->state == SESSION_CUT);
    g_assert_nonnull(strstr(duo.sessions[0]->lost.text, "nothing was heard"));
    UNTIL(&duo, duo.refused == 2);
    turn(300 * 1000); /* asked for again */
    UNTIL(&duo, duo.refused == 4);
    duo.sessions[1] = silent;
    duo.hold = FALSE;
    turn(300 * 1000);
    UNTIL(&duo, duo.sessions[0]->n_links == 2 && duo.sessions[0]->state == SESSION_OPEN);
    carry(&duo, 1 << 18, 0);
    g_assert_cmpuint(duo.sessions[0]->cuts, ==, 1);
    duo_down(&duo);
}

/* Not made anew within the time to resume. */
static void
test_lost(void)
{
    Duo duo;

    duo_open(&duo, 1);
    duo.hold = TRUE;
    cut_all(&duo);
    UNTIL(&duo, duo.sessions[0]->state == SESSION_CUT && duo.sessions[1]->state == SESSION_CUT);
    turn(19 * SECOND);
    for (guint i = 0; i < 5; i++)
        round_of(&duo);
    g_assert_cmpint(duo.sessions[0]->state, ==, SESSION_CUT);
    turn(2 * SECOND);
    assert_failed(&duo, 0, GODWIT_ERROR_UNREACHABLE, "couldn't be made anew");
    assert_failed(&duo, 1, GODWIT_ERROR_UNREACHABLE, "couldn't be made anew");
    duo_down(&duo);
}

static void
assert_rests(const Session *session)
{
    gint64 now_us = clock_monotonic_us();

    g_assert_cmpint(session_wake_us(session, now_us), >, now_us);
}

/* The connection is there, but nothing comes: the destination waits without effort, then fails. */
static void
test_silence(void)
{
    Session *silent;
    Duo duo;

    duo_open(&duo, 1);
    silent = g_steal_pointer(&duo.sessions[0]); /* has no rounds */
    for (guint s = 0; s < 19; s++) {
        for (guint i = 0; i < 3; i++)
            round_of(&duo);
        assert_rests(duo.sessions[1]);
        turn(SECOND);
    }
    g_assert_cmpint(duo.sessions[1]->state, ==, SESSION_OPEN);
    turn(SECOND);
    assert_failed(&duo, 1, GODWIT_ERROR_TIMEOUT, "Nothing was heard from host");
    duo.sessions[0] = silent;
    duo_down(&duo);
}

/* Nothing is taken by the network, so that no ping can go out either: no reason to turn round. */
static void
test_full(void)
{
    Flow flow = { .total = 64 << 20 };
    Session *silent;
    Duo duo;

    duo_open(&duo, 1);
    flow.from = open_lane(&duo, RIG_STREAM);
    UNTIL(&duo, duo.sessions[0]->lanes[0].state == LANE_OPEN);
    silent = g_steal_pointer(&duo.sessions[1]);
    duo.sessions[0]->lanes[0].pace.wire.best[0] = 1e6; /* a fast path so far */
    duo.sessions[0]->lanes[0].pace.raw.best[0] = 1e6;
    duo.sessions[0]->lanes[0].credit = 64 << 20;
    duo.wait_us = 1000;
    while (!(link_events(duo.sessions[0]->strands[0].link) & POLLOUT)) {
        push(&flow);
        round_of(&duo);
    }
    turn(FLYWAY_PING_US + SECOND);
    for (guint i = 0; i < 20; i++)
        round_of(&duo);
    g_assert_cmpint(duo.sessions[0]->state, ==, SESSION_OPEN);
    assert_rests(duo.sessions[0]);
    close(flow.from);
    duo.sessions[1] = silent;
    duo_down(&duo);
}

/* The other host's godwitd answers, but has no worker: no use to wait. */
static void
test_away(void)
{
    guint before;
    Duo duo;

    duo_open(&duo, 1);
    drop_session(&duo, 1);
    duo.sessions[1] = make_session(duo.rig, FLYWAY_DESTINATION, 0); /* knows no session */
    before = duo.n_connections;
    cut_all(&duo);
    while (duo.sessions[0]->state != SESSION_FAILED) {
        g_assert_cmpuint(duo.n_connections, <, before + 10);
        turn(300 * 1000);
        UNTIL(&duo, duo.sessions[0]->n_hellos > 0);
        for (guint i = 0; i < 20; i++)
            round_of(&duo);
    }
    assert_failed(&duo, 0, GODWIT_ERROR_FORBIDDEN, "has no worker for this migration");
    duo_down(&duo);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void
test_leave(void)
{
    for (int side = 0; side < 2; side++) {
        int fd;
        Duo duo;

        duo_open(&duo, 2);
        fd = open_lane(&duo, RIG_STREAM);
        session_leave(duo.sessions[side]);
        UNTIL(&duo,
              duo.sessions[0]->state == SESSION_ENDED && duo.sessions[1]->state == SESSION_ENDED);
        close(fd);
        duo_down(&duo);
    }
}

static void
test_refused_lane(void)
{
    Duo duo;
    int fd;
    struct pollfd entry = { .events = POLLIN };

    duo_open(&duo, 1);
    duo.refuse = TRUE;
    fd = entry.fd = rig_connect(duo.rig, RIG_RPC);
    UNTIL(&duo, poll(&entry, 1, 0) == 1);
    rig_read_end(fd);
    close(fd);
    duo_down(&duo);
}

/* Failing here is told there. */
static void
test_abort(void)
{
    for (int side = 0; side < 2; side++) {
        Fault fault = { 0 };
        Duo duo;

        duo_open(&duo, 2);
        fault_set(&fault, GODWIT_ERROR_INTERNAL, "the roof came down");
        session_fail(duo.sessions[side], &fault);
        assert_failed(&duo, !side, GODWIT_ERROR_PROTOCOL, "gave up: the roof came down");
        duo_down(&duo);
    }
}

static void
write_message(int fd, const RpcMessage *message)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    rpc_append(bytes, message);
    rig_write(fd, bytes->data, bytes->len);
}

static void
read_message(Duo *duo, int fd, gsize body)
{
    g_autofree guint8 *bytes = g_malloc(28 + body);
    gsize got = 0;

    while (got < 28 + body) {
        ssize_t n = read(fd, bytes + got, 28 + body - got);

        got += n > 0 ? (gsize)n : 0;
        round_of(duo);
    }
}

/* Finish is called and answered: PROVED, or REFUSED, comes to the destination. */
static void
finish_with(guint status, FinishState expected)
{
    int a, b;
    Duo duo;

    duo_open(&duo, 2);
    a = open_lane(&duo, RIG_RPC);
    b = duo.peers[RIG_RPC][0];
    write_message(a, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_CALL, 5, RPC_OK, 100 });
    read_message(&duo, b, 100);
    write_message(b, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 5, status, 50 });
    read_message(&duo, a, 50);
    close(a);
    UNTIL(&duo, duo.sessions[1]->finish.state == expected);
    g_assert_cmpint(duo.sessions[0]->finish.state, ==, expected);
    duo_down(&duo);
}

static void
test_finish(void)
{
    finish_with(RPC_OK, FINISH_PROVED);
    finish_with(RPC_ERROR, FINISH_REFUSED);
}

/* ---- a peer that breaks the protocol --------------------------------------------------------- */

static guint8 bytes_of_batch[FRAME_BATCH_MAX];

static const struct {
    FlywaySide side;
    Frame frame;
    const char *part;
} foul[] = {
    { FLYWAY_DESTINATION, { .type = FRAME_HELLO }, "second HELLO" },
    { FLYWAY_SOURCE, { .type = FRAME_HELLO_REPLY }, "second HELLO_REPLY" },
    { FLYWAY_DESTINATION, { .type = FRAME_ACK, .below = 50 }, "acknowledged what was never sent" },
    { FLYWAY_DESTINATION,
      { .type = FRAME_LANE_ACCEPT, .lane = 1, .number = 1, .window = 1000 },
      "LANE_ACCEPT, which it may not" },
    { FLYWAY_SOURCE,
      { .type = FRAME_BATCH, .lane = 1, .number = 1, .data = { bytes_of_batch, 10 } },
      "BATCH, which it may not" },
    { FLYWAY_SOURCE, { .type = FRAME_PROVED, .number = 1 }, "PROVED, which it may not" },
    { FLYWAY_DESTINATION,
      { .type = FRAME_BYE, .number = 1 + LINE_FRAMES_MAX },
      "far more than was acknowledged" },
    { FLYWAY_DESTINATION,
      { .type = FRAME_DATA, .lane = 3, .number = 1, .data = { bytes_of_batch, 10 } },
      "The other worker" },
    { FLYWAY_DESTINATION, { .type = FRAME_PROVED, .number = 1 }, "" },
    { FLYWAY_SOURCE, { .type = FRAME_STOPPED, .number = 1 }, "STOPPED, which it may not" },
    { FLYWAY_SOURCE, { .type = FRAME_ABORT, .text = "enough" }, "gave up: enough" },
    { FLYWAY_SOURCE,
      { .type = FRAME_SETS_REPLY, .number = 1, .sets = { .n = 3 } },
      "SETS_REPLY that can't be" },
};

static void
test_foul(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(foul); i++) {
        Foe foe;

        g_test_message("%s", foul[i].part);
        foe_up(&foe, foul[i].side);
        say(&foe, &foul[i].frame);
        assert_failed(&foe.duo, foe.side, GODWIT_ERROR_PROTOCOL, foul[i].part);
        foe_down(&foe);
    }
}

/* What was held and is foul when its turn comes; a lane that is opened twice. */
static void
test_foul_later(void)
{
    const Frame open = { .type = FRAME_LANE_OPEN, .lane = 1, .open = { LANE_STREAM, 1000 } };
    Frame first = { .type = FRAME_SETS, .number = 1 }, second = open, third = open;
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    second.number = 2;
    third.number = 3;
    say(&foe, &third);
    say(&foe, &second);
    say(&foe, &first);
    assert_failed(&foe.duo, FLYWAY_DESTINATION, GODWIT_ERROR_PROTOCOL, "The other worker");
    foe_down(&foe);
}

/* The set of the session's pages ends at the other side: allowed, and known of no set it's nothing.
 */
static void
test_sets_end(void)
{
    Foe foe;

    foe_up(&foe, FLYWAY_SOURCE);
    await_frame(&foe, FRAME_SETS);
    say(&foe, &(Frame){ .type = FRAME_SETS_END, .number = 1, .ordinal = 7 });
    say(&foe, &(Frame){ .type = FRAME_PING, .clock = { 7 } });
    await_frame(&foe, FRAME_PONG);
    g_assert_cmpint(foe.duo.sessions[0]->state, ==, SESSION_OPEN);
    foe_down(&foe);
}

/* The source's godwitd says that the VM has stopped: so does its worker, once, and the other side
 * knows. */
static void
test_stopped(void)
{
    Foe foe;

    foe_up(&foe, FLYWAY_SOURCE);
    await_frame(&foe, FRAME_SETS);
    session_hurry(foe.duo.sessions[0]);
    await_frame(&foe, FRAME_STOPPED);
    session_hurry(foe.duo.sessions[0]);
    g_assert_cmpuint(foe.duo.sessions[0]->due & SESSION_DUE_STOPPED, ==, 0);
    foe_down(&foe);

    foe_up(&foe, FLYWAY_DESTINATION);
    g_assert_false(foe.duo.sessions[1]->stopped);
    say(&foe, &(Frame){ .type = FRAME_STOPPED, .number = 1 });
    say(&foe, &(Frame){ .type = FRAME_PING, .clock = { 7 } });
    await_frame(&foe, FRAME_PONG);
    g_assert_true(foe.duo.sessions[1]->stopped);
    g_assert_cmpint(foe.duo.sessions[1]->state, ==, SESSION_OPEN);
    foe_down(&foe);
}

static void
test_garbage(void)
{
    gsize room;
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    memset(link_tx_room(foe.link, &room), 77, 100);
    link_tx_add(foe.link, 100);
    link_flush(foe.link);
    assert_failed(&foe.duo, FLYWAY_DESTINATION, GODWIT_ERROR_PROTOCOL, "broke the protocol");
    foe_down(&foe);
}

/* The second one of what may come once. */
static void
test_sets_twice(void)
{
    Frame frame = { .type = FRAME_SETS, .number = 1 };
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    say(&foe, &frame);
    await_frame(&foe, FRAME_SETS_REPLY);
    say(&foe, &(Frame){ .type = FRAME_ACK, .below = 2 });
    frame.number = 2;
    say(&foe, &frame);
    assert_failed(&foe.duo, FLYWAY_DESTINATION, GODWIT_ERROR_PROTOCOL, "SETS that can't be");
    foe_down(&foe);
}

/* Sets are agreed on before there are lanes: later, a thread looks at them. */
static void
test_sets_late(void)
{
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    say(&foe,
        &(Frame){ .type = FRAME_LANE_OPEN, .lane = 1, .number = 1, .open = { LANE_STREAM, 1000 } });
    say(&foe, &(Frame){ .type = FRAME_SETS, .number = 2 });
    assert_failed(&foe.duo, FLYWAY_DESTINATION, GODWIT_ERROR_PROTOCOL, "SETS that can't be");
    foe_down(&foe);
}

/* More than may be held of what comes too early. */
static void
test_early(void)
{
    Frame frame = { .type = FRAME_BATCH, .lane = 1, .data = { bytes_of_batch, FRAME_BATCH_MAX } };
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    for (frame.number = 2; foe.duo.sessions[1]->state == SESSION_OPEN; frame.number++) {
        g_assert_cmpuint(frame.number, <, 400);
        say(&foe, &frame);
        round_of(&foe.duo);
    }
    assert_failed(&foe.duo, FLYWAY_DESTINATION, GODWIT_ERROR_PROTOCOL, "far more than");
    g_assert_cmpuint(frame.number, >, LINE_KEEP_BYTES / FRAME_SIZE_MAX - 1);
    foe_down(&foe);
}

/* Allowed, though odd: held and taken in order, twice, old answers. */
static void
test_odd(void)
{
    Frame frame;
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    say(&foe, &(Frame){ .type = FRAME_PONG, .clock = { 5, 6 } });
    say(&foe, &(Frame){ .type = FRAME_PING, .clock = { 7 } });
    frame = await_frame(&foe, FRAME_PONG);
    g_assert_cmpuint(frame.clock.sent_us, ==, 7);
    g_assert_cmpuint(foe.duo.sessions[1]->n_samples, ==, 0);
    say(&foe, &(Frame){ .type = FRAME_LANE_OPEN,
                        .lane = 2,
                        .number = 2,
                        .open = { LANE_NBD, 1000 } }); /* held */
    say(&foe, &(Frame){ .type = FRAME_SETS_END + 0, .number = 3 });
    for (guint i = 0; i < 5; i++)
        round_of(&foe.duo);
    g_assert_cmpint(foe.duo.sessions[1]->lanes[1].state, ==, LANE_FREE);
    foe_down(&foe);

    foe_up(&foe, FLYWAY_DESTINATION);
    foe.duo.refuse = TRUE;
    say(&foe,
        &(Frame){ .type = FRAME_LANE_OPEN, .lane = 2, .number = 2, .open = { LANE_NBD, 1000 } });
    say(&foe, &(Frame){ .type = FRAME_SETS, .number = 1 });
    say(&foe, &(Frame){ .type = FRAME_SETS, .number = 1 }); /* again: as after a lost connection */
    frame = await_frame(&foe, FRAME_LANE_REFUSE);
    g_assert_nonnull(strstr(frame.text, "not today"));
    g_assert_cmpint(foe.duo.sessions[1]->state, ==, SESSION_OPEN);
    session_leave(foe.duo.sessions[1]);
    say(&foe,
        &(Frame){ .type = FRAME_LANE_OPEN, .lane = 3, .number = 3, .open = { LANE_RPC, 1000 } });
    UNTIL(&foe.duo, session_is_final(foe.duo.sessions[1]));
    foe_down(&foe);
}

/* More disks at once than there are lanes for: refused one by one, the others stay. */
static void
test_disks(void)
{
    Frame frame = { .type = FRAME_LANE_OPEN, .open = { LANE_NBD, 1000 } };
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    say(&foe, &(Frame){ .type = FRAME_SETS, .number = 1 });
    for (guint i = 1; i <= FLYWAY_NBD_LANES + 1; i++) {
        frame.lane = (guint8)i;
        frame.number = 1 + i;
        say(&foe, &frame);
    }
    frame = await_frame(&foe, FRAME_LANE_REFUSE);
    g_assert_cmpuint(frame.lane, ==, FLYWAY_NBD_LANES + 1);
    g_assert_nonnull(strstr(frame.text, "more disks"));
    UNTIL(&foe.duo, foe.duo.n_peers[RIG_NBD] == FLYWAY_NBD_LANES);
    foe_down(&foe);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/traffic/carries", test_carries);
    g_test_add_func("/flyway/traffic/hang-up-after-the-end", test_hang_up_after_the_end);
    g_test_add_func("/flyway/traffic/cuts", test_cuts);
    g_test_add_func("/flyway/traffic/recall", test_recall);
    g_test_add_func("/flyway/traffic/differences", test_differences);
    g_test_add_func("/flyway/traffic/idle", test_idle);
    g_test_add_func("/flyway/traffic/stalled", test_stalled);
    g_test_add_func("/flyway/traffic/lost", test_lost);
    g_test_add_func("/flyway/traffic/silence", test_silence);
    g_test_add_func("/flyway/traffic/full", test_full);
    g_test_add_func("/flyway/traffic/away", test_away);
    g_test_add_func("/flyway/traffic/leave", test_leave);
    g_test_add_func("/flyway/traffic/refused-lane", test_refused_lane);
    g_test_add_func("/flyway/traffic/abort", test_abort);
    g_test_add_func("/flyway/traffic/finish", test_finish);
    g_test_add_func("/flyway/traffic/foul", test_foul);
    g_test_add_func("/flyway/traffic/foul-later", test_foul_later);
    g_test_add_func("/flyway/traffic/sets-end", test_sets_end);
    g_test_add_func("/flyway/traffic/stopped", test_stopped);
    g_test_add_func("/flyway/traffic/garbage", test_garbage);
    g_test_add_func("/flyway/traffic/sets-twice", test_sets_twice);
    g_test_add_func("/flyway/traffic/sets-late", test_sets_late);
    g_test_add_func("/flyway/traffic/early", test_early);
    g_test_add_func("/flyway/traffic/odd", test_odd);
    g_test_add_func("/flyway/traffic/disks", test_disks);
    return g_test_run();
}
