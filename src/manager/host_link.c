/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *     WAITING ──timer──▶ ASKING ──first event──▶ UP
 *        ▲                  │ closed               │ closed, or an event that can't be understood
 *        └──────────────────┴──────────────────────┘
 *
 * ASKING and UP have an event stream open, WAITING has a timer. The server sends something every 15
 * s; silence for HOST_SILENCE_S is loss. The time to wait doubles with each failure (backoff.c) and
 * begins anew after the agent has told its facts. Nothing is ever polled: what was missed is told
 * again by the first events of the next connection.
 *
 * Who is at the other end is decided by the certificate alone: signed by the cluster's CA, for role
 * host and this host's UUID. The address says only where to knock.
 */
#include "manager/host_link.h"

#include <string.h>

#include "base/error.h"
#include "manager/backoff.h"
#include "net/http_client.h"

#define HOST_SILENCE_S 40
#define HOST_CALL_TIMEOUT_S 15

typedef enum { LINK_WAITING, LINK_ASKING, LINK_UP } LinkState;
static const char *const link_state_nicks[] = { "waiting", "asking", "up" };

struct HostLink {
    char *uuid, *address;
    gint64 port;
    HostLinkHooks hooks;
    HttpClient *client;
    LinkState state;
    GCancellable *stop;    /* of the stream that is open */
    GCancellable *ending;  /* of everything, by host_link_free */
    GError *misunderstood; /* why we cut the stream ourselves */
    guint failures;
    guint timer;
    gboolean freed; /* by its owner; the open stream still holds it */
};

static void link_ask(HostLink *link);

static void
link_move(HostLink *link, LinkState state)
{
    g_debug("host %s: line %s -> %s", link->uuid, link_state_nicks[link->state],
            link_state_nicks[state]);
    link->state = state;
}

static void
link_destroy(HostLink *link)
{
    g_clear_pointer(&link->client, http_client_free);
    g_clear_object(&link->stop);
    g_clear_object(&link->ending);
    g_clear_error(&link->misunderstood);
    g_free(link->uuid);
    g_free(link->address);
    link->hooks.gone(link->hooks.data);
    g_free(link);
}

/** What a lost line means, for a person. (transfer full) */
static char *
reason_of(const HostLink *link, const GError *error)
{
    if (g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED))
        return g_strdup_printf("certificate refused at %s:%" G_GINT64_FORMAT ": %s", link->address,
                               link->port, error->message);
    if (strstr(error->message, "refused") != NULL)
        return g_strdup_printf("connection refused at %s:%" G_GINT64_FORMAT
                               ": is godwitd running there?",
                               link->address, link->port);
    return g_strdup(error->message);
}

static gboolean
on_timer(gpointer data)
{
    HostLink *link = data;

    link->timer = 0;
    link_ask(link);
    return G_SOURCE_REMOVE;
}

static gboolean
is_in_order(const HostLink *link, const char *event, GError **error)
{
    if (event != NULL && (link->state == LINK_UP || strcmp(event, "facts") == 0))
        return TRUE;
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL, "expected \"facts\" first");
    return FALSE;
}

static void
on_event(const char *event, const char *id, const char *text, gpointer data)
{
    HostLink *link = data;
    g_autoptr(GError) error = NULL;

    if (link->freed || link->misunderstood != NULL)
        return;
    if (is_in_order(link, event, &error) &&
        link->hooks.event(link->uuid, event, text, link->hooks.data, &error)) {
        if (link->state != LINK_UP)
            link_move(link, LINK_UP);
        link->failures = 0;
        return;
    }
    g_prefix_error(&error,
                   "the event \"%s\" of the agent can't be understood (do the versions of "
                   "godwitd and godwit-manager fit?): ",
                   event);
    link->misunderstood = g_steal_pointer(&error);
    g_cancellable_cancel(link->stop);
}

static void
on_closed(const GError *error, gpointer data)
{
    HostLink *link = data;
    g_autofree char *reason = NULL;

    g_clear_object(&link->stop);
    if (link->freed) {
        link_destroy(link);
        return;
    }
    if (link->misunderstood != NULL)
        error = link->misunderstood;
    reason = error != NULL ? reason_of(link, error) : g_strdup("the connection was closed");
    link->failures++;
    link_move(link, LINK_WAITING);
    link->timer = g_timeout_add(backoff_ms(link->failures, g_random_int()), on_timer, link);
    link->hooks.lost(link->uuid, reason, link->hooks.data);
    g_clear_error(&link->misunderstood);
}

static void
link_ask(HostLink *link)
{
    link_move(link, LINK_ASKING);
    link->stop = g_cancellable_new();
    http_client_stream(link->client, "/v1/events", HOST_SILENCE_S, on_event, on_closed, link,
                       link->stop);
}

HostLink *
host_link_new(const Host *host, const Identity *identity, const HostLinkHooks *hooks,
              GError **error)
{
    gboolean bare_v6 = strchr(host->control_address, ':') != NULL;
    g_autofree char *url =
        g_strdup_printf("https://%s%s%s:%" G_GINT64_FORMAT, bare_v6 ? "[" : "",
                        host->control_address, bare_v6 ? "]" : "", host->control_port);
    HttpClientConfig config = { .base_url = url,
                                .ca_pem = identity->ca,
                                .identity = identity,
                                .expect = { .role = IDENTITY_HOST },
                                .timeout_s = HOST_CALL_TIMEOUT_S };
    HostLink *link;

    g_strlcpy(config.expect.uuid, host->uuid, sizeof(config.expect.uuid));
    link = g_new0(HostLink, 1);
    link->client = http_client_new(&config, error);
    if (link->client == NULL) {
        g_free(link);
        return NULL;
    }
    link->uuid = g_strdup(host->uuid);
    link->address = g_strdup(host->control_address);
    link->port = host->control_port;
    link->hooks = *hooks;
    link->ending = g_cancellable_new();
    link_ask(link);
    return link;
}

void
host_link_free(HostLink *link)
{
    if (link == NULL)
        return;
    link->freed = TRUE;
    g_clear_handle_id(&link->timer, g_source_remove);
    g_cancellable_cancel(link->ending);
    if (link->stop != NULL)
        g_cancellable_cancel(link->stop); /* on_closed destroys */
    else
        link_destroy(link);
}

gboolean
host_link_is_up(const HostLink *link)
{
    return link->state == LINK_UP;
}

gboolean
host_link_leads_to(const HostLink *link, const Host *host)
{
    return strcmp(link->address, host->control_address) == 0 && link->port == host->control_port;
}

typedef struct {
    HostLinkAnswer func;
    gpointer data;
} Call;

static void
on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Call *call = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = http_client_call_finish(NULL, result, &error);

    call->func(answer, error, call->data);
}

void
host_link_call(HostLink *link, const char *method, const char *path, JsonNode *body,
               HostLinkAnswer func, gpointer data)
{
    Call *call = g_new0(Call, 1);

    call->func = func;
    call->data = data;
    http_client_call_async(link->client, method, path, body, link->ending, on_answer, call);
}
