/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The book is an array by age and an index by id, and a copy of it in the ledger under tasks/ID. A
 * new task is stored before anything is done for it. Later changes are stored when they matter
 * after a restart (stage, state, wish to cancel), not for each progress report. When the ledger
 * can't be written, changes wait in memory in `unwritten` (ids; bounded by the number of tasks),
 * and taskbook_flush writes them when it can again: a lost one costs nothing but history, since the
 * source host tells the migration's state again at each connection.
 *
 * Bounds: at most `keep` ended tasks; tasks that have not ended are one per VM.
 */
#include "manager/taskbook.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "manager/follow.h"

#define PREFIX "tasks/"
#define ID_PREFIX_MIN 4

struct TaskBook {
    Ledger *ledger; /* not owned */
    guint keep;
    TaskBookChanged changed;
    gpointer data;
    GPtrArray *tasks;      /* owned Task, oldest first */
    GHashTable *by_id;     /* id of the task → the same Task */
    GHashTable *unwritten; /* ids */
    guint ended;           /* how many of tasks have ended */
};

static gint
by_age(gconstpointer a, gconstpointer b)
{
    const Task *x = *(Task *const *)a, *y = *(Task *const *)b;

    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

static char *
key_of(const char *id)
{
    return g_strconcat(PREFIX, id, NULL);
}

static void
insert(TaskBook *book, Task *task)
{
    guint at = book->tasks->len;

    while (at > 0 && by_age(&book->tasks->pdata[at - 1], &task) > 0)
        at--;
    g_ptr_array_insert(book->tasks, (gint)at, task);
    g_hash_table_insert(book->by_id, task->id, task);
    book->ended += task_is_ended(task) ? 1 : 0;
}

static void
drop(TaskBook *book, guint at)
{
    Task *task = book->tasks->pdata[at];
    g_autofree char *key = key_of(task->id);
    g_autoptr(GError) error = NULL;

    /* Where that fails it is read and dropped again at the next start. */
    if (!ledger_delete(book->ledger, key, &error))
        g_debug("task %s not deleted: %s", task->id, error->message);
    book->ended -= task_is_ended(task) ? 1 : 0;
    g_hash_table_remove(book->unwritten, task->id);
    g_hash_table_remove(book->by_id, task->id);
    g_ptr_array_remove_index(book->tasks, at);
}

static void
trim(TaskBook *book)
{
    for (guint i = 0; i < book->tasks->len && book->ended > book->keep;) {
        if (task_is_ended(book->tasks->pdata[i]))
            drop(book, i);
        else
            i++;
    }
}

static gboolean
write_task(TaskBook *book, const Task *task, GError **error)
{
    g_autofree char *key = key_of(task->id);
    g_autofree char *value = record_to_string(&task_type, task);

    return ledger_put(book->ledger, key, value, error);
}

static void
write_or_wait(TaskBook *book, const Task *task)
{
    g_autoptr(GError) error = NULL;

    if (write_task(book, task, &error)) {
        g_hash_table_remove(book->unwritten, task->id);
        return;
    }
    g_debug("task %s waits to be written: %s", task->id, error->message);
    g_hash_table_add(book->unwritten, g_strdup(task->id));
}

void
taskbook_flush(TaskBook *book)
{
    g_autofree char **ids = (char **)g_hash_table_get_keys_as_array(book->unwritten, NULL);

    for (gsize i = 0; ids[i] != NULL; i++) {
        const Task *task = taskbook_find(book, ids[i]);

        if (task != NULL && !write_task(book, task, NULL))
            return;
        g_hash_table_remove(book->unwritten, ids[i]);
    }
}

/** Stores and tells what follow.c has changed. */
static void
after(TaskBook *book, Task *task, FollowChange change)
{
    if (change == FOLLOW_NOTHING)
        return;
    if (change != FOLLOW_PROGRESS)
        write_or_wait(book, task);
    book->changed(task, change == FOLLOW_ENDED, book->data);
    if (change == FOLLOW_ENDED) {
        book->ended++;
        trim(book);
    }
}

static gboolean
read_task(TaskBook *book, const StoreEntry *entry, GError **error)
{
    g_autoptr(Task) task = record_from_string(&task_type, entry->value, -1, error);

    if (task == NULL)
        return FALSE;
    if (task->id == NULL || task->migration == NULL || task->migration->from_uuid == NULL ||
        task->migration->to_uuid == NULL || task->migration->vm_uuid == NULL) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "members are missing");
        return FALSE;
    }
    insert(book, g_steal_pointer(&task));
    return TRUE;
}

TaskBook *
taskbook_open(Ledger *ledger, guint keep, TaskBookChanged changed, gpointer data, GError **error)
{
    g_autoptr(TaskBook) book = g_new0(TaskBook, 1);
    g_autoptr(GPtrArray) entries = NULL;

    book->ledger = ledger;
    book->keep = keep;
    book->changed = changed;
    book->data = data;
    book->tasks = record_list_new(&task_type);
    book->by_id = g_hash_table_new(g_str_hash, g_str_equal);
    book->unwritten = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    entries = ledger_list(ledger, PREFIX, error);
    if (entries == NULL)
        return NULL;
    for (guint i = 0; i < entries->len; i++) {
        const StoreEntry *entry = entries->pdata[i];
        g_autoptr(GError) problem = NULL;

        if (!read_task(book, entry, &problem))
            g_warning("stored task %s is left out: %s", entry->key, problem->message);
    }
    trim(book);
    return g_steal_pointer(&book);
}

void
taskbook_free(TaskBook *book)
{
    if (book == NULL)
        return;
    g_hash_table_unref(book->unwritten);
    g_hash_table_unref(book->by_id);
    g_ptr_array_unref(book->tasks);
    g_free(book);
}

const Task *
taskbook_find(const TaskBook *book, const char *id)
{
    return g_hash_table_lookup(book->by_id, id);
}

const Task *
taskbook_get(const TaskBook *book, const char *id_or_prefix, GError **error)
{
    const Task *found = taskbook_find(book, id_or_prefix);

    if (found != NULL)
        return found;
    if (strlen(id_or_prefix) < ID_PREFIX_MIN) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "task \"%s\": give at least the first %d characters of its id", id_or_prefix,
                    ID_PREFIX_MIN);
        return NULL;
    }
    for (guint i = 0; i < book->tasks->len; i++) {
        const Task *task = book->tasks->pdata[i];

        if (!g_str_has_prefix(task->id, id_or_prefix))
            continue;
        if (found != NULL) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "task \"%s\": several begin so, among them %s and %s; give more of the id",
                        id_or_prefix, found->id, task->id);
            return NULL;
        }
        found = task;
    }
    if (found == NULL)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "no task \"%s\"; the last %u ended ones are kept, see godwit task list",
                    id_or_prefix, book->keep);
    return found;
}

static gboolean
is_of_vm(const Task *task, const char *vm)
{
    return g_strcmp0(task->migration->vm, vm) == 0 ||
           g_ascii_strcasecmp(task->migration->vm_uuid, vm) == 0;
}

GPtrArray *
taskbook_list(const TaskBook *book, int state, const char *vm, guint limit)
{
    GPtrArray *list = g_ptr_array_new();

    for (guint i = book->tasks->len; i-- > 0 && list->len < limit;) {
        Task *task = book->tasks->pdata[i];

        if ((state < 0 || task->state == state) && (vm == NULL || is_of_vm(task, vm)))
            g_ptr_array_add(list, task);
    }
    return list;
}

const Task *
taskbook_of_vm(const TaskBook *book, const char *vm_uuid)
{
    for (guint i = book->tasks->len; i-- > 0;) {
        const Task *task = book->tasks->pdata[i];

        if (!task_is_ended(task) && strcmp(task->migration->vm_uuid, vm_uuid) == 0)
            return task;
    }
    return NULL;
}

const Migration *
taskbook_last_migration(const TaskBook *book, const char *vm_uuid)
{
    for (guint i = book->tasks->len; i-- > 0;) {
        const Task *task = book->tasks->pdata[i];

        if (strcmp(task->migration->vm_uuid, vm_uuid) == 0)
            return task->migration;
    }
    return NULL;
}

GPtrArray *
taskbook_of_host(const TaskBook *book, const char *host_uuid, gboolean both)
{
    GPtrArray *list = g_ptr_array_new();

    for (guint i = 0; i < book->tasks->len; i++) {
        Task *task = book->tasks->pdata[i];

        if (!task_is_ended(task) && (strcmp(task->migration->from_uuid, host_uuid) == 0 ||
                                     (both && strcmp(task->migration->to_uuid, host_uuid) == 0)))
            g_ptr_array_add(list, task);
    }
    return list;
}

const Task *
taskbook_add(TaskBook *book, Task *task, GError **error)
{
    g_autoptr(Task) mine = task;
    const Task *added = mine;

    if (!write_task(book, mine, error))
        return NULL;
    insert(book, g_steal_pointer(&mine));
    book->changed(added, FALSE, book->data);
    return added;
}

/** A migration that a host tells of and the book doesn't know. */
static void
adopt(TaskBook *book, const char *host_uuid, Migration *report)
{
    g_autoptr(Migration) mine = report;
    Task *task;

    /* Kept reports of long ago were trimmed here for their age: they don't come back. */
    if (migration_is_ended(mine) && book->ended >= book->keep)
        return;
    if (mine->vm_uuid == NULL || mine->to_uuid == NULL)
        return;
    if (mine->from_uuid == NULL)
        mine->from_uuid = g_strdup(host_uuid);
    task = follow_adopt(g_steal_pointer(&mine));
    g_message("task %s (%s) was not known here; its host tells of it", task->id, task->summary);
    insert(book, task);
    write_or_wait(book, task);
    book->changed(task, task_is_ended(task), book->data);
}

static gboolean
same_or_left_out(const char *told, const char *known)
{
    return told == NULL || strcmp(told, known) == 0;
}

/** May that host say this? Only of migrations that leave it, and not that they are other ones. */
static gboolean
is_own(const Task *task, const char *host_uuid, const Migration *report)
{
    const Migration *known = task != NULL ? task->migration : NULL;

    if (report->id == NULL || !same_or_left_out(report->from_uuid, host_uuid))
        return FALSE;
    return known == NULL || (strcmp(known->from_uuid, host_uuid) == 0 &&
                             same_or_left_out(report->to_uuid, known->to_uuid) &&
                             same_or_left_out(report->vm_uuid, known->vm_uuid));
}

void
taskbook_report(TaskBook *book, const char *host_uuid, Migration *report)
{
    g_autoptr(Migration) mine = report;
    Task *task = mine->id ? g_hash_table_lookup(book->by_id, mine->id) : NULL;
    gboolean had_ended = task != NULL && task_is_ended(task);
    FollowChange change;

    if (!is_own(task, host_uuid, mine)) {
        g_debug("a report of host %s on a migration that isn't its own is left out", host_uuid);
        return;
    }
    if (task == NULL) {
        adopt(book, host_uuid, g_steal_pointer(&mine));
        return;
    }
    change = follow_report(task, g_steal_pointer(&mine), clock_wall_ms());
    if (had_ended && change != FOLLOW_NOTHING)
        book->ended--;
    after(book, task, change);
}

void
taskbook_end(TaskBook *book, const char *id, TaskState state, MigrationResult result,
             const GError *error)
{
    Task *task = g_hash_table_lookup(book->by_id, id);

    if (task != NULL)
        after(book, task, follow_end(task, state, result, error, clock_wall_ms()));
}

void
taskbook_wish_cancel(TaskBook *book, const char *id, gboolean wish)
{
    Task *task = g_hash_table_lookup(book->by_id, id);

    if (task == NULL || task->cancel_requested == wish)
        return;
    task->cancel_requested = wish;
    after(book, task, FOLLOW_STAGE);
}
