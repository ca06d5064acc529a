/* SPDX-License-Identifier: Apache-2.0 */
#include "host/joined.h"

#include <errno.h>
#include <glib/gstdio.h>

#include "base/error.h"

#define JOINED_MAX_BYTES (64 * 1024)

static const RecordField joined_fields[] = {
    { "manager_url", RECORD_STRING, G_STRUCT_OFFSET(Joined, manager_url) },
    { "manager_uuid", RECORD_STRING, G_STRUCT_OFFSET(Joined, manager_uuid) },
    { "cluster", RECORD_STRING, G_STRUCT_OFFSET(Joined, cluster) },
    { "host_uuid", RECORD_STRING, G_STRUCT_OFFSET(Joined, host_uuid) },
    { "host_name", RECORD_STRING, G_STRUCT_OFFSET(Joined, host_name) },
    { "control_address", RECORD_STRING, G_STRUCT_OFFSET(Joined, control_address) },
    { "control_port", RECORD_INT, G_STRUCT_OFFSET(Joined, control_port) },
    { "joined_ms", RECORD_INT, G_STRUCT_OFFSET(Joined, joined_ms) },
};
const RecordType joined_type = RECORD_TYPE("joined", Joined, joined_fields);

void
joined_free(Joined *joined)
{
    record_free(&joined_type, joined);
}

static char *
path_in(const char *state_dir)
{
    return g_build_filename(state_dir, "joined.json", NULL);
}

Joined *
joined_load(const char *state_dir, GError **error)
{
    g_autofree char *path = path_in(state_dir);
    g_autofree char *text = NULL;
    g_autoptr(GError) reason = NULL;
    gsize length;
    if (!g_file_get_contents(path, &text, &length, &reason)) {
        if (g_error_matches(reason, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                        "not joined: run godwitd join URL --token T, the command that \"godwit "
                        "host add\" prints "
                        "(there is no %s)",
                        path);
        else
            g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, reason->message);
        return NULL;
    }
    if (length > JOINED_MAX_BYTES) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_TOO_LARGE,
                    "%s is over %d bytes: not godwitd's own file", path, JOINED_MAX_BYTES);
        return NULL;
    }
    Joined *joined = record_from_string(&joined_type, text, (gssize)length, error);
    if (!joined)
        g_prefix_error(error, "%s: ", path);
    return joined;
}

gboolean
joined_save(const Joined *joined, const char *state_dir, GError **error)
{
    g_autofree char *path = path_in(state_dir);
    g_autofree char *text = record_to_string(&joined_type, joined);
    return g_file_set_contents_full(
        path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

gboolean
joined_remove(const char *state_dir, GError **error)
{
    g_autofree char *path = path_in(state_dir);
    if (g_unlink(path) == 0 || errno == ENOENT)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "%s could not be removed: %s", path,
                g_strerror(errno));
    return FALSE;
}
