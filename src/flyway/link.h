/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/fault.h"
#include "flyway/protocol.h"
#include "net/identity.h"

/**
 * One TLS 1.3 connection between two workers, on a non-blocking TCP socket. Knows certificates and
 * bytes, not frames. After link_new nothing is allocated here. Calls return 0 (or a count), -EAGAIN
 * or another -errno; where that ends the link, its fault tells why.
 */
typedef struct Link Link;
typedef struct LinkKeys LinkKeys;

/** Own certificate and the CA that peers must have. Identity isn't kept. NULL with fault. */
LinkKeys *link_keys_new(const Identity *identity, Fault *fault);
void link_keys_free(LinkKeys *keys);

/** Takes fd. peer_uuid: the only host that may be at the other end; copied. NULL with fault. */
Link *link_new(const LinkKeys *keys, FlywaySide side, const char *peer_uuid, int fd, Fault *fault);
/** Closes at once, without TLS's good-bye. */
void link_free(Link *link);

int link_fd(const Link *link);
/** What to poll for. */
short link_events(const Link *link);
/** Are bytes here that poll doesn't know of? */
gboolean link_pending(const Link *link);
/** Why it ended; not set while it lives. */
const Fault *link_fault(const Link *link);
/** Bytes sent and received on TCP, TLS's own included. */
guint64 link_wire_bytes(const Link *link);
/** "TLS1.3 AES-128-GCM ECDHE-X25519"; valid after the handshake. */
const char *link_description(const Link *link);

/** 0: done, the peer is proved to be peer_uuid with a certificate of the CA. */
int link_handshake(Link *link);

/** Room for frames to be sent; room 0 as long as earlier bytes aren't taken by the socket. */
guint8 *link_tx_room(Link *link, gsize *room);
/** That many bytes of it were filled. */
void link_tx_add(Link *link, gsize size);
/** 0: all is taken by the socket. */
int link_flush(Link *link);
/** TLS's good-bye, as far as the socket takes it at once. */
void link_bye(Link *link);

/** Receives some bytes behind those already here. -EAGAIN: nothing at the moment; -EPIPE: ended. */
int link_receive(Link *link);
const guint8 *link_rx(const Link *link, gsize *length);
void link_rx_drop(Link *link, gsize size);
