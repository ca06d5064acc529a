/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

typedef struct {
    const char *program;
    LogLevel level;
    gboolean journald; /* stderr is a stream of journald */
} Log;

static const char *
field_of(const GLogField *fields, gsize n, const char *key)
{
    for (gsize i = 0; i < n; i++)
        if (strcmp(fields[i].key, key) == 0 && fields[i].length < 0)
            return fields[i].value;
    return NULL;
}

/* Debug and info of GLib, libsoup and others are theirs: they are never shown. */
static gboolean
is_wanted(const Log *log, GLogLevelFlags level, const char *domain)
{
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)) != 0)
        return TRUE;
    if ((level & G_LOG_LEVEL_MESSAGE) != 0)
        return log->level >= LOG_INFO;
    if (domain == NULL || !g_str_has_prefix(domain, "godwit"))
        return FALSE;
    return log->level >= ((level & G_LOG_LEVEL_INFO) != 0 ? LOG_INFO : LOG_DEBUG);
}

static const char *
word_of(GLogLevelFlags level)
{
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0)
        return "ERROR";
    if ((level & G_LOG_LEVEL_WARNING) != 0)
        return "WARNING";
    return (level & G_LOG_LEVEL_DEBUG) != 0 ? "DEBUG" : "INFO";
}

/* One record is one line, whatever a peer put into a name: control characters become '?', line
 * ends " | ". */
static char *
one_line(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *line = g_string_new(NULL);
    for (const char *c = valid; *c != '\0'; c++) {
        if (*c == '\n' && c[1] != '\0')
            g_string_append(line, " | ");
        else if (*c == '\t')
            g_string_append_c(line, ' ');
        else if (*c != '\n')
            g_string_append_c(line, g_ascii_iscntrl(*c) ? '?' : *c);
    }
    return g_string_free(line, FALSE);
}

static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
    const Log *log = data;
    if (!is_wanted(log, level, field_of(fields, n, "GLIB_DOMAIN")))
        return G_LOG_WRITER_HANDLED;
    if (log->journald && g_log_writer_journald(level, fields, n, NULL) == G_LOG_WRITER_HANDLED)
        return G_LOG_WRITER_HANDLED;

    const char *message = field_of(fields, n, "MESSAGE");
    g_autofree char *text = one_line(message != NULL ? message : "(no text)");
    g_autofree char *time = clock_format(clock_wall_ms());
    g_autofree char *line =
        g_strdup_printf("%s %s %s: %s\n", time, word_of(level), log->program, text);
    /* A single write, so that lines of several processes on one terminal or file stay whole. */
    gssize written;
    do
        written = write(STDERR_FILENO, line, strlen(line));
    while (written < 0 && errno == EINTR);
    return G_LOG_WRITER_HANDLED;
}

static void
init(const char *program, LogLevel level, gboolean journald)
{
    Log *log = g_new0(Log, 1); /* lives as long as the process */
    log->program = program;
    log->level = level;
    log->journald = journald;
    g_log_set_writer_func(write_log, log, NULL);
}

void
log_init(const char *program, LogLevel level)
{
    init(program, level, g_log_writer_is_journald(STDERR_FILENO));
}

void
log_init_stderr(const char *program, LogLevel level)
{
    init(program, level, FALSE);
}

gboolean
log_level_parse(const char *word, LogLevel *level)
{
    static const char *const words[] = {
        [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"
    };
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        if (g_strcmp0(word, words[i]) == 0) {
            *level = (LogLevel)i;
            return TRUE;
        }
    return FALSE;
}
