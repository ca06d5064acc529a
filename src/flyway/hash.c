/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A page is referred to by its hash, so whoever can make two pages of one hash
 * can make a guest's memory differ from what it was. The guest chooses its memory, and may learn
 * hashes (from a stolen index, or by watching what was sent), but hasn't the key. Hence:
 *
 * - a pseudorandom function of which outputs may be known: not the fast universal hashes (GMAC,
 *   Poly1305, UMAC), which without a nonce for each message give way once outputs are seen;
 * - that resists collisions even if the key is lost one day, as a hash does and CMAC doesn't;
 * - in a library that is alive, in Debian 12, and that we need anyway.
 *
 * MB/s of single pages on one core of an AMD EPYC (Zen 4, sha_ni, vaes), best of seven:
 *
 *     GnuTLS   HMAC-SHA256 1283  HMAC-SHA512 458  AES-CMAC 624
 *     nettle   HMAC-SHA256 1148  HMAC-SHA512 337  AES-CMAC 606
 *     gcrypt   HMAC-SHA256 1257  BLAKE2b 752  BLAKE2s 490  AES-CMAC 1097
 *     OpenSSL  HMAC-SHA256 1170  BLAKE2b 544  AES-CMAC 553
 *     libsodium BLAKE2b 779      libb2 BLAKE2b 583, BLAKE2bp 269, BLAKE2sp 244
 *
 * BLAKE3 isn't in Debian 12 as a C library. HMAC-SHA256 of GnuTLS, which flyway's TLS is made of,
 * is also the fastest. 128 bits: with 2^40 pages (4 PiB) a chance collision has probability 2^-49.
 */
#include <string.h>
#include <gnutls/crypto.h>
#include "flyway/hash.h"

struct PageHasher {
    gnutls_hmac_hd_t hmac;
};

PageHasher *
hash_new(const guint8 key[PAGE_KEY_BYTES])
{
    PageHasher *hasher = g_new0(PageHasher, 1);

    if (gnutls_hmac_init(&hasher->hmac, GNUTLS_MAC_SHA256, key, PAGE_KEY_BYTES) >= 0)
        return hasher;
    g_free(hasher);
    return NULL;
}

void
hash_free(PageHasher *hasher)
{
    if (hasher == NULL)
        return;
    gnutls_hmac_deinit(hasher->hmac, NULL);
    g_free(hasher);
}

void
page_hash(PageHasher *hasher, const guint8 page[PAGE_BYTES], guint8 out[PAGE_HASH_BYTES])
{
    guint8 whole[32];
    int result = gnutls_hmac(hasher->hmac, page, PAGE_BYTES);

    /* It fails only for what was not set up. */
    g_assert(result >= 0);
    gnutls_hmac_output(hasher->hmac, whole);
    memcpy(out, whole, PAGE_HASH_BYTES);
}
