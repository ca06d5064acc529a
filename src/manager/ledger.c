/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Two states: well and in trouble. A write that fails brings trouble, with its reason kept for
 * healthz; a write that succeeds ends it. Only while in trouble a timer tries a small write every
 * LEDGER_RETRY_S seconds, so that the end of it is noticed although nobody asks for anything; then
 * `recovered` is called, and what had to wait in memory is written. Reading goes on in both.
 */
#include "manager/ledger.h"

#include "base/clock.h"
#include "base/error.h"

#define LEDGER_RETRY_S 2
#define PROBE_KEY "manager/probe"

struct Ledger {
    Store *store;
    char *path;
    char *trouble; /* NULL: well */
    guint retry;   /* source id while in trouble */
    LedgerRecovered recovered;
    gpointer data;
};

void
ledger_free(Ledger *ledger)
{
    if (ledger == NULL)
        return;
    g_clear_handle_id(&ledger->retry, g_source_remove);
    g_clear_pointer(&ledger->store, store_close);
    g_free(ledger->path);
    g_free(ledger->trouble);
    g_free(ledger);
}

void
ledger_on_recovered(Ledger *ledger, LedgerRecovered func, gpointer data)
{
    ledger->recovered = func;
    ledger->data = data;
}

const char *
ledger_trouble(const Ledger *ledger)
{
    return ledger->trouble;
}

/** Finds out whether the store can be written. */
static gboolean
probe(Ledger *ledger)
{
    g_autofree char *now = clock_format(clock_wall_ms());
    g_autofree char *value = g_strdup_printf("\"%s\"", now);

    return ledger_put(ledger, PROBE_KEY, value, NULL);
}

static gboolean
try_again(gpointer data)
{
    Ledger *ledger = data;

    if (ledger->trouble == NULL || probe(ledger)) {
        ledger->retry = 0;
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/** Remembers why a write failed, and says it in words for whoever asked for the write. */
static void
in_trouble(Ledger *ledger, GError **problem)
{
    gboolean full = g_error_matches(*problem, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE);

    if (ledger->trouble == NULL)
        g_warning("the database %s can't be written: %s", ledger->path, (*problem)->message);
    g_free(ledger->trouble);
    if (full) {
        ledger->trouble =
            g_strdup_printf("full: no space left for %s; make room on its disk", ledger->path);
        g_clear_error(problem);
        g_set_error(problem, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE,
                    "the manager's disk is full: make room for %s and try again", ledger->path);
    } else {
        ledger->trouble = g_strdup_printf("failed: %s", (*problem)->message);
        g_prefix_error(problem, "the manager's database can't be written: ");
    }
    if (ledger->retry == 0)
        ledger->retry = g_timeout_add_seconds(LEDGER_RETRY_S, try_again, ledger);
}

/** What every write ends with: problem NULL is success, else it is taken. */
static gboolean
settle(Ledger *ledger, GError *problem, GError **error)
{
    if (problem != NULL) {
        in_trouble(ledger, &problem);
        g_propagate_error(error, problem);
        return FALSE;
    }
    if (ledger->trouble != NULL) {
        g_message("the database %s can be written again", ledger->path);
        g_clear_pointer(&ledger->trouble, g_free);
        if (ledger->recovered != NULL)
            ledger->recovered(ledger->data);
    }
    return TRUE;
}

gboolean
ledger_put(Ledger *ledger, const char *key, const char *value, GError **error)
{
    GError *problem = NULL;

    store_put(ledger->store, key, value, -1, NULL, &problem);
    return settle(ledger, problem, error);
}

gboolean
ledger_delete(Ledger *ledger, const char *key, GError **error)
{
    GError *problem = NULL;

    store_delete(ledger->store, key, &problem);
    return settle(ledger, problem, error);
}

char *
ledger_get(Ledger *ledger, const char *key, GError **error)
{
    GError *problem = NULL;
    g_autoptr(StoreEntry) entry = store_get(ledger->store, key, &problem);

    if (entry != NULL)
        return g_steal_pointer(&entry->value);
    if (g_error_matches(problem, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
        g_clear_error(&problem);
    else
        g_propagate_error(error, problem);
    return NULL;
}

GPtrArray *
ledger_list(Ledger *ledger, const char *prefix, GError **error)
{
    return store_list(ledger->store, prefix, 0, FALSE, error);
}

Ledger *
ledger_open(const char *path, GError **error)
{
    g_autoptr(Ledger) ledger = g_new0(Ledger, 1);

    ledger->path = g_strdup(path);
    ledger->store = store_sqlite_open(path, error);
    if (ledger->store == NULL)
        return NULL;
    probe(ledger);
    return g_steal_pointer(&ledger);
}
