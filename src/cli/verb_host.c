/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/args.h"
#include "cli/page.h"
#include "cli/session.h"
#include "cli/when.h"
#include "model/model.h"

static Colour
host_colour(int state)
{
    return state == HOST_CONNECTED    ? COLOUR_GOOD
           : state == HOST_CONNECTING ? COLOUR_WARN
                                      : COLOUR_BAD;
}

/* ---- add
 * ------------------------------------------------------------------------------------------ */

static JsonNode *
host_add_body(Cli *cli, GError **error)
{
    const char *valid = cli_option(cli, "valid");
    JsonNode *node;
    JsonObject *object;
    gint64 seconds = 0;

    if (valid && !units_parse_seconds(valid, &seconds, error)) {
        g_prefix_error(error, "--valid: ");
        return NULL;
    }
    node = json_node_new(JSON_NODE_OBJECT);
    object = json_object_new();
    if (valid)
        json_object_set_int_member(object, "valid_s", seconds);
    json_node_take_object(node, object);
    return node;
}

gboolean
run_host_add(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("hosts", NULL), *expires = NULL, *text = NULL, *command = NULL;
    g_autoptr(JsonNode) body = host_add_body(cli, error), answer = NULL;
    JsonObject *told;

    if (!body)
        return FALSE;
    answer = session_call(cli, "POST", path, body, error);
    if (!answer)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    if (!JSON_NODE_HOLDS_OBJECT(answer)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "the manager's answer is not a join token");
        return FALSE;
    }
    told = json_node_get_object(answer);
    command = text_clean(json_object_get_string_member_with_default(told, "command", ""), FALSE);
    expires =
        when_full(json_object_get_int_member_with_default(told, "expires_ms", 0), clock_wall_ms());
    text = g_strdup_printf("Run this on the host, as root; it works once, until %s:\n\n    %s\n\n",
                           expires, command);
    cli_print(cli, text);
    return TRUE;
}

/* ---- list
 * ----------------------------------------------------------------------------------------- */

static void
host_row(Table *table, const Host *host)
{
    g_autofree char *total = units_bytes(MAX(host->memory_total_bytes, 0));
    g_autofree char *free_bytes = units_bytes(MAX(host->memory_free_bytes, 0));
    gboolean known = host->memory_total_bytes > 0;

    table_cell(table, COLOUR_NONE, host->name);
    table_cell(table, host_colour(host->state), host_state_nicks[host->state]);
    table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, host->vms);
    table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, host->cpu ? host->cpu->cpus : 0);
    table_cellf(table, COLOUR_NONE, "%.2f", host->load_1m);
    table_cell(table, COLOUR_NONE, known ? total : "-");
    table_cell(table, COLOUR_NONE, known ? free_bytes : "-");
    table_cell(table, COLOUR_NONE,
               host->versions && host->versions->qemu ? host->versions->qemu : "-");
    table_cell(table, COLOUR_NONE, host->control_address);
    table_cell(table, COLOUR_NONE, host->state == HOST_CONNECTED ? NULL : host->state_reason);
}

gboolean
run_host_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "NAME" },       { "STATE" },
                                           { "VMS", TRUE },  { "CPUS", TRUE },
                                           { "LOAD", TRUE }, { "MEMORY", TRUE },
                                           { "FREE", TRUE }, { "QEMU" },
                                           { "ADDRESS" },    { "REASON", FALSE, TRUE },
                                           { NULL } };
    g_autofree char *path = api_path("hosts", NULL);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) hosts = session_list(cli, path, "hosts", &host_type, &answer, error);
    g_autoptr(Table) table = table_new(columns);

    if (!hosts)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    for (guint i = 0; i < hosts->len; i++)
        host_row(table, g_ptr_array_index(hosts, i));
    cli_print_table(cli, table, "No hosts yet: \"godwit host add\" prints how to add one.");
    return TRUE;
}

/* ---- show
 * ----------------------------------------------------------------------------------------- */

static void
show_nics(Page *page, const Host *host)
{
    static const TableColumn columns[] = { { "NIC" },
                                           { "STATE" },
                                           { "SPEED", TRUE },
                                           { "MTU", TRUE },
                                           { "MAC" },
                                           { "PORT OF", FALSE, TRUE },
                                           { "ADDRESSES", FALSE, TRUE },
                                           { NULL } };
    g_autoptr(Table) table = table_new(columns);

    for (guint i = 0; host->nics && i < host->nics->len; i++) {
        const HostNic *nic = g_ptr_array_index(host->nics, i);
        g_autofree char *addresses = nic->addresses ? g_strjoinv(", ", nic->addresses) : NULL;

        table_cell(table, COLOUR_NONE, nic->name);
        table_cell(table, nic->up ? COLOUR_GOOD : COLOUR_DIM, nic->up ? "up" : "down");
        table_cellf(table, COLOUR_NONE, nic->speed_mbps ? "%" G_GINT64_FORMAT " Mbit/s" : "-",
                    nic->speed_mbps);
        table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, nic->mtu);
        table_cell(table, COLOUR_NONE, nic->mac);
        table_cell(table, COLOUR_NONE, nic->master);
        table_cell(table, COLOUR_NONE, addresses);
    }
    page_table(page, "Network interfaces", table);
}

static void
show_cpu(Page *page, const HostCpu *cpu)
{
    if (!cpu)
        return;
    page_linef(page, "CPU", "%s%s%s, %s", cpu->vendor ? cpu->vendor : "", cpu->vendor ? " " : "",
               cpu->model ? cpu->model : "unknown", cpu->arch ? cpu->arch : "?");
    page_linef(page, "CPUs",
               "%" G_GINT64_FORMAT " online: %" G_GINT64_FORMAT " sockets, %" G_GINT64_FORMAT
               " cores, %" G_GINT64_FORMAT " threads each, %" G_GINT64_FORMAT " MHz",
               cpu->cpus, cpu->sockets, cpu->cores, cpu->threads, cpu->mhz);
}

static void
show_memory(Page *page, const Host *host)
{
    g_autofree char *total = units_bytes(MAX(host->memory_total_bytes, 0));
    g_autofree char *free_bytes = units_bytes(MAX(host->memory_free_bytes, 0));
    g_autofree char *reserved = units_bytes(MAX(host->memory_reserved_bytes, 0));

    if (host->memory_total_bytes > 0)
        page_linef(page, "Memory", "%s, %s free, %s set aside for VMs on their way here", total,
                   free_bytes, reserved);
}

static void
show_recall(Page *page, const HostRecall *recall)
{
    g_autofree char *bytes = NULL, *limit = NULL, *oldest = NULL;

    if (!recall)
        return;
    if (!recall->active)
        page_linef(page, "Recall", "not used: %s", recall->reason ? recall->reason : "unknown");
    bytes = units_bytes((guint64)MAX(recall->bytes, 0));
    limit = units_bytes((guint64)MAX(recall->max_bytes, 0));
    oldest = when_short(recall->oldest_ms, clock_wall_ms());
    if (recall->sets > 0)
        page_linef(page, recall->active ? "Recall" : "",
                   "%s of %s in %" G_GINT64_FORMAT " set%s, the oldest made %s", bytes, limit,
                   recall->sets, recall->sets == 1 ? "" : "s", oldest);
    else if (recall->active)
        page_linef(page, "Recall", "nothing kept yet; at most %s", limit);
    if (recall->pages_asked > 0)
        page_linef(page, "", "%.0f %% of the pages of moves from here were at the destination",
                   100.0 * (double)recall->pages_found / (double)recall->pages_asked);
}

static int
by_word(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All in one line, sorted; NULL where there are none. (transfer full) */
static char *
machine_types(const Host *host)
{
    g_auto(GStrv) sorted = g_strdupv(host->machine_types);

    if (!sorted || !sorted[0])
        return NULL;
    qsort(sorted, g_strv_length(sorted), sizeof *sorted, by_word);
    return g_strjoinv(" ", sorted);
}

static void
show_host(Page *page, const Host *host)
{
    g_autofree char *migration =
        host->migration_addresses ? g_strjoinv(", ", host->migration_addresses) : NULL;
    g_autofree char *machines = machine_types(host);
    g_autofree char *uptime = when_span(host->uptime_s);
    const HostVersions *v = host->versions;

    page_title(page, host->name);
    page_line(page, "UUID", COLOUR_NONE, host->uuid);
    page_line(page, "State", host_colour(host->state), host_state_nicks[host->state]);
    if (host->state != HOST_CONNECTED && host->state_reason)
        page_line(page, "Reason", COLOUR_NONE, host->state_reason);
    page_linef(page, "VMs", "%" G_GINT64_FORMAT " running", host->vms);
    page_linef(page, "Control", "%s port %" G_GINT64_FORMAT,
               host->control_address ? host->control_address : "-", host->control_port);
    page_linef(page, "Migration", "%s port %" G_GINT64_FORMAT,
               migration && *migration ? migration : "no address", host->migration_port);
    show_cpu(page, host->cpu);
    show_memory(page, host);
    show_recall(page, host->recall);
    page_linef(page, "Load", "%.2f", host->load_1m);
    if (host->uptime_s > 0)
        page_linef(page, "Up for", "%s", uptime);
    if (v)
        page_linef(page, "Versions", "godwitd %s, QEMU %s, libvirt %s, kernel %s",
                   v->godwit ? v->godwit : "?", v->qemu ? v->qemu : "?",
                   v->libvirt ? v->libvirt : "?", v->kernel ? v->kernel : "?");
    if (host->qemu_owner || host->security_model)
        page_linef(page, "QEMU runs", "as %s, security %s",
                   host->qemu_owner ? host->qemu_owner : "?",
                   host->security_model ? host->security_model : "?");
    show_nics(page, host);
    if (machines)
        page_text(page, "Machine types", machines);
}

gboolean
run_host_show(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("hosts", cli_arg(cli, 0), NULL);
    g_autoptr(JsonNode) answer = session_call(cli, "GET", path, NULL, error);
    g_autoptr(Host) host = NULL;
    g_autoptr(Page) page = NULL;

    if (!answer) {
        session_suggest(cli, ARG_HOST, cli_arg(cli, 0), error);
        return FALSE;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    host = session_record(answer, &host_type, error);
    if (!host)
        return FALSE;
    page = page_new(cli);
    show_host(page, host);
    page_print(page);
    return TRUE;
}

/* ---- remove
 * ---------------------------------------------------------------------------------------- */

gboolean
run_host_remove(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("hosts", cli_arg(cli, 0), NULL);
    g_autoptr(JsonNode) answer = NULL;

    if (cli_flag(cli, "force"))
        api_query(&path, "force", "true");
    answer = session_call(cli, "DELETE", path, NULL, error);
    if (!answer) {
        session_suggest(cli, ARG_HOST, cli_arg(cli, 0), error);
        return FALSE;
    }
    cli_print_done(
        cli, "host", cli_arg(cli, 0), "removed",
        "is no longer a host of the cluster. Its VMs go on running; stop godwitd there.");
    return TRUE;
}
