/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/feed.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/when.h"
#include "model/model.h"

typedef struct {
    Cli *cli;
    GMainLoop *loop;
    gint64 left; /* events still to show; negative: no end */
    GError *error;
} Events;

static char *
host_text(const Host *host)
{
    return g_strdup_printf("%s %s%s%s", host->name, host_state_nicks[host->state],
                           host->state_reason ? ": " : "",
                           host->state_reason ? host->state_reason : "");
}

static char *
vm_text(const Vm *vm)
{
    return g_strdup_printf("%s %s on %s%s", vm->name, vm_state_nicks[vm->state],
                           vm->host_name ? vm->host_name : vm->host,
                           vm->migration ? ", moving" : "");
}

static char *
alarm_text(const Alarm *alarm)
{
    return g_strdup_printf("%s (acknowledge: godwit alarm ack %s)", alarm->message, alarm->id);
}

/* What an event says, in words; NULL where its data isn't understood. (transfer full) */
static char *
event_text(const char *event, JsonNode *data)
{
    if (strcmp(event, "host") == 0) {
        g_autoptr(Host) host = record_from_json(&host_type, data, NULL);

        return host ? host_text(host) : NULL;
    }
    if (strcmp(event, "vm") == 0) {
        g_autoptr(Vm) vm = record_from_json(&vm_type, data, NULL);

        return vm ? vm_text(vm) : NULL;
    }
    if (strcmp(event, "task") == 0) {
        g_autoptr(Task) task = record_from_json(&task_type, data, NULL);

        return task ? progress_line(task, 0) : NULL;
    }
    if (strcmp(event, "alarm") == 0) {
        g_autoptr(Alarm) alarm = record_from_json(&alarm_record_type, data, NULL);

        return alarm ? alarm_text(alarm) : NULL;
    }
    return NULL;
}

static void
show_text(Events *events, const char *event, JsonNode *data)
{
    g_autofree char *raw = json_text(data, FALSE), *words = event_text(event, data);
    g_autofree char *clock = when_clock(clock_wall_ms()), *kind = text_clean(event, FALSE);
    g_autofree char *clean = text_clean(words ? words : raw, FALSE);
    g_autofree char *line = g_strdup_printf("%s %-10s %s\n", clock, kind, clean);

    cli_print(events->cli, line);
}

static void
show_json(const char *event, JsonNode *data)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    g_autofree char *line = NULL;

    json_object_set_string_member(object, "event", event);
    json_object_set_member(object, "data", json_node_copy(data));
    json_node_take_object(node, object);
    line = json_text(node, FALSE);
    puts(line);
}

static void
events_event(const char *event, const char *text, gpointer user_data)
{
    Events *events = user_data;
    g_autoptr(JsonNode) data = json_parse_limited(text, strlen(text), NULL);

    if (!data || events->left == 0)
        return;
    if (events->cli->json)
        show_json(event, data);
    else
        show_text(events, event, data);
    fflush(stdout);
    if (events->left > 0)
        events->left--;
    /* Nobody reads any more: a pipe was closed. */
    if (events->left == 0 || ferror(stdout))
        g_main_loop_quit(events->loop);
}

static void
events_lost(const GError *error, gpointer user_data)
{
    cli_note(((Events *)user_data)->cli, "lost the manager (%s); looking for it again",
             error ? error->message : "it ended the stream");
}

static void
events_back(gpointer user_data)
{
    cli_note(((Events *)user_data)->cli, "the manager is back; events may have been missed");
}

static void
events_over(const GError *error, gpointer user_data)
{
    Events *events = user_data;

    events->error = g_error_copy(error);
    g_main_loop_quit(events->loop);
}

/* A manager that isn't there at the beginning isn't waited for. */
static gboolean
answers(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("healthz", NULL);
    g_autoptr(JsonNode) health = session_call(cli, "GET", path, NULL, error);

    return health != NULL;
}

gboolean
run_events(Cli *cli, GError **error)
{
    static const FeedFuncs funcs = { events_event, events_lost, events_back, events_over };
    Events events = { .cli = cli, .left = -1 };
    g_autofree char *path = api_path("events", NULL);
    const char *count = cli_option(cli, "count");
    Feed *feed;

    if (count &&
        (!g_ascii_string_to_unsigned(count, 10, 1, G_MAXINT, (guint64 *)&events.left, NULL))) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "--count needs a number from 1 on, but not \"%s\"", count);
        return FALSE;
    }
    if (cli_option(cli, "task"))
        api_query(&path, "task", cli_option(cli, "task"));
    if (!answers(cli, error))
        return FALSE;
    events.loop = g_main_loop_new(NULL, FALSE);
    feed = feed_new(cli, path, &funcs, &events);
    g_main_loop_run(events.loop);
    feed_free(feed);
    g_main_loop_unref(events.loop);
    if (events.error)
        g_propagate_error(error, events.error);
    return events.error == NULL;
}
