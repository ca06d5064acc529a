/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/** What "godwit login" keeps: cli.json, mode 0600, in $XDG_CONFIG_HOME/godwit. */
typedef struct {
    char *url; /* "https://10.77.0.2:8443" */
    char *token;
    char *ca_pem;
} Login;

Login *login_new(void); /* all NULL */
void login_free(Login *login);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Login, login_free)

/** Path of cli.json. (transfer full) */
char *login_path(void);
/** NOT_FOUND where nobody is logged in; INVALID where the file is damaged. */
Login *login_load(GError **error);
/** Written atomically. */
gboolean login_save(const Login *login, GError **error);
/** TRUE also where there was none; *existed tells. */
gboolean login_forget(gboolean *existed, GError **error);

/** "manager" → "https://manager:8443"; "https://manager/" → "https://manager:8443". INVALID for
 * what can't be a manager's URL. Pure. */
char *login_url(const char *text, GError **error);
