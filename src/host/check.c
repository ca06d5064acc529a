/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwitd --check: a table of checks, each a function over the configuration that says what it
 * found, and where that is a problem also what to do. Nothing is changed but that run_dir and
 * state_dir are made.
 */
#include "host/check.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "host/listener.h"
#include "host/local_host.h"
#include "host/run_dir.h"
#include "net/identity.h"

#define LIBVIRT_WAIT_S 5
#define DAYS_ENOUGH 30

typedef struct {
    gboolean ok;
    char *text;   /* what was found */
    char *remedy; /* NULL where ok */
} Finding;

static Finding
good(char *text)
{
    return (Finding){ .ok = TRUE, .text = text };
}

static Finding
bad(char *text, char *remedy)
{
    return (Finding){ .text = text, .remedy = remedy };
}

static Finding
bad_error(const GError *error)
{
    return bad(g_strdup(error->message), NULL);
}

static Finding
check_identity(const AgentConfig *config)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Joined) joined = joined_load(config->state_dir, &error);
    g_autoptr(Identity) identity = joined ? identity_load(config->identity_dir, &error) : NULL;
    if (!identity)
        return bad_error(error);
    gint days = identity_days_left(identity->cert, &error);
    if (error)
        return bad_error(error);
    char *text = g_strdup_printf("host %s of %s, certificate valid for %d more days",
                                 identity->name.uuid, joined->manager_url, days);
    if (days >= DAYS_ENOUGH)
        return good(text);
    return bad(text, g_strdup("renew it: godwitd join URL --token T --force, with a new token of "
                              "\"godwit host add\""));
}

static Finding
check_folders(const AgentConfig *config)
{
    g_autoptr(GError) error = NULL;
    if (!run_dir_prepare(config, &error))
        return bad_error(error);
    /* A worker's socket, the longest name there, must fit into a unix socket's 107 bytes. */
    g_autofree char *longest =
        g_strdup_printf("%s/migration/%036d/destination.control", config->run_dir, 0);
    if (strlen(longest) > 107)
        return bad(g_strdup_printf("%s is too long for the sockets in it", config->run_dir),
                   g_strdup("choose a shorter [godwitd] run_dir"));
    return good(g_strdup_printf("%s and %s can be written", config->state_dir, config->run_dir));
}

static Finding
check_flyway_user(const AgentConfig *config)
{
    const struct passwd *user = getpwnam(config->flyway_user);
    if (!user)
        return bad(g_strdup_printf("there is no user %s", config->flyway_user),
                   g_strdup_printf(
                       "make it: useradd --system --no-create-home --shell /usr/sbin/nologin %s",
                       config->flyway_user));
    if (user->pw_uid == 0)
        return bad(g_strdup_printf("%s is root", config->flyway_user),
                   g_strdup("choose a user without rights"));
    return good(g_strdup_printf("%s, uid %u", config->flyway_user, (guint)user->pw_uid));
}

static Finding
check_flyway_program(const AgentConfig *config)
{
    if (access(config->flyway_program, X_OK) < 0)
        return bad(
            g_strdup_printf("%s can't be executed: %s", config->flyway_program, g_strerror(errno)),
            g_strdup("install it, or correct [flyway] program"));
    return good(g_strdup(config->flyway_program));
}

/* Free, or taken by the godwitd that runs. */
static Finding
check_port(const AgentConfig *config, const char *const *addresses, guint port)
{
    g_autofree char *all = g_strjoinv(", ", (char **)addresses);
    int pid = run_dir_lock_holder(config);
    for (; *addresses; addresses++) {
        g_autoptr(GError) error = NULL;
        fd_auto int fd = listener_bind(*addresses, port, &error);
        if (fd >= 0)
            continue;
        if (pid && g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT))
            return good(g_strdup_printf("%s port %u: in use by the running godwitd, process %d",
                                        all, port, pid));
        return bad_error(error);
    }
    return good(g_strdup_printf("%s port %u: free", all, port));
}

static Finding
check_control_port(const AgentConfig *config)
{
    return check_port(config, config->control_listen, config->control_port);
}

static Finding
check_migration_port(const AgentConfig *config)
{
    return check_port(config, config->migration_listen, config->migration_port);
}

static Finding
check_advertise(const AgentConfig *config)
{
    if (config->advertise)
        return good(g_strdup_printf("others connect to %s", config->advertise));
    return bad(g_strdup("it is not known which address others connect to"),
               g_strdup("join a cluster (that finds it), or set [control] advertise"));
}

static Finding
check_libvirt(const AgentConfig *config)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Host) host = local_host_ask(config->libvirt_uri, LIBVIRT_WAIT_S, &error);
    if (!host)
        return bad_error(error);
    g_autoptr(Joined) joined = joined_load(config->state_dir, NULL);
    if (joined && joined->host_uuid && g_ascii_strcasecmp(joined->host_uuid, host->uuid) != 0)
        return bad(g_strdup_printf("libvirt says that this host is %s, it joined as %s", host->uuid,
                                   joined->host_uuid),
                   g_strdup("two hosts may share one host UUID now: correct host_uuid in "
                            "libvirtd.conf, or join again"));
    return good(
        g_strdup_printf("host %s (%s), libvirt %s, QEMU %s", host->name, host->uuid,
                        host->versions && host->versions->libvirt ? host->versions->libvirt : "?",
                        host->versions && host->versions->qemu ? host->versions->qemu : "?"));
}

static const struct {
    const char *name;
    Finding (*run)(const AgentConfig *config);
} checks[] = {
    { "identity", check_identity },         { "folders", check_folders },
    { "flyway user", check_flyway_user },   { "flyway program", check_flyway_program },
    { "control port", check_control_port }, { "migration port", check_migration_port },
    { "address", check_advertise },         { "libvirt", check_libvirt },
};

gboolean
check_run(const AgentConfig *config, const char *path)
{
    guint problems = 0;
    g_autofree char *shown = config_describe(config->file);
    printf("%s\n", shown);
    printf("%-8s %-15s %s\n", "ok", "configuration", path);
    for (guint i = 0; i < G_N_ELEMENTS(checks); i++) {
        Finding finding = checks[i].run(config);
        printf("%-8s %-15s %s\n", finding.ok ? "ok" : "problem", checks[i].name, finding.text);
        if (finding.remedy)
            printf("%24s → %s\n", "", finding.remedy);
        problems += !finding.ok;
        g_free(finding.text);
        g_free(finding.remedy);
    }
    fflush(stdout);
    return problems == 0;
}
