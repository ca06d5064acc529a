/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One lock guards library and key. Migrations' threads, HTTP handlers and the reader of facts come
 * in as they like; each holds the lock for a few small files' work, or for the unlinking of large
 * ones.
 *
 * There is recall while it is enabled, the folder can be used, and the manager has given the key.
 * The key stays in memory, so after a start of godwitd there is none until the manager's line is
 * up: migrations before that are carried without. Clearing, expiring and settling of sets that were
 * begun before need no key.
 *
 * Where recall is not enabled, the folder is opened once with a limit of 0 and so emptied: pages
 * that nobody uses any more don't lie there forever. It isn't made if there is none.
 *
 * Old sets go when a migration ends (commit does so by itself) and once a day: the housekeeper
 * thread sleeps until then and does nothing else, so that no main loop unlinks large files.
 *
 * `changed` is told by an idle source in the owner's context; several changes before it is
 * dispatched are told once.
 */
#include "flyway/recall_service.h"

#include <string.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "flyway/recall_key.h"

#define DAY_S 86400u

struct RecallService {
    /* read-only after start */
    char *folder;
    gboolean enabled;
    RecallShare share;
    guint expire_s;
    gint64 (*now_ms)(void);
    void (*changed)(gpointer data);
    gpointer data;
    GMainContext *context;
    GThread *housekeeper; /* NULL without library */
    char *unusable;       /* why there is no library, or it isn't used */
    /* under lock */
    GMutex lock;
    GCond stop;
    gboolean stopping;
    RecallLibrary *library; /* NULL: none */
    gboolean has_key;
    guint8 key[RECALL_KEY_SIZE]; /* the cluster's */
    GSource *telling;            /* of `changed`, until it is dispatched */
};

/* ---- telling --------------------------------------------------------------------------------- */

static gboolean
on_tell(gpointer data)
{
    RecallService *service = data;

    g_mutex_lock(&service->lock);
    g_clear_pointer(&service->telling, g_source_unref);
    g_mutex_unlock(&service->lock);
    service->changed(service->data);
    return G_SOURCE_REMOVE;
}

/* Under the lock. */
static void
tell(RecallService *service)
{
    if (service->changed == NULL || service->telling != NULL)
        return;
    service->telling = g_idle_source_new();
    g_source_set_priority(service->telling, G_PRIORITY_DEFAULT);
    g_source_set_callback(service->telling, on_tell, service, NULL);
    g_source_attach(service->telling, service->context);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static guint64
share_of_disk(const RecallServiceConfig *config)
{
    RecallSpace space = { 0 };

    (config->limits.space != NULL ? config->limits.space : recall_space_real)(config->folder,
                                                                              &space);
    return MIN(space.size_bytes / RECALL_AUTO_PART, RECALL_AUTO_BYTES);
}

static void
open_library(RecallService *service, const RecallServiceConfig *config)
{
    RecallLimits limits = config->limits;
    g_autoptr(GError) error = NULL;

    if (!config->enabled || limits.max_bytes == 0) {
        service->unusable = g_strdup(config->enabled ? "recall.max_bytes is 0 in godwitd.conf"
                                                     : "recall.enabled is false in godwitd.conf");
        limits.max_bytes = 0;
        if (!g_file_test(config->folder, G_FILE_TEST_IS_DIR))
            return;
    }
    if (limits.max_bytes == RECALL_AUTO) {
        /* The folder has to be there to know its file system; open says what is wrong with it. */
        g_mkdir_with_parents(config->folder, 0700);
        limits.max_bytes = share_of_disk(config);
    }
    service->library = recall_library_open(config->folder, &limits, &error);
    if (service->library == NULL && service->unusable == NULL)
        service->unusable = g_strdup(error->message);
}

static void
expire(RecallService *service)
{
    if (recall_library_expire(service->library, service->now_ms()) > 0)
        tell(service);
}

static gpointer
keep_house(gpointer data)
{
    RecallService *service = data;

    g_mutex_lock(&service->lock);
    while (!service->stopping) {
        gint64 until_us;

        expire(service);
        until_us = g_get_monotonic_time() + (gint64)service->expire_s * G_USEC_PER_SEC;
        while (!service->stopping && g_cond_wait_until(&service->stop, &service->lock, until_us))
            continue;
    }
    g_mutex_unlock(&service->lock);
    return NULL;
}

RecallService *
recall_service_new(const RecallServiceConfig *config)
{
    RecallService *service = g_new0(RecallService, 1);

    service->folder = g_strdup(config->folder);
    service->enabled = config->enabled;
    service->share = config->share;
    service->expire_s = config->expire_s != 0 ? config->expire_s : DAY_S;
    service->now_ms = config->now_ms != NULL ? config->now_ms : clock_wall_ms;
    service->changed = config->changed;
    service->data = config->data;
    service->context = g_main_context_ref_thread_default();
    g_mutex_init(&service->lock);
    g_cond_init(&service->stop);
    open_library(service, config);
    if (service->library != NULL)
        service->housekeeper = g_thread_new("recall", keep_house, service);
    return service;
}

void
recall_service_free(RecallService *service)
{
    if (service == NULL)
        return;
    g_mutex_lock(&service->lock);
    service->stopping = TRUE;
    g_cond_broadcast(&service->stop);
    g_mutex_unlock(&service->lock);
    g_clear_pointer(&service->housekeeper, g_thread_join);
    if (service->telling != NULL)
        g_source_destroy(service->telling);
    g_clear_pointer(&service->telling, g_source_unref);
    g_main_context_unref(service->context);
    explicit_bzero(service->key, sizeof service->key);
    recall_library_free(service->library);
    g_cond_clear(&service->stop);
    g_mutex_clear(&service->lock);
    g_free(service->unusable);
    g_free(service->folder);
    g_free(service);
}

void
recall_service_set_key(RecallService *service, const guint8 key[RECALL_KEY_SIZE])
{
    g_mutex_lock(&service->lock);
    if (!service->has_key)
        tell(service);
    memcpy(service->key, key, RECALL_KEY_SIZE);
    service->has_key = TRUE;
    g_mutex_unlock(&service->lock);
}

/* ---- what there is --------------------------------------------------------------------------- */

/* Under the lock; NULL: there is recall. */
static const char *
why_not(const RecallService *service)
{
    if (service->unusable != NULL)
        return service->unusable;
    return service->has_key
               ? NULL
               : "the manager has not given the cluster's recall key since godwitd was "
                 "started; it does as soon as it is connected";
}

void
recall_service_status(RecallService *service, RecallStatus *status)
{
    *status = (RecallStatus){ 0 };
    g_mutex_lock(&service->lock);
    status->reason = g_strdup(why_not(service));
    status->usable = service->unusable == NULL;
    status->keyed = service->has_key;
    if (service->library != NULL)
        recall_library_statistics(service->library, &status->statistics);
    g_mutex_unlock(&service->lock);
}

void
recall_status_clear(RecallStatus *status)
{
    g_clear_pointer(&status->reason, g_free);
}

guint
recall_service_clear(RecallService *service, const char *vm)
{
    guint removed = 0;

    g_mutex_lock(&service->lock);
    if (service->library != NULL)
        removed = recall_library_clear(service->library, vm);
    if (removed > 0)
        tell(service);
    g_mutex_unlock(&service->lock);
    return removed;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static RecallLoan *
loan_new(void)
{
    RecallLoan *loan = g_new0(RecallLoan, 1);

    loan->ticket.index_fd = loan->ticket.pages_fd = -1;
    return loan;
}

static void
files_close(RecallFiles *files)
{
    fd_close_p(&files->index_fd);
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        fd_close_p(&files->segment_fds[i]);
}

void
recall_loan_free(RecallLoan *loan)
{
    if (loan == NULL)
        return;
    for (guint i = 0; i < loan->n_sets; i++)
        files_close(&loan->sets[i].files);
    fd_close_p(&loan->ticket.index_fd);
    fd_close_p(&loan->ticket.pages_fd);
    g_clear_error(&loan->unkept);
    explicit_bzero(loan->group_key, sizeof loan->group_key);
    g_free(loan);
}

/* Opens the chosen sets; those that can't be are dropped from the list (the library has removed
 * them). */
static void
open_sets(RecallService *service, GPtrArray *chosen, RecallLoan *loan)
{
    for (guint i = 0; i < chosen->len;) {
        const RecallSet *set = chosen->pdata[i];
        g_autoptr(GError) error = NULL;

        /* Named first: a set that can't be opened is gone after. */
        g_strlcpy(loan->sets[loan->n_sets].id, set->id, sizeof loan->sets[0].id);
        loan->sets[loan->n_sets].pages = set->pages;
        if (recall_library_files(service->library, set, service->now_ms(),
                                 &loan->sets[loan->n_sets].files, &error)) {
            loan->n_sets++;
            i++;
        } else {
            g_debug("recall: %s", error->message);
            g_ptr_array_remove_index(chosen, i);
        }
    }
}

/* Under the lock. */
static RecallLoan *
lend(RecallService *service, const RecallOrder *order, GError **error)
{
    g_autoptr(RecallLoan) loan = loan_new();
    g_autofree char *group = recall_group(service->share, order->vm, order->group);
    g_autoptr(GPtrArray) chosen = NULL;
    RecallWish wish = { .id = order->migration,
                        .vm = order->vm,
                        .group = group,
                        .peer = order->peer,
                        .memory_bytes = order->memory_bytes };
    const char *why = why_not(service);

    if (why != NULL) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED, "recall is not used: %s", why);
        return NULL;
    }
    if (recall_key_group(service->key, group, loan->group_key) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL,
                    "recall is not used: GnuTLS can't derive the key of group %s", group);
        return NULL;
    }
    chosen = recall_library_choose(service->library, &wish,
                                   order->max_pages != 0 ? order->max_pages : RECALL_PAGES_MAX);
    open_sets(service, chosen, loan);
    wish.reads = (const RecallSet *const *)chosen->pdata;
    wish.n_reads = chosen->len;
    if (!recall_library_create(service->library, &wish, service->now_ms(), &loan->ticket,
                               &loan->unkept))
        loan->ticket.index_fd = loan->ticket.pages_fd = -1;
    return g_steal_pointer(&loan);
}

RecallLoan *
recall_service_begin(RecallService *service, const RecallOrder *order, GError **error)
{
    RecallLoan *loan;

    g_mutex_lock(&service->lock);
    loan = lend(service, order, error);
    if (loan != NULL)
        tell(service);
    g_mutex_unlock(&service->lock);
    return loan;
}

gboolean
recall_service_commit(RecallService *service, const char *migration, GError **error)
{
    gboolean done = FALSE;

    g_mutex_lock(&service->lock);
    if (service->library == NULL)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED, "recall is not used: %s",
                    service->unusable);
    else
        done = recall_library_commit(service->library, migration, service->now_ms(), error);
    tell(service);
    g_mutex_unlock(&service->lock);
    return done;
}

void
recall_service_abandon(RecallService *service, const char *migration)
{
    g_mutex_lock(&service->lock);
    if (service->library != NULL) {
        recall_library_abandon(service->library, migration);
        expire(service);
        tell(service);
    }
    g_mutex_unlock(&service->lock);
}

void
recall_service_note(RecallService *service, guint64 asked, guint64 found)
{
    g_mutex_lock(&service->lock);
    if (service->library != NULL) {
        recall_library_note(service->library, asked, found);
        tell(service);
    }
    g_mutex_unlock(&service->lock);
}
