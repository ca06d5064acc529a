/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * Tells the network where a VM now is, and hears the VM's first frame from here.
 *
 * For each interface on a bridge a RARP request with the VM's MAC as source (RFC 903; what ESX and
 * QEMU send) is broadcast from the bridge, so that the switches outside learn the port. The VM's
 * first frame is heard on its tap device with the kernel's time stamp.
 */
#define ANNOUNCE_FRAME_SIZE 60 /* bytes, without FCS */

/** Pure: the frame for a MAC ("52:54:00:…"). INVALID where it isn't one. */
gboolean announce_rarp_frame(const char *mac, guint8 frame[ANNOUNCE_FRAME_SIZE], GError **error);
/** Pure: is this frame, seen on a tap, the guest's own? (not one of QEMU's RARPs, and from mac) */
gboolean announce_is_guest_frame(const guint8 *frame, gsize length, const guint8 mac[6]);

typedef struct Announcer Announcer;

/** Opens listening sockets on the taps of vm, as it is on this host (target and bridge filled).
 * Interfaces that can't be listened on or announced are skipped, each with a line in warnings
 * (GPtrArray of strings). */
Announcer *announcer_new(const Vm *vm, GPtrArray *warnings);
/** Begins: the first burst at once, the others from timers of context; frames of the VM are waited
 * for from since_us (monotonic) on. */
void announcer_start(Announcer *announcer, GMainContext *context, gint64 since_us);
gint64 announcer_first_frame_us(const Announcer *announcer); /* monotonic; 0 = not yet heard */
gint64 announcer_sent(const Announcer *announcer);           /* frames */
gboolean announcer_is_done(const Announcer *announcer);      /* all bursts sent */
gboolean announcer_can_listen(const Announcer *announcer);   /* at least one tap is listened on */
void announcer_free(Announcer *announcer);                   /* in the context's thread */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Announcer, announcer_free)
