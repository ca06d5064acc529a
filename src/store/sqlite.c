/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One SQLite file holds one table of entries and one counter, the revision of the whole store. A
 * change is one transaction: check what is expected, write the entry with the next revision, write
 * the counter, commit. WAL with synchronous=FULL: what store_put() said is there is there after a
 * loss of power; what it refused or was killed in has left nothing.
 *
 * The file belongs to one process: locking_mode=EXCLUSIVE makes a second manager on the same folder
 * fail at once (CONFLICT) instead of both deciding about the same hosts. The kernel drops the lock
 * with the process, however it dies.
 *
 * At open the whole file is checked (quick_check: it is small); later damage shows as INVALID from
 * the call that meets it. application_id and user_version say whose file it is and of which schema.
 *
 * On a full disk the transaction is rolled back, the store stays as it was and readable, and
 * changes work again once there is room: the handle needs no reopening.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <sqlite3.h>

#include "base/error.h"
#include "base/fd.h"

#define APPLICATION_ID 0x476f6477 /* "Godw" */
#define SCHEMA_VERSION 1

typedef enum {
    SQL_GET,
    SQL_LIST,
    SQL_LIST_REVERSE,
    SQL_PUT,
    SQL_DELETE,
    SQL_COUNT,
    SQL_BEGIN,
    SQL_COMMIT,
    N_SQLS
} Sql;

static const char *const sqls[N_SQLS] = {
    [SQL_GET] = "SELECT key, value, revision FROM entries WHERE key = ?1",
    [SQL_LIST] =
        "SELECT key, value, revision FROM entries WHERE key >= ?1 AND (?2 IS NULL OR key < ?2)"
        " ORDER BY key LIMIT ?3",
    [SQL_LIST_REVERSE] =
        "SELECT key, value, revision FROM entries WHERE key >= ?1 AND (?2 IS NULL OR key < ?2)"
        " ORDER BY key DESC LIMIT ?3",
    [SQL_PUT] = "INSERT INTO entries (key, value, revision) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
    [SQL_DELETE] = "DELETE FROM entries WHERE key = ?1",
    [SQL_COUNT] = "UPDATE counter SET revision = ?1",
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE entries (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL,"
    " revision INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE counter (revision INTEGER NOT NULL);"
    "INSERT INTO counter VALUES (0);"
    "PRAGMA application_id = " G_STRINGIFY(APPLICATION_ID) ";"
                                                           "PRAGMA user_version = " G_STRINGIFY(
                                                               SCHEMA_VERSION) ";"
                                                                               "COMMIT;";

struct Store {
    /* read-only after open */
    char *path;
    sqlite3 *db;
    sqlite3_stmt *statements[N_SQLS]; /* reset, with nothing bound, between calls */
    /* the last committed */
    gint64 revision;
};

/* ---- errors ------------------------------------------------------------------------------------
 */

static gboolean
is_full(sqlite3 *db, int code)
{
    int system = sqlite3_system_errno(db);
    return code == SQLITE_FULL || code == SQLITE_NOMEM ||
           (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT));
}

/* Sets error from the handle's last failure. Returns FALSE. */
static gboolean
fail(Store *store, const char *doing, GError **error)
{
    int code = sqlite3_errcode(store->db) & 0xff;
    GodwitError kind = GODWIT_ERROR_INTERNAL;
    const char *remedy = "see whether the disk and its file system are in order";
    if (is_full(store->db, code)) {
        kind = GODWIT_ERROR_NO_SPACE;
        remedy = "nothing was changed; make room on its disk and try again";
    } else if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        kind = GODWIT_ERROR_INVALID;
        remedy = "the file is damaged or no store of Godwit's; put a backup in its place, or move "
                 "it away "
                 "to begin anew (no VM is lost by that, hosts join again)";
    } else if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
        kind = GODWIT_ERROR_CONFLICT;
        remedy = "another process has it open, perhaps a second godwit-manager; stop that one";
    } else if (code == SQLITE_PERM || code == SQLITE_READONLY || code == SQLITE_AUTH) {
        kind = GODWIT_ERROR_FORBIDDEN;
        remedy = "give the manager's user the right to write it and its folder";
    } else if (code == SQLITE_TOOBIG) {
        kind = GODWIT_ERROR_TOO_LARGE;
        remedy = "the value is larger than the store takes";
    }
    g_set_error(error, GODWIT_ERROR, kind, "Store %s: %s: %s; %s", store->path, doing,
                sqlite3_errmsg(store->db), remedy);
    return FALSE;
}

/* ---- open and close ----------------------------------------------------------------------------
 */

void
store_entry_free(StoreEntry *entry)
{
    if (entry == NULL)
        return;
    g_free(entry->key);
    g_free(entry->value);
    g_free(entry);
}

void
store_close(Store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < N_SQLS; i++)
        sqlite3_finalize(store->statements[i]);
    int rc = sqlite3_close(store->db);
    g_assert(rc == SQLITE_OK); /* else a statement of ours is still open */
    g_free(store->path);
    g_free(store);
}

static gboolean
run(Store *store, const char *sql, const char *doing, GError **error)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(store, doing, error);
}

static gboolean
ask_int(Store *store, const char *sql, gint64 *value, GError **error)
{
    sqlite3_stmt *statement = NULL;
    gboolean ok = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK &&
                  sqlite3_step(statement) == SQLITE_ROW;
    if (ok)
        *value = sqlite3_column_int64(statement, 0);
    else
        fail(store, "reading", error);
    sqlite3_finalize(statement);
    return ok;
}

static gboolean
check_whole(Store *store, GError **error)
{
    sqlite3_stmt *statement = NULL;
    gboolean ok =
        sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW;
    const char *verdict = ok ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (!ok)
        fail(store, "checking it", error);
    else if (g_strcmp0(verdict, "ok") != 0)
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
            "Store %s: it is damaged (%s); put a backup in its place, or move it away to begin "
            "anew (no VM is lost by that, hosts join again)",
            store->path, verdict);
    ok = ok && g_strcmp0(verdict, "ok") == 0;
    sqlite3_finalize(statement);
    return ok;
}

static gboolean
check_schema(Store *store, GError **error)
{
    gint64 application, version, tables;
    if (!ask_int(store, "PRAGMA application_id", &application, error) ||
        !ask_int(store, "PRAGMA user_version", &version, error) ||
        !ask_int(store, "SELECT count(*) FROM sqlite_schema", &tables, error))
        return FALSE;
    if (application == 0 && version == 0 && tables == 0)
        return run(store, schema, "making its tables", error);
    if (application != APPLICATION_ID) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "Store %s: this SQLite file is another program's; name another file or folder",
                    store->path);
        return FALSE;
    }
    if (version != SCHEMA_VERSION) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED,
            "Store %s: it is of schema %" G_GINT64_FORMAT
            " and this version of Godwit knows schema %d; run the version that wrote it, or a "
            "newer one",
            store->path, version, SCHEMA_VERSION);
        return FALSE;
    }
    return check_whole(store, error);
}

/* Only the manager's user may read it: SQLite gives its other files the same mode. */
static gboolean
make_private(const char *path, GError **error)
{
    fd_auto int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        return TRUE;
    g_set_error(error, GODWIT_ERROR,
                errno == ENOSPC || errno == EDQUOT  ? GODWIT_ERROR_NO_SPACE
                : errno == EACCES || errno == EROFS ? GODWIT_ERROR_FORBIDDEN
                                                    : GODWIT_ERROR_INVALID,
                "Store %s: it can't be opened or made: %s", path, g_strerror(errno));
    return FALSE;
}

static gboolean
prepare(Store *store, GError **error)
{
    for (int i = 0; i < N_SQLS; i++)
        if (sqlite3_prepare_v3(store->db, sqls[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->statements[i], NULL) != SQLITE_OK)
            return fail(store, "preparing", error);
    return ask_int(store, "SELECT revision FROM counter", &store->revision, error);
}

/** Opens the store in the file at path, made (mode 0600) where there is none; its folder must
 * exist. Errors: NO_SPACE, FORBIDDEN, CONFLICT (open elsewhere), INVALID (damaged, or no store),
 * UNSUPPORTED (of another schema). */
Store *
store_sqlite_open(const char *path, GError **error)
{
    if (!make_private(path, error))
        return NULL;
    g_autoptr(Store) store = g_new0(Store, 1);
    store->path = g_strdup(path);
    if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        fail(store, "opening", error);
        return NULL;
    }
    if (!run(
            store,
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN IMMEDIATE; COMMIT",
            "opening", error) ||
        !check_schema(store, error) || !prepare(store, error))
        return NULL;
    return g_steal_pointer(&store);
}

/* ---- reading -----------------------------------------------------------------------------------
 */

static void
done(Store *store, Sql sql)
{
    sqlite3_reset(store->statements[sql]);
    sqlite3_clear_bindings(store->statements[sql]);
}

static StoreEntry *
entry_of_row(sqlite3_stmt *row)
{
    StoreEntry *entry = g_new0(StoreEntry, 1);
    entry->key = g_strdup((const char *)sqlite3_column_text(row, 0));
    entry->value = g_strdup((const char *)sqlite3_column_text(row, 1));
    entry->revision = sqlite3_column_int64(row, 2);
    return entry;
}

/* *entry NULL where there is none. */
static gboolean
find(Store *store, const char *key, StoreEntry **entry, GError **error)
{
    sqlite3_stmt *statement = store->statements[SQL_GET];
    *entry = NULL;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        *entry = entry_of_row(statement);
    gboolean ok = rc == SQLITE_ROW || rc == SQLITE_DONE || fail(store, "reading", error);
    done(store, SQL_GET);
    return ok;
}

StoreEntry *
store_get(Store *store, const char *key, GError **error)
{
    StoreEntry *entry;
    if (find(store, key, &entry, error) && entry == NULL)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "Store %s: there is no %s",
                    store->path, key);
    return entry;
}

/* The least text that is after everything with this prefix; NULL for the empty prefix. Keys are
 * UTF-8, so the last byte is never 0xff. */
static char *
end_of_prefix(const char *prefix)
{
    gsize length = strlen(prefix);
    if (length == 0)
        return NULL;
    char *end = g_strdup(prefix);
    end[length - 1]++;
    return end;
}

GPtrArray *
store_list(Store *store, const char *prefix, guint limit, gboolean reverse, GError **error)
{
    Sql sql = reverse ? SQL_LIST_REVERSE : SQL_LIST;
    sqlite3_stmt *statement = store->statements[sql];
    g_autofree char *end = end_of_prefix(prefix);
    g_autoptr(GPtrArray) entries =
        g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))store_entry_free);
    sqlite3_bind_text(statement, 1, prefix, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, end, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, limit > 0 ? (gint64)limit : -1);
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
        g_ptr_array_add(entries, entry_of_row(statement));
    gboolean ok = rc == SQLITE_DONE || fail(store, "listing", error);
    done(store, sql);
    return ok ? g_steal_pointer(&entries) : NULL;
}

gint64
store_revision(Store *store)
{
    return store->revision;
}

/* ---- changing ----------------------------------------------------------------------------------
 */

/* Steps a statement that gives no rows. */
static gboolean
step(Store *store, Sql sql, const char *doing, GError **error)
{
    gboolean ok = sqlite3_step(store->statements[sql]) == SQLITE_DONE || fail(store, doing, error);
    done(store, sql);
    return ok;
}

static gboolean
commit(Store *store, gint64 revision, GError **error)
{
    sqlite3_bind_int64(store->statements[SQL_COUNT], 1, revision);
    if (!step(store, SQL_COUNT, "writing", error) || !step(store, SQL_COMMIT, "writing", error))
        return FALSE;
    store->revision = revision;
    return TRUE;
}

/* Ends a transaction that failed; SQLite may have ended it already. */
static void
roll_back(Store *store)
{
    if (sqlite3_get_autocommit(store->db) == 0)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static gboolean
check_expected(Store *store, const char *key, gint64 expected, GError **error)
{
    g_autoptr(StoreEntry) entry = NULL;
    if (expected < 0)
        return TRUE;
    if (!find(store, key, &entry, error))
        return FALSE;
    gint64 present = entry != NULL ? entry->revision : 0;
    if (present == expected)
        return TRUE;
    if (expected == 0)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT, "Store %s: %s exists already",
                    store->path, key);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "Store %s: %s was %s meanwhile (expected revision %" G_GINT64_FORMAT
                    "); read it again",
                    store->path, key, entry != NULL ? "changed" : "deleted", expected);
    return FALSE;
}

static gboolean
put_within(Store *store, const char *key, const char *value, gint64 expected, GError **error)
{
    sqlite3_stmt *statement = store->statements[SQL_PUT];
    if (!check_expected(store, key, expected, error))
        return FALSE;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, value, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, store->revision + 1);
    return step(store, SQL_PUT, "writing", error) && commit(store, store->revision + 1, error);
}

gboolean
store_put(Store *store, const char *key, const char *value, gint64 expected_revision,
          gint64 *revision, GError **error)
{
    g_assert(key[0] != '\0');
    if (!step(store, SQL_BEGIN, "writing", error))
        return FALSE;
    if (!put_within(store, key, value, expected_revision, error)) {
        roll_back(store);
        g_prefix_error(error, "Keeping %s: ", key);
        return FALSE;
    }
    if (revision != NULL)
        *revision = store->revision;
    return TRUE;
}

static gboolean
delete_within(Store *store, const char *key, GError **error)
{
    sqlite3_bind_text(store->statements[SQL_DELETE], 1, key, -1, SQLITE_STATIC);
    if (!step(store, SQL_DELETE, "deleting", error))
        return FALSE;
    /* Nothing was there: nothing changed, and the revision stays. */
    gboolean was_there = sqlite3_changes(store->db) > 0;
    return commit(store, store->revision + (was_there ? 1 : 0), error);
}

gboolean
store_delete(Store *store, const char *key, GError **error)
{
    if (!step(store, SQL_BEGIN, "deleting", error))
        return FALSE;
    if (delete_within(store, key, error))
        return TRUE;
    roll_back(store);
    g_prefix_error(error, "Deleting %s: ", key);
    return FALSE;
}
