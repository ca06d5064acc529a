/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GnuTLS refuses (as it does for what a host's crypto policy, or FIPS mode, forbids): pages are
 * then not recalled, and nothing is half made. And a disk that takes nothing. The linker puts the
 * __wrap_ functions in their place.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include "flyway/hash.h"
#include "flyway/known.h"
#include "flyway/recall_key.h"
#include "recall_kit.h"

static enum { NOTHING, EXTRACT, EXPAND, HMAC, AEAD, SEAL, RANDOM } broken;
static guint calls_left; /* so many of them are good before */

int __real_gnutls_hkdf_extract(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                               const gnutls_datum_t *salt, void *output);
int __wrap_gnutls_hkdf_extract(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                               const gnutls_datum_t *salt, void *output);
int __real_gnutls_hkdf_expand(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                              const gnutls_datum_t *info, void *output, size_t length);
int __wrap_gnutls_hkdf_expand(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                              const gnutls_datum_t *info, void *output, size_t length);
int __real_gnutls_hmac_init(gnutls_hmac_hd_t *hmac, gnutls_mac_algorithm_t mac, const void *key,
                            size_t length);
int __wrap_gnutls_hmac_init(gnutls_hmac_hd_t *hmac, gnutls_mac_algorithm_t mac, const void *key,
                            size_t length);
int __real_gnutls_aead_cipher_init(gnutls_aead_cipher_hd_t *handle,
                                   gnutls_cipher_algorithm_t cipher, const gnutls_datum_t *key);
int __wrap_gnutls_aead_cipher_init(gnutls_aead_cipher_hd_t *handle,
                                   gnutls_cipher_algorithm_t cipher, const gnutls_datum_t *key);
int __real_gnutls_aead_cipher_encryptv2(gnutls_aead_cipher_hd_t handle, const void *nonce,
                                        size_t nonce_length, const giovec_t *auth, int n_auth,
                                        const giovec_t *body, int n_body, void *tag,
                                        size_t *tag_size);
int __wrap_gnutls_aead_cipher_encryptv2(gnutls_aead_cipher_hd_t handle, const void *nonce,
                                        size_t nonce_length, const giovec_t *auth, int n_auth,
                                        const giovec_t *body, int n_body, void *tag,
                                        size_t *tag_size);
int __real_gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t length);
int __wrap_gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t length);

static gboolean
fails(guint which)
{
    return broken == which && (calls_left == 0 || calls_left-- == 0);
}

int
__wrap_gnutls_hkdf_extract(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                           const gnutls_datum_t *salt, void *output)
{
    return fails(EXTRACT) ? GNUTLS_E_INVALID_REQUEST
                          : __real_gnutls_hkdf_extract(mac, key, salt, output);
}

int
__wrap_gnutls_hkdf_expand(gnutls_mac_algorithm_t mac, const gnutls_datum_t *key,
                          const gnutls_datum_t *info, void *output, size_t length)
{
    return fails(EXPAND) ? GNUTLS_E_INVALID_REQUEST
                         : __real_gnutls_hkdf_expand(mac, key, info, output, length);
}

int
__wrap_gnutls_hmac_init(gnutls_hmac_hd_t *hmac, gnutls_mac_algorithm_t mac, const void *key,
                        size_t length)
{
    return fails(HMAC) ? GNUTLS_E_INVALID_REQUEST : __real_gnutls_hmac_init(hmac, mac, key, length);
}

int
__wrap_gnutls_aead_cipher_init(gnutls_aead_cipher_hd_t *handle, gnutls_cipher_algorithm_t cipher,
                               const gnutls_datum_t *key)
{
    return fails(AEAD) ? GNUTLS_E_INVALID_REQUEST
                       : __real_gnutls_aead_cipher_init(handle, cipher, key);
}

int
__wrap_gnutls_aead_cipher_encryptv2(gnutls_aead_cipher_hd_t handle, const void *nonce,
                                    size_t nonce_length, const giovec_t *auth, int n_auth,
                                    const giovec_t *body, int n_body, void *tag, size_t *tag_size)
{
    return fails(SEAL) ? GNUTLS_E_INVALID_REQUEST
                       : __real_gnutls_aead_cipher_encryptv2(handle, nonce, nonce_length, auth,
                                                             n_auth, body, n_body, tag, tag_size);
}

int
__wrap_gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t length)
{
    return fails(RANDOM) ? GNUTLS_E_RANDOM_FAILED : __real_gnutls_rnd(level, data, length);
}

static const guint8 key[RECALL_KEY_SIZE] = "a group's key", salt[RECALL_SALT_SIZE] = "salt",
                    id[RECALL_ID_SIZE] = { 1 };

static void
test_keys(void)
{
    static const guint ways[] = { EXTRACT, EXPAND };
    guint8 out[RECALL_KEY_SIZE];

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        broken = ways[i];
        g_assert_cmpint(recall_key_group(key, "group", out), ==, -EINVAL);
        g_assert_cmpint(recall_key_hash(key, out), ==, -EINVAL);
        g_assert_null(recall_cipher_new(key, RECALL_FILE_INDEX, salt));
        g_assert_null(known_new(FLYWAY_SOURCE, id, key));
    }
    broken = NOTHING;
    g_assert_cmpint(recall_key_group(key, "group", out), ==, 0);
}

static void
test_hasher(void)
{
    broken = HMAC;
    g_assert_null(hash_new(key));
    g_assert_null(known_new(FLYWAY_DESTINATION, id, key));
    broken = NOTHING;
}

/* No set is made then, and none is read. */
static void
test_ciphers(void)
{
    RecallWriter *writer = NULL;
    RecallReader *reader = NULL;
    KitSet set;

    kit_init();
    kit_set_new(&set, 1);
    for (guint left = 0; left < 2; left++) { /* of the index, of the pages */
        RecallWriterOptions options = kit_options(&set);

        broken = left == 0 ? AEAD : RANDOM;
        g_assert_cmpint(recall_writer_new(&kit_context, &options, &writer), <, 0);
        g_assert_null(writer);
        g_assert_cmpint(options.index_fd, ==, -1); /* taken all the same */
        g_assert_cmpint(options.pages_fd, ==, -1);
    }
    broken = NOTHING;
    writer = kit_writer(&set, NULL, 0);
    g_assert_cmpuint(kit_add(writer, NULL, 0, 100), ==, 100);
    g_assert_cmpint(recall_writer_finish(writer, &(RecallSeal){ 0 }), ==, 0);
    recall_writer_free(writer);
    kit_check_set(&set, 100);
    broken = AEAD;
    g_assert_cmpint(kit_try_reader(&set, 1, &reader), <, 0);
    g_assert_null(reader);
    broken = NOTHING;
    kit_set_close(&set);
}

/* Encryption fails in the middle: what was sealed before is a set, or there is none; never a set
 * with pages in clear or missing. */
static void
test_seal(void)
{
    for (guint left = 0; left < 12; left++) {
        RecallSeal seal = { 0 };
        RecallWriter *writer;
        KitSet set;
        int result;

        kit_init();
        kit_set_new(&set, 1);
        writer = kit_writer(&set, NULL, 0);
        broken = SEAL;
        calls_left = left;
        (void)kit_add(writer, NULL, 0, 300);
        result = recall_writer_finish(writer, &seal);
        broken = NOTHING;
        recall_writer_free(writer);
        g_assert_true(result < 0 || seal.ended == -EIO || seal.pages == 300);
        g_assert_true(left > 0 || result < 0);
        if (result == 0)
            kit_check_set(&set, seal.pages);
        kit_set_close(&set);
    }
}

/* A disk that takes nothing, but says that all is well. */
static ssize_t
write_nothing(int fd, const void *bytes, size_t size, off_t offset)
{
    return 0;
}

static void
test_nothing_written(void)
{
    const RecallIo io = { .pread = pread, .pwrite = write_nothing };

    g_assert_cmpint(recall_write_all(&io, 1, "bytes", 5, 0), ==, -EIO);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/crypto-faults/keys", test_keys);
    g_test_add_func("/flyway/crypto-faults/hasher", test_hasher);
    g_test_add_func("/flyway/crypto-faults/ciphers", test_ciphers);
    g_test_add_func("/flyway/crypto-faults/seal", test_seal);
    g_test_add_func("/flyway/crypto-faults/nothing-written", test_nothing_written);
    return g_test_run();
}
