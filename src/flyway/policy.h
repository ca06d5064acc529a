/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include "flyway/page.h"

/**
 * What to spend on the next batch: a pure function of what was measured so far; policy.c holds the
 * model. All calls by one thread at a time; no clock is read, no memory taken.
 */
typedef enum {
    POLICY_PASS,      /* neither hashed nor packed: for links faster than hashing */
    POLICY_RAW,       /* references, pages as they are */
    POLICY_LZ4,       /* references, LZ4 */
    POLICY_ZSTD_FAST, /* references, zstd 1 */
    POLICY_ZSTD_BEST, /* references, zstd 3 */
    POLICY_WAYS,
} PolicyWay;

/** What a batch cost. */
typedef struct {
    PolicyWay way;
    guint32 raw_bytes;
    guint32 page_bytes;  /* of them what isn't a zero page */
    guint32 plain_bytes; /* literals and ops */
    guint32 payload_bytes;
    /* Time from start to end on a codec thread, so that cores that others use count as slow. */
    double prepare_s, pack_s;
} PolicySample;

/** What happened in an interval of some 100 ms; a few short ones at the start are good. */
typedef struct {
    double seconds;
    guint64 raw_bytes;  /* read from QEMU */
    guint64 sent_bytes; /* taken by the connections */
    /* Part of the interval in which payload waited and the connections were at their limit. 0 to 1.
     */
    double blocked;
    /* Part of it in which QEMU had nothing to read and no batch waited for a thread, or in which
     * the destination was the one to wait for. 0 to 1. */
    double starved;
} PolicyInterval;

typedef struct {
    double pack_s; /* per plain byte, one thread */
    double ratio;  /* payload bytes per plain byte */
    gboolean measured;
} PolicyCost;

typedef struct {
    guint threads; /* that pack at once */
    PolicyWay way; /* now */
    gboolean slow; /* the link: bytes count */
    double hash_s; /* per page byte, one thread */
    double pages;  /* page bytes per raw byte */
    double plain;  /* plain bytes per raw byte, with references */
    PolicyCost costs[PAGE_LEVELS];
    double link_bps;      /* bytes per second that the connections are believed to take */
    double demand_bps;    /* raw bytes per second that QEMU has, and some more */
    double peak_bps;      /* the most that it had of late */
    double confirmed_bps; /* the link's, when last seen saturated; 0: never */
    double seen_bps;      /* the most that was sent in an interval since confirmed_bps was seen */
    double patience_s;    /* how long the belief stays where nothing waits for the link */
    double hold_s;        /* of that, what is left; below 0 it grows */
    guint since_look, since_change, since_probe; /* batches */
    guint intervals;                             /* intervals since the last change */
    guint probes;
    guint changes;
} Policy;

/** Starts anew; threads at least 1. */
void policy_init(Policy *policy, guint threads);
/** What a batch cost, with counts of its page_pack(). */
PolicySample policy_sample(PolicyWay way, const PageCounts *counts, double prepare_s,
                           double pack_s);
void policy_packed(Policy *policy, const PolicySample *sample);
void policy_interval(Policy *policy, const PolicyInterval *interval);
/** The way for the next batch, once for each, before its page_prepare(). */
PolicyWay policy_choose(Policy *policy);

/** Predicted raw bytes per second. */
double policy_speed(const Policy *policy, PolicyWay way);
/** Is page_prepare() to be given a hasher? */
gboolean policy_hashes(PolicyWay way);
PagePackLevel policy_level(PolicyWay way);
/** "zstd-fast"; static. */
const char *policy_name(PolicyWay way);
