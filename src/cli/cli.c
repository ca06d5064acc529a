/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/record.h"
#include "cli/args.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cli/text.h"

const char *
cli_option(const Cli *cli, const char *name)
{
    return g_hash_table_lookup(cli->options, name);
}

gboolean
cli_flag(const Cli *cli, const char *name)
{
    return g_hash_table_contains(cli->options, name);
}

const char *
cli_arg(const Cli *cli, guint i)
{
    return i < cli->args->len ? g_ptr_array_index(cli->args, i) : NULL;
}

int
cli_width(int fd)
{
    struct winsize size = { 0 };

    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void
cli_print(Cli *cli, const char *text)
{
    fputs(text, stdout);
}

void
cli_print_json(Cli *cli, JsonNode *node)
{
    g_autofree char *text = json_text(node, TRUE);

    g_assert(!cli->printed);
    cli->printed = TRUE;
    fputs(text, stdout);
    fputc('\n', stdout);
}

void
cli_print_table(Cli *cli, const Table *table, const char *none)
{
    g_autofree char *text = NULL;

    if (table_rows(table) == 0) {
        cli_note(cli, "%s", none);
        return;
    }
    text = table_format(table, cli_width(STDOUT_FILENO), 0, cli->colour_out);
    cli_print(cli, text);
}

void
cli_print_done(Cli *cli, const char *noun, const char *name, const char *done, const char *text)
{
    g_autofree char *line = g_strdup_printf("%s %s\n", name, text);
    g_autoptr(JsonNode) node = NULL;
    JsonObject *object;

    if (!cli->json) {
        cli_print(cli, line);
        return;
    }
    node = json_node_new(JSON_NODE_OBJECT);
    object = json_object_new();
    json_object_set_string_member(object, noun, name);
    json_object_set_boolean_member(object, done, TRUE);
    json_node_take_object(node, object);
    cli_print_json(cli, node);
}

void
cli_note(Cli *cli, const char *format, ...)
{
    g_autofree char *text = NULL, *clean = NULL;
    va_list list;

    if (cli->quiet)
        return;
    va_start(list, format);
    text = g_strdup_vprintf(format, list);
    va_end(list);
    clean = text_clean(text, TRUE);
    fprintf(stderr, "%s\n", clean);
}

void
cli_complain(Cli *cli, const char *message)
{
    g_autofree char *clean = text_clean(message, TRUE);
    g_autoptr(GString) out = g_string_new(NULL);

    text_colour(out, COLOUR_BAD, cli->colour_err, "godwit:");
    fflush(stdout);
    fprintf(stderr, "%s %s\n", out->str, clean);
}

int
cli_status_of_code(const char *code)
{
    if (g_strcmp0(code, "refused") == 0)
        return STATUS_REFUSED;
    if (g_strcmp0(code, "unreachable") == 0)
        return STATUS_UNREACHABLE;
    return STATUS_FAILED;
}

int
cli_status_of(const GError *error)
{
    if (g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_INVALID))
        return STATUS_USAGE;
    return cli_status_of_code(godwit_error_nick(error));
}

/* ---- the run
 * --------------------------------------------------------------------------------------- */

static JsonNode *
error_document(const GError *error)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    json_object_set_object_member(object, "error", json_error(error));
    json_node_take_object(node, object);
    return node;
}

static int
cli_fail(Cli *cli, const GError *error)
{
    cli_complain(cli, error->message);
    if (cli->json && !cli->printed) {
        g_autoptr(JsonNode) document = error_document(error);

        cli_print_json(cli, document);
    }
    return cli_status_of(error);
}

static gboolean
colours_wanted(const Cli *cli)
{
    const char *no_colour = g_getenv("NO_COLOR"), *term = g_getenv("TERM");

    return !cli_flag(cli, "no-color") && !(no_colour && *no_colour) && g_strcmp0(term, "dumb") != 0;
}

static void
cli_start(Cli *cli, const Args *args)
{
    const char *term = g_getenv("TERM");

    cli->verb = args->verb;
    cli->args = args->args;
    cli->options = args->options;
    cli->json = g_strcmp0(cli_option(cli, "output"), "json") == 0;
    cli->quiet = cli_flag(cli, "quiet");
    cli->tty_out = isatty(STDOUT_FILENO);
    cli->tty_err = isatty(STDERR_FILENO) && g_strcmp0(term, "dumb") != 0;
    cli->colour_out = cli->tty_out && colours_wanted(cli);
    cli->colour_err = cli->tty_err && colours_wanted(cli);
}

static void
cli_clear(Cli *cli)
{
    g_clear_pointer(&cli->client, http_client_free);
    g_free(cli->url);
    g_free(cli->ca_pem);
    g_free(cli->token);
}

static int
cli_help(const Args *args)
{
    int width = cli_width(STDOUT_FILENO);
    g_autofree char *text = NULL;

    if (args->verb)
        text = help_verb(args->verb, width);
    else if (*args->group)
        text = help_group(args->group, width);
    else
        text = help_overview(width);
    fputs(text, stdout);
    return STATUS_DONE;
}

/* A command line that can't be parsed may still say that it wants JSON. */
static gboolean
wants_json(char **words)
{
    for (; *words; words++) {
        if (strcmp(*words, "-ojson") == 0 || strcmp(*words, "--output=json") == 0)
            return TRUE;
        if ((strcmp(*words, "-o") == 0 || strcmp(*words, "--output") == 0) &&
            g_strcmp0(words[1], "json") == 0)
            return TRUE;
    }
    return FALSE;
}

static int
cli_usage_failed(char **words, const GError *error)
{
    Cli cli = { .json = wants_json(words) };
    int status;

    cli.tty_err = isatty(STDERR_FILENO);
    status = cli_fail(&cli, error);
    fputs("\"godwit --help\" lists the verbs, \"godwit VERB --help\" explains one.\n", stderr);
    return status;
}

static int
cli_run(const Args *args)
{
    Cli cli = { 0 };
    g_autoptr(GError) error = NULL;
    int status;

    cli_start(&cli, args);
    if (args->verb->run(&cli, &error))
        status = cli.status;
    else
        status = cli_fail(&cli, error);
    cli_clear(&cli);
    return status;
}

int
cli_main(int argc, char **argv)
{
    g_autoptr(Args) args = NULL;
    g_autoptr(GError) error = NULL;
    int status;

    setlocale(LC_ALL, "");
    log_init("godwit", LOG_WARNING);
    if (argc >= 2 && strcmp(argv[1], "__complete") == 0) {
        complete_print((const char *const *)argv + 2);
        return STATUS_DONE;
    }
    if (argc == 2 && strcmp(argv[1], "__manual") == 0) {
        g_autofree char *manual = help_manual();

        fputs(manual, stdout);
        return STATUS_DONE;
    }
    args = args_parse((const char *const *)argv + 1, &error);
    if (!args)
        status = cli_usage_failed(argv + 1, error);
    else if (g_hash_table_contains(args->options, "help"))
        status = cli_help(args);
    else if (g_hash_table_contains(args->options, "version"))
        status = (puts("godwit " GODWIT_VERSION), STATUS_DONE);
    else
        status = cli_run(args);
    /* What can't be written hasn't been told. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == STATUS_DONE) {
        fputs("godwit: cannot write to standard output\n", stderr);
        status = STATUS_FAILED;
    }
    return status;
}
