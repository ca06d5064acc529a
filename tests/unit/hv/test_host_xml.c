/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/record.h"
#include "hv/hv_nic.h"
#include "hv/hv_xml.h"

/* Capabilities, networks and pools: each row's XML must become exactly its JSON. */

#define CPU_HEAD "<capabilities><host><uuid>240C6CBD-67f1-4d52-a3cf-411fb9daf2e5</uuid>"

typedef struct {
    const char *name;
    const RecordType *type;
    gpointer (*parse)(const char *xml, GError **error);
    const char *xml, *json;
} Row;

#define HOST(name_) .name = name_, .type = &host_type, .parse = (gpointer)hv_host_xml_parse
#define NETWORK(name_) .name = name_, .type = &network_type, .parse = (gpointer)hv_network_xml_parse
#define POOL(name_) .name = name_, .type = &datastore_type, .parse = (gpointer)hv_pool_xml_parse
#define UUID "86374836-5287-47dc-ac8f-2d3a94a8d459"

static const Row rows[] = {
    { HOST("host/debian-12"),
      .xml = CPU_HEAD
      "<cpu><arch>x86_64</arch><model>EPYC-Rome</model><vendor>AMD</vendor>"
      "<topology sockets='1' dies='1' cores='2' threads='2'/>"
      "<feature name='vme'/><feature name='x2apic'/><pages unit='KiB' size='4'/></cpu>"
      "<topology><cells num='2'><cell id='0'><cpus num='4'>"
      "<cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0-1'/>"
      "<cpu id='1' socket_id='0' die_id='0' core_id='0' siblings='0-1'/>"
      "<cpu id='2' socket_id='0' die_id='1' core_id='0' siblings='2-3'/>"
      "<cpu id='3' socket_id='0' die_id='1' core_id='0' siblings='2-3'/></cpus></cell>"
      "<cell id='1'><cpus num='4'>"
      "<cpu id='4' socket_id='1' die_id='0' core_id='0' siblings='4-5'/>"
      "<cpu id='5' socket_id='1' die_id='0' core_id='0' siblings='4-5'/>"
      "<cpu id='6' socket_id='1' die_id='0' core_id='1' siblings='6-7'/>"
      "<cpu id='7'/></cpus></cell></cells></topology>"
      "<secmodel><model>apparmor</model><doi>0</doi></secmodel>"
      "<secmodel><model>dac</model><doi>0</doi><baselabel type='qemu'>+1:+2</baselabel>"
      "<baselabel type='kvm'>+64055:+109</baselabel></secmodel></host>"
      "<guest><os_type>hvm</os_type><arch name='i686'><machine>none</machine></arch></guest>"
      "<guest><os_type>hvm</os_type><arch name='x86_64'>"
      "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
      "<machine maxCpus='255'>pc-i440fx-7.2</machine>"
      "<machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>"
      "<machine maxCpus='288'>pc-q35-7.2</machine><machine>pc</machine>"
      "<domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>",
      .json = "{\"uuid\":\"240c6cbd-67f1-4d52-a3cf-411fb9daf2e5\",\"cpu\":{"
              "\"model\":\"EPYC-Rome\",\"vendor\":\"AMD\",\"arch\":\"x86_64\","
              "\"features\":[\"vme\",\"x2apic\"],\"sockets\":2,\"cores\":4,\"threads\":2},"
              "\"machine_types\":[\"pc-i440fx-7.2\",\"pc\",\"pc-q35-7.2\"],"
              "\"qemu_owner\":\"64055:109\",\"security_model\":\"apparmor\"}" },
    { HOST("host/no-cpu-list"),
      .xml = CPU_HEAD
      "<cpu><arch>aarch64</arch><topology sockets='2' dies='1' cores='8' threads='1'/></cpu>"
      "<secmodel><model>dac</model><baselabel type='qemu'>+0:+0</baselabel></secmodel>"
      "</host></capabilities>",
      .json = "{\"uuid\":\"240c6cbd-67f1-4d52-a3cf-411fb9daf2e5\",\"cpu\":{\"arch\":\"aarch64\","
              "\"sockets\":2,\"cores\":16,\"threads\":1},"
              "\"qemu_owner\":\"0:0\",\"security_model\":\"none\"}" },
    { HOST("host/empty"), .xml = "<capabilities/>",
      .json = "{\"cpu\":{},\"security_model\":\"none\"}" },
    { NETWORK("network/nat"),
      .xml =
          "<network><name>default</name><uuid>" UUID "</uuid><forward mode='nat'><nat/></forward>"
          "<bridge name='virbr0' stp='on' delay='0'/></network>",
      .json = "{\"name\":\"default\",\"uuid\":\"" UUID "\",\"bridge\":\"virbr0\","
              "\"forward\":\"nat\"}" },
    { NETWORK("network/bridge-with-port-groups"),
      .xml =
          "<network connections='2'><name>lan</name><uuid>" UUID "</uuid>"
          "<forward mode='bridge'/><bridge name='br0'/><virtualport type='openvswitch'/>"
          "<portgroup name='all' default='yes'/><portgroup name='dmz'><vlan><tag id='42'/></vlan>"
          "</portgroup><portgroup/></network>",
      .json = "{\"name\":\"lan\",\"uuid\":\"" UUID "\",\"bridge\":\"br0\",\"forward\":\"bridge\","
              "\"port_groups\":[\"all\",\"dmz\"]}" },
    { NETWORK("network/isolated"),
      .xml = "<network><name>alone</name><uuid>" UUID "</uuid><bridge name='virbr7'/></network>",
      .json = "{\"name\":\"alone\",\"uuid\":\"" UUID "\",\"bridge\":\"virbr7\","
              "\"forward\":\"none\"}" },
    { NETWORK("network/forward-without-mode"),
      .xml = "<network><name>n</name><uuid>" UUID "</uuid><forward/></network>",
      .json = "{\"name\":\"n\",\"uuid\":\"" UUID "\",\"forward\":\"nat\"}" },
    { POOL("pool/dir"),
      .xml = "<pool type='dir'><name>vms</name><uuid>" UUID "</uuid>"
             "<capacity unit='bytes'>105152176128</capacity><allocation unit='bytes'>1</allocation>"
             "<available unit='bytes'>77770924032</available><source></source>"
             "<target><path>/srv/vm</path></target></pool>",
      .json = "{\"name\":\"vms\",\"uuid\":\"" UUID "\",\"type\":\"dir\",\"path\":\"/srv/vm\","
              "\"capacity_bytes\":105152176128,\"available_bytes\":77770924032}" },
    { POOL("pool/netfs"),
      .xml = "<pool type='netfs'><name>nfs</name><uuid>" UUID "</uuid><source>"
             "<host name='nas.example.net'/><dir path='/export/vm'/><format type='nfs'/></source>"
             "<target><path>/mnt/vm</path></target></pool>",
      .json = "{\"name\":\"nfs\",\"uuid\":\"" UUID "\",\"type\":\"netfs\",\"path\":\"/mnt/vm\","
              "\"source\":\"nas.example.net:/export/vm\"}" },
    { POOL("pool/iscsi-direct"),
      .xml = "<pool type='iscsi-direct'><name>san</name><uuid>" UUID "</uuid><source>"
             "<host name='10.77.0.200' port='3260'/><device path='iqn.2026-01.example:store'/>"
             "<initiator><iqn name='iqn.2026-01.example:h1'/></initiator></source></pool>",
      .json = "{\"name\":\"san\",\"uuid\":\"" UUID "\",\"type\":\"iscsi-direct\","
              "\"source\":\"10.77.0.200:3260/iqn.2026-01.example:store\"}" },
    { POOL("pool/rbd"),
      .xml = "<pool type='rbd'><name>ceph</name><uuid>" UUID "</uuid><source>"
             "<host name='mon1' port='6789'/><host name='mon2'/><name>vms</name></source></pool>",
      .json = "{\"name\":\"ceph\",\"uuid\":\"" UUID "\",\"type\":\"rbd\","
              "\"source\":\"mon1:6789,mon2/vms\"}" },
    { POOL("pool/logical"),
      .xml = "<pool type='logical'><name>vg</name><uuid>" UUID "</uuid><source>"
             "<name>vg0</name></source><target><path>/dev/vg0</path></target></pool>",
      .json = "{\"name\":\"vg\",\"uuid\":\"" UUID "\",\"type\":\"logical\",\"path\":\"/dev/vg0\","
              "\"source\":\"vg0\"}" },
};

static void
test_row(gconstpointer data)
{
    const Row *row = data;
    g_autoptr(GError) error = NULL;

    gpointer got = row->parse(row->xml, &error);
    g_assert_no_error(error);
    gpointer wanted = record_from_string(row->type, row->json, -1, &error);
    g_assert_no_error(error);
    g_autofree char *got_text = record_to_string(row->type, got);
    g_autofree char *wanted_text = record_to_string(row->type, wanted);
    g_assert_cmpstr(got_text, ==, wanted_text);
    record_free(row->type, got);
    record_free(row->type, wanted);
}

static void
test_invalid(void)
{
    static const char *const bad[] = {
        "",
        "<network/>",
        "<network><name>a</name></network>",
        "<pool type='dir'><uuid>" UUID "</uuid></pool>",
        "<pool",
        "<domain/>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        for (gsize j = 0; j < G_N_ELEMENTS(rows); j++) {
            g_autoptr(GError) error = NULL;
            g_assert_null(rows[j].parse(bad[i], &error));
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        }
    }
}

/* What the kernel of this machine says can't be known here; its shape can. */
static void
test_nics(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) nics = hv_nics_read(&error);

    g_assert_no_error(error);
    for (guint i = 0; i < nics->len; i++) {
        HostNic *nic = g_ptr_array_index(nics, i);
        g_assert_cmpstr(nic->name, !=, "lo");
        g_assert_cmpint(nic->mtu, >, 0);
        g_assert_cmpint(nic->speed_mbps, >=, 0);
        g_assert_cmpint(nic->speed_mbps, <, 10000000);
        for (guint j = 0; nic->addresses && nic->addresses[j]; j++)
            g_assert_nonnull(strchr(nic->addresses[j], '/'));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/hv/", rows[i].name, NULL);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/hv/host-xml/invalid", test_invalid);
    g_test_add_func("/hv/nics", test_nics);
    return g_test_run();
}
