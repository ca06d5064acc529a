/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The registry of a host's migrations: Sources (VMs that leave) and Destinations (VMs that come),
 * each with a thread of its own (runner.c), and the reports of the ended ones, the newest
 * keep_reports of them, on disk as ID.report.json.
 *
 * Files in state_dir/migrations: ID.source.journal and ID.destination.journal exist exactly while
 * that side isn't ended; at start every journal found is handed to source_recover or
 * destination_recover.
 */
#include "motion/motion_private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

#define ENDED_DESTINATIONS_KEPT 64
#define SOURCE_SUFFIX ".source.journal"
#define DESTINATION_SUFFIX ".destination.journal"
#define REPORT_SUFFIX ".report.json"

/* ---- folders and files ---- */

char *
motion_folder(Motion *motion, const char *id)
{
    return g_build_filename(motion->config.run_dir, "migration", id, NULL);
}

char *
motion_stream_socket(Motion *motion, const char *id)
{
    return g_build_filename(motion->config.run_dir, "migration", id, "qemu", "stream.sock", NULL);
}

char *
motion_disks_socket(Motion *motion, const char *id)
{
    return g_build_filename(motion->config.run_dir, "migration", id, "qemu", "disks.sock", NULL);
}

char *
motion_journal_path(Motion *motion, const char *id, const char *side)
{
    return g_strdup_printf("%s/%s.%s.journal", motion->folder, id, side);
}

static gboolean
set_folder_error(GError **error, const char *path)
{
    int code = errno;

    g_set_error(error, GODWIT_ERROR, code == ENOSPC ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                "cannot make folder %s: %s", path, g_strerror(code));
    return FALSE;
}

gboolean
motion_make_folder(Motion *motion, const char *id, const char *owner, GError **error)
{
    g_autofree char *folder = motion_folder(motion, id);
    g_autofree char *qemu = g_build_filename(folder, "qemu", NULL);
    char *rest = NULL;
    guint64 uid = owner ? g_ascii_strtoull(owner, &rest, 10) : 0;
    guint64 gid = rest && *rest == ':' ? g_ascii_strtoull(rest + 1, NULL, 10) : 0;

    if (g_mkdir_with_parents(folder, 0711) < 0 || chmod(folder, 0711) < 0)
        return set_folder_error(error, folder);
    if (g_mkdir_with_parents(qemu, 0700) < 0 || (owner && chown(qemu, (uid_t)uid, (gid_t)gid) < 0))
        return set_folder_error(error, qemu);
    return TRUE;
}

void
motion_remove_folder(Motion *motion, const char *id)
{
    static const char *const inside[] = {
        "qemu/stream.sock", "qemu/disks.sock", "qemu",
        "rpc.sock",         "source.control",  "destination.control"
    };
    g_autofree char *folder = motion_folder(motion, id);

    for (gsize i = 0; i < G_N_ELEMENTS(inside); i++) {
        g_autofree char *path = g_build_filename(folder, inside[i], NULL);

        g_remove(path);
    }
    g_remove(folder);
}

gboolean
motion_save_report(Motion *motion, const Migration *report, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/%s%s", motion->folder, report->id, REPORT_SUFFIX);
    g_autofree char *text = record_to_string(&migration_type, report);

    return g_file_set_contents_full(
        path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

static void
remove_report_file(Motion *motion, const char *id)
{
    g_autofree char *path = g_strdup_printf("%s/%s%s", motion->folder, id, REPORT_SUFFIX);

    g_remove(path);
}

/* ---- notifications: always in the main context ---- */

typedef struct {
    Motion *motion;
    Migration *migration;
    char *vm_uuid;
    Alarm *alarm;
    char *ended; /* id of a source or destination */
    gboolean is_destination;
} Note;

static void
note_free(gpointer data)
{
    Note *note = data;

    migration_free(note->migration);
    alarm_record_free(note->alarm);
    g_free(note->vm_uuid);
    g_free(note->ended);
    g_free(note);
}

static void forget_source(Motion *motion, const char *id);
static void release_destination(Motion *motion, const char *id);

static gboolean
deliver(gpointer data)
{
    Note *note = data;
    const MotionNotify *notify = &note->motion->config.notify;
    gpointer user = note->motion->config.data;

    if (note->migration && notify->migration_changed)
        notify->migration_changed(note->migration, user);
    if (note->vm_uuid && notify->vm_changed)
        notify->vm_changed(note->vm_uuid, user);
    if (note->alarm && notify->alarm)
        notify->alarm(note->alarm, user);
    if (note->ended && note->is_destination)
        release_destination(note->motion, note->ended);
    else if (note->ended)
        forget_source(note->motion, note->ended);
    return G_SOURCE_REMOVE;
}

static void
post(Motion *motion, Note note)
{
    Note *copy = g_memdup2(&note, sizeof note);
    g_autoptr(GSource) source = g_idle_source_new();

    copy->motion = motion;
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, deliver, copy, note_free);
    g_source_attach(source, motion->context);
}

void
motion_publish(Motion *motion, const Migration *migration)
{
    post(motion, (Note){ .migration = record_copy(&migration_type, migration) });
}

void
motion_publish_vm(Motion *motion, const char *vm_uuid)
{
    post(motion, (Note){ .vm_uuid = g_strdup(vm_uuid) });
}

void
motion_alarm(Motion *motion, const char *id, const char *vm, char *message)
{
    Alarm *alarm = record_new(&alarm_record_type);

    g_warning("migration %s: %s", id, message);
    alarm->id = g_uuid_string_random();
    alarm->host = g_strdup(motion->config.host_name);
    alarm->vm = g_strdup(vm);
    alarm->migration = g_strdup(id);
    alarm->message = message;
    alarm->raised_ms = clock_wall_ms();
    post(motion, (Note){ .alarm = alarm });
}

void
motion_source_ended(Motion *motion, const char *id)
{
    post(motion, (Note){ .ended = g_strdup(id) });
}

void
motion_destination_ended(Motion *motion, const char *id)
{
    post(motion, (Note){ .ended = g_strdup(id), .is_destination = TRUE });
}

/* ---- reports ---- */

static int
newest_first(gconstpointer a, gconstpointer b)
{
    const Migration *first = *(const Migration *const *)a, *second = *(const Migration *const *)b;

    return second->started_ms > first->started_ms   ? 1
           : second->started_ms < first->started_ms ? -1
                                                    : 0;
}

static GPtrArray *
sorted_reports(Motion *motion)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer report;

    g_hash_table_iter_init(&iter, motion->reports);
    while (g_hash_table_iter_next(&iter, NULL, &report))
        g_ptr_array_add(list, report);
    g_ptr_array_sort(list, newest_first);
    return list;
}

/** Under lock. */
static void
keep_report(Motion *motion, Migration *report)
{
    g_autoptr(GPtrArray) sorted = NULL;

    g_hash_table_replace(motion->reports, g_strdup(report->id), report);
    sorted = sorted_reports(motion);
    for (guint i = motion->config.keep_reports; i < sorted->len; i++) {
        const Migration *old = sorted->pdata[i];

        remove_report_file(motion, old->id);
        g_hash_table_remove(motion->reports, old->id);
    }
}

static void
forget_source(Motion *motion, const char *id)
{
    Source *source;

    g_mutex_lock(&motion->lock);
    source = g_hash_table_lookup(motion->sources, id);
    if (source) {
        g_hash_table_steal(motion->sources, id);
        keep_report(motion, source_report(source));
    }
    g_mutex_unlock(&motion->lock);
    if (source)
        source_free(source);
}

/** Its thread and descriptors go; what it has to tell stays for a while. */
static void
release_destination(Motion *motion, const char *id)
{
    Destination *destination;

    g_mutex_lock(&motion->lock);
    destination = g_hash_table_lookup(motion->destinations, id);
    if (destination)
        destination_ref(destination);
    g_mutex_unlock(&motion->lock);
    if (!destination)
        return;
    destination_release(destination);
    destination_unref(destination);
}

/* ---- start ---- */

static void
load_report(Motion *motion, const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    Migration *report;

    if (!g_file_get_contents(path, &text, NULL, &error) ||
        !(report = record_from_string(&migration_type, text, -1, &error))) {
        g_message("report %s can't be read and is left out: %s", path, error->message);
        return;
    }
    keep_report(motion, report);
}

static void
recover(Motion *motion, const char *name, const char *path)
{
    gboolean is_source = g_str_has_suffix(name, SOURCE_SUFFIX);
    g_autofree char *id =
        g_strndup(name, strlen(name) - strlen(is_source ? SOURCE_SUFFIX : DESTINATION_SUFFIX));
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) lines = journal_read(path, &error);
    gpointer side = NULL;

    if (lines && lines->len == 0) {
        g_remove(path); /* cut off before its first line was whole: nothing had begun */
        return;
    }
    if (lines && is_source)
        side = source_recover(motion, id, lines, &error);
    else if (lines)
        side = destination_recover(motion, id, lines, &error);
    if (side)
        g_hash_table_insert(is_source ? motion->sources : motion->destinations, g_strdup(id), side);
    else
        motion_alarm(motion, id, NULL,
                     g_strdup_printf("the journal %s can't be gone on with: %s; look where its VM "
                                     "runs (virsh list --all on both hosts), "
                                     "then remove the file",
                                     path, error->message));
}

static gboolean
read_folder(Motion *motion, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(motion->folder, 0, error);
    const char *name;

    if (!dir)
        return FALSE;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(motion->folder, name, NULL);

        if (g_str_has_suffix(name, REPORT_SUFFIX))
            load_report(motion, path);
        else if (g_str_has_suffix(name, SOURCE_SUFFIX) ||
                 g_str_has_suffix(name, DESTINATION_SUFFIX))
            recover(motion, name, path);
    }
    return TRUE;
}

static void
copy_config(Motion *motion, const MotionConfig *config)
{
    MotionConfig *mine = &motion->config;

    *mine = *config;
    mine->host_name = g_strdup(config->host_name);
    mine->state_dir = g_strdup(config->state_dir);
    mine->run_dir = g_strdup(config->run_dir);
    mine->flyway_program = g_strdup(config->flyway_program);
    mine->flyway_user = g_strdup(config->flyway_user);
    mine->control_address = g_strdup(config->control_address);
    mine->migration_addresses =
        (const char *const *)g_strdupv((char **)config->migration_addresses);
}

static void
clear_config(MotionConfig *config)
{
    g_free((char *)config->host_name);
    g_free((char *)config->state_dir);
    g_free((char *)config->run_dir);
    g_free((char *)config->flyway_program);
    g_free((char *)config->flyway_user);
    g_free((char *)config->control_address);
    g_strfreev((char **)config->migration_addresses);
}

Motion *
motion_new(const MotionConfig *config, GError **error)
{
    g_autoptr(Motion) motion = g_new0(Motion, 1);

    copy_config(motion, config);
    motion->context = g_main_context_ref_thread_default();
    motion->folder = g_build_filename(config->state_dir, "migrations", NULL);
    g_mutex_init(&motion->lock);
    motion->sources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    motion->destinations = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    motion->reports = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                            (GDestroyNotify)(void (*)(void))migration_free);
    if (g_mkdir_with_parents(motion->folder, 0700) < 0) {
        set_folder_error(error, motion->folder);
        return NULL;
    }
    if (!read_folder(motion, error))
        return NULL;
    return g_steal_pointer(&motion);
}

static void
leave_all(Motion *motion)
{
    GHashTableIter iter;
    gpointer side;

    g_hash_table_iter_init(&iter, motion->sources);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        source_leave(side);
    g_hash_table_iter_init(&iter, motion->destinations);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        destination_leave(side);
    g_hash_table_iter_init(&iter, motion->sources);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        source_free(side);
    g_hash_table_iter_init(&iter, motion->destinations);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        destination_unref(side);
}

void
motion_free(Motion *motion)
{
    if (!motion)
        return;
    leave_all(motion);
    g_hash_table_unref(motion->sources);
    g_hash_table_unref(motion->destinations);
    g_hash_table_unref(motion->reports);
    g_mutex_clear(&motion->lock);
    g_main_context_unref(motion->context);
    g_free(motion->folder);
    clear_config(&motion->config);
    g_free(motion);
}

/* ---- source side ---- */

/** Under lock: a source of that VM, but the one with except_id. */
static Source *
source_of_vm(Motion *motion, const char *vm_uuid)
{
    GHashTableIter iter;
    gpointer source;

    g_hash_table_iter_init(&iter, motion->sources);
    while (g_hash_table_iter_next(&iter, NULL, &source)) {
        if (!source_is_ended(source) && g_ascii_strcasecmp(source_vm(source), vm_uuid) == 0)
            return source;
    }
    return NULL;
}

static Migration *
known(Motion *motion, const char *id)
{
    Source *source = g_hash_table_lookup(motion->sources, id);
    const Migration *report = g_hash_table_lookup(motion->reports, id);

    if (source)
        return source_report(source);
    return report ? record_copy(&migration_type, report) : NULL;
}

static gboolean
may_start(Motion *motion, const MigrationRequest *request, GError **error)
{
    Source *other = source_of_vm(motion, request->vm_uuid);

    if (other) {
        g_autoptr(Migration) running = source_report(other);

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "VM %s is being migrated to %s already (task %s); wait for it, or cancel it: "
                    "godwit task cancel %s",
                    running->vm ? running->vm : request->vm_uuid, running->to, running->id,
                    running->id);
        return FALSE;
    }
    if (g_hash_table_size(motion->sources) >= motion->config.max_outgoing) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "host %s has %u migrations leaving it, which is its limit "
                    "(migration.max_outgoing); try again when "
                    "one has ended: godwit task list",
                    motion->config.host_name, motion->config.max_outgoing);
        return FALSE;
    }
    return TRUE;
}

Migration *
motion_start(Motion *motion, const MigrationRequest *request, GError **error)
{
    Migration *report = NULL;
    Source *source = NULL;

    g_mutex_lock(&motion->lock);
    report = known(motion, request->id);
    if (!report && may_start(motion, request, error) &&
        (source = source_new(motion, request, error))) {
        g_hash_table_insert(motion->sources, g_strdup(request->id), source);
        report = source_report(source);
    }
    g_mutex_unlock(&motion->lock);
    if (source)
        motion_publish_vm(motion, request->vm_uuid);
    return report;
}

static void
set_unknown(Motion *motion, const char *id, GError **error)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "host %s knows no migration %s",
                motion->config.host_name, id);
}

gboolean
motion_cancel(Motion *motion, const char *id, GError **error)
{
    Source *source;
    gboolean known_report, ok = FALSE;

    g_mutex_lock(&motion->lock);
    source = g_hash_table_lookup(motion->sources, id);
    known_report = g_hash_table_contains(motion->reports, id);
    if (source)
        ok = source_cancel(source, error);
    else if (known_report)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT, "migration %s has ended already",
                    id);
    else
        set_unknown(motion, id, error);
    g_mutex_unlock(&motion->lock);
    return ok;
}

GPtrArray *
motion_list(Motion *motion)
{
    GPtrArray *list =
        g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))migration_free);
    g_autoptr(GPtrArray) ended = NULL;
    GHashTableIter iter;
    gpointer source;

    g_mutex_lock(&motion->lock);
    g_hash_table_iter_init(&iter, motion->sources);
    while (g_hash_table_iter_next(&iter, NULL, &source))
        g_ptr_array_add(list, source_report(source));
    ended = sorted_reports(motion);
    for (guint i = 0; i < ended->len; i++)
        g_ptr_array_add(list, record_copy(&migration_type, ended->pdata[i]));
    g_mutex_unlock(&motion->lock);
    return list;
}

Migration *
motion_get(Motion *motion, const char *id, GError **error)
{
    Migration *report;

    g_mutex_lock(&motion->lock);
    report = known(motion, id);
    g_mutex_unlock(&motion->lock);
    if (!report)
        set_unknown(motion, id, error);
    return report;
}

/* ---- destination side ---- */

/** Under lock: forgets the oldest ended ones beyond the bound. */
static void
prune_destinations(Motion *motion)
{
    guint ended = 0;
    GHashTableIter iter;
    gpointer side;

    g_hash_table_iter_init(&iter, motion->destinations);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        ended += destination_is_ended(side);
    g_hash_table_iter_init(&iter, motion->destinations);
    while (ended > ENDED_DESTINATIONS_KEPT && g_hash_table_iter_next(&iter, NULL, &side)) {
        if (!destination_is_ended(side))
            continue;
        g_hash_table_iter_remove(&iter);
        destination_unref(side);
        ended--;
    }
}

/** Under lock. */
static gboolean
may_reserve(Motion *motion, const ReservationRequest *request, GError **error)
{
    guint running = 0;
    GHashTableIter iter;
    gpointer side;

    if (g_hash_table_contains(motion->destinations, request->id)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "migration %s has a reservation on host %s already", request->id,
                    motion->config.host_name);
        return FALSE;
    }
    g_hash_table_iter_init(&iter, motion->destinations);
    while (g_hash_table_iter_next(&iter, NULL, &side)) {
        if (destination_is_ended(side))
            continue;
        running++;
        if (g_ascii_strcasecmp(destination_vm(side), request->vm->uuid) == 0) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "VM %s is on its way to host %s already, in another migration that has not "
                        "been settled; see "
                        "godwit task list and godwit alarm list",
                        request->vm->name, motion->config.host_name);
            return FALSE;
        }
    }
    if (running < motion->config.max_incoming)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "host %s has %u migrations coming in, which is its limit (migration.max_incoming); "
                "try again when one has ended",
                motion->config.host_name, running);
    return FALSE;
}

Reservation *
motion_reserve(Motion *motion, const ReservationRequest *request, const char *peer_uuid,
               GError **error)
{
    Destination *destination = NULL;
    Reservation *reservation;

    if (g_ascii_strcasecmp(request->from->uuid, peer_uuid) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "host %s asks for a reservation in the name of host %s", peer_uuid,
                    request->from->uuid);
        return NULL;
    }
    g_mutex_lock(&motion->lock);
    prune_destinations(motion);
    if (may_reserve(motion, request, error) &&
        (destination = destination_new(motion, request, error)))
        g_hash_table_insert(motion->destinations, g_strdup(request->id),
                            destination_ref(destination));
    g_mutex_unlock(&motion->lock);
    if (!destination)
        return NULL;
    motion_publish_vm(motion, request->vm->uuid);
    reservation = destination_wait_reserved(destination, error);
    destination_unref(destination);
    return reservation;
}

/** Under lock. */
static Destination *
destination_of(Motion *motion, const char *id, const char *peer_uuid, GError **error)
{
    Destination *destination = g_hash_table_lookup(motion->destinations, id);

    if (!destination) {
        set_unknown(motion, id, error);
        return NULL;
    }
    if (peer_uuid && g_ascii_strcasecmp(destination_peer(destination), peer_uuid) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_FORBIDDEN,
                    "migration %s is not one of host %s", id, peer_uuid);
        return NULL;
    }
    return destination;
}

Incoming *
motion_incoming(Motion *motion, const char *id, const char *peer_uuid, GError **error)
{
    Destination *destination;
    Incoming *incoming = NULL;

    g_mutex_lock(&motion->lock);
    destination = destination_of(motion, id, peer_uuid, error);
    if (destination)
        incoming = destination_tell(destination);
    g_mutex_unlock(&motion->lock);
    return incoming;
}

Incoming *
motion_settle(Motion *motion, const char *id, const char *peer_uuid, const char *source,
              GError **error)
{
    Destination *destination;
    Incoming *incoming;

    g_mutex_lock(&motion->lock);
    destination = destination_of(motion, id, peer_uuid, error);
    if (destination)
        destination_ref(destination); /* it may be pruned while we wait */
    g_mutex_unlock(&motion->lock);
    if (!destination)
        return NULL;
    incoming = destination_settle(destination, g_strcmp0(source, "gone") == 0);
    destination_unref(destination);
    return incoming;
}

void
motion_route_connection(Motion *motion, const char *id, int fd)
{
    Destination *destination;

    g_mutex_lock(&motion->lock);
    destination = g_hash_table_lookup(motion->destinations, id);
    if (destination && !destination_is_ended(destination)) {
        destination_give_connection(destination, fd);
    } else {
        g_debug("a connection for unknown migration %s is closed", id);
        close(fd);
    }
    g_mutex_unlock(&motion->lock);
}

/* ---- the rest ---- */

HttpClient *
motion_peer(Motion *motion, const Peer *peer, guint timeout_s, GError **error)
{
    gboolean v6 = strchr(peer->control_address, ':') != NULL;
    g_autofree char *url =
        g_strdup_printf("https://%s%s%s:%" G_GINT64_FORMAT, v6 ? "[" : "", peer->control_address,
                        v6 ? "]" : "", peer->control_port);
    HttpClientConfig config = { .base_url = url,
                                .ca_pem = motion->config.identity->ca,
                                .identity = motion->config.identity,
                                .expect = { .role = IDENTITY_HOST },
                                .timeout_s = timeout_s };

    g_strlcpy(config.expect.uuid, peer->uuid, sizeof config.expect.uuid);
    return http_client_new(&config, error);
}

void
motion_hv_event(Motion *motion, const HvEvent *event)
{
    Source *source;

    if (!event->uuid)
        return;
    g_mutex_lock(&motion->lock);
    source = source_of_vm(motion, event->uuid);
    if (source)
        source_hv_event(source, event);
    g_mutex_unlock(&motion->lock);
}

gint64
motion_reserved_bytes(Motion *motion)
{
    gint64 bytes = 0;
    GHashTableIter iter;
    gpointer side;

    g_mutex_lock(&motion->lock);
    g_hash_table_iter_init(&iter, motion->destinations);
    while (g_hash_table_iter_next(&iter, NULL, &side))
        bytes += destination_reserved_bytes(side);
    g_mutex_unlock(&motion->lock);
    return bytes;
}

char *
motion_of_vm(Motion *motion, const char *vm_uuid)
{
    Source *source;
    char *id = NULL;
    GHashTableIter iter;
    gpointer key, side;

    g_mutex_lock(&motion->lock);
    source = source_of_vm(motion, vm_uuid);
    if (source) {
        g_autoptr(Migration) report = source_report(source);

        id = g_strdup(report->id);
    }
    g_hash_table_iter_init(&iter, motion->destinations);
    while (!id && g_hash_table_iter_next(&iter, &key, &side)) {
        if (!destination_is_over(side) && g_ascii_strcasecmp(destination_vm(side), vm_uuid) == 0)
            id = g_strdup(key);
    }
    g_mutex_unlock(&motion->lock);
    return id;
}
