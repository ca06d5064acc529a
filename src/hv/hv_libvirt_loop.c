/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt_loop.h"

#include <gio/gio.h>
#include <glib-unix.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

/*
 * Theory of operation
 *
 * libvirt's client wants an event loop in the process: it watches its sockets there, answers the
 * daemon's keepalives and calls event callbacks from it. Its own implementation
 * (virEventRegisterDefaultImpl) puts its sources into GLib's *default* main context, as does
 * libvirt-glib: whoever runs that context also runs libvirt, so a busy main loop would delay
 * keepalives and the moment at which we see a VM stop. So libvirt gets a GMainContext of its own,
 * run by a thread of its own that does nothing else.
 *
 * A watch is a file descriptor (Watch.fd >= 0) or a timer (fd == -1). libvirt adds, changes and
 * removes watches from any thread. Rules that libvirt sets:
 *   - a removed watch's free function is called later, from the loop, never inside the removal;
 *   - a callback may remove or change its own watch;
 *   - no callback begins after the watch was removed (checked under the lock before the call; one
 * that has begun in the loop's thread may still be running when another thread removes the watch:
 * that is what the deferred free function is for). A Watch is freed by the idle source that calls
 * the free function, in the loop's thread, so a dispatch can hold it without a reference.
 */

typedef struct {
    int id;
    int fd;          /* -1: timer */
    int setting;     /* fd: VIR_EVENT_HANDLE_*; timer: ms, negative = off */
    GSource *source; /* NULL while switched off */
    gboolean removed;
    virEventHandleCallback on_handle;
    virEventTimeoutCallback on_timeout;
    void *opaque;
    virFreeCallback free_opaque;
} Watch;

static struct {
    GMutex lock;
    GHashTable *watches;   /* id → Watch; both kinds share the numbers. Under lock */
    int next_id;           /* under lock */
    GMainContext *context; /* read-only after start */
} loop;

static GIOCondition
condition_of_events(int events)
{
    GIOCondition condition = 0;

    if (events & VIR_EVENT_HANDLE_READABLE)
        condition |= G_IO_IN;
    if (events & VIR_EVENT_HANDLE_WRITABLE)
        condition |= G_IO_OUT;
    if (events & VIR_EVENT_HANDLE_ERROR)
        condition |= G_IO_ERR;
    if (events & VIR_EVENT_HANDLE_HANGUP)
        condition |= G_IO_HUP;
    return condition;
}

static int
events_of_condition(GIOCondition condition)
{
    int events = 0;

    if (condition & G_IO_IN)
        events |= VIR_EVENT_HANDLE_READABLE;
    if (condition & G_IO_OUT)
        events |= VIR_EVENT_HANDLE_WRITABLE;
    if (condition & (G_IO_ERR | G_IO_NVAL))
        events |= VIR_EVENT_HANDLE_ERROR;
    if (condition & G_IO_HUP)
        events |= VIR_EVENT_HANDLE_HANGUP;
    return events;
}

static gboolean
watch_is_live(Watch *watch)
{
    g_mutex_lock(&loop.lock);
    gboolean live = !watch->removed && watch->source == g_main_current_source();
    g_mutex_unlock(&loop.lock);
    return live;
}

static gboolean
handle_dispatch(int fd, GIOCondition condition, gpointer data)
{
    Watch *watch = data;

    if (watch_is_live(watch))
        watch->on_handle(watch->id, fd, events_of_condition(condition), watch->opaque);
    return G_SOURCE_CONTINUE; /* a switched off or removed source is destroyed already */
}

static gboolean
timeout_dispatch(gpointer data)
{
    Watch *watch = data;

    if (watch_is_live(watch))
        watch->on_timeout(watch->id, watch->opaque);
    return G_SOURCE_CONTINUE;
}

/* Replaces the watch's source by one for its setting. Under lock. */
static void
watch_arm(Watch *watch)
{
    if (watch->source) {
        g_source_destroy(watch->source);
        g_clear_pointer(&watch->source, g_source_unref);
    }
    if (watch->fd >= 0 && watch->setting != 0) {
        watch->source = g_unix_fd_source_new(watch->fd, condition_of_events(watch->setting));
        g_source_set_callback(watch->source, G_SOURCE_FUNC(handle_dispatch), watch, NULL);
    } else if (watch->fd < 0 && watch->setting >= 0) {
        watch->source = g_timeout_source_new((guint)watch->setting);
        g_source_set_callback(watch->source, timeout_dispatch, watch, NULL);
    }
    if (watch->source)
        g_source_attach(watch->source, loop.context);
}

static int
watch_add(Watch *watch)
{
    g_mutex_lock(&loop.lock);
    int id = watch->id = loop.next_id++;
    g_hash_table_insert(loop.watches, GINT_TO_POINTER(id), watch);
    watch_arm(watch);
    g_mutex_unlock(&loop.lock);
    return id;
}

static void
watch_update(int id, int setting)
{
    g_mutex_lock(&loop.lock);
    Watch *watch = g_hash_table_lookup(loop.watches, GINT_TO_POINTER(id));
    /* A timer set again to the same interval starts anew; a descriptor's source is left alone. */
    if (watch && (watch->fd < 0 || watch->setting != setting)) {
        watch->setting = setting;
        watch_arm(watch);
    }
    g_mutex_unlock(&loop.lock);
}

static gboolean
watch_free_in_loop(gpointer data)
{
    Watch *watch = data;

    if (watch->free_opaque)
        watch->free_opaque(watch->opaque);
    g_free(watch);
    return G_SOURCE_REMOVE;
}

static int
watch_remove(int id)
{
    g_mutex_lock(&loop.lock);
    Watch *watch = g_hash_table_lookup(loop.watches, GINT_TO_POINTER(id));
    if (watch) {
        g_hash_table_remove(loop.watches, GINT_TO_POINTER(id));
        watch->removed = TRUE;
        if (watch->source) {
            g_source_destroy(watch->source);
            g_clear_pointer(&watch->source, g_source_unref);
        }
        g_autoptr(GSource) idle = g_idle_source_new();
        g_source_set_priority(idle, G_PRIORITY_DEFAULT);
        g_source_set_callback(idle, watch_free_in_loop, watch, NULL);
        g_source_attach(idle, loop.context);
    }
    g_mutex_unlock(&loop.lock);
    return watch ? 0 : -1;
}

static int
handle_add(int fd, int events, virEventHandleCallback callback, void *opaque, virFreeCallback ff)
{
    Watch *watch = g_new0(Watch, 1);

    *watch = (Watch){
        .fd = fd, .setting = events, .on_handle = callback, .opaque = opaque, .free_opaque = ff
    };
    return watch_add(watch);
}

static int
timeout_add(int interval_ms, virEventTimeoutCallback callback, void *opaque, virFreeCallback ff)
{
    Watch *watch = g_new0(Watch, 1);

    *watch = (Watch){ .fd = -1,
                      .setting = interval_ms,
                      .on_timeout = callback,
                      .opaque = opaque,
                      .free_opaque = ff };
    return watch_add(watch);
}

static gpointer
loop_run(gpointer data)
{
    g_main_context_push_thread_default(loop.context);
    for (;;)
        g_main_context_iteration(loop.context, TRUE);
    return NULL;
}

/* libvirt prints errors to stderr unless told otherwise; we carry them as GError. */
static void
drop_error(void *data, virErrorPtr error)
{
}

void
hv_libvirt_loop_start(void)
{
    static gsize started;

    if (!g_once_init_enter(&started))
        return;
    loop.watches = g_hash_table_new(NULL, NULL);
    loop.next_id = 1;
    loop.context = g_main_context_new();
    virInitialize();
    virSetErrorFunc(NULL, drop_error);
    virEventRegisterImpl(handle_add, watch_update, watch_remove, timeout_add, watch_update,
                         watch_remove);
    g_thread_unref(g_thread_new("libvirt-loop", loop_run, NULL));
    g_once_init_leave(&started, 1);
}
