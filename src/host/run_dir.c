/* SPDX-License-Identifier: Apache-2.0 */
#include "host/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"

static gboolean
fail(GError **error, const char *what, const char *path, int code)
{
    g_set_error(error, GODWIT_ERROR, code == ENOSPC ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                "%s could not be %s: %s: run godwitd as root, and see that nothing else is there",
                path, what, g_strerror(code));
    return FALSE;
}

static gboolean
make_folder(const char *path, mode_t mode, GError **error)
{
    if (g_mkdir_with_parents(path, 0755) < 0)
        return fail(error, "made", path, errno);
    fd_auto int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(error, "opened", path, errno);
    struct stat status;
    if (fstat(fd, &status) < 0 || ((status.st_mode & 07777) != mode && fchmod(fd, mode) < 0))
        return fail(error, "given its mode", path, errno);
    if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) < 0)
        return fail(error, "written to", path, errno);
    return TRUE;
}

gboolean
run_dir_prepare(const AgentConfig *config, GError **error)
{
    g_autofree char *migration = g_build_filename(config->run_dir, "migration", NULL);
    return make_folder(config->state_dir, 0700, error) &&
           make_folder(config->run_dir, 0711, error) && make_folder(migration, 0711, error);
}

static char *
lock_path(const AgentConfig *config)
{
    return g_build_filename(config->run_dir, "godwitd.lock", NULL);
}

/* What stands in the lock file: the process that has it. */
static int
read_holder(int fd)
{
    char text[16] = "";
    gssize length = pread(fd, text, sizeof text - 1, 0);
    return length > 0 ? atoi(text) : 0;
}

int
run_dir_lock(const AgentConfig *config, GError **error)
{
    g_autofree char *path = lock_path(config);
    fd_auto int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        fail(error, "opened", path, errno);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "godwitd runs already as process %d (it holds %s): stop that one first",
                        read_holder(fd), path);
        else
            fail(error, "locked", path, errno);
        return -1;
    }
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) < 0) {
        fail(error, "written", path, errno);
        return -1;
    }
    return fd_steal(&fd);
}

int
run_dir_lock_holder(const AgentConfig *config)
{
    g_autofree char *path = lock_path(config);
    fd_auto int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return read_holder(fd);
}

gboolean
run_dir_has_migrations(const AgentConfig *config)
{
    g_autofree char *path = g_build_filename(config->run_dir, "migration", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    return dir && g_dir_read_name(dir);
}
