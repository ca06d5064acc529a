/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"

/**
 * The nouns of Godwit. Each is a record (base/record.h): the struct, its fields and its JSON are one
 * table in the .c of the noun. Sizes are bytes, times wall-clock milliseconds since 1970 unless the name says
 * otherwise; strings and lists are owned by the struct.
 *
 * g_autoptr works for each: Host, Vm, Network, Datastore, Migration, Task, …
 */
#define MODEL_DECLARE(Type, type)                                                                  \
    extern const RecordType type##_type;                                                           \
    void type##_free(Type *type);                                                                  \
    G_DEFINE_AUTOPTR_CLEANUP_FUNC(Type, type##_free)

/* ---- host (model/host.c) ------------------------------------------------------------------ */

typedef struct {
    char *model;     /* libvirt's name of the host CPU model, "EPYC-Milan" */
    char *vendor;    /* "AMD" */
    char *arch;      /* "x86_64" */
    GStrv features;  /* beyond the model */
    gint64 sockets, cores, threads; /* per host; threads = per core */
    gint64 cpus;     /* logical CPUs online */
    gint64 mhz;
} HostCpu;
MODEL_DECLARE(HostCpu, host_cpu)

typedef struct {
    char *name;        /* "eth0" */
    char *mac;
    gint64 speed_mbps; /* 0 = unknown (veth, down) */
    gint64 mtu;
    gboolean up;
    char *master;      /* bridge or bond that it is a port of, or NULL */
    GStrv addresses;   /* "10.77.0.11/24" */
} HostNic;
MODEL_DECLARE(HostNic, host_nic)

typedef struct {
    char *godwit, *qemu, *libvirt, *kernel; /* "7.2.22", "9.0.0", "6.1.0-40-amd64" */
} HostVersions;
MODEL_DECLARE(HostVersions, host_versions)

typedef struct {
    gboolean active;    /* migrations use it */
    gboolean keyed;     /* the manager has given the cluster's key since the agent's start */
    char *reason;       /* why migrations don't use it, for a person */
    gint64 sets, bytes; /* what is kept */
    gint64 max_bytes;
    gint64 oldest_ms;   /* when the oldest set was made; 0 = none */
    gint64 pages_asked, pages_found; /* since the folder was made: carried pages that were looked
                                        up, and those of them that were sent as a number */
} HostRecall;
MODEL_DECLARE(HostRecall, host_recall)

typedef enum {
    HOST_CONNECTING,   /* known, never yet heard since the manager's start */
    HOST_CONNECTED,    /* agent answers, libvirt answers */
    HOST_NO_LIBVIRT,   /* agent answers, its libvirt doesn't */
    HOST_DISCONNECTED, /* agent doesn't answer */
} HostState;
extern const char *const host_state_nicks[]; /* connecting connected no-libvirt disconnected */

typedef struct {
    char *uuid; /* identity: libvirt's host UUID */
    char *name; /* hostname; unique in a cluster */
    int state;  /* HostState; set by the manager, and by the agent for its libvirt */
    char *state_reason; /* why not connected */
    char *control_address; /* what the manager and other agents connect to */
    gint64 control_port;
    GStrv migration_addresses;
    gint64 migration_port;
    HostCpu *cpu;
    gint64 memory_total_bytes, memory_free_bytes; /* free: what a new VM could have (MemAvailable) */
    gint64 memory_reserved_bytes; /* set aside for incoming migrations */
    double load_1m;
    gint64 uptime_s;
    GPtrArray *nics; /* HostNic */
    HostVersions *versions;
    HostRecall *recall;  /* NULL = an agent that knows no recall */
    GStrv machine_types; /* of the host's default emulator */
    char *qemu_owner;    /* "uid:gid" that QEMU runs as (libvirt's DAC base label) */
    char *security_model; /* "apparmor", "selinux", "none" beside dac */
    gint64 clock_ms;     /* host's wall clock when the facts were taken */
    gint64 clock_offset_ms; /* how far it is ahead of the manager's, as seen when they came; filled by the manager */
    gint64 vms;          /* count of domains that run */
} Host;
MODEL_DECLARE(Host, host)

/* ---- network, datastore (model/network.c, model/datastore.c) -------------------------------- */

typedef struct {
    char *name;
    char *uuid;
    char *host;    /* UUID of the host whose libvirt has it */
    char *bridge;
    char *forward; /* "bridge", "nat", "route", "none", … */
    gboolean active, autostart;
    GStrv port_groups;
} Network;
MODEL_DECLARE(Network, network)

typedef struct {
    char *name;
    char *uuid;
    char *host; /* UUID */
    char *type; /* libvirt's pool type: "dir", "netfs", "iscsi-direct", … */
    char *path; /* target path, or NULL */
    char *source; /* "host:/dir", "portal/iqn", or NULL */
    gboolean active, autostart;
    gint64 capacity_bytes, available_bytes; /* 0 = unknown */
} Datastore;
MODEL_DECLARE(Datastore, datastore)

/* ---- vm (model/vm.c) ------------------------------------------------------------------------- */

typedef enum { VM_RUNNING, VM_PAUSED, VM_SHUTOFF, VM_CRASHED, VM_SUSPENDED /* pmsuspended */ } VmState;
extern const char *const vm_state_nicks[]; /* running paused shutoff crashed suspended */

typedef struct {
    char *target;   /* "vda" */
    char *device;   /* "disk", "cdrom", "floppy", "lun" */
    char *type;     /* "file", "block", "network", "volume", … */
    char *source;   /* path, device, volume, or "IQN/LUN"; NULL = empty drive */
    char *protocol; /* "iscsi", "rbd", … for network */
    GStrv hosts;    /* "address:port" of a network disk */
    char *format;   /* "raw", "qcow2" */
    char *cache;    /* "none", …; NULL = default */
    gboolean read_only, shareable;
} VmDisk;
MODEL_DECLARE(VmDisk, vm_disk)

typedef struct {
    char *mac;
    char *type;    /* "network", "bridge", "direct", "user", … */
    char *network; /* libvirt network's name */
    char *port_group;
    char *bridge;
    char *target;  /* tap device on the host while it runs */
    char *model;
} VmNic;
MODEL_DECLARE(VmNic, vm_nic)

typedef struct {
    char *kind;   /* "hostdev", "filesystem", "redirdev", "tpm", "memory", "shmem", "vsock", … : devices that matter to a move */
    char *detail; /* "pci 0000:01:00.0", "/srv/share" */
} VmDevice;
MODEL_DECLARE(VmDevice, vm_device)

typedef struct {
    gint64 cpu_time_ns;
    gint64 memory_rss_bytes;
    gint64 disk_read_bytes, disk_write_bytes;
    gint64 net_rx_bytes, net_tx_bytes;
    gint64 taken_ms;
} VmStats;
MODEL_DECLARE(VmStats, vm_stats)

typedef struct {
    char *uuid, *name;
    char *host;      /* UUID of the host it is on */
    char *host_name; /* filled by the manager */
    int state;       /* VmState */
    char *state_reason; /* libvirt's, in words */
    gboolean persistent, autostart;
    gint64 memory_bytes; /* current */
    gint64 memory_max_bytes;
    gint64 vcpus;
    char *machine;   /* "pc-q35-7.2" */
    char *domain_type; /* "kvm" or "qemu" */
    char *cpu_mode, *cpu_model;
    char *title, *description;
    char *recall_group; /* VMs that share remembered pages (docs/recall.md); NULL = it shares with
                           none */
    GPtrArray *disks; /* VmDisk */
    GPtrArray *nics;  /* VmNic */
    GPtrArray *devices; /* VmDevice */
    VmStats *stats;
    char *migration; /* id of the migration it is in, or NULL; filled by the agent */
} Vm;
MODEL_DECLARE(Vm, vm)

/** Everything that one agent tells: the snapshot at connection, and again in parts on change. */
typedef struct {
    Host *host;
    GPtrArray *networks;   /* Network */
    GPtrArray *datastores; /* Datastore */
    GPtrArray *vms;        /* Vm */
} Facts;
MODEL_DECLARE(Facts, facts)

/* ---- migration: request, progress and report (model/migration.c) ------------------------------ */

typedef enum {
    MIGRATION_PENDING,   /* accepted, not begun */
    MIGRATION_RUNNING,   /* a stage is at work */
    MIGRATION_COMPLETED, /* VM runs on the destination */
    MIGRATION_FAILED,    /* VM stays with the source (or never left) */
    MIGRATION_CANCELLED, /* as FAILED, because a person asked */
    MIGRATION_UNSETTLED, /* can't be known yet: nothing guessed, both sides left as is, alarm raised */
} MigrationResult;
extern const char *const migration_result_nicks[]; /* pending running completed failed cancelled unsettled */

typedef struct {
    char *name;   /* "admit", "reserve", "open", "copy", "switch", "announce", "verify", "retire" */
    double start_s; /* since the migration's start */
    double took_s;
    char *result; /* "ok", "failed", "cancelled", "undone", "running" */
    char *detail; /* what was done, in words, or NULL */
} MigrationStage;
MODEL_DECLARE(MigrationStage, migration_stage)

typedef struct {
    gint64 number;           /* 1 = first pass over all memory */
    double start_s;
    gint64 remaining_bytes;  /* when it began */
    gint64 sent_bytes;       /* QEMU's, until it began */
    gint64 dirty_bps;        /* bytes per second dirtied, as QEMU measured in the pass before; 0 = unknown */
    gint64 bandwidth_bps;    /* bytes per second */
    gint64 downtime_limit_ms;
} MigrationPass;
MODEL_DECLARE(MigrationPass, migration_pass)

typedef struct {
    gint64 zero, same, recalled, delta, compressed, raw; /* pages, each as often as QEMU sent it; raw: also those of a stream that
                                                           * wasn't packed */
} MigrationPages;
MODEL_DECLARE(MigrationPages, migration_pages)

typedef struct {
    char *code, *message; /* nick of GODWIT_ERROR, text for a person */
    char *stage;          /* where, or NULL */
} MigrationError;
MODEL_DECLARE(MigrationError, migration_error)

typedef struct {
    gint64 pass;
    gint64 done_bytes, remaining_bytes, total_bytes;
    gint64 rate_bps, dirty_bps; /* bytes per second */
    double eta_s;               /* negative = unknown */
    gboolean cut_off;           /* all data connections are lost; it waits to be resumed */
} MigrationProgress;
MODEL_DECLARE(MigrationProgress, migration_progress)

/** The report of design §10; while it runs, what is known so far. The id is also the task's. */
typedef struct {
    char *id;   /* UUID */
    char *vm, *vm_uuid;
    char *from, *from_uuid, *to, *to_uuid; /* host names and UUIDs */
    char *policy;
    gint64 max_bps; /* cap on what the VM's memory may take of the network, bytes per second; 0 = none */
    int result; /* MigrationResult */
    char *stage; /* name of the one at work, or NULL */
    gint64 started_ms, ended_ms; /* 0 = not yet */
    double total_s;
    double pause_ms;    /* guest CPUs stopped to guest CPUs running; negative = not measured */
    double blackout_ms; /* CPUs stopped to first frame that the VM sent from the destination; negative = not measured */
    gint64 memory_bytes; /* the VM's */
    gint64 wire_bytes;   /* on the migration network, both directions, with TLS */
    gint64 resent_bytes; /* of wire_bytes: sent by the source once more after connections were lost */
    gint64 connections;  /* the most that carried it at once */
    gint64 resumes;      /* how often it went on after all of them were lost */
    MigrationPages *pages;
    GPtrArray *passes; /* MigrationPass, at most MIGRATION_PASSES_MAX, the last kept */
    GPtrArray *stages; /* MigrationStage */
    GStrv warnings;
    MigrationProgress *progress;
    MigrationError *error;
    gboolean cancel_requested;
} Migration;
MODEL_DECLARE(Migration, migration)
#define MIGRATION_PASSES_MAX 200

gboolean migration_is_ended(const Migration *migration); /* COMPLETED, FAILED or CANCELLED */

/* ---- task (model/task.c) ----------------------------------------------------------------------- */

typedef enum { TASK_QUEUED, TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED, TASK_UNSETTLED } TaskState;
extern const char *const task_state_nicks[]; /* queued running succeeded failed cancelled unsettled */

typedef struct {
    char *id; /* UUID; of a migration also the migration's id */
    char *kind; /* "migrate" */
    char *summary; /* "migrate web1 from h1 to h2" */
    int state; /* TaskState */
    gint64 created_ms, started_ms, ended_ms; /* 0 = not yet */
    gboolean cancel_requested;
    MigrationError *error;
    Migration *migration; /* kind "migrate": the report so far */
} Task;
MODEL_DECLARE(Task, task)

gboolean task_is_ended(const Task *task); /* SUCCEEDED, FAILED, CANCELLED */
TaskState task_state_of_migration(MigrationResult result);

/* ---- messages between manager and agents (model/message.c) ------------------------------------- */

/** What a source agent needs to know of the destination. */
typedef struct {
    char *uuid, *name;
    char *control_address;
    gint64 control_port;
} Peer;
MODEL_DECLARE(Peer, peer)

/** manager → source: POST /v1/outgoing. */
typedef struct {
    char *id;
    char *vm_uuid;
    char *policy;
    gint64 max_bps; /* as in Migration; the host's own cap holds, too */
    Peer *to;
} MigrationRequest;
MODEL_DECLARE(MigrationRequest, migration_request)

/** Shows that both hosts see the same folder: the source has written nonce to folder/.godwit-ID. */
typedef struct {
    char *folder; /* absolute */
    char *nonce;  /* 64 hex digits */
} StorageProof;
MODEL_DECLARE(StorageProof, storage_proof)

/** source → destination: POST /v1/incoming; the destination answers with a Reservation. */
typedef struct {
    char *id;
    Peer *from;
    Vm *vm;        /* its full shape, for the checks */
    Host *host;    /* the source's facts */
    GPtrArray *proofs; /* StorageProof: a folder of disks each, where the source could write */
} ReservationRequest;
MODEL_DECLARE(ReservationRequest, reservation_request)

typedef struct {
    char *id;
    char *ticket;        /* 64 hex digits, one use */
    gint64 expires_s;    /* from now */
    GStrv addresses;     /* migration addresses of the destination, in order of preference */
    gint64 port;
} Reservation;
MODEL_DECLARE(Reservation, reservation)

/** State of an incoming migration, as the destination tells it (GET /v1/incoming/{id}). */
typedef enum {
    INCOMING_RESERVED, /* worker waits, nothing came */
    INCOMING_OPEN,     /* both workers proved who they are */
    INCOMING_PROVED,   /* proof that the source can't run it: being started */
    INCOMING_RUNNING,  /* VM runs here: final */
    INCOMING_ABORTED,  /* nothing of it is here: final; it will never be started here */
    INCOMING_STUCK,    /* proved, but the start failed, or fate unknown after a restart: a person is told */
} IncomingState;
extern const char *const incoming_state_nicks[]; /* reserved open proved running aborted stuck */

typedef struct {
    char *id, *vm_uuid, *vm;
    int state; /* IncomingState */
    char *reason;
    gint64 monotonic_us;   /* this host's clock now, for relating clocks */
    gint64 resumed_us;     /* monotonic, when the VM's CPUs started here; 0 = not */
    gint64 first_frame_us; /* monotonic, first frame from the VM after that; 0 = not heard */
    gint64 announced;      /* frames sent */
    GStrv warnings;
} Incoming;
MODEL_DECLARE(Incoming, incoming)

/** Something that a person must know of; kept by the manager until acknowledged. */
typedef struct {
    char *id, *host, *vm, *migration; /* host, vm: names */
    char *message; /* what happened, what was left as is, commands that a person would use */
    gint64 raised_ms;
} Alarm;
MODEL_DECLARE(Alarm, alarm_record)
