/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

const char *const incoming_state_nicks[] = { "reserved", "open",  "proved", "running",
                                             "aborted",  "stuck", NULL };

static const RecordField peer_fields[] = {
    STRING(Peer, uuid),
    STRING(Peer, name),
    STRING(Peer, control_address),
    INT(Peer, control_port),
};
RECORD_DEFINE(Peer, peer, "peer", peer_fields);

static const RecordField migration_request_fields[] = {
    STRING(MigrationRequest, id),         STRING(MigrationRequest, vm_uuid),
    STRING(MigrationRequest, policy),     INT(MigrationRequest, max_bps),
    ONE(MigrationRequest, to, peer_type),
};
RECORD_DEFINE(MigrationRequest, migration_request, "migration request", migration_request_fields);

static const RecordField storage_proof_fields[] = {
    STRING(StorageProof, folder),
    STRING(StorageProof, nonce),
};
RECORD_DEFINE(StorageProof, storage_proof, "storage proof", storage_proof_fields);

static const RecordField reservation_request_fields[] = {
    STRING(ReservationRequest, id),
    ONE(ReservationRequest, from, peer_type),
    ONE(ReservationRequest, vm, vm_type),
    ONE(ReservationRequest, host, host_type),
    LIST(ReservationRequest, proofs, storage_proof_type),
};
RECORD_DEFINE(ReservationRequest, reservation_request, "reservation request",
              reservation_request_fields);

static const RecordField reservation_fields[] = {
    STRING(Reservation, id),         STRING(Reservation, ticket), INT(Reservation, expires_s),
    STRINGS(Reservation, addresses), INT(Reservation, port),
};
RECORD_DEFINE(Reservation, reservation, "reservation", reservation_fields);

static const RecordField incoming_fields[] = {
    STRING(Incoming, id),      STRING(Incoming, vm_uuid),
    STRING(Incoming, vm),      ENUM(Incoming, state, incoming_state_nicks),
    STRING(Incoming, reason),  INT(Incoming, monotonic_us),
    INT(Incoming, resumed_us), INT(Incoming, first_frame_us),
    INT(Incoming, announced),  STRINGS(Incoming, warnings),
};
RECORD_DEFINE(Incoming, incoming, "incoming", incoming_fields);

static const RecordField alarm_record_fields[] = {
    STRING(Alarm, id),        STRING(Alarm, host),    STRING(Alarm, vm),
    STRING(Alarm, migration), STRING(Alarm, message), INT(Alarm, raised_ms),
};
RECORD_DEFINE(Alarm, alarm_record, "alarm", alarm_record_fields);
