/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwitd: the agent of a host.
 *
 * main.c holds what only a process has: options, verbs, signals, the one-instance lock, the main
 * loop. The agent itself is agent.c.
 *
 * A stop (SIGTERM, SIGINT) ends the main loop; migrations go on without us, by libvirt and their
 * workers, and the next start finds them again. Nothing is daemonized: the service manager does
 * that.
 */
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "host/agent.h"
#include "host/check.h"
#include "host/join.h"
#include "host/local_host.h"
#include "host/notify.h"
#include "host/run_dir.h"

#define EXIT_USAGE 2
#define LIBVIRT_WAIT_S 10
#define TOKEN_MAX 512
#define DAYS_WARN 30

typedef struct {
    char *config;
    char *token;
    char *address;
    gboolean check, version, force;
    GStrv words; /* verb and its arguments */
} Options;

static void
options_clear(Options *options)
{
    g_free(options->config);
    g_free(options->token);
    g_free(options->address);
    g_strfreev(options->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static const char summary[] =
    "godwitd is Godwit's agent of a host: it talks to the local libvirt, answers the manager and "
    "moves VMs.\n"
    "\n"
    "Without a verb it runs. Verbs:\n"
    "  join URL --token T [--address A] [--force]   Join the cluster whose manager is at URL\n"
    "  leave [--force]                              Forget the cluster that this host joined";

static int
complain(const char *what, const GError *error)
{
    fprintf(stderr, "godwitd: %s%s%s\n", what, *what ? ": " : "", error->message);
    return 1;
}

static AgentConfig *
load_config(const Options *options, GError **error)
{
    g_autoptr(AgentConfig) config = agent_config_load(
        options->config ? options->config : AGENT_CONFIG_PATH, options->config != NULL, error);
    if (!config)
        return NULL;
    g_autoptr(Joined) joined = joined_load(config->state_dir, NULL);
    if (joined)
        agent_config_adopt(config, joined);
    return g_steal_pointer(&config);
}

/* ---- join, leave ----------------------------------------------------------------------------- */

/* "-" reads it from standard input, where other users' ps can't see it. */
static char *
read_token(const char *given, GError **error)
{
    if (strcmp(given, "-") != 0)
        return g_strdup(given);
    char line[TOKEN_MAX];
    if (fgets(line, sizeof line, stdin))
        return g_strdup(g_strstrip(line));
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "--token -: no token came on standard input");
    return NULL;
}

static int
run_join(const AgentConfig *config, const Options *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *token = read_token(options->token, &error);
    if (!token)
        return complain("join", error);
    g_autoptr(Host) host = local_host_ask(config->libvirt_uri, LIBVIRT_WAIT_S, &error);
    if (!host)
        return complain("join: the host's UUID is libvirt's", error);
    const JoinRequest request = {
        .url = options->words[1],
        .token = token,
        .address = options->address,
        .host_uuid = host->uuid,
        .host_name = host->name ? host->name : g_get_host_name(),
        .force = options->force,
    };
    g_autoptr(Joined) joined = join_cluster(config, &request, &error);
    if (!joined)
        return complain("join", error);
    printf("joined %s as %s (%s); others connect to %s port %" G_GINT64_FORMAT "\n",
           joined->manager_url, joined->host_name, joined->host_uuid, joined->control_address,
           joined->control_port);
    int pid = run_dir_lock_holder(config);
    if (pid)
        printf("godwitd runs as process %d with the former identity: restart it (systemctl restart "
               "godwitd)\n",
               pid);
    else
        printf("now start godwitd (systemctl enable --now godwitd)\n");
    return 0;
}

static int
run_leave(const AgentConfig *config, const Options *options)
{
    g_autoptr(GError) error = NULL;
    if (!leave_cluster(config, options->force, &error))
        return complain("leave", error);
    printf("left; VMs and libvirt are as they were. If the manager still lists this host: godwit "
           "host remove %s\n",
           g_get_host_name());
    return 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static gboolean
on_stop(gpointer data)
{
    g_message("asked to stop; migrations go on without me");
    notify_send("STOPPING=1");
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static void
main_loop_run(void)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    guint term = g_unix_signal_add(SIGTERM, on_stop, loop);
    guint interrupt = g_unix_signal_add(SIGINT, on_stop, loop);
    notify_send("READY=1");
    g_main_loop_run(loop);
    g_source_remove(term);
    g_source_remove(interrupt);
}

static void
warn_expiry(const Identity *identity)
{
    gint days = identity_days_left(identity->cert, NULL);
    if (days < DAYS_WARN)
        g_warning("this host's certificate expires in %d days: renew it with godwitd join URL "
                  "--token T --force",
                  days);
}

static int
run_agent(const AgentConfig *config)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Joined) joined = joined_load(config->state_dir, &error);
    g_autoptr(Identity) identity = joined ? identity_load(config->identity_dir, &error) : NULL;
    if (!identity)
        return complain("", error);
    if (!run_dir_prepare(config, &error))
        return complain("", error);
    fd_auto int lock = run_dir_lock(config, &error);
    if (lock < 0)
        return complain("", error);
    signal(SIGPIPE, SIG_IGN);
    log_init("godwitd", config->log_level);
    warn_expiry(identity);
    const AgentSetup setup = { .config = config,
                               .identity = identity,
                               .control_port = G_MAXUINT,
                               .migration_port = G_MAXUINT };
    g_autoptr(Agent) agent = agent_new(&setup, &error);
    if (!agent)
        return complain("", error);
    g_message("godwitd " GODWIT_VERSION ", host %s: control port %u, migration port %u",
              identity->name.uuid, agent_control_port(agent), agent_migration_port(agent));
    main_loop_run();
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int arguments;
    gboolean token, address, force; /* may be given */
    int (*run)(const AgentConfig *config, const Options *options);
} verbs[] = {
    { "join", 1, TRUE, TRUE, TRUE, run_join },
    { "leave", 0, FALSE, FALSE, TRUE, run_leave },
};

static int
usage(const char *text, const char *word)
{
    fprintf(stderr, "godwitd: %s%s (see godwitd --help)\n", text, word);
    return EXIT_USAGE;
}

static int
run_verb(const AgentConfig *config, const Options *options, guint at)
{
    if ((int)g_strv_length(options->words) - 1 != verbs[at].arguments)
        return usage(verbs[at].arguments ? "join takes one argument, the manager's URL"
                                         : "leave takes no argument",
                     "");
    if ((options->token && !verbs[at].token) || (options->address && !verbs[at].address) ||
        options->check)
        return usage("options that don't belong to ", verbs[at].name);
    if (verbs[at].token && !options->token)
        return usage("--token is missing; \"godwit host add\" prints the whole command", "");
    return verbs[at].run(config, options);
}

static int
dispatch(const Options *options)
{
    g_autoptr(GError) error = NULL;
    const char *verb = options->words ? options->words[0] : NULL;
    guint at = 0;
    while (verb && at < G_N_ELEMENTS(verbs) && strcmp(verbs[at].name, verb) != 0)
        at++;
    if (at == G_N_ELEMENTS(verbs))
        return usage("unknown verb: ", verb);
    if (!verb && (options->token || options->address || options->force))
        return usage("--token, --address and --force belong to a verb", "");
    g_autoptr(AgentConfig) config = load_config(options, &error);
    if (!config)
        return complain("", error);
    if (verb)
        return run_verb(config, options, at);
    if (options->check)
        return check_run(config, options->config ? options->config : AGENT_CONFIG_PATH) ? 0 : 1;
    return run_agent(config);
}

static gboolean
parse_options(Options *options, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config,
          "Read FILE instead of " AGENT_CONFIG_PATH, "FILE" },
        { "check", 0, 0, G_OPTION_ARG_NONE, &options->check,
          "Check configuration and set-up, say what is wrong, and end", NULL },
        { "token", 0, 0, G_OPTION_ARG_STRING, &options->token,
          "join: the one-time token; - reads it from standard input", "T" },
        { "address", 0, 0, G_OPTION_ARG_STRING, &options->address,
          "join: the address by which others reach this host", "A" },
        { "force", 0, 0, G_OPTION_ARG_NONE, &options->force,
          "join: although joined already; leave: although migrations aren't settled", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &options->version, "Print the version and end",
          NULL },
        { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->words, NULL, "[VERB …]" },
        { NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    return g_option_context_parse(context, argc, argv, error);
}

int
main(int argc, char **argv)
{
    g_auto(Options) options = { 0 };
    g_autoptr(GError) error = NULL;
    setlocale(LC_ALL, "");
    umask(077);
    if (!parse_options(&options, &argc, &argv, &error))
        return usage(error->message, "");
    if (options.version) {
        printf("godwitd " GODWIT_VERSION "\n");
        return 0;
    }
    return dispatch(&options);
}
