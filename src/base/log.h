/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * Logging is GLib's structured log (g_debug, g_info, g_message, g_warning); this decides where it
 * goes: to stderr as "LEVEL program: text" with time, or to journald where stderr is its stream.
 * Libraries never log above debug; whoever ends an operation logs once. Secrets are never logged.
 */
typedef enum { LOG_WARNING, LOG_INFO, LOG_DEBUG } LogLevel; /* LOG_INFO includes messages */

/** Call once from main, before threads. program: static string. */
void log_init(const char *program, LogLevel level);
/** The same, but always lines on stderr: for a process that may not open journald's socket. */
void log_init_stderr(const char *program, LogLevel level);
/** "warning" | "info" | "debug"; FALSE where unknown. */
gboolean log_level_parse(const char *word, LogLevel *level);
