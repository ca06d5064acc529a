/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include "base/error.h"

/** What identity.c and ca.c share: GnuTLS objects with scopes, PEM in and out, secret files. */

/* GnuTLS's own typedefs are pointers; g_auto needs functions that take the value and a NULL to
 * skip. */
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(gnutls_x509_crt_t, gnutls_x509_crt_deinit, NULL)
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(gnutls_x509_privkey_t, gnutls_x509_privkey_deinit, NULL)
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(gnutls_x509_crq_t, gnutls_x509_crq_deinit, NULL)
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(gnutls_pubkey_t, gnutls_pubkey_deinit, NULL)

/** TRUE if code says success; else sets error "what: GnuTLS's text". */
gboolean x509_ok(int code, GodwitError as, const char *what, GError **error);

/** The first certificate of a PEM text; NULL with INVALID. `what` names it in messages. */
gnutls_x509_crt_t x509_cert(const char *pem, const char *what, GError **error);
gnutls_x509_privkey_t x509_key(const char *pem, const char *what, GError **error);
gnutls_x509_privkey_t x509_key_new(GError **error);

/** PEM (transfer full). */
char *x509_cert_pem(gnutls_x509_crt_t cert, GError **error);
char *x509_key_pem(gnutls_x509_privkey_t key, GError **error);

/** Do certificate and private key belong together? */
gboolean x509_is_pair(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key);

/** Reads dir/name; NULL without error where it doesn't exist. (transfer full) */
char *x509_read(const char *dir, const char *name, gboolean *missing, GError **error);
/** Writes dir/name with mode 0600 so that after a crash it is either the old or the new. */
gboolean x509_write(const char *dir, const char *name, const char *text, GError **error);
/** Makes dir (mode 0700) with its parents. */
gboolean x509_make_dir(const char *dir, GError **error);
