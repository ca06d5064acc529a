/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

static const RecordField network_fields[] = {
    STRING(Network, name),    STRING(Network, uuid),         STRING(Network, host),
    STRING(Network, bridge),  STRING(Network, forward),      BOOL(Network, active),
    BOOL(Network, autostart), STRINGS(Network, port_groups),
};
RECORD_DEFINE(Network, network, "network", network_fields);
