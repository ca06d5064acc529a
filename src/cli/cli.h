/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "net/http_client.h"

/** Exit statuses; described for people in exit_statuses (verbs.c). */
enum {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_REFUSED = 3,
    STATUS_UNREACHABLE = 4,
    STATUS_DETACHED = 130,
};

/** One run of the program. Main thread only. */
struct Cli {
    /* Read-only once parsed. */
    const Verb *verb;
    GPtrArray *args;     /* char *: what follows the verb */
    GHashTable *options; /* name → value ("" for flags), verb's and global ones */
    gboolean json, quiet;
    gboolean tty_out, tty_err;       /* is it a terminal? */
    gboolean colour_out, colour_err; /* may colours be used there? */

    /* Filled as the verb runs. */
    HttpClient *client; /* made by session_open, else NULL */
    char *url;          /* of client */
    char *ca_pem;       /* of client */
    char *token;        /* of client */
    gboolean printed;   /* a JSON document is on stdout already */
    int status;         /* exit status where run returns TRUE */
};

/** Option's value, NULL where not given; "" for a flag. */
const char *cli_option(const Cli *cli, const char *name);
gboolean cli_flag(const Cli *cli, const char *name);
const char *cli_arg(const Cli *cli, guint i); /* NULL beyond the end */

/** Columns of the terminal that fd is, 0 where it isn't one (no limit). */
int cli_width(int fd);

/** The one JSON document on stdout (two-space indents). */
void cli_print_json(Cli *cli, JsonNode *node);
/** Text on stdout, as it is. */
void cli_print(Cli *cli, const char *text);
/** The table, fitted to the terminal; `none` as a note where it has no rows. */
void cli_print_table(Cli *cli, const Table *table, const char *none);
/** Says that something was done, of which the API tells nothing: as JSON {noun: name, done: true},
 * as text "name text". */
void cli_print_done(Cli *cli, const char *noun, const char *name, const char *done,
                    const char *text);
/** A line on stderr, unless --quiet. */
void cli_note(Cli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);
/** "godwit: MESSAGE" on stderr (control characters replaced), also with --quiet. */
void cli_complain(Cli *cli, const char *message);

/** Exit status for an error. */
int cli_status_of(const GError *error);
/** Same for the code of a task's error ("refused"), NULL: STATUS_FAILED. */
int cli_status_of_code(const char *code);

/** The whole program; returns the exit status. */
int cli_main(int argc, char **argv);
