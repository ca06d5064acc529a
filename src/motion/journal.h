/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * The journal of one side of one migration: a file of JSON lines, each on disk (fdatasync) before
 * the step that it announces is taken. What a restarted godwitd knows, it knows from here and from
 * libvirt.
 *
 * Lines: {"at_ms", "step", "event": "begin" | "done" | "failed" | "undone" | "end", and what else
 * the writer gave}. A last line cut short by a crash is ignored. One thread.
 */
typedef struct Journal Journal;

/** Makes or continues path. NO_SPACE, INTERNAL with the path. */
Journal *journal_open(const char *path, GError **error);
void journal_close(Journal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Journal, journal_close)

/** detail: an object whose members go into the line (consumed), or NULL. */
gboolean journal_write(Journal *journal, const char *step, const char *event, JsonNode *detail,
                       GError **error);

/** All whole lines of a journal, as objects. (transfer full) of JsonNode. */
GPtrArray *journal_read(const char *path, GError **error);
/** The last line with that event, or NULL. step NULL: of any step. */
JsonObject *journal_last(GPtrArray *lines, const char *step, const char *event);
