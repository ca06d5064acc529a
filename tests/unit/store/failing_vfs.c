/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A copy of SQLite's own VFS whose xOpen lets the real one open the file and then puts another
 * method table into it: the real one's, but for the changing methods, which count first. All
 * regular files of one process have the same method table in the unix VFS, which is asserted.
 */
#include "failing_vfs.h"

#include <sqlite3.h>

static sqlite3_vfs shim;
static sqlite3_vfs *real;
static struct Pair {
    sqlite3_io_methods shim; /* first, so that a file's methods lead here */
    const sqlite3_io_methods *real;
} pairs[4];
static int left;     /* calls until the fault; 0 = none armed */
static int fault;    /* code while armed */
static gboolean hit; /* has failed since */

static gboolean
is_due(void)
{
    if (left == 0)
        return FALSE;
    if (left > 1) {
        left--;
        return FALSE;
    }
    hit = TRUE; /* and stays due */
    return TRUE;
}

static const sqlite3_io_methods *
real_of(const sqlite3_file *file)
{
    return ((const struct Pair *)(const void *)file->pMethods)->real;
}

static int
shim_write(sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
    return is_due() ? fault : real_of(file)->xWrite(file, data, length, offset);
}

static int
shim_sync(sqlite3_file *file, int flags)
{
    return is_due() ? (fault == SQLITE_FULL ? SQLITE_IOERR_FSYNC : fault)
                    : real_of(file)->xSync(file, flags);
}

static int
shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return is_due() ? SQLITE_IOERR_TRUNCATE : real_of(file)->xTruncate(file, size);
}

static int
shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
    int rc = real->xOpen(real, name, file, flags, out_flags);
    if (rc != SQLITE_OK || file->pMethods == NULL)
        return rc;
    gsize i = 0;
    while (i < G_N_ELEMENTS(pairs) && pairs[i].real != NULL && pairs[i].real != file->pMethods)
        i++;
    g_assert_cmpuint(i, <, G_N_ELEMENTS(pairs));
    if (pairs[i].real == NULL) {
        pairs[i].real = file->pMethods;
        pairs[i].shim = *file->pMethods;
        pairs[i].shim.xWrite = shim_write;
        pairs[i].shim.xSync = shim_sync;
        pairs[i].shim.xTruncate = shim_truncate;
    }
    file->pMethods = &pairs[i].shim;
    return SQLITE_OK;
}

void
failing_vfs_install(void)
{
    real = sqlite3_vfs_find(NULL);
    shim = *real;
    shim.zName = "failing";
    shim.xOpen = shim_open;
    g_assert_cmpint(sqlite3_vfs_register(&shim, 1), ==, SQLITE_OK);
}

void
failing_vfs_arm(int n, int code)
{
    left = n;
    fault = code;
    hit = FALSE;
}

gboolean
failing_vfs_struck(void)
{
    return hit;
}
