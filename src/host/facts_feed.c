/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * libvirt's events say that something changed, never reliably what; so they only mark parts as
 * stale: the host, the networks, the datastores, single VMs, or everything (libvirt came back). The
 * first mark arms a timer of COALESCE_MS; when it fires, whatever is stale then is read again in a
 * thread (libvirt's calls block), one read at a time, and compared with what is known
 * (facts_diff.c). Marks that come during a read wait for the next one, so a change can't be missed:
 * it is marked before the read that shows it begins.
 *
 *   quiet --mark--> armed --timer--> reading --done, nothing marked--> quiet
 *                                    reading --done, marked meanwhile--> armed
 *
 * A read that fails while libvirt is said to be there is tried again after 1, 2, 4 … 30 s. When
 * libvirt goes, the host's state becomes no-libvirt and what was known stays known; when it comes
 * back, all is read again.
 *
 * There is no polling, with one exception: load and free memory have no event, so they are read
 * every HOST_REFRESH_S while somebody listens.
 *
 * Threads: everything runs in the main loop but read_stale (and facts_read), which use only
 * FactsSource and their own copy of the marks. `lock` guards `known` for facts_feed_running, the
 * one function for other threads.
 */
#include "host/facts_feed.h"

#include "base/clock.h"
#include "base/error.h"

#define COALESCE_MS 50
#define HOST_REFRESH_S 30
#define RETRY_MAX_S 30
#define LIBVIRT_AWAY "libvirt does not answer: is libvirtd or virtqemud running?"

/* What is to be read. */
typedef struct {
    gboolean all, host, networks, datastores;
    GHashTable *vms; /* UUIDs */
} Marks;

struct FactsFeed {
    /* read-only after start */
    FactsSource source;
    FactsFeedNotify notify;
    gpointer user_data;
    GMainContext *context;
    /* owned by the main loop */
    Marks marks;
    GSource *timer;   /* armed */
    GSource *refresh; /* while somebody listens */
    GTask *reading;
    guint retry_s; /* delay of the next try after a failure; 0 = none failed */
    gboolean ready;
    gboolean closing;
    /* under lock */
    GMutex lock;
    Facts *known;
};

typedef struct {
    FactsSource source;
    Marks marks;
} ReadJob;

/* ---- reading: any thread --------------------------------------------------------------------- */

static HostRecall *
read_recall(RecallService *service)
{
    g_auto(RecallStatus) status = { 0 };
    HostRecall *recall = record_new(&host_recall_type);

    recall_service_status(service, &status);
    recall->active = status.reason == NULL;
    recall->keyed = status.keyed;
    recall->reason = g_steal_pointer(&status.reason);
    recall->sets = status.statistics.sets;
    recall->bytes = (gint64)status.statistics.bytes;
    recall->max_bytes = (gint64)status.statistics.max_bytes;
    recall->oldest_ms = status.statistics.oldest_ms;
    recall->pages_asked = (gint64)status.statistics.asked;
    recall->pages_found = (gint64)status.statistics.found;
    return recall;
}

static void
complete_host(const FactsSource *source, Host *host)
{
    const AgentConfig *config = source->config;
    g_free(host->uuid);
    host->uuid = g_strdup(source->host_uuid);
    if (!host->name)
        host->name = g_strdup(g_get_host_name());
    g_free(host->control_address);
    host->control_address = g_strdup(config->advertise);
    host->control_port = config->control_port;
    g_strfreev(host->migration_addresses);
    host->migration_addresses = g_strdupv(config->migration_addresses);
    host->migration_port = config->migration_port;
    host->memory_reserved_bytes = source->motion ? motion_reserved_bytes(source->motion) : 0;
    if (!host->versions)
        host->versions = record_new(&host_versions_type);
    g_free(host->versions->godwit);
    host->versions->godwit = g_strdup(GODWIT_VERSION);
    host_recall_free(host->recall);
    host->recall = source->recall ? read_recall(source->recall) : NULL;
    if (!host->clock_ms)
        host->clock_ms = clock_wall_ms();
}

static void
complete_vm(const FactsSource *source, Vm *vm)
{
    g_free(vm->host);
    vm->host = g_strdup(source->host_uuid);
    vm_stats_free(vm->stats); /* counters are asked for, not told */
    vm->stats = NULL;
    g_free(vm->migration);
    vm->migration = source->motion ? motion_of_vm(source->motion, vm->uuid) : NULL;
}

static void
complete_lists(const FactsSource *source, GPtrArray *networks, GPtrArray *datastores)
{
    for (guint i = 0; networks && i < networks->len; i++) {
        Network *network = g_ptr_array_index(networks, i);
        g_free(network->host);
        network->host = g_strdup(source->host_uuid);
    }
    for (guint i = 0; datastores && i < datastores->len; i++) {
        Datastore *datastore = g_ptr_array_index(datastores, i);
        g_free(datastore->host);
        datastore->host = g_strdup(source->host_uuid);
    }
}

Facts *
facts_read(const FactsSource *source, GError **error)
{
    Facts *facts = source->hv->ops->facts(source->hv, error);
    if (!facts)
        return NULL;
    if (!facts->host)
        facts->host = record_new(&host_type);
    facts->host->state = HOST_CONNECTED;
    complete_host(source, facts->host);
    complete_lists(source, facts->networks, facts->datastores);
    for (guint i = 0; facts->vms && i < facts->vms->len; i++)
        complete_vm(source, g_ptr_array_index(facts->vms, i));
    return facts;
}

static gboolean
read_host(const FactsSource *source, FactsUpdate *update, GError **error)
{
    update->host = source->hv->ops->host(source->hv, error);
    if (!update->host)
        return FALSE;
    update->host->state = HOST_CONNECTED;
    complete_host(source, update->host);
    return TRUE;
}

static gboolean
read_vms(const FactsSource *source, GHashTable *uuids, FactsUpdate *update, GError **error)
{
    GHashTableIter iter;
    gpointer uuid;
    update->vms = record_list_new(&vm_type);
    g_hash_table_iter_init(&iter, uuids);
    while (g_hash_table_iter_next(&iter, &uuid, NULL)) {
        g_autoptr(GError) reason = NULL;
        Vm *vm = source->hv->ops->vm(source->hv, uuid, &reason);
        if (vm) {
            complete_vm(source, vm);
            g_ptr_array_add(update->vms, vm);
        } else if (g_error_matches(reason, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND)) {
            g_ptr_array_add(update->gone, g_strdup(uuid));
        } else {
            g_propagate_error(error, g_steal_pointer(&reason));
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
read_all(const FactsSource *source, FactsUpdate *update, GError **error)
{
    g_autoptr(Facts) facts = facts_read(source, error);
    if (!facts)
        return FALSE;
    update->host = g_steal_pointer(&facts->host);
    update->networks =
        facts->networks ? g_steal_pointer(&facts->networks) : record_list_new(&network_type);
    update->datastores =
        facts->datastores ? g_steal_pointer(&facts->datastores) : record_list_new(&datastore_type);
    update->vms = facts->vms ? g_steal_pointer(&facts->vms) : record_list_new(&vm_type);
    update->all_vms = TRUE;
    return TRUE;
}

static gboolean
read_marked(const ReadJob *job, FactsUpdate *update, GError **error)
{
    const FactsSource *source = &job->source;
    Hv *hv = source->hv;
    if (job->marks.all)
        return read_all(source, update, error);
    if (job->marks.networks && !(update->networks = hv->ops->networks(hv, error)))
        return FALSE;
    if (job->marks.datastores && !(update->datastores = hv->ops->datastores(hv, error)))
        return FALSE;
    complete_lists(source, update->networks, update->datastores);
    if (g_hash_table_size(job->marks.vms) > 0 && !read_vms(source, job->marks.vms, update, error))
        return FALSE;
    return !job->marks.host || read_host(source, update, error);
}

static void
read_stale(GTask *task, gpointer object, gpointer data, GCancellable *cancellable)
{
    g_autoptr(FactsUpdate) update = facts_update_new();
    GError *error = NULL;
    if (read_marked(data, update, &error))
        g_task_return_pointer(task, g_steal_pointer(&update), (GDestroyNotify)facts_update_free);
    else
        g_task_return_error(task, error);
}

/* ---- marks and timers: main loop ------------------------------------------------------------- */

static GHashTable *
uuid_set_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void
read_job_free(gpointer data)
{
    ReadJob *job = data;
    g_hash_table_unref(job->marks.vms);
    g_free(job);
}

static void
stop_timer(GSource **timer)
{
    if (*timer)
        g_source_destroy(*timer);
    g_clear_pointer(timer, g_source_unref);
}

static void
start_timer(FactsFeed *feed, GSource **timer, guint delay_ms, GSourceFunc func)
{
    *timer = g_timeout_source_new(delay_ms);
    g_source_set_callback(*timer, func, feed, NULL);
    g_source_attach(*timer, feed->context);
}

static gboolean
is_stale(const Marks *marks)
{
    return marks->all || marks->host || marks->networks || marks->datastores ||
           g_hash_table_size(marks->vms) > 0;
}

static gboolean on_timer(gpointer data);

static void
arm(FactsFeed *feed, guint delay_ms)
{
    if (!feed->closing && !feed->timer && !feed->reading && is_stale(&feed->marks))
        start_timer(feed, &feed->timer, delay_ms, on_timer);
}

static void
become_ready(FactsFeed *feed)
{
    if (feed->ready)
        return;
    feed->ready = TRUE;
    if (feed->notify.ready)
        feed->notify.ready(feed->user_data);
}

static void
emit(const char *event, JsonNode *data, gpointer user_data)
{
    FactsFeed *feed = user_data;
    if (feed->ready && feed->notify.changed)
        feed->notify.changed(event, data, feed->user_data);
}

static void
apply(FactsFeed *feed, FactsUpdate *update)
{
    g_mutex_lock(&feed->lock); /* listeners are told under it: they only send */
    gboolean count_changed = facts_apply(feed->known, update, emit, feed);
    g_mutex_unlock(&feed->lock);
    if (count_changed)
        feed->marks.host = TRUE; /* its memory and count of VMs changed with it */
}

/* Says in the host's state whether libvirt answers. */
static void
tell_libvirt_state(FactsFeed *feed, HostState state, const char *reason)
{
    g_autoptr(FactsUpdate) update = facts_update_new();
    update->host = record_copy(&host_type, feed->known->host);
    update->host->state = state;
    g_free(update->host->state_reason);
    update->host->state_reason = g_strdup(reason);
    update->host->clock_ms = clock_wall_ms();
    apply(feed, update);
}

static void
on_read(GObject *object, GAsyncResult *result, gpointer data)
{
    FactsFeed *feed = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(FactsUpdate) update = g_task_propagate_pointer(G_TASK(result), &error);
    g_clear_object(&feed->reading);
    if (feed->closing)
        return;
    if (update) {
        feed->retry_s = 0;
        apply(feed, update);
        if (!feed->source.hv->ops->is_connected(feed->source.hv)) /* went while it was read */
            tell_libvirt_state(feed, HOST_NO_LIBVIRT, LIBVIRT_AWAY);
        become_ready(feed);
        arm(feed, COALESCE_MS);
        return;
    }
    g_debug("facts could not be read: %s", error->message);
    feed->marks.all = TRUE;
    if (!feed->source.hv->ops->is_connected(feed->source.hv)) {
        become_ready(feed); /* what there is to tell is that libvirt is away */
        return;             /* CONNECTED comes and reads all */
    }
    feed->retry_s = CLAMP(feed->retry_s * 2, 1, RETRY_MAX_S);
    tell_libvirt_state(feed, HOST_NO_LIBVIRT, error->message);
    become_ready(feed);
    arm(feed, feed->retry_s * 1000);
}

static gboolean
on_timer(gpointer data)
{
    FactsFeed *feed = data;
    stop_timer(&feed->timer);
    if (!feed->source.hv->ops->is_connected(feed->source.hv))
        return G_SOURCE_REMOVE; /* CONNECTED comes and reads all */
    ReadJob *job = g_new0(ReadJob, 1);
    job->source = feed->source;
    job->marks = feed->marks;
    feed->marks = (Marks){ .vms = uuid_set_new() };
    feed->reading = g_task_new(NULL, NULL, on_read, feed);
    g_task_set_task_data(feed->reading, job, read_job_free);
    g_task_run_in_thread(feed->reading, read_stale);
    return G_SOURCE_REMOVE;
}

/* ---- public ---------------------------------------------------------------------------------- */

FactsFeed *
facts_feed_new(const FactsSource *source, const FactsFeedNotify *notify, gpointer user_data)
{
    FactsFeed *feed = g_new0(FactsFeed, 1);
    feed->source = *source;
    feed->notify = *notify;
    feed->user_data = user_data;
    feed->context = g_main_context_ref_thread_default();
    feed->marks.vms = uuid_set_new();
    g_mutex_init(&feed->lock);
    feed->known = record_new(&facts_type);
    feed->known->host = record_new(&host_type);
    feed->known->host->state = HOST_NO_LIBVIRT;
    feed->known->host->state_reason = g_strdup("libvirt has not answered yet");
    complete_host(source, feed->known->host);
    return feed;
}

void
facts_feed_free(FactsFeed *feed)
{
    if (!feed)
        return;
    feed->closing = TRUE;
    stop_timer(&feed->timer);
    stop_timer(&feed->refresh);
    while (feed->reading) /* libvirt's calls can't be abandoned: the thread uses hv */
        g_main_context_iteration(feed->context, TRUE);
    facts_free(feed->known);
    g_hash_table_unref(feed->marks.vms);
    g_mutex_clear(&feed->lock);
    g_main_context_unref(feed->context);
    g_free(feed);
}

void
facts_feed_start(FactsFeed *feed)
{
    feed->marks.all = TRUE;
    if (feed->source.hv->ops->is_connected(feed->source.hv))
        arm(feed, 0);
    else
        become_ready(feed);
}

void
facts_feed_event(FactsFeed *feed, const HvEvent *event)
{
    switch (event->kind) {
    case HV_EVENT_CONNECTED:
        feed->marks.all = TRUE;
        break;
    case HV_EVENT_DISCONNECTED:
        tell_libvirt_state(feed, HOST_NO_LIBVIRT, LIBVIRT_AWAY);
        become_ready(feed);
        return;
    case HV_EVENT_VM:
        if (event->uuid)
            g_hash_table_add(feed->marks.vms, g_strdup(event->uuid));
        break;
    case HV_EVENT_NETWORK:
        feed->marks.networks = TRUE;
        break;
    case HV_EVENT_DATASTORE:
        feed->marks.datastores = TRUE;
        break;
    case HV_EVENT_SUSPENDED_FOR_MIGRATION:
    case HV_EVENT_MIGRATION_PASS:
        return; /* motion's */
    }
    arm(feed, COALESCE_MS);
}

void
facts_feed_touch_vm(FactsFeed *feed, const char *uuid)
{
    g_hash_table_add(feed->marks.vms, g_strdup(uuid));
    feed->marks.host = TRUE; /* reserved memory changes with migrations */
    arm(feed, COALESCE_MS);
}

void
facts_feed_touch_host(FactsFeed *feed)
{
    feed->marks.host = TRUE;
    arm(feed, COALESCE_MS);
}

gboolean
facts_feed_is_ready(const FactsFeed *feed)
{
    return feed->ready;
}

const Facts *
facts_feed_known(const FactsFeed *feed)
{
    return feed->known;
}

static gboolean
on_refresh(gpointer data)
{
    facts_feed_touch_host(data);
    return G_SOURCE_CONTINUE;
}

void
facts_feed_set_listeners(FactsFeed *feed, guint listeners)
{
    if (listeners == 0) {
        stop_timer(&feed->refresh);
    } else if (!feed->refresh) {
        start_timer(feed, &feed->refresh, HOST_REFRESH_S * 1000, on_refresh);
        facts_feed_touch_host(feed);
    }
}

GPtrArray *
facts_feed_running(FactsFeed *feed)
{
    GPtrArray *running = record_list_new(&vm_type);
    g_mutex_lock(&feed->lock);
    for (guint i = 0; feed->known->vms && i < feed->known->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(feed->known->vms, i);
        if (vm->state == VM_SHUTOFF || vm->state == VM_CRASHED)
            continue;
        Vm *copy = record_new(&vm_type);
        copy->uuid = g_strdup(vm->uuid);
        copy->name = g_strdup(vm->name);
        copy->state = vm->state;
        g_ptr_array_add(running, copy);
    }
    g_mutex_unlock(&feed->lock);
    return running;
}
