/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session.h"

#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/login.h"
#include "cli/suggest.h"
#include "model/model.h"

#define TOKEN_FILE_MAX 4096
#define CA_FILE_MAX (256 * 1024)

/* ---- whom to talk to ---------------------------------------------------------------------------
 */

static char *
token_from_file(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) local = NULL;
    gsize length = 0;

    if (strcmp(path, "-") == 0) {
        char line[TOKEN_FILE_MAX];
        gssize n = read(STDIN_FILENO, line, sizeof line);

        text = g_strndup(line, MAX(n, 0));
    } else if (!g_file_get_contents(path, &text, &length, &local) || length > TOKEN_FILE_MAX) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "cannot read the token from %s: %s",
                    path, local ? local->message : "it is too large for a token");
        return NULL;
    }
    g_strstrip(text);
    if (*text)
        return g_steal_pointer(&text);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "there is no token in %s", path);
    return NULL;
}

static const char *
env(const char *name)
{
    const char *value = g_getenv(name);

    return value && *value ? value : NULL;
}

char *
session_given_token(Cli *cli, GError **error)
{
    const char *file = cli_option(cli, "token-file");

    if (file)
        return token_from_file(file, error);
    if (env("GODWIT_TOKEN"))
        return g_strstrip(g_strdup(env("GODWIT_TOKEN")));
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "no token was given: use --token, --token-file or GODWIT_TOKEN");
    return NULL;
}

static char *
find_token(Cli *cli, const Login *login, GError **error)
{
    g_autofree char *token = NULL;

    if (cli_option(cli, "token-file") || env("GODWIT_TOKEN"))
        token = session_given_token(cli, error);
    else if (login)
        token = g_strdup(login->token);
    else
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
            "the manager's address is known, but no token: set GODWIT_TOKEN, give --token-file, "
            "or use \"godwit login\"");
    if (!token || !token_parse(token, "gwa_", NULL, error))
        return NULL;
    return g_steal_pointer(&token);
}

/* The CA: of GODWIT_CA, of the login where it fits the token, else the manager's own word, which
 * the token proves. */
static char *
find_ca(const Login *login, const char *url, const char *token, GError **error)
{
    g_autofree char *wanted = NULL, *pem = NULL;
    g_autoptr(GError) local = NULL;
    gsize length = 0;

    if (env("GODWIT_CA")) {
        if (g_file_get_contents(env("GODWIT_CA"), &pem, &length, &local) && length <= CA_FILE_MAX)
            return g_steal_pointer(&pem);
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "cannot read the CA certificate that GODWIT_CA names: %s",
                    local ? local->message : "it is too large");
        return NULL;
    }
    if (!token_parse(token, "gwa_", &wanted, error))
        return NULL;
    if (login) {
        g_autofree char *have = identity_fingerprint(login->ca_pem, NULL);

        if (have && g_str_has_prefix(have, wanted))
            return g_strdup(login->ca_pem);
    }
    return http_client_fetch_ca(url, wanted, error);
}

gboolean
session_open(Cli *cli, guint timeout_s, GError **error)
{
    g_autoptr(Login) login = NULL;
    g_autoptr(GError) login_error = NULL;
    const char *url = cli_option(cli, "url") ? cli_option(cli, "url") : env("GODWIT_URL");
    HttpClientConfig config = { .timeout_s = timeout_s };

    if (cli->client)
        return TRUE;
    login = login_load(&login_error);
    if (!url && !login) {
        if (g_error_matches(login_error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                        "no manager is known: use \"godwit login URL --token TOKEN\", or set "
                        "GODWIT_URL and "
                        "GODWIT_TOKEN");
        else
            g_propagate_error(error, g_steal_pointer(&login_error));
        return FALSE;
    }
    g_free(cli->url);
    cli->url = login_url(url ? url : login->url, error);
    if (!cli->url)
        return FALSE;
    g_free(cli->token);
    cli->token = find_token(cli, login, error);
    if (!cli->token)
        return FALSE;
    g_free(cli->ca_pem);
    cli->ca_pem = find_ca(login, cli->url, cli->token, error);
    if (!cli->ca_pem)
        return FALSE;
    config.base_url = cli->url;
    config.token = cli->token;
    config.ca_pem = cli->ca_pem;
    config.expect.role = IDENTITY_MANAGER;
    cli->client = http_client_new(&config, error);
    return cli->client != NULL;
}

/* ---- calls -------------------------------------------------------------------------------------
 */

char *
api_path(const char *segment, ...)
{
    GString *path = g_string_new("/api/v1");
    va_list list;

    va_start(list, segment);
    for (const char *s = segment; s; s = va_arg(list, const char *)) {
        g_string_append_c(path, '/');
        g_string_append_uri_escaped(path, s, NULL, FALSE);
    }
    va_end(list);
    return g_string_free(path, FALSE);
}

void
api_query(char **path, const char *name, const char *value)
{
    g_autofree char *escaped = g_uri_escape_string(value, NULL, FALSE);
    char *longer =
        g_strdup_printf("%s%c%s=%s", *path, strchr(*path, '?') ? '&' : '?', name, escaped);

    g_free(*path);
    *path = longer;
}

JsonNode *
session_call(Cli *cli, const char *method, const char *path, JsonNode *body, GError **error)
{
    if (!session_open(cli, 0, error))
        return NULL;
    return http_client_call(cli->client, method, path, body, NULL, error);
}

gpointer
session_record(JsonNode *answer, const RecordType *type, GError **error)
{
    g_autoptr(GError) local = NULL;
    gpointer record = record_from_json(type, answer, &local);

    if (!record)
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
            "the manager's answer is not a %s that this version of godwit understands: %s; compare "
            "\"godwit version\"",
            type->name, local->message);
    return record;
}

GPtrArray *
session_records(JsonNode *answer, const char *name, const RecordType *type, GError **error)
{
    g_autoptr(GPtrArray) list = record_list_new(type);
    JsonArray *array = NULL;

    if (JSON_NODE_HOLDS_OBJECT(answer)) {
        JsonNode *member = json_object_get_member(json_node_get_object(answer), name);

        array = member && JSON_NODE_HOLDS_ARRAY(member) ? json_node_get_array(member) : NULL;
    }
    if (!array) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "the manager's answer has no list \"%s\": is it a Godwit manager, and of which "
                    "version? Compare \"godwit version\"",
                    name);
        return NULL;
    }
    for (guint i = 0; i < json_array_get_length(array); i++) {
        gpointer record = session_record(json_array_get_element(array, i), type, error);

        if (!record)
            return NULL;
        g_ptr_array_add(list, record);
    }
    return g_steal_pointer(&list);
}

GPtrArray *
session_list(Cli *cli, const char *path, const char *name, const RecordType *type,
             JsonNode **answer, GError **error)
{
    g_autoptr(JsonNode) node = session_call(cli, "GET", path, NULL, error);
    g_autoptr(GPtrArray) list = NULL;

    if (!node)
        return NULL;
    list = session_records(node, name, type, error);
    if (list && answer)
        *answer = g_steal_pointer(&node);
    return g_steal_pointer(&list);
}

/* ---- names -------------------------------------------------------------------------------------
 */

/* Where the names of a kind are found, and which member of each object they are. */
static const struct {
    ArgKind kind;
    const char *list, *member;
} name_sources[] = {
    { ARG_HOST, "hosts", "name" }, { ARG_VM, "vms", "name" },       { ARG_TASK, "tasks", "id" },
    { ARG_ALARM, "alarms", "id" }, { ARG_TOKEN, "tokens", "name" },
};

static GStrv
names_of(JsonNode *answer, const char *list, const char *member)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    JsonArray *array;

    if (!JSON_NODE_HOLDS_OBJECT(answer) ||
        !json_object_has_member(json_node_get_object(answer), list) ||
        !JSON_NODE_HOLDS_ARRAY(json_object_get_member(json_node_get_object(answer), list)))
        return NULL;
    array = json_object_get_array_member(json_node_get_object(answer), list);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        const char *name = NULL;

        if (JSON_NODE_HOLDS_OBJECT(element))
            name = json_object_get_string_member_with_default(json_node_get_object(element), member,
                                                              NULL);
        if (name)
            g_strv_builder_add(builder, name);
    }
    return g_strv_builder_end(builder);
}

GStrv
session_names(Cli *cli, ArgKind kind)
{
    for (gsize i = 0; i < G_N_ELEMENTS(name_sources); i++) {
        g_autofree char *path = NULL;
        g_autoptr(JsonNode) answer = NULL;

        if (name_sources[i].kind != kind)
            continue;
        path = api_path(name_sources[i].list, NULL);
        answer = session_call(cli, "GET", path, NULL, NULL);
        return answer ? names_of(answer, name_sources[i].list, name_sources[i].member) : NULL;
    }
    return NULL;
}

void
session_suggest(Cli *cli, ArgKind kind, const char *word, GError **error)
{
    g_auto(GStrv) names = NULL;
    const char *near;

    if (!error || !g_error_matches(*error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
        return;
    names = session_names(cli, kind);
    near = names ? suggest_nearest(word, (const char *const *)names) : NULL;
    if (near) {
        char *longer = g_strdup_printf("%s; did you mean \"%s\"?", (*error)->message, near);

        g_free((*error)->message);
        (*error)->message = longer;
    }
}

GHashTable *
session_host_names(Cli *cli)
{
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autofree char *path = api_path("hosts", NULL);
    g_autoptr(GPtrArray) hosts = session_list(cli, path, "hosts", &host_type, NULL, NULL);

    for (guint i = 0; hosts && i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);

        if (host->uuid && host->name)
            g_hash_table_replace(names, g_strdup(host->uuid), g_strdup(host->name));
    }
    return names;
}
