/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/** How a worker's process is started. */
typedef struct {
    const char *program; /* absolute path; executed by descriptor, so its folders needn't be
                            readable for user */
    const char *user;    /* NULL: as whom we are, if that isn't root */
    const char *side;    /* for lists of processes */
    int control_fd;      /* listening control socket; becomes descriptor 3; not taken */
} SpawnConfig;

/**
 * Starts it in a session of its own, as user, without our descriptors and groups. Returns its pidfd
 * (CLOEXEC; it is our child and has to be waited for), or -1 with error. Any thread.
 */
int spawn_worker(const SpawnConfig *config, pid_t *pid, GError **error);
