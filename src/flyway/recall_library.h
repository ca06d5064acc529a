/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/recall.h"

/**
 * The folder of a host's sets: godwitd's side of recall. It opens files for workers, and decides
 * what is kept. Single thread, blocking (small files only). The content's key isn't needed here.
 *
 * Times are wall clock, milliseconds since 1970 (clock_wall_ms()), given by the caller.
 */
typedef struct RecallLibrary RecallLibrary;

/** Of which VMs the pages of one VM may be used (recall.share). */
typedef enum {
    RECALL_SHARE_VM,
    RECALL_SHARE_GROUP,
    RECALL_SHARE_CLUSTER,
    RECALL_N_SHARES
} RecallShare;

/** "vm", "group" or "cluster". */
gboolean recall_share_parse(const char *word, RecallShare *share);

/** The group that a VM's sets are filed under, and whose key encrypts them: "vm:UUID", "group:NAME"
 * or "cluster". group_name: from the VM's metadata, NULL or "" if it has none: then the VM is its
 * own group. (transfer full) */
char *recall_group(RecallShare share, const char *vm, const char *group_name);

/** Of the file system that holds the folder. */
typedef struct {
    guint64 size_bytes;
    guint64 available_bytes; /* to an ordinary user */
} RecallSpace;

/** statvfs(). FALSE with errno. */
gboolean recall_space_real(const char *path, RecallSpace *space);

typedef struct {
    guint64 max_bytes; /* recall.max_bytes; 0: nothing is kept */
    gint64 max_age_ms; /* recall.max_age, since a set was made */
    /** NULL: recall_space_real(). */
    gboolean (*space)(const char *path, RecallSpace *space);
} RecallLimits;

/** Never taken from the file system: a tenth of it, but at least 2 GiB. */
#define RECALL_RESERVE_PART 10u
#define RECALL_RESERVE_MIN (G_GUINT64_CONSTANT(2) << 30)
/** Below that a set isn't begun. */
#define RECALL_QUOTA_MIN (G_GUINT64_CONSTANT(16) << 20)

/** Opens or makes the folder (0700), removes what dead sessions left in it. */
RecallLibrary *recall_library_open(const char *path, const RecallLimits *limits, GError **error);
void recall_library_free(RecallLibrary *library);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallLibrary, recall_library_free)

/** A set. The library's, valid until something is changed. */
typedef struct {
    char id[37]; /* the migration's UUID */
    char *vm, *group, *peer;
    gboolean open; /* a session is making it */
    guint32 pages; /* 0 while open */
    guint64 bytes; /* of its own two files; its quota while open */
    gint64 created_ms, used_ms;
    GPtrArray *segments; /* RecallHeld: files that it needs; while open: that it may come to need */
} RecallSet;

/** A pages file. */
typedef struct {
    char id[37]; /* the set that made it */
    char *vm;    /* whose pages are in it */
} RecallHeld;

/** All of them, oldest first. The library's. */
const GPtrArray *recall_library_sets(RecallLibrary *library);

/** Whose session it is. */
typedef struct {
    const char *id;                /* the migration's UUID */
    const char *vm, *group, *peer; /* UUIDs of VM and other host; recall_group() */
    guint64 memory_bytes;          /* of the VM */
    const RecallSet *const *reads; /* the sets that were chosen; may be NULL */
    guint n_reads;
} RecallWish;

/** Committed sets of this group and peer, at most RECALL_SETS_MAX and max_pages pages: each VM's
 * newest before older ones, the VM's own before others', new before old. (transfer container) */
GPtrArray *recall_library_choose(RecallLibrary *library, const RecallWish *wish, guint32 max_pages);

/** Opens a chosen set for reading and notes its use. Only if its index can't be opened it is an
 * error (and the set is gone). The caller closes what is >= 0. */
gboolean recall_library_files(RecallLibrary *library, const RecallSet *set, gint64 now_ms,
                              RecallFiles *files, GError **error);

typedef struct {
    int index_fd, pages_fd; /* the caller's; pages_fd is locked (flock) while anybody has it open */
    guint64 max_bytes;      /* RecallWriterOptions.max_bytes */
} RecallTicket;

/** Begins a set: its files, and a quota of half of the VM's memory, or what there is of it. For a
 * quarter of that, sets are removed that weren't used for longest and aren't read by this session.
 * GODWIT_ERROR_NO_SPACE: too little; _CONFLICT: there is a set of that id. The session goes on
 * without recall. */
gboolean recall_library_create(RecallLibrary *library, const RecallWish *wish, gint64 now_ms,
                               RecallTicket *ticket, GError **error);

/** The worker has finished the set: from now on it is chosen. Removes what it replaces and what
 * exceeds the limits. On error the set is gone. */
gboolean recall_library_commit(RecallLibrary *library, const char *id, gint64 now_ms,
                               GError **error);

/** The session has ended without. Unknown ids are no harm. */
void recall_library_abandon(RecallLibrary *library, const char *id);

/** By age, bytes and the file system's reserve. Returns how many sets were removed. */
guint recall_library_expire(RecallLibrary *library, gint64 now_ms);

/** Removes every set that holds or refers to pages of this VM (NULL: all sets). Sets that sessions
 * are making aren't committed any more. Returns how many. */
guint recall_library_clear(RecallLibrary *library, const char *vm);

/** A session has ended: so many pages were looked up, and so many of them found. */
void recall_library_note(RecallLibrary *library, guint64 asked, guint64 found);

typedef struct {
    guint sets;
    guint64 bytes; /* on disk, with what sessions are writing */
    guint64 max_bytes;
    gint64 oldest_ms;     /* when the oldest set was made; 0: none */
    guint64 asked, found; /* pages, since the folder was made */
} RecallStatistics;

void recall_library_statistics(RecallLibrary *library, RecallStatistics *statistics);
