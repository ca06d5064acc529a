/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * Identities: X.509 certificates of the cluster's own CA (GnuTLS, ECDSA P-256). Who somebody is stands in
 * one URI of the certificate's subjectAltName, never in a host name or address:
 *
 *     godwit:manager:UUID      the manager (UUID of the cluster)
 *     godwit:host:UUID         a host, by libvirt's host UUID
 *
 * Secret files are mode 0600, written atomically and durably.
 */
typedef enum { IDENTITY_NONE = 0, IDENTITY_MANAGER, IDENTITY_HOST } IdentityRole;

typedef struct {
    IdentityRole role;
    char uuid[37];
} IdentityName;

/** PEM texts, each owned. */
typedef struct {
    char *key;  /* private key */
    char *cert; /* own certificate */
    char *ca;   /* the cluster's CA certificate */
    IdentityName name;
} Identity;

void identity_free(Identity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Identity, identity_free)

/** key.pem, cert.pem, ca.pem of dir. NOT_FOUND where none is; INVALID where they don't belong together or are expired. */
Identity *identity_load(const char *dir, GError **error);
gboolean identity_save(const Identity *identity, const char *dir, GError **error);

/** New private key and a certificate request for it, PEM (transfer full). */
gboolean identity_request(char **key, char **request, GError **error);

/** The role and UUID of a certificate (PEM), without judging its signature. PROTOCOL where it has none. */
gboolean identity_name_of(const char *cert_pem, IdentityName *name, GError **error);
/** Same, of DER bytes. */
gboolean identity_name_of_der(const void *der, gsize length, IdentityName *name, GError **error);
/** Is cert signed by ca, and valid now? UNAUTHORIZED with the reason. */
gboolean identity_verify(const char *cert_pem, const char *ca_pem, GError **error);
/** Lower-case hex SHA-256 of the certificate's DER form, 64 digits (transfer full). */
char *identity_fingerprint(const char *cert_pem, GError **error);
/** Days until it expires (negative: expired). */
gint identity_days_left(const char *cert_pem, GError **error);

/** Loads the CA of dir (ca.pem, ca-key.pem), or makes it (valid 20 years) where there is none. */
typedef struct {
    char *cert, *key;
} Ca;
void ca_free(Ca *ca);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ca, ca_free)
Ca *ca_open(const char *dir, gboolean *created, GError **error);
/** Signs a request for name, valid `days`. alt_names: DNS names and IP addresses for browsers and curl, may be NULL.
 * What the request itself claims to be is ignored. (transfer full) PEM. */
char *ca_sign(const Ca *ca, const char *request, const IdentityName *name, const char *const *alt_names, gint days, GError **error);

/** Tokens: "gwa_" (admin) or "gwj_" (join) + first 32 hex digits of the CA's fingerprint + "_" + 43 characters base64url of
 * 256 random bits. Whoever has a token can thus check the CA before trusting it. (transfer full) */
char *token_new(const char *prefix, const char *ca_fingerprint);
/** Parts of a token; INVALID where it isn't one. fingerprint (transfer full) may be NULL. */
gboolean token_parse(const char *token, const char *prefix, char **fingerprint, GError **error);
/** What is stored: hex SHA-256 of the whole token (it has 256 bits of entropy, so no slow hash is needed). */
char *token_hash(const char *token);
/** 64 hex digits from the system's random source; for tickets. (transfer full) */
char *random_hex_256(void);
