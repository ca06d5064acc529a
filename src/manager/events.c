/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/events.h"

#include <string.h>

typedef struct {
    HttpStream *stream;
    char *task; /* NULL: everything */
} Listener;

struct EventHub {
    GPtrArray *listeners; /* owned Listener */
};

static void
listener_free(Listener *listener)
{
    g_free(listener->task);
    g_free(listener);
}

EventHub *
eventhub_new(void)
{
    EventHub *hub = g_new0(EventHub, 1);

    hub->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)listener_free);
    return hub;
}

void
eventhub_free(EventHub *hub)
{
    if (hub == NULL)
        return;
    for (guint i = 0; i < hub->listeners->len; i++)
        http_stream_on_closed(((Listener *)hub->listeners->pdata[i])->stream, NULL, NULL);
    g_ptr_array_unref(hub->listeners);
    g_free(hub);
}

static void
on_closed(HttpStream *stream, gpointer data)
{
    EventHub *hub = data;

    for (guint i = 0; i < hub->listeners->len; i++) {
        if (((Listener *)hub->listeners->pdata[i])->stream == stream) {
            g_ptr_array_remove_index_fast(hub->listeners, i);
            return;
        }
    }
}

void
eventhub_add(EventHub *hub, HttpStream *stream, const Task *task)
{
    Listener *listener = g_new0(Listener, 1);

    listener->stream = stream;
    listener->task = task ? g_strdup(task->id) : NULL;
    g_ptr_array_add(hub->listeners, listener);
    http_stream_on_closed(stream, on_closed, hub);
    if (task != NULL) {
        g_autofree char *text = record_to_string(&task_type, task);

        http_stream_send(stream, "task", text);
    }
}

/** Sending may drop a slow client, which removes its listener: the list is walked from its end. */
static void
send_to_all(EventHub *hub, const char *event, const char *task, const char *text)
{
    for (guint i = hub->listeners->len; i-- > 0;) {
        const Listener *listener;

        if (i >= hub->listeners->len)
            continue;
        listener = hub->listeners->pdata[i];
        if (listener->task == NULL || g_strcmp0(listener->task, task) == 0)
            http_stream_send(listener->stream, event, text);
    }
}

void
eventhub_send(EventHub *hub, const char *event, const RecordType *type, gconstpointer record)
{
    g_autofree char *text = NULL;

    if (hub->listeners->len == 0)
        return;
    text = record_to_string(type, record);
    send_to_all(hub, event, NULL, text);
}

void
eventhub_send_removed(EventHub *hub, const char *event, const char *member, const char *id)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_node_take_object(node, json_object_new());
    json_object_set_string_member(json_node_get_object(node), member, id);
    text = json_text(node, FALSE);
    send_to_all(hub, event, NULL, text);
}

void
eventhub_send_task(EventHub *hub, const Task *task)
{
    g_autofree char *text = NULL;

    if (hub->listeners->len == 0)
        return;
    text = record_to_string(&task_type, task);
    send_to_all(hub, "task", task->id, text);
}
