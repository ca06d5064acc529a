/* SPDX-License-Identifier: Apache-2.0 */
#include <glib/gstdio.h>
#include <string.h>

#include "base/config.h"
#include "base/error.h"

static const ConfigKey keys[] = {
    { "agent", "address", CONFIG_STRING, "0.0.0.0", 0, 0, "Where to listen." },
    { "agent", "port", CONFIG_INT, "16570", 1, 65535, "Control port." },
    { "agent", "name", CONFIG_STRING, NULL, 0, 0, "Name; the hostname if unset." },
    { "migration", "addresses", CONFIG_STRINGS, NULL, 0, 0, "Addresses of the migration network." },
    { "migration", "window", CONFIG_BYTES, "8M", 65536, 1073741824,
      "Bytes kept until acknowledged." },
    { "migration", "encrypt", CONFIG_BOOL, "true", 0, 0, "Always on." },
    { NULL },
};

static Config *
load(const char *text, GError **error)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("godwit-config-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    Config *config = config_load(path, keys, TRUE, error);
    if (config == NULL && error != NULL)
        g_assert_nonnull(strstr((*error)->message, path));
    g_unlink(path);
    return config;
}

static void
test_fallbacks(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = config_load(NULL, keys, TRUE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config_string(config, "agent", "address"), ==, "0.0.0.0");
    g_assert_null(config_string(config, "agent", "name"));
    g_assert_cmpint(config_int(config, "agent", "port"), ==, 16570);
    g_assert_cmpint(config_int(config, "migration", "window"), ==, 8 << 20);
    g_assert_true(config_bool(config, "migration", "encrypt"));
    g_assert_nonnull(config_strings(config, "migration", "addresses"));
    g_assert_null(config_strings(config, "migration", "addresses")[0]);
}

static void
test_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config =
        load("# comment\n[migration]\naddresses = 10.0.0.1, 10.0.0.2;;fe80::1;\n"
             "window=1.5MiB\nencrypt=no\n[agent]\nname=h1 \nport=1\n",
             &error);
    g_assert_no_error(error);
    const char *const *addresses = config_strings(config, "migration", "addresses");
    g_assert_cmpuint(g_strv_length((GStrv)addresses), ==, 3);
    g_assert_cmpstr(addresses[0], ==, "10.0.0.1");
    g_assert_cmpstr(addresses[1], ==, "10.0.0.2");
    g_assert_cmpstr(addresses[2], ==, "fe80::1");
    g_assert_cmpint(config_int(config, "migration", "window"), ==, 3 << 19);
    g_assert_false(config_bool(config, "migration", "encrypt"));
    g_assert_cmpstr(config_string(config, "agent", "name"), ==, "h1");
    g_assert_cmpint(config_int(config, "agent", "port"), ==, 1);
}

static void
test_refuses(void)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        { "[agent]\nprot=1\n", "[agent] prot: there is no such key; did you mean [agent] port?" },
        { "[agent]\nwindow=1M\n",
          "[agent] window: there is no such key; did you mean [migration] window?" },
        { "[migraton]\nwindow=1M\n",
          "[migraton]: there is no such group; did you mean [migration]?" },
        { "[agent]\nport=many\n", "[agent] port: “many” is no integer from 1 to 65535" },
        { "[agent]\nport=0\n", "[agent] port: “0” is no integer from 1 to 65535" },
        { "[agent]\nport=65536\n", "[agent] port: “65536”" },
        { "[agent]\nport=\n", "[agent] port: “”" },
        { "[agent]\nport=99999999999999999999\n", "[agent] port: “9999" },
        { "[migration]\nwindow=1K\n", "[migration] window: “1K” is not from 64 KiB to 1 GiB" },
        { "[migration]\nwindow=2G\n", "[migration] window: “2G” is not from 64 KiB to 1 GiB" },
        { "[migration]\nwindow=lots\n", "[migration] window: “lots” is no size" },
        { "[migration]\nencrypt=maybe\n",
          "[migration] encrypt: “maybe” is neither true nor false" },
        { "[agent]\nname=\xff\n", "[agent] name: " },
        { "port=1\n", "" },
        { "[agent\n", "" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Config) config = load(rows[i].text, &error);
        g_assert_null(config);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        if (strstr(error->message, rows[i].part) == NULL)
            g_error("%s\nlacks: %s", error->message, rows[i].part);
    }
}

static void
test_missing_file(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(config_load("/nonexistent/x.conf", keys, TRUE, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "/nonexistent/x.conf"));
    g_autoptr(GError) none = NULL;
    g_autoptr(Config) config = config_load("/nonexistent/x.conf", keys, FALSE, &none);
    g_assert_no_error(none);
    g_assert_cmpint(config_int(config, "agent", "port"), ==, 16570);
    g_autoptr(GError) folder = NULL; /* there, but unreadable as a file: always an error */
    g_assert_null(config_load("/proc", keys, FALSE, &folder));
    g_assert_error(folder, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

static void
test_set(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = config_load(NULL, keys, FALSE, NULL);
    g_assert_true(config_set(config, "agent", "port", "17000", &error));
    g_assert_no_error(error);
    g_assert_cmpint(config_int(config, "agent", "port"), ==, 17000);
    g_assert_false(config_set(config, "agent", "port", "x", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    g_assert_cmpint(config_int(config, "agent", "port"), ==, 17000); /* what was stays */
    g_clear_error(&error);
    g_assert_false(config_set(config, "agent", "ports", "1", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

/* What describe writes is a file that means the same. */
static void
test_describe(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = config_load(NULL, keys, FALSE, NULL);
    g_assert_true(config_set(config, "agent", "name", " back\\slash\tand\nline", NULL));
    g_assert_true(config_set(config, "migration", "addresses", "a;b", NULL));
    g_autofree char *text = config_describe(config);
    g_assert_nonnull(strstr(text, "[agent]\n# Where to listen.\naddress=0.0.0.0\n"));
    g_assert_nonnull(strstr(text, "\n[migration]\n"));
    g_autoptr(Config) back = load(text, &error);
    g_assert_no_error(error);
    g_autofree char *again = config_describe(back);
    g_assert_nonnull(strstr(again, "addresses=a;b\n"));
    g_assert_cmpstr(config_strings(back, "migration", "addresses")[1], ==, "b");
    g_assert_cmpstr(config_string(back, "agent", "name"), ==, "back\\slash\tand\nline");
    g_autoptr(Config) bare = config_load(NULL, keys, FALSE, NULL);
    g_autofree char *unset = config_describe(bare);
    g_assert_nonnull(strstr(unset, "\n#name=\n"));
}

static void
test_asking_wrongly_is_our_fault(void)
{
    if (g_test_subprocess()) {
        g_autoptr(Config) config = config_load(NULL, keys, FALSE, NULL);
        config_string(config, "agent", "port");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/fallbacks", test_fallbacks);
    g_test_add_func("/config/file", test_file);
    g_test_add_func("/config/refuses", test_refuses);
    g_test_add_func("/config/missing-file", test_missing_file);
    g_test_add_func("/config/set", test_set);
    g_test_add_func("/config/describe", test_describe);
    g_test_add_func("/config/asking-wrongly", test_asking_wrongly_is_our_fault);
    return g_test_run();
}
