/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A set is three files, all 0600 and named by its id, the UUID of the migration that made it:
 *
 *     ID.set     what this module knows of it: a key file, replaced atomically
 *     ID.index   hashes and locators (recall_format), made by a worker
 *     ID.pages   the pages that were new in that session, made by a worker: a *segment*
 *
 * A set needs its own segment and up to 7 older ones. ID.set names those that it needs, and so:
 *
 *  1. A segment is kept as long as a set names it, whether the set that made it exists or not, and
 *     is removed by the sweep after any change otherwise. There are no counts that could be wrong.
 *  2. Any set may be removed at any time. No other set is harmed: it names its segments itself.
 *     Removing a set may free little, removing all sets frees everything: so bounds always hold.
 *  3. A set being made (open) names, beside its own, all segments of the sets its session reads.
 *  4. Segments never cross groups, since sets are only read within a group.
 *
 * Which sets stay: of one VM and peer the newest two (the second is for the case that the other
 * host doesn't have the newest), none older than max_age, and as many as fit in max_bytes and in
 * what the file system can spare, those not used for longest going first. What open sets may still
 * write (their quotas) counts as used. Files that a running session reads may be removed, too: it
 * has them open, and their space is free when it ends.
 *
 * A crash at any point leaves a set that isn't named by an ID.set (swept) or one still open:
 * ID.pages is locked by the description that the worker was given, so at the next start an open set
 * whose lock is free has no worker any more. Nothing is fsynced but the small file: what a power
 * cut tore is found by its tag and costs bandwidth.
 *
 * ID.set isn't secret: VM, group and peer also stand in the host's own configuration. Nor need it
 * be trusted: with another group the worker gets another key, and the index isn't accepted.
 */
#include "flyway/recall_library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <glib/gstdio.h>
#include "base/error.h"
#include "base/fd.h"
#include "flyway/protocol.h"
#include "flyway/recall_format.h"

#define KEY_FILE_MAX (64u * 1024) /* a set's is below 2 KiB */
#define KEPT_PER_VM 2u
#define UUID_LENGTH 36u
#define MIB (G_GUINT64_CONSTANT(1) << 20)

struct RecallLibrary {
    char *path;
    int dir_fd;
    RecallLimits limits;
    GPtrArray *sets; /* RecallSet, oldest first */
    guint64 asked, found;
};

static const char *const share_words[RECALL_N_SHARES] = { "vm", "group", "cluster" };

gboolean
recall_share_parse(const char *word, RecallShare *share)
{
    for (guint i = 0; i < RECALL_N_SHARES; i++) {
        if (g_strcmp0(word, share_words[i]) == 0) {
            *share = (RecallShare)i;
            return TRUE;
        }
    }
    return FALSE;
}

char *
recall_group(RecallShare share, const char *vm, const char *group_name)
{
    if (share == RECALL_SHARE_CLUSTER)
        return g_strdup("cluster");
    if (share == RECALL_SHARE_VM || group_name == NULL || group_name[0] == '\0')
        return g_strconcat("vm:", vm, NULL);
    return g_strconcat("group:", group_name, NULL);
}

/* Sets in memory. */

static void
held_free(gpointer data)
{
    RecallHeld *held = data;

    g_free(held->vm);
    g_free(held);
}

static void
set_free(gpointer data)
{
    RecallSet *set = data;

    g_free(set->vm);
    g_free(set->group);
    g_free(set->peer);
    g_ptr_array_unref(set->segments);
    g_free(set);
}

static RecallSet *
set_new(const char *id)
{
    RecallSet *set = g_new0(RecallSet, 1);

    g_strlcpy(set->id, id, sizeof set->id);
    set->segments = g_ptr_array_new_with_free_func(held_free);
    return set;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallSet, set_free)

static const RecallHeld *
find_held(const RecallSet *set, const char *id)
{
    for (guint i = 0; i < set->segments->len; i++) {
        const RecallHeld *held = set->segments->pdata[i];

        if (strcmp(held->id, id) == 0)
            return held;
    }
    return NULL;
}

static void
hold(RecallSet *set, const char *id, const char *vm)
{
    RecallHeld *held;

    if (find_held(set, id) != NULL)
        return;
    held = g_new0(RecallHeld, 1);
    g_strlcpy(held->id, id, sizeof held->id);
    held->vm = g_strdup(vm);
    g_ptr_array_add(set->segments, held);
}

static RecallSet *
find_set(RecallLibrary *library, const char *id)
{
    for (guint i = 0; i < library->sets->len; i++) {
        RecallSet *set = library->sets->pdata[i];

        if (strcmp(set->id, id) == 0)
            return set;
    }
    return NULL;
}

static int
by_created(gconstpointer a, gconstpointer b)
{
    const RecallSet *x = *(RecallSet *const *)a, *y = *(RecallSet *const *)b;

    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Files. */

static gboolean
is_id(const char *text)
{
    guint8 bytes[RECALL_ID_SIZE];

    return strlen(text) == UUID_LENGTH && flyway_uuid_parse(text, bytes);
}

/* "ID.suffix"; the buffer is for 48 bytes. */
static const char *
file_name(char *buffer, const char *id, const char *suffix)
{
    g_snprintf(buffer, 48, "%s.%s", id, suffix);
    return buffer;
}

static guint64
file_bytes(RecallLibrary *library, const char *id, const char *suffix)
{
    char name[48];
    struct stat status;

    if (fstatat(library->dir_fd, file_name(name, id, suffix), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    return (guint64)status.st_size;
}

/* A plain file. Whatever else has its name is as good as none; a FIFO isn't waited for. */
static int
regular_open(RecallLibrary *library, const char *name, int flags)
{
    fd_auto int fd =
        openat(library->dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat status;

    if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))) {
        errno = ENOENT;
        return -1;
    }
    return fd_steal(&fd);
}

static int
file_open(RecallLibrary *library, const char *id, const char *suffix, int flags)
{
    char name[48];

    return regular_open(library, file_name(name, id, suffix), flags);
}

static gboolean
load_key_file(RecallLibrary *library, const char *name, GKeyFile *file)
{
    fd_auto int fd = regular_open(library, name, O_RDONLY);
    gsize length = 0;
    g_autofree char *text = fd >= 0 ? fd_read_all(fd, KEY_FILE_MAX, &length, NULL) : NULL;

    return text != NULL && g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, NULL);
}

static gboolean
save_key_file(RecallLibrary *library, const char *name, GKeyFile *file, GError **error)
{
    g_autofree char *path = g_build_filename(library->path, name, NULL);
    gsize length;
    g_autofree char *text = g_key_file_to_data(file, &length, NULL);
    g_autoptr(GError) problem = NULL;

    if (g_file_set_contents_full(path, text, (gssize)length, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                 &problem))
        return TRUE;
    g_set_error(error, GODWIT_ERROR,
                g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? GODWIT_ERROR_NO_SPACE
                                                                           : GODWIT_ERROR_INTERNAL,
                "Recall can't write %s: %s. Check that its file system is writable", path,
                problem->message);
    return FALSE;
}

static gboolean
save_set(RecallLibrary *library, const RecallSet *set, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GPtrArray) ids = g_ptr_array_new();
    g_autoptr(GPtrArray) vms = g_ptr_array_new();
    char name[48];

    for (guint i = 0; i < set->segments->len; i++) {
        RecallHeld *held = set->segments->pdata[i];

        g_ptr_array_add(ids, held->id);
        g_ptr_array_add(vms, held->vm);
    }
    g_key_file_set_string(file, "set", "vm", set->vm);
    g_key_file_set_string(file, "set", "group", set->group);
    g_key_file_set_string(file, "set", "peer", set->peer);
    g_key_file_set_boolean(file, "set", "open", set->open);
    g_key_file_set_uint64(file, "set", "pages", set->pages);
    g_key_file_set_uint64(file, "set", "quota_bytes", set->open ? set->bytes : 0);
    g_key_file_set_int64(file, "set", "created_ms", set->created_ms);
    g_key_file_set_int64(file, "set", "used_ms", set->used_ms);
    g_key_file_set_string_list(file, "set", "segments", (const char *const *)ids->pdata, ids->len);
    g_key_file_set_string_list(file, "set", "segment_vms", (const char *const *)vms->pdata,
                               vms->len);
    return save_key_file(library, file_name(name, set->id, "set"), file, error);
}

static gboolean
load_segments(RecallSet *set, GKeyFile *file)
{
    gsize n = 0, n_vms = 0;
    g_auto(GStrv) ids = g_key_file_get_string_list(file, "set", "segments", &n, NULL);
    g_auto(GStrv) vms = g_key_file_get_string_list(file, "set", "segment_vms", &n_vms, NULL);

    if (n != n_vms)
        return FALSE;
    for (gsize i = 0; i < n; i++) {
        if (!is_id(ids[i]))
            return FALSE;
        hold(set, ids[i], vms[i]);
    }
    return TRUE;
}

/* NULL: not a set's file, or damaged. */
static RecallSet *
load_set(RecallLibrary *library, const char *id)
{
    g_autoptr(RecallSet) set = set_new(id);
    g_autoptr(GKeyFile) file = g_key_file_new();
    char name[48];

    if (!load_key_file(library, file_name(name, id, "set"), file))
        return NULL;
    set->vm = g_key_file_get_string(file, "set", "vm", NULL);
    set->group = g_key_file_get_string(file, "set", "group", NULL);
    set->peer = g_key_file_get_string(file, "set", "peer", NULL);
    set->open = g_key_file_get_boolean(file, "set", "open", NULL);
    set->pages = (guint32)g_key_file_get_uint64(file, "set", "pages", NULL);
    set->bytes = g_key_file_get_uint64(file, "set", "quota_bytes", NULL);
    set->created_ms = g_key_file_get_int64(file, "set", "created_ms", NULL);
    set->used_ms = g_key_file_get_int64(file, "set", "used_ms", NULL);
    if (set->vm == NULL || set->group == NULL || set->peer == NULL || !load_segments(set, file))
        return NULL;
    if (!set->open)
        set->bytes = file_bytes(library, id, "index") + file_bytes(library, id, "pages");
    return g_steal_pointer(&set);
}

/* Does no worker hold the files of this open set? */
static gboolean
is_dead(RecallLibrary *library, const char *id)
{
    fd_auto int fd = file_open(library, id, "pages", O_RDONLY);

    return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* Sweeping. */

static gboolean
is_needed(RecallLibrary *library, const char *id, const char *suffix)
{
    const RecallSet *own = find_set(library, id);

    if (strcmp(suffix, "set") == 0 || strcmp(suffix, "index") == 0)
        return own != NULL;
    if (strcmp(suffix, "pages") != 0)
        return FALSE;
    for (guint i = 0; i < library->sets->len; i++)
        if (find_held(library->sets->pdata[i], id) != NULL)
            return TRUE;
    return FALSE;
}

/* Removes the files of ours that no set names. Others' files stay. */
static void
sweep(RecallLibrary *library)
{
    g_autoptr(GDir) dir = g_dir_open(library->path, 0, NULL);
    g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *id = g_strndup(name, UUID_LENGTH);

        if (is_id(id) && name[UUID_LENGTH] == '.' &&
            !is_needed(library, id, name + UUID_LENGTH + 1))
            g_ptr_array_add(gone, g_strdup(name));
    }
    for (guint i = 0; i < gone->len; i++)
        if (unlinkat(library->dir_fd, gone->pdata[i], 0) != 0)
            g_debug("recall: %s: %s", (const char *)gone->pdata[i], g_strerror(errno));
}

static void
load_all(RecallLibrary *library)
{
    g_autoptr(GDir) dir = g_dir_open(library->path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *id = g_strndup(name, UUID_LENGTH);
        RecallSet *set =
            is_id(id) && strcmp(name + UUID_LENGTH, ".set") == 0 ? load_set(library, id) : NULL;

        if (set == NULL)
            continue;
        if (set->open ? is_dead(library, id) : file_bytes(library, id, "index") == 0)
            set_free(set);
        else
            g_ptr_array_add(library->sets, set);
    }
    g_ptr_array_sort(library->sets, by_created);
    sweep(library);
}

static void
load_statistics(RecallLibrary *library)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    if (!load_key_file(library, "statistics", file))
        return;
    library->asked = g_key_file_get_uint64(file, "pages", "asked", NULL);
    library->found = g_key_file_get_uint64(file, "pages", "found", NULL);
}

gboolean
recall_space_real(const char *path, RecallSpace *space)
{
    struct statvfs status;

    if (statvfs(path, &status) != 0)
        return FALSE;
    space->size_bytes = (guint64)status.f_blocks * status.f_frsize;
    space->available_bytes = (guint64)status.f_bavail * status.f_frsize;
    return TRUE;
}

RecallLibrary *
recall_library_open(const char *path, const RecallLimits *limits, GError **error)
{
    g_autoptr(RecallLibrary) library = g_new0(RecallLibrary, 1);

    library->path = g_strdup(path);
    library->limits = *limits;
    if (library->limits.space == NULL)
        library->limits.space = recall_space_real;
    library->sets = g_ptr_array_new_with_free_func(set_free);
    library->dir_fd = -1;
    if (g_mkdir_with_parents(path, 0700) == 0)
        library->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (library->dir_fd < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                    "Recall can't use its folder %s: %s. Make it a folder that godwitd may write "
                    "to, or set recall.max_bytes to 0",
                    path, g_strerror(errno));
        return NULL;
    }
    load_all(library);
    load_statistics(library);
    return g_steal_pointer(&library);
}

void
recall_library_free(RecallLibrary *library)
{
    if (library == NULL)
        return;
    g_ptr_array_unref(library->sets);
    fd_close_p(&library->dir_fd);
    g_free(library->path);
    g_free(library);
}

const GPtrArray *
recall_library_sets(RecallLibrary *library)
{
    return library->sets;
}

/* Bounds. */

/* What is on disk, and what open sets may still add to it. */
static void
count_bytes(RecallLibrary *library, guint64 *on_disk, guint64 *promised)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    *on_disk = *promised = 0;
    for (guint i = 0; i < library->sets->len; i++) {
        const RecallSet *set = library->sets->pdata[i];
        guint64 own = file_bytes(library, set->id, "index");

        *on_disk += own;
        own += file_bytes(library, set->id, "pages");
        if (set->open && set->bytes > own)
            *promised += set->bytes - own;
        for (guint k = 0; k < set->segments->len; k++) {
            RecallHeld *held = set->segments->pdata[k];

            if (g_hash_table_add(seen, held->id))
                *on_disk += file_bytes(library, held->id, "pages");
        }
    }
}

/* How many bytes could be added; negative: so many are too much. */
static gint64
room(RecallLibrary *library)
{
    guint64 on_disk, promised, reserve;
    RecallSpace space;
    gint64 by_limit, by_space;

    count_bytes(library, &on_disk, &promised);
    by_limit =
        (gint64)MIN(library->limits.max_bytes, (guint64)G_MAXINT64) - (gint64)(on_disk + promised);
    if (!library->limits.space(library->path, &space))
        return MIN(by_limit, 0);
    reserve = MAX(space.size_bytes / RECALL_RESERVE_PART, RECALL_RESERVE_MIN);
    by_space = (gint64)space.available_bytes - (gint64)(reserve + promised);
    return MIN(by_limit, by_space);
}

static gboolean
is_read(const RecallWish *wish, const RecallSet *set)
{
    for (guint i = 0; wish != NULL && i < wish->n_reads; i++)
        if (wish->reads[i] == set)
            return TRUE;
    return FALSE;
}

/* Removes sets, those not used for longest first, until there is room. */
static guint
make_room(RecallLibrary *library, gint64 wanted, const RecallWish *keep)
{
    guint removed = 0;

    while (room(library) < wanted) {
        RecallSet *oldest = NULL;

        for (guint i = 0; i < library->sets->len; i++) {
            RecallSet *set = library->sets->pdata[i];

            if (!set->open && !is_read(keep, set) &&
                (oldest == NULL || set->used_ms < oldest->used_ms))
                oldest = set;
        }
        if (oldest == NULL)
            break;
        g_ptr_array_remove(library->sets, oldest);
        sweep(library);
        removed++;
    }
    return removed;
}

static guint
remove_old(RecallLibrary *library, gint64 now_ms, const RecallWish *keep)
{
    guint removed = 0;

    for (guint i = library->sets->len; i-- > 0;) {
        RecallSet *set = library->sets->pdata[i];

        if (now_ms - set->created_ms <= library->limits.max_age_ms || is_read(keep, set) ||
            (set->open && !is_dead(library, set->id)))
            continue;
        g_ptr_array_remove_index(library->sets, i);
        removed++;
    }
    if (removed > 0)
        sweep(library);
    return removed;
}

guint
recall_library_expire(RecallLibrary *library, gint64 now_ms)
{
    guint removed = remove_old(library, now_ms, NULL);

    return removed + make_room(library, 0, NULL);
}

guint
recall_library_clear(RecallLibrary *library, const char *vm)
{
    guint removed = 0;

    for (guint i = library->sets->len; i-- > 0;) {
        RecallSet *set = library->sets->pdata[i];
        gboolean hit = vm == NULL || strcmp(set->vm, vm) == 0;

        for (guint k = 0; !hit && k < set->segments->len; k++)
            hit = strcmp(((RecallHeld *)set->segments->pdata[k])->vm, vm) == 0;
        if (!hit)
            continue;
        g_ptr_array_remove_index(library->sets, i);
        removed++;
    }
    sweep(library);
    return removed;
}

/* Sessions. */

/* 0 for the newest committed set of its VM, 1 for the second, … */
static guint
rank_in_vm(RecallLibrary *library, const RecallSet *set)
{
    guint rank = 0;

    for (guint i = 0; i < library->sets->len; i++) {
        const RecallSet *other = library->sets->pdata[i];

        if (!other->open && strcmp(other->vm, set->vm) == 0 &&
            strcmp(other->group, set->group) == 0 && strcmp(other->peer, set->peer) == 0 &&
            by_created(&other, &set) > 0)
            rank++;
    }
    return rank;
}

typedef struct {
    RecallLibrary *library;
    const char *vm;
} Order;

static int
by_promise(gconstpointer a, gconstpointer b, gpointer data)
{
    const RecallSet *x = *(RecallSet *const *)a, *y = *(RecallSet *const *)b;
    const Order *order = data;
    guint rank_x = rank_in_vm(order->library, x), rank_y = rank_in_vm(order->library, y);
    gboolean own_x = strcmp(x->vm, order->vm) == 0, own_y = strcmp(y->vm, order->vm) == 0;

    if (rank_x != rank_y)
        return rank_x < rank_y ? -1 : 1;
    if (own_x != own_y)
        return own_x ? -1 : 1;
    return by_created(b, a);
}

GPtrArray *
recall_library_choose(RecallLibrary *library, const RecallWish *wish, guint32 max_pages)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    GPtrArray *chosen = g_ptr_array_new();
    Order order = { library, wish->vm };
    guint64 pages = 0;

    for (guint i = 0; i < library->sets->len; i++) {
        RecallSet *set = library->sets->pdata[i];

        if (!set->open && strcmp(set->group, wish->group) == 0 &&
            strcmp(set->peer, wish->peer) == 0)
            g_ptr_array_add(found, set);
    }
    g_ptr_array_sort_with_data(found, by_promise, &order);
    for (guint i = 0; i < found->len && chosen->len < RECALL_SETS_MAX; i++) {
        RecallSet *set = found->pdata[i];

        if (pages + set->pages > max_pages)
            continue;
        pages += set->pages;
        g_ptr_array_add(chosen, set);
    }
    return chosen;
}

static gboolean
read_header(RecallLibrary *library, const char *id, int fd, RecallHeader *header, GError **error)
{
    guint8 raw[RECALL_INDEX_HEADER_SIZE], bytes[RECALL_ID_SIZE];
    const char *why = "can't be read";

    if (fd >= 0 && recall_read_all(&recall_io_real, fd, raw, sizeof raw, 0) == 0 &&
        recall_header_decode(raw, sizeof raw, header, &why) == 0) {
        if (flyway_uuid_parse(id, bytes) && memcmp(bytes, header->id, sizeof bytes) == 0)
            return TRUE;
        why = "is another set's";
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                "The index of recall set %s in %s %s: the set is removed, its pages will be sent "
                "again",
                id, library->path, why);
    return FALSE;
}

static void
remove_set(RecallLibrary *library, RecallSet *set)
{
    g_ptr_array_remove(library->sets, set);
    sweep(library);
}

gboolean
recall_library_files(RecallLibrary *library, const RecallSet *set, gint64 now_ms,
                     RecallFiles *files, GError **error)
{
    RecallSet *own = find_set(library, set->id);
    fd_auto int fd = file_open(library, set->id, "index", O_RDONLY);
    RecallHeader header;
    char id[37];

    g_assert(own == set);
    if (!read_header(library, set->id, fd, &header, error)) {
        remove_set(library, own);
        return FALSE;
    }
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++) {
        files->segment_fds[i] = -1;
        if (i >= header.n_segments || header.segments[i].live == 0)
            continue;
        flyway_uuid_format(header.segments[i].id, id);
        files->segment_fds[i] = file_open(library, id, "pages", O_RDONLY);
    }
    files->index_fd = fd_steal(&fd);
    own->used_ms = now_ms;
    /* Only the order of expiry hangs on it. */
    save_set(library, own, NULL);
    return TRUE;
}

static gboolean
create_files(RecallLibrary *library, const RecallSet *set, RecallTicket *ticket, GError **error)
{
    fd_auto int pages = file_open(library, set->id, "pages", O_RDWR | O_CREAT | O_EXCL);
    fd_auto int index = file_open(library, set->id, "index", O_RDWR | O_CREAT | O_EXCL);

    if (pages < 0 || index < 0 || flock(pages, LOCK_EX | LOCK_NB) != 0) {
        g_set_error(error, GODWIT_ERROR,
                    errno == ENOSPC ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                    "Recall can't make files of set %s in %s: %s. Nothing of this session is kept",
                    set->id, library->path, g_strerror(errno));
        return FALSE;
    }
    ticket->pages_fd = fd_steal(&pages);
    ticket->index_fd = fd_steal(&index);
    return TRUE;
}

static RecallSet *
begin_set(RecallLibrary *library, const RecallWish *wish, gint64 now_ms)
{
    RecallSet *set = set_new(wish->id);

    set->vm = g_strdup(wish->vm);
    set->group = g_strdup(wish->group);
    set->peer = g_strdup(wish->peer);
    set->open = TRUE;
    set->created_ms = set->used_ms = now_ms;
    hold(set, set->id, set->vm);
    for (guint i = 0; i < wish->n_reads; i++) {
        for (guint k = 0; k < wish->reads[i]->segments->len; k++) {
            const RecallHeld *held = wish->reads[i]->segments->pdata[k];

            hold(set, held->id, held->vm);
        }
    }
    return set;
}

gboolean
recall_library_create(RecallLibrary *library, const RecallWish *wish, gint64 now_ms,
                      RecallTicket *ticket, GError **error)
{
    guint64 wanted = MAX(MIN(wish->memory_bytes / 2, library->limits.max_bytes), 64 * MIB);
    RecallSet *set;
    gint64 left;

    if (!is_id(wish->id) || find_set(library, wish->id) != NULL) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "Recall can't begin set %s: there is one, or it isn't a UUID. Nothing of this "
                    "session is kept",
                    wish->id);
        return FALSE;
    }
    remove_old(library, now_ms, wish);
    /* Few guests' memory is less compressible than that: others' sets aren't given up for more. */
    make_room(library, (gint64)(wanted / 4), wish);
    left = room(library);
    if (left < (gint64)RECALL_QUOTA_MIN) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE,
                    "Recall has no room in %s: %" G_GINT64_FORMAT " MiB left by recall.max_bytes "
                    "and the file system's reserve. Raise recall.max_bytes or free space",
                    library->path, MAX(left, 0) / (gint64)MIB);
        return FALSE;
    }
    set = begin_set(library, wish, now_ms);
    set->bytes = ticket->max_bytes = MIN(wanted, (guint64)left);
    g_ptr_array_add(library->sets, set);
    g_ptr_array_sort(library->sets, by_created);
    if (save_set(library, set, error)) {
        if (create_files(library, set, ticket, error))
            return TRUE;
    }
    remove_set(library, set);
    return FALSE;
}

/* An open set becomes one with these segments. */
static void
settle(RecallSet *set, const RecallHeader *header)
{
    g_autoptr(GPtrArray) held_before = g_steal_pointer(&set->segments);
    char id[37];

    set->segments = g_ptr_array_new_with_free_func(held_free);
    for (guint i = 0; i < header->n_segments; i++) {
        if (header->segments[i].live == 0)
            continue;
        flyway_uuid_format(header->segments[i].id, id);
        for (guint k = 0; k < held_before->len; k++) {
            const RecallHeld *held = held_before->pdata[k];

            /* A worker can't name others than it was given. */
            if (strcmp(held->id, id) == 0)
                hold(set, id, held->vm);
        }
    }
    set->open = FALSE;
    set->pages = header->pages;
}

gboolean
recall_library_commit(RecallLibrary *library, const char *id, gint64 now_ms, GError **error)
{
    RecallSet *set = find_set(library, id);
    fd_auto int fd = -1;
    RecallHeader header;

    if (set == NULL || !set->open) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "There is no recall set %s being made: it was cleared or ended", id);
        return FALSE;
    }
    fd = file_open(library, id, "index", O_RDONLY);
    if (!read_header(library, id, fd, &header, error)) {
        remove_set(library, set);
        return FALSE;
    }
    settle(set, &header);
    set->bytes = file_bytes(library, id, "index") + file_bytes(library, id, "pages");
    set->used_ms = now_ms;
    if (!save_set(library, set, error)) {
        remove_set(library, set);
        return FALSE;
    }
    for (guint i = library->sets->len; i-- > 0;) {
        const RecallSet *older = library->sets->pdata[i];

        if (!older->open && rank_in_vm(library, older) >= KEPT_PER_VM)
            g_ptr_array_remove_index(library->sets, i);
    }
    sweep(library);
    recall_library_expire(library, now_ms);
    return TRUE;
}

void
recall_library_abandon(RecallLibrary *library, const char *id)
{
    RecallSet *set = find_set(library, id);

    if (set != NULL && set->open)
        remove_set(library, set);
}

void
recall_library_note(RecallLibrary *library, guint64 asked, guint64 found)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    library->asked += asked;
    library->found += found;
    g_key_file_set_uint64(file, "pages", "asked", library->asked);
    g_key_file_set_uint64(file, "pages", "found", library->found);
    save_key_file(library, "statistics", file, NULL);
}

void
recall_library_statistics(RecallLibrary *library, RecallStatistics *statistics)
{
    guint64 promised;

    *statistics = (RecallStatistics){ .max_bytes = library->limits.max_bytes,
                                      .asked = library->asked,
                                      .found = library->found };
    count_bytes(library, &statistics->bytes, &promised);
    for (guint i = 0; i < library->sets->len; i++) {
        const RecallSet *set = library->sets->pdata[i];

        if (set->open)
            continue;
        statistics->sets++;
        if (statistics->oldest_ms == 0)
            statistics->oldest_ms = set->created_ms;
    }
}
