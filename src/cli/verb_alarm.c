/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/page.h"
#include "cli/session.h"
#include "cli/when.h"
#include "model/model.h"

/* An alarm's message is long and has commands to copy: paragraphs, not a table. */
static void
show_alarm(Page *page, const Alarm *alarm)
{
    g_autofree char *when = when_full(alarm->raised_ms, clock_wall_ms());
    g_autofree char *title = g_strdup_printf("Alarm %s", alarm->id);

    page_title(page, title);
    page_line(page, "Raised", COLOUR_NONE, when);
    if (alarm->vm)
        page_line(page, "VM", COLOUR_NONE, alarm->vm);
    if (alarm->host)
        page_line(page, "Host", COLOUR_NONE, alarm->host);
    if (alarm->migration)
        page_linef(page, "Migration", "godwit task show %s", alarm->migration);
    page_paragraph(page, "");
    page_paragraph(page, alarm->message ? alarm->message : "");
    page_paragraph(page, "");
}

gboolean
run_alarm_list(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("alarms", NULL);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) alarms =
        session_list(cli, path, "alarms", &alarm_record_type, &answer, error);
    g_autoptr(Page) page = NULL;

    if (!alarms)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    page = page_new(cli);
    for (guint i = 0; i < alarms->len; i++)
        show_alarm(page, g_ptr_array_index(alarms, i));
    page_print(page);
    cli_note(cli, "%s",
             alarms->len == 0 ? "No alarms." : "\"godwit alarm ack ID\" when taken care of.");
    return TRUE;
}

/* The whole id of the alarm whose id begins with `begin`. (transfer full) */
static char *
alarm_find(Cli *cli, const char *begin, GError **error)
{
    g_auto(GStrv) ids = NULL;
    const char *found = NULL;

    if (!session_open(cli, 0, error))
        return NULL;
    ids = session_names(cli, ARG_ALARM);
    for (char **id = ids; id && *id; id++) {
        if (g_strcmp0(*id, begin) == 0)
            return g_strdup(*id);
        if (!g_str_has_prefix(*id, begin))
            continue;
        if (found) {
            g_set_error(
                error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "several alarms begin with \"%s\": %s and %s among them; give more characters",
                begin, found, *id);
            return NULL;
        }
        found = *id;
    }
    /* An unknown one is the manager's to judge. */
    return g_strdup(found ? found : begin);
}

gboolean
run_alarm_ack(Cli *cli, GError **error)
{
    g_autofree char *id = alarm_find(cli, cli_arg(cli, 0), error);
    g_autofree char *path = id ? api_path("alarms", id, "acknowledge", NULL) : NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autofree char *text = NULL;

    answer = path ? session_call(cli, "POST", path, NULL, error) : NULL;
    if (!answer)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    text = g_strdup_printf("Alarm %s is acknowledged.\n", id);
    cli_print(cli, text);
    return TRUE;
}
