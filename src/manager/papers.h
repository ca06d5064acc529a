/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/identity.h"

/** The names under which clients may find this machine: its host name, localhost, and the addresses
 * that are listened on (all of the machine's where that is a wildcard). (transfer full) */
GStrv papers_names(const char *const *addresses);
/** The manager's key and certificate for a start of it; uuid: the cluster's. */
Identity *papers_new(const Ca *ca, const char *uuid, const char *const *names, GError **error);
