/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** What a bare TLS connection to the manager tells, whoever signed its certificate. */
typedef struct {
    char *cert_pem;
    gint64 clock_ms;              /* the Date of its answer, whole seconds; 0 = none */
    gint64 asked_ms, answered_ms; /* our clock before and after */
} Probe;

/** Blocks, at most 2 × timeout_s. UNREACHABLE where nobody answers. No secret is sent. */
gboolean probe_manager(const char *url, guint timeout_s, Probe *probe, GError **error);
void probe_clear(Probe *probe);
/** Can a TCP connection be made to host:port? Blocks, at most timeout_s. */
gboolean probe_port(const char *host, guint port, guint timeout_s, GError **error);
