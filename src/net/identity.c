/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * An identity is a private key, its certificate and the CA that signed it, kept as three PEM files
 * in one folder. A certificate of the cluster has exactly one URI "godwit:ROLE:UUID" in its
 * subjectAltName, and that alone says who its holder is: two of them, or one with a NUL inside,
 * make the certificate worthless. There are no intermediate CAs: a certificate counts only where
 * the CA itself signed it, so that no host can make certificates for others.
 *
 * Saving writes the CA first, then key and certificate one after the other. A crash in between
 * leaves files that don't belong together, which identity_load tells; joining again repairs it. */

#include "net/identity.h"

#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/hex.h"
#include "net/x509.h"

static const char *const role_words[] = {
    [IDENTITY_MANAGER] = "manager", [IDENTITY_HOST] = "host"
};

void
identity_free(Identity *identity)
{
    if (!identity)
        return;
    if (identity->key)
        gnutls_memset(identity->key, 0, strlen(identity->key));
    g_free(identity->key);
    g_free(identity->cert);
    g_free(identity->ca);
    g_free(identity);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* TRUE where uri is a name of ours; *name gets it. */
static gboolean
name_parse(const char *uri, IdentityName *name)
{
    for (int role = IDENTITY_MANAGER; role <= IDENTITY_HOST; role++) {
        g_autofree char *prefix = g_strdup_printf("godwit:%s:", role_words[role]);
        if (!g_str_has_prefix(uri, prefix))
            continue;
        const char *uuid = uri + strlen(prefix);
        g_autofree char *lower = g_ascii_strdown(uuid, -1);
        if (!g_uuid_string_is_valid(uuid) || strcmp(lower, uuid) != 0)
            return FALSE;
        name->role = role;
        g_strlcpy(name->uuid, uuid, sizeof(name->uuid));
        return TRUE;
    }
    return FALSE;
}

/* Judges one entry of the subjectAltName; *found counts ours. FALSE ends the search with error set.
 */
static gboolean
name_take(const char *uri, gsize size, IdentityName *name, guint *found, GError **error)
{
    if (size < 7 || memcmp(uri, "godwit:", 7) != 0)
        return TRUE;
    if (strlen(uri) != size || !name_parse(uri, name) || ++*found > 1) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
            "the certificate's name '%s' is not one name godwit:manager:UUID or godwit:host:UUID",
            uri);
        return FALSE;
    }
    return TRUE;
}

static gboolean
name_of(gnutls_x509_crt_t cert, IdentityName *name, GError **error)
{
    IdentityName result = { IDENTITY_NONE };
    guint found = 0;
    int kind = 0;

    for (unsigned int i = 0; kind != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE; i++) {
        char value[1024] = "";
        size_t size = sizeof(value) - 1;
        kind = gnutls_x509_crt_get_subject_alt_name(cert, i, value, &size, NULL);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (kind < 0 && kind != GNUTLS_E_SHORT_MEMORY_BUFFER)
            return x509_ok(kind, GODWIT_ERROR_PROTOCOL, "reading the certificate's names", error);
        if (kind != GNUTLS_SAN_URI)
            continue;
        value[size] = '\0';
        if (!name_take(value, size, &result, &found, error))
            return FALSE;
    }
    if (!found) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                    "the certificate has no name godwit:manager:UUID or godwit:host:UUID; it is "
                    "not one of a Godwit cluster");
        return FALSE;
    }
    *name = result;
    return TRUE;
}

gboolean
identity_name_of(const char *cert_pem, IdentityName *name, GError **error)
{
    g_auto(gnutls_x509_crt_t) cert = x509_cert(cert_pem, "reading a certificate", error);

    return cert && name_of(cert, name, error);
}

gboolean
identity_name_of_der(const void *der, gsize length, IdentityName *name, GError **error)
{
    g_auto(gnutls_x509_crt_t) cert = NULL;
    gnutls_datum_t data = { (unsigned char *)der, (unsigned int)length };

    if (!x509_ok(gnutls_x509_crt_init(&cert), GODWIT_ERROR_INTERNAL, "reading a certificate",
                 error))
        return FALSE;
    if (!x509_ok(gnutls_x509_crt_import(cert, &data, GNUTLS_X509_FMT_DER), GODWIT_ERROR_PROTOCOL,
                 "reading a certificate", error))
        return FALSE;
    return name_of(cert, name, error);
}

/* ---- judging -------------------------------------------------------------------------------- */

static char *
day_of(time_t when)
{
    g_autofree char *text = clock_format((gint64)when * 1000);

    return g_strndup(text, 10);
}

static void
set_verify_error(gnutls_x509_crt_t cert, unsigned int status, GError **error)
{
    g_autofree char *until = day_of(gnutls_x509_crt_get_expiration_time(cert));
    g_autofree char *from = day_of(gnutls_x509_crt_get_activation_time(cert));

    if (status &
        (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNATURE_FAILURE | GNUTLS_CERT_SIGNER_NOT_CA))
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
            "the certificate is not signed by this cluster's CA; was it made for another cluster?");
    else if (status & GNUTLS_CERT_EXPIRED)
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
            "the certificate expired on %s; join the host again, or correct this machine's clock",
            until);
    else if (status & GNUTLS_CERT_NOT_ACTIVATED)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                    "the certificate is valid only from %s on; correct the clocks of the machines",
                    from);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                    "the certificate is not acceptable (GnuTLS status 0x%x)", status);
}

gboolean
identity_verify(const char *cert_pem, const char *ca_pem, GError **error)
{
    g_auto(gnutls_x509_crt_t) ca = x509_cert(ca_pem, "reading the CA's certificate", error);
    g_auto(gnutls_x509_crt_t) cert =
        ca ? x509_cert(cert_pem, "reading a certificate", error) : NULL;
    unsigned int status = 0;

    if (!cert)
        return FALSE;
    if (!x509_ok(gnutls_x509_crt_verify(cert, &ca, 1, 0, &status), GODWIT_ERROR_UNAUTHORIZED,
                 "checking a certificate", error))
        return FALSE;
    if (status == 0)
        return TRUE;
    set_verify_error(cert, status, error);
    return FALSE;
}

char *
identity_fingerprint(const char *cert_pem, GError **error)
{
    g_auto(gnutls_x509_crt_t) cert = x509_cert(cert_pem, "reading a certificate", error);
    unsigned char digest[32];
    size_t size = sizeof(digest);

    if (!cert || !x509_ok(gnutls_x509_crt_get_fingerprint(cert, GNUTLS_DIG_SHA256, digest, &size),
                          GODWIT_ERROR_INTERNAL, "hashing a certificate", error))
        return NULL;
    return hex_encode(digest, size);
}

gint
identity_days_left(const char *cert_pem, GError **error)
{
    g_auto(gnutls_x509_crt_t) cert = x509_cert(cert_pem, "reading a certificate", error);

    if (!cert)
        return 0;
    gint64 left_s = (gint64)gnutls_x509_crt_get_expiration_time(cert) - clock_wall_ms() / 1000;
    /* Towards minus infinity: expired an hour ago is -1, not 0. */
    return (gint)(left_s >= 0 ? left_s / 86400 : -((-left_s + 86399) / 86400));
}

/* ---- on disk -------------------------------------------------------------------------------- */

/* Do the three belong together, and who is it? INVALID with the reason. */
static gboolean
identity_check(Identity *identity, const char *dir, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_auto(gnutls_x509_privkey_t) key = x509_key(identity->key, "key.pem", &local);
    g_auto(gnutls_x509_crt_t) cert = key ? x509_cert(identity->cert, "cert.pem", &local) : NULL;

    if (cert && !x509_is_pair(cert, key))
        g_set_error(&local, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "key.pem is not the key of cert.pem");
    if (!local && identity_verify(identity->cert, identity->ca, &local))
        identity_name_of(identity->cert, &identity->name, &local);
    if (!local)
        return TRUE;
    g_set_error(
        error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
        "the identity in '%s' can't be used (%s); joining the cluster again makes a new one", dir,
        local->message);
    return FALSE;
}

Identity *
identity_load(const char *dir, GError **error)
{
    g_autoptr(Identity) identity = g_new0(Identity, 1);
    const char *const names[] = { "key.pem", "cert.pem", "ca.pem" };
    char **const texts[] = { &identity->key, &identity->cert, &identity->ca };

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        gboolean missing;
        *texts[i] = x509_read(dir, names[i], &missing, error);
        if (missing)
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                        "there is no '%s/%s': this machine has no identity in a cluster yet", dir,
                        names[i]);
        if (!*texts[i])
            return NULL;
    }
    return identity_check(identity, dir, error) ? g_steal_pointer(&identity) : NULL;
}

gboolean
identity_save(const Identity *identity, const char *dir, GError **error)
{
    return x509_make_dir(dir, error) && x509_write(dir, "ca.pem", identity->ca, error) &&
           x509_write(dir, "key.pem", identity->key, error) &&
           x509_write(dir, "cert.pem", identity->cert, error);
}

/* ---- certificate request -------------------------------------------------------------------- */

gboolean
identity_request(char **key, char **request, GError **error)
{
    g_auto(gnutls_x509_privkey_t) new_key = x509_key_new(error);
    g_auto(gnutls_x509_crq_t) crq = NULL;
    const char *what = "making a certificate request";
    gnutls_datum_t out = { 0 };

    if (!new_key || !x509_ok(gnutls_x509_crq_init(&crq), GODWIT_ERROR_INTERNAL, what, error))
        return FALSE;
    /* It claims to be nobody: the signer knows from the token's use who asks. */
    if (!x509_ok(gnutls_x509_crq_set_version(crq, 1), GODWIT_ERROR_INTERNAL, what, error) ||
        !x509_ok(gnutls_x509_crq_set_key(crq, new_key), GODWIT_ERROR_INTERNAL, what, error) ||
        !x509_ok(gnutls_x509_crq_sign2(crq, new_key, GNUTLS_DIG_SHA256, 0), GODWIT_ERROR_INTERNAL,
                 what, error) ||
        !x509_ok(gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &out), GODWIT_ERROR_INTERNAL,
                 what, error))
        return FALSE;
    g_autofree char *pem = g_strndup((const char *)out.data, out.size);
    gnutls_free(out.data);
    *key = x509_key_pem(new_key, error);
    if (!*key)
        return FALSE;
    *request = g_steal_pointer(&pem);
    return TRUE;
}
