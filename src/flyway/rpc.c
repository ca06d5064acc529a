/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * libvirt's RPC is a sequence of messages in each direction (libvirt, src/rpc/virnetprotocol.x): a
 * 4-byte length that counts itself, six 4-byte words of header, the body. All programs on a
 * connection (remote, qemu, keepalive, streams) share this framing, so everything can be stepped
 * over by length. Each header is held against the table of what passes (rpc_table.c), which also
 * says which procedure is Finish.
 *
 * Serials are matched by flyway/finish.c, which sees the events of both directions; here each
 * direction is on its own. A reply is told at its header, with the offset where it ends: whoever
 * writes the bytes knows by that offset when the reply has been handed over completely.
 */
#include "flyway/rpc.h"

#include <errno.h>
#include <string.h>

enum { STATUS_OK = 0 };

static guint32
word(const guint8 *header, guint index)
{
    const guint8 *at = header + 4 * index;

    return (guint32)at[0] << 24 | (guint32)at[1] << 16 | (guint32)at[2] << 8 | at[3];
}

/* The header is whole: what does it tell? */
static void
classify(const RpcParser *parser, RpcEvent *event)
{
    const guint8 *header = parser->header;
    const RpcProcedure *row;

    event->message = (RpcMessageKind){
        .program = word(header, 1),
        .version = word(header, 2),
        .procedure = word(header, 3),
        .type = word(header, 4),
    };
    event->procedure = event->message.procedure;
    event->serial = word(header, 5);
    event->end = parser->offset + parser->body_left;
    row = rpc_table_find(parser->direction, &event->message);
    if (row == NULL)
        event->kind = RPC_FORBIDDEN;
    else if (row->form != RPC_FORM_FINISH)
        event->kind = RPC_NOTHING;
    else if (parser->direction == RPC_TO_DESTINATION)
        event->kind = RPC_FINISH_CALL;
    else
        event->kind = word(header, 6) == STATUS_OK ? RPC_FINISH_GOOD : RPC_FINISH_ERROR;
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
        classify(parser, event);
        parser->broken = event->kind == RPC_FORBIDDEN;
        if (event->kind != RPC_NOTHING)
            return (gssize)done;
    }
    return parser->broken ? -EPROTO : (gssize)done;
}
