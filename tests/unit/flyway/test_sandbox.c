/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children enter the worker's sandbox and try what they must not be able to do, and what they must.
 * Each attempt is made without the sandbox, too: what fails anyhow proves nothing.
 */
#include "flyway/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include "base/fd.h"
#include "base/log.h"
#include "flyway/link.h"
#include "rig.h"

/* What godwitd would have passed in. */
static int tcp[2], idle_tcp[2], spare_tcp[2], pair[2], listener, file;
static Rig *rig;

typedef enum { FREE, IN_LANDLOCK, IN_SECCOMP, IN_BOTH } Wall;

static const char *
enter(Wall wall)
{
    Sandbox sandbox;
    gboolean entered;
    int abi;

    if (sandbox_prepare() != NULL || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return "before";
    switch (wall) {
    case IN_LANDLOCK:
        return sandbox_enter_landlock(&abi);
    case IN_SECCOMP:
        return sandbox_enter_seccomp(&entered);
    case IN_BOTH:
        return sandbox_enter(&sandbox);
    default:
        return NULL;
    }
}

/* Runs it in a child behind that wall; gives the status of waitpid. The child exits with 0, or with
 * the errno of what failed. */
static int
run(Wall wall, long (*attempt)(void))
{
    int status = 0;
    pid_t pid = fork();

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        alarm(30);
        if (enter(wall) != NULL)
            _exit(250);
        _exit(attempt() < 0 ? errno : 0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

static gboolean
killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

/* ---- what can't be done ---------------------------------------------------------------------- */

#define TRY(name, expression)                                                                      \
    static long try_##name(void)                                                                   \
    {                                                                                              \
        return (long)(expression);                                                                 \
    }

static long
try_execve(void)
{
    char *argv[] = { "true", NULL };

    return execve("/bin/true", argv, NULL);
}

static long
try_fork(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : waitpid(pid, NULL, 0);
}

static long
try_vfork(void)
{
    /* As posix_spawn: a process that shares memory. */
    long pid = syscall(SYS_clone, CLONE_FS | CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

    if (pid == 0)
        _exit(0);
    return pid;
}

static struct sockaddr_in
somewhere(void)
{
    struct sockaddr_in address = { 0 };
    socklen_t size = sizeof address;

    getsockname(listener, (struct sockaddr *)&address, &size);
    return address;
}

/* A TCP socket that has ended could begin anew. */
static int
ended_tcp(void)
{
    close(idle_tcp[0]);
    shutdown(idle_tcp[1], SHUT_RDWR);
    return idle_tcp[1];
}

static long
try_connect_again(void)
{
    struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

    return connect(idle_tcp[1], &nowhere, sizeof nowhere);
}

static long
try_fastopen(void)
{
    struct sockaddr_in to = somewhere();
    struct iovec part = { "x", 1 };
    struct msghdr message = {
        .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1
    };

    /* Without the wall EPIPE or so: it isn't asked what it would take. */
    (void)sendmsg(ended_tcp(), &message, MSG_FASTOPEN | MSG_NOSIGNAL);
    return 0;
}

static long
try_sendto_address(void)
{
    struct sockaddr_in to = somewhere();

    return sendto(spare_tcp[0], "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to);
}

static long
try_bind(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET };

    (void)bind(ended_tcp(), (struct sockaddr *)&to, sizeof to); /* EINVAL without the wall */
    return 0;
}

static long
try_exec_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? -1
               : 0;
}

static long
try_exec_file(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED ? -1 : 0;
}

static long
try_make_exec(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long
try_other_memory(void)
{
    char here[8], there[8] = { 0 };
    struct iovec mine = { here, 8 }, theirs = { there, 8 };

    return process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0);
}

static long
try_raise_limit(void)
{
    struct rlimit limit = { 10, 10 };

    return setrlimit(RLIMIT_NOFILE, &limit);
}

static long
try_socket_filter(void)
{
    struct sock_filter code = { BPF_RET | BPF_K, 0, 0, 0xffff };
    struct sock_fprog program = { 1, &code };

    return setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static char nothing[256];

TRY(open, open("/etc/passwd", O_RDONLY))
TRY(open_null, open("/dev/null", O_RDWR))
TRY(open_proc, open("/proc/self/mem", O_RDWR))
TRY(open_folder, open("/", O_PATH | O_DIRECTORY))
TRY(stat, syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", nothing, 0))
TRY(chmod, chmod(rig->dir, 0700))
TRY(chdir, chdir("/"))
TRY(memfd, memfd_create("x", 0))
TRY(socket_inet, socket(AF_INET, SOCK_STREAM, 0))
TRY(socket_unix, socket(AF_UNIX, SOCK_DGRAM, 0))
TRY(socket_netlink, socket(AF_NETLINK, SOCK_RAW, 0))
TRY(socketpair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 }))
TRY(listen, listen(listener, 64))
TRY(kill_parent, kill(getppid(), 0))
TRY(kill_self, kill(getpid(), 0))
TRY(tgkill_parent, syscall(SYS_tgkill, getppid(), getppid(), 0))
TRY(ptrace, ptrace(PTRACE_TRACEME, 0, 0, 0))
TRY(clone3, syscall(SYS_clone3, nothing, 0) < 0 && errno == EINVAL ? 0 : -1)
TRY(unshare, unshare(CLONE_FS))
TRY(setuid, setuid(getuid()))
TRY(dumpable, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
TRY(nice_others, setpriority(PRIO_PROCESS, (id_t)getppid(), 19))
TRY(personality, syscall(SYS_personality, 0xffffffff))
TRY(terminal, ioctl(pair[0], TIOCGPGRP, nothing) < 0 && errno == ENOTTY ? 0 : -1)
TRY(terminal_asked, ioctl(pair[0], TCGETS, nothing) < 0 && errno == ENOTTY ? 0 : -1)
TRY(signals_to_others, fcntl(pair[0], F_SETOWN, getpid()))
TRY(pidfd, syscall(SYS_pidfd_open, getpid(), 0))
/* With nonsense: no kernel must take it, only ask what it is. */
TRY(io_uring, syscall(SYS_io_uring_setup, 0, NULL) * 0)
TRY(bpf, syscall(SYS_bpf, -1, NULL, 0) * 0)
TRY(perf, syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0) * 0)
TRY(userfaultfd, syscall(SYS_userfaultfd, ~0) * 0)
TRY(keyctl, syscall(SYS_keyctl, -1, 0) * 0)
TRY(mount, syscall(SYS_mount, NULL, NULL, NULL, 0, NULL) * 0)
TRY(seccomp, syscall(SYS_seccomp, ~0, 0, NULL) * 0)
TRY(module, syscall(SYS_init_module, NULL, 0, NULL) * 0)
TRY(no_such_call, syscall(5000) * 0)

#define KILLED (-1)
#define ROW(name, expected)                                                                        \
    {                                                                                              \
#name, try_##name, expected                                                                \
    }

static const struct {
    const char *name;
    long (*attempt)(void);
    int expected; /* KILLED or errno */
} denied[] = {
    ROW(open, EACCES),
    ROW(open_null, EACCES),
    ROW(open_proc, EACCES),
    ROW(open_folder, EACCES),
    ROW(stat, EACCES),
    ROW(chmod, KILLED),
    ROW(chdir, KILLED),
    ROW(memfd, KILLED),
    ROW(socket_inet, KILLED),
    ROW(socket_unix, KILLED),
    ROW(socket_netlink, KILLED),
    ROW(socketpair, KILLED),
    ROW(connect_again, KILLED),
    ROW(fastopen, KILLED),
    ROW(sendto_address, KILLED),
    ROW(bind, KILLED),
    ROW(listen, KILLED),
    ROW(execve, KILLED),
    ROW(fork, KILLED),
    ROW(vfork, KILLED),
    ROW(kill_parent, KILLED),
    ROW(kill_self, KILLED),
    ROW(tgkill_parent, KILLED),
    ROW(ptrace, KILLED),
    ROW(exec_memory, KILLED),
    ROW(exec_file, KILLED),
    ROW(make_exec, KILLED),
    ROW(other_memory, KILLED),
    ROW(raise_limit, KILLED),
    ROW(socket_filter, KILLED),
    ROW(unshare, KILLED),
    ROW(setuid, KILLED),
    ROW(dumpable, KILLED),
    ROW(nice_others, KILLED),
    ROW(personality, KILLED),
    ROW(terminal, KILLED),
    ROW(signals_to_others, KILLED),
    ROW(pidfd, KILLED),
    ROW(io_uring, KILLED),
    ROW(bpf, KILLED),
    ROW(perf, KILLED),
    ROW(userfaultfd, KILLED),
    ROW(keyctl, KILLED),
    ROW(mount, KILLED),
    ROW(seccomp, KILLED),
    ROW(module, KILLED),
    ROW(no_such_call, KILLED),
    ROW(clone3, ENOSYS),
};

static void
test_denied(void)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        g_test_skip("this kernel has no seccomp");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(denied); i++) {
        int without = run(FREE, denied[i].attempt), with = run(IN_BOTH, denied[i].attempt);

        g_test_message("%s: status %x without the sandbox, %x in it", denied[i].name,
                       (unsigned)without, (unsigned)with);
        g_assert_cmpint(without, ==, 0);
        if (denied[i].expected == KILLED)
            g_assert_true(killed(with));
        else
            g_assert_cmpint(with, ==, denied[i].expected << 8);
    }
}

/* ---- Landlock by itself ---------------------------------------------------------------------- */

static long
try_connect_tcp(void)
{
    struct sockaddr_in to = somewhere();

    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to);
}

static long
try_connect_abstract(void)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };

    g_snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "godwit-test-%d", (int)getppid());
    return connect(
        socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(to.sun_path + 1)));
}

static int
listen_abstract(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "godwit-test-%d", (int)getpid());
    g_assert_cmpint(
        bind(fd, (struct sockaddr *)&at,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(at.sun_path + 1))),
        ==, 0);
    g_assert_cmpint(listen(fd, 4), ==, 0);
    return fd;
}

static void
test_landlock_alone(void)
{
    static const struct {
        int abi;
        long (*attempt)(void);
        int expected;
    } rows[] = {
        { 1, try_open, EACCES },
        { 1, try_open_null, EACCES },
        { 1, try_execve, EACCES },
        { 4, try_connect_tcp, EACCES },
        { 6, try_connect_abstract, EPERM },
        { 6, try_kill_parent, EPERM },
    };
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1u);
    fd_auto G_GNUC_UNUSED int abstract = listen_abstract();

    if (abi < 1) {
        g_test_skip("this kernel has no Landlock");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(rows) && rows[i].abi <= abi; i++) {
        g_assert_cmpint(run(FREE, rows[i].attempt), ==, 0);
        g_assert_cmpint(run(IN_LANDLOCK, rows[i].attempt), ==, rows[i].expected << 8);
    }
}

/* ---- what must work -------------------------------------------------------------------------- */

static void *
thread_main(void *data)
{
    guint8 random[32];
    char *memory = malloc(1 << 20);

    (void)pthread_setname_np(pthread_self(), "codec");
    if (setpriority(PRIO_PROCESS, 0, 10) == 0 && memory != NULL &&
        gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof random) == 0 &&
        gnutls_rnd(GNUTLS_RND_KEY, random, sizeof random) == 0)
        *(int *)data = 1;
    if (memory != NULL)
        memset(memory, 1, 1 << 20);
    free(memory);
    pthread_exit(NULL); /* glibc needs libgcc_s for it */
}

static long
do_threads(void)
{
    pthread_t threads[8];
    int done[8] = { 0 }, sum = 0;

    for (int i = 0; i < 8; i++) {
        errno = pthread_create(&threads[i], NULL, thread_main, &done[i]);
        if (errno != 0)
            return -1;
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        sum += done[i];
    }
    return sum == 8 ? 0 : -1;
}

static gpointer
pool_main(gpointer data)
{
    return data;
}

static void
pool_task(gpointer task, gpointer sum)
{
    g_atomic_int_add((gint *)sum, GPOINTER_TO_INT(task));
}

static long
do_glib(void)
{
    gint sum = 0;
    GThreadPool *pool = g_thread_pool_new(pool_task, &sum, 4, FALSE, NULL);

    for (int i = 0; i < 100; i++)
        g_thread_pool_push(pool, GINT_TO_POINTER(1), NULL);
    g_thread_pool_free(pool, FALSE, TRUE);
    if (g_thread_join(g_thread_new("glib", pool_main, &sum)) != &sum || sum != 100)
        return -1;
    log_init_stderr("sandboxed", LOG_INFO);
    g_message("a line with \xc3\xa4, \"%s\" and %s", g_strerror(EIO), gnutls_strerror(-10));
    return 0;
}

static int
compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static long
do_sort(void)
{
    int *numbers = malloc((1 << 20) * sizeof *numbers);

    for (int i = 0; i < 1 << 20; i++)
        numbers[i] = (int)(((guint)i * 7919u) & 0xfffffu);
    qsort(numbers, 1 << 20, sizeof *numbers, compare);
    return numbers[0] == 0 && numbers[(1 << 20) - 1] == 0xfffff ? 0 : -1;
}

static long
do_sockets(void)
{
    int fds[1] = { file }, got[2] = { -1, -1 };
    gsize n = 2;
    char byte = 0;
    struct pollfd entry = { .fd = listener, .events = POLLIN };
    struct timespec wait = { .tv_sec = 5 };
    int fd, left = 0, one = 1;

    if (fd_send(pair[0], "x", 1, fds, 1) != 0 || fd_receive(pair[1], &byte, 1, got, &n) != 1 ||
        n != 1 || byte != 'x' || close(got[0]) < 0)
        return -1;
    if (ppoll(&entry, 1, &wait, NULL) != 1)
        return -1;
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        send(pair[0], "y", 1, MSG_NOSIGNAL) != 1 || ioctl(pair[0], TIOCOUTQ, &left) < 0)
        return -1;
    return shutdown(pair[0], SHUT_WR);
}

static long
do_file(void)
{
    char back[4] = "";
    struct stat status;
    void *map;

    if (ftruncate(file, 0) < 0 || pwrite(file, "page", 4, 4096) != 4 ||
        posix_fallocate(file, 0, 65536) != 0 || fdatasync(file) < 0 ||
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0 || pread(file, back, 4, 4096) != 4 ||
        memcmp(back, "page", 4) != 0 || fstat(file, &status) < 0 || status.st_size != 65536 ||
        flock(file, LOCK_EX | LOCK_NB) < 0 || fcntl(file, F_GETFL) < 0)
        return -1;
    map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return map == MAP_FAILED || memcmp((char *)map + 4096, "page", 4) != 0 ||
                   msync(map, 65536, MS_SYNC) < 0 || madvise(map, 65536, MADV_DONTNEED) < 0 ||
                   munmap(map, 65536) < 0
               ? -1
               : 0;
}

/* One step of both ends; TRUE where nothing is wrong. */
static gboolean
goes_on(int result)
{
    return result == 0 || result == -EAGAIN;
}

static long
do_tls(void)
{
    Fault fault = { 0 };
    LinkKeys *keys[2];
    Link *links[2];
    int shaken[2] = { -EAGAIN, -EAGAIN };
    gsize room = 0, length = 0;

    for (int i = 0; i < 2; i++) {
        keys[i] = link_keys_new(rig->identities[i], &fault);
        links[i] = keys[i] == NULL ? NULL
                                   : link_new(keys[i], i == 0 ? FLYWAY_SOURCE : FLYWAY_DESTINATION,
                                              rig->hosts[1 - i], tcp[i], &fault);
        if (links[i] == NULL)
            return -1;
    }
    while (shaken[0] != 0 || shaken[1] != 0) {
        for (int i = 0; i < 2; i++) {
            if (shaken[i] != 0)
                shaken[i] = link_handshake(links[i]);
            if (!goes_on(shaken[i]))
                return -1;
        }
    }
    memset(link_tx_room(links[0], &room), 7, 10000);
    link_tx_add(links[0], 10000);
    while (length < 10000) {
        if (!goes_on(link_flush(links[0])) || !goes_on(link_receive(links[1])))
            return -1;
        (void)link_rx(links[1], &length);
    }
    for (int i = 0; i < 2; i++) {
        link_bye(links[i]);
        link_free(links[i]);
        link_keys_free(keys[i]);
    }
    return 0;
}

static void
test_allowed(void)
{
    static long (*const rows[])(void) = {
        do_threads, do_glib, do_sort, do_sockets, do_file, do_tls, try_terminal_asked,
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        fd_auto int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in to = somewhere();

        g_assert_cmpint(connect(client, (struct sockaddr *)&to, sizeof to), ==, 0);
        g_test_message("row %d", (int)i);
        g_assert_cmpint(run(IN_BOTH, rows[i]), ==, 0);
    }
}

static long
do_abort(void)
{
    abort();
}

/* Our own broken invariants end with SIGABRT and their message, not with SIGSYS. */
static void
test_abort(void)
{
    int status = run(IN_BOTH, do_abort);

    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGABRT);
}

static void
test_each_wall(void)
{
    g_assert_true(killed(run(IN_SECCOMP, try_socket_inet)));
    g_assert_cmpint(run(IN_SECCOMP, try_open), ==, EACCES << 8);
    g_assert_cmpint(run(IN_SECCOMP, do_threads), ==, 0);
    g_assert_cmpint(run(IN_LANDLOCK, do_file), ==, 0);
}

/* ---- a kernel that lacks them, as an outer filter plays it ------------------------------------
 */

static gboolean
lack(int call, int error, int first_argument)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int result = first_argument < 0
                     ? seccomp_rule_add(filter, SCMP_ACT_ERRNO((guint32)error), call, 0)
                     : seccomp_rule_add(filter, SCMP_ACT_ERRNO((guint32)error), call, 1,
                                        SCMP_A0(SCMP_CMP_EQ, (guint64)first_argument));

    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result == 0;
}

static long
enter_and_say(const char *problem, const char *text)
{
    Sandbox sandbox;
    const char *got = sandbox_enter(&sandbox);
    g_autofree char *said = sandbox_describe(&sandbox);

    if (g_strcmp0(got, problem) == 0 && (text == NULL || g_str_has_prefix(said, text)))
        return 0;
    g_printerr("# got '%s', '%s'\n", got, said);
    errno = 200;
    return -1;
}

static long
do_without_landlock(void)
{
    return lack(SCMP_SYS(landlock_create_ruleset), ENOSYS, -1)
               ? enter_and_say(NULL, "seccomp, no Landlock (")
               : -1;
}

static long
do_without_seccomp(void)
{
    return lack(SCMP_SYS(prctl), EINVAL, PR_GET_SECCOMP) ? enter_and_say(NULL, "no seccomp (") : -1;
}

/* Refused by who started it, as systemd's filter can: then it doesn't start at all. */
static long
do_seccomp_refused(void)
{
    return lack(SCMP_SYS(prctl), EPERM, PR_SET_SECCOMP) && lack(SCMP_SYS(seccomp), EPERM, -1)
               ? enter_and_say("loading a seccomp filter", NULL)
               : -1;
}

static long
do_landlock_refused(void)
{
    return lack(SCMP_SYS(landlock_restrict_self), EPERM, -1)
               ? enter_and_say("entering a Landlock domain", NULL)
               : -1;
}

static void
test_missing(void)
{
    g_assert_cmpint(run(FREE, do_without_landlock), ==, 0);
    g_assert_cmpint(run(FREE, do_without_seccomp), ==, 0);
    g_assert_cmpint(run(FREE, do_seccomp_refused), ==, 0);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1u) > 0)
        g_assert_cmpint(run(FREE, do_landlock_refused), ==, 0);
}

/* ---- the words, and the start ---------------------------------------------------------------- */

static void
test_words(void)
{
    static const struct {
        Sandbox sandbox;
        const char *text;
    } rows[] = {
        { { TRUE, 3, NULL }, "seccomp, Landlock 3" },
        { { TRUE, 0, "old" }, "seccomp, no Landlock (old)" },
        { { FALSE, 2, "old" }, "no seccomp (old), Landlock 2" },
        { { FALSE, 0, "old" }, "no seccomp (old), no Landlock (old)" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = sandbox_describe(&rows[i].sandbox);

        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

static void
make_what_is_given(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    char name[] = "/tmp/godwit-test-sandbox-XXXXXX";

    rig = rig_new();
    rig_tcp_pair(tcp);
    rig_tcp_pair(idle_tcp);
    rig_tcp_pair(spare_tcp);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&at, sizeof at), ==, 0);
    g_assert_cmpint(listen(listener, 64), ==, 0);
    file = mkstemp(name);
    g_assert_cmpint(file, >=, 0);
    unlink(name);
}

int
main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    make_what_is_given();
    g_test_add_func("/flyway/sandbox/words", test_words);
    if (!SANDBOX_SANITIZED) { /* such a build isn't confined: see sandbox.h */
        g_test_add_func("/flyway/sandbox/denied", test_denied);
        g_test_add_func("/flyway/sandbox/landlock-alone", test_landlock_alone);
        g_test_add_func("/flyway/sandbox/each-wall", test_each_wall);
        g_test_add_func("/flyway/sandbox/allowed", test_allowed);
        g_test_add_func("/flyway/sandbox/missing", test_missing);
        g_test_add_func("/flyway/sandbox/abort", test_abort);
    }
    status = g_test_run();
    rig_free(rig);
    return status;
}
