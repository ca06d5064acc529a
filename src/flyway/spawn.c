/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * fork and exec with everything prepared before the fork, since godwitd has threads: between fork
 * and exec only async-signal-safe calls are made, on data laid out before. What fails in the child
 * is told through a pipe that closes by itself when exec succeeds.
 */
#include "flyway/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"

#define CONTROL_FD 3
#define FIRST_OWN_FD 10 /* ours are moved above those that the child gives out */

typedef struct {
    char **argv, **envp;
    int program_fd, control_fd, problem_fd;
    gboolean change_user;
    uid_t uid;
    gid_t gid;
} Child;

typedef struct {
    char step[32];
    int code;
} Problem;

/* ---- child: async-signal-safe only ----------------------------------------------------------- */

static void G_GNUC_NORETURN
give_up(const Child *child, const char *step)
{
    Problem problem = { .code = errno };
    ssize_t ignored;

    strncpy(problem.step, step, sizeof problem.step - 1); /* async-signal-safe; the rest is zero */
    ignored = write(child->problem_fd, &problem, sizeof problem);
    (void)ignored;
    _exit(127);
}

static void G_GNUC_NORETURN
run_child(const Child *child)
{
    sigset_t none;

    sigemptyset(&none);
    if (setsid() < 0) /* survives godwitd and what is sent to its group */
        give_up(child, "starting a session");
    if (dup2(child->control_fd, CONTROL_FD) < 0)
        give_up(child, "passing the control socket");
    if (child->change_user &&
        (setgroups(0, NULL) < 0 || setresgid(child->gid, child->gid, child->gid) < 0 ||
         setresuid(child->uid, child->uid, child->uid) < 0))
        give_up(child, "changing the user");
    if (chdir("/") < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        give_up(child, "cleaning up");
    execveat(child->program_fd, "", child->argv, child->envp, AT_EMPTY_PATH);
    give_up(child, "executing it");
}

/* ---- parent ---------------------------------------------------------------------------------- */

static gboolean
find_user(const char *user, Child *child, GError **error)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;

    if (user == NULL && geteuid() != 0)
        return TRUE;
    if (user == NULL || getpwnam_r(user, &entry, buffer, sizeof buffer, &found) != 0 ||
        found == NULL) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "There is no user '%s' to run godwit-flyway as: create that system user, or "
                    "set another one",
                    user != NULL ? user : "");
        return FALSE;
    }
    if (found->pw_uid == 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "godwit-flyway doesn't run as root ('%s'): set an unprivileged system user",
                    user);
        return FALSE;
    }
    child->change_user = found->pw_uid != geteuid();
    child->uid = found->pw_uid;
    child->gid = found->pw_gid;
    return TRUE;
}

static int
open_high(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_OWN_FD);
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return high;
}

/* Waits until the child has executed, or has told why not. */
static gboolean
await_exec(int problem_fd, const char *program, GError **error)
{
    Problem problem = { 0 };
    ssize_t got;

    do
        got = read(problem_fd, &problem, sizeof problem);
    while (got < 0 && errno == EINTR);
    if (got != sizeof problem)
        return TRUE;
    problem.step[sizeof problem.step - 1] = '\0';
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "Can't start %s: %s: %s", program,
                problem.step, g_strerror(problem.code));
    return FALSE;
}

static int
fork_worker(Child *child, const char *program, pid_t *pid, GError **error)
{
    fd_auto int pidfd = -1;
    fd_auto int reader = -1;
    int pipe_fds[2];

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "Can't make a pipe: %s",
                    g_strerror(errno));
        return -1;
    }
    reader = pipe_fds[0];
    child->problem_fd = open_high(pipe_fds[1]);
    *pid = fork();
    if (*pid == 0)
        run_child(child);
    close(child->problem_fd);
    if (*pid > 0)
        pidfd = pidfd_open(*pid, 0); /* CLOEXEC by itself */
    if (*pid < 0 || pidfd < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE, "Can't start a process: %s",
                    g_strerror(errno));
        if (*pid > 0) {
            kill(*pid, SIGKILL);
            waitpid(*pid, NULL, 0);
        }
        return -1;
    }
    if (!await_exec(reader, program, error)) {
        waitpid(*pid, NULL, 0);
        return -1;
    }
    return fd_steal(&pidfd);
}

int
spawn_worker(const SpawnConfig *config, pid_t *pid, GError **error)
{
    char owner[16];
    const char *const argv[] = { "godwit-flyway", "--control",  "--owner", owner,
                                 "--side",        config->side, NULL };
    const char *const envp[] = { "LANG=C.UTF-8", "PATH=/usr/bin:/bin", NULL };
    Child child = { .argv = (char **)argv, .envp = (char **)envp };
    fd_auto int program_fd = -1, control_fd = -1;

    g_snprintf(owner, sizeof owner, "%u", (unsigned)geteuid());
    if (!find_user(config->user, &child, error))
        return -1;
    program_fd = open_high(open(config->program, O_PATH | O_CLOEXEC));
    if (program_fd < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "Can't open the worker program %s: %s. Is Godwit installed completely?",
                    config->program, g_strerror(errno));
        return -1;
    }
    control_fd = fcntl(config->control_fd, F_DUPFD_CLOEXEC, FIRST_OWN_FD);
    if (control_fd < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "Can't pass the control socket: %s",
                    g_strerror(errno));
        return -1;
    }
    child.program_fd = program_fd;
    child.control_fd = control_fd;
    return fork_worker(&child, config->program, pid, error);
}
