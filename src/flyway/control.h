/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"
#include "net/identity.h"

/**
 * The control channel between godwitd and its worker: one JSON object per datagram of a
 * SOCK_SEQPACKET unix socket, at most CONTROL_MAX bytes, descriptors beside it.
 *
 * Requests, godwitd to worker (member "action"):
 *
 *     start        side, id, vm, self, peer, ticket, ticket_expires_s, resume_s, connections,
 *                  threads, max_bps (what the streams may send, bytes per second; 0: no cap)
 *                  descriptors: identity (control_identity_*), and at the source the listeners for
 *                  rpc, stream and, if disks may be copied, nbd. Once; anything else first is
 *                  ignored
 *     recall       key: of the VM's group, 64 hex digits. Starts recall; before the connection, as
 *                  the next two
 *     recall-set   id, segments: a bit for each that is there
 *                  descriptors: index, and those segments: of an older set
 *     recall-keep  max_bytes   descriptors: index and pages of the session's own set; after all
 *                  others
 *     hurry                                   the VM has stopped: neither the disk nor the cap
 *                                             holds anything up
 *     connection   want (source; else 0)      descriptor: TCP, preamble done
 *     no-connection want                      it can't be had now; the question comes again
 *     lane         want                       descriptor: connected socket for the lane asked for
 *     refuse-lane  want, why
 *     refresh                                 a report comes
 *     end                                     orderly end of session and process
 *
 * Reports, worker to godwitd: always the whole state (ControlReport), at attach, after each change
 * and when asked for; what the worker waits for stands in wants, each with a number of its own. So
 * a report may be dropped or a controller replaced without loss. The last one comes when recall's
 * set is sealed, after that of the session's end.
 *
 * A request that makes no sense is logged by the worker and ignored: only godwitd gets here.
 */
#define CONTROL_MAX (64 * 1024)
#define CONTROL_FDS 9

typedef enum {
    CONTROL_START,
    CONTROL_RECALL,
    CONTROL_RECALL_SET,
    CONTROL_RECALL_KEEP,
    CONTROL_HURRY,
    CONTROL_CONNECTION,
    CONTROL_NO_CONNECTION,
    CONTROL_LANE,
    CONTROL_REFUSE_LANE,
    CONTROL_REFRESH,
    CONTROL_END,
} ControlAction;

typedef struct {
    int action; /* ControlAction */
    int side;   /* FlywaySide */
    char *id, *vm, *self, *peer, *ticket;
    gint64 ticket_expires_s;
    gint64 resume_s, connections, threads, max_bps;
    char *key; /* a secret */
    gint64 segments, max_bytes;
    gint64 want;
    char *why;
} ControlRequest;

typedef struct {
    gint64 number;
    int what; /* of SessionWant */
} ControlWant;

typedef struct {
    int state; /* WorkerState */
    gint64 pid;
    gint64 wire_bytes, rpc_bytes, stream_bytes, nbd_bytes, resent_bytes;
    gint64 connections, resumes;
    gint64 pages_zero, pages_same, pages_recalled, pages_delta, pages_compressed, pages_raw;
    gint64 direct_bytes;
    gint64 recall_sets, recall_asked, recall_found, recall_sealed;
    gboolean finish_forwarded, proved, finish_refused, finish_unsettled;
    gint64 proved_us;
    gint64 clock_offset_us, clock_uncertainty_us; /* uncertainty -1: not measured */
    char *tls;
    char *error_code, *error_message;
    GPtrArray *wants; /* ControlWant */
} ControlReport;

extern const RecordType control_request_type, control_want_type, control_report_type;
void control_request_free(ControlRequest *request);
void control_want_free(ControlWant *want);
void control_report_free(ControlReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ControlRequest, control_request_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ControlReport, control_report_free)

/** A sealed memory file with key, certificate and CA; -1 with error. */
int control_identity_seal(const Identity *identity, GError **error);
/** And back; the name is taken from the certificate. The descriptor stays open. (transfer full) */
Identity *control_identity_read(int fd, GError **error);
