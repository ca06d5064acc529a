/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * Verbs of the command line: one const table (verbs.c) from which parsing, help, completion and the
 * manual's section on verbs are made. There is no second list of verbs or options.
 */
typedef struct Cli Cli;

/** What a word on the command line stands for; completion asks the manager for names of it. */
typedef enum {
    ARG_NONE, /* an option without a value */
    ARG_TEXT,
    ARG_FILE,
    ARG_HOST,
    ARG_VM,
    ARG_TASK,
    ARG_ALARM,
    ARG_TOKEN,
    ARG_VERB,   /* words of a verb */
    ARG_CHOICE, /* one of value, separated by '|' */
} ArgKind;

typedef struct {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* short form, or 0 */
    ArgKind kind;
    const char *value; /* what help calls the value, "HOST", or the choices, "a|b" */
    const char *help;  /* one sentence without a full stop */
    gboolean required; /* the verb can't do without */
} CliOption;

typedef struct {
    const char *path; /* "host add"; NULL ends the table */
    const char *args; /* as in the usage line, "VM...", or NULL */
    ArgKind arg_kind;
    int min_args, max_args;   /* max -1: any number */
    const CliOption *options; /* or NULL */
    const char *summary;      /* one line, without a full stop */
    const char *help;         /* paragraphs, separated by an empty line */
    /** FALSE with error: the exit status follows from the error's code. TRUE: cli->status. */
    gboolean (*run)(Cli *cli, GError **error);
} Verb;

extern const Verb verbs[];
extern const CliOption global_options[];

/** What each exit status means, for the help and the manual; ends with text NULL. */
typedef struct {
    int status;
    const char *text;
} ExitStatus;
extern const ExitStatus exit_statuses[];

typedef struct {
    const char *name, *text;
} CliVariable;
/** Environment variables that are read; ends with name NULL. */
extern const CliVariable environment[];

/** Verb of exactly this path, or NULL. */
const Verb *verb_find(const char *path);
/** Is path a verb or the beginning words of one ("host")? */
gboolean verb_is_prefix(const char *path);
/** The words that may follow path ("" = first words), each once, in table order. (transfer full) */
GStrv verb_next_words(const char *path);
/** Option of that name (without dashes) of verb (may be NULL) or global; NULL where unknown. */
const CliOption *verb_option(const Verb *verb, const char *name);
const CliOption *verb_option_letter(const Verb *verb, char letter);
/** "godwit migrate VM... --to HOST [--wait]" (transfer full) */
char *verb_usage(const Verb *verb);
/** "--to HOST", "-o, --output table|json" (transfer full) */
char *option_label(const CliOption *option);

/* Each verb's run function; verb_*.c. */
gboolean run_login(Cli *cli, GError **error);
gboolean run_logout(Cli *cli, GError **error);
gboolean run_host_add(Cli *cli, GError **error);
gboolean run_host_list(Cli *cli, GError **error);
gboolean run_host_show(Cli *cli, GError **error);
gboolean run_host_remove(Cli *cli, GError **error);
gboolean run_vm_list(Cli *cli, GError **error);
gboolean run_vm_show(Cli *cli, GError **error);
gboolean run_network_list(Cli *cli, GError **error);
gboolean run_datastore_list(Cli *cli, GError **error);
gboolean run_migrate(Cli *cli, GError **error);
gboolean run_recall_clear(Cli *cli, GError **error);
gboolean run_task_list(Cli *cli, GError **error);
gboolean run_task_show(Cli *cli, GError **error);
gboolean run_task_watch(Cli *cli, GError **error);
gboolean run_task_cancel(Cli *cli, GError **error);
gboolean run_events(Cli *cli, GError **error);
gboolean run_alarm_list(Cli *cli, GError **error);
gboolean run_alarm_ack(Cli *cli, GError **error);
gboolean run_token_create(Cli *cli, GError **error);
gboolean run_token_list(Cli *cli, GError **error);
gboolean run_token_revoke(Cli *cli, GError **error);
gboolean run_version(Cli *cli, GError **error);
gboolean run_doctor(Cli *cli, GError **error);
gboolean run_help(Cli *cli, GError **error);
