/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/ledger.h"
#include "model/model.h"

/**
 * All tasks that the manager knows, in memory and in the ledger. Tasks belong to the book; pointers
 * are good until the main loop runs again. Main context only.
 */
typedef struct TaskBook TaskBook;

/** A task is new or has changed; ended: with this change. */
typedef void (*TaskBookChanged)(const Task *task, gboolean ended, gpointer data);

/** keep: so many ended tasks are kept, the newest. A stored task that can't be read is told of in
 * the log and left out. */
TaskBook *taskbook_open(Ledger *ledger, guint keep, TaskBookChanged changed, gpointer data,
                        GError **error);
void taskbook_free(TaskBook *book);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TaskBook, taskbook_free)

/** By id or by its first 4 or more characters. NOT_FOUND; CONFLICT where several begin so. */
const Task *taskbook_get(const TaskBook *book, const char *id_or_prefix, GError **error);
/** By exact id; NULL where there is none. */
const Task *taskbook_find(const TaskBook *book, const char *id);
/** Newest first; state -1: all; vm NULL: all, else name or UUID. (transfer container) of Task. */
GPtrArray *taskbook_list(const TaskBook *book, int state, const char *vm, guint limit);
/** The task that has not ended and moves this VM, or NULL. */
const Task *taskbook_of_vm(const TaskBook *book, const char *vm_uuid);
/** The newest migration of this VM, ended or not, or NULL. */
const Migration *taskbook_last_migration(const TaskBook *book, const char *vm_uuid);
/** Tasks that have not ended whose migration leaves (or, both: also goes to) that host.
 * (transfer container) of Task. */
GPtrArray *taskbook_of_host(const TaskBook *book, const char *host_uuid, gboolean both);

/** Stores the task (transfer full) before it is known: with an error nothing has happened. */
const Task *taskbook_add(TaskBook *book, Task *task, GError **error);
/** The word of the host that the migration leaves (report: transfer full). A migration that isn't
 * known is taken into the book; what another host says of it is not. */
void taskbook_report(TaskBook *book, const char *host_uuid, Migration *report);
/** Ends a task without its host's report: TASK_FAILED or TASK_CANCELLED. */
void taskbook_end(TaskBook *book, const char *id, TaskState state, MigrationResult result,
                  const GError *error);
/** A person wishes its end, or the wish was refused. */
void taskbook_wish_cancel(TaskBook *book, const char *id, gboolean wish);
/** Writes what could not be written before. */
void taskbook_flush(TaskBook *book);
