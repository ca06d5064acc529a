/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *     PATH/          0700
 *       lock         flock()ed by the manager that runs, with its pid in it: gone with the process
 *       ca/          the CA's key and certificate: the one secret that can't be made again
 *       ca.pem       copy of the certificate, for clients (not secret)
 *       manager.db   the store
 *
 * The manager's own certificate is not here: it is made anew at every start (papers.c).
 */
#include "manager/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"

static void
set_errno(GError **error, const char *tried, const char *path, int number)
{
    GodwitError code = number == ENOSPC || number == EDQUOT ? GODWIT_ERROR_NO_SPACE
                       : number == EACCES || number == EPERM || number == EROFS
                           ? GODWIT_ERROR_FORBIDDEN
                           : GODWIT_ERROR_INTERNAL;

    g_set_error(error, GODWIT_ERROR, code, "%s %s: %s", tried, path, g_strerror(number));
}

static gboolean
make_folder(const char *path, GError **error)
{
    struct stat info;

    if (g_mkdir_with_parents(path, 0700) != 0 || stat(path, &info) != 0) {
        set_errno(error, "making the data folder", path, errno);
        return FALSE;
    }
    if (info.st_mode & 077) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "the data folder %s is open to others (mode %03o), and the cluster's key is in "
                    "it: chmod 0700 %s",
                    path, info.st_mode & 0777, path);
        return FALSE;
    }
    return TRUE;
}

static void
set_in_use(int lock, const char *path, GError **error)
{
    char pid[32] = "";
    ssize_t n = pread(lock, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    g_strchomp(pid);
    g_set_error(
        error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
        "another godwit-manager (process %s) uses the data folder %s: stop that one, or give "
        "this one a folder of its own (data_dir in its configuration)",
        pid[0] ? pid : "unknown", path);
}

/** The locked descriptor, or -1. */
static int
lock_folder(const char *path, GError **error)
{
    g_autofree char *file = g_build_filename(path, "lock", NULL);
    g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());
    fd_auto int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (lock < 0) {
        set_errno(error, "opening", file, errno);
        return -1;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            set_in_use(lock, path, error);
        else
            set_errno(error, "locking", file, errno);
        return -1;
    }
    /* Only for the message above: a full disk must not keep the manager from starting. */
    if (ftruncate(lock, 0) != 0 || pwrite(lock, pid, strlen(pid), 0) < 0)
        g_debug("%s: %s", file, g_strerror(errno));
    return fd_steal(&lock);
}

/** Clients are told to look there: it has to be the CA's. */
static gboolean
publish_ca(const DataDir *dir, GError **error)
{
    g_autofree char *file = g_build_filename(dir->path, "ca.pem", NULL);
    g_autofree char *there = NULL;
    g_autoptr(GError) problem = NULL;

    if (g_file_get_contents(file, &there, NULL, NULL) && strcmp(there, dir->ca->cert) == 0)
        return TRUE;
    /* chmod because of our umask: whoever is given the file may read it. */
    if (g_file_set_contents_full(file, dir->ca->cert, -1,
                                 G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644,
                                 &problem) &&
        g_chmod(file, 0644) == 0)
        return TRUE;
    if (problem == NULL) {
        set_errno(error, "opening to clients", file, errno);
        return FALSE;
    }
    g_set_error(error, GODWIT_ERROR,
                g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? GODWIT_ERROR_NO_SPACE
                                                                           : GODWIT_ERROR_INTERNAL,
                "writing the CA's certificate for clients: %s", problem->message);
    return FALSE;
}

static gboolean
open_ca(DataDir *dir, GError **error)
{
    g_autofree char *folder = g_build_filename(dir->path, "ca", NULL);
    gboolean created = FALSE;

    dir->ca = ca_open(folder, &created, error);
    if (dir->ca == NULL) {
        g_prefix_error(error, "the cluster's CA: ");
        return FALSE;
    }
    dir->ca_fingerprint = identity_fingerprint(dir->ca->cert, error);
    if (dir->ca_fingerprint == NULL)
        return FALSE;
    if (created)
        g_message("made the cluster's CA in %s: keep a copy of that folder in a safe place",
                  folder);
    return publish_ca(dir, error);
}

DataDir *
datadir_open(const char *path, GError **error)
{
    g_autoptr(DataDir) dir = g_new0(DataDir, 1);

    dir->path = g_strdup(path);
    dir->lock = -1;
    if (!make_folder(path, error))
        return NULL;
    dir->lock = lock_folder(path, error);
    return dir->lock >= 0 && open_ca(dir, error) ? g_steal_pointer(&dir) : NULL;
}

void
datadir_free(DataDir *dir)
{
    if (dir == NULL)
        return;
    fd_close_p(&dir->lock);
    g_clear_pointer(&dir->ca, ca_free);
    g_free(dir->ca_fingerprint);
    g_free(dir->path);
    g_free(dir);
}
