/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. TSan sees the locks of instrumented code and of libc. GLib's (futexes of its
 * own, in a library that isn't instrumented) it doesn't see, and so calls everything that they
 * protect a race. Preloaded, these functions stand before GLib's and tell TSan what each does: who
 * locks sees what was done before the unlock. tools/tsan builds and uses it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glib.h>

/* Not there in what isn't instrumented. */
void __tsan_acquire(void *at) __attribute__((weak));
void __tsan_release(void *at) __attribute__((weak));

static void
locked(GMutex *mutex)
{
    if (__tsan_acquire != NULL)
        __tsan_acquire(mutex);
}

static void
unlocks(GMutex *mutex)
{
    if (__tsan_release != NULL)
        __tsan_release(mutex);
}

#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (__atomic_load_n(&real, __ATOMIC_RELAXED) == NULL)                                          \
    __atomic_store_n(&real, (__typeof__(name) *)dlsym(RTLD_NEXT, #name), __ATOMIC_RELAXED)

void
g_mutex_lock(GMutex *mutex)
{
    REAL(g_mutex_lock);
    real(mutex);
    locked(mutex);
}

gboolean
g_mutex_trylock(GMutex *mutex)
{
    gboolean got;
    REAL(g_mutex_trylock);

    got = real(mutex);
    if (got)
        locked(mutex);
    return got;
}

void
g_mutex_unlock(GMutex *mutex)
{
    REAL(g_mutex_unlock);
    unlocks(mutex);
    real(mutex);
}

void
g_cond_wait(GCond *cond, GMutex *mutex)
{
    REAL(g_cond_wait);
    unlocks(mutex);
    real(cond, mutex);
    locked(mutex);
}

gboolean
g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    gboolean in_time;
    REAL(g_cond_wait_until);

    unlocks(mutex);
    in_time = real(cond, mutex, end_time);
    locked(mutex);
    return in_time;
}
