/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/fault.h"

/**
 * Which messages of libvirt's RPC pass on a migration's rpc lane: the table, and the rule how it is
 * read. Pure. See rpc_table.c for where the list comes from.
 */
typedef enum {
    RPC_TO_DESTINATION, /* from the source's libvirt */
    RPC_TO_SOURCE,
} RpcDirection;

/** libvirt's virNetMessageType. */
typedef enum {
    RPC_TYPE_CALL = 0,
    RPC_TYPE_REPLY = 1,
    RPC_TYPE_MESSAGE = 2, /* asynchronous: events, keepalive */
    RPC_TYPE_STREAM = 3,
    RPC_TYPE_CALL_WITH_FDS = 4,
    RPC_TYPE_REPLY_WITH_FDS = 5,
    RPC_TYPE_STREAM_HOLE = 6,
} RpcType;

/** In which form a procedure passes. */
typedef enum {
    RPC_FORM_CALL,   /* calls to the destination, replies to the source */
    RPC_FORM_FINISH, /* the same, and flyway/finish.c hears of both */
    RPC_FORM_EVENT,  /* messages to the source */
    RPC_FORM_BEAT,   /* messages in both directions */
} RpcForm;

typedef struct {
    guint32 program, procedure;
    RpcForm form;
    const char *name; /* as libvirt's protocol files call it */
    const char *why;
} RpcProcedure;

/** All that passes, ended by a row without a name. */
extern const RpcProcedure rpc_table[];

typedef struct {
    guint32 program, version, procedure, type;
} RpcMessageKind;

/** The row by which a message passes in this direction, or NULL: it must not. */
const RpcProcedure *rpc_table_find(RpcDirection direction, const RpcMessageKind *message);
/** Sets the fault of a message that must not pass. */
void rpc_table_refuse(RpcDirection direction, const RpcMessageKind *message, Fault *fault);
