/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * libvirt's RPC is a sequence of messages in each direction (libvirt, src/rpc/virnetprotocol.x): a
 * 4-byte length that counts itself, six 4-byte words of header, the body. All programs on a
 * connection (remote, qemu, keepalive, streams) share this framing, so everything can be stepped
 * over by length; the procedures that matter stand in a const table.
 *
 * Serials are matched by flyway/finish.c, which sees the events of both directions; here each
 * direction is on its own. A reply is told at its header, with the offset where it ends: whoever
 * writes the bytes knows by that offset when the reply has been handed over completely.
 */
#include "flyway/rpc.h"

#include <errno.h>
#include <string.h>

#define REMOTE_PROGRAM 0x20008086u
#define REMOTE_VERSION 1u

/* Both end a migration the same way; libvirt since 1.1.0 uses the second. */
static const guint32 finish_procedures[] = { 217 /* Finish3 */, 306 /* Finish3Params */ };

/* A reply with descriptors (5) can't cross hosts: libvirt would wait for them, so it proves
 * nothing. */
enum { TYPE_CALL = 0, TYPE_REPLY = 1, TYPE_CALL_WITH_FDS = 4 };
enum { STATUS_OK = 0 };

static guint32
word(const guint8 *header, guint index)
{
    const guint8 *at = header + 4 * index;

    return (guint32)at[0] << 24 | (guint32)at[1] << 16 | (guint32)at[2] << 8 | at[3];
}

static RpcKind
classify(const guint8 *header)
{
    guint32 procedure = word(header, 3), type = word(header, 4), status = word(header, 6);

    if (word(header, 1) != REMOTE_PROGRAM || word(header, 2) != REMOTE_VERSION)
        return RPC_NOTHING;
    for (gsize i = 0; i < G_N_ELEMENTS(finish_procedures); i++) {
        if (finish_procedures[i] != procedure)
            continue;
        if (type == TYPE_CALL || type == TYPE_CALL_WITH_FDS)
            return RPC_FINISH_CALL;
        if (type == TYPE_REPLY)
            return status == STATUS_OK ? RPC_FINISH_GOOD : RPC_FINISH_ERROR;
    }
    return RPC_NOTHING;
}

/* Takes bytes of the header; returns how many. */
static gsize
take_header(RpcParser *parser, const guint8 *bytes, gsize length)
{
    gsize part = MIN(length, RPC_HEADER_SIZE - parser->have);

    memcpy(parser->header + parser->have, bytes, part);
    parser->have += part;
    return part;
}

gssize
rpc_look(RpcParser *parser, const guint8 *bytes, gsize length, RpcEvent *event)
{
    gsize done = 0;

    event->kind = RPC_NOTHING;
    while (done < length && !parser->broken) {
        gsize part;

        if (parser->body_left > 0) {
            part = MIN(length - done, parser->body_left);
            parser->body_left -= part;
            parser->offset += part;
            done += part;
            continue;
        }
        part = take_header(parser, bytes + done, length - done);
        parser->offset += part;
        done += part;
        if (parser->have >= 4) {
            guint32 size = word(parser->header, 0);

            parser->broken = size < RPC_HEADER_SIZE || size > RPC_MESSAGE_MAX;
        }
        if (parser->broken || parser->have < RPC_HEADER_SIZE)
            continue;
        parser->have = 0;
        parser->body_left = word(parser->header, 0) - RPC_HEADER_SIZE;
        event->kind = classify(parser->header);
        if (event->kind != RPC_NOTHING) {
            event->procedure = word(parser->header, 3);
            event->serial = word(parser->header, 5);
            event->end = parser->offset + parser->body_left;
            return (gssize)done;
        }
    }
    return parser->broken ? -EPROTO : (gssize)done;
}
