/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"

/** What joining a cluster left behind beside the certificate: state_dir/joined.json. */
typedef struct {
    char *manager_url; /* as given at join */
    char *manager_uuid;
    char *cluster; /* its name, for people */
    char *host_uuid, *host_name;
    char *control_address; /* told to the manager */
    gint64 control_port;
    gint64 joined_ms;
} Joined;

extern const RecordType joined_type;
void joined_free(Joined *joined);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Joined, joined_free)

/** NOT_FOUND with the command to join where this host isn't in a cluster. */
Joined *joined_load(const char *state_dir, GError **error);
/** Written atomically, mode 0600. */
gboolean joined_save(const Joined *joined, const char *state_dir, GError **error);
gboolean joined_remove(const char *state_dir, GError **error);
