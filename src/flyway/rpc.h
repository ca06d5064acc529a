/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/rpc_table.h"

/**
 * An incremental parser of libvirt's RPC framing, one per direction, that finds the Finish call of
 * a migration and its reply, and whatever must not pass (rpc_table.h). It only looks: the bytes
 * pass on as they are. Pure, no allocation.
 */
#define RPC_HEADER_SIZE 28 /* length, program, version, procedure, type, serial, status */
/** VIR_NET_MESSAGE_MAX and its own length word. */
#define RPC_MESSAGE_MAX (32u * 1024 * 1024 + 4)

typedef enum {
    RPC_NOTHING = 0,
    RPC_FINISH_CALL,  /* the call; its header is whole, its arguments may still be on their way */
    RPC_FINISH_GOOD,  /* a reply with status OK to the procedure */
    RPC_FINISH_ERROR, /* a reply with any other status */
    RPC_FORBIDDEN,    /* the table has no such message; nothing more is looked at */
} RpcKind;

typedef struct {
    RpcKind kind;
    guint32 procedure;
    guint32 serial;
    guint64 end; /* offset of the first byte after the message, counted from the parser's first */
    RpcMessageKind message; /* for rpc_table_refuse */
} RpcEvent;

typedef struct {
    RpcDirection direction; /* read-only */
    guint64 offset;         /* bytes seen */
    guint64 body_left;      /* of the present message, after its header */
    gsize have;             /* bytes of header[] */
    guint8 header[RPC_HEADER_SIZE];
    gboolean broken;
} RpcParser; /* zeroed but for direction = at the start */

/**
 * Looks at bytes. Returns how many it has looked at: all, or fewer where *event tells something
 * (kind != RPC_NOTHING); call again with the rest. -EPROTO where it can't be libvirt's RPC
 * (a length too small or too large), also ever after, as after RPC_FORBIDDEN.
 */
gssize rpc_look(RpcParser *parser, const guint8 *bytes, gsize length, RpcEvent *event);
