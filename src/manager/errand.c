/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * An errand is shared by two: the pool thread that waits on it and the main context that works on
 * it; the last one frees it. It goes WAITING → ANSWERED exactly once. The desk lists those that
 * wait, so that closing the desk can answer them all: else stopping would deadlock, since the HTTP
 * server waits for its threads in the same main context that the threads wait for.
 *
 * An order belongs to the thread that waits. It is there while the errand is not answered, and only
 * the main context answers (by closing, too): so it can't go while the function looks at it.
 */
#include "manager/errand.h"

#include "base/error.h"

struct ErrandDesk {
    gatomicrefcount refs;
    gpointer service; /* read-only after start */
    GMutex lock;
    GCond answered;
    gboolean closed;    /* under lock */
    GPtrArray *waiting; /* under lock; Errand, not owned */
};

struct Errand {
    gatomicrefcount refs;
    ErrandDesk *desk; /* owned reference */
    ErrandFunc func;
    gpointer order; /* of the waiting thread: only while not answered */
    gboolean done;  /* under desk->lock, as all below */
    JsonNode *answer;
    GError *error;
};

ErrandDesk *
errand_desk_new(gpointer service)
{
    ErrandDesk *desk = g_new0(ErrandDesk, 1);

    g_atomic_ref_count_init(&desk->refs);
    desk->service = service;
    g_mutex_init(&desk->lock);
    g_cond_init(&desk->answered);
    desk->waiting = g_ptr_array_new();
    return desk;
}

void
errand_desk_unref(ErrandDesk *desk)
{
    if (!g_atomic_ref_count_dec(&desk->refs))
        return;
    g_ptr_array_unref(desk->waiting);
    g_cond_clear(&desk->answered);
    g_mutex_clear(&desk->lock);
    g_free(desk);
}

static void
errand_unref(gpointer data)
{
    Errand *errand = data;

    if (!g_atomic_ref_count_dec(&errand->refs))
        return;
    g_clear_pointer(&errand->answer, json_node_unref);
    g_clear_error(&errand->error);
    errand_desk_unref(errand->desk);
    g_free(errand);
}

/** Under the lock. Takes both; the first answer counts. */
static void
settle(Errand *errand, JsonNode *answer, GError *error)
{
    if (errand->done) {
        g_clear_pointer(&answer, json_node_unref);
        g_clear_error(&error);
        return;
    }
    errand->done = TRUE;
    errand->answer = answer;
    errand->error = error;
    g_ptr_array_remove_fast(errand->desk->waiting, errand);
    g_cond_broadcast(&errand->desk->answered);
}

static GError *
stopping(void)
{
    return g_error_new_literal(GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                               "the manager is being stopped; migrations that run go on, ask again "
                               "when it is back");
}

void
errand_desk_close(ErrandDesk *desk)
{
    g_mutex_lock(&desk->lock);
    desk->closed = TRUE;
    while (desk->waiting->len > 0)
        settle(desk->waiting->pdata[0], NULL, stopping());
    g_mutex_unlock(&desk->lock);
}

void
errand_answer(Errand *errand, JsonNode *answer, GError *error)
{
    ErrandDesk *desk = errand->desk;

    g_assert((answer == NULL) != (error == NULL));
    g_mutex_lock(&desk->lock);
    settle(errand, answer, error);
    g_mutex_unlock(&desk->lock);
    errand_unref(errand);
}

static gboolean
work(gpointer data)
{
    Errand *errand = data;
    gboolean done;

    g_mutex_lock(&errand->desk->lock);
    done = errand->done;
    g_mutex_unlock(&errand->desk->lock);
    if (!done) {
        g_atomic_ref_count_inc(&errand->refs); /* errand_answer's */
        errand->func(errand, errand->order, errand->desk->service);
    }
    return G_SOURCE_REMOVE;
}

/* Not g_main_context_invoke(): that would call it in this thread while nobody runs the context. */
static void
call_in_main_context(Errand *errand)
{
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, work, errand, errand_unref);
    g_source_attach(source, NULL);
}

JsonNode *
errand_run(ErrandDesk *desk, ErrandFunc func, gpointer order, GError **error)
{
    Errand *errand = g_new0(Errand, 1);
    JsonNode *answer = NULL;

    g_atomic_ref_count_init(&errand->refs);
    g_atomic_ref_count_inc(&desk->refs);
    errand->desk = desk;
    errand->func = func;
    errand->order = order;
    g_mutex_lock(&desk->lock);
    g_ptr_array_add(desk->waiting, errand);
    if (desk->closed)
        settle(errand, NULL, stopping());
    else {
        g_atomic_ref_count_inc(&errand->refs); /* the source's */
        call_in_main_context(errand);
    }
    while (!errand->done)
        g_cond_wait(&desk->answered, &desk->lock);
    answer = g_steal_pointer(&errand->answer);
    if (errand->error != NULL)
        g_propagate_error(error, g_steal_pointer(&errand->error));
    g_mutex_unlock(&desk->lock);
    errand_unref(errand);
    return answer;
}
