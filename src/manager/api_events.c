/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api.h"

gboolean
api_stream_events(HttpCall *call, HttpStream *stream, gpointer service, GError **error)
{
    const Manager *manager = service;
    const char *id = api_param(call, "task");
    const Task *task = id != NULL ? taskbook_get(manager->tasks, id, error) : NULL;

    if (id != NULL && task == NULL)
        return FALSE;
    eventhub_add(manager->events, stream, task);
    return TRUE;
}

JsonNode *
api_list_alarms(HttpCall *call, gpointer service, GError **error)
{
    return api_list("alarms", &alarm_record_type, alarmbook_list(((Manager *)service)->alarms));
}

JsonNode *
api_acknowledge_alarm(HttpCall *call, gpointer service, GError **error)
{
    const Manager *manager = service;
    g_autoptr(Alarm) alarm = alarmbook_acknowledge(manager->alarms, api_param(call, "id"), error);

    if (alarm == NULL)
        return NULL;
    eventhub_send_removed(manager->events, "alarm-acknowledged", "id", alarm->id);
    return record_to_json(&alarm_record_type, alarm);
}
