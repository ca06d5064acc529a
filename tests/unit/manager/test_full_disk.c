/* SPDX-License-Identifier: Apache-2.0 */
/* The manager in this process, so that its disk can be made full (failing_vfs.h) while it runs. */
#include <sqlite3.h>
#include <string.h>

#include "failing_vfs.h"
#include "manager/manager.h"
#include "manager/settings.h"
#include "nouns.h"
#include "rig.h"

typedef struct {
    Rig rig; /* without a process */
    Config *settings;
    Manager *manager;
    FakeAgent *h1, *h2;
} Fixture;

static void
open_manager(Fixture *fixture)
{
    g_autofree char *token = NULL;
    g_autoptr(GError) error = NULL;
    HttpClientConfig config = { .timeout_s = 20 };

    fixture->manager = manager_new(fixture->settings, &token, &error);
    g_assert_no_error(error);
    if (token != NULL)
        fixture->rig.token = g_steal_pointer(&token);
    fixture->rig.url = manager_url(fixture->manager);
    fixture->rig.ca_pem = g_strdup(fixture->manager->dir->ca->cert);
    config.base_url = fixture->rig.url;
    config.ca_pem = fixture->rig.ca_pem;
    config.token = fixture->rig.token;
    fixture->rig.client = http_client_new(&config, &error);
    g_assert_no_error(error);
}

static void
close_manager(Fixture *fixture)
{
    g_clear_pointer(&fixture->rig.client, http_client_free);
    g_clear_pointer(&fixture->manager, manager_free);
    g_clear_pointer(&fixture->rig.url, g_free);
    g_clear_pointer(&fixture->rig.ca_pem, g_free);
}

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->rig.dir = g_dir_make_tmp("godwit-full-XXXXXX", NULL);
    fixture->rig.data = g_build_filename(fixture->rig.dir, "data", NULL);
    fixture->settings = config_load(NULL, settings_keys, FALSE, NULL);
    config_set(fixture->settings, "manager", "data_dir", fixture->rig.data, NULL);
    config_set(fixture->settings, "http", "address", "127.0.0.1", NULL);
    config_set(fixture->settings, "http", "port", "0", NULL);
    open_manager(fixture);
    fixture->h1 = fake_agent_new(UUID_H1, "h1");
    fixture->h2 = fake_agent_new(UUID_H2, "h2");
    fake_agent_set_vm(fixture->h1, noun_vm(UUID_WEB, "web", VM_RUNNING));
    fake_agent_set_vm(fixture->h1, noun_vm(UUID_DB, "db", VM_RUNNING));
    rig_join_both(&fixture->rig, fixture->h1, fixture->h2);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", fixture->rig.dir);

    failing_vfs_arm(0, 0);
    close_manager(fixture);
    fake_agent_free(fixture->h1);
    fake_agent_free(fixture->h2);
    config_free(fixture->settings);
    g_assert_cmpint(system(command), ==, 0);
    g_free(fixture->rig.token);
    g_free(fixture->rig.data);
    g_free(fixture->rig.dir);
}

static gboolean
is_well(gpointer data)
{
    g_autoptr(JsonNode) health = rig_get(data, "/healthz");

    return g_strcmp0(json_at(health, "database"), "ok") == 0;
}

static void
test_full(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = &fixture->rig;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) task =
        rig_call(rig, "POST", "/migrations", "{\"vm\":\"web\",\"to\":\"h2\"}", &error);
    g_autofree char *id = g_strdup(json_at(task, "id"));
    g_autoptr(JsonNode) health = NULL, tasks = NULL;

    g_assert_no_error(error);
    fake_agent_move(fixture->h1, id, MIGRATION_RUNNING, "copy");
    json_node_unref(rig_wait_task(rig, id, "running"));

    failing_vfs_arm(1, SQLITE_FULL);
    rig_fails(rig, "POST", "/migrations", "{\"vm\":\"db\",\"to\":\"h2\"}", GODWIT_ERROR_NO_SPACE,
              "nothing was started, VM db is untouched");
    g_assert_cmpuint(fixture->h1->starts, ==, 1);
    rig_fails(rig, "POST", "/hosts", NULL, GODWIT_ERROR_NO_SPACE, "make room");
    rig_fails(rig, "POST", "/tokens", "{\"name\":\"x\"}", GODWIT_ERROR_NO_SPACE, "make room");
    health = rig_get(rig, "/healthz");
    g_assert_cmpstr(json_at(health, "status"), ==, "degraded");
    g_assert_true(g_str_has_prefix(json_at(health, "database"), "full: "));
    fake_agent_move(fixture->h1, id, MIGRATION_COMPLETED, NULL);
    json_node_unref(rig_wait_task(rig, id, "succeeded"));
    tasks = rig_get(rig, "/tasks");
    g_assert_cmpuint(json_length_of(tasks, "tasks"), ==, 1);

    failing_vfs_arm(0, 0);
    rig_wait(is_well, rig, "the database to be well again");
    close_manager(fixture);
    fake_agent_stop(fixture->h1); /* so that it is the stored word */
    open_manager(fixture);
    json_node_unref(rig_wait_task(rig, id, "succeeded"));
}

/* The n-th change of a join fails: no certificate without a stored member, and no token used twice.
 */
static void
test_join_with_faults(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = &fixture->rig;

    for (int n = 1;; n++) {
        g_autofree char *uuid = g_uuid_string_random();
        g_autofree char *name = g_strdup_printf("new%d", n);
        FakeAgent *agent = fake_agent_new(uuid, name);
        g_autofree char *token = rig_join_token(rig, NULL);
        g_autofree char *key = NULL;
        g_autofree char *body = rig_join_body(agent, token, NULL, &key);
        g_autofree char *path = g_strconcat("/hosts/", name, NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) answer = NULL, again = NULL;
        gboolean struck;

        failing_vfs_arm(n, SQLITE_FULL);
        answer = rig_call(rig, "POST", "/join", body, &error);
        struck = failing_vfs_struck();
        failing_vfs_arm(0, 0);
        fake_agent_free(agent);
        g_assert_true(answer != NULL || struck);
        if (answer == NULL) {
            /* A sync that fails is no full disk. */
            g_assert_true(g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NO_SPACE) ||
                          g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL));
            rig_fails(rig, "GET", path, NULL, GODWIT_ERROR_NOT_FOUND, name);
            again = rig_call(rig, "POST", "/join", body, NULL); /* or the token is used up */
        } else {
            rig_fails(rig, "POST", "/join", body, GODWIT_ERROR_EXPIRED, "used already");
        }
        if (!struck)
            break;
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL); /* warnings are expected */
    failing_vfs_install();
    g_test_add("/full-disk/all", Fixture, NULL, set_up, test_full, tear_down);
    g_test_add("/full-disk/join", Fixture, NULL, set_up, test_join_with_faults, tear_down);
    return g_test_run();
}
