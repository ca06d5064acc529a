/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "manager/manager.h"

/** The operations of schema/openapi.yaml; service of all: Manager. */
extern const HttpRoute api_routes[];

/* ---- helpers of the handlers -------------------------------------------------------- */

/** A parameter of path or query, or NULL. */
const char *api_param(const HttpCall *call, const char *name);
/** limit, or its default. */
guint api_limit(const HttpCall *call);
/** A string of the body, or NULL; the schema has checked the kind. */
const char *api_body_string(const HttpCall *call, const char *name);
gint64 api_body_int(const HttpCall *call, const char *name, gint64 fallback);

/** {member: [records]}; list (transfer container) of records of that type. */
JsonNode *api_list(const char *member, const RecordType *type, GPtrArray *list);
/** An object of strings: name, value, …, NULL. */
JsonNode *api_strings(const char *const *pairs);
#define API_STRINGS(...) api_strings((const char *const[]){ __VA_ARGS__, NULL })
void api_add_int(JsonNode *object, const char *name, gint64 value);

/* ---- handlers, by file -------------------------------------------------------------- */

typedef JsonNode *ApiRun(HttpCall *call, gpointer service, GError **error);

/* api_manager.c */
ApiRun api_get_health, api_get_version, api_get_ca;
ApiRun api_list_tokens, api_create_token, api_delete_token;
/* api_hosts.c */
ApiRun api_join_host, api_list_hosts, api_create_host_token, api_get_host, api_remove_host;
/* api_recall.c */
ApiRun api_clear_recall;
/* api_inventory.c */
ApiRun api_list_vms, api_get_vm, api_get_vm_xml, api_list_networks, api_list_datastores;
/* api_tasks.c */
ApiRun api_create_migration, api_list_migrations, api_get_migration;
ApiRun api_list_tasks, api_get_task, api_cancel_task;
/* api_events.c */
ApiRun api_list_alarms, api_acknowledge_alarm;
gboolean api_stream_events(HttpCall *call, HttpStream *stream, gpointer service, GError **error);
