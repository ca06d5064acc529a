/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

/**
 * Runs the worker until its end: one session, driven by whoever controls it. control_fd: the
 * listening control socket (taken); owner: only this user, or root, may control. Returns the exit
 * status. Reads SIGTERM and SIGINT, which the caller has blocked: they end it in order.
 */
int pump_run(int control_fd, uid_t owner);
