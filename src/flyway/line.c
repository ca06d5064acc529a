/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What makes a session outlive its connections. Each numbered frame is encoded once, into a ring of
 * LINE_KEEP_BYTES, and stays there until an ACK covers it; its entry says over which slot it went.
 * When a connection is lost, what went over it is marked and sent again, the lowest first, over
 * whatever connection asks. The receiver takes frames in the order of their numbers: with one
 * connection they come so; with several, or after a loss, what comes early is copied and held, what
 * comes twice is dropped.
 *
 * Frames lie in one piece: where the ring's end hasn't room for the largest, the next begins at its
 * start. `from` and `to` delimit what is kept; when nothing is, both go back to 0, so that a link
 * that keeps up touches little of the ring.
 *
 * Invariants: acked <= next; entries of numbers [acked, next) are valid; `unsent` is the lowest of
 * them marked LINE_UNSENT, or next. Held frames have numbers in (expected, expected +
 * LINE_FRAMES_MAX).
 *
 * Limits: LINE_FRAMES_MAX frames and LINE_KEEP_BYTES in each direction, so 64 MiB and 112 KiB of
 * entries at worst; normally what a round trip holds. The peer can't make us keep more: what we
 * keep ends our sending, what we hold is counted.
 */
#include "flyway/line.h"

#include <errno.h>
#include <string.h>

typedef struct {
    guint32 offset, size;
    int slot; /* LINE_UNSENT, or where it went */
} Kept;

typedef struct {
    guint8 *bytes; /* owned; NULL = not here */
    gsize size;
} Held;

struct Line {
    /* sending */
    guint8 *ring;
    gsize from, to; /* from <= to: [from, to); else [from, end) and [0, to) */
    gboolean wrapped;
    Kept kept[LINE_FRAMES_MAX]; /* by number */
    guint64 acked, next, unsent;
    guint64 kept_bytes, resent_bytes;

    /* receiving */
    Held held[LINE_FRAMES_MAX]; /* by number */
    guint64 expected;
    gsize held_bytes;
};

Line *
line_new(void)
{
    Line *line = g_new0(Line, 1);

    line->ring = g_malloc(LINE_KEEP_BYTES);
    line->acked = line->next = line->unsent = line->expected = 1;
    return line;
}

void
line_free(Line *line)
{
    if (line == NULL)
        return;
    for (gsize i = 0; i < LINE_FRAMES_MAX; i++)
        g_free(line->held[i].bytes);
    g_free(line->ring);
    g_free(line);
}

/* ---- sending --------------------------------------------------------------------------------- */

static Kept *
kept_of(Line *line, guint64 number)
{
    return &line->kept[number % LINE_FRAMES_MAX];
}

/* Where the next frame would begin; -1: nowhere. */
static gssize
place(const Line *line)
{
    if (line->wrapped)
        return line->from - line->to >= FRAME_SIZE_MAX ? (gssize)line->to : -1;
    if (LINE_KEEP_BYTES - line->to >= FRAME_SIZE_MAX)
        return (gssize)line->to;
    return line->from >= FRAME_SIZE_MAX ? 0 : -1;
}

gboolean
line_has_room(const Line *line)
{
    return line->next - line->acked < LINE_FRAMES_MAX && place(line) >= 0;
}

guint8 *
line_room(Line *line)
{
    g_assert(line_has_room(line));
    return line->ring + place(line);
}

guint64
line_next_number(const Line *line)
{
    return line->next;
}

void
line_add(Line *line, gsize size, int slot)
{
    gssize at = place(line);

    g_assert(at >= 0 && size <= FRAME_SIZE_MAX && slot != LINE_UNSENT);
    if ((gsize)at != line->to)
        line->wrapped = TRUE;
    *kept_of(line, line->next) = (Kept){ (guint32)at, (guint32)size, slot };
    line->to = (gsize)at + size;
    line->kept_bytes += size;
    if (line->unsent == line->next)
        line->unsent++;
    line->next++;
}

/* The next one kept that has to be sent again, from number on. */
static guint64
next_unsent(Line *line, guint64 number)
{
    while (number < line->next && kept_of(line, number)->slot != LINE_UNSENT)
        number++;
    return number;
}

int
line_acked(Line *line, guint64 below)
{
    if (below > line->next)
        return -EPROTO;
    for (; line->acked < below; line->acked++) {
        const Kept *kept = kept_of(line, line->acked);

        if (kept->offset < line->from)
            line->wrapped = FALSE;
        line->from = kept->offset + kept->size;
        line->kept_bytes -= kept->size;
    }
    if (line->acked == line->next) {
        line->from = line->to = 0;
        line->wrapped = FALSE;
    }
    if (line->unsent < line->acked)
        line->unsent = next_unsent(line, line->acked);
    return 0;
}

void
line_lost(Line *line, int slot)
{
    for (guint64 number = line->acked; number < line->next; number++) {
        Kept *kept = kept_of(line, number);

        if (kept->slot == slot)
            kept->slot = LINE_UNSENT;
    }
    line->unsent = next_unsent(line, line->acked);
}

gboolean
line_resends(const Line *line)
{
    return line->unsent < line->next;
}

const guint8 *
line_resend(Line *line, int slot, gsize room, gsize *size)
{
    Kept *kept;

    if (!line_resends(line))
        return NULL;
    kept = kept_of(line, line->unsent);
    if (kept->size > room)
        return NULL;
    kept->slot = slot;
    *size = kept->size;
    line->resent_bytes += kept->size;
    line->unsent = next_unsent(line, line->unsent + 1);
    return line->ring + kept->offset;
}

guint64
line_kept_bytes(const Line *line)
{
    return line->kept_bytes;
}

guint64
line_resent_bytes(const Line *line)
{
    return line->resent_bytes;
}

/* ---- receiving ------------------------------------------------------------------------------- */

LinePlace
line_place(const Line *line, guint64 number)
{
    if (number < line->expected)
        return LINE_OLD;
    if (number == line->expected)
        return LINE_NEXT;
    return number - line->expected < LINE_FRAMES_MAX ? LINE_EARLY : LINE_WRONG;
}

int
line_hold(Line *line, guint64 number, const guint8 *bytes, gsize size)
{
    Held *held = &line->held[number % LINE_FRAMES_MAX];

    g_assert(line_place(line, number) == LINE_EARLY);
    if (held->bytes != NULL)
        return 0; /* came twice */
    if (size > LINE_KEEP_BYTES - line->held_bytes)
        return -EPROTO;
    *held = (Held){ g_memdup2(bytes, size), size };
    line->held_bytes += size;
    return 0;
}

const guint8 *
line_held(const Line *line, gsize *size)
{
    const Held *held = &line->held[line->expected % LINE_FRAMES_MAX];

    *size = held->size;
    return held->bytes;
}

void
line_took(Line *line)
{
    Held *held = &line->held[line->expected % LINE_FRAMES_MAX];

    line->held_bytes -= held->size;
    g_free(held->bytes);
    *held = (Held){ 0 };
    line->expected++;
}

guint64
line_taken_below(const Line *line)
{
    return line->expected;
}
