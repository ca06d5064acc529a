/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/login.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/record.h"

#define DEFAULT_PORT 8443

static const RecordField login_fields[] = {
    { "url", RECORD_STRING, G_STRUCT_OFFSET(Login, url) },
    { "token", RECORD_STRING, G_STRUCT_OFFSET(Login, token) },
    { "ca_pem", RECORD_STRING, G_STRUCT_OFFSET(Login, ca_pem) },
};
static const RecordType login_type = RECORD_TYPE("login", Login, login_fields);

Login *
login_new(void)
{
    return record_new(&login_type);
}

void
login_free(Login *login)
{
    record_free(&login_type, login);
}

char *
login_path(void)
{
    return g_build_filename(g_get_user_config_dir(), "godwit", "cli.json", NULL);
}

Login *
login_load(GError **error)
{
    g_autofree char *path = login_path(), *text = NULL;
    g_autoptr(GError) local = NULL;
    g_autoptr(Login) login = NULL;
    gsize length = 0;

    if (!g_file_get_contents(path, &text, &length, &local)) {
        gboolean none = g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
                        g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOTDIR);

        g_set_error(error, GODWIT_ERROR, none ? GODWIT_ERROR_NOT_FOUND : GODWIT_ERROR_INTERNAL,
                    "%s", none ? "nobody is logged in here" : local->message);
        return NULL;
    }
    login = record_from_string(&login_type, text, length, &local);
    if (login && login->url && login->token && login->ca_pem)
        return g_steal_pointer(&login);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "%s is damaged (%s): remove it with \"godwit logout\" and log in again", path,
                local ? local->message : "url, token or ca_pem is missing");
    return NULL;
}

gboolean
login_save(const Login *login, GError **error)
{
    g_autofree char *path = login_path(), *dir = g_path_get_dirname(path);
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) node = record_to_json(&login_type, login);
    g_autoptr(GError) local = NULL;

    text = json_text(node, TRUE);
    if (g_mkdir_with_parents(dir, 0700) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "cannot make the folder %s: %s",
                    dir, g_strerror(errno));
        return FALSE;
    }
    if (!g_file_set_contents_full(path, text, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, &local)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "cannot keep the login: %s",
                    local->message);
        return FALSE;
    }
    /* An older file's mode may have been wider: the mode above counts for new files only. */
    if (chmod(path, 0600) < 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "cannot make %s private: %s", path,
                    g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

gboolean
login_forget(gboolean *existed, GError **error)
{
    g_autofree char *path = login_path();

    *existed = unlink(path) == 0;
    if (*existed || errno == ENOENT || errno == ENOTDIR)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "cannot remove %s: %s", path,
                g_strerror(errno));
    return FALSE;
}

char *
login_url(const char *text, GError **error)
{
    g_autofree char *full =
        strstr(text, "://") ? g_strdup(text) : g_strdup_printf("https://%s", text);
    g_autoptr(GUri) uri = NULL;
    g_autoptr(GError) local = NULL;
    const char *wrong = NULL;

    uri = g_uri_parse(full, G_URI_FLAGS_NONE, &local);
    if (!uri)
        wrong = local->message;
    else if (g_strcmp0(g_uri_get_scheme(uri), "https") != 0)
        wrong = "only https is spoken";
    else if (!g_uri_get_host(uri) || !*g_uri_get_host(uri))
        wrong = "there is no address in it";
    else if (strspn(g_uri_get_host(uri), G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS ".-_:%") !=
             strlen(g_uri_get_host(uri)))
        wrong = "that is not an address";
    else if (strlen(g_uri_get_path(uri)) > 1 || g_uri_get_query(uri) || g_uri_get_userinfo(uri))
        wrong = "nothing may follow address and port";
    if (wrong) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "\"%s\" is not a manager's URL: %s; write it as https://ADDRESS:8443", text,
                    wrong);
        return NULL;
    }
    return g_uri_join(G_URI_FLAGS_NONE, "https", NULL, g_uri_get_host(uri),
                      g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) : DEFAULT_PORT, "", NULL, NULL);
}
