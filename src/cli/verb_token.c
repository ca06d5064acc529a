/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "cli/session.h"
#include "cli/when.h"

/* A token as the API lists it. */
typedef struct {
    char *id, *name;
    gint64 created_ms;
} TokenInfo;

static const RecordField token_info_fields[] = {
    { "id", RECORD_STRING, G_STRUCT_OFFSET(TokenInfo, id) },
    { "name", RECORD_STRING, G_STRUCT_OFFSET(TokenInfo, name) },
    { "created_ms", RECORD_INT, G_STRUCT_OFFSET(TokenInfo, created_ms) },
};
static void token_info_destroy(gpointer token);
static const RecordType token_info_type = { .name = "token",
                                            .size = sizeof(TokenInfo),
                                            .fields = token_info_fields,
                                            .n_fields = G_N_ELEMENTS(token_info_fields),
                                            .destroy = token_info_destroy };

static void
token_info_destroy(gpointer token)
{
    record_free(&token_info_type, token);
}

gboolean
run_token_create(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("tokens", NULL), *clean = NULL;
    g_autoptr(JsonNode) body = json_node_new(JSON_NODE_OBJECT), answer = NULL;
    JsonObject *object = json_object_new();
    const char *token = NULL;

    json_object_set_string_member(object, "name", cli_arg(cli, 0));
    json_node_take_object(body, object);
    answer = session_call(cli, "POST", path, body, error);
    if (!answer)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    if (JSON_NODE_HOLDS_OBJECT(answer))
        token =
            json_object_get_string_member_with_default(json_node_get_object(answer), "token", NULL);
    if (!token) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "the manager's answer has no token");
        return FALSE;
    }
    clean = text_clean(token, FALSE);
    cli_print(cli, clean);
    cli_print(cli, "\n");
    cli_note(cli,
             "Keep it now: it is not shown again. Use it by \"godwit login %s --token-file FILE\".",
             cli->url);
    return TRUE;
}

gboolean
run_token_list(Cli *cli, GError **error)
{
    static const TableColumn columns[] = { { "ID" }, { "NAME" }, { "CREATED" }, { NULL } };
    g_autofree char *path = api_path("tokens", NULL);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GPtrArray) tokens =
        session_list(cli, path, "tokens", &token_info_type, &answer, error);
    g_autoptr(Table) table = table_new(columns);

    if (!tokens)
        return FALSE;
    if (cli->json) {
        cli_print_json(cli, answer);
        return TRUE;
    }
    for (guint i = 0; i < tokens->len; i++) {
        const TokenInfo *token = g_ptr_array_index(tokens, i);
        g_autofree char *when = when_short(token->created_ms, clock_wall_ms());

        table_cell(table, COLOUR_NONE, token->id);
        table_cell(table, COLOUR_NONE, token->name);
        table_cell(table, COLOUR_NONE, when);
    }
    cli_print_table(cli, table, "No tokens.");
    return TRUE;
}

/* The id that the word means: an id, or a name that one token has. (transfer full) */
static char *
token_find(Cli *cli, const char *word, GError **error)
{
    g_autofree char *path = api_path("tokens", NULL);
    g_autoptr(GPtrArray) tokens = session_list(cli, path, "tokens", &token_info_type, NULL, error);
    const TokenInfo *found = NULL;

    for (guint i = 0; tokens && i < tokens->len; i++) {
        const TokenInfo *token = g_ptr_array_index(tokens, i);

        if (g_strcmp0(token->id, word) == 0)
            return g_strdup(word);
        if (g_strcmp0(token->name, word) != 0)
            continue;
        if (found) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                        "several tokens are called \"%s\": say which by its id (%s, %s, ...)", word,
                        found->id, token->id);
            return NULL;
        }
        found = token;
    }
    if (!found && tokens) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "there is no token with the id or name \"%s\"; \"godwit token list\" shows all",
                    word);
        session_suggest(cli, ARG_TOKEN, word, error);
    }
    return found ? g_strdup(found->id) : NULL;
}

gboolean
run_token_revoke(Cli *cli, GError **error)
{
    g_autofree char *id = token_find(cli, cli_arg(cli, 0), error);
    g_autofree char *path = id ? api_path("tokens", id, NULL) : NULL;
    g_autoptr(JsonNode) answer = NULL;

    answer = path ? session_call(cli, "DELETE", path, NULL, error) : NULL;
    if (!answer)
        return FALSE;
    cli_print_done(cli, "token", id, "revoked", "does not work any more.");
    return TRUE;
}
