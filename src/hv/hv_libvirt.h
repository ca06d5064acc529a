/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/error.h"
#include "hv/hv.h"

/* What the files hv_libvirt*.c share. Nobody else includes this. */

#define HV_LIBVIRT_KEEPALIVE_S 5
#define HV_LIBVIRT_KEEPALIVE_COUNT 5

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virConnect, virConnectClose)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virNetwork, virNetworkFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virStoragePool, virStoragePoolFree)

/* ---- errors (hv_libvirt_error.c) ----------------------------------------------------------------
 */

/**
 * Turns the calling thread's last libvirt error into a GError; `what` says what was tried ("can't
 * resume VM web1"). Call right after the failed call, before anything else of libvirt's.
 * conn: what the call used, or NULL; where it is dead the code is UNREACHABLE.
 */
void hv_libvirt_set_error(GError **error, virConnectPtr conn, const char *what, ...)
    G_GNUC_PRINTF(3, 4);

/** The same for a call on a VM: what ("can't resume") is followed by its name. Every libvirt call,
 * even virDomainGetName, clears the last error, so it is looked up here. */
void hv_libvirt_set_vm_error(GError **error, virDomainPtr domain, const char *what);

/* ---- sockets (hv_libvirt_uri.c)
 * ------------------------------------------------------------------ */

/** One local libvirt daemon: how to open it and where its RPC socket is. */
typedef struct {
    char *uri;    /* for virConnectOpen */
    char *socket; /* path, or NULL where the URI names no local daemon known to us */
} HvLibvirtPlace;

/**
 * Finds the daemon of uri (NULL = "qemu:///system") by the sockets in run_dir ("/run/libvirt"):
 * virtqemud's where it exists, else libvirtd's, else (neither is there yet) libvirtd's path.
 * ?socket= of the URI wins. The only effect is asking whether files exist. Free with
 * hv_libvirt_place_clear.
 */
void hv_libvirt_place_find(HvLibvirtPlace *place, const char *uri, const char *run_dir);
void hv_libvirt_place_clear(HvLibvirtPlace *place);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HvLibvirtPlace, hv_libvirt_place_clear)

/** "qemu+unix:///system?socket=PATH", PATH escaped. (transfer full) */
char *hv_libvirt_uri_of_socket(const char *socket);

/* ---- connection (hv_libvirt_connection.c)
 * -------------------------------------------------------- */

typedef struct HvLibvirtConnection HvLibvirtConnection;

HvLibvirtConnection *hv_libvirt_connection_new(const char *uri, GMainContext *context,
                                               HvEventFunc func, gpointer data);
/** Ends it: no event is delivered any more. Call in the thread that runs the events' context. */
void hv_libvirt_connection_close(HvLibvirtConnection *connection);
gboolean hv_libvirt_connection_is_up(HvLibvirtConnection *connection);
/** The present connection with a reference for the caller; NULL and UNREACHABLE while there is
 * none. */
virConnectPtr hv_libvirt_connection_get(HvLibvirtConnection *connection, GError **error);
/** A second, private connection to the same daemon (for calls that block long). */
virConnectPtr hv_libvirt_connection_open_another(HvLibvirtConnection *connection, GError **error);
/** Place of the daemon now. (transfer full) into *place. */
void hv_libvirt_connection_place(HvLibvirtConnection *connection, HvLibvirtPlace *place);
/** A reference to the VM's handle, from the cache where possible (no round trip then, so the VM may
 * be gone). The handle belongs to the present connection, which it keeps. */
virDomainPtr hv_libvirt_connection_domain(HvLibvirtConnection *connection, const char *uuid,
                                          GError **error);
/** Drops the VM's handle from the cache. */
void hv_libvirt_connection_forget(HvLibvirtConnection *connection, const char *uuid);
/** Puts it in (a reference is taken). */
void hv_libvirt_connection_remember(HvLibvirtConnection *connection, virDomainPtr domain);
/** Sends an event to the owner's context; uuid copied. Any thread. */
void hv_libvirt_connection_emit(HvLibvirtConnection *connection, HvEventKind kind, const char *uuid,
                                gint64 number, gint64 monotonic_us);

/* ---- events (hv_libvirt_event.c)
 * ------------------------------------------------------------------ */

/** Registered callbacks of one connection. */
typedef struct {
    GArray *domain, *network, *pool; /* int: libvirt's callback ids */
} HvLibvirtEvents;

/**
 * Registers for everything that HvEvent tells. FALSE only where VMs' lifecycle can't be had; others
 * that the daemon lacks (modular without virtnetworkd, old version) are left out. connection: each
 * callback holds a reference of it (hv_libvirt_connection_ref/_unref).
 */
gboolean hv_libvirt_events_register(HvLibvirtEvents *events, virConnectPtr conn,
                                    HvLibvirtConnection *connection, GError **error);
void hv_libvirt_events_deregister(HvLibvirtEvents *events, virConnectPtr conn);

HvLibvirtConnection *hv_libvirt_connection_ref(HvLibvirtConnection *connection);
void hv_libvirt_connection_unref(HvLibvirtConnection *connection);

/* ---- the hypervisor object (hv_libvirt.c) and its operations
 * ---------------------------------------- */

typedef struct {
    Hv hv; /* first */
    HvLibvirtConnection *connection;
    GMutex lock;
    char *host_uuid; /* under lock; NULL until first known */
} HvLibvirt;

/* hv_libvirt_facts.c */
Facts *hv_libvirt_facts(Hv *hv, GError **error);
Host *hv_libvirt_host(Hv *hv, GError **error);
GPtrArray *hv_libvirt_networks(Hv *hv, GError **error);
GPtrArray *hv_libvirt_datastores(Hv *hv, GError **error);

/* hv_libvirt_vm.c */
GPtrArray *hv_libvirt_vms(HvLibvirt *self, GError **error);
Vm *hv_libvirt_vm(Hv *hv, const char *uuid, GError **error);
Vm *hv_libvirt_vm_by_name(Hv *hv, const char *name, GError **error);
char *hv_libvirt_vm_xml(Hv *hv, const char *uuid, GError **error);
gboolean hv_libvirt_stats(Hv *hv, GPtrArray *vms, GError **error);
gboolean hv_libvirt_resume(Hv *hv, const char *uuid, GError **error);
gboolean hv_libvirt_destroy(Hv *hv, const char *uuid, gboolean undefine, GError **error);

/* hv_libvirt_migrate.c */
/** virDomainMigrateToURI3's parameters, to be freed with virTypedParamsFree, also on failure; -1
 * with libvirt's error. */
int hv_libvirt_migrate_params(const HvMigrate *how, virTypedParameterPtr *list, int *n);
/** Its flags. persistent: the VM has a definition here. */
unsigned int hv_libvirt_migrate_flags(const HvMigrate *how, gboolean persistent);
gboolean hv_libvirt_migrate(Hv *hv, const HvMigrate *how, GError **error);
gboolean hv_libvirt_job(Hv *hv, const char *uuid, HvJob *job, GError **error);
gboolean hv_libvirt_job_abort(Hv *hv, const char *uuid, GError **error);
gboolean hv_libvirt_set_max_downtime(Hv *hv, const char *uuid, gint64 ms, GError **error);

/** Host UUID, of conn's capabilities if not known yet (slow at libvirtd's start: it probes every
 * QEMU);
 * "" where libvirt has none. (transfer full) */
char *hv_libvirt_host_uuid(HvLibvirt *self, virConnectPtr conn, GError **error);
