/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

static const RecordField facts_fields[] = {
    ONE(Facts, host, host_type),
    LIST(Facts, networks, network_type),
    LIST(Facts, datastores, datastore_type),
    LIST(Facts, vms, vm_type),
};
RECORD_DEFINE(Facts, facts, "facts", facts_fields);
