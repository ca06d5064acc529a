/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"
#include "host/agent_config.h"

/* Settings as "group.key=value", then NULL; NULL with error. */
static AgentConfig *
make(const char *const *settings, GError **error)
{
    Config *file = config_load(NULL, agent_config_keys, FALSE, error);
    g_assert_nonnull(file);
    for (; *settings; settings++) {
        g_auto(GStrv) sides = g_strsplit(*settings, "=", 2);
        g_auto(GStrv) name = g_strsplit(sides[0], ".", 2);
        if (!config_set(file, name[0], name[1], sides[1], error)) {
            config_free(file);
            return NULL;
        }
    }
    return agent_config_of(file, error);
}

#define MAKE(...) make((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL }, NULL)

static void
test_defaults(void)
{
    g_autoptr(AgentConfig) config = MAKE();
    g_assert_cmpstr(config->state_dir, ==, "/var/lib/godwit");
    g_assert_cmpstr(config->run_dir, ==, "/run/godwit");
    g_assert_cmpstr(config->identity_dir, ==, "/var/lib/godwit/identity");
    g_assert_cmpint(config->memory_headroom_bytes, ==, 256 * 1024 * 1024);
    g_assert_cmpstr(config->control_listen[0], ==, "0.0.0.0");
    g_assert_null(config->control_listen[1]);
    g_assert_cmpuint(config->control_port, ==, 16570);
    g_assert_cmpuint(config->migration_port, ==, 16571);
    g_assert_cmpuint(config->max_outgoing, ==, 4);
    g_assert_cmpuint(config->max_incoming, ==, 4);
    g_assert_cmpstr(config->flyway_user, ==, "godwit-flyway");
    g_assert_true(g_str_has_suffix(config->flyway_program, "/godwit/godwit-flyway"));
    g_assert_cmpuint(config->flyway_resume_s, ==, 20);
    g_assert_cmpuint(config->flyway_connections, ==, 1);
    g_assert_cmpuint(config->flyway_threads, ==, 0);
    g_assert_cmpint(config->max_bps, ==, 0);
    g_assert_null(config->advertise);
    g_assert_cmpstr(config->migration_listen[0], ==, "0.0.0.0");
    g_assert_null(config->migration_addresses[0]); /* a wildcard is never told */
    g_assert_true(config->recall.enabled);
    g_assert_cmpstr(config->recall.folder, ==, "/var/lib/godwit/recall");
    g_assert_cmpuint(config->recall.limits.max_bytes, ==, RECALL_AUTO);
    g_assert_cmpint(config->recall.limits.max_age_ms, ==, G_GINT64_CONSTANT(7) * 86400 * 1000);
    g_assert_cmpint(config->recall.share, ==, RECALL_SHARE_GROUP);
}

static void
test_recall(void)
{
    g_autoptr(AgentConfig) moved = MAKE("godwitd.state_dir=/srv/godwit");
    g_assert_cmpstr(moved->recall.folder, ==, "/srv/godwit/recall");

    g_autoptr(AgentConfig) set =
        MAKE("recall.enabled=no", "recall.folder=/srv/recall", "recall.max_bytes=20G",
             "recall.max_age=12h", "recall.share=cluster");
    g_assert_false(set->recall.enabled);
    g_assert_cmpstr(set->recall.folder, ==, "/srv/recall");
    g_assert_cmpuint(set->recall.limits.max_bytes, ==, G_GUINT64_CONSTANT(20) << 30);
    g_assert_cmpint(set->recall.limits.max_age_ms, ==, 12 * 3600 * 1000);
    g_assert_cmpint(set->recall.share, ==, RECALL_SHARE_CLUSTER);

    g_autoptr(AgentConfig) none = MAKE("recall.max_bytes=0");
    g_assert_cmpuint(none->recall.limits.max_bytes, ==, 0);
}

static void
test_addresses(void)
{
    g_autoptr(AgentConfig) one = MAKE("control.address=10.77.0.11");
    g_assert_cmpstr(one->advertise, ==, "10.77.0.11");
    g_assert_cmpstr(one->migration_addresses[0], ==, "10.77.0.11");
    g_assert_null(one->migration_addresses[1]);

    g_autoptr(AgentConfig) two =
        MAKE("control.address=10.77.0.11", "migration.addresses=10.9.0.1, fd00::1",
             "control.advertise=h1.example");
    g_assert_cmpstr(two->advertise, ==, "h1.example");
    g_assert_cmpstr(two->migration_listen[1], ==, "fd00::1");
    g_assert_cmpstr(two->migration_addresses[0], ==, "10.9.0.1");
    g_assert_cmpstr(two->migration_addresses[1], ==, "fd00::1");

    g_autoptr(AgentConfig) wild = MAKE("migration.addresses=0.0.0.0, ::");
    g_assert_null(wild->migration_addresses[0]);
    Joined joined = { .control_address = (char *)"192.0.2.7" };
    agent_config_adopt(wild, &joined);
    g_assert_cmpstr(wild->advertise, ==, "192.0.2.7");
    g_assert_cmpstr(wild->migration_addresses[0], ==, "192.0.2.7"); /* once, for both wildcards */
    g_assert_null(wild->migration_addresses[1]);

    agent_config_adopt(one, &joined); /* what the file says wins */
    g_assert_cmpstr(one->advertise, ==, "10.77.0.11");
}

static void
test_flyway(void)
{
    g_autoptr(AgentConfig) config =
        MAKE("flyway.resume_s=300", "flyway.connections=8", "flyway.threads=6",
             "migration.bandwidth=500mbit");
    g_assert_cmpint(config->max_bps, ==, 62500000);
    g_assert_cmpuint(config->flyway_resume_s, ==, 300);
    g_assert_cmpuint(config->flyway_connections, ==, 8);
    g_assert_cmpuint(config->flyway_threads, ==, 6);
}

static void
test_refusals(void)
{
    static const struct {
        const char *setting, *word;
    } cases[] = {
        { "godwitd.state_dir=relative", "state_dir" },
        { "godwitd.run_dir=run", "run_dir" },
        { "godwitd.memory_headroom=many", "memory_headroom" },
        { "control.address=h1.example", "address" },
        { "control.port=0", "port" },
        { "control.port=65536", "port" },
        { "control.advertise=0.0.0.0", "advertise" },
        { "migration.addresses=10.0.0.1;h2", "addresses" },
        { "migration.max_incoming=0", "max_incoming" },
        { "migration.bandwidth=", "bandwidth" },
        { "migration.bandwidth=500", "500mbit" },
        { "migration.bandwidth=100kbit", "1mbit" },
        { "flyway.program=godwit-flyway", "program" },
        { "flyway.resume_s=0", "resume_s" },
        { "flyway.resume_s=301", "resume_s" },
        { "flyway.connections=0", "connections" },
        { "flyway.connections=9", "connections" },
        { "flyway.threads=-1", "threads" },
        { "flyway.threads=17", "threads" },
        { "log.level=loud", "level" },
        { "recall.enabled=perhaps", "enabled" },
        { "recall.folder=recall", "folder" },
        { "recall.max_bytes=much", "max_bytes" },
        { "recall.max_bytes=", "max_bytes" },
        { "recall.max_bytes=15000000000000000000", "max_bytes" },
        { "recall.max_age=0", "max_age" },
        { "recall.max_age=a week", "max_age" },
        { "recall.share=all", "share" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(AgentConfig) config =
            make((const char *const[]){ cases[i].setting, NULL }, &error);
        g_test_message("%s", cases[i].setting);
        g_assert_null(config);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, cases[i].word));
    }
}

static void
test_missing_file(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(agent_config_load("/nonexistent/godwitd.conf", TRUE, &error));
    g_assert_nonnull(error);
    g_autoptr(AgentConfig) config = agent_config_load("/nonexistent/godwitd.conf", FALSE, NULL);
    g_assert_nonnull(config);
}

/* The manual names every key, the example too, and neither names one that isn't there. */
static void
test_manual_and_example(void)
{
    g_autofree char *manual_path = g_build_filename(SOURCE_ROOT, "man", "godwitd.conf.5", NULL);
    g_autofree char *manual = NULL;
    guint named = 0;
    g_assert_true(g_file_get_contents(manual_path, &manual, NULL, NULL));
    for (const ConfigKey *key = agent_config_keys; key->group; key++, named++) {
        g_autofree char *item = g_strdup_printf("\n.BR %s \" =", key->key);
        g_autofree char *section = g_strdup_printf("\n.SS [%s]\n", key->group);
        const char *from = strstr(manual, section);
        g_test_message("[%s] %s", key->group, key->key);
        g_assert_nonnull(from);
        const char *end = strstr(from + 1, "\n.SS ");
        const char *found = strstr(from, item);
        g_assert_nonnull(found);
        g_assert_true(!end || found < end);
    }
    for (const char *at = manual; (at = strstr(at, "\" =")); at++)
        named--;
    g_assert_cmpuint(named, ==, 0);

    g_autofree char *example =
        g_build_filename(SOURCE_ROOT, "packaging", "examples", "godwitd.conf", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(AgentConfig) config = agent_config_load(example, TRUE, &error);
    g_assert_no_error(error);
    g_assert_nonnull(config);
}

static void
test_joined(void)
{
    g_autofree char *dir = g_dir_make_tmp("godwit-joined-XXXXXX", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(joined_load(dir, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "not joined: run godwitd join"));

    Joined joined = { .manager_url = (char *)"https://m:8443",
                      .host_uuid = (char *)"u",
                      .control_address = (char *)"10.0.0.1",
                      .control_port = 16570 };
    g_assert_true(joined_save(&joined, dir, NULL));
    g_autofree char *path = g_build_filename(dir, "joined.json", NULL);
    GStatBuf status;
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, 0600);
    g_autoptr(Joined) read = joined_load(dir, NULL);
    g_assert_true(record_equal(&joined_type, &joined, read));

    g_assert_true(g_file_set_contents(path, "{\"control_port\": \"x\"}", -1, NULL));
    g_clear_error(&error);
    g_assert_null(joined_load(dir, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    g_assert_true(joined_remove(dir, NULL));
    g_assert_true(joined_remove(dir, NULL));
    g_rmdir(dir);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/config/defaults", test_defaults);
    g_test_add_func("/host/config/recall", test_recall);
    g_test_add_func("/host/config/addresses", test_addresses);
    g_test_add_func("/host/config/flyway", test_flyway);
    g_test_add_func("/host/config/refusals", test_refusals);
    g_test_add_func("/host/config/missing-file", test_missing_file);
    g_test_add_func("/host/config/manual-and-example", test_manual_and_example);
    g_test_add_func("/host/joined", test_joined);
    return g_test_run();
}
