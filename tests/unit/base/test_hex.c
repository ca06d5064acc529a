/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

static void
test_there_and_back(void)
{
    guint8 bytes[256], back[256];
    g_autofree char *text = NULL;

    for (guint i = 0; i < sizeof bytes; i++)
        bytes[i] = (guint8)i;
    text = hex_encode(bytes, sizeof bytes);
    g_assert_true(g_str_has_prefix(text, "000102"));
    g_assert_true(g_str_has_suffix(text, "fdfeff"));
    g_assert_true(hex_decode(text, back, sizeof back));
    g_assert_cmpmem(bytes, sizeof bytes, back, sizeof back);
}

static void
test_what_is_taken(void)
{
    static const char *const bad[] = { NULL,     "",     "a",    "abc", "abcde",
                                       "abcdef", "0g12", "12 3", "+1-2" };
    g_autofree char *nothing = hex_encode(NULL, 0);
    guint8 out[2] = { 0 };

    g_assert_cmpstr(nothing, ==, "");
    g_assert_true(hex_decode("aBc9", out, 2));
    g_assert_cmpint(out[0], ==, 0xab);
    g_assert_cmpint(out[1], ==, 0xc9);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(hex_decode(bad[i], out, 2));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hex/there-and-back", test_there_and_back);
    g_test_add_func("/hex/what-is-taken", test_what_is_taken);
    return g_test_run();
}
