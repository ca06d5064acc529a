/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/**
 * This host's network interfaces as HostNic, by netlink and ethtool's ioctl: of the network
 * namespace that the caller is in (a /sys/class/net may be another's). Left out are the loopback
 * and VMs' taps. (transfer full); UNSUPPORTED where the kernel refuses.
 */
GPtrArray *hv_nics_read(GError **error);
