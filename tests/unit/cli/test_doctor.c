/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's judgements: pure functions over what was gathered. */
#include <glib.h>
#include <locale.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/record.h"
#include "cli/doctor.h"
#include "net/identity.h"

static const char *const words[] = { "ok", "warn", "error" };

/* Every finding as "level check about: message" on a line. */
static char *
told(GPtrArray *findings)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < findings->len; i++) {
        const Finding *finding = g_ptr_array_index(findings, i);

        g_string_append_printf(out, "%s %s %s: %s\n", words[finding->level], finding->check,
                               finding->about, finding->message);
        /* What is wrong has a remedy. */
        g_assert_true((finding->level == FINDING_OK) == (finding->remedy == NULL));
    }
    return g_string_free(out, FALSE);
}

static GPtrArray *
records(const RecordType *type, const char *json)
{
    GPtrArray *list = record_list_new(type);
    g_autofree char *text = g_strdelimit(g_strdup(json), "'", '"');
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = json_parse_limited(text, strlen(text), &error);

    g_assert_no_error(error);
    for (guint i = 0; i < json_array_get_length(json_node_get_array(node)); i++) {
        gpointer record =
            record_from_json(type, json_array_get_element(json_node_get_array(node), i), &error);

        g_assert_no_error(error);
        g_ptr_array_add(list, record);
    }
    return list;
}

typedef struct {
    const char *hosts, *vms;
    const char *says[4]; /* lines, or parts of lines */
    const char *lacks;
} Case;

static void
check_case(const Case *c)
{
    g_autoptr(GPtrArray) findings = findings_new(), hosts = records(&host_type, c->hosts),
                         vms = records(&vm_type, c->vms ? c->vms : "[]");
    DoctorFacts facts = { .url = "https://m:8443", .hosts = hosts, .vms = vms };
    g_autofree char *text = NULL;

    doctor_judge_hosts(&facts, findings);
    doctor_judge_vms(&facts, findings);
    text = told(findings);
    for (gsize i = 0; i < G_N_ELEMENTS(c->says) && c->says[i]; i++) {
        if (!strstr(text, c->says[i]))
            g_error("\"%s\" is not in:\n%s", c->says[i], text);
    }
    if (c->lacks && strstr(text, c->lacks))
        g_error("\"%s\" is in:\n%s", c->lacks, text);
}

#define HOST(name, last, more)                                                                     \
    "{'name': '" name "', 'uuid': 'uuid-" name                                                     \
    "', 'state': 'connected', 'clock_ms': 1000, 'migration_addresses': ['10.77.0." last "'],"      \
    " 'nics': [{'name': 'mig0', 'up': true, 'mtu': 1500, 'addresses': ['10.77.0." last             \
    "/24']}]" more "}"

static void
test_hosts(void)
{
    static const Case cases[] = {
        { "[]", NULL, { "warn hosts hosts: there are none yet" } },
        { "[" HOST("h1", "11", "") "]", NULL, { "there is only one" } },
        { "[" HOST("h1", "11", "") "," HOST("h2", "12", "") "]",
          NULL,
          { "ok host-connected h1: agent and libvirt answer\n",
            "ok host-clock h2: its clock agrees",
            "ok migration-address h2: receives migrations at 10.77.0.12 (mig0)" },
          "warn" },
        { "[{'name': 'h1', 'state': 'disconnected', 'state_reason': 'no route'}]",
          NULL,
          { "error host-connected h1: is not connected: no route\n" },
          "migration-address" },
        { "[{'name': 'h1', 'state': 'connecting'}]",
          NULL,
          { "warn host-connected h1: has not been heard" } },
        { "[{'name': 'h1', 'state': 'no-libvirt', 'state_reason': 'socket gone', "
          "'migration_addresses': ['10.0.0.1']}]",
          NULL,
          { "error host-libvirt h1: its libvirt does not answer: socket gone\n" } },
        { "[" HOST("h1", "11", ", 'clock_offset_ms': 2500") "]",
          NULL,
          { "warn host-clock h1: its clock is 2.5 s ahead of the manager's\n" } },
        { "[" HOST("h1", "11", ", 'clock_offset_ms': -90000") "]",
          NULL,
          { "error host-clock h1: its clock is 1 min 30 s behind the manager's\n" } },
        { "[" HOST("h1", "11", ", 'clock_offset_ms': -1500") "]", NULL, { "ok host-clock h1" } },
        { "[{'name': 'h1', 'state': 'connected'}]",
          NULL,
          { "error migration-address h1: has no migration address" } },
        { "[{'name': 'h1', 'state': 'connected', 'migration_addresses': ['10.9.9.9'], 'nics': "
          "[{'name': 'e', 'up': true, 'addresses': ['10.9.9.90/24']}]}]",
          NULL,
          { "error migration-address h1: no interface has its migration address 10.9.9.9\n" } },
        { "[{'name': 'h1', 'state': 'connected', 'migration_addresses': ['10.9.9.9'], 'nics': "
          "[{'name': 'e', 'up': false, 'addresses': ['10.9.9.9/24']}]}]",
          NULL,
          { "the interface e of its migration address 10.9.9.9 is down" } },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        check_case(&cases[i]);
}

static void
test_pairs(void)
{
    static const Case cases[] = {
        { "[" HOST("h1", "11", "") ", {'name': 'h2', 'state': 'connected', "
                                   "'migration_addresses': ['10.78.0.12'],"
                                   " 'nics': [{'name': 'x', 'up': true, 'mtu': 9000, "
                                   "'addresses': ['10.78.0.12/24']}]}]",
          NULL,
          { "warn migration-network h1, h2",
            "warn migration-mtu h1, h2: the MTU of their migration interfaces differs: "
            "1500 and 9000" } },
        { "[{'name': 'a', 'state': 'connected', 'migration_addresses': ['fd00::1'], "
          "'nics': [{'name': 'x', 'up': true, 'addresses': ['fd00::1/64']}]},"
          " {'name': 'b', 'state': 'connected', 'migration_addresses': ['fd00::ffff:2'], "
          "'nics': [{'name': 'x', 'up': true, 'addresses': ['fd00::ffff:2/64']}]}]",
          NULL,
          { "ok migration-address b" },
          "migration-network" },
        { "[" HOST("h1", "11",
                   ", 'versions': {'godwit': '0.1.0', 'qemu': '7.2.22', 'libvirt': "
                   "'9.0.0'}") "," HOST("h2", "12",
                                        ", 'versions': {'godwit': '0.1.0', 'qemu': "
                                        "'8.2.0', 'libvirt': '9.0.4'}") "]",
          NULL,
          { "warn version-QEMU hosts: they run different versions of QEMU: h1 7.2.22, h2 "
            "8.2.0\n",
            "ok version-libvirt", "ok version-godwitd" } },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        check_case(&cases[i]);
}

static void
test_machine_types(void)
{
#define H(name, types)                                                                             \
    "{'name': '" name "', 'uuid': 'uuid-" name "', 'state': 'connected', 'machine_types': [" types \
    "]}"
    static const Case cases[] = {
        { "[" H("h1", "'q35-7', 'q35-8'") "," H("h2", "'q35-7'") "]",
          "[{'name': 'a', 'host': 'uuid-h1', 'state': 'running', 'machine': 'q35-7'}]",
          { "ok machine-type VMs: every host knows the machine types of all 1" } },
        { "[" H("h1", "'q35-7', 'q35-8'") "," H("h2", "'q35-7'") "]",
          "[{'name': 'a', 'host': 'uuid-h1', 'state': 'running', 'machine': 'q35-8'}]",
          { "warn machine-type a: its machine type q35-8 is not known on any other host: h2\n" } },
        { "[" H("h1", "'q35-8'") "," H("h2", "'q35-7'") "," H("h3", "'q35-8'") "]",
          "[{'name': 'a', 'host': 'uuid-h1', 'state': 'running', 'machine': 'q35-8'}]",
          { "is not known on h2\n" } },
        { "[" H("h1",
                "'q35-8'") ", {'name': 'h2', 'state': 'disconnected', 'machine_types': ['x']}]",
          "[{'name': 'a', 'host': 'uuid-h1', 'state': 'running', 'machine': 'q35-8'}]",
          { "error host-connected h2" },
          "machine-type" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        check_case(&cases[i]);
}

/* ---- manager
 * ---------------------------------------------------------------------------------------------------
 */

static char *
judge(const DoctorFacts *facts)
{
    g_autoptr(GPtrArray) findings = findings_new();

    doctor_judge_manager(facts, findings);
    return told(findings);
}

static JsonNode *
node_of(const char *json)
{
    g_autofree char *text = g_strdelimit(g_strdup(json), "'", '"');

    return json_parse_limited(text, strlen(text), NULL);
}

static void
assert_says(const DoctorFacts *facts, const char *part)
{
    g_autofree char *text = judge(facts);

    if (!strstr(text, part))
        g_error("\"%s\" is not in:\n%s", part, text);
}

static void
test_manager(void)
{
    Probe probe = { .clock_ms = 1000000, .asked_ms = 1000400, .answered_ms = 1000600 };
    DoctorFacts facts = { .url = "https://m:8443", .probe = &probe };
    g_autoptr(GError) no_login =
        g_error_new(GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND, "no manager is known");
    g_autoptr(GError) refused =
        g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED, "unknown token");
    g_autoptr(GError) away =
        g_error_new(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE, "connection refused");
    g_autoptr(JsonNode) full = node_of("{'status': 'degraded', 'database': 'full: no space left'}");
    g_autoptr(JsonNode) well = node_of("{'status': 'ok', 'database': 'ok'}"),
                        version = node_of("{'version': '9.9.9'}");

    assert_says(&(DoctorFacts){ .session_error = no_login },
                "error login login: no manager is known");
    assert_says(&(DoctorFacts){ .url = "https://m:8443", .probe_error = away },
                "error manager-reachable https://m:8443: does not answer: connection refused");
    assert_says(&facts, "ok manager-clock");
    probe.clock_ms = 1000000 + 4000;
    assert_says(&facts,
                "warn manager-clock https://m:8443: its clock is 4.0 s ahead of this machine's");
    probe.clock_ms = 1000000 - 100000;
    assert_says(
        &facts,
        "error manager-clock https://m:8443: its clock is 1 min 40 s behind this machine's");
    facts.health = full;
    assert_says(&facts,
                "error database https://m:8443: its database does not work: full: no space left");
    facts.health = well;
    assert_says(&facts, "ok database");
    facts.version = version;
    assert_says(&facts, "warn manager-version https://m:8443: is of version 9.9.9");
    facts.token_error = refused;
    assert_says(&facts, "error token https://m:8443: the token is not accepted: unknown token");
}

static void
test_alarms(void)
{
    g_autoptr(GPtrArray) alarms = records(
        &alarm_record_type, "[{'id': 'a1', 'vm': 'web1', 'message': 'look', 'raised_ms': 1}]");
    Probe probe = { 0 };
    DoctorFacts facts = { .url = "https://m:8443", .probe = &probe, .alarms = alarms };

    assert_says(&facts, "warn alarm web1: look");
}

static void
test_certificate(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_dir_make_tmp("godwit-doctor-XXXXXX", &error),
                    *other_dir = g_dir_make_tmp("godwit-doctor-XXXXXX", &error);
    g_autoptr(Ca) ca = ca_open(dir, NULL, &error), other = ca_open(other_dir, NULL, &error);
    g_autofree char *key = NULL, *request = NULL,
                    *command = g_strdup_printf("rm -rf '%s' '%s'", dir, other_dir);
    IdentityName manager = { IDENTITY_MANAGER, "0f0e0d0c-0b0a-4908-8706-050403020100" },
                 host = { IDENTITY_HOST, "0f0e0d0c-0b0a-4908-8706-050403020101" };
    Probe probe = { 0 };
    DoctorFacts facts = { .url = "https://m:8443", .probe = &probe, .ca_pem = ca->cert };

    g_assert_true(identity_request(&key, &request, &error));
    probe.cert_pem = ca_sign(ca, request, &manager, NULL, 90, &error);
    assert_says(&facts, "ok manager-certificate https://m:8443: its certificate is valid for ");
    g_free(probe.cert_pem);
    probe.cert_pem = ca_sign(ca, request, &manager, NULL, 10, &error);
    assert_says(&facts, "warn manager-certificate https://m:8443: its certificate expires in ");
    g_free(probe.cert_pem);
    probe.cert_pem = ca_sign(ca, request, &host, NULL, 90, &error);
    assert_says(&facts, "error manager-certificate");
    g_free(probe.cert_pem);
    probe.cert_pem = ca_sign(other, request, &manager, NULL, 90, &error);
    assert_says(&facts, "error manager-certificate");
    g_free(probe.cert_pem);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

static void
test_text(void)
{
    g_autoptr(GPtrArray) findings = findings_new();
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) node = NULL;

    found_ok(findings, "a", "h1", "fine");
    found_error(findings, "b", "h2", "do this", "is %s\033[2J", "ill");
    text = findings_text(findings, 0, FALSE);
    g_assert_cmpstr(text, ==,
                    "ok     h1: fine\nerror  h2: is ill?[2J\n       > do this\n\n1 in order, 0 "
                    "warnings, 1 error.\n");
    node = findings_json(findings);
    g_assert_cmpint(json_object_get_int_member(json_node_get_object(node), "errors"), ==, 1);
}

int
main(int argc, char **argv)
{
    setlocale(LC_ALL, "C.UTF-8");
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/doctor/hosts", test_hosts);
    g_test_add_func("/cli/doctor/pairs", test_pairs);
    g_test_add_func("/cli/doctor/machine-types", test_machine_types);
    g_test_add_func("/cli/doctor/manager", test_manager);
    g_test_add_func("/cli/doctor/alarms", test_alarms);
    g_test_add_func("/cli/doctor/certificate", test_certificate);
    g_test_add_func("/cli/doctor/text", test_text);
    return g_test_run();
}
