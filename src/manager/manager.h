/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/config.h"
#include "manager/alarms.h"
#include "manager/datadir.h"
#include "manager/errand.h"
#include "manager/events.h"
#include "manager/host_link.h"
#include "manager/inventory.h"
#include "manager/taskbook.h"
#include "manager/tokens.h"
#include "net/http_server.h"

/**
 * The state of godwit-manager: what hangs together and in which order it comes and goes. Everything
 * belongs to the main context; handlers of waiting requests reach it through the desk (errand.h).
 */
typedef struct {
    /* read-only after start */
    const Config *config; /* not owned */
    DataDir *dir;
    char *uuid;    /* the cluster's, and so the manager's */
    char *cluster; /* its name */
    GStrv names;   /* of this machine, as in the certificate */
    Identity *identity;
    Schema *schema;
    ErrandDesk *desk;
    char *recall_key; /* 64 hex digits, secret; NULL: none (cluster_key.h) */
    /* main context */
    Ledger *ledger;
    TaskBook *tasks;
    AlarmBook *alarms;
    Tokens *tokens;
    EventHub *events;
    Inventory *inventory;
    GHashTable *links;  /* host UUID → owned HostLink */
    GHashTable *asking; /* ids of tasks whose start is being asked of their host now */
    HttpServer *server;
    guint under_way; /* lines, and calls to hosts, that will still call us back */
} Manager;

/** Opens the data folder, the store and the port, and begins to connect to the hosts. With the
 * first start *first_token gets the first admin token (transfer full), else NULL. config must
 * outlive it. */
Manager *manager_new(const Config *config, char **first_token, GError **error);
/** Stops answering and lets go; migrations go on, by their hosts. */
void manager_free(Manager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manager, manager_free)

/** Another admin token, made in the data folder of a manager that doesn't run. (transfer full) */
char *manager_make_token(const Config *config, const char *name, GError **error);

/** "https://10.77.0.2:8443", as hosts would reach it. (transfer full) */
char *manager_url(const Manager *manager);

/** The line to a host while facts have come over it, else NULL. */
HostLink *manager_line(const Manager *manager, const char *host_uuid);
/** Opens a line to a member, instead of one to an old address; one that leads there already stays.
 */
void manager_connect(Manager *manager, const Host *host);
void manager_disconnect(Manager *manager, const char *host_uuid);
/** Stores and tells an alarm (transfer full), if it is news. */
void manager_raise(Manager *manager, Alarm *alarm);
