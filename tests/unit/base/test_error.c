/* SPDX-License-Identifier: Apache-2.0 */
#include <gio/gio.h>

#include "base/error.h"

static void
test_nicks_both_ways(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (int code = 0; code < GODWIT_N_ERRORS; code++) {
        g_autoptr(GError) error = g_error_new_literal(GODWIT_ERROR, code, "x");
        const char *nick = godwit_error_nick(error);
        g_assert_nonnull(nick);
        g_assert_true(g_hash_table_add(seen, (gpointer)nick));
        g_assert_cmpint(godwit_error_from_nick(nick), ==, code);
    }
}

static void
test_some_words(void)
{
    g_assert_cmpstr(g_quark_to_string(GODWIT_ERROR), ==, "godwit-error-quark");
    g_assert_cmpint(godwit_error_from_nick("no-space"), ==, GODWIT_ERROR_NO_SPACE);
    g_assert_cmpint(godwit_error_from_nick("unsettled"), ==, GODWIT_ERROR_UNSETTLED);
    g_assert_cmpint(godwit_error_from_nick("no such word"), ==, GODWIT_ERROR_INTERNAL);
    g_assert_cmpint(godwit_error_from_nick(NULL), ==, GODWIT_ERROR_INTERNAL);
}

static void
test_other_domains(void)
{
    static const struct {
        int code;
        const char *nick;
    } rows[] = {
        { G_IO_ERROR_CANCELLED, "cancelled" },
        { G_IO_ERROR_TIMED_OUT, "timeout" },
        { G_IO_ERROR_CONNECTION_REFUSED, "unreachable" },
        { G_IO_ERROR_BROKEN_PIPE, "unreachable" },
        { G_IO_ERROR_HOST_UNREACHABLE, "unreachable" },
        { G_IO_ERROR_NO_SPACE, "no-space" },
        { G_IO_ERROR_FAILED, "internal" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = g_error_new_literal(G_IO_ERROR, rows[i].code, "x");
        g_assert_cmpstr(godwit_error_nick(error), ==, rows[i].nick);
    }
    g_autoptr(GError) tls = g_error_new_literal(G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE, "x");
    g_assert_cmpstr(godwit_error_nick(tls), ==, "unauthorized");
    g_autoptr(GError) name = g_error_new_literal(G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "x");
    g_assert_cmpstr(godwit_error_nick(name), ==, "unreachable");
    g_autoptr(GError) foreign = g_error_new_literal(G_MARKUP_ERROR, 0, "x");
    g_assert_cmpstr(godwit_error_nick(foreign), ==, "internal");
    g_autoptr(GError) beyond = g_error_new_literal(GODWIT_ERROR, 9999, "x");
    g_assert_cmpstr(godwit_error_nick(beyond), ==, "internal");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/nicks-both-ways", test_nicks_both_ways);
    g_test_add_func("/error/some-words", test_some_words);
    g_test_add_func("/error/other-domains", test_other_domains);
    return g_test_run();
}
