/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

static const RecordField datastore_fields[] = {
    STRING(Datastore, name),         STRING(Datastore, uuid),    STRING(Datastore, host),
    STRING(Datastore, type),         STRING(Datastore, path),    STRING(Datastore, source),
    BOOL(Datastore, active),         BOOL(Datastore, autostart), INT(Datastore, capacity_bytes),
    INT(Datastore, available_bytes),
};
RECORD_DEFINE(Datastore, datastore, "datastore", datastore_fields);
