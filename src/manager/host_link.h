/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"
#include "net/identity.h"

/**
 * The manager's line to one host's agent: an event stream that is kept open, and calls. Main
 * context only; hooks and answers are called from it.
 */
typedef struct HostLink HostLink;

typedef struct {
    /** The agent doesn't answer (any more), and why, in words for a person. */
    void (*lost)(const char *host_uuid, const char *reason, gpointer data);
    /** An event came; the first one of a connection is `facts`. FALSE with error: it can't be
     * understood, the line is cut and tried again later. */
    gboolean (*event)(const char *host_uuid, const char *event, const char *text, gpointer data,
                      GError **error);
    /** After host_link_free(): no more callbacks come, except answers of calls. */
    void (*gone)(gpointer data);
    gpointer data;
} HostLinkHooks;

/** Begins to connect. uuid, control_address and control_port are taken of host; ca of identity says
 * whom to trust. Everything is copied. */
HostLink *host_link_new(const Host *host, const Identity *identity, const HostLinkHooks *hooks,
                        GError **error);
/** No hook but gone is called any more; answers of calls under way come with CANCELLED. */
void host_link_free(HostLink *link);

/** Have facts come over the present connection? */
gboolean host_link_is_up(const HostLink *link);
/** Is it a line to that address? */
gboolean host_link_leads_to(const HostLink *link, const Host *host);

/** answer NULL: error. Both are borrowed. Called exactly once, later. */
typedef void (*HostLinkAnswer)(JsonNode *answer, const GError *error, gpointer data);
/** body: not consumed, may be NULL. */
void host_link_call(HostLink *link, const char *method, const char *path, JsonNode *body,
                    HostLinkAnswer func, gpointer data);
