/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

const char *const host_state_nicks[] = { "connecting", "connected", "no-libvirt", "disconnected",
                                         NULL };

static const RecordField host_cpu_fields[] = {
    STRING(HostCpu, model),     STRING(HostCpu, vendor), STRING(HostCpu, arch),
    STRINGS(HostCpu, features), INT(HostCpu, sockets),   INT(HostCpu, cores),
    INT(HostCpu, threads),      INT(HostCpu, cpus),      INT(HostCpu, mhz),
};
RECORD_DEFINE(HostCpu, host_cpu, "host cpu", host_cpu_fields);

static const RecordField host_nic_fields[] = {
    STRING(HostNic, name), STRING(HostNic, mac),    INT(HostNic, speed_mbps),    INT(HostNic, mtu),
    BOOL(HostNic, up),     STRING(HostNic, master), STRINGS(HostNic, addresses),
};
RECORD_DEFINE(HostNic, host_nic, "host nic", host_nic_fields);

static const RecordField host_versions_fields[] = {
    STRING(HostVersions, godwit),
    STRING(HostVersions, qemu),
    STRING(HostVersions, libvirt),
    STRING(HostVersions, kernel),
};
RECORD_DEFINE(HostVersions, host_versions, "host versions", host_versions_fields);

static const RecordField host_recall_fields[] = {
    BOOL(HostRecall, active),   BOOL(HostRecall, keyed),      STRING(HostRecall, reason),
    INT(HostRecall, sets),      INT(HostRecall, bytes),       INT(HostRecall, max_bytes),
    INT(HostRecall, oldest_ms), INT(HostRecall, pages_asked), INT(HostRecall, pages_found),
};
RECORD_DEFINE(HostRecall, host_recall, "host recall", host_recall_fields);

static const RecordField host_fields[] = {
    STRING(Host, uuid),
    STRING(Host, name),
    ENUM(Host, state, host_state_nicks),
    STRING(Host, state_reason),
    STRING(Host, control_address),
    INT(Host, control_port),
    STRINGS(Host, migration_addresses),
    INT(Host, migration_port),
    ONE(Host, cpu, host_cpu_type),
    INT(Host, memory_total_bytes),
    INT(Host, memory_free_bytes),
    INT(Host, memory_reserved_bytes),
    DOUBLE(Host, load_1m),
    INT(Host, uptime_s),
    LIST(Host, nics, host_nic_type),
    ONE(Host, versions, host_versions_type),
    ONE(Host, recall, host_recall_type),
    STRINGS(Host, machine_types),
    STRING(Host, qemu_owner),
    STRING(Host, security_model),
    INT(Host, clock_ms),
    INT(Host, clock_offset_ms),
    INT(Host, vms),
};
RECORD_DEFINE(Host, host, "host", host_fields);
