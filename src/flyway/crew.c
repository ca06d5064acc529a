/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A queue under one lock, a condition that threads without a job wait on, and an eventfd that wakes
 * the loop's poll when one is done. Nothing is allocated per job: jobs are linked by themselves.
 * The queue is bounded by whoever owns the jobs. Threads die with the process; crew_free() tells
 * them to end after the job they are at. POSIX's mutexes and not GLib's, which ThreadSanitizer
 * doesn't see.
 */
#include "flyway/crew.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES (256 * 1024)

struct Crew {
    /* read-only after start */
    guint n_threads;
    pthread_t *threads;
    int event;
    gpointer (*tools_new)(void);
    GDestroyNotify tools_free;

    pthread_mutex_t lock;
    pthread_cond_t work;
    /* under lock */
    CrewJob *first, *last;
    gboolean ends;
};

/* The next job; NULL: end. */
static CrewJob *
take(Crew *crew)
{
    CrewJob *job = NULL;

    pthread_mutex_lock(&crew->lock);
    while (crew->first == NULL && !crew->ends)
        pthread_cond_wait(&crew->work, &crew->lock);
    if (!crew->ends) {
        job = crew->first;
        crew->first = job->next;
        if (crew->first == NULL)
            crew->last = NULL;
    }
    pthread_mutex_unlock(&crew->lock);
    return job;
}

static void
wake(const Crew *crew)
{
    guint64 one = 1;

    while (write(crew->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void *
work(void *data)
{
    Crew *crew = data;
    gpointer tools = crew->tools_new();
    CrewJob *job;

    while ((job = take(crew)) != NULL) {
        job->run(job, tools);
        __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
        wake(crew);
    }
    crew->tools_free(tools);
    return NULL;
}

static gboolean
start_threads(Crew *crew, guint threads)
{
    pthread_attr_t attributes;
    int problem = 0;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (crew->n_threads < threads && problem == 0) {
        problem = pthread_create(&crew->threads[crew->n_threads], &attributes, work, crew);
        if (problem == 0)
            crew->n_threads++;
    }
    pthread_attr_destroy(&attributes);
    errno = problem;
    return crew->n_threads > 0; /* fewer do it too */
}

Crew *
crew_new(guint threads, gpointer (*tools_new)(void), GDestroyNotify tools_free)
{
    Crew *crew = g_new0(Crew, 1);

    crew->tools_new = tools_new;
    crew->tools_free = tools_free;
    crew->threads = g_new0(pthread_t, MAX(threads, 1));
    crew->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    if (crew->event >= 0 && start_threads(crew, MAX(threads, 1)))
        return crew;
    crew_free(crew);
    return NULL;
}

void
crew_free(Crew *crew)
{
    int problem = errno;

    if (crew == NULL)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->ends = TRUE;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (guint i = 0; i < crew->n_threads; i++)
        pthread_join(crew->threads[i], NULL);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    if (crew->event >= 0)
        close(crew->event);
    g_free(crew->threads);
    g_free(crew);
    errno = problem;
}

guint
crew_threads(const Crew *crew)
{
    return crew->n_threads;
}

int
crew_fd(const Crew *crew)
{
    return crew->event;
}

void
crew_notice(Crew *crew)
{
    guint64 count;

    while (read(crew->event, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

void
crew_submit(Crew *crew, CrewJob *job)
{
    job->done = 0;
    job->next = NULL;
    pthread_mutex_lock(&crew->lock);
    if (crew->last != NULL)
        crew->last->next = job;
    else
        crew->first = job;
    crew->last = job;
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->lock);
}

gboolean
crew_is_done(const CrewJob *job)
{
    return __atomic_load_n(&job->done, __ATOMIC_ACQUIRE) != 0;
}

void
crew_wait(Crew *crew, const CrewJob *job)
{
    struct pollfd entry = { .fd = crew->event, .events = POLLIN };

    while (!crew_is_done(job)) {
        (void)poll(&entry, 1, -1);
        crew_notice(crew);
    }
    wake(crew); /* what was noticed here may have been another job's end */
}
