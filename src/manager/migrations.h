/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/admission.h"
#include "manager/manager.h"

/** What the manager does for migrations: start, cancel, and find out after a gap. See migrations.c.
 */

/** Answers the errand with the task, or with the error. */
void migrations_start(Manager *manager, const MigrationOrder *order, Errand *errand);
void migrations_cancel(Manager *manager, const char *id_or_prefix, Errand *errand);

/** A host's agent is heard (again): from the main loop, ask it for its tasks that have not ended.
 */
void migrations_settle_soon(Manager *manager, const char *host_uuid);
/** A host is taken out: its tasks that have not ended are given up. */
void migrations_give_up(Manager *manager, const char *host_uuid, const char *host_name);
