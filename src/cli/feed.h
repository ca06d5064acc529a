/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/cli.h"

/**
 * The manager's events, also across its restart: a stream that is opened again when it is lost.
 * Lives in the main context; the session must be open and stay so.
 */
typedef struct Feed Feed;

typedef struct {
    void (*event)(const char *event, const char *data, gpointer user_data);
    void (*lost)(const GError *error, gpointer user_data); /* once per outage; tries go on */
    void (*back)(gpointer user_data); /* the outage is over; events may have been missed */
    void (*over)(const GError *error,
                 gpointer user_data); /* given up, or refused: nothing comes after it */
} FeedFuncs;

/** path: of the event stream. funcs must outlive the feed. */
Feed *feed_new(Cli *cli, const char *path, const FeedFuncs *funcs, gpointer user_data);
/** Ends the stream; no function is called any more. */
void feed_free(Feed *feed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Feed, feed_free)
