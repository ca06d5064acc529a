/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <gio/gunixinputstream.h>
#include <pty.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/json.h"

struct Running {
    GSubprocess *process;
    GInputStream *err_pipe;
    GThread *reader, *err_reader;
    GMutex lock;
    GCond changed;
    GString *out, *err; /* under lock */
    gboolean err_ended; /* under lock */
};

void
run_free(Run *run)
{
    g_free(run->out);
    g_free(run->err);
    g_free(run);
}

/* err_fd: taken as stderr; -1: a pipe. */
static GSubprocess *
spawn(FakeManager *fake, const char *command, gboolean environment, int err_fd)
{
    GSubprocessFlags flags =
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | (err_fd < 0 ? G_SUBPROCESS_FLAGS_STDERR_PIPE : 0);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(flags);
    g_autofree char *line = g_strdup_printf("%s %s", g_getenv("GODWIT_PROGRAM"), command);
    g_autofree char *ca = fake ? g_build_filename(fake_manager_dir(fake), "ca.pem", NULL) : NULL;
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    GSubprocess *process;

    g_subprocess_launcher_setenv(launcher, "XDG_CONFIG_HOME",
                                 fake ? fake_manager_dir(fake) : "/nonexistent", TRUE);
    g_subprocess_launcher_setenv(launcher, "TZ", "UTC", TRUE);
    g_subprocess_launcher_unsetenv(launcher, "GODWIT_URL");
    g_subprocess_launcher_unsetenv(launcher, "GODWIT_TOKEN");
    g_subprocess_launcher_unsetenv(launcher, "GODWIT_CA");
    if (fake && environment) {
        g_subprocess_launcher_setenv(launcher, "GODWIT_URL", fake_manager_url(fake), TRUE);
        g_subprocess_launcher_setenv(launcher, "GODWIT_TOKEN", fake_manager_token(fake), TRUE);
        g_subprocess_launcher_setenv(launcher, "GODWIT_CA", ca, TRUE);
    }
    if (err_fd >= 0)
        g_subprocess_launcher_take_stderr_fd(launcher, err_fd);
    g_assert_true(g_shell_parse_argv(line, NULL, &argv, &error));
    process = g_subprocess_launcher_spawnv(launcher, (const char *const *)argv, &error);
    g_assert_no_error(error);
    return process;
}

static int
status_of(GSubprocess *process)
{
    return g_subprocess_get_if_exited(process) ? g_subprocess_get_exit_status(process) : -1;
}

static Run *
run_to_end(FakeManager *fake, const char *command, gboolean environment)
{
    g_autoptr(GSubprocess) process = spawn(fake, command, environment, -1);
    g_autoptr(GError) error = NULL;
    Run *run = g_new0(Run, 1);

    g_subprocess_communicate_utf8(process, NULL, NULL, &run->out, &run->err, &error);
    g_assert_no_error(error);
    run->status = status_of(process);
    return run;
}

Run *
godwit(FakeManager *fake, const char *command)
{
    return run_to_end(fake, command, TRUE);
}

Run *
godwit_by_login(FakeManager *fake, const char *command)
{
    return run_to_end(fake, command, FALSE);
}

/* ---- while it runs
 * ---------------------------------------------------------------------------------- */

static void
read_pipe(Running *running, GInputStream *pipe, GString *into)
{
    char bytes[4096];
    gssize n;

    while ((n = g_input_stream_read(pipe, bytes, sizeof bytes, NULL, NULL)) > 0) {
        g_mutex_lock(&running->lock);
        g_string_append_len(into, bytes, n);
        g_cond_broadcast(&running->changed);
        g_mutex_unlock(&running->lock);
    }
}

static gpointer
read_out(gpointer data)
{
    Running *running = data;

    read_pipe(running, g_subprocess_get_stdout_pipe(running->process), running->out);
    return NULL;
}

static gpointer
read_err(gpointer data)
{
    Running *running = data;

    read_pipe(running, running->err_pipe, running->err);
    g_mutex_lock(&running->lock);
    running->err_ended = TRUE;
    g_cond_broadcast(&running->changed);
    g_mutex_unlock(&running->lock);
    return NULL;
}

static Running *
start(FakeManager *fake, const char *command, int terminal, int err_fd)
{
    Running *running = g_new0(Running, 1);

    g_mutex_init(&running->lock);
    g_cond_init(&running->changed);
    running->out = g_string_new(NULL);
    running->err = g_string_new(NULL);
    running->process = spawn(fake, command, TRUE, err_fd);
    running->err_pipe = terminal < 0 ? g_object_ref(g_subprocess_get_stderr_pipe(running->process))
                                     : g_unix_input_stream_new(terminal, TRUE);
    running->reader = g_thread_new("stdout", read_out, running);
    running->err_reader = g_thread_new("stderr", read_err, running);
    return running;
}

Running *
godwit_start(FakeManager *fake, const char *command)
{
    return start(fake, command, -1, -1);
}

Running *
godwit_start_on_terminal(FakeManager *fake, const char *command, int columns)
{
    struct winsize size = { .ws_row = 24, .ws_col = columns };
    int terminal, program;

    g_assert_cmpint(openpty(&terminal, &program, NULL, NULL, &size), ==, 0);
    return start(fake, command, terminal, program);
}

void
running_wait_for(Running *running, const char *text)
{
    g_mutex_lock(&running->lock);
    while (!strstr(running->err->str, text)) {
        if (running->err_ended)
            g_error("it ended without \"%s\":\n%s", text, running->err->str);
        g_cond_wait(&running->changed, &running->lock);
    }
    g_mutex_unlock(&running->lock);
}

void
running_signal(Running *running, int signal)
{
    g_subprocess_send_signal(running->process, signal);
}

Run *
running_end(Running *running)
{
    Run *run = g_new0(Run, 1);

    g_thread_join(running->reader);
    g_thread_join(running->err_reader);
    g_subprocess_wait(running->process, NULL, NULL);
    run->status = status_of(running->process);
    run->out = g_string_free(running->out, FALSE);
    run->err = g_string_free(running->err, FALSE);
    g_object_unref(running->err_pipe);
    g_object_unref(running->process);
    g_mutex_clear(&running->lock);
    g_cond_clear(&running->changed);
    g_free(running);
    return run;
}

/* ---- JSON
 * -------------------------------------------------------------------------------------------- */

JsonNode *
run_json(const Run *run)
{
    g_autoptr(GError) error = NULL;
    JsonNode *node = json_parse_limited(run->out, strlen(run->out), &error);

    if (!node)
        g_error("not one JSON document (%s):\n%s\nstderr:\n%s", error->message, run->out, run->err);
    return node;
}

char *
run_member(const Run *run, const char *path)
{
    g_autoptr(JsonNode) node = run_json(run);
    g_auto(GStrv) names = g_strsplit(path, ".", -1);
    JsonNode *at = node;

    for (char **name = names; *name && at; name++) {
        guint index = (guint)g_ascii_strtoull(*name, NULL, 10);

        if (JSON_NODE_HOLDS_ARRAY(at))
            at = index < json_array_get_length(json_node_get_array(at))
                     ? json_array_get_element(json_node_get_array(at), index)
                     : NULL;
        else
            at = JSON_NODE_HOLDS_OBJECT(at)
                     ? json_object_get_member(json_node_get_object(at), *name)
                     : NULL;
    }
    if (!at)
        return g_strdup("(none)");
    if (JSON_NODE_HOLDS_VALUE(at) && json_node_get_value_type(at) == G_TYPE_STRING)
        return json_node_dup_string(at);
    return json_text(at, FALSE);
}
