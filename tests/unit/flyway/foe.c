/* SPDX-License-Identifier: Apache-2.0 */
#include "foe.h"

#include <errno.h>
#include <string.h>

/* The session that is left, and what its connection will be given. */
static int
begin(Foe *foe, FlywaySide side)
{
    int fds[2];

    *foe = (Foe){ .side = side };
    duo_up(&foe->duo, 1);
    drop_session(&foe->duo, !side);
    foe->keys = link_keys_new(foe->duo.rig->identities[!side], NULL);
    rig_tcp_pair(fds);
    if (side == FLYWAY_DESTINATION)
        session_give_connection(foe->duo.sessions[side], 0, fds[0]);
    else
        foe->duo.give = fds[0];
    return fds[1];
}

static void
end_up(Foe *foe)
{
    while (link_flush(foe->link) != 0)
        round_of(&foe->duo);
    UNTIL(&foe->duo, foe->duo.sessions[foe->side]->state == SESSION_OPEN);
}

void
foe_up(Foe *foe, FlywaySide side)
{
    Hello hello = { 0 };
    HelloTerms terms;
    int fd = begin(foe, side);

    terms = terms_of(foe->duo.rig, !side);
    hello_begin(&hello, &terms, foe->keys, fd, clock_monotonic_us());
    while (hello.state != HELLO_ACCEPTED) {
        g_assert_cmpint(hello.state, !=, HELLO_FAILED);
        hello_run(&hello, &terms, clock_monotonic_us());
        round_of(&foe->duo);
    }
    foe->link = hello_take(&hello);
    end_up(foe);
}

void
foe_up_plain(Foe *foe, FlywaySide side)
{
    Frame frame = { .type = FRAME_HELLO_REPLY, .reply = { .major = FLYWAY_MAJOR } };
    HelloTerms terms;
    int fd = begin(foe, side), result = -EAGAIN;

    terms = terms_of(foe->duo.rig, !side);
    foe->link =
        link_new(foe->keys, !side, foe->duo.rig->hosts[side], fd, &foe->duo.sessions[side]->fault);
    for (; result == -EAGAIN; result = link_handshake(foe->link))
        round_of(&foe->duo);
    g_assert_cmpint(result, ==, 0);
    if (side == FLYWAY_SOURCE) {
        await_frame(foe, FRAME_HELLO);
    } else {
        frame = (Frame){ .type = FRAME_HELLO, .hello = { .major = FLYWAY_MAJOR } };
        frame.hello.side = !side;
        memcpy(frame.hello.id, terms.id, 16);
        memcpy(frame.hello.vm, terms.vm, 16);
        memcpy(frame.hello.self, terms.self, 16);
        memcpy(frame.hello.peer, terms.peer, 16);
        memcpy(frame.hello.ticket, terms.ticket, 32);
    }
    say(foe, &frame);
    if (side == FLYWAY_DESTINATION)
        await_frame(foe, FRAME_HELLO_REPLY);
    end_up(foe);
}

void
foe_down(Foe *foe)
{
    link_free(foe->link);
    link_keys_free(foe->keys);
    duo_down(&foe->duo);
}

void
say(Foe *foe, const Frame *frame)
{
    gsize room;
    guint8 *out;

    while (link_flush(foe->link) == -EAGAIN)
        round_of(&foe->duo);
    out = link_tx_room(foe->link, &room);
    link_tx_add(foe->link, frame_encode(frame, out, room));
    link_flush(foe->link);
}

void
say_next(Foe *foe, Frame frame)
{
    frame.number = ++foe->number;
    say(foe, &frame);
}

Frame
await_frame(Foe *foe, FrameType type)
{
    Frame frame = { 0 };

    while (frame.type != type) {
        const char *why;
        gsize length, used;
        const guint8 *bytes = link_rx(foe->link, &length);

        if (frame_decode(bytes, length, &frame, &used, &why) == 0) {
            link_rx_drop(foe->link, used);
            continue;
        }
        round_of(&foe->duo);
        g_assert_cmpint(link_receive(foe->link), !=, -EPIPE);
    }
    return frame;
}

void
rounds_of(Foe *foe)
{
    for (guint i = 0; i < 5; i++)
        round_of(&foe->duo);
}

void
settle(Foe *foe)
{
    static guint64 pings = 1 << 20;
    Frame pong;

    say(foe, &(Frame){ .type = FRAME_PING, .clock = { ++pings } });
    do
        pong = await_frame(foe, FRAME_PONG);
    while (pong.clock.sent_us != pings);
    g_assert_cmpint(foe->duo.sessions[foe->side]->state, ==, SESSION_OPEN);
}

int
foe_lane(Foe *foe, guint8 lane, LaneKind kind, guint32 window)
{
    guint which = kind == LANE_RPC ? RIG_RPC : RIG_STREAM, before = foe->duo.n_peers[which];

    say_next(foe, (Frame){ .type = FRAME_LANE_OPEN, .lane = lane, .open = { kind, window } });
    UNTIL(&foe->duo, foe->duo.n_peers[which] > before);
    await_frame(foe, FRAME_LANE_ACCEPT);
    return foe->duo.peers[which][before];
}
