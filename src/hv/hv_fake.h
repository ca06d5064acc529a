/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "hv/hv.h"

/**
 * A hypervisor in memory, for unit tests of the layers above: VMs that are only records, a
 * migration that the test steers, and faults. hv is always one made by hv_fake_new. All functions:
 * any thread.
 *
 * It starts connected (without an event), with a small host "fake" and nothing else.
 */

/* ---- what it has. Records are copied; changes send the event that libvirt would.
 * ------------------- */

void hv_fake_set_host(Hv *hv, const Host *host);
void hv_fake_add_network(Hv *hv, const Network *network);
void hv_fake_add_datastore(Hv *hv, const Datastore *datastore);
/** Adds the VM, or replaces the one of that UUID. */
void hv_fake_set_vm(Hv *hv, const Vm *vm);
/** Adds a persistent VM of one vCPU and 512 MiB in that state. */
void hv_fake_add_vm(Hv *hv, const char *uuid, const char *name, VmState state);
void hv_fake_set_vm_state(Hv *hv, const char *uuid, VmState state);
void hv_fake_remove_vm(Hv *hv, const char *uuid);

/* ---- migration
 * ---------------------------------------------------------------------------------------- */

/** Takes migrate's place, in the thread that called it, no lock held: it may block, call hv_fake_*
 * and emit. Left to it is what becomes of the VM. */
typedef gboolean (*HvFakeMigrate)(Hv *hv, const HvMigrate *how, gpointer data, GError **error);

/** func NULL = as at first: CPUs stop (HV_EVENT_SUSPENDED_FOR_MIGRATION), the VM is gone from here,
 * TRUE. */
void hv_fake_on_migrate(Hv *hv, HvFakeMigrate func, gpointer data);
/** What job tells of the VM; NULL = no job. */
void hv_fake_set_job(Hv *hv, const char *uuid, const HvJob *job);
/** Waits until job_abort was called for the VM after its last migrate began; FALSE if ms passed
 * before. */
gboolean hv_fake_wait_abort(Hv *hv, const char *uuid, gint64 ms);
/** The last that set_max_downtime was given, 0 = never. */
gint64 hv_fake_max_downtime(Hv *hv, const char *uuid);

/* ---- faults and events
 * ---------------------------------------------------------------------------------- */

/**
 * The nth call from now (1 = the next) of an operation fails with code and message, without effect.
 * operation: name of the HvOps field, or NULL = calls of any. One order per operation is kept, the
 * last given.
 */
void hv_fake_fail(Hv *hv, const char *operation, guint nth, GodwitError code, const char *message);
/** How often an operation was called so far, failed ones included; NULL = all. */
guint hv_fake_calls(Hv *hv, const char *operation);
/** FALSE: libvirt is gone, every call is UNREACHABLE. Sends the event where it is a change. */
void hv_fake_set_connected(Hv *hv, gboolean connected);
/** Sends any event, stamped with the time now. */
void hv_fake_emit(Hv *hv, HvEventKind kind, const char *uuid, gint64 number);
/** The other end of the oldest descriptor that connect_rpc gave out and nobody took; -1 if none.
 * The caller closes it. */
int hv_fake_take_rpc(Hv *hv);
