/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/identity.h"

/** The manager's folder: locked while it runs, with the cluster's CA in it. */
typedef struct {
    char *path;
    int lock; /* descriptor that holds the lock */
    Ca *ca;
    char *ca_fingerprint; /* 64 hex digits */
} DataDir;

/** Makes the folder (0700) and the CA where there is none; a copy of the CA's certificate is
 * written to PATH/ca.pem. CONFLICT where another manager uses the folder. */
DataDir *datadir_open(const char *path, GError **error);
void datadir_free(DataDir *dir);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DataDir, datadir_free)
