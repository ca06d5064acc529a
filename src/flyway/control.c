/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/control.h"

#include <errno.h>
#include <string.h>
#include "base/error.h"
#include "base/fd.h"

static const char *const action_nicks[] = {
    "start",         "recall", "recall-set",  "recall-keep", "hurry", "connection",
    "no-connection", "lane",   "refuse-lane", "refresh",     "end",   NULL,
};
static const char *const side_nicks[] = { "source", "destination", NULL };
static const char *const state_nicks[] = { "starting", "ready", "open", "failed", "ended", NULL };
static const char *const what_nicks[] = { "connection", "rpc", "stream", "nbd", NULL };

static const RecordField request_fields[] = {
    RECORD_ENUM_FIELD(ControlRequest, action, action_nicks),
    RECORD_ENUM_FIELD(ControlRequest, side, side_nicks),
    RECORD_FIELD(ControlRequest, id, STRING),
    RECORD_FIELD(ControlRequest, vm, STRING),
    RECORD_FIELD(ControlRequest, self, STRING),
    RECORD_FIELD(ControlRequest, peer, STRING),
    RECORD_FIELD(ControlRequest, ticket, STRING),
    RECORD_FIELD(ControlRequest, ticket_expires_s, INT),
    RECORD_FIELD(ControlRequest, resume_s, INT),
    RECORD_FIELD(ControlRequest, connections, INT),
    RECORD_FIELD(ControlRequest, threads, INT),
    RECORD_FIELD(ControlRequest, max_bps, INT),
    RECORD_FIELD(ControlRequest, key, STRING),
    RECORD_FIELD(ControlRequest, segments, INT),
    RECORD_FIELD(ControlRequest, max_bytes, INT),
    RECORD_FIELD(ControlRequest, want, INT),
    RECORD_FIELD(ControlRequest, why, STRING),
};
RECORD_DEFINE(ControlRequest, control_request, "ControlRequest", request_fields);

static const RecordField want_fields[] = {
    RECORD_FIELD(ControlWant, number, INT),
    RECORD_ENUM_FIELD(ControlWant, what, what_nicks),
};
RECORD_DEFINE(ControlWant, control_want, "ControlWant", want_fields);

static const RecordField report_fields[] = {
    RECORD_ENUM_FIELD(ControlReport, state, state_nicks),
    RECORD_FIELD(ControlReport, pid, INT),
    RECORD_FIELD(ControlReport, wire_bytes, INT),
    RECORD_FIELD(ControlReport, rpc_bytes, INT),
    RECORD_FIELD(ControlReport, stream_bytes, INT),
    RECORD_FIELD(ControlReport, nbd_bytes, INT),
    RECORD_FIELD(ControlReport, resent_bytes, INT),
    RECORD_FIELD(ControlReport, connections, INT),
    RECORD_FIELD(ControlReport, resumes, INT),
    RECORD_FIELD(ControlReport, pages_zero, INT),
    RECORD_FIELD(ControlReport, pages_same, INT),
    RECORD_FIELD(ControlReport, pages_recalled, INT),
    RECORD_FIELD(ControlReport, pages_delta, INT),
    RECORD_FIELD(ControlReport, pages_compressed, INT),
    RECORD_FIELD(ControlReport, pages_raw, INT),
    RECORD_FIELD(ControlReport, direct_bytes, INT),
    RECORD_FIELD(ControlReport, recall_sets, INT),
    RECORD_FIELD(ControlReport, recall_asked, INT),
    RECORD_FIELD(ControlReport, recall_found, INT),
    RECORD_FIELD(ControlReport, recall_sealed, INT),
    RECORD_FIELD(ControlReport, finish_forwarded, BOOL),
    RECORD_FIELD(ControlReport, proved, BOOL),
    RECORD_FIELD(ControlReport, finish_refused, BOOL),
    RECORD_FIELD(ControlReport, finish_unsettled, BOOL),
    RECORD_FIELD(ControlReport, proved_us, INT),
    RECORD_FIELD(ControlReport, clock_offset_us, INT),
    RECORD_FIELD(ControlReport, clock_uncertainty_us, INT),
    RECORD_FIELD(ControlReport, tls, STRING),
    RECORD_FIELD(ControlReport, error_code, STRING),
    RECORD_FIELD(ControlReport, error_message, STRING),
    RECORD_FIELD_OF(ControlReport, wants, LIST, control_want_type),
};
RECORD_DEFINE(ControlReport, control_report, "ControlReport", report_fields);

/* ---- identity: three NUL-terminated PEM texts ------------------------------------------------ */

int
control_identity_seal(const Identity *identity, GError **error)
{
    const char *const texts[] = { identity->key, identity->cert, identity->ca };
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    int fd;

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        g_byte_array_append(bytes, (const guint8 *)texts[i], (guint)strlen(texts[i]) + 1);
    fd = fd_sealed("godwit-identity", bytes->data, bytes->len);
    if (fd < 0)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                    "Can't make a memory file for the worker's certificate: %s", g_strerror(errno));
    explicit_bzero(bytes->data, bytes->len);
    return fd;
}

Identity *
control_identity_read(int fd, GError **error)
{
    gsize length = 0;
    char *bytes = fd_read_all(fd, CONTROL_MAX, &length, error);
    const char *texts[3] = { NULL };
    const char *at = bytes;
    g_autoptr(Identity) identity = g_new0(Identity, 1);

    if (bytes == NULL)
        return NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(texts) && at < bytes + length; i++) {
        texts[i] = at;
        at += strlen(at) + 1; /* fd_read_all terminates */
    }
    identity->key = g_strdup(texts[0]);
    identity->cert = g_strdup(texts[1]);
    identity->ca = g_strdup(texts[2]);
    explicit_bzero(bytes, length);
    g_free(bytes);
    if (identity->ca == NULL) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                            "The worker's identity isn't key, certificate and CA");
        return NULL;
    }
    if (!identity_name_of(identity->cert, &identity->name, error))
        return NULL;
    return g_steal_pointer(&identity);
}
