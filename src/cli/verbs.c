/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verb.h"

#include <string.h>

#include "cli/cli.h"

const CliOption global_options[] = {
    { "output", 'o', ARG_CHOICE, "table|json",
      "text for people (table), or the API's own objects as one JSON document" },
    { "url", 0, ARG_TEXT, "URL", "the manager to talk to, in place of GODWIT_URL or the login" },
    { "token-file", 0, ARG_FILE, "FILE",
      "read the token from this file (- is standard input), in place of GODWIT_TOKEN or the "
      "login" },
    { "quiet", 'q', ARG_NONE, NULL, "no progress, no notes; errors and results only" },
    { "no-color", 0, ARG_NONE, NULL, "no colours on a terminal; so does NO_COLOR" },
    { "version", 0, ARG_NONE, NULL, "print this program's version" },
    { "help", 'h', ARG_NONE, NULL, "print help on the verb" },
    { NULL },
};

const ExitStatus exit_statuses[] = {
    { STATUS_DONE, "What was asked for happened." },
    { STATUS_FAILED, "It failed; nothing else in this list fits." },
    { STATUS_USAGE,
      "Wrong usage: an unknown verb, option or value. Nothing was asked of the manager, "
      "or it found the request malformed." },
    { STATUS_REFUSED, "A check refused it: nothing was started." },
    { STATUS_UNREACHABLE, "The manager, or a host that it needed, does not answer." },
    { STATUS_DETACHED, "Interrupted by Ctrl-C: what was followed goes on without this program." },
    { 0, NULL },
};

const CliVariable environment[] = {
    { "GODWIT_URL", "The manager, as https://ADDRESS:8443. Comes before the login." },
    { "GODWIT_TOKEN", "The token. Comes before the login." },
    { "GODWIT_CA",
      "Path of the cluster's CA certificate (PEM). Without it the one of the login is used "
      "where it fits the token, else it is fetched from the manager and checked against the "
      "token." },
    { "GODWIT_RECONNECT_S",
      "For how many seconds a lost manager is looked for while something is followed; "
      "120 where unset." },
    { "NO_COLOR", "Where set and not empty: no colours." },
    { "XDG_CONFIG_HOME", "Where godwit/cli.json, the login, is kept; ~/.config where unset." },
    { NULL },
};

static const CliOption login_options[] = {
    { "token", 't', ARG_TEXT, "TOKEN",
      "the admin token; other users of this machine can see it while godwit runs, --token-file "
      "avoids that" },
    { "force", 'f', ARG_NONE, NULL, "replace the login to another cluster without asking" },
    { NULL },
};
static const CliOption host_add_options[] = {
    { "valid", 0, ARG_TEXT, "TIME",
      "how long the command can be used: 90s, 15m, 2h, 7d; an hour where not given" },
    { NULL },
};
static const CliOption host_remove_options[] = {
    { "force", 'f', ARG_NONE, NULL, "also while running VMs are known on it" },
    { NULL },
};
static const CliOption vm_list_options[] = {
    { "host", 0, ARG_HOST, "HOST", "only the VMs of this host" },
    { NULL },
};
static const CliOption vm_show_options[] = {
    { "xml", 0, ARG_NONE, NULL, "libvirt's XML of it, asked of its host now" },
    { NULL },
};
static const CliOption migrate_options[] = {
    { "to", 0, ARG_HOST, "HOST", "the destination, by name or UUID", TRUE },
    { "policy", 0, ARG_CHOICE, "gentle|standard|urgent",
      "how hard to try: never slow the guest; slow it when it must be (standard, the default); be "
      "done" },
    { "bandwidth", 0, ARG_TEXT, "RATE",
      "what the memory of each VM may take of the network, as 500mbit, 1gbit or 60MB/s; the source "
      "host may have a limit of its own, and the lower one holds" },
    { "wait", 'w', ARG_NONE, NULL, "follow until the end and report; this is what happens anyway" },
    { "detach", 'd', ARG_NONE, NULL, "return as soon as the source host has accepted" },
    { NULL },
};
static const CliOption recall_clear_options[] = {
    { "host", 0, ARG_HOST, "HOST", "only on this host; on all where not given" },
    { NULL },
};
static const CliOption task_list_options[] = {
    { "all", 'a', ARG_NONE, NULL,
      "all that the manager keeps, not only what runs and the last day's" },
    { "state", 0, ARG_CHOICE, "queued|running|succeeded|failed|cancelled|unsettled",
      "only those in this state" },
    { NULL },
};
static const CliOption task_cancel_options[] = {
    { "detach", 'd', ARG_NONE, NULL,
      "return as soon as the manager has taken the wish, do not wait for the end" },
    { NULL },
};
static const CliOption events_options[] = {
    { "task", 0, ARG_TASK, "ID", "only what concerns this task, beginning with its present state" },
    { "count", 'n', ARG_TEXT, "N", "end after so many events" },
    { NULL },
};
static const CliOption version_options[] = {
    { "client", 0, ARG_NONE, NULL, "only this program's; asks no manager" },
    { NULL },
};

const Verb verbs[] = {
    { "login", "URL", ARG_TEXT, 1, 1, login_options, "Remember a manager and a token for it",
      "Gets the cluster's CA certificate from the manager, checks it against the fingerprint that "
      "every "
      "token carries, tries the token, and stores address, token and CA certificate in "
      "~/.config/godwit/cli.json, readable by you alone.\n\n"
      "The first token is printed by godwit-manager when it is started for the first time; further "
      "ones are made "
      "by \"godwit token create\". A URL without scheme and port, as \"manager.example\", means "
      "https://manager.example:8443.\n\n"
      "A login to another cluster is replaced only after a question, or with --force.",
      run_login },
    { "logout", NULL, ARG_TEXT, 0, 0, NULL, "Forget the manager and the token",
      "Removes the stored login. The token itself goes on working: \"godwit token revoke\" ends "
      "it.",
      run_logout },

    { "host add", NULL, ARG_TEXT, 0, 0, host_add_options,
      "Print the command that makes a machine a host of the cluster",
      "Makes a join token that works once, and prints the exact command to run on the machine as "
      "root. "
      "The machine needs libvirt, QEMU and godwitd; its VMs are adopted as they are.",
      run_host_add },
    { "host list", NULL, ARG_TEXT, 0, 0, NULL, "List hosts with their state and load",
      "A host that is not connected shows why in the last column.", run_host_list },
    { "host show", "HOST", ARG_HOST, 1, 1, NULL, "Show all that is known of a host", NULL,
      run_host_show },
    { "host remove", "HOST", ARG_HOST, 1, 1, host_remove_options, "Take a host out of the cluster",
      "The manager forgets the host; nothing is changed on it, and its VMs go on running. While a "
      "migration from or to it runs this "
      "is not possible, and while running VMs are known on it only with --force.",
      run_host_remove },

    { "vm list", NULL, ARG_TEXT, 0, 0, vm_list_options, "List the VMs of all hosts",
      "Shows what libvirt has on the hosts, also what was made with virsh. VMs of hosts that are "
      "not connected are shown as they "
      "were last known.",
      run_vm_list },
    { "vm show", "VM", ARG_VM, 1, 1, vm_show_options, "Show a VM with its disks and devices", NULL,
      run_vm_show },

    { "network list", NULL, ARG_TEXT, 0, 0, NULL, "List the networks of all hosts",
      "A VM can move only to a host that has networks of the same names.", run_network_list },
    { "datastore list", NULL, ARG_TEXT, 0, 0, NULL, "List the storage pools of all hosts", NULL,
      run_datastore_list },

    { "migrate", "VM...", ARG_VM, 1, -1, migrate_options, "Move running VMs to another host",
      "Asks the manager to move each VM, follows the moves, and ends with a short report; \"godwit "
      "task show\" prints the whole one. "
      "On a terminal one line shows pass, bytes done and left, rate, rate of dirtying and time "
      "left; elsewhere a line is "
      "written at each stage and pass.\n\n"
      "What speaks against a move is found before it begins: then nothing is started and the exit "
      "status is 3. If a name is unknown, "
      "nothing is started for the other VMs either. Whatever fails later: until the point of no "
      "return the VM goes on running where it was.\n\n"
      "Ctrl-C detaches: the move goes on, and how to watch or cancel it is said. A restart of the "
      "manager is survived for two minutes.\n\n"
      "With --output json the report is printed (several VMs: {\"migrations\": [...]}), with "
      "--detach the task ({\"tasks\": [...]}). "
      "With several VMs the exit status is 0 if all moved, that of the failures if they agree, "
      "else 1.",
      run_migrate },

    { "recall clear", "[VM]", ARG_VM, 0, 1, recall_clear_options,
      "Forget pages of VMs' memory that hosts keep for later moves",
      "Hosts keep pages of VMs that left or came, encrypted, so that moves need fewer bytes; "
      "\"godwit "
      "host show\" tells how much. This removes them: those of one VM (with what refers to them), "
      "or "
      "all. Only the next moves notice, by being longer.\n\n"
      "A VM that is gone can be given by UUID. A host that is not connected is not cleared: that "
      "is said, and the exit status is 4.",
      run_recall_clear },

    { "task list", NULL, ARG_TEXT, 0, 0, task_list_options, "List what the manager was asked to do",
      "Newest first: what has not ended, and what ended within a day.", run_task_list },
    { "task show", "ID", ARG_TASK, 1, 1, NULL, "Show the report of a task",
      "The id, or its first 4 or more characters.", run_task_show },
    { "task watch", "ID", ARG_TASK, 1, 1, NULL, "Follow a task until it ends",
      "As migrate does. The exit status is that of the task: 0 only if it succeeded.",
      run_task_watch },
    { "task cancel", "ID", ARG_TASK, 1, 1, task_cancel_options, "End a task",
      "A migration can be cancelled until its point of no return: the VM then goes on running "
      "where it is. Waits until the task "
      "has ended; the exit status is 0 only if it ended as cancelled (with --detach: if the "
      "manager took the wish).",
      run_task_cancel },

    { "events", NULL, ARG_TEXT, 0, 0, events_options, "Follow what changes, until Ctrl-C",
      "With --output json each event is a JSON object of its own on one line: {\"event\": ..., "
      "\"data\": ...}.",
      run_events },

    { "alarm list", NULL, ARG_TEXT, 0, 0, NULL, "List what a person must look at", NULL,
      run_alarm_list },
    { "alarm ack", "ID", ARG_ALARM, 1, 1, NULL,
      "Acknowledge an alarm: it was read and taken care of",
      "The alarm is forgotten. The id, or its first characters.", run_alarm_ack },

    { "token create", "NAME", ARG_TEXT, 1, 1, NULL, "Make a token for the API",
      "NAME says what it is for. The token is shown only now: the manager keeps a hash of it.",
      run_token_create },
    { "token list", NULL, ARG_TEXT, 0, 0, NULL, "List the tokens, without their secrets", NULL,
      run_token_list },
    { "token revoke", "ID", ARG_TOKEN, 1, 1, NULL, "End a token, at once",
      "The id as \"godwit token list\" shows it, or the name where only one token has it.",
      run_token_revoke },

    { "version", NULL, ARG_TEXT, 0, 0, version_options,
      "Show the versions of this program and of the manager", NULL, run_version },
    { "doctor", NULL, ARG_TEXT, 0, 0, NULL, "Say what is wrong with the set-up, and the remedy",
      "Looks at the login, the manager's address, certificate, clock and database, the token; at "
      "each host's connection, libvirt, clock, "
      "versions, migration addresses; at machine types that VMs need and hosts lack; at alarms. On "
      "a machine that is a host itself also at "
      "libvirt's sockets, godwitd's configuration, certificate and ports.\n\n"
      "The exit status is 1 if there is any error, 0 if there are only warnings.",
      run_doctor },
    { "help", "[VERB...]", ARG_VERB, 0, -1, NULL, "Explain a verb", NULL, run_help },
    { NULL },
};

const Verb *
verb_find(const char *path)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        if (strcmp(verb->path, path) == 0)
            return verb;
    }
    return NULL;
}

/* The rest of verb's path after prefix, NULL where it doesn't begin with these words. */
static const char *
path_after(const Verb *verb, const char *prefix)
{
    gsize length = strlen(prefix);

    if (length == 0)
        return verb->path;
    if (strncmp(verb->path, prefix, length) != 0)
        return NULL;
    if (verb->path[length] == '\0')
        return verb->path + length;
    return verb->path[length] == ' ' ? verb->path + length + 1 : NULL;
}

gboolean
verb_is_prefix(const char *path)
{
    for (const Verb *verb = verbs; verb->path; verb++) {
        if (path_after(verb, path))
            return TRUE;
    }
    return FALSE;
}

GStrv
verb_next_words(const char *path)
{
    GPtrArray *words = g_ptr_array_new();

    for (const Verb *verb = verbs; verb->path; verb++) {
        const char *rest = path_after(verb, path);
        g_autofree char *word = rest ? g_strndup(rest, strcspn(rest, " ")) : NULL;

        if (word && *word && !g_ptr_array_find_with_equal_func(words, word, g_str_equal, NULL))
            g_ptr_array_add(words, g_steal_pointer(&word));
    }
    g_ptr_array_add(words, NULL);
    return (GStrv)g_ptr_array_free(words, FALSE);
}

const CliOption *
verb_option(const Verb *verb, const char *name)
{
    for (const CliOption *o = verb ? verb->options : NULL; o && o->name; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    for (const CliOption *o = global_options; o->name; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    return NULL;
}

const CliOption *
verb_option_letter(const Verb *verb, char letter)
{
    for (const CliOption *o = verb ? verb->options : NULL; o && o->name; o++) {
        if (o->letter == letter)
            return o;
    }
    for (const CliOption *o = global_options; o->name; o++) {
        if (o->letter == letter)
            return o;
    }
    return NULL;
}

char *
option_label(const CliOption *option)
{
    GString *out = g_string_new(NULL);

    if (option->letter)
        g_string_append_printf(out, "-%c, ", option->letter);
    g_string_append_printf(out, "--%s", option->name);
    if (option->kind != ARG_NONE)
        g_string_append_printf(out, " %s", option->value);
    return g_string_free(out, FALSE);
}

char *
verb_usage(const Verb *verb)
{
    GString *out = g_string_new("godwit ");

    g_string_append(out, verb->path);
    if (verb->args)
        g_string_append_printf(out, " %s", verb->args);
    for (const CliOption *o = verb->options; o && o->name; o++) {
        g_string_append_printf(out, o->required ? " --%s" : " [--%s", o->name);
        if (o->kind != ARG_NONE)
            g_string_append_printf(out, " %s", o->value);
        g_string_append(out, o->required ? "" : "]");
    }
    return g_string_free(out, FALSE);
}
