/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and their jobs: each job runs once, with its thread's tools, and is told of; again with
 * system calls failing (the linker puts the __wrap_ functions in their place). */
#include "flyway/crew.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define N_JOBS 2000
#define PATIENCE_MS 40000

/* ---- failing calls --------------------------------------------------------------------------- */

static int threads_left = G_MAXINT; /* pthread_create fails after so many */
static int eventfd_problem;
static gint interrupts; /* so many reads and writes of 8 bytes are interrupted first; atomic */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *data);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *data);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                      void *data)
{
    return threads_left-- > 0 ? __real_pthread_create(thread, attributes, run, data) : EAGAIN;
}

int
__wrap_eventfd(unsigned count, int flags)
{
    errno = eventfd_problem;
    return eventfd_problem == 0 ? __real_eventfd(count, flags) : -1;
}

static gboolean
interrupted(size_t size)
{
    gint left = g_atomic_int_get(&interrupts);

    if (size != 8 || left == 0 || !g_atomic_int_compare_and_exchange(&interrupts, left, left - 1))
        return FALSE;
    errno = EINTR;
    return TRUE;
}

ssize_t
__wrap_write(int fd, const void *bytes, size_t size)
{
    return interrupted(size) ? -1 : __real_write(fd, bytes, size);
}

ssize_t
__wrap_read(int fd, void *bytes, size_t size)
{
    return interrupted(size) ? -1 : __real_read(fd, bytes, size);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

typedef struct {
    CrewJob job; /* first */
    guint input, output, runs, begun;
} Square;

typedef struct {
    CrewJob job; /* first */
    gint at_work, go;
} Gate;

static gint tools_made, tools_freed, sequence; /* atomic */

static gpointer
tools_new(void)
{
    g_atomic_int_inc(&tools_made);
    return g_new0(guint, 1);
}

static void
tools_free(gpointer tools)
{
    g_atomic_int_inc(&tools_freed);
    g_free(tools);
}

static void
square(CrewJob *job, gpointer tools)
{
    Square *mine = (Square *)job;
    guint *used = tools;

    (*used)++; /* nobody else's */
    mine->begun = (guint)g_atomic_int_add(&sequence, 1);
    mine->output = mine->input * mine->input;
    mine->runs++;
}

static void
wait_at_gate(CrewJob *job, gpointer tools)
{
    Gate *gate = (Gate *)job;

    __atomic_store_n(&gate->at_work, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&gate->go, __ATOMIC_ACQUIRE))
        g_thread_yield();
}

static void
open_gate(Gate *gate)
{
    __atomic_store_n(&gate->go, 1, __ATOMIC_RELEASE);
}

static Crew *
make_crew(guint threads)
{
    tools_made = tools_freed = sequence = 0;
    return crew_new(threads, tools_new, tools_free);
}

static void
await(Crew *crew, const CrewJob *job)
{
    while (!crew_is_done(job)) {
        struct pollfd entry = { .fd = crew_fd(crew), .events = POLLIN };

        g_assert_cmpint(poll(&entry, 1, PATIENCE_MS), ==, 1);
        crew_notice(crew);
    }
}

static void
submit_squares(Crew *crew, Square *squares, guint n)
{
    for (guint i = 0; i < n; i++) {
        squares[i] = (Square){ .job.run = square, .input = i };
        crew_submit(crew, &squares[i].job);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void
run_all(guint threads, guint expected_threads)
{
    g_autofree Square *squares = g_new0(Square, N_JOBS);
    Crew *crew = make_crew(threads);

    g_assert_nonnull(crew);
    g_assert_cmpuint(crew_threads(crew), ==, expected_threads);
    submit_squares(crew, squares, N_JOBS);
    for (guint i = N_JOBS; i-- > 0;) { /* the last first: the order doesn't matter */
        await(crew, &squares[i].job);
        g_assert_cmpuint(squares[i].runs, ==, 1);
        g_assert_cmpuint(squares[i].output, ==, i * i);
        if (expected_threads == 1)
            g_assert_cmpuint(squares[i].begun, ==, i);
    }
    crew_free(crew);
    g_assert_cmpint(tools_made, ==, (gint)expected_threads);
    g_assert_cmpint(tools_freed, ==, (gint)expected_threads);
}

static void
test_runs_all(void)
{
    run_all(1, 1);
    run_all(4, 4);
    run_all(0, 1);
}

/* The same job again, while others are on their way. */
static void
test_again(void)
{
    Square squares[3] = { 0 };
    Crew *crew = make_crew(2);

    for (guint round = 0; round < 500; round++) {
        Square *one = &squares[round % 3];

        if (one->job.run != NULL)
            await(crew, &one->job);
        g_assert_cmpuint(one->runs, ==, round / 3);
        one->job.run = square;
        crew_submit(crew, &one->job);
    }
    for (guint i = 0; i < 3; i++)
        await(crew, &squares[i].job);
    crew_free(crew);
}

static void
test_tells(void)
{
    Gate gate = { .job.run = wait_at_gate };
    Crew *crew = make_crew(1);
    struct pollfd entry = { .fd = crew_fd(crew), .events = POLLIN };

    crew_notice(crew); /* nothing is there: returns */
    crew_submit(crew, &gate.job);
    while (!__atomic_load_n(&gate.at_work, __ATOMIC_ACQUIRE))
        g_thread_yield();
    g_assert_false(crew_is_done(&gate.job));
    g_assert_cmpint(poll(&entry, 1, 0), ==, 0);
    open_gate(&gate);
    g_assert_cmpint(poll(&entry, 1, PATIENCE_MS), ==, 1);
    g_assert_true(crew_is_done(&gate.job));
    g_assert_cmpint(poll(&entry, 1, 0), ==, 1); /* until it is noticed */
    crew_notice(crew);
    g_assert_cmpint(poll(&entry, 1, 0), ==, 0);
    crew_free(crew);
}

/* Ends while a job is at work and more wait: that one is done, the others are, or were never
 * begun. */
static void
test_free(void)
{
    g_autofree Square *squares = g_new0(Square, 50);
    guint undone = 0;

    for (guint round = 0; round < 100; round++) {
        Gate gate = { .job.run = wait_at_gate };
        Crew *crew = make_crew(1 + round % 2);

        crew_submit(crew, &gate.job);
        while (!__atomic_load_n(&gate.at_work, __ATOMIC_ACQUIRE))
            g_thread_yield();
        submit_squares(crew, squares, 50);
        open_gate(&gate);
        crew_free(crew);
        g_assert_true(crew_is_done(&gate.job));
        g_assert_cmpint(tools_freed, ==, tools_made);
        for (guint i = 0; i < 50; i++) {
            g_assert_cmpuint(squares[i].runs, ==, crew_is_done(&squares[i].job) ? 1 : 0);
            undone += squares[i].runs == 0;
        }
    }
    g_test_message("%u of 5000 weren't begun", undone);
    crew_free(NULL);
}

static void
test_system_refuses(void)
{
    eventfd_problem = EMFILE;
    g_assert_null(make_crew(2));
    g_assert_cmpint(errno, ==, EMFILE);
    g_assert_cmpint(tools_made, ==, 0);
    eventfd_problem = 0;

    threads_left = 0;
    g_assert_null(make_crew(2));
    g_assert_cmpint(errno, ==, EAGAIN);
    threads_left = 2; /* fewer than wished, but they do it */
    run_all(4, 2);
    threads_left = G_MAXINT;
}

static void
test_interrupted(void)
{
    interrupts = 500;
    run_all(2, 2);
    interrupts = 0;
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/crew/runs-all", test_runs_all);
    g_test_add_func("/flyway/crew/again", test_again);
    g_test_add_func("/flyway/crew/tells", test_tells);
    g_test_add_func("/flyway/crew/free", test_free);
    g_test_add_func("/flyway/crew/system-refuses", test_system_refuses);
    g_test_add_func("/flyway/crew/interrupted", test_interrupted);
    return g_test_run();
}
