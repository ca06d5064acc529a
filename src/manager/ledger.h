/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "store/store.h"

/**
 * The manager's store, and the word on how it is: the one place that knows when it can't be
 * written. Main context only.
 */
typedef struct Ledger Ledger;
typedef void (*LedgerRecovered)(gpointer data);

Ledger *ledger_open(const char *path, GError **error);
void ledger_free(Ledger *ledger);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ledger, ledger_free)

/** Called when the store can be written again after it couldn't: write what had to wait. */
void ledger_on_recovered(Ledger *ledger, LedgerRecovered func, gpointer data);

/** NO_SPACE and other errors say where and what to do. Whatever was there stays. */
gboolean ledger_put(Ledger *ledger, const char *key, const char *value, GError **error);
gboolean ledger_delete(Ledger *ledger, const char *key, GError **error);
/** NULL where there is none, or with error. (transfer full) */
char *ledger_get(Ledger *ledger, const char *key, GError **error);
/** (transfer full) of StoreEntry, by key. */
GPtrArray *ledger_list(Ledger *ledger, const char *prefix, GError **error);

/** NULL where all is well, else "full: …" or "failed: …". */
const char *ledger_trouble(const Ledger *ledger);
