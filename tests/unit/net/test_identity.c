/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "net/x509.h"
#include "pki.h"

static void
assert_mode(const char *dir, const char *name, mode_t mode)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    struct stat info;

    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 0777, ==, mode);
}

static void
overwrite(const char *dir, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    if (text)
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
    else
        g_assert_cmpint(g_remove(path), ==, 0);
}

/* ---- the CA --------------------------------------------------------------------------------- */

static void
test_ca_create_and_reload(void)
{
    g_autofree char *dir = g_dir_make_tmp("godwit-ca-XXXXXX", NULL);
    g_autofree char *inner = g_build_filename(dir, "a", "b", NULL);
    g_autoptr(GError) error = NULL;
    gboolean created = FALSE;
    g_autoptr(Ca) first = ca_open(inner, &created, &error);

    g_assert_no_error(error);
    g_assert_true(created);
    assert_mode(inner, "ca.pem", 0600);
    assert_mode(inner, "ca-key.pem", 0600);
    g_autoptr(Ca) second = ca_open(inner, &created, &error);
    g_assert_no_error(error);
    g_assert_false(created);
    g_assert_cmpstr(first->cert, ==, second->cert);
    g_assert_cmpstr(first->key, ==, second->key);
    g_assert_cmpint(identity_days_left(first->cert, &error), >, 19 * 365);
    g_assert_true(identity_verify(first->cert, first->cert, &error));
    g_assert_no_error(error);
    pki_remove(dir);
}

/* A CA of which half is lost is never made anew: every host would be locked out. A key alone is
 * left from a crash. */
static void
test_ca_damaged(void)
{
    g_autoptr(Pki) others = pki_new();
    const struct {
        const char *cert, *key; /* "" as it is, NULL removed */
        gboolean good;
    } rows[] = {
        { "", NULL, FALSE },
        { NULL, "", TRUE },
        { "junk", "", FALSE },
        { "", "junk", FALSE },
        { "", others->ca->key, FALSE },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Pki) pki = pki_new();
        g_autoptr(GError) error = NULL;
        if (g_strcmp0(rows[i].cert, "") != 0)
            overwrite(pki->dir, "ca.pem", rows[i].cert);
        if (g_strcmp0(rows[i].key, "") != 0)
            overwrite(pki->dir, "ca-key.pem", rows[i].key);
        g_autoptr(Ca) ca = ca_open(pki->dir, NULL, &error);
        g_assert_true(rows[i].good ? ca != NULL
                                   : g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_INVALID));
        if (ca)
            g_assert_cmpstr(ca->cert, !=, pki->ca->cert);
    }
}

static void
test_sign_ignores_claims(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_auto(gnutls_x509_crq_t) crq = NULL;
    g_auto(gnutls_x509_privkey_t) key = x509_key_new(NULL);
    gnutls_datum_t out = { 0 };
    g_autoptr(GError) error = NULL;
    IdentityName name = { IDENTITY_HOST, HOST_UUID }, found;
    const char *claim = "godwit:manager:" MANAGER_UUID;

    gnutls_x509_crq_init(&crq);
    gnutls_x509_crq_set_version(crq, 1);
    gnutls_x509_crq_set_key(crq, key);
    gnutls_x509_crq_set_dn_by_oid(crq, GNUTLS_OID_X520_COMMON_NAME, 0, "manager", 7);
    gnutls_x509_crq_set_subject_alt_name(crq, GNUTLS_SAN_URI, claim, (unsigned int)strlen(claim),
                                         GNUTLS_FSAN_APPEND);
    gnutls_x509_crq_set_basic_constraints(crq, 1, 3);
    g_assert_cmpint(gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0), >=, 0);
    g_assert_cmpint(gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &out), >=, 0);

    g_autofree char *cert = ca_sign(pki->ca, (char *)out.data, &name, NULL, 10, &error);
    gnutls_free(out.data);
    g_assert_no_error(error);
    g_assert_true(identity_name_of(cert, &found, &error));
    g_assert_cmpint(found.role, ==, IDENTITY_HOST);
    g_assert_cmpstr(found.uuid, ==, HOST_UUID);
    g_auto(gnutls_x509_crt_t) signed_cert = x509_cert(cert, "test", &error);
    g_assert_cmpint(gnutls_x509_crt_get_ca_status(signed_cert, NULL), ==, 0);
    g_assert_cmpint(identity_days_left(cert, &error), >=, 9);
    g_assert_cmpint(identity_days_left(cert, &error), <=, 10);
}

/* A request whose signature doesn't fit is somebody else's key. */
static void
test_sign_wants_proof(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autofree char *key = NULL, *request = NULL;
    IdentityName name = { IDENTITY_HOST, HOST_UUID };
    g_autoptr(GError) error = NULL;
    gsize der_length = 0, refused = 0;

    identity_request(&key, &request, &error);
    g_assert_no_error(error);
    const char *begin = strchr(request, '\n') + 1, *end = strstr(begin, "-----END");
    g_autofree char *base64 = g_strndup(begin, (gsize)(end - begin));
    g_autofree guchar *der = g_base64_decode(base64, &der_length);
    for (gsize i = 0; i < der_length; i++) {
        der[i] ^= 0x01;
        g_autofree char *changed = g_base64_encode(der, der_length);
        g_autofree char *pem = g_strdup_printf(
            "-----BEGIN NEW CERTIFICATE REQUEST-----\n%s\n-----END NEW CERTIFICATE REQUEST-----\n",
            changed);
        g_autofree char *cert = ca_sign(pki->ca, pem, &name, NULL, 10, NULL);
        refused += cert == NULL;
        der[i] ^= 0x01;
    }
    /* All but a bit or two of encodings that don't matter (unused bits). */
    g_assert_cmpuint(refused, >=, der_length - 2);
    g_assert_null(ca_sign(pki->ca, "junk", &name, NULL, 10, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

static void
test_alt_names(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autofree char *key = NULL, *request = NULL;
    IdentityName name = { IDENTITY_HOST, HOST_UUID };
    const char *good[] = { "10.0.0.1", "fe80::1", "manager.example.org", NULL };
    const char *bad[] = { "", "a b", "godwit:manager:x", "a\nb", NULL };

    identity_request(&key, &request, NULL);
    g_autofree char *cert = ca_sign(pki->ca, request, &name, good, 10, NULL);
    g_assert_nonnull(cert);
    for (gsize i = 0; bad[i]; i++) {
        const char *one[] = { bad[i], NULL };
        g_autoptr(GError) error = NULL;
        g_assert_null(ca_sign(pki->ca, request, &name, one, 10, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

/* ---- verification --------------------------------------------------------------------------- */

static void
test_verify(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autoptr(Pki) others = pki_new();
    const struct {
        Pki *signer;
        gint days;
        const char *part; /* NULL: good */
    } rows[] = {
        { pki, 30, NULL },
        { pki, -1, "expired on" },
        { others, 30, "not signed by this cluster's CA" },
        { others, -1, "not signed by this cluster's CA" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Identity) identity =
            pki_identity(rows[i].signer, IDENTITY_HOST, HOST_UUID, rows[i].days);
        g_autoptr(GError) error = NULL;
        gboolean ok = identity_verify(identity->cert, pki->ca->cert, &error);
        g_assert_cmpint(ok, ==, rows[i].part == NULL);
        if (ok)
            continue;
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED);
        g_assert_nonnull(strstr(error->message, rows[i].part));
    }
    g_autoptr(Identity) expired = pki_identity(pki, IDENTITY_HOST, HOST_UUID, -1);
    g_assert_cmpint(identity_days_left(expired->cert, NULL), <, 0);
}

static void
test_fingerprint(void)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
                              "MIIBdzCCAR2gAwIBAgIUQWFhYWFhYWFhYWFhYWFhYWFhYWEwCgYIKoZIzj0EAwIw\n"
                              "-----END CERTIFICATE-----\n";
    g_autoptr(Pki) pki = pki_new();
    g_autofree char *fingerprint = identity_fingerprint(pki->ca->cert, NULL);
    g_autoptr(GTlsCertificate) certificate =
        g_tls_certificate_new_from_pem(pki->ca->cert, -1, NULL);
    g_autoptr(GByteArray) der = NULL;
    g_autoptr(GError) error = NULL;

    g_object_get(certificate, "certificate", &der, NULL);
    g_autofree char *expected = g_compute_checksum_for_data(G_CHECKSUM_SHA256, der->data, der->len);
    g_assert_cmpstr(fingerprint, ==, expected);
    g_assert_null(identity_fingerprint(pem, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A certificate (signed by itself) with these names, DER; a '|' in a value stands for a NUL, which
 * GnuTLS wouldn't write. */
static GByteArray *
odd_cert(const char *const *values, const gnutls_x509_subject_alt_name_t *types)
{
    g_auto(gnutls_x509_crt_t) cert = NULL;
    g_auto(gnutls_x509_privkey_t) key = x509_key_new(NULL);
    gnutls_datum_t out = { 0 };

    gnutls_x509_crt_init(&cert);
    gnutls_x509_crt_set_version(cert, 3);
    gnutls_x509_crt_set_serial(cert, "1", 1);
    gnutls_x509_crt_set_activation_time(cert, time(NULL) - 10);
    gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 1000);
    gnutls_x509_crt_set_key(cert, key);
    for (gsize i = 0; values[i]; i++) {
        unsigned int length = (unsigned int)strlen(values[i]);
        g_assert_cmpint(gnutls_x509_crt_set_subject_alt_name(cert, types[i], values[i], length,
                                                             GNUTLS_FSAN_APPEND),
                        >=, 0);
    }
    g_assert_cmpint(gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0), >=, 0);
    g_assert_cmpint(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_DER, &out), >=, 0);
    GByteArray *der = g_byte_array_append(g_byte_array_new(), out.data, out.size);
    gnutls_free(out.data);
    for (gsize i = 0; values[i]; i++) {
        guint8 *at = memmem(der->data, der->len, values[i], strlen(values[i]));
        char *bar = strchr(values[i], '|');
        g_assert_nonnull(at);
        if (bar)
            at[bar - values[i]] = '\0';
    }
    return der;
}

#define URI GNUTLS_SAN_URI
#define DNS GNUTLS_SAN_DNSNAME

static void
test_odd_names(void)
{
    static const struct {
        const char *values[4];
        gnutls_x509_subject_alt_name_t types[3];
        IdentityRole role; /* NONE: refused */
    } rows[] = {
        { { NULL }, { 0 }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID }, { URI }, IDENTITY_HOST },
        { { "godwit:manager:" HOST_UUID }, { URI }, IDENTITY_MANAGER },
        { { "godwit:host:" HOST_UUID }, { DNS }, IDENTITY_NONE },
        { { "example.org", "https://example.org/", "godwit:host:" HOST_UUID },
          { DNS, URI, URI },
          IDENTITY_HOST },
        { { "godwit:host:" HOST_UUID, "godwit:manager:" HOST_UUID }, { URI, URI }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID, "godwit:host:" HOST_UUID }, { URI, URI }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID "|.evil" }, { URI }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID "|" }, { URI }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID " " }, { URI }, IDENTITY_NONE },
        { { "godwit:host:11111111-2222-4333-8444-55555555555" }, { URI }, IDENTITY_NONE },
        { { "godwit:host:AAAAAAAA-2222-4333-8444-555555555555" }, { URI }, IDENTITY_NONE },
        { { "godwit:host:" }, { URI }, IDENTITY_NONE },
        { { "godwit:admin:" HOST_UUID }, { URI }, IDENTITY_NONE },
        { { "GODWIT:host:" HOST_UUID }, { URI }, IDENTITY_NONE },
        { { " godwit:host:" HOST_UUID }, { URI }, IDENTITY_NONE },
        { { "godwit:host:" HOST_UUID, "godwit:" }, { URI, URI }, IDENTITY_NONE },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) cert = odd_cert(rows[i].values, rows[i].types);
        IdentityName name = { IDENTITY_NONE };
        g_autoptr(GError) error = NULL;
        gboolean ok = identity_name_of_der(cert->data, cert->len, &name, &error);
        g_test_message("row %" G_GSIZE_FORMAT ": %s", i, error ? error->message : "good");
        g_assert_cmpint(ok, ==, rows[i].role != IDENTITY_NONE);
        g_assert_cmpint(name.role, ==, rows[i].role);
        if (!ok)
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
    }
}

static void
test_long_names(void)
{
    g_autofree char *filling = g_strnfill(5000, 'x');
    g_autofree char *uri = g_strconcat("https://", filling, NULL);
    g_autofree char *ours = g_strconcat("godwit:host:", filling, NULL);
    const gnutls_x509_subject_alt_name_t types[] = { URI, URI };
    const char *beside[] = { uri, "godwit:host:" HOST_UUID, NULL };
    const char *alone[] = { ours, NULL };
    g_autoptr(GByteArray) good = odd_cert(beside, types);
    g_autoptr(GByteArray) bad = odd_cert(alone, types);
    IdentityName name;

    g_assert_true(identity_name_of_der(good->data, good->len, &name, NULL));
    g_assert_false(identity_name_of_der(bad->data, bad->len, &name, NULL));
}

/* Whatever the bytes are: an answer, no crash. */
static void
test_damaged_der(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autoptr(Identity) identity = pki_identity(pki, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(GTlsCertificate) certificate =
        g_tls_certificate_new_from_pem(identity->cert, -1, NULL);
    g_autoptr(GByteArray) der = NULL;
    IdentityName name;

    g_object_get(certificate, "certificate", &der, NULL);
    g_assert_true(identity_name_of_der(der->data, der->len, &name, NULL));
    g_assert_cmpstr(name.uuid, ==, HOST_UUID);
    for (guint i = 0; i < der->len; i++) {
        g_autofree guint8 *copy = g_memdup2(der->data, i);
        g_assert_false(identity_name_of_der(copy, i, &name, NULL));
    }
    for (int round = 0; round < 3000; round++) {
        g_autofree guint8 *copy = g_memdup2(der->data, der->len);
        for (int n = g_test_rand_int_range(1, 4); n > 0; n--)
            copy[g_test_rand_int_range(0, (gint32)der->len)] = (guint8)g_test_rand_int();
        identity_name_of_der(copy, der->len, &name, NULL);
    }
}

/* ---- on disk --------------------------------------------------------------------------------- */

static void
test_save_and_load(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autoptr(Identity) identity = pki_identity(pki, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_build_filename(pki->dir, "identity", NULL);

    g_assert_null(identity_load(dir, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_true(identity_save(identity, dir, &error));
    g_assert_no_error(error);
    assert_mode(dir, "key.pem", 0600);
    g_autoptr(Identity) loaded = identity_load(dir, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(loaded->key, ==, identity->key);
    g_assert_cmpstr(loaded->cert, ==, identity->cert);
    g_assert_cmpstr(loaded->ca, ==, identity->ca);
    g_assert_cmpint(loaded->name.role, ==, IDENTITY_HOST);
    g_assert_cmpstr(loaded->name.uuid, ==, HOST_UUID);
}

static void
test_load_damaged(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autoptr(Pki) others = pki_new();
    g_autoptr(Identity) other = pki_identity(pki, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(Identity) expired = pki_identity(pki, IDENTITY_HOST, HOST_UUID, -1);
    const struct {
        const char *file, *text;
        GodwitError code;
    } rows[] = {
        { "key.pem", NULL, GODWIT_ERROR_NOT_FOUND },
        { "cert.pem", NULL, GODWIT_ERROR_NOT_FOUND },
        { "ca.pem", NULL, GODWIT_ERROR_NOT_FOUND },
        { "key.pem", "junk", GODWIT_ERROR_INVALID },
        { "key.pem", other->key, GODWIT_ERROR_INVALID },
        { "cert.pem", "junk", GODWIT_ERROR_INVALID },
        { "cert.pem", "", GODWIT_ERROR_INVALID },
        { "cert.pem", other->cert, GODWIT_ERROR_INVALID },
        { "cert.pem", expired->cert, GODWIT_ERROR_INVALID },
        { "ca.pem", others->ca->cert, GODWIT_ERROR_INVALID },
        { "ca.pem", "junk", GODWIT_ERROR_INVALID },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Identity) identity = pki_identity(pki, IDENTITY_HOST, HOST_UUID, 30);
        g_autofree char *dir = g_build_filename(pki->dir, "identity", NULL);
        g_autoptr(GError) error = NULL;
        g_assert_true(identity_save(identity, dir, NULL));
        overwrite(dir, rows[i].file, rows[i].text);
        g_assert_null(identity_load(dir, &error));
        g_test_message("%s", error->message);
        g_assert_error(error, GODWIT_ERROR, (int)rows[i].code);
    }
}

static void
test_save_fails(void)
{
    g_autoptr(Pki) pki = pki_new();
    g_autoptr(Identity) identity = pki_identity(pki, IDENTITY_HOST, HOST_UUID, 30);
    g_autoptr(GError) error = NULL;

    g_assert_false(identity_save(identity, "/proc/nothing/here", &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL);
    g_assert_nonnull(strstr(error->message, "/proc/nothing/here"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identity/ca-create-and-reload", test_ca_create_and_reload);
    g_test_add_func("/identity/ca-damaged", test_ca_damaged);
    g_test_add_func("/identity/sign-ignores-claims", test_sign_ignores_claims);
    g_test_add_func("/identity/sign-wants-proof", test_sign_wants_proof);
    g_test_add_func("/identity/alt-names", test_alt_names);
    g_test_add_func("/identity/verify", test_verify);
    g_test_add_func("/identity/fingerprint", test_fingerprint);
    g_test_add_func("/identity/odd-names", test_odd_names);
    g_test_add_func("/identity/long-names", test_long_names);
    g_test_add_func("/identity/damaged-der", test_damaged_der);
    g_test_add_func("/identity/save-and-load", test_save_and_load);
    g_test_add_func("/identity/load-damaged", test_load_damaged);
    g_test_add_func("/identity/save-fails", test_save_fails);
    return g_test_run();
}
