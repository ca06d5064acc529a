/* SPDX-License-Identifier: Apache-2.0 */
#include "motion_fake.h"

#include <unistd.h>

#include "base/error.h"

struct Motion {
    int unused;
};

MotionFake motion_fake;

void
motion_fake_reset(void)
{
    g_free(motion_fake.vm);
    g_free(motion_fake.vm_migration);
    migration_free(motion_fake.migration);
    g_free(motion_fake.peer);
    g_free(motion_fake.word);
    motion_fake = (MotionFake){ 0 };
}

Motion *
motion_new(const MotionConfig *config, GError **error)
{
    motion_fake.config = *config;
    motion_fake.now = g_new0(Motion, 1);
    return motion_fake.now;
}

void
motion_free(Motion *motion)
{
    motion_fake.now = NULL;
    g_free(motion);
}

static Migration *
known(const char *id, GError **error)
{
    if (motion_fake.migration && g_strcmp0(motion_fake.migration->id, id) == 0)
        return record_copy(&migration_type, motion_fake.migration);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "no migration %s", id);
    return NULL;
}

Migration *
motion_start(Motion *motion, const MigrationRequest *request, GError **error)
{
    motion_fake.started++;
    migration_free(motion_fake.migration);
    motion_fake.migration = record_new(&migration_type);
    motion_fake.migration->id = g_strdup(request->id);
    motion_fake.migration->vm_uuid = g_strdup(request->vm_uuid);
    motion_fake.migration->to_uuid = g_strdup(request->to->uuid);
    return record_copy(&migration_type, motion_fake.migration);
}

gboolean
motion_cancel(Motion *motion, const char *id, GError **error)
{
    g_autoptr(Migration) migration = known(id, error);
    motion_fake.cancelled += migration != NULL;
    return migration != NULL;
}

GPtrArray *
motion_list(Motion *motion)
{
    GPtrArray *list = record_list_new(&migration_type);
    if (motion_fake.migration)
        g_ptr_array_add(list, record_copy(&migration_type, motion_fake.migration));
    return list;
}

Migration *
motion_get(Motion *motion, const char *id, GError **error)
{
    return known(id, error);
}

Reservation *
motion_reserve(Motion *motion, const ReservationRequest *request, const char *peer_uuid,
               GError **error)
{
    g_free(motion_fake.peer);
    motion_fake.peer = g_strdup(peer_uuid);
    Reservation *reservation = record_new(&reservation_type);
    reservation->id = g_strdup(request->id);
    reservation->ticket = g_strnfill(64, 'a');
    return reservation;
}

Incoming *
motion_incoming(Motion *motion, const char *id, const char *peer_uuid, GError **error)
{
    g_free(motion_fake.peer);
    motion_fake.peer = g_strdup(peer_uuid);
    Incoming *incoming = record_new(&incoming_type);
    incoming->id = g_strdup(id);
    return incoming;
}

Incoming *
motion_settle(Motion *motion, const char *id, const char *peer_uuid, const char *source,
              GError **error)
{
    g_free(motion_fake.word);
    motion_fake.word = g_strdup(source);
    return motion_incoming(motion, id, peer_uuid, error);
}

void
motion_take_connection(Motion *motion, int fd)
{
    motion_fake.connections++;
    close(fd);
}

void
motion_hv_event(Motion *motion, const HvEvent *event)
{
    motion_fake.events++;
}

gint64
motion_reserved_bytes(Motion *motion)
{
    return motion_fake.reserved_bytes;
}

char *
motion_of_vm(Motion *motion, const char *vm_uuid)
{
    return g_strcmp0(motion_fake.vm, vm_uuid) == 0 ? g_strdup(motion_fake.vm_migration) : NULL;
}
