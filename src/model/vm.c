/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

const char *const vm_state_nicks[] = {
    "running", "paused", "shutoff", "crashed", "suspended", NULL
};

static const RecordField vm_disk_fields[] = {
    STRING(VmDisk, target),  STRING(VmDisk, device),   STRING(VmDisk, type),
    STRING(VmDisk, source),  STRING(VmDisk, protocol), STRINGS(VmDisk, hosts),
    STRING(VmDisk, format),  STRING(VmDisk, cache),    BOOL(VmDisk, read_only),
    BOOL(VmDisk, shareable),
};
RECORD_DEFINE(VmDisk, vm_disk, "vm disk", vm_disk_fields);

static const RecordField vm_nic_fields[] = {
    STRING(VmNic, mac),    STRING(VmNic, type),   STRING(VmNic, network), STRING(VmNic, port_group),
    STRING(VmNic, bridge), STRING(VmNic, target), STRING(VmNic, model),
};
RECORD_DEFINE(VmNic, vm_nic, "vm nic", vm_nic_fields);

static const RecordField vm_device_fields[] = {
    STRING(VmDevice, kind),
    STRING(VmDevice, detail),
};
RECORD_DEFINE(VmDevice, vm_device, "vm device", vm_device_fields);

static const RecordField vm_stats_fields[] = {
    INT(VmStats, cpu_time_ns),      INT(VmStats, memory_rss_bytes), INT(VmStats, disk_read_bytes),
    INT(VmStats, disk_write_bytes), INT(VmStats, net_rx_bytes),     INT(VmStats, net_tx_bytes),
    INT(VmStats, taken_ms),
};
RECORD_DEFINE(VmStats, vm_stats, "vm stats", vm_stats_fields);

static const RecordField vm_fields[] = {
    STRING(Vm, uuid),
    STRING(Vm, name),
    STRING(Vm, host),
    STRING(Vm, host_name),
    ENUM(Vm, state, vm_state_nicks),
    STRING(Vm, state_reason),
    BOOL(Vm, persistent),
    BOOL(Vm, autostart),
    INT(Vm, memory_bytes),
    INT(Vm, memory_max_bytes),
    INT(Vm, vcpus),
    STRING(Vm, machine),
    STRING(Vm, domain_type),
    STRING(Vm, cpu_mode),
    STRING(Vm, cpu_model),
    STRING(Vm, title),
    STRING(Vm, description),
    STRING(Vm, recall_group),
    LIST(Vm, disks, vm_disk_type),
    LIST(Vm, nics, vm_nic_type),
    LIST(Vm, devices, vm_device_type),
    ONE(Vm, stats, vm_stats_type),
    STRING(Vm, migration),
};
RECORD_DEFINE(Vm, vm, "vm", vm_fields);
