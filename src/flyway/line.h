/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/protocol.h"

/**
 * The numbered frames of a session, in both directions: what was sent and isn't acknowledged, and
 * what came too early. See line.c. Pure: neither sockets nor time.
 */
typedef struct Line Line;

/** The connection a kept frame went over: a slot, or to be sent again. */
enum { LINE_UNSENT = -1 };

Line *line_new(void);
void line_free(Line *line);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Line, line_free)

/* ---- sending --------------------------------------------------------------------------------- */

/** May a frame of any size be added now? */
gboolean line_has_room(const Line *line);
/** Where the next frame is to be encoded: FRAME_SIZE_MAX bytes, valid until the next call. Only
 * with room. */
guint8 *line_room(Line *line);
/** The number that the next frame must have. */
guint64 line_next_number(const Line *line);
/** The frame in line_room was encoded, size bytes, and goes over slot. */
void line_add(Line *line, gsize size, int slot);
/** The peer has taken all below this. -EPROTO where that much was never sent. */
int line_acked(Line *line, guint64 below);
/** What went over this slot and isn't acknowledged has to be sent again. */
void line_lost(Line *line, int slot);
/** The lowest frame to be sent again, as it now goes over slot; NULL where there is none, or it has
 * more than room bytes. */
const guint8 *line_resend(Line *line, int slot, gsize room, gsize *size);
gboolean line_resends(const Line *line);
/** Bytes kept at present, and bytes that were sent again so far. */
guint64 line_kept_bytes(const Line *line);
guint64 line_resent_bytes(const Line *line);

/* ---- receiving ------------------------------------------------------------------------------- */

typedef enum {
    LINE_NEXT,  /* it's its turn: take it, then line_took */
    LINE_OLD,   /* was taken before: drop it */
    LINE_EARLY, /* others come first: line_hold */
    LINE_WRONG, /* no peer that keeps the rules sends this */
} LinePlace;

LinePlace line_place(const Line *line, guint64 number);
/** Keeps a copy of an EARLY frame. -EPROTO where that is more than may be held. */
int line_hold(Line *line, guint64 number, const guint8 *bytes, gsize size);
/** The held frame whose turn it is; valid until line_took. NULL: none. */
const guint8 *line_held(const Line *line, gsize *size);
/** The frame whose turn it was has been acted upon. */
void line_took(Line *line);
/** For ACK: all below it were taken. */
guint64 line_taken_below(const Line *line);
