/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include "model/model.h"

/**
 * The hypervisor: the one place of Godwit that knows libvirt (hv_libvirt.c); hv_fake.c is a small
 * in-memory stand-in with faults for unit tests. All calls block and may be made from any thread;
 * events arrive in the GMainContext given at hv_*_new. Errors: GODWIT_ERROR_HYPERVISOR with libvirt's own words,
 * _NOT_FOUND for an unknown VM, _UNREACHABLE when libvirt doesn't answer (it is being reconnected by itself).
 */
typedef struct Hv Hv;

typedef enum {
    HV_EVENT_CONNECTED,    /* libvirt answers (again): everything may have changed */
    HV_EVENT_DISCONNECTED,
    HV_EVENT_VM,           /* VM defined, undefined, started, stopped, changed: read it again. uuid */
    HV_EVENT_SUSPENDED_FOR_MIGRATION, /* its CPUs stopped for the switch. uuid */
    HV_EVENT_MIGRATION_PASS, /* QEMU begins another pass. uuid, number */
    HV_EVENT_NETWORK, HV_EVENT_DATASTORE, /* something of the kind changed: read all again */
} HvEventKind;

typedef struct {
    HvEventKind kind;
    const char *uuid;      /* VM's, or NULL */
    gint64 number;         /* pass */
    gint64 monotonic_us;   /* when it reached us */
} HvEvent;

typedef void (*HvEventFunc)(const HvEvent *event, gpointer data);

/* Reasons of a paused VM (Vm.state_reason) that decisions hang on. */
#define HV_PAUSED_BY_PERSON "paused by a person"
#define HV_PAUSED_FOR_MIGRATION "for its migration"

/** What virDomainGetJobStats tells of a running outgoing migration. */
typedef struct {
    gboolean active; /* until libvirt has forgotten the job: also through its Finish and Confirm */
    gint64 total_bytes, processed_bytes, remaining_bytes; /* memory */
    gint64 rate_bps, dirty_bps; /* bytes per second; 0 = unknown */
    gint64 pass;
    gint64 pages_normal, pages_zero; /* sent so far (VIR_DOMAIN_JOB_MEMORY_NORMAL, _CONSTANT) */
    gint64 downtime_ms; /* QEMU's expectation, 0 = unknown */
} HvJob;

typedef struct {
    const char *vm_uuid;
    const char *rpc_socket;    /* source: unix socket that leads to the destination's libvirt */
    const char *stream_socket; /* both sides: where QEMU's stream goes; the destination's QEMU listens there */
    const char *disks_socket;  /* where each side's QEMU finds NBD: disks that aren't shared are copied, to files that are there
                                * already; the destination's QEMU listens there. NULL: none is copied */
    gboolean start_paused;     /* destination stays paused after Finish */
    gboolean storage_proved;   /* the caller has proved that all disks are shared and coherent: libvirt's own guess,
                                * which knows only some network file systems, is skipped (VIR_MIGRATE_UNSAFE) */
} HvMigrate;

typedef struct {
    void (*free)(Hv *hv);
    gboolean (*is_connected)(Hv *hv);
    /* Host, networks, datastores, VMs: whole. (transfer full) */
    Facts *(*facts)(Hv *hv, GError **error);
    Host *(*host)(Hv *hv, GError **error);
    GPtrArray *(*networks)(Hv *hv, GError **error);
    GPtrArray *(*datastores)(Hv *hv, GError **error);
    Vm *(*vm)(Hv *hv, const char *uuid, GError **error); /* NOT_FOUND where it is not (any more) */
    Vm *(*vm_by_name)(Hv *hv, const char *name, GError **error);
    char *(*vm_xml)(Hv *hv, const char *uuid, GError **error);
    gboolean (*stats)(Hv *hv, GPtrArray *vms, GError **error); /* fills .stats of running ones */
    /* Migration. migrate blocks until libvirt's peer-to-peer migration ended; cancel by job_abort. */
    gboolean (*migrate)(Hv *hv, const HvMigrate *how, GError **error);
    gboolean (*job)(Hv *hv, const char *uuid, HvJob *job, GError **error);
    gboolean (*job_abort)(Hv *hv, const char *uuid, GError **error);
    gboolean (*set_max_downtime)(Hv *hv, const char *uuid, gint64 ms, GError **error);
    gboolean (*resume)(Hv *hv, const char *uuid, GError **error); /* OK if it runs already */
    /* Ends the VM's process here; undefine also removes the definition. OK if it is gone. */
    gboolean (*destroy)(Hv *hv, const char *uuid, gboolean undefine, GError **error);
    /* A connected descriptor to the libvirt daemon's RPC socket (connected with our credentials). */
    int (*connect_rpc)(Hv *hv, GError **error);
} HvOps;

struct Hv {
    const HvOps *ops;
};

/**
 * Adopts the libvirt at uri ("qemu:///system"; NULL = that). Finds monolithic libvirtd and modular
 * virtqemud by their sockets. Doesn't fail where libvirt is down: HV_EVENT_CONNECTED comes later; tries again by watching the socket's
 * folder and with growing delays of 1 to 30 s. Events: func is called in context.
 */
Hv *hv_libvirt_new(const char *uri, GMainContext *context, HvEventFunc func, gpointer data, GError **error);

/** For tests. See hv_fake.h for what can be set. */
Hv *hv_fake_new(GMainContext *context, HvEventFunc func, gpointer data);

static inline void
hv_free(Hv *hv)
{
    if (hv)
        hv->ops->free(hv);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hv, hv_free)
