/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers what the doctor judges: each answer that can't be had is a fact, too, and holds up
 * nothing. */
#include <unistd.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/login.h"
#include "cli/session.h"

#define TIMEOUT_S 5

typedef struct {
    DoctorFacts facts;
    Probe probe;
    char *url;
    GError *session_error, *probe_error, *health_error, *token_error;
    JsonNode *health, *version;
    GPtrArray *hosts, *vms, *alarms;
} Gathered;

static void
gathered_clear(Gathered *g)
{
    probe_clear(&g->probe);
    g_free(g->url);
    g_clear_error(&g->session_error);
    g_clear_error(&g->probe_error);
    g_clear_error(&g->health_error);
    g_clear_error(&g->token_error);
    g_clear_pointer(&g->health, json_node_unref);
    g_clear_pointer(&g->version, json_node_unref);
    g_clear_pointer(&g->hosts, g_ptr_array_unref);
    g_clear_pointer(&g->vms, g_ptr_array_unref);
    g_clear_pointer(&g->alarms, g_ptr_array_unref);
}

static JsonNode *
get(Cli *cli, const char *what, GError **error)
{
    g_autofree char *path = api_path(what, NULL);

    return session_call(cli, "GET", path, NULL, error);
}

static GPtrArray *
get_list(Cli *cli, const char *what, const RecordType *type, GError **error)
{
    g_autofree char *path = api_path(what, NULL);

    return session_list(cli, path, what, type, NULL, error);
}

static void
gather(Cli *cli, Gathered *g)
{
    gboolean open = session_open(cli, TIMEOUT_S, &g->session_error);

    /* The address is known before all else of the session is found. */
    g->url = g_strdup(cli->url);
    if (g->url && !probe_manager(g->url, TIMEOUT_S, &g->probe, &g->probe_error))
        g_debug("doctor: %s", g->probe_error->message);
    if (open && !g->probe_error) {
        g->health = get(cli, "healthz", &g->health_error);
        g->version = get(cli, "version", NULL);
        g->hosts = get_list(cli, "hosts", &host_type, &g->token_error);
        g->vms = g->hosts ? get_list(cli, "vms", &vm_type, NULL) : NULL;
        g->alarms = g->hosts ? get_list(cli, "alarms", &alarm_record_type, NULL) : NULL;
    }
    g->facts = (DoctorFacts){
        .now_ms = clock_wall_ms(),
        .url = g->url,
        .session_error = g->session_error,
        .probe_error = g->probe_error,
        .probe = &g->probe,
        .ca_pem = cli->ca_pem,
        .health = g->health,
        .health_error = g->health_error,
        .version = g->version,
        .token_error = g->token_error,
        .hosts = g->hosts,
        .vms = g->vms,
        .alarms = g->alarms,
    };
}

/* On a host that isn't for working from, nobody need be logged in. */
static gboolean
login_matters(const Gathered *g, gboolean here)
{
    return !here || g->url ||
           !g_error_matches(g->session_error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

gboolean
run_doctor(Cli *cli, GError **error)
{
    g_autoptr(GPtrArray) findings = findings_new();
    gboolean here = doctor_is_host();
    Gathered g = { 0 };

    gather(cli, &g);
    if (login_matters(&g, here)) {
        doctor_judge_manager(&g.facts, findings);
        doctor_judge_hosts(&g.facts, findings);
        doctor_judge_vms(&g.facts, findings);
    } else {
        found_warn(findings, "login", "login",
                   "To look at the whole cluster: godwit login URL --token TOKEN.",
                   "nobody is logged in here: only this machine is looked at");
    }
    if (here)
        doctor_look_here(findings);
    gathered_clear(&g);
    if (cli->json) {
        g_autoptr(JsonNode) node = findings_json(findings);

        cli_print_json(cli, node);
    } else {
        g_autofree char *text = findings_text(findings, cli_width(STDOUT_FILENO), cli->colour_out);

        cli_print(cli, text);
    }
    cli->status = findings_count(findings, FINDING_ERROR) > 0 ? STATUS_FAILED : STATUS_DONE;
    return TRUE;
}
