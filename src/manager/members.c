/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A host joins in one step of the main loop, so that no two do it at once: everything that can
 * refuse is asked first, the certificate is signed, then the token is marked as used and the member
 * stored; only then does the certificate go out. A crash between the last two costs a token, never
 * lets one be used twice.
 *
 * A UUID that is known joins again (reinstalled, new address). Not so while it is connected under
 * another address: then there are two machines with one UUID, as cloned ones have, and each would
 * act for the other.
 */
#include "manager/members.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "manager/migrations.h"

#define PREFIX "hosts/"
#define CERTIFICATE_DAYS 3650

/** Only what is the manager's word is stored. */
static gboolean
store_member(Manager *manager, const Host *member, GError **error)
{
    g_autofree char *key = g_strconcat(PREFIX, member->uuid, NULL);
    g_autofree char *value = record_to_string(&host_type, member);

    return ledger_put(manager->ledger, key, value, error);
}

static gboolean
take_member(Manager *manager, const StoreEntry *entry, GError **error)
{
    g_autoptr(Host) member = record_from_string(&host_type, entry->value, -1, error);

    if (member == NULL || member->uuid == NULL || member->name == NULL ||
        member->control_address == NULL) {
        if (member != NULL)
            g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "members are missing");
        g_prefix_error(error, "the stored %s: ", entry->key);
        return FALSE;
    }
    inventory_add_host(manager->inventory, member);
    manager_connect(manager, member);
    return TRUE;
}

gboolean
members_load(Manager *manager, GError **error)
{
    g_autoptr(GPtrArray) entries = ledger_list(manager->ledger, PREFIX, error);

    for (guint i = 0; entries != NULL && i < entries->len; i++)
        if (!take_member(manager, entries->pdata[i], error))
            return FALSE;
    return entries != NULL;
}

static gboolean
is_same_address(const Host *host, const JoinRequest *request)
{
    return strcmp(host->control_address, request->control_address) == 0 &&
           host->control_port == request->control_port;
}

/** Would the new member be confused with another? */
static gboolean
check_unique(const Manager *manager, const JoinRequest *request, const char *uuid, GError **error)
{
    g_autoptr(GPtrArray) hosts = inventory_hosts(manager->inventory);

    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = hosts->pdata[i];
        gboolean same = strcmp(host->uuid, uuid) == 0;

        if (same && host->state == HOST_CONNECTED && !is_same_address(host, request))
            g_set_error(
                error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "host %s at %s has the same UUID %s and is connected: two machines must not "
                "share one (cloned machines do: set host_uuid in /etc/libvirt/libvirtd.conf); "
                "if it is the same machine with a new address, godwit host remove %s first",
                host->name, host->control_address, uuid, host->name);
        else if (!same && strcmp(host->name, request->name) == 0)
            g_set_error(
                error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "another host (UUID %s, at %s) is named %s: give this one another host name, "
                "or godwit host remove %s if that one is gone",
                host->uuid, host->control_address, host->name, host->name);
        else if (!same && is_same_address(host, request))
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "host %s (UUID %s) has the control address %s:%" G_GINT64_FORMAT
                        ": give this one its own (in [control] of godwitd.conf), or godwit host "
                        "remove %s if that one is gone",
                        host->name, host->uuid, host->control_address, host->control_port,
                        host->name);
        else
            continue;
        return FALSE;
    }
    return TRUE;
}

static char *
sign(const Manager *manager, const JoinRequest *request, const char *uuid, GError **error)
{
    IdentityName name = { .role = IDENTITY_HOST };
    char *cert;

    g_strlcpy(name.uuid, uuid, sizeof(name.uuid));
    cert = ca_sign(manager->dir->ca, request->csr, &name, NULL, CERTIFICATE_DAYS, error);
    if (cert == NULL)
        g_prefix_error(error, "csr: ");
    return cert;
}

char *
members_join(Manager *manager, const JoinRequest *request, GError **error)
{
    gint64 now_ms = clock_wall_ms();
    g_autofree char *uuid = g_ascii_strdown(request->uuid, -1);
    g_autofree char *cert = NULL;
    Host member = { .uuid = uuid,
                    .name = (char *)request->name,
                    .control_address = (char *)request->control_address,
                    .control_port = request->control_port };

    if (!tokens_check_join(manager->tokens, request->token, now_ms, error) ||
        !check_unique(manager, request, uuid, error))
        return NULL;
    cert = sign(manager, request, uuid, error);
    if (cert == NULL ||
        !tokens_use_join(manager->tokens, request->token, request->name, now_ms, error) ||
        !store_member(manager, &member, error))
        return NULL;
    g_message("host %s (%s) at %s:%" G_GINT64_FORMAT " has joined", member.name, uuid,
              member.control_address, member.control_port);
    inventory_add_host(manager->inventory, &member);
    manager_connect(manager, &member);
    return g_steal_pointer(&cert);
}

/** What speaks against taking it out now. */
static gboolean
may_remove(const Manager *manager, const Host *host, gboolean force, GError **error)
{
    g_autoptr(GPtrArray) tasks = taskbook_of_host(manager->tasks, host->uuid, TRUE);
    guint running = inventory_running_vms(manager->inventory, host->uuid);
    gboolean is_up = manager_line(manager, host->uuid) != NULL;

    if (tasks->len > 0 && (is_up || !force)) {
        const Task *task = tasks->pdata[0];

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "host %s takes part in %u migration%s (%s, task %s): wait for it, or cancel it "
                    "first%s",
                    host->name, tasks->len, tasks->len > 1 ? "s" : "", task->summary, task->id,
                    is_up ? "" : "; with force they are given up");
        return FALSE;
    }
    if (running > 0 && !force) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "%u VM%s on host %s: migrate them first, or remove it with force; they go on "
                    "running there either way",
                    running, running > 1 ? "s run" : " runs", host->name);
        return FALSE;
    }
    return TRUE;
}

gboolean
members_remove(Manager *manager, const Host *host, gboolean force, GError **error)
{
    g_autofree char *uuid = g_strdup(host->uuid);
    g_autofree char *name = g_strdup(host->name);
    g_autofree char *key = g_strconcat(PREFIX, uuid, NULL);

    if (!may_remove(manager, host, force, error) || !ledger_delete(manager->ledger, key, error))
        return FALSE;
    g_message("host %s (%s) is removed", name, uuid);
    manager_disconnect(manager, uuid);
    migrations_give_up(manager, uuid, name);
    inventory_remove_host(manager->inventory, uuid);
    return TRUE;
}
