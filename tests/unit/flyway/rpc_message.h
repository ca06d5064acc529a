/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** libvirt's RPC messages, for tests. */
enum {
    RPC_REMOTE = 0x20008086,
    RPC_KEEPALIVE = 0x6b656570,
    RPC_PREPARE3 = 303,
    RPC_FINISH3 = 217, /* of old */
    RPC_FINISH3_PARAMS = 306,
};
enum { RPC_CALL = 0, RPC_REPLY = 1, RPC_MESSAGE = 2, RPC_STREAM = 3 };
enum { RPC_OK = 0, RPC_ERROR = 1, RPC_CONTINUE = 2 };

typedef struct {
    guint32 program, procedure, type, serial, status;
    gsize body;
} RpcMessage;

/** Appends one; returns its size. The body counts up. */
static inline gsize
rpc_append(GByteArray *out, const RpcMessage *message)
{
    guint32 words[7] = { (guint32)(28 + message->body),
                         message->program,
                         1,
                         message->procedure,
                         message->type,
                         message->serial,
                         message->status };

    for (gsize i = 0; i < 7; i++) {
        guint32 word = GUINT32_TO_BE(words[i]);

        g_byte_array_append(out, (const guint8 *)&word, 4);
    }
    for (gsize i = 0; i < message->body; i++) {
        guint8 byte = (guint8)i;

        g_byte_array_append(out, &byte, 1);
    }
    return 28 + message->body;
}
