/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The worker parses what another host, a guest and libvirt send. If one of them should get it to
 * run their code, this is what that code could do: use the descriptors that godwitd gave it,
 * memory, CPU and time. Two walls of the kernel, each of which does without the other:
 *
 *     Landlock  every right that the kernel knows is handled and no rule gives one back: no file
 *               can be opened by its path, no TCP port bound or connected, no process outside
 *               signalled, no abstract unix socket outside reached. What godwitd opened and passed
 *               in stays usable: Landlock looks at opening, not at use.
 *     seccomp   a list of the system calls that are needed, below, a line and a reason each. All
 *               others kill the process: no library of ours makes them, so whoever does isn't us.
 *               What libraries try on the way and can do without gets an error instead.
 *
 * Invariants that the tables keep: no descriptor comes from a path or from the network but by
 * recvmsg and accept4 on those given; no connection to anywhere (MSG_FASTOPEN connects, too); no
 * memory that is or becomes executable; no process, only threads; no signal but to itself.
 *
 * clone3 has its flags in memory, where a filter can't see them: it gets ENOSYS, upon which glibc
 * takes clone, whose flags are compared with exactly those of pthread_create. RLIMIT_NPROC would
 * not do: it counts all processes of the user, and so all workers of the host.
 *
 * A filter sees register contents. Arguments that are an int to the kernel are compared by their
 * low 32 bits.
 *
 * A build with a sanitizer enters neither: see SANDBOX_SANITIZED.
 */
#include "flyway/sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

/* ---- Landlock -------------------------------------------------------------------------------- */

/* As in linux/landlock.h, which is older on Debian 12 than the kernels this runs on. */
struct landlock_ruleset {
    guint64 fs, net, scoped;
};
#define LANDLOCK_VERSION 1u /* flag: ask for the ABI */

/* What each ABI of the kernel can take away; all of it is. */
static const struct {
    int abi;
    struct landlock_ruleset rights;
} landlock_rights[] = {
    { 1, { .fs = 0x1fff } },  /* execute, read, write, list, remove and make files of all kinds */
    { 2, { .fs = 1 << 13 } }, /* rename and link across folders */
    { 3, { .fs = 1 << 14 } }, /* truncate by path */
    { 4, { .net = 3 } },      /* bind and connect TCP */
    { 5, { .fs = 1 << 15 } }, /* ioctl of devices opened from now on */
    { 6, { .scoped = 3 } },   /* abstract unix sockets and signals to others */
};

const char *
sandbox_enter_landlock(int *abi)
{
    struct landlock_ruleset rights = { 0 };
    int fd, result;

    *abi = (int)MAX(0, syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION));
    if (*abi == 0)
        return NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(landlock_rights) && landlock_rights[i].abi <= *abi; i++) {
        rights.fs |= landlock_rights[i].rights.fs;
        rights.net |= landlock_rights[i].rights.net;
        rights.scoped |= landlock_rights[i].rights.scoped;
    }
    /* An older kernel takes a longer struct if what it doesn't know is 0. */
    fd = (int)syscall(SYS_landlock_create_ruleset, &rights, sizeof rights, 0);
    if (fd < 0)
        return "making a Landlock ruleset";
    result = (int)syscall(SYS_landlock_restrict_self, fd, 0);
    close(fd);
    return result < 0 ? "entering a Landlock domain" : NULL;
}

/* ---- seccomp: the tables --------------------------------------------------------------------- */

#define END __NR_SCMP_ERROR
#define CALL(name) SCMP_SYS(name)

/* Whatever the arguments. A line a group, with its reason. */
static const int allowed[][10] = {
    /* data of lanes, connections, log and signals */
    { CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(recvfrom), CALL(recvmsg), END },
    /* a lane is half closed, a descriptor closed; sockets of godwitd and libvirt are accepted */
    { CALL(shutdown), CALL(close), CALL(accept4), END },
    /* who controls (SO_PEERCRED), how TCP does, is stderr journald's */
    { CALL(getsockopt), CALL(getsockname), CALL(getpeername), END },
    /* waiting: the loop; poll where libc has a call of that name */
    { CALL(ppoll), CALL(poll), CALL(signalfd4), CALL(eventfd2), END },
    /* identity and recall store: files that were passed in */
    { CALL(pread64), CALL(pwrite64), CALL(preadv), CALL(pwritev), CALL(lseek), CALL(fstat), END },
    /* the store's size, durability, page cache, lock */
    { CALL(ftruncate), CALL(fallocate), CALL(fdatasync), CALL(fsync), CALL(sync_file_range),
      CALL(fadvise64), CALL(msync), CALL(flock), END },
    /* memory, none of it executable: see mmap and mprotect below */
    { CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), END },
    /* threads: locks, what pthread_create's child sets up, malloc's number of arenas */
    { CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(sched_yield), CALL(sched_getaffinity),
      CALL(getcpu), END },
    /* clocks where the vDSO has none; pacing */
    { CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time),
      CALL(clock_nanosleep), CALL(nanosleep), END },
    /* GnuTLS's random numbers, and how it sees a fork */
    { CALL(getrandom), CALL(getpid), CALL(gettid), END },
    /* CPU seconds for the report; qsort asks for the size of memory */
    { CALL(getrusage), CALL(sysinfo), END },
    /* who am I: GLib and abort look, nothing is given */
    { CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), END },
    /* handling of signals here: abort, returning from a handler, being stopped and continued */
    { CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(restart_syscall), END },
    /* the end of a thread, of the process */
    { CALL(exit), CALL(exit_group), END },
};

/* The kernel's order of clone's arguments. */
#ifdef __s390x__
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif
#define PTHREAD_CREATE_FLAGS                                                                       \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |            \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

typedef struct {
    int call;
    guint n;
    struct scmp_arg_cmp args[2];
} Restricted;

#define IS(arg, value)                                                                             \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, (guint32)(value)                                     \
    }
#define LACKS(arg, bits)                                                                           \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, bits, 0                                                           \
    }
#define HAS(arg, bit)                                                                              \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, bit, bit                                                          \
    }
#define NULL_POINTER(arg)                                                                          \
    {                                                                                              \
        arg, SCMP_CMP_EQ, 0, 0                                                                     \
    }
#define WHERE1(name, a)                                                                            \
    {                                                                                              \
        CALL(name), 1,                                                                             \
        {                                                                                          \
            a                                                                                      \
        }                                                                                          \
    }
#define WHERE2(name, a, b)                                                                         \
    {                                                                                              \
        CALL(name), 2,                                                                             \
        {                                                                                          \
            a, b                                                                                   \
        }                                                                                          \
    }
#define FCNTL(command) WHERE1(fcntl, IS(1, command))
#define OPTION(level, option) WHERE2(setsockopt, IS(1, level), IS(2, option))

/* Only where the arguments are so. */
static const Restricted restricted[] = {
    /* a thread of this process */
    WHERE1(clone, IS(CLONE_FLAGS_ARG, PTHREAD_CREATE_FLAGS)),
    /* a thread's name */
    WHERE1(prctl, IS(0, PR_SET_NAME)),
    /* a codec thread makes itself nicer than QEMU; the other direction needs a capability */
    WHERE2(setpriority, IS(0, PRIO_PROCESS), IS(1, 0)),
    /* limits are read (stack of a new thread), not set */
    WHERE2(prlimit64, IS(0, 0), NULL_POINTER(2)),

    /* memory and given files, never executable */
    WHERE1(mmap, LACKS(2, PROT_EXEC)),
    WHERE1(mprotect, LACKS(2, PROT_EXEC)),

    /* to the peers of given sockets; MSG_FASTOPEN on a closed one would connect to anywhere */
    WHERE2(sendto, LACKS(3, MSG_FASTOPEN), NULL_POINTER(4)),
    WHERE1(sendmsg, LACKS(2, MSG_FASTOPEN)),
    /* has libvirt read Finish's reply; how much waits in a socket */
    WHERE1(ioctl, IS(1, SIOCOUTQ)),
    WHERE1(ioctl, IS(1, FIONREAD)),
    /* descriptors: non-blocking, close-on-exec, a second one, the identity's seals, a store's lock;
     * not F_SETOWN, which lets signals go to others */
    FCNTL(F_GETFD),
    FCNTL(F_SETFD),
    FCNTL(F_GETFL),
    FCNTL(F_SETFL),
    FCNTL(F_DUPFD_CLOEXEC),
    FCNTL(F_GET_SEALS),
    FCNTL(F_OFD_SETLK),
    /* latency and a dead peer, of connections that were given; not filters, not TCP_ULP */
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_SNDBUF),
    OPTION(SOL_SOCKET, SO_RCVBUF),
    OPTION(SOL_SOCKET, SO_PRIORITY),
    OPTION(SOL_SOCKET, SO_MAX_PACING_RATE),
    OPTION(IPPROTO_TCP, TCP_NODELAY),
    OPTION(IPPROTO_TCP, TCP_CORK),
    OPTION(IPPROTO_TCP, TCP_QUICKACK),
    OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT),
    /* glibc's fstat; with a path beside the flag it tells of a file, but doesn't open it */
    WHERE1(newfstatat, HAS(3, AT_EMPTY_PATH)),
};

/* What is refused with an error, since libraries try it and do without. A line each, as above. */
static const struct {
    int error;
    int calls[14];
} refused[] = {
    /* messages' translations, character sets, time zones; a coverage build's counters */
    { EACCES,
      { CALL(open), CALL(openat), CALL(openat2), CALL(access), CALL(faccessat), CALL(faccessat2),
        CALL(stat), CALL(lstat), CALL(statx), CALL(readlink), CALL(readlinkat), CALL(mkdir),
        CALL(mkdirat), END } },
    /* glibc then takes clone */
    { ENOSYS, { CALL(clone3), END } },
    /* GLib's thread pools ask how their threads are scheduled */
    { EPERM, { CALL(sched_getattr), CALL(sched_setattr), END } },
};

static const struct {
    int error;
    Restricted what;
} refused_where[] = {
    { ENOTTY, WHERE1(ioctl, IS(1, TCGETS)) },                /* stdio: is it a terminal */
    { EACCES, WHERE1(newfstatat, LACKS(3, AT_EMPTY_PATH)) }, /* as stat */
};

/* ---- seccomp: the filter --------------------------------------------------------------------- */

/* All return 0 or -errno, and do nothing after an error. */
static int
add_plain(scmp_filter_ctx filter, int result, guint32 action, const int *calls)
{
    for (; result == 0 && *calls != END; calls++)
        result = seccomp_rule_add(filter, action, *calls, 0);
    return result;
}

static int
add_restricted(scmp_filter_ctx filter, int result, guint32 action, const Restricted *what)
{
    if (result != 0)
        return result;
    return seccomp_rule_add_array(filter, action, what->call, what->n, what->args);
}

static int
fill(scmp_filter_ctx filter)
{
    /* abort and pthread_kill: to itself */
    const Restricted to_itself = WHERE1(tgkill, IS(0, getpid()));
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (result == 0) /* a tree: sendmsg and recvfrom aren't behind all others */
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (gsize i = 0; i < G_N_ELEMENTS(allowed); i++)
        result = add_plain(filter, result, SCMP_ACT_ALLOW, allowed[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(restricted); i++)
        result = add_restricted(filter, result, SCMP_ACT_ALLOW, &restricted[i]);
    result = add_restricted(filter, result, SCMP_ACT_ALLOW, &to_itself);
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++)
        result =
            add_plain(filter, result, SCMP_ACT_ERRNO((guint32)refused[i].error), refused[i].calls);
    for (gsize i = 0; i < G_N_ELEMENTS(refused_where); i++)
        result = add_restricted(filter, result, SCMP_ACT_ERRNO((guint32)refused_where[i].error),
                                &refused_where[i].what);
    return result;
}

const char *
sandbox_enter_seccomp(gboolean *entered)
{
    scmp_filter_ctx filter;
    int result;

    *entered = FALSE;
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return NULL; /* a kernel without it */
    filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL) {
        errno = ENOMEM;
        return "making a seccomp filter";
    }
    result = fill(filter);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    errno = -result;
    *entered = result == 0;
    return result == 0 ? NULL : "loading a seccomp filter";
}

/* ---- before, and both
 * ------------------------------------------------------------------------------------ */

const char *
sandbox_prepare(void)
{
    guint8 unused[16];

    /* glibc loads it at the first pthread_exit, and aborts where it can't. */
    if (dlopen("libgcc_s.so.1", RTLD_NOW) == NULL)
        g_debug("libgcc_s: %s", dlerror());
    if (gnutls_global_init() < 0 || gnutls_rnd(GNUTLS_RND_KEY, unused, sizeof unused) < 0) {
        errno = ELIBACC;
        return "preparing GnuTLS";
    }
    return NULL;
}

const char *
sandbox_enter(Sandbox *sandbox)
{
    const char *problem;

    *sandbox = (Sandbox){ 0 };
    if (SANDBOX_SANITIZED) {
        sandbox->without = "built with a sanitizer";
        return NULL;
    }
    problem = sandbox_enter_landlock(&sandbox->landlock);
    if (problem == NULL)
        problem = sandbox_enter_seccomp(&sandbox->seccomp);
    if (!sandbox->seccomp || sandbox->landlock == 0)
        sandbox->without = "not to be had on this host";
    return problem;
}

char *
sandbox_describe(const Sandbox *sandbox)
{
    g_autofree char *landlock = sandbox->landlock > 0
                                    ? g_strdup_printf("Landlock %d", sandbox->landlock)
                                    : g_strdup_printf("no Landlock (%s)", sandbox->without);

    if (sandbox->seccomp)
        return g_strdup_printf("seccomp, %s", landlock);
    return g_strdup_printf("no seccomp (%s), %s", sandbox->without, landlock);
}
