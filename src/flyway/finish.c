/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A VM must never run on two hosts. In a peer-to-peer migration the source's libvirtd calls Finish
 * on the destination's, and from what comes back it decides what becomes of its own, paused VM:
 * with a domain it kills it, with anything else (an error, a lost connection) it resumes it
 * (libvirt 9.0, qemu_migration.c: `cancelled = ddomain == NULL`). The destination's VM is started
 * paused; it may run from the moment when the source's libvirtd can only kill. That moment is
 * proved here, at the source's worker, and told to the destination with PROVED.
 *
 * The argument. libvirt's client reads a message by exact lengths, straight from the socket into
 * that message (virNetClientIOReadMessage), and whoever reads its last byte completes the waiting
 * call in the same step, before any error of the connection is looked at (virNetClientIOEventLoop:
 * "Now see if *we* are done" comes before "if (error)"). So once the last byte of a good reply has
 * been read, Finish returns a domain, and Confirm gets cancelled = FALSE: kill. Should that
 * libvirtd die in between, it finds phase PERFORM3_DONE on its restart and leaves the VM paused
 * (qemuProcessRecoverMigrationOut), or phase CONFIRM3 and kills it. None of these resumes. A reply
 * that libvirt reads but can't decode would break it: only a destination host that lies on purpose
 * sends one, and such a host could run the VM without asking.
 *
 * Read means: SIOCOUTQ of the worker's AF_UNIX socket is 0. Linux counts a stream socket's buffers
 * there until they are read completely, and nothing is written after the reply until it is settled
 * (finish_limit), so 0 is about the reply's last byte. A socket closed with bytes unread drops to 0
 * as well; but the kernel marks the other end as shut down first and throws the buffers away later
 * (unix_release_sock). Hence the order of FinishSocket: bytes first, hang-up after. 0 and then no
 * hang-up: they were read. Hang-up: never PROVED, even though libvirtd may have read them; if the
 * kernel says that bytes were unread (ECONNRESET), they were not, and it is REFUSED; else it is
 * UNSETTLED, and godwitd asks libvirt what became of the VM.
 *
 * REFUSED is told only where it is certain that the reply was not and will never be read whole: an
 * error status; the lane's end before the reply's last byte was written; the reset above. Then the
 * source's libvirtd resumes its VM, or has died and leaves it paused: it never kills it.
 *
 * At the destination, the state follows the source's word; it never concludes anything by itself.
 */
#include "flyway/finish.h"

#define M(state) (1u << FINISH_##state)

/* Legal moves, from -> set of to. */
static const guint moves[FINISH_N_STATES] = {
    [FINISH_NONE] = M(CALLED),
    [FINISH_CALLED] = M(ANSWERED) | M(REFUSED) | M(PROVED),
    [FINISH_ANSWERED] = M(HANDED) | M(REFUSED),
    [FINISH_HANDED] = M(PROVED) | M(REFUSED) | M(UNSETTLED),
};

static const char *const names[FINISH_N_STATES] = {
    "none", "called", "answered", "handed", "proved", "refused", "unsettled",
};

static void
move(Finish *finish, FinishState to)
{
    g_assert(moves[finish->state] & 1u << to);
    g_debug("finish: %s -> %s", names[finish->state], names[to]);
    finish->state = to;
}

static gboolean
is_ours(const Finish *finish, guint8 lane)
{
    return finish->state != FINISH_NONE && finish->lane == lane;
}

gboolean
finish_rpc(Finish *finish, guint8 lane, const RpcEvent *event, Fault *fault)
{
    if (event->kind == RPC_FINISH_CALL) {
        if (finish->state != FINISH_NONE) {
            fault_set(fault, GODWIT_ERROR_PROTOCOL,
                      "libvirt called Finish a second time in one session; a session carries one "
                      "migration. Start a new one");
            return FALSE;
        }
        finish->lane = lane;
        finish->procedure = event->procedure;
        finish->serial = event->serial;
        move(finish, FINISH_CALLED);
        return TRUE;
    }
    if (finish->side != FLYWAY_SOURCE || finish->state != FINISH_CALLED || finish->lane != lane ||
        event->procedure != finish->procedure || event->serial != finish->serial)
        return TRUE;
    finish->reply_end = event->end;
    move(finish, event->kind == RPC_FINISH_GOOD ? FINISH_ANSWERED : FINISH_REFUSED);
    return TRUE;
}

void
finish_written(Finish *finish, guint8 lane, guint64 offset, gint64 now_us)
{
    if (!is_ours(finish, lane) || finish->state != FINISH_ANSWERED || offset < finish->reply_end)
        return;
    finish->since_us = now_us;
    move(finish, FINISH_HANDED);
}

guint64
finish_limit(const Finish *finish, guint8 lane)
{
    if (is_ours(finish, lane) &&
        (finish->state == FINISH_ANSWERED || finish->state == FINISH_HANDED))
        return finish->reply_end;
    return G_MAXUINT64;
}

gboolean
finish_waits(const Finish *finish, guint8 lane)
{
    return is_ours(finish, lane) && finish->state == FINISH_HANDED;
}

void
finish_socket(Finish *finish, FinishSocket seen, gint64 now_us)
{
    g_assert(finish->state == FINISH_HANDED);
    if (seen.hung_up) {
        move(finish, seen.reset ? FINISH_REFUSED : FINISH_UNSETTLED);
    } else if (seen.unread_bytes == 0) {
        finish->proved_us = now_us;
        move(finish, FINISH_PROVED);
    }
}

gint64
finish_step_us(const Finish *finish, gint64 now_us)
{
    gint64 waited_us = now_us - finish->since_us;

    if (waited_us < 20 * 1000)
        return 100;
    return waited_us < 2 * G_USEC_PER_SEC ? 1000 : 10 * 1000;
}

void
finish_lane_gone(Finish *finish, guint8 lane)
{
    if (finish->side != FLYWAY_SOURCE || !is_ours(finish, lane))
        return;
    if (finish->state == FINISH_CALLED || finish->state == FINISH_ANSWERED)
        move(finish, FINISH_REFUSED);
    else if (finish->state == FINISH_HANDED)
        move(finish, FINISH_UNSETTLED);
}

gboolean
finish_told(Finish *finish, gboolean proved, gint64 now_us, Fault *fault)
{
    if (finish->side != FLYWAY_DESTINATION || finish->state != FINISH_CALLED) {
        fault_set(fault, GODWIT_ERROR_PROTOCOL,
                  "The other worker said %s, but Finish was %s here: its message is not believed",
                  proved ? "PROVED" : "REFUSED", names[finish->state]);
        return FALSE;
    }
    finish->proved_us = proved ? now_us : 0;
    move(finish, proved ? FINISH_PROVED : FINISH_REFUSED);
    return TRUE;
}
