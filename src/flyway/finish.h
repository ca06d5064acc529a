/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/fault.h"
#include "flyway/protocol.h"
#include "flyway/rpc.h"

/** What becomes of the Finish call of a migration: at most one per session. Pure; see finish.c. */
typedef enum {
    FINISH_NONE,     /* no call yet. Leaves by the call */
    FINISH_CALLED,   /* call carried. Source: by a reply, or REFUSED by the lane's end; destination:
                        by the peer's word */
    FINISH_ANSWERED, /* source: good reply on its way to libvirt. By its last byte, or REFUSED by
                        the lane's end */
    FINISH_HANDED,   /* source: reply is in libvirt's socket. By its being read, or by the socket's
                        end */
    FINISH_PROVED,   /* final */
    FINISH_REFUSED,  /* final */
    FINISH_UNSETTLED, /* source, final: socket ended, unknown whether the reply was read. Nothing is
                         told */
    FINISH_N_STATES
} FinishState;

typedef struct {
    FlywaySide side; /* read-only */
    FinishState state;
    guint8 lane; /* that carries the call */
    guint32 procedure, serial;
    guint64 reply_end; /* ANSWERED on: offset in the lane's bytes to libvirt where the reply ends */
    gint64 since_us;   /* HANDED: since when */
    gint64 proved_us;  /* PROVED: when, monotonic */
} Finish;              /* zeroed but for side = at the start */

/** What libvirt's socket shows, looked at in this order. */
typedef struct {
    int unread_bytes; /* SIOCOUTQ */
    gboolean hung_up; /* POLLHUP, asked after unread_bytes */
    gboolean reset;   /* it was closed with bytes unread (ECONNRESET) */
} FinishSocket;

/** The parser of one direction saw something. FALSE with fault: a second call (one migration a
 * session). */
gboolean finish_rpc(Finish *finish, guint8 lane, const RpcEvent *event, Fault *fault);
/** All bytes up to this offset were taken by libvirt's socket. */
void finish_written(Finish *finish, guint8 lane, guint64 offset, gint64 now_us);
/** How far the lane's bytes may be written to libvirt at the moment: nothing follows a reply that
 * isn't settled. */
guint64 finish_limit(const Finish *finish, guint8 lane);
/** Is this lane's socket to be watched (finish_socket) and not to be closed? */
gboolean finish_waits(const Finish *finish, guint8 lane);
void finish_socket(Finish *finish, FinishSocket seen, gint64 now_us);
/** The time to look again, in us, while finish_waits. */
gint64 finish_step_us(const Finish *finish, gint64 now_us);
/** The lane's socket to libvirt is closed, or is going to be, and nothing more will be written to
 * it. */
void finish_lane_gone(Finish *finish, guint8 lane);
/** Destination: the peer's PROVED or REFUSED. FALSE with fault where it can't be. */
gboolean finish_told(Finish *finish, gboolean proved, gint64 now_us, Fault *fault);
