/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Whoever reaches a libvirtd's socket is root on that host. The rpc lane leads to it from another
 * host, so it carries only what libvirt needs for one peer-to-peer migration; everything else ends
 * the session. Both workers check both directions: the destination's own one is what it relies on.
 *
 * Where the list comes from: libvirt's client opens a connection (remote_driver.c: doRemoteOpen,
 * remoteAuthenticate), migrates over it (qemu_migration.c: qemuMigrationSrcPerformPeer2Peer and
 * ...Peer2Peer3) and closes it (doRemoteClose). Read in libvirt 9.0 and 11.3, whose lists are the
 * same, and recorded with 9.0: moves there and back, post-copy, with storage (whose data has a lane
 * of its own), refused by the destination, cancelled. In all of these nothing else passed.
 *
 * Left out on purpose, though a libvirt may have them:
 *
 *     61 63 108 109 214 217  migration before libvirt 1.1.0: the destination's 9.0 or newer answers
 *                            that it has MIGRATION_PARAMS, and then only 303 and 306 are called
 *     148 215 304, streams   tunnelled migration: Godwit's own stream lane is faster and encrypted
 *     110 GET_URI            asked only where a connection is opened without a URI
 *     316 and other events   the source registers for none, so none comes
 *     the qemu program       monitor and agent commands, 0x20008087: anything at all could be done
 *     the lxc program        0x20008088: other guests
 *     types with descriptors can't cross hosts
 *
 * A reply passes by its procedure; that it answers a call isn't checked, since libvirt's client
 * drops what it didn't ask for (virNetClientCallDispatchReply matches serials).
 */
#include "flyway/rpc_table.h"

#define REMOTE 0x20008086u
#define KEEPALIVE 0x6b656570u
#define VERSION 1u /* of both programs */

const RpcProcedure rpc_table[] = {
    /* opening */
    { REMOTE, 66, RPC_FORM_CALL, "AUTH_LIST", "asked first: how does the daemon authenticate" },
    { REMOTE, 67, RPC_FORM_CALL, "AUTH_SASL_INIT", "auth_unix_rw = \"sasl\" at the destination" },
    { REMOTE, 68, RPC_FORM_CALL, "AUTH_SASL_START", "as above" },
    { REMOTE, 69, RPC_FORM_CALL, "AUTH_SASL_STEP", "as above" },
    { REMOTE, 70, RPC_FORM_CALL, "AUTH_POLKIT", "polkit; root, as godwitd is, isn't asked by 9.0" },
    { REMOTE, 1, RPC_FORM_CALL, "CONNECT_OPEN", "qemu:///system, whatever the transport" },
    { REMOTE, 60, RPC_FORM_CALL, "CONNECT_SUPPORTS_FEATURE",
      "keepalive, events, close callback; is it able to peer-to-peer, version 3, parameters" },
    { REMOTE, 360, RPC_FORM_CALL, "CONNECT_REGISTER_CLOSE_CALLBACK",
      "the source wants to hear when the destination's driver goes" },

    /* while open */
    { REMOTE, 362, RPC_FORM_EVENT, "CONNECT_EVENT_CONNECTION_CLOSED",
      "what 360 asked for: virtproxyd has lost its virtqemud" },
    { KEEPALIVE, 1, RPC_FORM_BEAT, "PING", "either side, when the connection is silent" },
    { KEEPALIVE, 2, RPC_FORM_BEAT, "PONG", "the answer" },

    /* the migration */
    { REMOTE, 303, RPC_FORM_CALL, "DOMAIN_MIGRATE_PREPARE3_PARAMS",
      "the destination starts QEMU, with the definition in the cookie" },
    { REMOTE, 306, RPC_FORM_FINISH, "DOMAIN_MIGRATE_FINISH3_PARAMS",
      "the destination takes over, or gives up where the source failed or was cancelled" },

    /* closing */
    { REMOTE, 361, RPC_FORM_CALL, "CONNECT_UNREGISTER_CLOSE_CALLBACK", "undoes 360" },
    { REMOTE, 2, RPC_FORM_CALL, "CONNECT_CLOSE", "the last call" },
    { 0, 0, RPC_FORM_CALL, NULL, NULL },
};

static gboolean
fits(RpcForm form, RpcDirection direction, guint32 type)
{
    switch (form) {
    case RPC_FORM_CALL:
    case RPC_FORM_FINISH:
        return type == (direction == RPC_TO_DESTINATION ? RPC_TYPE_CALL : RPC_TYPE_REPLY);
    case RPC_FORM_EVENT:
        return type == RPC_TYPE_MESSAGE && direction == RPC_TO_SOURCE;
    default: /* RPC_FORM_BEAT */
        return type == RPC_TYPE_MESSAGE;
    }
}

const RpcProcedure *
rpc_table_find(RpcDirection direction, const RpcMessageKind *message)
{
    for (const RpcProcedure *row = rpc_table; row->name != NULL; row++) {
        if (row->program == message->program && row->procedure == message->procedure)
            return message->version == VERSION && fits(row->form, direction, message->type) ? row
                                                                                            : NULL;
    }
    return NULL;
}

void
rpc_table_refuse(RpcDirection direction, const RpcMessageKind *message, Fault *fault)
{
    static const char *const types[] = {
        [RPC_TYPE_CALL] = "call",
        [RPC_TYPE_REPLY] = "reply",
        [RPC_TYPE_MESSAGE] = "event",
        [RPC_TYPE_STREAM] = "stream packet",
        [RPC_TYPE_CALL_WITH_FDS] = "call with descriptors",
        [RPC_TYPE_REPLY_WITH_FDS] = "reply with descriptors",
        [RPC_TYPE_STREAM_HOLE] = "stream hole",
    };

    fault_set(
        fault, GODWIT_ERROR_PROTOCOL,
        "libvirt's RPC carried a %s of procedure %u, program 0x%x version %u, from the %s: no "
        "migration needs it, so it isn't let through. If nothing but a migration used this "
        "connection, libvirt may be newer than Godwit knows (9 to 11)",
        message->type < G_N_ELEMENTS(types) ? types[message->type] : "message of unknown type",
        message->procedure, message->program, message->version,
        direction == RPC_TO_DESTINATION ? "source to the destination"
                                        : "destination to the source");
}
