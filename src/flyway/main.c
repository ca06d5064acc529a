/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * godwit-flyway's rights, given up in numbered stages before the first byte of anybody else is
 * read. godwitd has already changed the user (worker.c). What stays, and why:
 *
 *     descriptor 2     log: godwitd's own
 *     descriptor 3     the control socket, over which all others come
 *     memory, CPU      of an unprivileged user, at its normal priority: see below
 *     system calls     the list in sandbox.c
 *
 * Nothing else: no capability, no file to be opened, no socket to be made, no new process, no core
 * dump that would hold a VM's memory or the host's key, no ptrace by others of the same user.
 *
 * Its priority stays: the worker is in the path of QEMU's last pages and of the proof that lets the
 * VM run, so whatever delays it lengthens the blackout. Threads that only compress may make
 * themselves nicer (setpriority is let through); they can't go back.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "flyway/pump.h"
#include "flyway/sandbox.h"

#define CONTROL_FD 3
#define MEMORY_MAX_BYTES (4ull << 30) /* brakes what runs away; what is used is far below */
#define FILE_MAX_BYTES (1ull << 40)   /* a file of the recall store, above recall.max_bytes */

#if SANDBOX_SANITIZED
/* Looking for leaks needs a new process and ptrace: both are given up. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static const char help[] =
    "usage: godwit-flyway --control --owner UID --side source|destination\n"
    "\n"
    "Carries a running VM's migration between two hosts. godwitd starts it, one per migration and\n"
    "side, with a listening control socket as descriptor 3; it isn't meant to be started by hand.\n"
    "\n"
    "  --control       serve the control socket\n"
    "  --owner UID     the user who may control it, besides root\n"
    "  --side SIDE     shown in lists of processes only; the start request decides\n"
    "  --version       print the version and exit\n"
    "  --help          print this and exit\n";

typedef struct {
    gboolean control;
    gboolean has_owner;
    uid_t owner;
} Arguments;

/* Stage 1: arguments. Returns -1 to go on, else the exit status. */
static int
read_arguments(int argc, char **argv, Arguments *arguments)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--version") == 0) {
            printf("godwit-flyway %s\n", GODWIT_VERSION);
            return 0;
        }
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--control") == 0) {
            arguments->control = TRUE;
        } else if (strcmp(argv[i], "--owner") == 0 && value != NULL) {
            guint64 uid = 0;

            arguments->has_owner =
                g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT32 - 1, &uid, NULL);
            arguments->owner = (uid_t)uid;
            i++;
        } else if (strcmp(argv[i], "--side") == 0 && value != NULL) {
            i++;
        } else {
            fprintf(stderr, "godwit-flyway: unknown argument '%s'; see --help\n", argv[i]);
            return 2;
        }
    }
    if (arguments->control && arguments->has_owner)
        return -1;
    fputs(help, stderr);
    return 2;
}

/* Stage 2: only the inherited descriptors; 0 and 1 read and write nothing. */
static const char *
keep_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct stat status;

    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        return "opening /dev/null";
    if (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0)
        return "opening /dev/null as stderr";
    if (fstat(CONTROL_FD, &status) < 0 || !S_ISSOCK(status.st_mode)) {
        errno = ENOTSOCK;
        return "descriptor 3 isn't a control socket";
    }
    if (null > CONTROL_FD)
        close(null);
    return close_range(CONTROL_FD + 1, ~0u, 0) < 0 ? "closing descriptors" : NULL;
}

/* Stage 3: no more rights than now, by no means; never root. */
static const char *
drop_rights(void)
{
    if (setgroups(0, NULL) < 0 && errno != EPERM) /* EPERM: godwitd did it, or isn't root either */
        return "dropping groups";
    if (getuid() == 0 || geteuid() == 0 || getgid() == 0 || getegid() == 0) {
        errno = EPERM;
        return "running as root is refused";
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return "giving up new privileges";
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? "becoming undumpable" : NULL;
}

/* Stage 4: limits. */
static const char *
set_limits(void)
{
    static const struct {
        __rlimit_resource_t which;
        rlim_t value;
        const char *name;
    } limits[] = {
        { RLIMIT_NOFILE, 128, "limiting descriptors" }, /* 16 lanes, connections, store, a few */
        { RLIMIT_CORE, 0, "limiting core dumps" },      /* it would hold a VM's memory */
        { RLIMIT_FSIZE, FILE_MAX_BYTES, "limiting files" },
        /* Private memory, touched or not: 0.7 GiB of it are the tables of recall_writer.c. */
        { RLIMIT_DATA, SANDBOX_SANITIZED ? RLIM_INFINITY : MEMORY_MAX_BYTES, "limiting memory" },
        /* Not RLIMIT_NPROC: it counts the threads of all workers. sandbox.c forbids processes. */
    };

    for (gsize i = 0; i < G_N_ELEMENTS(limits); i++) {
        struct rlimit limit = { 0 };

        if (getrlimit(limits[i].which, &limit) < 0)
            return limits[i].name;
        limit.rlim_max = MIN(limit.rlim_max, limits[i].value); /* it may be lower already */
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(limits[i].which, &limit) < 0)
            return limits[i].name;
    }
    return NULL;
}

/* Stage 5: signals. TERM and INT are read by the loop; the log's reader may vanish. */
static const char *
set_signals(void)
{
    sigset_t blocked;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    return sigprocmask(SIG_SETMASK, &blocked, NULL) < 0 ? "blocking signals" : NULL;
}

/* Stage 7, after sandbox_prepare: the wall. */
static const char *
confine(void)
{
    Sandbox sandbox;
    const char *problem = sandbox_enter(&sandbox);
    g_autofree char *text = NULL;

    if (problem != NULL)
        return problem;
    log_init_stderr("godwit-flyway", LOG_INFO);
    text = sandbox_describe(&sandbox);
    if (sandbox.without != NULL)
        g_message("This worker is confined less than it could be: %s", text);
    return NULL;
}

int
main(int argc, char **argv)
{
    static const char *(*const stages[])(void) = {
        keep_descriptors, drop_rights, set_limits, set_signals, sandbox_prepare, confine,
    };
    Arguments arguments = { 0 };
    int status = read_arguments(argc, argv, &arguments);

    if (status >= 0)
        return status;
    for (gsize i = 0; i < G_N_ELEMENTS(stages); i++) {
        const char *problem = stages[i]();

        if (problem != NULL) {
            fprintf(stderr, "godwit-flyway: isolation stage %d: %s: %s\n", (int)i + 2, problem,
                    strerror(errno));
            return 1;
        }
    }
    return pump_run(CONTROL_FD, arguments.owner);
}
