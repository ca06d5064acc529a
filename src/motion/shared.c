/* SPDX-License-Identifier: Apache-2.0 */
#include "motion/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "net/identity.h"

#define NONCE_LENGTH 64

static gboolean
is_file_disk(const VmDisk *disk)
{
    return disk->source && !disk->read_only && g_strcmp0(disk->type, "file") == 0 &&
           g_path_is_absolute(disk->source);
}

static char *
proof_path(const char *folder, const char *id)
{
    return g_strdup_printf("%s/.godwit-%s", folder, id);
}

static const StorageProof *
proof_of(const GPtrArray *proofs, const char *folder)
{
    for (guint i = 0; proofs && i < proofs->len; i++) {
        const StorageProof *proof = proofs->pdata[i];

        if (g_strcmp0(proof->folder, folder) == 0)
            return proof;
    }
    return NULL;
}

/** FALSE where the folder can't be written. */
static gboolean
write_nonce(const char *path, const char *nonce)
{
    fd_auto int fd = -1;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return FALSE;
    if (write(fd, nonce, NONCE_LENGTH) == NONCE_LENGTH && fsync(fd) == 0)
        return TRUE;
    unlink(path);
    return FALSE;
}

GPtrArray *
shared_plant(const Vm *vm, const char *id)
{
    GPtrArray *proofs = record_list_new(&storage_proof_type);

    for (guint i = 0; vm->disks && i < vm->disks->len; i++) {
        const VmDisk *disk = vm->disks->pdata[i];
        g_autofree char *folder = is_file_disk(disk) ? g_path_get_dirname(disk->source) : NULL;
        g_autofree char *path = folder ? proof_path(folder, id) : NULL;
        g_autofree char *nonce = random_hex_256();
        StorageProof *proof;

        if (!folder || proof_of(proofs, folder) || !write_nonce(path, nonce))
            continue;
        proof = record_new(&storage_proof_type);
        proof->folder = g_steal_pointer(&folder);
        proof->nonce = g_steal_pointer(&nonce);
        g_ptr_array_add(proofs, proof);
    }
    return proofs;
}

void
shared_remove(const Vm *vm, const char *id)
{
    for (guint i = 0; vm && vm->disks && i < vm->disks->len; i++) {
        const VmDisk *disk = vm->disks->pdata[i];
        g_autofree char *folder = is_file_disk(disk) ? g_path_get_dirname(disk->source) : NULL;
        g_autofree char *path = folder ? proof_path(folder, id) : NULL;

        if (path && unlink(path) < 0 && errno != ENOENT)
            g_debug("cannot remove %s: %s", path, g_strerror(errno));
    }
}

static gboolean
verify_one(const StorageProof *proof, const char *id)
{
    g_autofree char *path = proof_path(proof->folder, id);
    fd_auto int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char seen[NONCE_LENGTH];

    return fd >= 0 && read(fd, seen, sizeof seen) == (gssize)sizeof seen &&
           strlen(proof->nonce) == sizeof seen && memcmp(seen, proof->nonce, sizeof seen) == 0;
}

gboolean
shared_verify(const GPtrArray *proofs, const char *id, const char *here, const char *there,
              GError **error)
{
    for (guint i = 0; proofs && i < proofs->len; i++) {
        const StorageProof *proof = proofs->pdata[i];

        if (g_path_is_absolute(proof->folder) && verify_one(proof, id))
            continue;
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED,
                    "folder %s on host %s is not the one that %s has: what %s wrote there is not "
                    "to be seen here; mount the same datastore at that path on both "
                    "(check datastore)",
                    proof->folder, here, there, there);
        return FALSE;
    }
    return TRUE;
}

static gboolean
disk_is_proved(const VmDisk *disk, const GPtrArray *proofs)
{
    g_autofree char *folder = NULL;

    if (!disk->source || disk->read_only || g_strcmp0(disk->type, "network") == 0)
        return TRUE;
    if (!is_file_disk(disk) ||
        (g_strcmp0(disk->cache, "none") != 0 && g_strcmp0(disk->cache, "directsync") != 0))
        return FALSE;
    folder = g_path_get_dirname(disk->source);
    return proof_of(proofs, folder) != NULL;
}

gboolean
shared_is_proved(const Vm *vm, const GPtrArray *proofs)
{
    for (guint i = 0; vm->disks && i < vm->disks->len; i++) {
        if (!disk_is_proved(vm->disks->pdata[i], proofs))
            return FALSE;
    }
    return TRUE;
}
