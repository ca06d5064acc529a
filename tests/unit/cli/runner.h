/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "fake_manager.h"

/** A run of the real program. */
typedef struct {
    int status; /* exit status; -1: killed by a signal */
    char *out, *err;
} Run;
void run_free(Run *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Run, run_free)

/** Runs "godwit COMMAND" (split as a shell would) against fake; it is logged in by the environment.
 * fake NULL: nobody is. */
Run *godwit(FakeManager *fake, const char *command);
/** Same without GODWIT_URL, GODWIT_TOKEN, GODWIT_CA: what counts is the login in fake's folder. */
Run *godwit_by_login(FakeManager *fake, const char *command);

/** A run that goes on while the test does something. */
typedef struct Running Running;
Running *godwit_start(FakeManager *fake, const char *command);
/** Same with stderr a terminal of so many columns. */
Running *godwit_start_on_terminal(FakeManager *fake, const char *command, int columns);
/** Waits until its stderr (what was written until now) contains text. */
void running_wait_for(Running *running, const char *text);
void running_signal(Running *running, int signal);
/** Waits for its end; frees it. (transfer full) */
Run *running_end(Running *running);

/** Its stdout as JSON: exactly one document. (transfer full) */
JsonNode *run_json(const Run *run);
/** Member of the document by path "error.code", as a string. (transfer full) "(none)" where there
 * is none. */
char *run_member(const Run *run, const char *path);

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            g_error("%s:%d: \"%s\" is not in:\n%s", __FILE__, __LINE__, part, text);               \
    } while (0)
#define assert_lacks(text, part)                                                                   \
    do {                                                                                           \
        if (strstr(text, part))                                                                    \
            g_error("%s:%d: \"%s\" is in:\n%s", __FILE__, __LINE__, part, text);                   \
    } while (0)
#define assert_status(run, expected)                                                               \
    do {                                                                                           \
        if ((run)->status != (expected))                                                           \
            g_error("%s:%d: exit status %d, expected %d; stdout:\n%s\nstderr:\n%s", __FILE__,      \
                    __LINE__, (run)->status, expected, (run)->out, (run)->err);                    \
    } while (0)
