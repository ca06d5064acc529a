/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "host/event_hub.h"
#include "host/facts_feed.h"

/** What the handlers of the agent's API work with. Read-only after start. */
typedef struct {
    const FactsSource *facts;
    FactsFeed *feed;
    EventHub *hub;
} ApiService;

/** The routes of schema/agent.yaml; ends with operation NULL. The service of the server is an
 * ApiService. */
extern const HttpRoute api_routes[];
