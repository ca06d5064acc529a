/* SPDX-License-Identifier: Apache-2.0 */
/* Each check: that it passes where all is well, and blocks, naming what an administrator needs, where not. */
#include <string.h>

#include "base/error.h"
#include "preflight/preflight.h"

#define GIB (1024LL * 1024 * 1024)

static const char vm_json[] =
    "{'uuid':'aaaaaaaa-0000-0000-0000-000000000001','name':'web1','host':'h1-uuid','state':'running',"
    "'memory_bytes':1073741824,'memory_max_bytes':1073741824,'machine':'pc-q35-7.2',"
    "'disks':[{'target':'vda','device':'disk','type':'file','source':'/srv/shared/web1.img'}],"
    "'nics':[{'mac':'52:54:00:00:00:01','type':'network','network':'lan','port_group':'blue'}]}";

static const char facts_json[] =
    "{'host':{'uuid':'h2-uuid','name':'h2','state':'connected','memory_total_bytes':8589934592,"
    "'memory_free_bytes':4294967296,'machine_types':['pc-q35-7.2'],'nics':[{'name':'br0'}]},"
    "'networks':[{'name':'lan','active':true,'port_groups':['blue']}],"
    "'datastores':[{'name':'shared','path':'/srv/shared','active':true}],'vms':[]}";

typedef struct {
    Vm *vm;
    Facts *source, *destination;
    PreflightInput input;
} Fixture;

static gpointer
parse(const RecordType *type, const char *json)
{
    g_autofree char *text = g_strdelimit(g_strdup(json), "'", '"');
    g_autoptr(GError) error = NULL;
    gpointer record = record_from_string(type, text, -1, &error);

    g_assert_no_error(error);
    return record;
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->vm = parse(&vm_type, vm_json);
    fixture->source = parse(&facts_type, facts_json);
    fixture->destination = parse(&facts_type, facts_json);
    fixture->input = (PreflightInput){ fixture->vm, fixture->source, fixture->destination, GIB / 4 };
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    vm_free(fixture->vm);
    facts_free(fixture->source);
    facts_free(fixture->destination);
}

static void
set(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

static void
assert_passes(const Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) warnings = NULL;

    preflight_admit(&fixture->input, &warnings, &error);
    g_assert_no_error(error);
    g_assert_nonnull(warnings);
}

/** Blocked by this check alone, and the message has all the words (separated by '|'). */
static void
assert_blocked(const Fixture *fixture, const char *id, const char *words)
{
    g_autoptr(GPtrArray) findings = preflight_check(&fixture->input);
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) word = g_strsplit(words, "|", -1);

    g_assert_cmpuint(findings->len, ==, 1);
    g_assert_cmpstr(((PreflightFinding *)findings->pdata[0])->id, ==, id);
    g_assert_false(preflight_admit(&fixture->input, NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_REFUSED);
    for (char **w = word; *w; w++) {
        if (!strstr(error->message, *w))
            g_error("'%s' is not in: %s", *w, error->message);
    }
}

static void
test_passes(Fixture *fixture, gconstpointer data)
{
    assert_passes(fixture);
    fixture->input.source = NULL;
    assert_passes(fixture);
    fixture->input.destination = NULL;
    assert_passes(fixture);
}

static void
test_state(Fixture *fixture, gconstpointer data)
{
    fixture->vm->state = VM_SHUTOFF;
    assert_blocked(fixture, "vm-running", "web1|shutoff|virsh start web1");
    fixture->vm->state = VM_PAUSED;
    assert_blocked(fixture, "vm-running", "web1|paused|virsh resume web1");
}

static void
test_same_host(Fixture *fixture, gconstpointer data)
{
    set(&fixture->vm->host, "h2-uuid");
    g_ptr_array_add(fixture->destination->vms, record_copy(&vm_type, fixture->vm));
    fixture->destination->host->memory_free_bytes = 0; /* doesn't matter then */
    assert_blocked(fixture, "different-host", "web1|h2|already");
}

static void
test_destination_down(Fixture *fixture, gconstpointer data)
{
    fixture->destination->host->state = HOST_DISCONNECTED;
    set(&fixture->destination->host->state_reason, "connection refused");
    assert_blocked(fixture, "destination-up", "h2|disconnected|connection refused|godwit doctor");
}

static void
test_names(Fixture *fixture, gconstpointer data)
{
    Vm *other = record_copy(&vm_type, fixture->vm);

    other->state = VM_SHUTOFF;
    g_ptr_array_add(fixture->destination->vms, other);
    assert_blocked(fixture, "uuid-free", "h2|aaaaaaaa-0000-0000-0000-000000000001|virsh undefine web1");
    set(&other->uuid, "bbbbbbbb-0000-0000-0000-000000000002");
    assert_blocked(fixture, "name-free", "h2|web1|bbbbbbbb|virsh domrename");
    set(&other->name, "web2");
    assert_passes(fixture);
}

static void
test_memory(Fixture *fixture, gconstpointer data)
{
    Host *host = fixture->destination->host;

    host->memory_free_bytes = GIB + GIB / 4; /* exactly the VM and the headroom */
    assert_passes(fixture);
    host->memory_free_bytes -= 1;
    assert_blocked(fixture, "memory", "h2|web1|1 GiB");
    host->memory_free_bytes = 4 * GIB;
    host->memory_reserved_bytes = 3 * GIB;
    assert_blocked(fixture, "memory", "h2|3 GiB");
}

static void
test_datastore(Fixture *fixture, gconstpointer data)
{
    Datastore *there = fixture->destination->datastores->pdata[0];

    there->active = FALSE;
    assert_blocked(fixture, "datastore", "vda|web1|/srv/shared/web1.img|h2|virsh pool-start shared");
    there->active = TRUE;
    set(&there->path, "/srv/shar"); /* a prefix of the name, not a folder above it */
    assert_blocked(fixture, "datastore", "h2");
    set(&((VmDisk *)fixture->vm->disks->pdata[0])->source, NULL); /* empty drive */
    assert_passes(fixture);
}

static void
test_network(Fixture *fixture, gconstpointer data)
{
    Network *there = fixture->destination->networks->pdata[0];
    VmNic *nic = fixture->vm->nics->pdata[0];

    g_clear_pointer(&there->port_groups, g_strfreev);
    assert_blocked(fixture, "network", "lan|h2|port group blue|virsh net-edit lan");
    there->active = FALSE;
    assert_blocked(fixture, "network", "lan|h2|virsh net-start lan");
    set(&there->name, "other");
    assert_blocked(fixture, "network", "lan|h2|52:54:00:00:00:01|virsh net-define");
    /* As libvirt tells of a running VM: the network, and the bridge that it led to. */
    set(&nic->type, "bridge");
    set(&nic->bridge, "br0");
    assert_blocked(fixture, "network", "lan|h2|52:54:00:00:00:01|virsh net-define");
    g_clear_pointer(&nic->network, g_free);
    assert_passes(fixture);
    set(&nic->bridge, "br1");
    assert_blocked(fixture, "network", "br1|h2|web1");
}

static void
test_machine(Fixture *fixture, gconstpointer data)
{
    set(&fixture->vm->machine, "pc-q35-9.1");
    assert_blocked(fixture, "machine-type", "pc-q35-9.1|h2|web1");
    g_clear_pointer(&fixture->destination->host->machine_types, g_strfreev);
    assert_passes(fixture); /* unknown there: libvirt decides */
}

static void
test_all_told(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fixture->vm->state = VM_SHUTOFF;
    fixture->destination->host->memory_free_bytes = 0;
    g_assert_false(preflight_admit(&fixture->input, NULL, &error));
    g_assert_nonnull(strstr(error->message, "check vm-running"));
    g_assert_nonnull(strstr(error->message, "check memory"));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*run)(Fixture *, gconstpointer);
    } tests[] = {
        { "/preflight/passes", test_passes },   { "/preflight/vm-running", test_state },
        { "/preflight/different-host", test_same_host }, { "/preflight/destination-up", test_destination_down },
        { "/preflight/names", test_names },     { "/preflight/memory", test_memory },
        { "/preflight/datastore", test_datastore }, { "/preflight/network", test_network },
        { "/preflight/machine-type", test_machine }, { "/preflight/all-told", test_all_told },
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
