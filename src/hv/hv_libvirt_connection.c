/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include <string.h>

#include "base/clock.h"
#include "hv/hv_libvirt_loop.h"
#include "hv/hv_sink.h"

/*
 * Theory of operation
 *
 * One connection to the local libvirt, kept up by a thread of its own (the keeper), because opening
 * one blocks. The keeper runs a GMainContext with a timer for the next attempt and a monitor of the
 * folder of libvirt's sockets, so that a daemon that comes back is met at once and not at the end
 * of a delay. Between attempts 1, 2, 4 … 30 s pass.
 *
 * Callers borrow the connection by reference (hv_libvirt_connection_get) and use it from their own
 * threads: libvirt's client takes calls from many. When libvirtd dies, libvirt fails their calls,
 * and its close callback reaches us in the libvirt loop's thread (a daemon that only hangs is found
 * out by keepalive); from then on callers get UNREACHABLE until the keeper has opened a new
 * connection. If the open itself hangs (a daemon that accepts and says nothing), only the keeper
 * hangs with it.
 *
 * The cache of VM handles spares a round trip in the switch-over: a handle is only (name, UUID, id)
 * and libvirt finds the VM by UUID, so an old handle is never wrong, at worst "no such domain".
 * Filled by events and lookups, emptied with the connection.
 *
 * Lifetime: reference counted, held by the owner, the keeper, libvirt's callbacks and events on
 * their way.
 */

#define RETRY_MIN_S 1
#define RETRY_MAX_S 30
#define SOCKET_APPEARED_MS 100 /* a socket is made a moment before it is listened on */
#define CLOSE_WAIT_S 2

typedef enum {
    STATE_DOWN, /* no connection: callers get UNREACHABLE; the keeper tries. → OPENING, ENDED */
    STATE_OPENING, /* conn is set, being prepared by the keeper; not yet for callers. → UP, LOST,
                      ENDED */
    STATE_UP,      /* callers use conn. → LOST, ENDED */
    STATE_LOST,    /* libvirt closed conn; the keeper is about to drop it. → DOWN, ENDED */
    STATE_ENDED,   /* the owner let go: nothing more happens */
    N_STATES
} State;

static const char *const state_nicks[N_STATES] = { "down", "opening", "up", "lost", "ended" };
static const guint legal_moves[N_STATES] = {
    [STATE_DOWN] = 1 << STATE_OPENING | 1 << STATE_ENDED,
    [STATE_OPENING] = 1 << STATE_UP | 1 << STATE_LOST | 1 << STATE_ENDED,
    [STATE_UP] = 1 << STATE_LOST | 1 << STATE_ENDED,
    [STATE_LOST] = 1 << STATE_DOWN | 1 << STATE_ENDED,
};

struct HvLibvirtConnection {
    /* read-only after start */
    char *uri; /* as configured, or NULL */
    HvSink *sink;
    GMainContext *context; /* the keeper's */
    GMainLoop *keeper_loop;
    GThread *keeper;
    /* owned by the keeper */
    GFileMonitor *monitor;
    GSource *retry;
    guint delay_s;
    HvLibvirtEvents registered;
    /* under lock */
    GMutex lock;
    GCond keeper_ended_cond;
    gboolean keeper_ended;
    State state;
    virConnectPtr conn;  /* OPENING, UP, LOST */
    GHashTable *domains; /* UUID → virDomainPtr of conn */
    char *cause;         /* why the last attempt failed, or NULL */
};

static void
domain_free(gpointer domain)
{
    virDomainFree(domain);
}

static GHashTable *
new_cache(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, domain_free);
}

/* Under lock. */
static void
set_state(HvLibvirtConnection *self, State state)
{
    g_assert(legal_moves[self->state] & 1u << state);
    g_debug("libvirt connection: %s -> %s", state_nicks[self->state], state_nicks[state]);
    self->state = state;
}

HvLibvirtConnection *
hv_libvirt_connection_ref(HvLibvirtConnection *self)
{
    return g_atomic_rc_box_acquire(self);
}

static void
connection_clear(gpointer data)
{
    HvLibvirtConnection *self = data;

    g_assert(!self->conn);
    g_hash_table_unref(self->domains);
    g_main_loop_unref(self->keeper_loop);
    g_main_context_unref(self->context);
    hv_sink_free(self->sink);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->keeper_ended_cond);
    g_free(self->cause);
    g_free(self->uri);
}

void
hv_libvirt_connection_unref(HvLibvirtConnection *self)
{
    g_atomic_rc_box_release_full(self, connection_clear);
}

void
hv_libvirt_connection_emit(HvLibvirtConnection *self, HvEventKind kind, const char *uuid,
                           gint64 number, gint64 monotonic_us)
{
    hv_sink_emit(self->sink, kind, uuid, number, monotonic_us);
}

/* ---- the keeper --------------------------------------------------------------------------------
 */

static gboolean attempt(gpointer data);
static void on_closed(virConnectPtr conn, int reason, void *data);

static void
schedule(HvLibvirtConnection *self, guint delay_ms)
{
    if (self->retry) {
        g_source_destroy(self->retry);
        g_clear_pointer(&self->retry, g_source_unref);
    }
    self->retry = g_timeout_source_new(delay_ms);
    g_source_set_callback(self->retry, attempt, self, NULL);
    g_source_attach(self->retry, self->context);
}

/* Drops conn and all that hangs on it; leaves the state alone. */
static void
drop_conn(HvLibvirtConnection *self)
{
    g_mutex_lock(&self->lock);
    virConnectPtr conn = g_steal_pointer(&self->conn);
    GHashTable *domains = self->domains;
    self->domains = new_cache();
    g_mutex_unlock(&self->lock);
    g_hash_table_unref(domains);
    if (conn) {
        hv_libvirt_events_deregister(&self->registered, conn);
        virConnectUnregisterCloseCallback(conn, on_closed);
        virConnectClose(conn);
    }
}

/* From OPENING or LOST to DOWN. */
static void
give_up(HvLibvirtConnection *self)
{
    g_mutex_lock(&self->lock);
    if (self->state == STATE_OPENING)
        set_state(self, STATE_LOST);
    g_mutex_unlock(&self->lock);
    drop_conn(self);
    g_mutex_lock(&self->lock);
    if (self->state == STATE_LOST)
        set_state(self, STATE_DOWN);
    g_mutex_unlock(&self->lock);
}

/* In the keeper, after the close callback. */
static gboolean
after_loss(gpointer data)
{
    HvLibvirtConnection *self = data;

    g_mutex_lock(&self->lock);
    gboolean lost = self->state == STATE_LOST;
    g_mutex_unlock(&self->lock);
    if (!lost)
        return G_SOURCE_REMOVE;
    give_up(self);
    self->delay_s = RETRY_MIN_S;
    schedule(self, SOCKET_APPEARED_MS);
    return G_SOURCE_REMOVE;
}

static void
run_in_keeper(HvLibvirtConnection *self, GSourceFunc func)
{
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_callback(source, func, hv_libvirt_connection_ref(self),
                          (GDestroyNotify)hv_libvirt_connection_unref);
    g_source_attach(source, self->context);
}

/* libvirt loop's thread. */
static void
on_closed(virConnectPtr conn, int reason, void *data)
{
    HvLibvirtConnection *self = data;

    g_mutex_lock(&self->lock);
    if (conn == self->conn && (self->state == STATE_UP || self->state == STATE_OPENING)) {
        if (self->state == STATE_UP)
            hv_libvirt_connection_emit(self, HV_EVENT_DISCONNECTED, NULL, 0, clock_monotonic_us());
        set_state(self, STATE_LOST);
        g_free(self->cause);
        self->cause = g_strdup(reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE
                                   ? "it stopped answering keepalives"
                                   : "it closed the connection");
        run_in_keeper(self, after_loss);
    }
    g_mutex_unlock(&self->lock);
}

/* A driver within this process (test:///default) has neither: it can't be lost. Its registration of
 * a close callback would succeed and do nothing, and never free what was given to it. */
static void
watch_for_loss(HvLibvirtConnection *self, virConnectPtr conn)
{
    if (virConnectSetKeepAlive(conn, HV_LIBVIRT_KEEPALIVE_S, HV_LIBVIRT_KEEPALIVE_COUNT) < 0) {
        g_debug("libvirt has no keepalive on this connection: %s", virGetLastErrorMessage());
        return;
    }
    hv_libvirt_connection_ref(self);
    if (virConnectRegisterCloseCallback(conn, on_closed, self,
                                        (virFreeCallback)hv_libvirt_connection_unref) < 0) {
        g_debug("libvirt doesn't tell when this connection ends");
        hv_libvirt_connection_unref(self);
    }
}

static gboolean
open_and_register(HvLibvirtConnection *self, GError **error)
{
    g_auto(HvLibvirtPlace) place = { 0 };

    hv_libvirt_connection_place(self, &place);
    virConnectPtr conn = virConnectOpen(place.uri);
    if (!conn) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                            virGetLastErrorMessage()); /* set_unreachable adds the rest */
        return FALSE;
    }
    g_mutex_lock(&self->lock);
    if (self->state == STATE_ENDED) {
        g_mutex_unlock(&self->lock);
        virConnectClose(conn);
        return TRUE; /* nobody asks any more */
    }
    set_state(self, STATE_OPENING);
    self->conn = conn;
    g_mutex_unlock(&self->lock);
    watch_for_loss(self, conn);
    if (!hv_libvirt_events_register(&self->registered, conn, self, error)) {
        give_up(self);
        return FALSE;
    }
    g_mutex_lock(&self->lock);
    if (self->state == STATE_OPENING) {
        set_state(self, STATE_UP);
        g_clear_pointer(&self->cause, g_free);
        hv_libvirt_connection_emit(self, HV_EVENT_CONNECTED, NULL, 0, clock_monotonic_us());
    }
    g_mutex_unlock(&self->lock);
    return TRUE;
}

static gboolean
attempt(gpointer data)
{
    HvLibvirtConnection *self = data;
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&self->retry, g_source_unref);
    g_mutex_lock(&self->lock);
    gboolean down = self->state == STATE_DOWN;
    g_mutex_unlock(&self->lock);
    if (!down)
        return G_SOURCE_REMOVE;
    if (open_and_register(self, &error)) {
        self->delay_s = RETRY_MIN_S;
        return G_SOURCE_REMOVE;
    }
    g_mutex_lock(&self->lock);
    g_free(self->cause);
    self->cause = g_strdup(error->message);
    g_mutex_unlock(&self->lock);
    schedule(self, self->delay_s * 1000);
    self->delay_s = MIN(self->delay_s * 2, RETRY_MAX_S);
    return G_SOURCE_REMOVE;
}

static void
on_folder_changed(GFileMonitor *monitor, GFile *file, GFile *other, GFileMonitorEvent event,
                  gpointer data)
{
    HvLibvirtConnection *self = data;
    g_autofree char *name = g_file_get_basename(other ? other : file);

    if (event != G_FILE_MONITOR_EVENT_CREATED && event != G_FILE_MONITOR_EVENT_MOVED_IN &&
        event != G_FILE_MONITOR_EVENT_RENAMED)
        return;
    if (!name || !g_str_has_suffix(name, "sock") || !self->retry)
        return;
    self->delay_s = RETRY_MIN_S;
    schedule(self, SOCKET_APPEARED_MS);
}

static void
watch_folder(HvLibvirtConnection *self)
{
    g_auto(HvLibvirtPlace) place = { 0 };

    hv_libvirt_connection_place(self, &place);
    if (!place.socket)
        return;
    g_autofree char *path = g_path_get_dirname(place.socket);
    g_autoptr(GFile) folder = g_file_new_for_path(path);
    self->monitor = g_file_monitor_directory(folder, G_FILE_MONITOR_WATCH_MOVES, NULL, NULL);
    if (self->monitor) /* else the delays alone do it */
        g_signal_connect(self->monitor, "changed", G_CALLBACK(on_folder_changed), self);
}

static gpointer
keeper_run(gpointer data)
{
    HvLibvirtConnection *self = data;

    g_main_context_push_thread_default(self->context);
    watch_folder(self);
    schedule(self, 0);
    g_main_loop_run(self->keeper_loop);
    if (self->retry) {
        g_source_destroy(self->retry);
        g_clear_pointer(&self->retry, g_source_unref);
    }
    if (self->monitor)
        g_file_monitor_cancel(self->monitor);
    g_clear_object(&self->monitor);
    drop_conn(self);
    g_main_context_pop_thread_default(self->context);
    g_mutex_lock(&self->lock);
    self->keeper_ended = TRUE;
    g_cond_signal(&self->keeper_ended_cond);
    g_mutex_unlock(&self->lock);
    hv_libvirt_connection_unref(self);
    return NULL;
}

static gboolean
quit(gpointer data)
{
    HvLibvirtConnection *self = data;

    g_main_loop_quit(self->keeper_loop);
    return G_SOURCE_REMOVE;
}

/* ---- for hv_libvirt.c
 * ---------------------------------------------------------------------------- */

HvLibvirtConnection *
hv_libvirt_connection_new(const char *uri, GMainContext *context, HvEventFunc func, gpointer data)
{
    HvLibvirtConnection *self = g_atomic_rc_box_new0(HvLibvirtConnection);

    hv_libvirt_loop_start();
    self->uri = g_strdup(uri);
    self->sink = hv_sink_new(context, func, data);
    self->context = g_main_context_new();
    self->keeper_loop = g_main_loop_new(self->context, FALSE);
    self->delay_s = RETRY_MIN_S;
    self->domains = new_cache();
    g_mutex_init(&self->lock);
    g_cond_init(&self->keeper_ended_cond);
    self->keeper = g_thread_new("libvirt-keeper", keeper_run, hv_libvirt_connection_ref(self));
    return self;
}

void
hv_libvirt_connection_close(HvLibvirtConnection *self)
{
    gint64 until = g_get_monotonic_time() + CLOSE_WAIT_S * G_TIME_SPAN_SECOND;

    hv_sink_stop(self->sink);
    g_mutex_lock(&self->lock);
    set_state(self, STATE_ENDED);
    run_in_keeper(self, quit);
    while (!self->keeper_ended && g_cond_wait_until(&self->keeper_ended_cond, &self->lock, until))
        ;
    gboolean ended = self->keeper_ended;
    g_mutex_unlock(&self->lock);
    if (ended)
        g_thread_join(self->keeper);
    else /* it hangs in a call to a daemon that hangs: it ends with that call, or with the process
          */
        g_thread_unref(self->keeper);
    hv_libvirt_connection_unref(self);
}

gboolean
hv_libvirt_connection_is_up(HvLibvirtConnection *self)
{
    g_mutex_lock(&self->lock);
    gboolean up = self->state == STATE_UP;
    g_mutex_unlock(&self->lock);
    return up;
}

void
hv_libvirt_connection_place(HvLibvirtConnection *self, HvLibvirtPlace *place)
{
    hv_libvirt_place_find(place, self->uri, "/run/libvirt");
}

static void
set_unreachable(HvLibvirtConnection *self, GError **error)
{
    g_auto(HvLibvirtPlace) place = { 0 };

    hv_libvirt_connection_place(self, &place);
    g_mutex_lock(&self->lock);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                "libvirt doesn't answer at %s (%s); look at it with: systemctl status libvirtd "
                "(or virtqemud)",
                place.socket ? place.socket : place.uri,
                self->cause ? self->cause : "not connected yet");
    g_mutex_unlock(&self->lock);
}

virConnectPtr
hv_libvirt_connection_get(HvLibvirtConnection *self, GError **error)
{
    virConnectPtr conn = NULL;

    g_mutex_lock(&self->lock);
    if (self->state == STATE_UP && virConnectRef(self->conn) == 0)
        conn = self->conn;
    g_mutex_unlock(&self->lock);
    if (!conn)
        set_unreachable(self, error);
    return conn;
}

virConnectPtr
hv_libvirt_connection_open_another(HvLibvirtConnection *self, GError **error)
{
    g_auto(HvLibvirtPlace) place = { 0 };

    if (!hv_libvirt_connection_is_up(self)) {
        set_unreachable(self, error);
        return NULL;
    }
    hv_libvirt_connection_place(self, &place);
    virConnectPtr conn = virConnectOpen(place.uri);
    if (!conn) {
        hv_libvirt_set_error(error, NULL, "can't open another connection to %s", place.uri);
        return NULL;
    }
    if (virConnectSetKeepAlive(conn, HV_LIBVIRT_KEEPALIVE_S, HV_LIBVIRT_KEEPALIVE_COUNT) != 0)
        g_debug("libvirt has no keepalive on this connection");
    return conn;
}

/* ---- VM handles
 * ------------------------------------------------------------------------------------ */

void
hv_libvirt_connection_remember(HvLibvirtConnection *self, virDomainPtr domain)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) < 0)
        return;
    g_mutex_lock(&self->lock);
    if (self->conn && virDomainGetConnect(domain) == self->conn &&
        (self->state == STATE_UP || self->state == STATE_OPENING) && virDomainRef(domain) == 0)
        g_hash_table_replace(self->domains, g_strdup(uuid), domain);
    g_mutex_unlock(&self->lock);
}

void
hv_libvirt_connection_forget(HvLibvirtConnection *self, const char *uuid)
{
    g_mutex_lock(&self->lock);
    g_hash_table_remove(self->domains, uuid);
    g_mutex_unlock(&self->lock);
}

virDomainPtr
hv_libvirt_connection_domain(HvLibvirtConnection *self, const char *uuid, GError **error)
{
    g_mutex_lock(&self->lock);
    virDomainPtr domain = self->state == STATE_UP ? g_hash_table_lookup(self->domains, uuid) : NULL;
    if (domain)
        virDomainRef(domain);
    g_mutex_unlock(&self->lock);
    if (domain)
        return domain;

    g_autoptr(virConnect) conn = hv_libvirt_connection_get(self, error);
    if (!conn)
        return NULL;
    domain = virDomainLookupByUUIDString(conn, uuid);
    if (domain)
        hv_libvirt_connection_remember(self, domain);
    else
        hv_libvirt_set_error(error, conn, "can't find VM %s", uuid);
    return domain;
}
