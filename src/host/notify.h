/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/** Tells the service manager a state ("READY=1", "STOPPING=1"): one datagram to $NOTIFY_SOCKET,
 * sd_notify(3)'s protocol. Does nothing where nobody asked for it. 0 or -errno. */
int notify_send(const char *state);
