/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"
#include "host/notify.h"
#include "host/run_dir.h"

typedef struct {
    char *root;
    AgentConfig *config;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    fixture->root = g_dir_make_tmp("godwit-run-XXXXXX", NULL);
    g_autofree char *state = g_build_filename(fixture->root, "state", NULL);
    g_autofree char *run = g_build_filename(fixture->root, "run", NULL);
    Config *file = config_load(NULL, agent_config_keys, FALSE, NULL);
    g_assert_true(config_set(file, "godwitd", "state_dir", state, NULL));
    g_assert_true(config_set(file, "godwitd", "run_dir", run, NULL));
    fixture->config = agent_config_of(file, NULL);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", fixture->root);
    g_assert_cmpint(system(command), ==, 0);
    agent_config_free(fixture->config);
    g_free(fixture->root);
}

static void
assert_mode(const char *path, mode_t mode)
{
    GStatBuf status;
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, mode);
}

static void
test_prepare(Fixture *fixture, gconstpointer data)
{
    const AgentConfig *config = fixture->config;
    g_autofree char *migration = g_build_filename(config->run_dir, "migration", NULL);
    mode_t before = umask(077);
    g_assert_true(run_dir_prepare(config, NULL));
    assert_mode(config->state_dir, 0700);
    assert_mode(config->run_dir, 0711);
    assert_mode(migration, 0711);
    g_assert_cmpint(g_chmod(config->state_dir, 0755), ==, 0);
    g_assert_true(run_dir_prepare(config, NULL)); /* put right again */
    assert_mode(config->state_dir, 0700);
    umask(before);
    g_assert_false(run_dir_has_migrations(config));
    g_autofree char *one = g_build_filename(migration, "some-id", NULL);
    g_assert_cmpint(g_mkdir(one, 0700), ==, 0);
    g_assert_true(run_dir_has_migrations(config));
}

static void
test_prepare_says_what_is_in_the_way(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(g_file_set_contents(fixture->config->run_dir, "a file", -1, NULL));
    g_assert_false(run_dir_prepare(fixture->config, &error));
    g_assert_nonnull(strstr(error->message, fixture->config->run_dir));
}

static void
test_one_instance(Fixture *fixture, gconstpointer data)
{
    const AgentConfig *config = fixture->config;
    g_autoptr(GError) error = NULL;
    g_assert_true(run_dir_prepare(config, NULL));
    g_assert_cmpint(run_dir_lock_holder(config), ==, 0);
    fd_auto int lock = run_dir_lock(config, NULL);
    g_assert_cmpint(lock, >=, 0);
    g_assert_cmpint(run_dir_lock_holder(config), ==, getpid());
    g_assert_cmpint(run_dir_lock(config, &error), ==, -1);
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT);
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    g_assert_nonnull(strstr(error->message, pid));
    fd_close_p(&lock); /* as a dead process does */
    g_assert_cmpint(run_dir_lock_holder(config), ==, 0);
    lock = run_dir_lock(config, NULL);
    g_assert_cmpint(lock, >=, 0);
}

static void
test_notify(Fixture *fixture, gconstpointer abstract)
{
    fd_auto int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    g_autofree char *path = g_strdup_printf("%s%s/notify", abstract ? "@" : "", fixture->root);
    strcpy(name.sun_path, path);
    if (abstract)
        name.sun_path[0] = '\0';
    socklen_t size = G_STRUCT_OFFSET(struct sockaddr_un, sun_path) + strlen(path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&name, size), ==, 0);
    g_setenv("NOTIFY_SOCKET", path, TRUE);
    g_assert_cmpint(notify_send("READY=1"), ==, 0);
    char got[32] = "";
    g_assert_cmpint(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), ==, 7);
    g_assert_cmpstr(got, ==, "READY=1");
    g_unsetenv("NOTIFY_SOCKET");
    g_assert_cmpint(notify_send("READY=1"), ==, 0);
    g_assert_cmpint(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), ==, -1);
}

#define ADD(path, data, func) g_test_add(path, Fixture, data, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/host/run-dir/prepare", NULL, test_prepare);
    ADD("/host/run-dir/in-the-way", NULL, test_prepare_says_what_is_in_the_way);
    ADD("/host/run-dir/one-instance", NULL, test_one_instance);
    ADD("/host/notify/path", NULL, test_notify);
    ADD("/host/notify/abstract", "abstract", test_notify);
    return g_test_run();
}
