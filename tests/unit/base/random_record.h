/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <string.h>

#include "base/record.h"

/* Random records of any type, from g_test_rand: run again with --seed to see the same ones. */

static inline char *
random_text(void)
{
    static const char *const parts[] = { "a",
                                         "vda",
                                         "\"",
                                         "\\",
                                         "/",
                                         "\n",
                                         "\x01",
                                         "\x7f",
                                         "ä",
                                         "€",
                                         "\xf0\x9f\x90\xa6" /* a bird */,
                                         " ",
                                         "<&>",
                                         "null",
                                         "0" };
    GString *text = g_string_new(NULL);
    for (int n = g_test_rand_int_range(0, 8); n > 0; n--)
        g_string_append(text, parts[g_test_rand_int_range(0, G_N_ELEMENTS(parts))]);
    return g_string_free(text, FALSE);
}

static inline gint64
random_int(void)
{
    static const gint64 edges[] = {
        0, 1, -1, G_MAXINT64, G_MININT64, G_MAXINT32, 4503599627370497
    };
    if (g_test_rand_bit())
        return edges[g_test_rand_int_range(0, G_N_ELEMENTS(edges))];
    return (gint64)(((guint64)(guint32)g_test_rand_int() << 32) | (guint32)g_test_rand_int());
}

static inline double
random_double(void)
{
    static const double edges[] = {
        0, -1, 0.1, 1e300, -1e-300, 5e-324, 1.7976931348623157e308, 12345678.9
    };
    if (g_test_rand_bit())
        return edges[g_test_rand_int_range(0, G_N_ELEMENTS(edges))];
    return g_test_rand_double_range(-1e12, 1e12);
}

static inline GStrv
random_strings(void)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (int n = g_test_rand_int_range(0, 4); n > 0; n--) {
        g_autofree char *text = random_text();
        g_strv_builder_add(builder, text);
    }
    return g_strv_builder_end(builder);
}

static inline gpointer random_record(const RecordType *type);

static inline GPtrArray *
random_list(const RecordType *type)
{
    GPtrArray *list = record_list_new(type);
    for (int n = g_test_rand_int_range(0, 4); n > 0; n--)
        g_ptr_array_add(list, random_record(type));
    return list;
}

static inline void
random_field(const RecordField *field, gpointer record)
{
    gpointer at = (char *)record + field->offset;
    gboolean absent = g_test_rand_int_range(0, 4) == 0; /* pointers only */
    switch (field->kind) {
    case RECORD_STRING:
        *(char **)at = absent ? NULL : random_text();
        break;
    case RECORD_BOOL:
        *(gboolean *)at = g_test_rand_bit() != 0;
        break;
    case RECORD_INT:
        *(gint64 *)at = random_int();
        break;
    case RECORD_DOUBLE:
        *(double *)at = random_double();
        break;
    case RECORD_STRINGS:
        *(GStrv *)at = absent ? NULL : random_strings();
        break;
    case RECORD_ENUM:
        *(int *)at = g_test_rand_int_range(0, (int)g_strv_length((GStrv)field->nicks));
        break;
    case RECORD_ONE:
        *(gpointer *)at = absent ? NULL : random_record(field->type);
        break;
    case RECORD_LIST:
        *(GPtrArray **)at = absent ? NULL : random_list(field->type);
        break;
    }
}

static inline gpointer
random_record(const RecordType *type)
{
    gpointer record = record_new(type);
    for (gsize i = 0; i < type->n_fields; i++)
        random_field(&type->fields[i], record);
    return record;
}

/* The property: what goes through JSON, or through a copy, comes back equal, and says the same
 * JSON. */
static inline void
assert_round_trip(const RecordType *type, gconstpointer record)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = record_to_string(type, record);
    gpointer back = record_from_string(type, text, -1, &error);
    g_assert_no_error(error);
    g_autofree char *again = record_to_string(type, back);
    g_assert_cmpstr(text, ==, again);
    g_assert_true(record_equal(type, record, back));
    g_assert_null(strchr(text, '\n'));

    gpointer copy = record_copy(type, record);
    record_free(type, back);
    g_assert_true(record_equal(type, record, copy));
    record_free(type, copy);
}
