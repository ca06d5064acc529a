/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/agent_config.h"

/** Makes state_dir (0700), run_dir (0711) and run_dir/migration (0711), and sees that they are
 * usable. 0711: QEMU and the workers run as other users and must reach the sockets inside by name,
 * but needn't list them. */
gboolean run_dir_prepare(const AgentConfig *config, GError **error);

/** Locks run_dir/godwitd.lock for this process: a descriptor to keep open; -1 with CONFLICT naming
 * the process that has it. */
int run_dir_lock(const AgentConfig *config, GError **error);
/** The process that holds the lock; 0 = nobody. */
int run_dir_lock_holder(const AgentConfig *config);
/** Are there folders of migrations? */
gboolean run_dir_has_migrations(const AgentConfig *config);
