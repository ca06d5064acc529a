/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *   libvirt ──events──▶ Hv ──▶ FactsFeed ──changes──▶ EventHub ──▶ /v1/events
 *                        └───▶ Motion ────progress──────┘ ▲
 *   flyway port ──▶ Listener ──▶ Motion        HttpServer ─┘ (api.c)
 *                                  └─▶ RecallService ◀─┘
 *
 * Everything meets in one main loop; what blocks has threads of its own (FactsFeed's reads,
 * Motion's migrations, the server's handlers). Order of making is order of need; freeing goes
 * backwards, from the outside in: first nobody is accepted or answered any more, then motion lets
 * go of its workers (which carry on), last the hypervisor.
 *
 * The recall service is ours: motion begins and ends its sets, the API gives it the manager's key
 * and clears it, the feed tells how it is. It is there before the first of them and after the last.
 */
#include "host/agent.h"

#include "host/api.h"
#include "host/listener.h"
#include "schema/agent.h"

#define MAX_BODY_BYTES (4 * 1024 * 1024)
#define SERVER_THREADS 8
#define MAX_STREAMS 8
#define KEEP_REPORTS 200

struct Agent {
    /* read-only after start */
    const AgentConfig *config;
    const Identity *identity;
    FactsSource facts;
    ApiService api;
    Schema *schema;
    Hv *hv;
    RecallService *recall;
    Motion *motion;
    FactsFeed *feed;
    EventHub *hub;
    HttpServer *server;
    Listener *listener;
};

/* ---- who tells whom -------------------------------------------------------------------------- */

static void
on_hv_event(const HvEvent *event, gpointer data)
{
    Agent *self = data;
    if (event->kind == HV_EVENT_CONNECTED)
        g_message("libvirt answers");
    else if (event->kind == HV_EVENT_DISCONNECTED)
        g_warning("libvirt does not answer any more; it is being reconnected");
    if (self->motion)
        motion_hv_event(self->motion, event);
    if (self->feed)
        facts_feed_event(self->feed, event);
}

static void
on_migration_changed(const Migration *migration, gpointer data)
{
    Agent *self = data;
    if (self->hub)
        event_hub_migration(self->hub, migration);
}

static void
on_vm_changed(const char *uuid, gpointer data)
{
    Agent *self = data;
    if (self->feed)
        facts_feed_touch_vm(self->feed, uuid);
}

static void
on_alarm(const Alarm *alarm, gpointer data)
{
    Agent *self = data;
    if (self->hub)
        event_hub_alarm(self->hub, alarm);
}

static void
on_facts_changed(const char *event, JsonNode *data, gpointer user_data)
{
    Agent *self = user_data;
    event_hub_send(self->hub, event, data);
}

static void
on_facts_ready(gpointer user_data)
{
    Agent *self = user_data;
    event_hub_greet(self->hub);
}

static void
on_recall_changed(gpointer user_data)
{
    Agent *self = user_data;
    if (self->feed)
        facts_feed_touch_host(self->feed);
}

static const Facts *
facts_for_greeting(gpointer user_data)
{
    Agent *self = user_data;
    return self->feed && facts_feed_is_ready(self->feed) ? facts_feed_known(self->feed) : NULL;
}

static GPtrArray *
migrations_for_greeting(gpointer user_data)
{
    Agent *self = user_data;
    return self->motion ? motion_list(self->motion) : NULL;
}

static void
on_listeners(guint listeners, gpointer user_data)
{
    Agent *self = user_data;
    if (self->feed)
        facts_feed_set_listeners(self->feed, listeners);
}

static void
on_connection(int fd, gpointer user_data)
{
    Agent *self = user_data;
    motion_take_connection(self->motion, fd);
}

/* ---- making ---------------------------------------------------------------------------------- */

static void
make_recall(Agent *self)
{
    RecallServiceConfig recall = self->config->recall;
    g_auto(RecallStatus) status = { 0 };
    recall.changed = on_recall_changed;
    recall.data = self;
    self->recall = recall_service_new(&recall);
    recall_service_status(self->recall, &status);
    if (status.usable)
        g_message("recall keeps at most %" G_GUINT64_FORMAT " MiB in %s",
                  status.statistics.max_bytes >> 20, recall.folder);
    else
        g_message("no recall: %s", status.reason);
}

static gboolean
make_motion(Agent *self, GError **error)
{
    const AgentConfig *config = self->config;
    const MotionConfig motion = {
        .hv = self->hv,
        .recall = self->recall,
        .identity = self->identity,
        .host_name = g_get_host_name(),
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .flyway_program = config->flyway_program,
        .flyway_user = config->flyway_user,
        .flyway_resume_s = config->flyway_resume_s,
        .flyway_connections = config->flyway_connections,
        .flyway_threads = config->flyway_threads,
        .max_bps = config->max_bps,
        .control_address = config->advertise,
        .control_port = config->control_port,
        .migration_addresses = (const char *const *)config->migration_addresses,
        .migration_port = self->listener ? listener_port(self->listener) : config->migration_port,
        .max_outgoing = config->max_outgoing,
        .max_incoming = config->max_incoming,
        .keep_reports = KEEP_REPORTS,
        .memory_headroom_bytes = config->memory_headroom_bytes,
        .notify = { .migration_changed = on_migration_changed,
                    .vm_changed = on_vm_changed,
                    .alarm = on_alarm },
        .data = self,
    };
    self->motion = motion_new(&motion, error);
    return self->motion != NULL;
}

static void
make_feed(Agent *self)
{
    static const FactsFeedNotify notify = { .changed = on_facts_changed, .ready = on_facts_ready };
    self->facts = (FactsSource){ .hv = self->hv,
                                 .motion = self->motion,
                                 .recall = self->recall,
                                 .config = self->config,
                                 .host_uuid = self->identity->name.uuid };
    self->feed = facts_feed_new(&self->facts, &notify, self);
}

static gboolean
make_server(Agent *self, guint port, GError **error)
{
    self->api = (ApiService){ .facts = &self->facts, .feed = self->feed, .hub = self->hub };
    self->schema = schema_new(schema_agent_json, schema_agent_json_length, error);
    if (!self->schema)
        return FALSE;
    const HttpServerConfig server = {
        .name = "godwitd",
        .identity = self->identity,
        .client_certificates = TRUE,
        .addresses = self->config->control_listen,
        .port = port,
        .max_body_bytes = MAX_BODY_BYTES,
        .threads = SERVER_THREADS,
        .max_streams = MAX_STREAMS,
        .schema = self->schema,
        .routes = api_routes,
        .service = &self->api,
    };
    self->server = http_server_new(&server, error);
    return self->server != NULL;
}

Agent *
agent_new(const AgentSetup *setup, GError **error)
{
    static const EventHubSource hub = { .facts = facts_for_greeting,
                                        .migrations = migrations_for_greeting,
                                        .listeners_changed = on_listeners };
    g_autoptr(Agent) self = g_new0(Agent, 1);
    self->config = setup->config;
    self->identity = setup->identity;
    guint control =
        setup->control_port == G_MAXUINT ? setup->config->control_port : setup->control_port;
    guint migration =
        setup->migration_port == G_MAXUINT ? setup->config->migration_port : setup->migration_port;

    self->hub = event_hub_new(&hub, self);
    self->hv = (setup->make_hv ?: hv_libvirt_new)(
        setup->config->libvirt_uri, g_main_context_get_thread_default(), on_hv_event, self, error);
    if (!self->hv)
        return NULL;
    /* Bound before recall and motion read their files: a second agent must fail before it touches
     * them. */
    self->listener =
        listener_new(setup->config->migration_listen, migration, NULL, on_connection, self, error);
    if (!self->listener)
        return NULL;
    make_recall(self);
    if (!make_motion(self, error))
        return NULL;
    make_feed(self);
    if (!make_server(self, control, error))
        return NULL;
    facts_feed_start(self->feed);
    return g_steal_pointer(&self);
}

void
agent_free(Agent *self)
{
    if (!self)
        return;
    g_clear_pointer(&self->listener, listener_free);
    g_clear_pointer(&self->server, http_server_free);
    g_clear_pointer(&self->schema, schema_free);
    g_clear_pointer(&self->feed, facts_feed_free);
    g_clear_pointer(&self->motion, motion_free);
    g_clear_pointer(&self->recall, recall_service_free);
    g_clear_pointer(&self->hub, event_hub_free);
    g_clear_pointer(&self->hv, hv_free);
    g_free(self);
}

Hv *
agent_hv(Agent *self)
{
    return self->hv;
}

guint
agent_control_port(const Agent *self)
{
    return http_server_port(self->server);
}

guint
agent_migration_port(const Agent *self)
{
    return listener_port(self->listener);
}
