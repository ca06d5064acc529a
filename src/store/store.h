/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * A key-value store with revisions: what the manager must not forget. Keys are paths ("hosts/UUID", "tasks/ID",
 * "tokens/HASH"), values JSON texts. Every change gets the next revision of the whole store (as in etcd, which comes later).
 * sqlite.c: WAL, synchronous=FULL, one file, schema version checked; a full disk is NO_SPACE and leaves what was. One thread.
 */
typedef struct Store Store;

typedef struct {
    char *key, *value;
    gint64 revision;
} StoreEntry;
void store_entry_free(StoreEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoreEntry, store_entry_free)

Store *store_sqlite_open(const char *path, GError **error);
void store_close(Store *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)

StoreEntry *store_get(Store *store, const char *key, GError **error); /* NOT_FOUND */
/** All below prefix, by key; limit 0 = all; reverse: from the end. (transfer full) of StoreEntry. */
GPtrArray *store_list(Store *store, const char *prefix, guint limit, gboolean reverse, GError **error);
/** expected_revision: -1 = whatever is there, 0 = must not exist, else must be at it; CONFLICT otherwise. */
gboolean store_put(Store *store, const char *key, const char *value, gint64 expected_revision, gint64 *revision, GError **error);
gboolean store_delete(Store *store, const char *key, GError **error); /* OK if absent */
gint64 store_revision(Store *store);
