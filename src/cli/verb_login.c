/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/login.h"
#include "cli/session.h"

/* The token to log in with: --token, else what any verb would use but the old login. */
static char *
login_token(Cli *cli, GError **error)
{
    const char *given = cli_option(cli, "token");
    g_autofree char *token = NULL;

    if (given && cli_flag(cli, "token-file")) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "--token and --token-file exclude each other");
        return NULL;
    }
    token = given ? g_strdup(given) : session_given_token(cli, error);
    if (!token)
        return NULL;
    if (g_str_has_prefix(token, "gwj_")) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
            "this is a host's join token (gwj_...): it is for \"godwitd join\" on the host; to log "
            "in an "
            "admin token (gwa_...) is needed, which godwit-manager printed at its first start");
        return NULL;
    }
    return token_parse(token, "gwa_", NULL, error) ? g_steal_pointer(&token) : NULL;
}

static gboolean
ask(const char *question)
{
    char answer[16] = "";

    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* A login to another cluster isn't lost without a word. */
static gboolean
may_replace(Cli *cli, const Login *fresh, GError **error)
{
    g_autoptr(Login) old = login_load(NULL);
    g_autofree char *old_print = old ? identity_fingerprint(old->ca_pem, NULL) : NULL;
    g_autofree char *new_print = identity_fingerprint(fresh->ca_pem, NULL);
    g_autofree char *question = NULL;

    if (!old || g_strcmp0(old_print, new_print) == 0 || cli_flag(cli, "force"))
        return TRUE;
    question =
        g_strdup_printf("You are logged in to another cluster, at %s. Replace that login by %s?",
                        old->url, fresh->url);
    if (isatty(STDIN_FILENO) && cli->tty_err && ask(question))
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "you are logged in to another cluster, at %s; nothing was changed. Use --force to "
                "replace that login, or "
                "GODWIT_URL and GODWIT_TOKEN beside it",
                old->url);
    return FALSE;
}

/* Asks the manager who it is, and for something that needs the token. */
static JsonNode *
try_login(const Login *login, GError **error)
{
    HttpClientConfig config = { .base_url = login->url,
                                .ca_pem = login->ca_pem,
                                .token = login->token,
                                .expect = { .role = IDENTITY_MANAGER } };
    g_autoptr(HttpClient) client = http_client_new(&config, error);
    g_autofree char *version_path = api_path("version", NULL),
                    *tokens_path = api_path("tokens", NULL);
    g_autoptr(JsonNode) version = NULL, tokens = NULL;

    version = client ? http_client_call(client, "GET", version_path, NULL, NULL, error) : NULL;
    tokens = version ? http_client_call(client, "GET", tokens_path, NULL, NULL, error) : NULL;
    return tokens ? g_steal_pointer(&version) : NULL;
}

static void
tell_login(Cli *cli, const Login *login, JsonNode *version)
{
    g_autofree char *path = login_path(), *print = identity_fingerprint(login->ca_pem, NULL);
    JsonObject *told = JSON_NODE_HOLDS_OBJECT(version) ? json_node_get_object(version) : NULL;
    const char *cluster =
        told ? json_object_get_string_member_with_default(told, "cluster", NULL) : NULL;

    if (cli->json) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "url", login->url);
        if (cluster)
            json_object_set_string_member(object, "cluster", cluster);
        json_object_set_string_member(object, "ca_fingerprint", print);
        json_object_set_string_member(object, "file", path);
        json_node_take_object(node, object);
        cli_print_json(cli, node);
    } else {
        g_autofree char *text = g_strdup_printf("Logged in to %s%s%s%s. The token is kept in %s.\n",
                                                login->url, cluster ? ", cluster \"" : "",
                                                cluster ? cluster : "", cluster ? "\"" : "", path);

        cli_print(cli, text);
    }
}

gboolean
run_login(Cli *cli, GError **error)
{
    g_autoptr(Login) login = login_new();
    g_autoptr(JsonNode) version = NULL;
    g_autofree char *print = NULL;

    login->url = login_url(cli_arg(cli, 0), error);
    if (!login->url)
        return FALSE;
    login->token = login_token(cli, error);
    if (!login->token || !token_parse(login->token, "gwa_", &print, error))
        return FALSE;
    login->ca_pem = http_client_fetch_ca(login->url, print, error);
    if (!login->ca_pem)
        return FALSE;
    version = try_login(login, error);
    if (!version || !may_replace(cli, login, error) || !login_save(login, error))
        return FALSE;
    tell_login(cli, login, version);
    return TRUE;
}

gboolean
run_logout(Cli *cli, GError **error)
{
    g_autofree char *path = login_path();
    gboolean existed;

    if (!login_forget(&existed, error))
        return FALSE;
    if (cli->json) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_object_set_boolean_member(object, "logged_in_before", existed);
        json_object_set_string_member(object, "file", path);
        json_node_take_object(node, object);
        cli_print_json(cli, node);
    } else {
        cli_print(cli, existed ? "Logged out.\n" : "Nobody was logged in.\n");
    }
    return TRUE;
}
