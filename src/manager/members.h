/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/manager.h"

/** Hosts as members of the cluster: kept under hosts/UUID with name and address. */

/** What a host that joins says of itself, checked against the schema before. */
typedef struct {
    const char *token, *csr, *uuid, *name, *control_address;
    gint64 control_port;
} JoinRequest;

/** Takes the stored members into the inventory and connects to them. */
gboolean members_load(Manager *manager, GError **error);
/** (transfer full) the host's certificate in PEM; from then on the host is a member. Errors: those
 * of tokens_check_join, CONFLICT (name, address or UUID of another machine), INVALID (request). */
char *members_join(Manager *manager, const JoinRequest *request, GError **error);
/** CONFLICT while it runs migrations, or while it has running VMs unless force; force also gives up
 * migrations of a host that is not connected. */
gboolean members_remove(Manager *manager, const Host *host, gboolean force, GError **error);
