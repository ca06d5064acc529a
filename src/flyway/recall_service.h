/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall_library.h"

/**
 * Recall as a migration's stages need it: the library, the cluster's key and the settings behind
 * one lock, and a thread that expires old sets. Any thread may call any function but new and free;
 * the calls do small file work and never wait for a worker.
 */
typedef struct RecallService RecallService;

/** recall.max_bytes = auto: a tenth of the file system, at most so many. */
#define RECALL_AUTO G_MAXUINT64
#define RECALL_AUTO_BYTES (G_GUINT64_CONSTANT(64) << 30)
#define RECALL_AUTO_PART 10u

typedef struct {
    gboolean enabled;    /* FALSE: nothing is used or made, and what is there is removed */
    const char *folder;  /* copied */
    RecallLimits limits; /* max_bytes may be RECALL_AUTO */
    RecallShare share;
    guint expire_s;                 /* how often old sets are looked for; 0: once a day */
    gint64 (*now_ms)(void);         /* wall clock; NULL: clock_wall_ms() */
    void (*changed)(gpointer data); /* recall_service_status() tells something new. In the main
                                       context that is the thread's default in new(); may be NULL */
    gpointer data;
} RecallServiceConfig;

/** Opens the library. Never fails: recall_service_status() tells why there is no recall. */
RecallService *recall_service_new(const RecallServiceConfig *config);
/** Loans are good beyond it; nothing is committed any more. Wipes the key. */
void recall_service_free(RecallService *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallService, recall_service_free)

/** The cluster's recall key, from the manager: in memory only. Sessions under way keep theirs. */
void recall_service_set_key(RecallService *service, const guint8 key[RECALL_KEY_SIZE]);

typedef struct {
    char *reason;    /* why migrations don't use it, for a person; NULL: they do */
    gboolean usable; /* settings and folder are good: at most the key is missing */
    gboolean keyed;  /* recall_service_set_key() was called */
    RecallStatistics statistics;
} RecallStatus;

void recall_service_status(RecallService *service, RecallStatus *status);
void recall_status_clear(RecallStatus *status);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RecallStatus, recall_status_clear)

/** Removes the sets with pages of this VM (a UUID; NULL: all). Needs no key. Returns how many. */
guint recall_service_clear(RecallService *service, const char *vm);

/* ---- sessions -------------------------------------------------------------------------------- */

/** Both hosts of a migration give the same, but for the peer: their workers then find the sets that
 * both have. */
typedef struct {
    const char *migration; /* its UUID: the id of the set that is made */
    const char *vm, *peer; /* UUIDs of VM and other host */
    const char *group;     /* Vm.recall_group; NULL: the VM is its own */
    guint64 memory_bytes;  /* of the VM */
    guint32 max_pages;     /* that the worker may load, over all sets; 0: RECALL_PAGES_MAX */
} RecallOrder;

/** What the worker of one session is given. */
typedef struct {
    guint8 group_key[RECALL_KEY_SIZE];
    guint n_sets; /* older ones, best first */
    struct {
        char id[37];
        guint32 pages;
        RecallFiles files;
    } sets[RECALL_SETS_MAX];
    RecallTicket ticket; /* descriptors -1: nothing is kept of this session, and why: */
    GError *unkept;
} RecallLoan;

/** Chooses and opens older sets and begins a new one. Free the loan when the worker has the
 * descriptors. Where ticket.pages_fd is >= 0, commit or abandon has to follow, by whoever owns the
 * migration then: also after a restart. UNSUPPORTED: there is no recall (now), the migration goes
 * on without. */
RecallLoan *recall_service_begin(RecallService *service, const RecallOrder *order, GError **error);
/** Closes descriptors that are >= 0, wipes the key. */
void recall_loan_free(RecallLoan *loan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallLoan, recall_loan_free)

/** The worker has sealed the set. On error there is none. */
gboolean recall_service_commit(RecallService *service, const char *migration, GError **error);
/** It hasn't, or the migration has failed: nothing is kept. Unknown ids are no harm. */
void recall_service_abandon(RecallService *service, const char *migration);
/** The source's worker has looked up so many pages, and found so many: for the statistics. */
void recall_service_note(RecallService *service, guint64 asked, guint64 found);
