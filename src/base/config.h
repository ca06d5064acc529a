/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * A checked configuration file (GKeyFile syntax). Each program has a const table of its keys; a key
 * or group that isn't in it, a value of the wrong kind or out of range is GODWIT_ERROR_INVALID
 * naming file, group and key and the nearest known key.
 */
typedef enum { CONFIG_STRING, CONFIG_INT, CONFIG_BOOL, CONFIG_STRINGS /* ';' or ',' separated */, CONFIG_BYTES } ConfigKind;

typedef struct {
    const char *group;
    const char *key;
    ConfigKind kind;
    const char *fallback; /* as it would be written in the file; NULL = unset */
    gint64 min, max;      /* CONFIG_INT and CONFIG_BYTES */
    const char *help;     /* one sentence, for the manual and --check */
} ConfigKey;

typedef struct Config Config;

/** path NULL: fallbacks only; a missing file is an error only where required. keys ends with group NULL
 * and must outlive the Config. */
Config *config_load(const char *path, const ConfigKey *keys, gboolean required, GError **error);
void config_free(Config *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

/* Asking for a key that isn't in the table, or by the wrong kind, is our own fault: asserts. */
const char *config_string(const Config *config, const char *group, const char *key); /* NULL = unset */
gint64 config_int(const Config *config, const char *group, const char *key);         /* INT and BYTES */
gboolean config_bool(const Config *config, const char *group, const char *key);
const char *const *config_strings(const Config *config, const char *group, const char *key); /* never NULL */
/** Tests and --option override a value; checked like the file's. */
gboolean config_set(Config *config, const char *group, const char *key, const char *value, GError **error);
/** The effective configuration as a file with each key's help as comment. (transfer full) */
char *config_describe(const Config *config);
