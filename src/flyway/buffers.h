/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/**
 * What the kernel may hold of a data connection: enough for FLYWAY's whole window, so that one
 * connection fills a path of 150 ms. godwitd's part, since it takes CAP_NET_ADMIN; without it the
 * kernel's own limits hold. See buffers.c. Best effort, any thread.
 */

/** A listening socket, before listen(). */
void buffers_listen(int fd);
/** What was accepted on it, as long as nobody knows who it is: little. */
void buffers_await(int fd);
/** Connected, or accepted and known: goes to a worker. */
void buffers_open(int fd);
