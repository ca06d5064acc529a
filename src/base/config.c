/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A Config is one value per row of the program's table of keys, filled from the rows' fallbacks,
 * then from the file, then by config_set(). Each value is checked when it is set, by set_value(),
 * the only place that writes one; so whoever asks later gets a value that fits, or the fallback.
 * Nothing is half set: a refused value leaves what was. Not for several threads while it is still
 * being set.
 */
#include "base/config.h"

#include <string.h>

#include "base/error.h"
#include "base/units.h"

typedef struct {
    char *text; /* as in the file, unescaped; NULL = unset */
    gint64 number;
    gboolean truth;
    GStrv strings;
} Value;

struct Config {
    const ConfigKey *keys;
    Value *values; /* one per key */
    gsize n;
    char *path; /* NULL = no file */
};

static void
value_clear(Value *value)
{
    g_free(value->text);
    g_strfreev(value->strings);
    *value = (Value){ 0 };
}

void
config_free(Config *config)
{
    if (config == NULL)
        return;
    for (gsize i = 0; i < config->n; i++)
        value_clear(&config->values[i]);
    g_free(config->values);
    g_free(config->path);
    g_free(config);
}

/* ---- nearest known name ---------------------------------------------------------------------- */

/* Levenshtein's distance, in bytes. */
static guint
distance(const char *a, const char *b)
{
    gsize n = strlen(b);
    g_autofree guint *row = g_new(guint, n + 1);
    for (gsize j = 0; j <= n; j++)
        row[j] = (guint)j;
    for (gsize i = 0; a[i] != '\0'; i++) {
        guint diagonal = row[0];
        row[0] = (guint)i + 1;
        for (gsize j = 0; j < n; j++) {
            guint change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = MIN(change, MIN(row[j], diagonal) + 1);
        }
    }
    return row[n];
}

/* The key most like (group, key); the group counts half, as a key is more often right in the wrong
 * group than the reverse. */
static const ConfigKey *
nearest_key(const Config *config, const char *group, const char *key)
{
    const ConfigKey *best = NULL;
    guint least = G_MAXUINT;
    for (gsize i = 0; i < config->n; i++) {
        const ConfigKey *k = &config->keys[i];
        guint d = 2 * distance(key, k->key) + distance(group, k->group);
        if (d < least) {
            least = d;
            best = k;
        }
    }
    return best;
}

static const char *
nearest_group(const Config *config, const char *group)
{
    const char *best = NULL;
    guint least = G_MAXUINT;
    for (gsize i = 0; i < config->n; i++) {
        guint d = distance(group, config->keys[i].group);
        if (d < least) {
            least = d;
            best = config->keys[i].group;
        }
    }
    return best;
}

/* ---- setting --------------------------------------------------------------------------------- */

static gssize
index_of(const Config *config, const char *group, const char *key)
{
    for (gsize i = 0; i < config->n; i++)
        if (strcmp(config->keys[i].group, group) == 0 && strcmp(config->keys[i].key, key) == 0)
            return (gssize)i;
    return -1;
}

static gboolean
parse_truth(const char *text, gboolean *truth)
{
    static const char *const yes[] = { "true", "yes", "on", "1", NULL };
    static const char *const no[] = { "false", "no", "off", "0", NULL };
    *truth = g_strv_contains(yes, text);
    return *truth || g_strv_contains(no, text);
}

static GStrv
parse_strings(const char *text)
{
    g_auto(GStrv) parts = g_strsplit_set(text, ";,", -1);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (gsize i = 0; parts[i] != NULL; i++)
        if (*g_strstrip(parts[i]) != '\0')
            g_strv_builder_add(builder, parts[i]);
    return g_strv_builder_end(builder);
}

static gboolean
parse_number(const ConfigKey *key, const char *text, gint64 *number, GError **error)
{
    if (key->kind == CONFIG_INT) {
        if (g_ascii_string_to_signed(text, 10, key->min, key->max, number, NULL))
            return TRUE;
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "“%s” is no integer from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, text,
                    key->min, key->max);
        return FALSE;
    }
    guint64 bytes;
    if (!units_parse_bytes(text, &bytes, error))
        return FALSE;
    if (bytes <= G_MAXINT64 && (gint64)bytes >= key->min && (gint64)bytes <= key->max) {
        *number = (gint64)bytes;
        return TRUE;
    }
    g_autofree char *least = units_bytes((guint64)key->min);
    g_autofree char *most = units_bytes((guint64)key->max);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "“%s” is not from %s to %s", text, least,
                most);
    return FALSE;
}

static gboolean
set_value(Config *config, gsize i, const char *text, GError **error)
{
    const ConfigKey *key = &config->keys[i];
    Value value = { 0 };
    switch (key->kind) {
    case CONFIG_STRING:
        break;
    case CONFIG_INT:
    case CONFIG_BYTES:
        if (!parse_number(key, text, &value.number, error))
            return FALSE;
        break;
    case CONFIG_BOOL:
        if (!parse_truth(text, &value.truth)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "“%s” is neither true nor false",
                        text);
            return FALSE;
        }
        break;
    case CONFIG_STRINGS:
        value.strings = parse_strings(text);
        break;
    }
    value.text = g_strdup(text);
    value_clear(&config->values[i]);
    config->values[i] = value;
    return TRUE;
}

static gboolean
fail_unknown_key(const Config *config, const char *group, const char *key, GError **error)
{
    const ConfigKey *near = nearest_key(config, group, key);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "[%s] %s: there is no such key; did you mean [%s] %s?", group, key, near->group,
                near->key);
    return FALSE;
}

static gboolean
set_checked(Config *config, const char *group, const char *key, const char *text, GError **error)
{
    gssize i = index_of(config, group, key);
    if (i < 0)
        return fail_unknown_key(config, group, key, error);
    if (set_value(config, (gsize)i, text, error))
        return TRUE;
    g_prefix_error(error, "[%s] %s: ", group, key);
    return FALSE;
}

gboolean
config_set(Config *config, const char *group, const char *key, const char *value, GError **error)
{
    return set_checked(config, group, key, value, error);
}

/* ---- the file -------------------------------------------------------------------------------- */

static gboolean
read_group(Config *config, GKeyFile *file, const char *group, GError **error)
{
    gboolean known = FALSE;
    for (gsize i = 0; i < config->n && !known; i++)
        known = strcmp(config->keys[i].group, group) == 0;
    if (!known) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "[%s]: there is no such group; did you mean [%s]?", group,
                    nearest_group(config, group));
        return FALSE;
    }
    g_auto(GStrv) keys = g_key_file_get_keys(file, group, NULL, NULL);
    for (gsize i = 0; keys != NULL && keys[i] != NULL; i++) {
        g_autoptr(GError) bad = NULL;
        g_autofree char *text = g_key_file_get_string(file, group, keys[i], &bad);
        if (text == NULL) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "[%s] %s: %s", group, keys[i],
                        bad->message);
            return FALSE;
        }
        g_strstrip(text);
        if (!set_checked(config, group, keys[i], text, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean
read_file(Config *config, gboolean required, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) bad = NULL;
    if (!g_key_file_load_from_file(file, config->path, G_KEY_FILE_NONE, &bad)) {
        gboolean missing = g_error_matches(bad, G_FILE_ERROR, G_FILE_ERROR_NOENT);
        if (missing && !required)
            return TRUE;
        g_set_error(error, GODWIT_ERROR, missing ? GODWIT_ERROR_NOT_FOUND : GODWIT_ERROR_INVALID,
                    "%s", bad->message);
        return FALSE;
    }
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (gsize i = 0; groups[i] != NULL; i++)
        if (!read_group(config, file, groups[i], error))
            return FALSE;
    return TRUE;
}

Config *
config_load(const char *path, const ConfigKey *keys, gboolean required, GError **error)
{
    g_autoptr(Config) config = g_new0(Config, 1);
    config->keys = keys;
    while (keys[config->n].group != NULL)
        config->n++;
    config->values = g_new0(Value, config->n);
    config->path = g_strdup(path);
    for (gsize i = 0; i < config->n; i++) {
        g_autoptr(GError) bad = NULL;
        if (keys[i].fallback != NULL && !set_value(config, i, keys[i].fallback, &bad))
            g_error("fallback of [%s] %s: %s", keys[i].group, keys[i].key, bad->message);
    }
    if (path != NULL && !read_file(config, required, error)) {
        g_prefix_error(error, "Configuration file %s: ", path);
        return NULL;
    }
    return g_steal_pointer(&config);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static const Value *
value_of(const Config *config, const char *group, const char *key, ConfigKind kind)
{
    gssize i = index_of(config, group, key);
    g_assert(i >= 0);
    g_assert(config->keys[i].kind == kind ||
             (kind == CONFIG_INT && config->keys[i].kind == CONFIG_BYTES));
    return &config->values[i];
}

const char *
config_string(const Config *config, const char *group, const char *key)
{
    return value_of(config, group, key, CONFIG_STRING)->text;
}

gint64
config_int(const Config *config, const char *group, const char *key)
{
    return value_of(config, group, key, CONFIG_INT)->number;
}

gboolean
config_bool(const Config *config, const char *group, const char *key)
{
    return value_of(config, group, key, CONFIG_BOOL)->truth;
}

const char *const *
config_strings(const Config *config, const char *group, const char *key)
{
    static const char *const none[] = { NULL };
    const Value *value = value_of(config, group, key, CONFIG_STRINGS);
    return value->strings != NULL ? (const char *const *)value->strings : none;
}

char *
config_describe(const Config *config)
{
    GString *text = g_string_new(NULL);
    g_autoptr(GKeyFile) escaper = g_key_file_new();
    const char *group = "";
    for (gsize i = 0; i < config->n; i++) {
        const ConfigKey *key = &config->keys[i];
        if (strcmp(group, key->group) != 0)
            g_string_append_printf(text, "%s[%s]\n", i > 0 ? "\n" : "", key->group);
        group = key->group;
        g_string_append_printf(text, "# %s\n", key->help);
        if (config->values[i].text == NULL) {
            g_string_append_printf(text, "#%s=\n", key->key);
            continue;
        }
        g_key_file_set_string(escaper, key->group, key->key, config->values[i].text);
        g_autofree char *raw = g_key_file_get_value(escaper, key->group, key->key, NULL);
        g_string_append_printf(text, "%s=%s\n", key->key, raw);
    }
    return g_string_free(text, FALSE);
}
