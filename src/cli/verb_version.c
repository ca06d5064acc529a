/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/json.h"
#include "cli/help.h"
#include "cli/session.h"

static JsonNode *
version_json(JsonNode *manager, const GError *error)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new(), *client = json_object_new();

    json_object_set_string_member(client, "version", GODWIT_VERSION);
    json_object_set_object_member(object, "client", client);
    if (manager)
        json_object_set_member(object, "manager", json_node_copy(manager));
    if (error)
        json_object_set_object_member(object, "error", json_error(error));
    json_node_take_object(node, object);
    return node;
}

static void
print_manager(Cli *cli, JsonNode *manager)
{
    JsonObject *told = JSON_NODE_HOLDS_OBJECT(manager) ? json_node_get_object(manager) : NULL;
    g_autofree char *text = NULL, *clean = NULL;

    if (!told)
        return;
    text =
        g_strdup_printf("godwit-manager %s (API %s, cluster \"%s\") at %s",
                        json_object_get_string_member_with_default(told, "version", "?"),
                        json_object_get_string_member_with_default(told, "api", "?"),
                        json_object_get_string_member_with_default(told, "cluster", "?"), cli->url);
    clean = text_clean(text, FALSE);
    cli_print(cli, clean);
    cli_print(cli, "\n");
}

gboolean
run_version(Cli *cli, GError **error)
{
    g_autofree char *path = api_path("version", NULL);
    g_autoptr(JsonNode) manager = NULL;
    g_autoptr(GError) local = NULL;

    if (!cli->json)
        cli_print(cli, "godwit " GODWIT_VERSION "\n");
    if (!cli_flag(cli, "client"))
        manager = session_call(cli, "GET", path, NULL, &local);
    if (cli->json) {
        g_autoptr(JsonNode) node = version_json(manager, local);

        cli_print_json(cli, node);
    } else if (manager) {
        print_manager(cli, manager);
    }
    if (local) {
        g_propagate_error(error, g_steal_pointer(&local));
        return FALSE;
    }
    return TRUE;
}

/* "godwit help", "godwit help host", "godwit help host add". */
gboolean
run_help(Cli *cli, GError **error)
{
    g_autoptr(GString) path = g_string_new(NULL);
    int width = cli_width(STDOUT_FILENO);
    g_autofree char *text = NULL;
    const Verb *verb;

    for (guint i = 0; i < cli->args->len; i++)
        g_string_append_printf(path, "%s%s", i ? " " : "", cli_arg(cli, i));
    verb = verb_find(path->str);
    if (!verb && !verb_is_prefix(path->str)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "there is no verb \"%s\"; \"godwit help\" lists them", path->str);
        return FALSE;
    }
    if (verb)
        text = help_verb(verb, width);
    else
        text = path->len > 0 ? help_group(path->str, width) : help_overview(width);
    cli_print(cli, text);
    return TRUE;
}
