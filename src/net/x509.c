/* SPDX-License-Identifier: Apache-2.0 */
#include "net/x509.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include "base/fd.h"

gboolean
x509_ok(int code, GodwitError as, const char *what, GError **error)
{
    if (code >= 0)
        return TRUE;
    /* Their sentences end with a full stop, ours go on. */
    g_autofree char *reason = g_strdup(gnutls_strerror(code));
    if (g_str_has_suffix(reason, "."))
        reason[strlen(reason) - 1] = '\0';
    g_set_error(error, GODWIT_ERROR, as, "%s: %s", what, reason);
    return FALSE;
}

static gnutls_datum_t
datum_of(const char *text)
{
    return (gnutls_datum_t){ (unsigned char *)text, (unsigned int)strlen(text) };
}

gnutls_x509_crt_t
x509_cert(const char *pem, const char *what, GError **error)
{
    g_auto(gnutls_x509_crt_t) cert = NULL;
    gnutls_datum_t data = datum_of(pem);

    if (!x509_ok(gnutls_x509_crt_init(&cert), GODWIT_ERROR_INTERNAL, what, error))
        return NULL;
    if (!x509_ok(gnutls_x509_crt_import(cert, &data, GNUTLS_X509_FMT_PEM), GODWIT_ERROR_INVALID,
                 what, error))
        return NULL;
    return g_steal_pointer(&cert);
}

gnutls_x509_privkey_t
x509_key(const char *pem, const char *what, GError **error)
{
    g_auto(gnutls_x509_privkey_t) key = NULL;
    gnutls_datum_t data = datum_of(pem);

    if (!x509_ok(gnutls_x509_privkey_init(&key), GODWIT_ERROR_INTERNAL, what, error))
        return NULL;
    if (!x509_ok(gnutls_x509_privkey_import2(key, &data, GNUTLS_X509_FMT_PEM, NULL, 0),
                 GODWIT_ERROR_INVALID, what, error))
        return NULL;
    return g_steal_pointer(&key);
}

gnutls_x509_privkey_t
x509_key_new(GError **error)
{
    g_auto(gnutls_x509_privkey_t) key = NULL;
    unsigned int bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);

    if (!x509_ok(gnutls_x509_privkey_init(&key), GODWIT_ERROR_INTERNAL, "making a private key",
                 error))
        return NULL;
    if (!x509_ok(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, bits, 0), GODWIT_ERROR_INTERNAL,
                 "making a private key", error))
        return NULL;
    return g_steal_pointer(&key);
}

/* GnuTLS allocates with its own allocator, ours is GLib's. */
static char *
take_datum(gnutls_datum_t *data)
{
    char *text = g_strndup((const char *)data->data, data->size);
    gnutls_memset(data->data, 0, data->size);
    gnutls_free(data->data);
    return text;
}

char *
x509_cert_pem(gnutls_x509_crt_t cert, GError **error)
{
    gnutls_datum_t out = { 0 };

    if (!x509_ok(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &out), GODWIT_ERROR_INTERNAL,
                 "writing a certificate as PEM", error))
        return NULL;
    return take_datum(&out);
}

char *
x509_key_pem(gnutls_x509_privkey_t key, GError **error)
{
    gnutls_datum_t out = { 0 };

    if (!x509_ok(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL,
                                                   GNUTLS_PKCS_PLAIN, &out),
                 GODWIT_ERROR_INTERNAL, "writing a private key as PEM", error))
        return NULL;
    return take_datum(&out);
}

gboolean
x509_is_pair(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key)
{
    unsigned char of_cert[64], of_key[64];
    size_t cert_size = sizeof(of_cert), key_size = sizeof(of_key);

    return gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_size) >= 0 &&
           gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_size) >= 0 &&
           cert_size == key_size && memcmp(of_cert, of_key, cert_size) == 0;
}

char *
x509_read(const char *dir, const char *name, gboolean *missing, GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GError) local = NULL;
    char *text = NULL;

    *missing = FALSE;
    if (g_file_get_contents(path, &text, NULL, &local))
        return text;
    *missing = g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    if (!*missing)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s; can this user read it?",
                    local->message);
    return NULL;
}

static gboolean
write_failed(const char *path, int code, const char *reason, GError **error)
{
    gboolean full = code == ENOSPC || code == EDQUOT;

    g_set_error(error, GODWIT_ERROR, full ? GODWIT_ERROR_NO_SPACE : GODWIT_ERROR_INTERNAL,
                "can't write '%s': %s; %s", path, reason,
                full ? "free some space there" : "may this user write there?");
    return FALSE;
}

gboolean
x509_write(const char *dir, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GError) local = NULL;
    GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;

    if (!g_file_set_contents_full(path, text, -1, flags, 0600, &local)) {
        int code = g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? ENOSPC : EIO;
        return write_failed(path, code, local->message, error);
    }
    /* The rename is durable only once the folder is. */
    fd_auto int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder) < 0)
        return write_failed(path, errno, g_strerror(errno), error);
    return TRUE;
}

gboolean
x509_make_dir(const char *dir, GError **error)
{
    if (g_mkdir_with_parents(dir, 0700) == 0)
        return TRUE;
    return write_failed(dir, errno, g_strerror(errno), error);
}
