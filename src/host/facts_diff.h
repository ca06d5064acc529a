/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * What was read anew of a host. Parts that were not read are NULL. Pure, together with facts_apply:
 * no I/O, no clock.
 */
typedef struct {
    Host *host;
    GPtrArray *networks;   /* Network */
    GPtrArray *datastores; /* Datastore */
    GPtrArray *vms;        /* Vm: these were read and are there */
    GPtrArray *gone;       /* char *: UUIDs that were asked for and are not there */
    gboolean all_vms;      /* vms is complete: whatever else was known is gone */
} FactsUpdate;

FactsUpdate *facts_update_new(void);
void facts_update_free(FactsUpdate *update);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FactsUpdate, facts_update_free)

typedef void (*FactsEmit)(const char *event, JsonNode *data, gpointer user_data);

/** Brings known up to date and emits an event for each part that differs: host, vm, vm-removed,
 * networks, datastores. The host's clock and uptime always differ and don't count. The update's
 * parts are moved out of it. TRUE: the number of running VMs changed. */
gboolean facts_apply(Facts *known, FactsUpdate *update, FactsEmit emit, gpointer user_data);

/** The VM in the facts, or NULL. */
Vm *facts_find_vm(const Facts *facts, const char *uuid);
gint64 facts_running_vms(const Facts *facts);
/** Does anything but clock and uptime differ? */
gboolean facts_host_differs(const Host *a, const Host *b);
