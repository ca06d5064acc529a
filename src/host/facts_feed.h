/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/agent_config.h"
#include "host/facts_diff.h"
#include "hv/hv.h"
#include "motion/motion.h"

/** Where facts come from, and what is added to them. Read-only after start; facts_read may be
 * called from any thread. */
typedef struct {
    Hv *hv;
    Motion *motion;        /* may be NULL in tests */
    RecallService *recall; /* may be NULL in tests */
    const AgentConfig *config;
    const char
        *host_uuid; /* of the certificate: the host's identity, whatever its libvirt says later */
} FactsSource;

/** Reads everything now. Blocks; any thread. */
Facts *facts_read(const FactsSource *source, GError **error);

/** The feed: keeps what is known up to date and tells what changed. Main loop only unless it says
 * otherwise. */
typedef struct FactsFeed FactsFeed;

typedef struct {
    FactsEmit changed;                 /* once ready: each change */
    void (*ready)(gpointer user_data); /* once: facts_feed_known() is worth sending */
} FactsFeedNotify;

FactsFeed *facts_feed_new(const FactsSource *source, const FactsFeedNotify *notify,
                          gpointer user_data);
/** Waits for a read at work. */
void facts_feed_free(FactsFeed *feed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FactsFeed, facts_feed_free)

/** Starts the first read (or, without libvirt, is ready at once). */
void facts_feed_start(FactsFeed *feed);
/** Something of libvirt's changed. */
void facts_feed_event(FactsFeed *feed, const HvEvent *event);
/** Read this VM again: something about it changed that libvirt doesn't tell (its migration). */
void facts_feed_touch_vm(FactsFeed *feed, const char *uuid);
/** Read the host's memory and load again now. */
void facts_feed_touch_host(FactsFeed *feed);
gboolean facts_feed_is_ready(const FactsFeed *feed);
/** Not owned; changes with the next event. */
const Facts *facts_feed_known(const FactsFeed *feed);
/** With listeners, the host's load and memory are read every 30 s; without, never. */
void facts_feed_set_listeners(FactsFeed *feed, guint listeners);
/** Any thread: uuid and state of the VMs known to run. (transfer full) */
GPtrArray *facts_feed_running(FactsFeed *feed);
