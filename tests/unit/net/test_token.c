/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "base/error.h"
#include "net/identity.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdeffedcba9876543210fedcba9876543210"

static void
test_new(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (int i = 0; i < 200; i++) {
        char *token = token_new("gwa_", FINGERPRINT);
        g_autofree char *fingerprint = NULL;
        g_autoptr(GError) error = NULL;
        g_assert_cmpuint(strlen(token), ==, 80);
        g_assert_true(token_parse(token, "gwa_", &fingerprint, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(fingerprint, ==, "0123456789abcdef0123456789abcdef");
        g_assert_true(g_hash_table_add(seen, token));
    }
}

static void
test_prefixes_differ(void)
{
    g_autofree char *token = token_new("gwj_", FINGERPRINT);
    g_autoptr(GError) error = NULL;

    g_assert_true(token_parse(token, "gwj_", NULL, &error));
    g_assert_false(token_parse(token, "gwa_", NULL, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    /* It may be somebody's: never in a message. */
    g_assert_null(strstr(error->message, token + 10));
}

static void
test_damaged(void)
{
    g_autofree char *token = token_new("gwa_", FINGERPRINT);
    gsize length = strlen(token);

    for (gsize i = 0; i < length; i++) {
        g_autofree char *shorter = g_strndup(token, i);
        g_autofree char *odd = g_strdup(token);
        odd[i] = '!';
        g_assert_false(token_parse(shorter, "gwa_", NULL, NULL));
        g_assert_false(token_parse(odd, "gwa_", NULL, NULL));
    }
    g_autofree char *longer = g_strconcat(token, "A", NULL);
    g_assert_false(token_parse(longer, "gwa_", NULL, NULL));
    g_autofree char *upper = g_strdup(token);
    upper[14] = 'A';
    g_assert_false(token_parse(upper, "gwa_", NULL, NULL));
}

static void
test_hash(void)
{
    g_autofree char *hash = token_hash("abc");

    g_assert_cmpstr(hash, ==, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void
test_random(void)
{
    g_autofree char *first = random_hex_256();
    g_autofree char *second = random_hex_256();

    g_assert_cmpuint(strlen(first), ==, 64);
    g_assert_cmpuint(strspn(first, "0123456789abcdef"), ==, 64);
    g_assert_cmpstr(first, !=, second);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/token/new", test_new);
    g_test_add_func("/token/prefixes-differ", test_prefixes_differ);
    g_test_add_func("/token/damaged", test_damaged);
    g_test_add_func("/token/hash", test_hash);
    g_test_add_func("/token/random", test_random);
    return g_test_run();
}
