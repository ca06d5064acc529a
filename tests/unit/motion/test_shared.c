/* SPDX-License-Identifier: Apache-2.0 */
/* A folder is taken for shared only where the destination sees what the source wrote. Both sides are this process here; a different folder
 * at the same path is made by moving the folder away. */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "motion/shared.h"

#define ID "6d0a8c5e-5f0f-4c1c-9d5e-0123456789ab"

typedef struct {
    char *folder, *other;
    Vm *vm;
} Fixture;

static VmDisk *
add_disk(Vm *vm, const char *type, const char *source, const char *cache)
{
    VmDisk *disk = record_new(&vm_disk_type);

    disk->type = g_strdup(type);
    disk->source = g_strdup(source);
    disk->cache = g_strdup(cache);
    g_ptr_array_add(vm->disks, disk);
    return disk;
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autofree char *disk = NULL;

    fixture->folder = g_dir_make_tmp("shared-XXXXXX", NULL);
    fixture->other = g_strconcat(fixture->folder, ".away", NULL);
    disk = g_build_filename(fixture->folder, "web.img", NULL);
    fixture->vm = record_new(&vm_type);
    fixture->vm->disks = record_list_new(&vm_disk_type);
    add_disk(fixture->vm, "file", disk, "none");
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    shared_remove(fixture->vm, ID);
    g_assert_cmpint(g_rmdir(fixture->folder), ==, 0); /* nothing was left in it */
    g_free(fixture->folder);
    g_free(fixture->other);
    vm_free(fixture->vm);
}

static void
test_same_folder(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) proofs = shared_plant(fixture->vm, ID);
    g_autoptr(GError) error = NULL;

    g_assert_cmpuint(proofs->len, ==, 1);
    g_assert_true(shared_verify(proofs, ID, "h2", "h1", &error));
    g_assert_no_error(error);
    g_assert_true(shared_is_proved(fixture->vm, proofs));
}

static void
test_other_folder(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) proofs = shared_plant(fixture->vm, ID);
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_rename(fixture->folder, fixture->other), ==, 0);
    g_assert_cmpint(g_mkdir(fixture->folder, 0700), ==, 0);
    g_assert_false(shared_verify(proofs, ID, "h2", "h1", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message, fixture->folder));
    g_assert_nonnull(strstr(error->message, "h2"));
    g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
    g_assert_cmpint(g_rename(fixture->other, fixture->folder), ==, 0);
}

static void
test_other_nonce(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) proofs = shared_plant(fixture->vm, ID);
    StorageProof *proof = proofs->pdata[0];

    proof->nonce[0] = proof->nonce[0] == '0' ? '1' : '0';
    g_assert_false(shared_verify(proofs, ID, "h2", "h1", NULL));
    proof->nonce[10] = '\0'; /* a prefix isn't enough */
    g_assert_false(shared_verify(proofs, ID, "h2", "h1", NULL));
}

/** A name that leads elsewhere doesn't make the destination read that. */
static void
test_link(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) proofs = shared_plant(fixture->vm, ID);
    g_autofree char *path = g_strdup_printf("%s/.godwit-%s", fixture->folder, ID);
    g_autofree char *away = g_strconcat(fixture->folder, ".nonce", NULL);

    g_assert_cmpint(g_rename(path, away), ==, 0);
    g_assert_cmpint(symlink(away, path), ==, 0);
    g_assert_false(shared_verify(proofs, ID, "h2", "h1", NULL));
    g_remove(away);
}

static void
test_what_is_proved(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GPtrArray) proofs = shared_plant(fixture->vm, ID);
    VmDisk *file = fixture->vm->disks->pdata[0];
    VmDisk *second;

    add_disk(fixture->vm, "network", "iqn/1", NULL);
    second = add_disk(fixture->vm, "file", "/nonexistent/iso", NULL);
    second->read_only = TRUE;
    g_assert_true(shared_is_proved(fixture->vm, proofs));
    second->read_only = FALSE; /* a folder without proof */
    g_free(second->cache);
    second->cache = g_strdup("none");
    g_assert_false(shared_is_proved(fixture->vm, proofs));
    second->read_only = TRUE;
    g_free(file->cache);
    file->cache = g_strdup("writeback"); /* two caches of one disk */
    g_assert_false(shared_is_proved(fixture->vm, proofs));
    g_free(file->cache);
    file->cache = NULL;
    g_assert_false(shared_is_proved(fixture->vm, proofs));
}

static void
test_not_writable(Fixture *fixture, gconstpointer data)
{
    Vm *vm = record_copy(&vm_type, fixture->vm);
    VmDisk *disk = vm->disks->pdata[0];

    g_free(disk->source);
    disk->source = g_strdup("/proc/web.img");
    {
        g_autoptr(GPtrArray) proofs = shared_plant(vm, ID);

        g_assert_cmpuint(proofs->len, ==, 0);
        g_assert_true(shared_verify(proofs, ID, "h2", "h1", NULL));
        g_assert_false(shared_is_proved(vm, proofs)); /* libvirt's own guess decides */
    }
    vm_free(vm);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/shared/same-folder", Fixture, NULL, set_up, test_same_folder, tear_down);
    g_test_add("/shared/other-folder", Fixture, NULL, set_up, test_other_folder, tear_down);
    g_test_add("/shared/other-nonce", Fixture, NULL, set_up, test_other_nonce, tear_down);
    g_test_add("/shared/link", Fixture, NULL, set_up, test_link, tear_down);
    g_test_add("/shared/what-is-proved", Fixture, NULL, set_up, test_what_is_proved, tear_down);
    g_test_add("/shared/not-writable", Fixture, NULL, set_up, test_not_writable, tear_down);
    return g_test_run();
}
