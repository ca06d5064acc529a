/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/**
 * Gives libvirt's client its event loop: a thread of our own, started at the first call and kept
 * for the life of the process. Must come before the first virConnectOpen. Any thread.
 */
void hv_libvirt_loop_start(void);
