/* SPDX-License-Identifier: Apache-2.0 */
/* Each verb of the real program against a manager that speaks the real API. */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "runner.h"

#define H1                                                                                         \
    "{'uuid': '11111111-1111-4111-8111-111111111111', 'name': 'h1', 'state': 'connected', "        \
    "'control_address': '10.77.0.11', 'control_port': 16570,"                                      \
    " 'migration_addresses': ['10.77.0.11'], 'migration_port': 16571, 'memory_total_bytes': "      \
    "8589934592, 'memory_free_bytes': 4294967296,"                                                 \
    " 'load_1m': 0.5, 'vms': 1, 'cpu': {'model': 'EPYC', 'arch': 'x86_64', 'cpus': 8}, "           \
    "'clock_ms': 1000, 'machine_types': ['pc-q35-7.2'],"                                           \
    " 'nics': [{'name': 'mig0', 'up': true, 'mtu': 1500, 'addresses': ['10.77.0.11/24']}],"        \
    " 'versions': {'godwit': '0.1.0', 'qemu': '7.2.22', 'libvirt': '9.0.0', 'kernel': '6.1'}}"
#define H2                                                                                         \
    "{'uuid': '22222222-2222-4222-8222-222222222222', 'name': 'h2', 'state': 'disconnected', "     \
    "'state_reason': 'connection refused', 'vms': 0}"
#define WEB1                                                                                       \
    "{'uuid': '7d4b1c2e-8a54-4f0c-9d20-0d3f4a1f6b77', 'name': 'web1', 'host': "                    \
    "'11111111-1111-4111-8111-111111111111', 'host_name': 'h1',"                                   \
    " 'state': 'running', 'vcpus': 2, 'memory_bytes': 1073741824, 'memory_max_bytes': "            \
    "1073741824, 'machine': 'pc-q35-7.2',"                                                         \
    " 'persistent': true, 'recall_group': 'web', 'disks': [{'target': 'vda', 'device': 'disk', "   \
    "'type': 'file', "                                                                             \
    "'source': '/srv/web1.img', 'format': 'raw'}],"                                                \
    " 'nics': [{'mac': '52:54:00:00:00:01', 'type': 'network', 'network': 'lan'}]}"
#define ID "5e3f0000-0000-4000-8000-000000000001"
#define TASK(state, result)                                                                        \
    "{'id': '" ID                                                                                  \
    "', 'kind': 'migrate', 'summary': 'migrate web1 from h1 to h2', 'state': '" state              \
    "', 'created_ms': 1795419800000,"                                                              \
    " 'migration': {'id': '" ID "', 'vm': 'web1', 'from': 'h1', 'to': 'h2', 'result': '" result    \
    "', 'total_s': 6.6, 'pause_ms': 43}}"

#define TASKS                                                                                      \
    "{'tasks': [" TASK("running", "running") ", {'id': 'aaaa0000-0000-4000-8000-000000000002',"    \
                                             " 'kind': 'migrate', 'summary': 'migrate old', "      \
                                             "'state': 'succeeded', 'created_ms': 1000,"           \
                                             " 'ended_ms': 2000}]}"
#define ALIKE                                                                                      \
    "{'tasks': [{'id': '5e3f0000-0000-4000-8000-000000000001', 'kind': 'k', 'summary': 'one', "    \
    "'state': 'queued', 'created_ms': 1},"                                                         \
    " {'id': 'aaaaaaaa-0000-4000-8000-000000000001', 'kind': 'k', 'summary': 'two', 'state': "     \
    "'queued', 'created_ms': 1},"                                                                  \
    " {'id': '5e3f0000-0001-4000-8000-000000000001', 'kind': 'k', 'summary': 'three', 'state': "   \
    "'queued', 'created_ms': 1}]}"

typedef void (*Test)(FakeManager *fake);

static void
run_test(gconstpointer data)
{
    g_autoptr(FakeManager) fake = fake_manager_new();

    fake_manager_answer(fake, "listHosts", "{'hosts': [" H1 "," H2 "]}");
    fake_manager_answer_for(fake, "getHost", "h1", H1);
    fake_manager_answer_for(fake, "getHost", "h2", H2);
    fake_manager_answer(fake, "listVms", "{'vms': [" WEB1 "]}");
    fake_manager_answer_for(fake, "getVm", "web1", WEB1);
    fake_manager_answer(fake, "listAlarms", "{'alarms': []}");
    ((Test)data)(fake);
}

static void
test_hosts(FakeManager *fake)
{
    g_autoptr(Run) list = godwit(fake, "host list"), json = godwit(fake, "host list -o json");
    g_autoptr(Run) show = godwit(fake, "host show h1"), wrong = godwit(fake, "host show h3"),
                   wrong_json = godwit(fake, "host show h3 -o json");
    g_autofree char *name = NULL, *code = NULL;

    assert_status(list, 0);
    assert_contains(
        list->out,
        "NAME  STATE         VMS  CPUS  LOAD  MEMORY   FREE  QEMU    ADDRESS     REASON\n");
    assert_contains(list->out,
                    "h1    connected       1     8  0.50   8 GiB  4 GiB  7.2.22  10.77.0.11\n");
    assert_contains(list->out, "connection refused\n");
    assert_lacks(list->out, "\033");
    assert_status(json, 0);
    name = run_member(json, "hosts.1.name");
    g_assert_cmpstr(name, ==, "h2");
    assert_status(show, 0);
    assert_contains(show->out, "  Migration   10.77.0.11 port 16571\n");
    assert_contains(show->out, "mig0");
    assert_status(wrong, 1);
    assert_contains(wrong->err, "did you mean \"h");
    g_assert_cmpstr(wrong->out, ==, "");
    code = run_member(wrong_json, "error.code");
    g_assert_cmpstr(code, ==, "not-found");
}

static void
test_host_add_remove(FakeManager *fake)
{
    g_autoptr(Run) add = NULL, json = NULL, remove = NULL, removed = NULL, busy = NULL,
                   nonsense = NULL;
    g_autofree char *body = NULL, *token = NULL, *params = NULL;

    fake_manager_answer(fake, "createHostToken",
                        "{'token': 'gwj_x', 'expires_ms': 4102444800000, 'command': 'godwitd join "
                        "https://m:8443 --token gwj_x'}");
    add = godwit(fake, "host add --valid 2h");
    assert_status(add, 0);
    assert_contains(add->out, "\n    godwitd join https://m:8443 --token gwj_x\n");
    assert_contains(add->out, "2100-01-01");
    body = fake_manager_last(fake, "createHostToken");
    g_assert_cmpstr(body, ==, "{\"valid_s\":7200}");
    json = godwit(fake, "host add --output json");
    token = run_member(json, "token");
    g_assert_cmpstr(token, ==, "gwj_x");
    nonsense = godwit(fake, "host add --valid tomorrow");
    assert_status(nonsense, 2);

    fake_manager_answer(fake, "removeHost", "");
    remove = godwit(fake, "host remove h1 --force");
    assert_status(remove, 0);
    params = fake_manager_last(fake, "removeHost");
    assert_contains(params, "\"force\":\"true\"");
    removed = godwit(fake, "host remove h1 -o json");
    g_free(run_member(removed, "removed"));
    fake_manager_refuse(fake, "removeHost", NULL, GODWIT_ERROR_CONFLICT,
                        "web1 runs on h1; use --force");
    busy = godwit(fake, "host remove h1");
    assert_status(busy, 1);
    assert_contains(busy->err, "web1 runs on h1");
}

/* What `host show` says of a host whose record has this `recall`. (transfer full) */
static char *
recall_lines(FakeManager *fake, const char *recall)
{
    g_autofree char *host =
        g_strdup_printf("{'uuid': '33333333-3333-4333-8333-333333333333', 'name': 'h9', 'state': "
                        "'connected', 'recall': %s}",
                        recall);
    g_autoptr(Run) run = NULL;

    fake_manager_answer_for(fake, "getHost", "h9", host);
    run = godwit(fake, "host show h9");
    assert_status(run, 0);
    return g_strdup(run->out);
}

static void
test_host_recall(FakeManager *fake)
{
    g_autofree char *used = recall_lines(
        fake, "{'active': true, 'keyed': true, 'sets': 3, 'bytes': 2147483648, 'max_bytes': "
              "68719476736, 'oldest_ms': 1000, 'pages_asked': 1000, 'pages_found': 667}");
    g_autofree char *empty = recall_lines(
        fake, "{'active': true, 'keyed': true, 'sets': 0, 'bytes': 0, 'max_bytes': 68719476736, "
              "'oldest_ms': 0, 'pages_asked': 0, 'pages_found': 0}");
    g_autofree char *off =
        recall_lines(fake, "{'active': false, 'reason': 'no key yet', 'sets': 1, 'bytes': 1024, "
                           "'max_bytes': 2048, 'oldest_ms': 1000}");
    g_autoptr(Run) old = godwit(fake, "host show h1");

    assert_contains(used, "  Recall      2 GiB of 64 GiB in 3 sets, the oldest made 1970-01-01");
    assert_contains(used, "67 % of the pages of moves from here were at the destination\n");
    assert_contains(empty, "  Recall      nothing kept yet; at most 64 GiB\n");
    assert_lacks(empty, "%");
    assert_contains(off, "  Recall      not used: no key yet\n");
    assert_contains(off, "1 KiB of 2 KiB in 1 set, ");
    assert_lacks(old->out, "Recall");
}

static void
test_recall_clear(FakeManager *fake)
{
    g_autoptr(Run) all = NULL, json = NULL, one = NULL, vm = NULL, gone = NULL, h2 = NULL;
    g_autoptr(Run) no_vm = NULL, no_host = NULL, two = NULL;
    g_autofree char *params = NULL, *uuid = NULL, *sets = NULL, *code = NULL;

    fake_manager_answer_for(fake, "clearRecall", "h1", "{'host': 'h1', 'sets': 4}");
    fake_manager_refuse(fake, "clearRecall", "h2", GODWIT_ERROR_UNREACHABLE,
                        "host h2 is not connected");
    all = godwit(fake, "recall clear");
    assert_status(all, 4); /* h1 is cleared all the same */
    assert_contains(all->out, "HOST  SETS REMOVED  REASON\n");
    assert_contains(all->out, "h1               4\n");
    assert_contains(all->out, "h2          failed  host h2 is not connected\n");
    json = godwit(fake, "recall clear -o json");
    assert_status(json, 4);
    sets = run_member(json, "hosts.0.sets");
    g_assert_cmpstr(sets, ==, "4");
    code = run_member(json, "hosts.1.error.code");
    g_assert_cmpstr(code, ==, "unreachable");
    h2 = godwit(fake, "recall clear --host h2");
    assert_status(h2, 4);
    g_assert_cmpstr(h2->out, ==, "");
    assert_contains(h2->err, "host h2 is not connected");

    one = godwit(fake, "recall clear --host h1");
    assert_status(one, 0);
    params = fake_manager_last(fake, "clearRecall");
    assert_lacks(params, "vm");
    vm = godwit(fake, "recall clear web1 --host h1");
    assert_status(vm, 0);
    uuid = fake_manager_last(fake, "clearRecall");
    assert_contains(uuid, "7d4b1c2e-8a54-4f0c-9d20-0d3f4a1f6b77");
    gone = godwit(fake, "recall clear 99999999-9999-4999-8999-999999999999 --host h1");
    assert_status(gone, 0);

    fake_manager_refuse(fake, "clearRecall", "h3", GODWIT_ERROR_NOT_FOUND, "no host h3");
    no_host = godwit(fake, "recall clear --host h3");
    assert_status(no_host, 1);
    assert_contains(no_host->err, "did you mean \"h");
    no_vm = godwit(fake, "recall clear web2");
    assert_status(no_vm, 1);
    two = godwit(fake, "recall clear web1 web2");
    assert_status(two, 2);
}

static void
test_vms(FakeManager *fake)
{
    g_autoptr(Run) list = godwit(fake, "vm list --host h1"), show = godwit(fake, "vm show web1"),
                   json = godwit(fake, "vm show web1 -o json");
    g_autoptr(Run) xml = NULL, xml_json = NULL, wrong = godwit(fake, "vm show web2"),
                   odd = godwit(fake, "vm show 'a/../b?c'");
    g_autofree char *params = fake_manager_last(fake, "listVms"), *name = run_member(json, "name"),
                    *text = NULL;

    fake_manager_answer(fake, "getVmXml", "{'xml': '<domain/>'}");
    xml = godwit(fake, "vm show web1 --xml");
    xml_json = godwit(fake, "vm show web1 --xml -o json");
    assert_status(list, 0);
    assert_contains(list->out, "web1  h1    running      2   1 GiB      1     1  7d4b1c2e");
    assert_contains(params, "{");
    assert_status(show, 0);
    assert_contains(show->out, "/srv/web1.img");
    assert_contains(show->out, "  Group       web\n");
    g_assert_cmpstr(name, ==, "web1");
    g_assert_cmpstr(xml->out, ==, "<domain/>\n");
    text = run_member(xml_json, "xml");
    g_assert_cmpstr(text, ==, "<domain/>");
    assert_status(wrong, 1);
    assert_contains(wrong->err, "did you mean \"web1\"?");
    assert_status(odd, 1);
    assert_contains(odd->err, "getVm");
}

static void
test_vm_list_of_host(FakeManager *fake)
{
    g_autoptr(Run) list = godwit(fake, "vm list --host 'h 1'");
    g_autofree char *params = fake_manager_last(fake, "listVms");

    assert_status(list, 0);
    assert_contains(params, "\"host\":\"h 1\"");
}

static void
test_stock(FakeManager *fake)
{
    g_autoptr(Run) networks = NULL, networks_json = NULL, stores = NULL, stores_json = NULL,
                   empty = NULL;

    fake_manager_answer(fake, "listNetworks",
                        "{'networks': [{'name': 'lan', 'host': "
                        "'11111111-1111-4111-8111-111111111111', 'bridge': 'br0',"
                        " 'forward': 'bridge', 'active': true, 'port_groups': ['blue', 'red']}]}");
    fake_manager_answer(fake, "listDatastores",
                        "{'datastores': [{'name': 'shared', 'host': "
                        "'11111111-1111-4111-8111-111111111111', 'type': 'dir',"
                        " 'path': '/srv', 'active': true, 'capacity_bytes': 1099511627776, "
                        "'available_bytes': 1073741824}]}");
    networks = godwit(fake, "network list");
    networks_json = godwit(fake, "network list -o json");
    stores = godwit(fake, "datastore list");
    stores_json = godwit(fake, "datastore list -o json");
    assert_contains(networks->out, "lan   h1    active  no         bridge   br0     blue, red\n");
    assert_contains(stores->out, "shared  h1    active  no         dir   1 TiB  1 GiB  /srv\n");
    json_node_unref(run_json(networks_json));
    json_node_unref(run_json(stores_json));
    fake_manager_answer(fake, "listNetworks", "{'networks': []}");
    empty = godwit(fake, "network list");
    assert_status(empty, 0);
    g_assert_cmpstr(empty->out, ==, "");
    assert_contains(empty->err, "No networks");
}

static void
test_tasks(FakeManager *fake)
{
    g_autoptr(Run) alike = NULL;
    g_autoptr(Run) list = NULL, all = NULL, json = NULL, failed = NULL, show = NULL,
                   show_json = NULL, wrong = NULL, bad_id = NULL;
    g_autofree char *params = NULL, *id = NULL, *none = NULL;

    fake_manager_answer(fake, "listTasks", TASKS);
    list = godwit(fake, "task list");
    assert_status(list, 0);
    assert_contains(list->out, "5e3f0000  running");
    assert_lacks(list->out, "migrate old");
    fake_manager_answer(fake, "listTasks", ALIKE);
    alike = godwit(fake, "task list");
    assert_contains(alike->out, "5e3f0000-0001  queued");
    fake_manager_answer(fake, "listTasks", TASKS);
    all = godwit(fake, "task list --all");
    assert_contains(all->out, "migrate old");
    json = godwit(fake, "task list -o json");
    id = run_member(json, "tasks.0.id");
    none = run_member(json, "tasks.1.id");
    g_assert_cmpstr(id, ==, ID);
    g_assert_cmpstr(none, ==, "(none)");
    failed = godwit(fake, "task list --state failed");
    params = fake_manager_last(fake, "listTasks");
    assert_contains(params, "\"state\":\"failed\"");

    fake_manager_answer_for(fake, "getTask", "5e3f", TASK("succeeded", "completed"));
    show = godwit(fake, "task show 5E3F");
    show_json = godwit(fake, "task show 5e3f -o json");
    wrong = godwit(fake, "task show ffff");
    bad_id = godwit(fake, "task show web1");
    assert_status(show, 0);
    assert_contains(show->out, "  Result      completed\n");
    json_node_unref(run_json(show_json));
    assert_status(wrong, 1);
    assert_status(bad_id, 2);
    assert_contains(bad_id->err, "not a task's id");
}

static void
test_alarms(FakeManager *fake)
{
    g_autoptr(Run) none = godwit(fake, "alarm list"), list = NULL, json = NULL, ack = NULL,
                   wrong = NULL;

    assert_status(none, 0);
    assert_contains(none->err, "No alarms");
    fake_manager_answer(fake, "listAlarms",
                        "{'alarms': [{'id': 'abc123', 'vm': 'web1', 'host': 'h1', 'message': 'look "
                        "here', 'raised_ms': 1000}]}");
    fake_manager_answer_for(fake, "acknowledgeAlarm", "abc123",
                            "{'id': 'abc123', 'message': 'look here', 'raised_ms': 1000}");
    list = godwit(fake, "alarm list");
    json = godwit(fake, "alarm list -o json");
    ack = godwit(fake, "alarm ack abc");
    wrong = godwit(fake, "alarm ack xyz");
    assert_contains(list->out, "Alarm abc123\n");
    assert_contains(list->out, "  look here\n");
    json_node_unref(run_json(json));
    assert_status(ack, 0);
    assert_status(wrong, 1);
}

static void
test_tokens(FakeManager *fake)
{
    g_autoptr(Run) create = NULL, json = NULL, list = godwit(fake, "token list"), revoke = NULL,
                   wrong = NULL;
    g_autofree char *body = NULL, *params = NULL;

    fake_manager_answer(fake, "createToken", "{'id': 'ffff1b5c7d116f0c', 'token': 'gwa_secret'}");
    fake_manager_answer(fake, "deleteToken", "");
    create = godwit(fake, "token create 'backup script'");
    assert_status(create, 0);
    g_assert_cmpstr(create->out, ==, "gwa_secret\n");
    body = fake_manager_last(fake, "createToken");
    g_assert_cmpstr(body, ==, "{\"name\":\"backup script\"}");
    json = godwit(fake, "token create x -o json");
    json_node_unref(run_json(json));
    assert_contains(list->out, "first admin");
    revoke = godwit(fake, "token revoke 'first admin'");
    assert_status(revoke, 0);
    params = fake_manager_last(fake, "deleteToken");
    assert_contains(params, "0c1f5b1c7d116f0c");
    wrong = godwit(fake, "token revoke 'frist admin'");
    assert_status(wrong, 1);
    assert_contains(wrong->err, "did you mean \"first admin\"?");
    g_assert_cmpuint(fake_manager_calls(fake, "deleteToken"), ==, 1);
}

static void
test_version(FakeManager *fake)
{
    g_autoptr(Run) both = godwit(fake, "version"), json = godwit(fake, "version -o json"),
                   client = godwit(NULL, "version --client");
    g_autoptr(Run) nobody = godwit(NULL, "version"), option = godwit(NULL, "--version");
    g_autofree char *manager = run_member(json, "manager.cluster"),
                    *own = run_member(json, "client.version");

    assert_status(both, 0);
    assert_contains(both->out, "godwit " GODWIT_VERSION "\ngodwit-manager " GODWIT_VERSION);
    g_assert_cmpstr(manager, ==, "lab");
    g_assert_cmpstr(own, ==, GODWIT_VERSION);
    assert_status(client, 0);
    g_assert_cmpstr(client->out, ==, "godwit " GODWIT_VERSION "\n");
    assert_status(nobody, 1);
    assert_contains(nobody->out, "godwit " GODWIT_VERSION);
    assert_contains(nobody->err, "godwit login");
    assert_status(option, 0);
}

static void
test_doctor(FakeManager *fake)
{
    g_autoptr(Run) sick = godwit(fake, "doctor"), json = godwit(fake, "doctor -o json"),
                   well = NULL, forged = NULL;
    g_autofree char *errors = run_member(json, "errors"), *command = NULL, *other = NULL;

    assert_status(sick, 1);
    assert_contains(sick->out, "h2: is not connected: connection refused\n");
    assert_contains(sick->out, "its database works");
    assert_contains(sick->out, "its certificate is valid for ");
    assert_contains(sick->out, "its clock agrees with this machine's");
    assert_contains(sick->out, "the token is accepted");
    assert_contains(sick->out, "h1: receives migrations at 10.77.0.11 (mig0)");
    g_assert_cmpstr(errors, ==, "1");
    fake_manager_answer(fake, "listHosts", "{'hosts': [" H1 "]}");
    well = godwit(fake, "doctor");
    assert_status(well, 0);
    assert_contains(well->out, "there is only one: nothing can move");
    /* A token of another secret: the manager refuses it. */
    other = g_strdup(fake_manager_token(fake));
    other[strlen(other) - 3] = other[strlen(other) - 3] == 'A' ? 'B' : 'A';
    command = g_build_filename(fake_manager_dir(fake), "token", NULL);
    g_assert_true(g_file_set_contents(command, other, -1, NULL));
    g_free(other);
    other = g_strdup_printf("doctor --token-file %s", command);
    forged = godwit(fake, other);
    assert_status(forged, 1);
    assert_contains(forged->out, "the token is not accepted");
}

static void
test_doctor_unreachable(FakeManager *fake)
{
    g_autoptr(Run) run = NULL;

    fake_manager_stop(fake);
    run = godwit(fake, "doctor");
    assert_status(run, 1);
    assert_contains(run->out, "does not answer");
    assert_contains(run->out, "systemctl status godwit-manager");
    fake_manager_start(fake);
}

static void
test_unreachable(FakeManager *fake)
{
    static const char *const commands[] = { "host list", "vm show web1", "migrate web1 --to h2",
                                            "task list", "events",       "version" };

    fake_manager_stop(fake);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *with_json = g_strdup_printf("%s -o json", commands[i]), *code = NULL;
        g_autoptr(Run) run = NULL, json = NULL;

        g_setenv("GODWIT_RECONNECT_S", "0", TRUE);
        run = godwit(fake, commands[i]);
        json = godwit(fake, with_json);
        assert_status(run, 4);
        assert_contains(run->err, fake_manager_url(fake));
        code = run_member(json, "error.code");
        g_assert_cmpstr(code, ==, "unreachable");
    }
    fake_manager_start(fake);
}

static void
test_nobody(FakeManager *fake)
{
    g_autoptr(Run) run = godwit(NULL, "host list"), json = godwit(NULL, "host list -o json"),
                   usage = godwit(NULL, "hots -o json");
    g_autofree char *code = run_member(json, "error.code"),
                    *usage_code = run_member(usage, "error.code");

    assert_status(run, 1);
    assert_contains(run->err, "godwit login");
    g_assert_cmpstr(code, ==, "not-found");
    assert_status(usage, 2);
    g_assert_cmpstr(usage_code, ==, "invalid");
}

/* ---- login
 * ------------------------------------------------------------------------------------------------
 */

static void
test_login(FakeManager *fake)
{
    g_autofree char *command =
        g_strdup_printf("login %s/ --token %s", fake_manager_url(fake), fake_manager_token(fake));
    g_autofree char *file = g_build_filename(fake_manager_dir(fake), "godwit", "cli.json", NULL);
    g_autoptr(Run) login = godwit_by_login(fake, command), list = NULL, logout = NULL, again = NULL,
                   after = NULL;
    struct stat status;

    assert_status(login, 0);
    assert_contains(login->out, "cluster \"lab\"");
    g_assert_cmpint(stat(file, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    list = godwit_by_login(fake, "host list");
    assert_status(list, 0);
    logout = godwit_by_login(fake, "logout");
    assert_status(logout, 0);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    again = godwit_by_login(fake, "logout -o json");
    assert_status(again, 0);
    json_node_unref(run_json(again));
    after = godwit_by_login(fake, "host list");
    assert_status(after, 1);
}

static void
test_login_refused(FakeManager *fake)
{
    g_autoptr(FakeManager) other = fake_manager_new();
    g_autofree char *impostor =
        g_strdup_printf("login %s --token %s", fake_manager_url(other), fake_manager_token(fake));
    g_autofree char *join = g_strdup_printf("login %s --token gwj_0123", fake_manager_url(fake));
    g_autofree char *nonsense = g_strdup_printf("login %s --token hello", fake_manager_url(fake));
    g_autofree char *none = g_strdup_printf("login %s", fake_manager_url(fake));
    g_autofree char *file = g_build_filename(fake_manager_dir(fake), "godwit", "cli.json", NULL);
    g_autoptr(Run) between = godwit_by_login(fake, impostor), host = godwit_by_login(fake, join),
                   word = godwit_by_login(fake, nonsense);
    g_autoptr(Run) missing = godwit_by_login(fake, none);

    assert_status(between, 1);
    assert_status(host, 2);
    assert_contains(host->err, "godwitd join");
    assert_status(word, 2);
    assert_status(missing, 2);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
}

static void
test_login_other_cluster(FakeManager *fake)
{
    g_autoptr(FakeManager) other = fake_manager_new();
    g_autofree char *first =
        g_strdup_printf("login %s --token %s", fake_manager_url(fake), fake_manager_token(fake));
    g_autofree char *second =
        g_strdup_printf("login %s --token %s", fake_manager_url(other), fake_manager_token(other));
    g_autofree char *forced = g_strdup_printf("%s --force", second);
    g_autofree char *file = g_build_filename(fake_manager_dir(fake), "godwit", "cli.json", NULL);
    g_autofree char *kept = NULL, *text = NULL;
    g_autoptr(Run) one = godwit_by_login(fake, first), two = NULL, three = NULL, same = NULL;

    assert_status(one, 0);
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    two = godwit_by_login(fake, second);
    assert_status(two, 1);
    assert_contains(two->err, "another cluster");
    g_assert_true(g_file_get_contents(file, &kept, NULL, NULL));
    g_assert_cmpstr(kept, ==, text);
    same = godwit_by_login(fake, first);
    assert_status(same, 0);
    three = godwit_by_login(fake, forced);
    assert_status(three, 0);
}

static void
test_login_damaged(FakeManager *fake)
{
    g_autofree char *dir = g_build_filename(fake_manager_dir(fake), "godwit", NULL),
                    *file = g_build_filename(dir, "cli.json", NULL);
    static const char *const damages[] = { "", "{", "[]", "{\"url\": 5}",
                                           "{\"url\": \"https://x:1\"}" };

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autoptr(Run) run = NULL;

        g_assert_true(g_file_set_contents(file, damages[i], -1, NULL));
        run = godwit_by_login(fake, "host list");
        g_assert_cmpint(run->status, >, 0);
        assert_contains(run->err, "damaged");
    }
}

/* Without GODWIT_CA the CA comes from the manager, and the token proves it. */
static void
test_ca_by_token(FakeManager *fake)
{
    g_autoptr(FakeManager) other = fake_manager_new();
    g_autofree char *file = g_build_filename(fake_manager_dir(fake), "token", NULL);
    g_autofree char *good =
        g_strdup_printf("host list --url %s --token-file %s", fake_manager_url(fake), file);
    g_autofree char *bad =
        g_strdup_printf("host list --url %s --token-file %s", fake_manager_url(other), file);
    g_autoptr(Run) right = NULL, wrong = NULL;

    g_assert_true(g_file_set_contents(file, fake_manager_token(fake), -1, NULL));
    right = godwit_by_login(fake, good);
    assert_status(right, 0);
    wrong = godwit_by_login(fake, bad);
    assert_status(wrong, 1);
    g_assert_cmpuint(fake_manager_calls(other, "listHosts"), ==, 0);
}

/* ---- what managers of other versions could answer
 * -------------------------------------------------------------- */

static void
test_odd_answers(FakeManager *fake)
{
    static const char *const answers[] = { "{}",
                                           "[]",
                                           "'text'",
                                           "null",
                                           "{'hosts': {}}",
                                           "{'hosts': [5]}",
                                           "{'hosts': [{'name': 7}]}",
                                           "{'hosts': [{'name': 'h1', 'state': 'levitating'}]}" };

    for (gsize i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autoptr(Run) run = NULL;

        fake_manager_answer(fake, "listHosts", answers[i]);
        run = godwit(fake, "host list");
        assert_status(run, 1);
        assert_contains(run->err, "answer");
    }
    fake_manager_answer(
        fake, "listHosts",
        "{'hosts': [{'name': 'h\\u001b[2Jx', 'state': 'connected', 'news': 1}], 'more': 2}");
    g_autoptr(Run) steering = godwit(fake, "host list");
    assert_status(steering, 0);
    assert_lacks(steering->out, "\033");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Test test;
    } tests[] = {
        { "/cli/verbs/host", test_hosts },
        { "/cli/verbs/host-add-remove", test_host_add_remove },
        { "/cli/verbs/host-recall", test_host_recall },
        { "/cli/verbs/recall-clear", test_recall_clear },
        { "/cli/verbs/vm", test_vms },
        { "/cli/verbs/vm-list-host", test_vm_list_of_host },
        { "/cli/verbs/stock", test_stock },
        { "/cli/verbs/task", test_tasks },
        { "/cli/verbs/alarm", test_alarms },
        { "/cli/verbs/token", test_tokens },
        { "/cli/verbs/version", test_version },
        { "/cli/verbs/doctor", test_doctor },
        { "/cli/verbs/doctor-unreachable", test_doctor_unreachable },
        { "/cli/unreachable", test_unreachable },
        { "/cli/nobody", test_nobody },
        { "/cli/login/in-and-out", test_login },
        { "/cli/login/refused", test_login_refused },
        { "/cli/login/other-cluster", test_login_other_cluster },
        { "/cli/login/damaged", test_login_damaged },
        { "/cli/login/ca-by-token", test_ca_by_token },
        { "/cli/answers", test_odd_answers },
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_data_func(tests[i].name, (gconstpointer)tests[i].test, run_test);
    return g_test_run();
}
