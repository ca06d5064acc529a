/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * A token is PREFIX FINGERPRINT "_" SECRET, of fixed lengths (4, 32, 1, 43), so that it is taken
 * apart by position: the secret's base64url alphabet contains '_' itself. The fingerprint is no
 * secret; it lets whoever holds a token check the CA that a server shows before sending anything.
 * Only the hash of the whole is stored. */

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include "base/error.h"
#include "base/hex.h"
#include "net/identity.h"

#define PREFIX_LENGTH 4
#define FINGERPRINT_LENGTH 32
#define SECRET_BYTES 32
#define SECRET_LENGTH 43
#define TOKEN_LENGTH (PREFIX_LENGTH + FINGERPRINT_LENGTH + 1 + SECRET_LENGTH)

/* A system whose random source fails can't be trusted with any secret: stop. */
static void
random_bytes(guint8 *bytes, gsize length)
{
    int code = gnutls_rnd(GNUTLS_RND_KEY, bytes, length);

    if (code < 0)
        g_error("the system's random source failed: %s", gnutls_strerror(code));
}

char *
token_new(const char *prefix, const char *ca_fingerprint)
{
    guint8 bytes[SECRET_BYTES];

    g_assert(strlen(prefix) == PREFIX_LENGTH && strlen(ca_fingerprint) >= FINGERPRINT_LENGTH);
    random_bytes(bytes, sizeof(bytes));
    g_autofree char *secret = g_base64_encode(bytes, sizeof(bytes));
    g_strdelimit(secret, "+", '-');
    g_strdelimit(secret, "/", '_');
    secret[SECRET_LENGTH] = '\0'; /* without the padding */
    gnutls_memset(bytes, 0, sizeof(bytes));
    return g_strdup_printf("%s%.*s_%s", prefix, FINGERPRINT_LENGTH, ca_fingerprint, secret);
}

static gboolean
is_token(const char *token, const char *prefix)
{
    static const char hex[] = "0123456789abcdef";
    static const char base64url[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    if (strlen(token) != TOKEN_LENGTH || strncmp(token, prefix, PREFIX_LENGTH) != 0)
        return FALSE;
    const char *fingerprint = token + PREFIX_LENGTH;
    const char *secret = fingerprint + FINGERPRINT_LENGTH + 1;
    return strspn(fingerprint, hex) >= FINGERPRINT_LENGTH &&
           fingerprint[FINGERPRINT_LENGTH] == '_' && strspn(secret, base64url) == SECRET_LENGTH;
}

gboolean
token_parse(const char *token, const char *prefix, char **fingerprint, GError **error)
{
    g_assert(strlen(prefix) == PREFIX_LENGTH);
    if (!is_token(token, prefix)) {
        /* Never echo it: it may be a real one with a typing error. */
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
            "this is not a token: one begins with '%s' and has %d characters; copy it whole",
            prefix, TOKEN_LENGTH);
        return FALSE;
    }
    if (fingerprint)
        *fingerprint = g_strndup(token + PREFIX_LENGTH, FINGERPRINT_LENGTH);
    return TRUE;
}

char *
token_hash(const char *token)
{
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, token, -1);
}

char *
random_hex_256(void)
{
    guint8 bytes[32];
    char *hex;

    random_bytes(bytes, sizeof(bytes));
    hex = hex_encode(bytes, sizeof(bytes));
    gnutls_memset(bytes, 0, sizeof(bytes));
    return hex;
}
