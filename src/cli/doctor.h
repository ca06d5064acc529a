/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/finding.h"
#include "cli/probe.h"
#include "model/model.h"

/**
 * The judging part of "godwit doctor": pure functions from what was gathered to findings.
 * verb_doctor.c gathers from the manager, doctor_local.c looks at this machine.
 */
typedef struct {
    gint64 now_ms;
    const char *url;             /* NULL: no manager is known */
    const GError *session_error; /* why there is no session: no login, CA not to be had, ... */
    const GError *probe_error;   /* nobody answers */
    const Probe *probe;          /* where somebody answers */
    const char *ca_pem;          /* NULL: not known */
    JsonNode *health;            /* GET /healthz, or NULL */
    const GError *health_error;
    JsonNode *version;         /* GET /version, or NULL */
    const GError *token_error; /* what the token met */
    GPtrArray *hosts;          /* Host; NULL: not known */
    GPtrArray *vms;            /* Vm */
    GPtrArray *alarms;         /* Alarm */
} DoctorFacts;

void doctor_judge_manager(const DoctorFacts *facts, GPtrArray *findings);
void doctor_judge_hosts(const DoctorFacts *facts, GPtrArray *findings);
/** VMs' machine types and the hosts that have them. */
void doctor_judge_vms(const DoctorFacts *facts, GPtrArray *findings);

/** Is this machine a host: is there a configuration of godwitd, or does it run here? */
gboolean doctor_is_host(void);
/** Looks at libvirt's sockets, godwitd's configuration, certificate and ports of this machine.
 * Blocks, seconds at most. */
void doctor_look_here(GPtrArray *findings);
