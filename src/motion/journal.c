/* SPDX-License-Identifier: Apache-2.0 */
#include "motion/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/record.h"

struct Journal {
    int fd;
    char *path;
};

static void
set_write_error(GError **error, const char *path, int code)
{
    g_set_error(error, GODWIT_ERROR,
                code == ENOSPC || code == EDQUOT ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                "cannot write the migration's journal %s: %s; without it nothing is begun: free "
                "space on that disk",
                path, g_strerror(code));
}

/** Cuts a last line that a crash left without its end, so that the next line begins on its own. */
static int
drop_torn_line(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last;

    while (end > 0) {
        if (pread(fd, &last, 1, end - 1) != 1)
            return errno;
        if (last == '\n')
            break;
        end--;
    }
    return ftruncate(fd, end) < 0 ? errno : 0;
}

Journal *
journal_open(const char *path, GError **error)
{
    fd_auto int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    Journal *journal;
    int code = fd < 0 ? errno : drop_torn_line(fd);

    if (code != 0) {
        set_write_error(error, path, code);
        return NULL;
    }
    journal = g_new0(Journal, 1);
    journal->fd = fd_steal(&fd);
    journal->path = g_strdup(path);
    return journal;
}

void
journal_close(Journal *journal)
{
    if (!journal)
        return;
    close(journal->fd);
    g_free(journal->path);
    g_free(journal);
}

gboolean
journal_write(Journal *journal, const char *step, const char *event, JsonNode *detail,
              GError **error)
{
    g_autoptr(JsonNode) line = detail ? detail : json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL, *whole = NULL;
    off_t before = lseek(journal->fd, 0, SEEK_END);
    gsize length;
    gssize written;

    if (!detail)
        json_node_take_object(line, json_object_new());
    json_object_set_int_member(json_node_get_object(line), "at_ms", clock_wall_ms());
    json_object_set_string_member(json_node_get_object(line), "step", step);
    json_object_set_string_member(json_node_get_object(line), "event", event);
    text = json_text(line, FALSE);
    whole = g_strconcat(text, "\n", NULL);
    length = strlen(whole);
    written = write(journal->fd, whole, length);
    if (written == (gssize)length && fdatasync(journal->fd) == 0)
        return TRUE;
    set_write_error(error, journal->path,
                    written < 0 || written == (gssize)length ? errno : ENOSPC);
    if (before >= 0 && ftruncate(journal->fd, before) < 0)
        g_debug("journal %s: cannot cut a torn line: %s", journal->path, g_strerror(errno));
    return FALSE;
}

GPtrArray *
journal_read(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func((GDestroyNotify)json_node_unref);
    char *end;

    if (!g_file_get_contents(path, &text, NULL, error))
        return NULL;
    for (char *line = text; (end = strchr(line, '\n')); line = end + 1) {
        g_autoptr(JsonNode) node = json_parse_limited(line, (gsize)(end - line), NULL);

        if (node && JSON_NODE_HOLDS_OBJECT(node))
            g_ptr_array_add(lines, g_steal_pointer(&node));
    }
    return g_steal_pointer(&lines);
}

JsonObject *
journal_last(GPtrArray *lines, const char *step, const char *event)
{
    for (guint i = lines->len; i > 0; i--) {
        JsonObject *line = json_node_get_object(lines->pdata[i - 1]);

        if (g_strcmp0(json_object_get_string_member_with_default(line, "event", NULL), event) ==
                0 &&
            (!step ||
             g_strcmp0(json_object_get_string_member_with_default(line, "step", NULL), step) == 0))
            return line;
    }
    return NULL;
}
