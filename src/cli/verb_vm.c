/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/units.h"
#include "cli/page.h"
#include "cli/session.h"
#include "model/model.h"

static Colour
vm_colour(int state)
{
    static const Colour colours[] = { [VM_RUNNING] = COLOUR_GOOD,
                                      [VM_PAUSED] = COLOUR_WARN,
                                      [VM_SHUTOFF] = COLOUR_DIM,
                                      [VM_CRASHED] = COLOUR_BAD,
                                      [VM_SUSPENDED] = COLOUR_WARN };

    return colours[state];
}

static const char *
vm_host(const Vm *vm)
{
    return vm->host_name ? vm->host_name : vm->host;
}

static void
vm_row(Table *table, const Vm *vm)
{
    g_autofree char *memory = units_bytes(MAX(vm->memory_bytes, 0));

    table_cell(table, COLOUR_NONE, vm->name);
    table_cell(table, COLOUR_NONE, vm_host(vm));
    table_cellf(table, vm_colour(vm->state), "%s%s", vm_state_nicks[vm->state],
                vm->migration ? ", moving" : "");
    table_cellf(table, COLOUR_NONE, "%" G_GINT64_FORMAT, vm->vcpus);
    table_cell(table, COLOUR_NONE, memory);
    table_cellf(table, COLOUR_NONE, "%u", vm->disks ? vm->disks->len : 0);
    table_cellf(table, COLOUR_NONE, "%u", vm->nics ? vm->nics->len : 0);
    table_cell(table, COLOUR_DIM, vm->uuid);
}

gboolean
run_vm_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "NAME" },        { "HOST" },         { "STATE" },
                                           { "VCPUS", TRUE }, { "MEMORY", TRUE }, { "DISKS", TRUE },
                                           { "NICS", TRUE },  { "UUID" },         { NULL } };
    g_autofree char *path = api_path("vms", NULL);
    const char *host = cli_option(cli, "host");
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(Table) table = table_new(columns);

    if (host)
        api_query(&path, "host", host);
    vms = session_list(cli, path, "vms", &vm_type, &answer, error);
    if (!vms) {
        if (host)
            session_suggest(cli, ARG_HOST, host, error);
        return FALSE;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    for (guint i = 0; i < vms->len; i++)
        vm_row(table, g_ptr_array_index(vms, i));
    cli_print_table(cli, table,
                    host ? "No VMs on this host."
                         : "No VMs: libvirt has none on the hosts that are connected.");
    return TRUE;
}

/* ---- show
 * ----------------------------------------------------------------------------------------- */

static void
show_disks(Page *page, const Vm *vm)
{
    static const TableColumn columns[] = { { "DISK" },  { "KIND" },   { "TYPE" }, { "FORMAT" },
                                           { "CACHE" }, { "SOURCE" }, { NULL } };
    g_autoptr(Table) table = table_new(columns);

    for (guint i = 0; vm->disks && i < vm->disks->len; i++) {
        const VmDisk *disk = g_ptr_array_index(vm->disks, i);
        g_autofree char *hosts =
            disk->hosts && disk->hosts[0] ? g_strjoinv(",", disk->hosts) : NULL;

        table_cell(table, COLOUR_NONE, disk->target);
        table_cellf(table, COLOUR_NONE, "%s%s%s", disk->device ? disk->device : "disk",
                    disk->read_only ? ", read only" : "", disk->shareable ? ", shared" : "");
        table_cellf(table, COLOUR_NONE, "%s%s%s", disk->type ? disk->type : "-",
                    disk->protocol ? " " : "", disk->protocol ? disk->protocol : "");
        table_cell(table, COLOUR_NONE, disk->format ? disk->format : "-");
        table_cell(table, COLOUR_NONE, disk->cache ? disk->cache : "default");
        table_cellf(table, COLOUR_NONE, "%s%s%s", disk->source ? disk->source : "empty",
                    hosts ? " at " : "", hosts ? hosts : "");
    }
    page_table(page, "Disks", table);
}

static void
show_nics(Page *page, const Vm *vm)
{
    static const TableColumn columns[] = { { "MAC" },     { "TYPE" },
                                           { "NETWORK" }, { "PORT GROUP", FALSE, TRUE },
                                           { "MODEL" },   { "TAP", FALSE, TRUE },
                                           { NULL } };
    g_autoptr(Table) table = table_new(columns);

    for (guint i = 0; vm->nics && i < vm->nics->len; i++) {
        const VmNic *nic = g_ptr_array_index(vm->nics, i);

        table_cell(table, COLOUR_NONE, nic->mac);
        table_cell(table, COLOUR_NONE, nic->type);
        table_cell(table, COLOUR_NONE,
                   nic->network  ? nic->network
                   : nic->bridge ? nic->bridge
                                 : "-");
        table_cell(table, COLOUR_NONE, nic->port_group);
        table_cell(table, COLOUR_NONE, nic->model ? nic->model : "-");
        table_cell(table, COLOUR_NONE, nic->target);
    }
    page_table(page, "Network cards", table);
}

static void
show_devices(Page *page, const Vm *vm)
{
    static const TableColumn columns[] = { { "DEVICE" }, { "DETAIL" }, { NULL } };
    g_autoptr(Table) table = table_new(columns);

    for (guint i = 0; vm->devices && i < vm->devices->len; i++) {
        const VmDevice *device = g_ptr_array_index(vm->devices, i);

        table_cell(table, COLOUR_NONE, device->kind);
        table_cell(table, COLOUR_NONE, device->detail);
    }
    page_table(page, "Further devices that matter to a move", table);
}

static void
show_stats(Page *page, const VmStats *stats)
{
    g_autofree char *rss = NULL, *rd = NULL, *wr = NULL, *rx = NULL, *tx = NULL, *cpu = NULL;

    if (!stats || stats->taken_ms == 0)
        return;
    rss = units_bytes(MAX(stats->memory_rss_bytes, 0));
    rd = units_bytes(MAX(stats->disk_read_bytes, 0));
    wr = units_bytes(MAX(stats->disk_write_bytes, 0));
    rx = units_bytes(MAX(stats->net_rx_bytes, 0));
    tx = units_bytes(MAX(stats->net_tx_bytes, 0));
    cpu = units_duration(stats->cpu_time_ns / 1000);
    page_section(page, "Use");
    page_linef(page, "CPU time", "%s", cpu);
    page_linef(page, "In memory", "%s", rss);
    page_linef(page, "Disks", "%s read, %s written", rd, wr);
    page_linef(page, "Network", "%s received, %s sent", rx, tx);
}

static void
show_vm(Page *page, const Vm *vm)
{
    g_autofree char *memory = units_bytes(MAX(vm->memory_bytes, 0)),
                    *most = units_bytes(MAX(vm->memory_max_bytes, 0));

    page_title(page, vm->name);
    page_line(page, "UUID", COLOUR_NONE, vm->uuid);
    page_linef(page, "State", "%s%s%s%s", vm_state_nicks[vm->state], vm->state_reason ? " (" : "",
               vm->state_reason ? vm->state_reason : "", vm->state_reason ? ")" : "");
    page_line(page, "Host", COLOUR_NONE, vm_host(vm));
    if (vm->migration)
        page_linef(page, "Moving", "godwit task watch %s", vm->migration);
    if (vm->title)
        page_line(page, "Title", COLOUR_NONE, vm->title);
    page_linef(page, "Memory", "%s of at most %s", memory, most);
    page_linef(page, "vCPUs", "%" G_GINT64_FORMAT ", %s%s%s", vm->vcpus,
               vm->cpu_mode ? vm->cpu_mode : "default model", vm->cpu_model ? " " : "",
               vm->cpu_model ? vm->cpu_model : "");
    page_linef(page, "Machine", "%s, %s", vm->machine ? vm->machine : "-",
               vm->domain_type ? vm->domain_type : "-");
    if (vm->recall_group)
        page_line(page, "Group", COLOUR_NONE, vm->recall_group);
    page_linef(page, "Definition", "%s%s", vm->persistent ? "persistent" : "transient",
               vm->autostart ? ", started with the host" : "");
    show_disks(page, vm);
    show_nics(page, vm);
    show_devices(page, vm);
    show_stats(page, vm->stats);
    if (vm->description)
        page_text(page, "Description", vm->description);
}

/* libvirt's XML is shown as it is, but for what could steer a terminal. */
static gboolean
print_xml(Cli *cli, JsonNode *answer, GError **error)
{
    const char *xml = NULL;
    g_autofree char *clean = NULL;

    if (JSON_NODE_HOLDS_OBJECT(answer))
        xml = json_object_get_string_member_with_default(json_node_get_object(answer), "xml", NULL);
    if (!xml) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL, "the manager's answer has no XML");
        return FALSE;
    }
    clean = cli->tty_out ? text_clean(xml, TRUE) : g_strdup(xml);
    cli_print(cli, clean);
    if (!g_str_has_suffix(clean, "\n"))
        cli_print(cli, "\n");
    return TRUE;
}

gboolean
run_vm_show(Cli *cli, GError **error)
{
    gboolean xml = cli_flag(cli, "xml");
    g_autofree char *path = api_path("vms", cli_arg(cli, 0), xml ? "xml" : NULL, NULL);
    g_autoptr(JsonNode) answer = session_call(cli, "GET", path, NULL, error);
    g_autoptr(Vm) vm = NULL;
    g_autoptr(Page) page = NULL;

    if (!answer) {
        session_suggest(cli, ARG_VM, cli_arg(cli, 0), error);
        return FALSE;
    }
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    if (xml)
        return print_xml(cli, answer, error);
    vm = session_record(answer, &vm_type, error);
    if (!vm)
        return FALSE;
    page = page_new(cli);
    show_vm(page, vm);
    page_print(page);
    return TRUE;
}
