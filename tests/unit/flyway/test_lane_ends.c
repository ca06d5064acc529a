/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes whose ends aren't orderly: frames that can't be there in a lane's state, more than its
 * window, bytes that aren't libvirt's, a QEMU that closes its socket with bytes unread, and streams
 * that go past the packer. One session against a peer played by the test (foe.h), or two (duo.h).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "flyway/page.h"
#include "foe.h"
#include "rpc_message.h"
#include "stream_kit.h"

static const guint8 some[100] = { 0xff };

/* ---- frames that can't be there -------------------------------------------------------------- */

/* Said by the peer in this order; the last one ends the session. */
typedef struct {
    FlywaySide side; /* of the session; lane 1 is open */
    LaneKind kind;
    Frame frames[2];
    GodwitError code;
    const char *part;
} Foul;

#define ON_1 .lane = 1
#define TEN .data = { some, 10 }

static const Foul fouls[] = {
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_EOF, ON_1 }, { .type = FRAME_DATA, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "DATA on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_EOF, ON_1 }, { .type = FRAME_BATCH, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "BATCH on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_EOF, ON_1 }, { .type = FRAME_EOF, ON_1 } },
      GODWIT_ERROR_PROTOCOL,
      "EOF on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_CLOSE, ON_1 }, { .type = FRAME_DATA, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "DATA on lane 1, which is" },
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_AGAIN, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "again, which can't be" },
    { FLYWAY_DESTINATION,
      LANE_STREAM,
      { { .type = FRAME_BATCH, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "batch that can't be" },
    { FLYWAY_DESTINATION,
      LANE_RPC,
      { { .type = FRAME_BATCH, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "BATCH on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_RPC,
      { { .type = FRAME_AGAIN, ON_1, TEN } },
      GODWIT_ERROR_PROTOCOL,
      "AGAIN on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_RPC,
      { { .type = FRAME_DATA, ON_1, .data = { some, sizeof some } } },
      GODWIT_ERROR_PROTOCOL,
      "isn't libvirt's RPC" },
    { FLYWAY_DESTINATION,
      LANE_RPC,
      { { .type = FRAME_CREDIT, ON_1, .credit = FRAME_WINDOW_MAX },
        { .type = FRAME_CREDIT, ON_1, .credit = 1 } },
      GODWIT_ERROR_PROTOCOL,
      "CREDIT on lane 1 that can't be there" },
    { FLYWAY_DESTINATION,
      LANE_RPC,
      { { .type = FRAME_LANE_OPEN, ON_1, .open = { LANE_RPC, 1000 } } },
      GODWIT_ERROR_PROTOCOL,
      "opened lane 1, which is in use (open)" },
    { FLYWAY_SOURCE,
      LANE_STREAM,
      { { .type = FRAME_MISSING, ON_1, .missing = { 7, 1 } } },
      GODWIT_ERROR_PROTOCOL,
      "MISSING on lane 1 that can't be there" },
    { FLYWAY_SOURCE,
      LANE_RPC,
      { { .type = FRAME_MISSING, ON_1, .missing = { 0, 1 } } },
      GODWIT_ERROR_PROTOCOL,
      "MISSING on lane 1 that can't be there" },
    { FLYWAY_SOURCE,
      LANE_STREAM,
      { { .type = FRAME_LANE_ACCEPT, ON_1, .window = 1000 } },
      GODWIT_ERROR_PROTOCOL,
      "LANE_ACCEPT on lane 1 that can't be there" },
    { FLYWAY_SOURCE,
      LANE_RPC,
      { { .type = FRAME_DATA, ON_1, .data = { some, sizeof some } } },
      GODWIT_ERROR_PROTOCOL,
      "isn't libvirt's RPC" },
};

/* Lane 1, open; returns the local end. */
static int
open_one(Foe *foe, FlywaySide side, LaneKind kind, guint32 window)
{
    Frame frame = { .type = FRAME_LANE_ACCEPT, ON_1, .window = window };
    int fd;

    foe_up(foe, side);
    if (side == FLYWAY_DESTINATION)
        return foe_lane(foe, 1, kind, window);
    fd = rig_connect(foe->duo.rig, kind == LANE_RPC ? RIG_RPC : RIG_STREAM);
    await_frame(foe, FRAME_LANE_OPEN);
    say_next(foe, frame);
    settle(foe);
    g_assert_cmpint(foe->duo.sessions[0]->lanes[0].state, ==, LANE_OPEN);
    return fd;
}

static void
test_foul(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(fouls); i++) {
        const Foul *foul = &fouls[i];
        Foe foe;
        int fd = open_one(&foe, foul->side, foul->kind, 1000);

        g_test_message("%s", foul->part);
        for (guint k = 0; k < 2 && foul->frames[k].type != 0; k++)
            say_next(&foe, foul->frames[k]);
        assert_failed(&foe.duo, foul->side, foul->code, foul->part);
        if (foul->side == FLYWAY_SOURCE)
            close(fd);
        foe_down(&foe);
    }
}

/* Before godwitd has given a socket: nothing but the lane's end. */
static void
test_before_answer(void)
{
    const Frame open = { .type = FRAME_LANE_OPEN, ON_1, .open = { LANE_STREAM, 1000 } };
    Foe foe;

    foe_up(&foe, FLYWAY_DESTINATION);
    say_next(&foe, open);
    say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, TEN });
    assert_failed(&foe.duo, 1, GODWIT_ERROR_PROTOCOL, "DATA on lane 1 before it opened");
    foe_down(&foe);

    foe_up(&foe, FLYWAY_DESTINATION);
    say_next(&foe, open);
    say_next(&foe, (Frame){ .type = FRAME_CLOSE, ON_1 });
    await_frame(&foe, FRAME_CLOSE);
    settle(&foe);
    g_assert_cmpint(foe.duo.sessions[1]->lanes[0].state, ==, LANE_FREE);
    g_assert_cmpuint(foe.duo.n_peers[RIG_STREAM], ==, 0); /* and nobody is asked any more */
    foe_lane(&foe, 1, LANE_RPC, 1000);                    /* the number is free again */
    foe_down(&foe);
}

/* Frames that cross our CLOSE are nobody's fault. */
static void
test_after_close(void)
{
    Session *session;
    Foe foe;
    int fd;

    foe_up(&foe, FLYWAY_DESTINATION);
    fd = foe_lane(&foe, 1, LANE_STREAM, 1000);
    session = foe.duo.sessions[1];
    g_assert_cmpint(fd, ==, foe.duo.peers[RIG_STREAM][0]);
    fd_close_p(&foe.duo.peers[RIG_STREAM][0]);
    await_frame(&foe, FRAME_CLOSE);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_CLOSED);
    say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, TEN });
    say_next(&foe, (Frame){ .type = FRAME_CREDIT, ON_1, .credit = 5 });
    say_next(&foe, (Frame){ .type = FRAME_EOF, ON_1 });
    settle(&foe);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_CLOSED);
    say_next(&foe, (Frame){ .type = FRAME_CLOSE, ON_1 });
    settle(&foe);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_FREE);
    foe_down(&foe);
}

/* At the source it is still judged what the peer misses of a stream; on other lanes it's nothing.
 */
static void
test_missing_after_close(void)
{
    Foe foe;

    close(open_one(&foe, FLYWAY_SOURCE, LANE_RPC, 1000));
    await_frame(&foe, FRAME_CLOSE);
    say_next(&foe, (Frame){ .type = FRAME_MISSING, ON_1, .missing = { 3, 1 } });
    settle(&foe);
    foe_down(&foe);

    close(open_one(&foe, FLYWAY_SOURCE, LANE_STREAM, 1000));
    await_frame(&foe, FRAME_CLOSE);
    say_next(&foe, (Frame){ .type = FRAME_MISSING, ON_1, .missing = { 3, 1 } });
    assert_failed(&foe.duo, 0, GODWIT_ERROR_PROTOCOL, "MISSING on lane 1 that can't be there");
    foe_down(&foe);
}

/* What waits behind a CLOSE may come again, if it was missed; not what was never sent. */
static void
test_again_after_close(void)
{
    static const guint8 bytes[32768];
    Foe foe;

    open_one(&foe, FLYWAY_DESTINATION, LANE_STREAM, 1000);
    for (guint i = 0; i < 64; i++) /* more than QEMU's socket takes */
        say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, .data = { bytes, sizeof bytes } });
    say_next(&foe, (Frame){ .type = FRAME_CLOSE, ON_1 });
    settle(&foe);
    g_assert_cmpint(foe.duo.sessions[1]->lanes[0].state, ==, LANE_DRAINING);
    say_next(&foe, (Frame){ .type = FRAME_AGAIN, ON_1, TEN });
    assert_failed(&foe.duo, 1, GODWIT_ERROR_PROTOCOL, "again, which can't be");
    foe_down(&foe);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* libvirt takes nothing: what its socket and the window hold comes in, not more. */
static void
test_over_window(void)
{
    g_autoptr(GByteArray) message = g_byte_array_new();
    Session *session;
    gsize at = 0;
    Foe foe;

    rpc_append(message, &(RpcMessage){ RPC_REMOTE, RPC_PREPARE3, RPC_CALL, 1, RPC_OK, 2 << 20 });
    open_one(&foe, FLYWAY_DESTINATION, LANE_RPC, 1000);
    session = foe.duo.sessions[1];
    while (session->state == SESSION_OPEN) {
        g_assert_cmpuint(at, <, message->len);
        say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, .data = { message->data + at, 32768 } });
        at += 32768;
        round_of(&foe.duo);
    }
    assert_failed(&foe.duo, 1, GODWIT_ERROR_PROTOCOL, "sent more than lane 1's window");
    g_assert_cmpuint(at, >=, 256 * 1024);
    foe_down(&foe);
}

/* A peer may give more credit than what it took: a larger window, no reason to stand still. */
static void
test_generous(void)
{
    Frame frame;
    Foe foe;
    int fd = open_one(&foe, FLYWAY_SOURCE, LANE_STREAM, 1);

    say_next(&foe, (Frame){ .type = FRAME_CREDIT, ON_1, .credit = 1 << 20 });
    rig_write(fd, some, sizeof some);
    frame = await_frame(&foe, FRAME_BATCH);
    g_assert_cmpuint(page_payload_raw(frame.data.bytes, frame.data.length), ==, sizeof some);
    close(fd);
    foe_down(&foe);
}

/* ---- what isn't libvirt's, or may not be ----------------------------------------------------- */

static void
write_bytes(int fd, const RpcMessage *message)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    rpc_append(bytes, message);
    rig_write(fd, bytes->data, bytes->len);
}

/* From a local process: this side fails with the reason, the other is told. */
static void
local_foul(FlywaySide side, const RpcMessage *message, const char *part)
{
    Duo duo;
    int a, fd;

    duo_open(&duo, 1);
    a = open_lane(&duo, RIG_RPC);
    fd = side == FLYWAY_SOURCE ? a : duo.peers[RIG_RPC][0];
    if (message == NULL)
        rig_write(fd, some, sizeof some);
    else
        write_bytes(fd, message);
    assert_failed(&duo, side, GODWIT_ERROR_PROTOCOL, part);
    assert_failed(&duo, !side, GODWIT_ERROR_PROTOCOL, part);
    close(a);
    duo_down(&duo);
}

static void
test_not_libvirt(void)
{
    local_foul(FLYWAY_SOURCE, NULL, "isn't libvirt's RPC");
    local_foul(FLYWAY_DESTINATION, NULL, "isn't libvirt's RPC");
    local_foul(FLYWAY_SOURCE, &(RpcMessage){ RPC_REMOTE, 10, RPC_CALL, 1, RPC_OK, 10 }, "10");
}

/* A second Finish in one session isn't believed, nor carried. */
static void
test_finish_twice(void)
{
    const RpcMessage call = { RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_CALL, 5, RPC_OK, 10 };
    Duo duo;
    int a;

    duo_open(&duo, 1);
    a = open_lane(&duo, RIG_RPC);
    write_bytes(a, &call);
    UNTIL(&duo, duo.sessions[1]->finish.state == FINISH_CALLED);
    write_bytes(a, &call);
    assert_failed(&duo, 0, GODWIT_ERROR_PROTOCOL, "a second time");
    g_assert_cmpint(rig_readable(duo.peers[RIG_RPC][0]), ==, 38);
    close(a);
    duo_down(&duo);
}

/* What libvirt has sent behind Finish's reply waits until it is known that the reply was read. */
static void
test_behind_finish(void)
{
    guint8 bytes[28 + 50];
    Duo duo;
    int a, b;

    duo_open(&duo, 1);
    a = open_lane(&duo, RIG_RPC);
    b = duo.peers[RIG_RPC][0];
    write_bytes(a, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_CALL, 5, RPC_OK, 10 });
    UNTIL(&duo, rig_readable(b) == 38);
    write_bytes(b, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 5, RPC_OK, 50 });
    write_bytes(b, &(RpcMessage){ RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 });
    UNTIL(&duo, duo.sessions[0]->finish.state == FINISH_HANDED &&
                    duo.sessions[0]->lanes[0].ring.length == 28);
    for (guint i = 0; i < 5; i++)
        round_of(&duo);
    g_assert_cmpint(rig_readable(a), ==, sizeof bytes);
    rig_read(a, bytes, sizeof bytes);
    UNTIL(&duo, rig_readable(a) == 28);
    g_assert_cmpint(duo.sessions[0]->finish.state, ==, FINISH_PROVED);
    close(a);
    duo_down(&duo);
}

/* ---- local ends that break ------------------------------------------------------------------- */

/* Closed with bytes unread, while nothing is on its way: the other end sees it closed. */
static void
test_reset(void)
{
    for (guint which = 0; which < 2; which++) {
        Duo duo;
        int a, b;

        duo_open(&duo, 1);
        a = open_lane(&duo, which);
        b = duo.peers[which][0];
        if (which == RIG_RPC)
            write_bytes(b, &(RpcMessage){ RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 });
        else
            rig_write(b, some, 28);
        UNTIL(&duo, rig_readable(a) == 28);
        close(a);
        UNTIL(&duo, duo.sessions[0]->lanes[0].state == LANE_FREE &&
                        duo.sessions[1]->lanes[0].state == LANE_FREE);
        rig_read_end(b);
        g_assert_true(session_is_open(duo.sessions[0]));
        duo_down(&duo);
    }
}

static gsize
raw_until_close(Foe *foe)
{
    gsize sum = 0, length, used;

    for (;;) {
        const guint8 *bytes = link_rx(foe->link, &length);
        const char *why;
        Frame frame;

        if (frame_decode(bytes, length, &frame, &used, &why) == 0) {
            if (frame.type == FRAME_CLOSE)
                return sum;
            if (frame.type == FRAME_BATCH) {
                guint32 raw = page_payload_raw(frame.data.bytes, frame.data.length);

                sum += raw;
                say_next(foe, (Frame){ .type = FRAME_CREDIT, ON_1, .credit = raw });
            }
            link_rx_drop(foe->link, used);
            continue;
        }
        round_of(&foe->duo);
        g_assert_cmpint(link_receive(foe->link), !=, -EPIPE);
    }
}

/* QEMU has written, and then breaks off, in one way or another, while the peer's window is full:
 * what was written is still carried once it has room, then the lane is closed. */
static void
break_off(gboolean with_unread, gboolean with_more)
{
    const gsize length = 2 * PAGE_BATCH_RAW + 1000;
    g_autofree guint8 *bytes = g_malloc0(length);
    Session *session;
    Foe foe;
    int fd = open_one(&foe, FLYWAY_SOURCE, LANE_STREAM, PAGE_BATCH_RAW);
    gsize sent = 0;

    session = foe.duo.sessions[0];
    while (session->stream_bytes < length) {
        ssize_t n = send(fd, bytes + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        sent += n > 0 ? (gsize)n : 0;
        round_of(&foe.duo);
    }
    if (with_unread) {
        say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, TEN });
        UNTIL(&foe.duo, rig_readable(fd) == 10);
    }
    close(fd);
    if (with_more)
        say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, TEN });
    UNTIL(&foe.duo, session->lanes[0].out == FLOW_ENDING);
    rounds_of(&foe);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_OPEN);
    g_assert_cmpuint(raw_until_close(&foe), ==, length);
    say_next(&foe, (Frame){ .type = FRAME_CLOSE, ON_1 });
    settle(&foe);
    g_assert_cmpint(session->lanes[0].state, ==, LANE_FREE);
    foe_down(&foe);
}

static void
test_breaks_off(void)
{
    break_off(FALSE, FALSE);
    break_off(TRUE, FALSE);
    break_off(FALSE, TRUE);
    break_off(TRUE, TRUE);
}

/* ---- past the packer ------------------------------------------------------------------------- */

static void
carry(Duo *duo, int from, int to, gsize length)
{
    guint8 bytes[8192], got[8192];
    gsize sent = 0, taken = 0;

    while (taken < length) {
        gsize part = MIN(sizeof bytes, length - sent);
        ssize_t n;

        for (gsize i = 0; i < part; i++)
            bytes[i] = (guint8)((sent + i) * 7 >> 3);
        n = part > 0 ? write(from, bytes, part) : 0;
        sent += n > 0 ? (gsize)n : 0;
        round_of(duo);
        n = read(to, got, sizeof got);
        for (ssize_t i = 0; i < n; i++)
            g_assert_cmpuint(got[i], ==, (guint8)((taken + (gsize)i) * 7 >> 3));
        taken += n > 0 ? (gsize)n : 0;
    }
}

/* Pages with nothing to compress. */
static GByteArray *
hard_pages(guint pages)
{
    GByteArray *stream = g_byte_array_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);

    for (guint64 i = 1; i <= pages; i++) {
        put(stream, i << 12 | 0x28, 8);
        for (guint k = 0; k < PAGE_BYTES / 4; k++)
            put(stream, g_rand_int(rand), 4);
    }
    return stream;
}

/* Batches that no link carries, in hardly any time: the link seems faster than any packing. */
static void
go_aside(Session *session, Packer *packer)
{
    g_autoptr(GByteArray) start = g_byte_array_new(), pages = hard_pages(256);
    gint64 now_us = clock_monotonic_us();
    gsize fed = 0;

    begin_stream(start, "pc.ram");
    put(start, 0x02, 8);
    put_text(start, "pc.ram");
    put(start, 0, 1);
    for (const GByteArray *from = start; !packer_is_aside(packer); from = pages) {
        struct pollfd entry = { .fd = crew_fd(session->crew), .events = POLLIN };
        gsize at = from == start ? 0 : fed % from->len, room;
        guint8 *to = packer_room(packer, &room);

        g_assert_cmpuint(fed, <, 1u << 29);
        room = MIN(room, from->len - at);
        memcpy(to, from->data + at, room);
        packer_filled(packer, room);
        while (!packer_is_empty(packer)) {
            packer_flush(packer); /* also what was cut off at a page's begin */
            packer_run(packer);
            if (packer_ready(packer) != NULL) {
                packer_sent(packer);
                continue;
            }
            g_assert_cmpint(poll(&entry, 1, 40000), ==, 1);
            crew_notice(session->crew);
        }
        fed += from == start ? 0 : room;
        now_us += 20;
        packer_round(packer, now_us, PACKER_BY_NOTHING);
    }
}

/* Pages have to be hashed, though but one would ever be found. */
static Known *
hashing(void)
{
    guint8 id[RECALL_ID_SIZE] = { 1 }, key[RECALL_KEY_SIZE] = { 2 };
    Known *known = known_new(FLYWAY_SOURCE, id, key);
    FrameSets sets;

    known_offer(known, &sets);
    sets.keeps = TRUE;
    g_assert_cmpint(known_agree(known, &sets), ==, 0);
    known_ended(known, 1);
    g_assert_true(known_is_useful(known));
    return known;
}

/* Bytes go as they are, and in order. */
static void
test_aside(void)
{
    PackerCounts before, after;
    Session *source;
    Duo duo;
    int a, b;

    duo_open(&duo, 1);
    a = open_lane(&duo, RIG_STREAM);
    b = duo.peers[RIG_STREAM][0];
    duo.wait_us = 1000;
    source = duo.sessions[0];
    UNTIL(&duo, source->lanes[0].state == LANE_OPEN);
    session_set_known(source, hashing());
    packer_free(source->lanes[0].packer); /* one that has seen nothing yet of this machine */
    source->lanes[0].packer = packer_new(source->crew, source->known, &source->packed);
    go_aside(source, source->lanes[0].packer);
    session_packed(source, &before);
    carry(&duo, a, b, 4 << 20);
    session_packed(source, &after);
    g_assert_cmpuint(after.direct_bytes, >, before.direct_bytes);
    g_assert_true(session_is_open(source));
    close(a);
    UNTIL(&duo, duo.sessions[1]->lanes[0].state == LANE_FREE);
    duo_down(&duo);
}

/* DATA behind a batch that is being unpacked waits for it. */
static void
test_data_behind_batch(void)
{
    g_autoptr(PageBatch) batch = page_batch_new();
    g_autoptr(PageCodec) codec = page_codec_new();
    guint8 got[5000 + 100];
    Foe foe;
    int fd = open_one(&foe, FLYWAY_DESTINATION, LANE_STREAM, 1000);

    memset(batch->raw, 'a', 5000);
    batch->raw_length = 5000;
    page_prepare(batch, NULL);
    page_choose(batch, NULL, NULL);
    page_pack(batch, codec, PAGE_LEVEL_LZ4);
    for (guint i = 0; i < 20; i++) {
        say_next(&foe, (Frame){ .type = FRAME_BATCH,
                                ON_1,
                                .data = { batch->payload, batch->payload_length } });
        say_next(&foe, (Frame){ .type = FRAME_DATA, ON_1, .data = { some, sizeof some } });
        UNTIL(&foe.duo, rig_readable(fd) == sizeof got);
        rig_read(fd, got, sizeof got);
        g_assert_cmpmem(got, 5000, batch->raw, 5000);
        g_assert_cmpmem(got + 5000, 100, some, sizeof some);
    }
    foe_down(&foe);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/lane-ends/foul", test_foul);
    g_test_add_func("/flyway/lane-ends/before-answer", test_before_answer);
    g_test_add_func("/flyway/lane-ends/after-close", test_after_close);
    g_test_add_func("/flyway/lane-ends/missing-after-close", test_missing_after_close);
    g_test_add_func("/flyway/lane-ends/again-after-close", test_again_after_close);
    g_test_add_func("/flyway/lane-ends/over-window", test_over_window);
    g_test_add_func("/flyway/lane-ends/generous", test_generous);
    g_test_add_func("/flyway/lane-ends/not-libvirt", test_not_libvirt);
    g_test_add_func("/flyway/lane-ends/finish-twice", test_finish_twice);
    g_test_add_func("/flyway/lane-ends/behind-finish", test_behind_finish);
    g_test_add_func("/flyway/lane-ends/reset", test_reset);
    g_test_add_func("/flyway/lane-ends/breaks-off", test_breaks_off);
    g_test_add_func("/flyway/lane-ends/aside", test_aside);
    g_test_add_func("/flyway/lane-ends/data-behind-batch", test_data_behind_batch);
    return g_test_run();
}
