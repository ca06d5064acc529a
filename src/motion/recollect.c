/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Both hosts make their orders of the same record of the VM (the source read it, the reservation
 * carried it), so they name the same group and choose among the same sets; only the peer differs.
 * Nothing is told between the agents: the workers agree on sets by id and digest (docs/recall.md).
 *
 * A set of a migration that failed isn't kept, even if it was sealed: of one VM and host the newest
 * two stay, and two attempts that were cancelled early would push out the set that holds all of it.
 *
 * When godwitd is restarted, the library leaves open sets alone as long as a worker has their files
 * open; whoever goes on with the migration ends them here.
 */
#include "motion/recollect.h"

#define PAGE_BYTES 4096
#define TIMES_THE_VM 4

guint32
recollect_max_pages(gint64 memory_bytes)
{
    gint64 pages = MAX(memory_bytes, 0) / PAGE_BYTES;

    if (pages >= RECALL_PAGES_MAX / TIMES_THE_VM)
        return RECALL_PAGES_MAX;
    return MAX((guint32)pages * TIMES_THE_VM, RECOLLECT_PAGES_MIN);
}

RecallLoan *
recollect_begin(RecallService *service, const char *migration, const Vm *vm, const char *peer_uuid)
{
    g_autofree char *id = g_ascii_strdown(migration, -1);
    g_autofree char *vm_uuid = g_ascii_strdown(vm->uuid, -1);
    g_autofree char *peer = g_ascii_strdown(peer_uuid, -1);
    const RecallOrder order = { .migration = id,
                                .vm = vm_uuid,
                                .peer = peer,
                                .group = vm->recall_group,
                                .memory_bytes = (guint64)MAX(vm->memory_max_bytes, 0),
                                .max_pages = recollect_max_pages(vm->memory_max_bytes) };
    g_autoptr(GError) error = NULL;
    RecallLoan *loan = service ? recall_service_begin(service, &order, &error) : NULL;

    if (loan)
        g_debug("migration %s: %u sets may be recalled; %s", id, loan->n_sets,
                loan->unkept ? loan->unkept->message : "a new one is made");
    else if (error)
        g_debug("migration %s: %s", id, error->message);
    return loan;
}

void
recollect_end(RecallService *service, const char *migration, gboolean moved,
              const Recollection *told)
{
    g_autofree char *id = g_ascii_strdown(migration, -1);
    g_autoptr(GError) error = NULL;

    if (!service)
        return;
    if (told->asked > 0)
        recall_service_note(service, told->asked, told->found);
    if (!moved || !told->sealed)
        recall_service_abandon(service, id);
    else if (!recall_service_commit(service, id, &error))
        g_message("migration %s: its pages are not kept: %s", id, error->message);
}
