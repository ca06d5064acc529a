/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/manager.h"

/**
 * The key of the hosts' recall stores (docs/recall.md): made once, kept in the manager's database,
 * given to each host's agent over its line. Main context only.
 */

/** Reads it, or makes it, into manager->recall_key (wiped by cluster_key_wipe). Where it can't be
 * kept there is none, and that is said: hosts then migrate without recall. FALSE: the store can't
 * be read. */
gboolean cluster_key_load(Manager *manager, GError **error);
void cluster_key_wipe(Manager *manager);
/** Gives it to a host whose line is up, or will be when the main loop goes on. */
void cluster_key_give_soon(Manager *manager, const char *host_uuid);
