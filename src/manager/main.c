/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit-manager: inventory, admission, tasks, REST API.
 *
 * Isolation, in stages:
 *   0  started by the service manager as user godwit-manager (packaging/), without capabilities
 *   1  umask 077 and no core dumps: the cluster's key is in memory and in files that are made here
 *   2  no new privileges: nothing is ever executed
 */
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "manager/manager.h"
#include "manager/settings.h"

static struct {
    char *config;
    char *token_name;
    gboolean check, version;
} options;

static const GOptionEntry entries[] = {
    { "config", 'c', 0, G_OPTION_ARG_FILENAME, &options.config,
      "Configuration file (" SETTINGS_PATH ")", "FILE" },
    { "check", 0, 0, G_OPTION_ARG_NONE, &options.check,
      "Check the configuration, print what is effective, and end", NULL },
    { "make-token", 0, 0, G_OPTION_ARG_STRING, &options.token_name,
      "Make another admin token, print it, and end; only while no manager runs", "NAME" },
    { "version", 0, 0, G_OPTION_ARG_NONE, &options.version, "Print the version and end", NULL },
    { NULL },
};

static const char description[] =
    "The first start makes the cluster's CA and database in the data folder, and prints the first\n"
    "admin token on standard output, once. Clients need the token and PATH-OF-DATA/ca.pem.\n"
    "See godwit-manager(8) and manager.conf(5).";

static int
fail(const GError *error)
{
    fprintf(stderr, "godwit-manager: %s\n", error->message);
    return 1;
}

static void
isolate(void)
{
    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/** A line per host and client is a descriptor: take as many as we may. */
static void
raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static Config *
load_settings(GError **error)
{
    g_autoptr(Config) config = config_load(options.config ? options.config : SETTINGS_PATH,
                                           settings_keys, options.config != NULL, error);

    if (config == NULL)
        return NULL;
    if (!settings_check(config, error)) {
        g_prefix_error(error, "%s: ", options.config ? options.config : SETTINGS_PATH);
        return NULL;
    }
    return g_steal_pointer(&config);
}

static int
check(const Config *config)
{
    g_autofree char *text = config_describe(config);

    fputs(text, stdout);
    return 0;
}

static int
make_token(const Config *config)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *token = manager_make_token(config, options.token_name, &error);

    if (token == NULL)
        return fail(error);
    printf("admin token: %s\n", token);
    return 0;
}

static gboolean
on_signal(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

static int
run(const Config *config)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GError) error = NULL;
    g_autofree char *token = NULL;
    g_autoptr(Manager) manager = manager_new(config, &token, &error);
    g_autofree char *url = NULL;

    if (manager == NULL)
        return fail(error);
    if (token != NULL) {
        printf("admin token: %s\n", token);
        fflush(stdout);
    }
    g_unix_signal_add(SIGTERM, on_signal, loop);
    g_unix_signal_add(SIGINT, on_signal, loop);
    url = manager_url(manager);
    g_message("version " GODWIT_VERSION " answers at %s", url);
    g_main_loop_run(loop);
    g_message("ends; migrations that run go on, by their hosts");
    return 0;
}

int
main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("- the manager of a Godwit cluster");
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = NULL;
    LogLevel level = LOG_INFO;

    setlocale(LC_ALL, "");
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_description(context, description);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "godwit-manager: %s; see godwit-manager --help\n",
                error ? error->message : "it takes no arguments");
        return 2;
    }
    if (options.version) {
        puts("godwit-manager " GODWIT_VERSION);
        return 0;
    }
    config = load_settings(&error);
    if (config == NULL)
        return fail(error);
    if (options.check)
        return check(config);
    isolate();
    raise_file_limit();
    log_level_parse(config_string(config, "log", "level"), &level);
    log_init("godwit-manager", level);
    signal(SIGPIPE, SIG_IGN);
    return options.token_name != NULL ? make_token(config) : run(config);
}
