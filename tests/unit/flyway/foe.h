/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "duo.h"

/** One session, in a Duo; the test is its peer, and says what it likes. */
typedef struct {
    Duo duo;
    FlywaySide side; /* of the session */
    LinkKeys *keys;
    Link *link;     /* the test's end */
    guint64 number; /* of the last frame of say_next() */
} Foe;

/** Up to the accepted hello. */
void foe_up(Foe *foe, FlywaySide side);
/** A peer without abilities: neither pages nor recall. */
void foe_up_plain(Foe *foe, FlywaySide side);
void foe_down(Foe *foe);
void say(Foe *foe, const Frame *frame);
/** With the next number. */
void say_next(Foe *foe, Frame frame);
/** What the session says until a frame of that type. */
Frame await_frame(Foe *foe, FrameType type);
/** Some rounds of the session. */
void rounds_of(Foe *foe);
/** Waits until it has taken what was said so far: it answers a ping, and is open yet. */
void settle(Foe *foe);
/** A lane of that number at a destination, that godwitd has given a socket; returns libvirt's or
 * QEMU's end, the Duo's. */
int foe_lane(Foe *foe, guint8 lane, LaneKind kind, guint32 window);
