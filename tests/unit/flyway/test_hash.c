/* SPDX-License-Identifier: Apache-2.0 */
/* Names of pages: HMAC-SHA256 cut to 128 bits, whatever was named before. */
#include <string.h>
#include "flyway/hash.h"

static void
test_is_hmac_sha256(void)
{
    guint8 key[PAGE_KEY_BYTES], page[PAGE_BYTES], got[PAGE_HASH_BYTES], want[32];
    g_autoptr(GHmac) hmac = NULL;
    g_autoptr(PageHasher) hasher = NULL;
    gsize length = sizeof want;

    for (guint i = 0; i < sizeof key; i++)
        key[i] = (guint8)(i * 7);
    for (guint i = 0; i < sizeof page; i++)
        page[i] = (guint8)(i * i >> 3);
    hasher = hash_new(key);
    g_assert_nonnull(hasher);
    hmac = g_hmac_new(G_CHECKSUM_SHA256, key, sizeof key);
    g_hmac_update(hmac, page, sizeof page);
    g_hmac_get_digest(hmac, want, &length);
    for (guint i = 0; i < 3; i++) {
        memset(got, 0, sizeof got);
        page_hash(hasher, page, got);
        g_assert_cmpmem(got, sizeof got, want, sizeof got);
    }
}

static void
test_key_and_page_matter(void)
{
    static const guint8 key_a[PAGE_KEY_BYTES] = { 1 }, key_b[PAGE_KEY_BYTES] = { 2 };
    g_autoptr(PageHasher) a = hash_new(key_a), b = hash_new(key_b);
    guint8 page[PAGE_BYTES] = { 0 }, one[PAGE_HASH_BYTES], two[PAGE_HASH_BYTES];

    page_hash(a, page, one);
    page_hash(b, page, two);
    g_assert_cmpint(memcmp(one, two, sizeof one), !=, 0);
    page[PAGE_BYTES - 1] = 1;
    page_hash(a, page, two);
    g_assert_cmpint(memcmp(one, two, sizeof one), !=, 0);
    hash_free(NULL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/hash/is-hmac-sha256", test_is_hmac_sha256);
    g_test_add_func("/flyway/hash/key-and-page-matter", test_key_and_page_matter);
    return g_test_run();
}
