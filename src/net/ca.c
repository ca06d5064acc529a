/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * The cluster's own certificate authority: one self-signed certificate with its key, in the
 * manager's data folder, made on the first start. It signs end certificates only (path length 0). A
 * signed certificate takes from the request nothing but the public key, and only after the request
 * has proved that the asker holds the private one. Certificates begin to be valid a day before they
 * are signed, because the clocks of hosts that join are not always right. */

#include <gio/gio.h>
#include <gnutls/crypto.h>
#include <string.h>
#include "base/clock.h"
#include "net/identity.h"
#include "net/x509.h"

#define DAY_S (24 * 3600)
#define CA_DAYS (20 * 365)

void
ca_free(Ca *ca)
{
    if (!ca)
        return;
    if (ca->key)
        gnutls_memset(ca->key, 0, strlen(ca->key));
    g_free(ca->cert);
    g_free(ca->key);
    g_free(ca);
}

/* Version, serial number, dates and owner's name: what every certificate of ours begins with. */
static int
cert_begin(gnutls_x509_crt_t cert, const char *common_name, gint64 days)
{
    unsigned char serial[16];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    int code = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, and of constant length */
    if (code >= 0)
        code = gnutls_x509_crt_set_version(cert, 3);
    if (code >= 0)
        code = gnutls_x509_crt_set_serial(cert, serial, sizeof(serial));
    if (code >= 0)
        code = gnutls_x509_crt_set_activation_time(cert, now - DAY_S);
    if (code >= 0)
        code = gnutls_x509_crt_set_expiration_time(cert, now + days * DAY_S);
    if (code >= 0)
        code = gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
                                             (unsigned int)strlen(common_name));
    return code;
}

static int
cert_set_key_id(gnutls_x509_crt_t cert)
{
    unsigned char id[20];
    size_t size = sizeof(id);
    int code = gnutls_x509_crt_get_key_id(cert, 0, id, &size);

    return code < 0 ? code : gnutls_x509_crt_set_subject_key_id(cert, id, size);
}

static Ca *
ca_make(GError **error)
{
    g_auto(gnutls_x509_privkey_t) key = x509_key_new(error);
    g_auto(gnutls_x509_crt_t) cert = NULL;
    /* Two clusters' CAs must not have the same name, or verification would say "bad signature" and
     * not "unknown". */
    g_autofree char *random = random_hex_256();
    g_autofree char *name = g_strdup_printf("Godwit CA %.16s", random);

    if (!key)
        return NULL;
    int code = gnutls_x509_crt_init(&cert);
    if (code >= 0)
        code = cert_begin(cert, name, CA_DAYS);
    if (code >= 0)
        code = gnutls_x509_crt_set_key(cert, key);
    if (code >= 0)
        code = gnutls_x509_crt_set_basic_constraints(cert, 1, 0);
    if (code >= 0)
        code = gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (code >= 0)
        code = cert_set_key_id(cert);
    if (code >= 0)
        code = gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0);
    if (!x509_ok(code, GODWIT_ERROR_INTERNAL, "making the cluster's CA", error))
        return NULL;

    g_autoptr(Ca) ca = g_new0(Ca, 1);
    ca->cert = x509_cert_pem(cert, error);
    ca->key = ca->cert ? x509_key_pem(key, error) : NULL;
    return ca->key ? g_steal_pointer(&ca) : NULL;
}

/* Are both usable, and do they belong together? */
static gboolean
ca_check(const Ca *ca, const char *dir, GError **error)
{
    g_auto(gnutls_x509_privkey_t) key = x509_key(ca->key, "ca-key.pem", error);
    g_auto(gnutls_x509_crt_t) cert = key ? x509_cert(ca->cert, "ca.pem", error) : NULL;

    if (!cert) {
        g_prefix_error(error, "the CA in '%s' can't be used: ", dir);
        return FALSE;
    }
    if (x509_is_pair(cert, key) && gnutls_x509_crt_get_ca_status(cert, NULL) > 0)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "the CA in '%s' can't be used: ca-key.pem is not the key of ca.pem. Restore both "
                "from a backup",
                dir);
    return FALSE;
}

Ca *
ca_open(const char *dir, gboolean *created, GError **error)
{
    g_autoptr(Ca) ca = g_new0(Ca, 1);
    gboolean no_cert, no_key = FALSE;

    ca->cert = x509_read(dir, "ca.pem", &no_cert, error);
    if (ca->cert || no_cert)
        ca->key = x509_read(dir, "ca-key.pem", &no_key, error);
    if ((!ca->cert && !no_cert) || (!ca->key && !no_key))
        return NULL;
    if (created)
        *created = no_cert;
    if (!no_cert && !no_key)
        return ca_check(ca, dir, error) ? g_steal_pointer(&ca) : NULL;
    if (!no_cert) {
        /* A new CA would silently lock out every host. */
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "'%s' has ca.pem but not ca-key.pem; restore it from a backup (a new CA means "
                    "that every host joins anew)",
                    dir);
        return NULL;
    }
    /* A key without its certificate is left from a crash at the first start: nothing was signed
     * with it yet. The certificate is written last, so that having it means having both. */
    g_autoptr(Ca) made = ca_make(error);
    if (!made || !x509_make_dir(dir, error) || !x509_write(dir, "ca-key.pem", made->key, error) ||
        !x509_write(dir, "ca.pem", made->cert, error))
        return NULL;
    return g_steal_pointer(&made);
}

/* ---- signing -------------------------------------------------------------------------------- */

/* The request's public key, after it proved to have the private one. */
static gnutls_pubkey_t
request_key(const char *request, GError **error)
{
    g_auto(gnutls_x509_crq_t) crq = NULL;
    g_auto(gnutls_pubkey_t) key = NULL;
    gnutls_datum_t data = { (unsigned char *)request, (unsigned int)strlen(request) };
    const char *what = "reading the certificate request";

    if (!x509_ok(gnutls_x509_crq_init(&crq), GODWIT_ERROR_INTERNAL, what, error) ||
        !x509_ok(gnutls_pubkey_init(&key), GODWIT_ERROR_INTERNAL, what, error) ||
        !x509_ok(gnutls_x509_crq_import(crq, &data, GNUTLS_X509_FMT_PEM), GODWIT_ERROR_INVALID,
                 what, error) ||
        !x509_ok(gnutls_x509_crq_verify(crq, 0), GODWIT_ERROR_INVALID,
                 "the certificate request is not signed with its own key", error) ||
        !x509_ok(gnutls_pubkey_import_x509_crq(key, crq, 0), GODWIT_ERROR_INVALID, what, error))
        return NULL;
    unsigned int bits = 0;
    int algorithm = gnutls_pubkey_get_pk_algorithm(key, &bits);
    if (algorithm < 0 || gnutls_pk_bits_to_sec_param(algorithm, bits) < GNUTLS_SEC_PARAM_MEDIUM) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "the certificate request's key is too weak; ECDSA P-256 is expected");
        return NULL;
    }
    return g_steal_pointer(&key);
}

static int
add_alt_name(gnutls_x509_crt_t cert, const char *name)
{
    static const char dns[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    g_autoptr(GInetAddress) ip = g_inet_address_new_from_string(name);

    if (ip)
        return gnutls_x509_crt_set_subject_alt_name(
            cert, GNUTLS_SAN_IPADDRESS, g_inet_address_to_bytes(ip),
            (unsigned int)g_inet_address_get_native_size(ip), GNUTLS_FSAN_APPEND);
    if (*name == '\0' || strlen(name) > 253 || strspn(name, dns) != strlen(name))
        return GNUTLS_E_INVALID_REQUEST;
    return gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, name,
                                                (unsigned int)strlen(name), GNUTLS_FSAN_APPEND);
}

static gboolean
add_names(gnutls_x509_crt_t cert, const char *uri, const char *const *alt_names, GError **error)
{
    int code = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_URI, uri,
                                                    (unsigned int)strlen(uri), GNUTLS_FSAN_APPEND);

    if (!x509_ok(code, GODWIT_ERROR_INTERNAL, "naming a certificate", error))
        return FALSE;
    for (; alt_names && *alt_names; alt_names++) {
        if (add_alt_name(cert, *alt_names) < 0) {
            g_set_error(
                error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "'%s' is neither an IP address nor a host name, it can't stand in a certificate",
                *alt_names);
            return FALSE;
        }
    }
    return TRUE;
}

static int
cert_restrict(gnutls_x509_crt_t cert, gnutls_x509_crt_t ca)
{
    unsigned char id[64];
    size_t size = sizeof(id);
    int code = gnutls_x509_crt_set_basic_constraints(cert, 0, -1);

    if (code >= 0)
        code = gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (code >= 0)
        code = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (code >= 0)
        code = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    if (code >= 0)
        code = cert_set_key_id(cert);
    if (code >= 0)
        code = gnutls_x509_crt_get_subject_key_id(ca, id, &size, NULL);
    return code < 0 ? code : gnutls_x509_crt_set_authority_key_id(cert, id, size);
}

char *
ca_sign(const Ca *ca, const char *request, const IdentityName *name, const char *const *alt_names,
        gint days, GError **error)
{
    g_auto(gnutls_x509_crt_t) ca_cert = x509_cert(ca->cert, "reading the CA's certificate", error);
    g_auto(gnutls_x509_privkey_t) ca_key =
        ca_cert ? x509_key(ca->key, "reading the CA's key", error) : NULL;
    g_auto(gnutls_pubkey_t) public_key = ca_key ? request_key(request, error) : NULL;
    g_auto(gnutls_x509_crt_t) cert = NULL;

    if (!public_key)
        return NULL;
    g_assert(name->role == IDENTITY_MANAGER || name->role == IDENTITY_HOST);
    g_assert(g_uuid_string_is_valid(name->uuid));
    const char *role = name->role == IDENTITY_MANAGER ? "manager" : "host";
    g_autofree char *uuid = g_ascii_strdown(name->uuid, -1);
    g_autofree char *uri = g_strdup_printf("godwit:%s:%s", role, uuid);
    g_autofree char *common_name = g_strdup_printf("Godwit %s %s", role, uuid);

    int code = gnutls_x509_crt_init(&cert);
    if (code >= 0)
        code = cert_begin(cert, common_name, days);
    if (code >= 0)
        code = gnutls_x509_crt_set_pubkey(cert, public_key);
    if (code >= 0)
        code = cert_restrict(cert, ca_cert);
    if (!x509_ok(code, GODWIT_ERROR_INTERNAL, "making a certificate", error) ||
        !add_names(cert, uri, alt_names, error) ||
        !x509_ok(gnutls_x509_crt_sign2(cert, ca_cert, ca_key, GNUTLS_DIG_SHA256, 0),
                 GODWIT_ERROR_INTERNAL, "signing a certificate", error))
        return NULL;
    return x509_cert_pem(cert, error);
}
