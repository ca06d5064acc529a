/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/error.h"
#include "random_record.h"

/* A record with a field of every kind, and lists two deep. */
static const char *const colour_nicks[] = { "red", "green", "dark-blue", NULL };

typedef struct {
    char *name;
    gint64 size;
    int colour;
} Leaf;
extern const RecordType leaf_type;
void leaf_free(Leaf *leaf);
static const RecordField leaf_fields[] = {
    RECORD_FIELD(Leaf, name, STRING),
    RECORD_FIELD(Leaf, size, INT),
    RECORD_ENUM_FIELD(Leaf, colour, colour_nicks),
};
RECORD_DEFINE(Leaf, leaf, "leaf", leaf_fields);

typedef struct {
    gboolean alive;
    GStrv words;
    GPtrArray *leaves;
} Branch;
extern const RecordType branch_type;
void branch_free(Branch *branch);
static const RecordField branch_fields[] = {
    RECORD_FIELD(Branch, alive, BOOL),
    RECORD_FIELD(Branch, words, STRINGS),
    RECORD_FIELD_OF(Branch, leaves, LIST, leaf_type),
};
RECORD_DEFINE(Branch, branch, "branch", branch_fields);

typedef struct {
    double height;
    Leaf *top;
    GPtrArray *branches;
} Tree;
extern const RecordType tree_type;
void tree_free(Tree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tree, tree_free)
static const RecordField tree_fields[] = {
    RECORD_FIELD(Tree, height, DOUBLE),
    RECORD_FIELD_OF(Tree, top, ONE, leaf_type),
    RECORD_FIELD_OF(Tree, branches, LIST, branch_type),
};
RECORD_DEFINE(Tree, tree, "tree", tree_fields);

static void
test_random_round_trips(void)
{
    for (int round = 0; round < 500; round++) {
        g_autoptr(Tree) tree = random_record(&tree_type);
        assert_round_trip(&tree_type, tree);
    }
}

/* A change of any one field is seen by record_equal. */
static void
test_equal_sees_each_field(void)
{
    static const char *const changes[] = {
        "{\"height\":1.5}",
        "{\"top\":{\"name\":\"a\"}}",
        "{\"top\":{\"name\":\"\"}}",
        "{\"top\":{}}",
        "{\"top\":{\"size\":1}}",
        "{\"top\":{\"colour\":\"green\"}}",
        "{\"branches\":[{}]}",
        "{\"branches\":[{},{}]}",
        "{\"branches\":[{\"alive\":true}]}",
        "{\"branches\":[{\"words\":[\"\"]}]}",
        "{\"branches\":[{\"words\":[\"\",\"\"]}]}",
        "{\"branches\":[{\"leaves\":[{}]}]}",
        "{}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++)
        for (gsize j = 0; j < G_N_ELEMENTS(changes); j++) {
            g_autoptr(Tree) a = record_from_string(&tree_type, changes[i], -1, NULL);
            g_autoptr(Tree) b = record_from_string(&tree_type, changes[j], -1, NULL);
            g_assert_cmpint(record_equal(&tree_type, a, b), ==, i == j);
        }
    g_autoptr(Tree) none = record_from_string(&tree_type, "{}", -1, NULL);
    g_autoptr(Tree) empty = record_from_string(&tree_type, "{\"branches\":[]}", -1, NULL);
    g_assert_true(record_equal(&tree_type, none, empty));
    g_assert_true(record_equal(&tree_type, NULL, NULL));
    g_assert_false(record_equal(&tree_type, none, NULL));
}

static void
test_zeros_are_written_and_nulls_left_out(void)
{
    g_autoptr(Tree) tree = record_new(&tree_type);
    g_autofree char *bare = record_to_string(&tree_type, tree);
    g_assert_cmpstr(bare, ==, "{\"height\":0.0,\"branches\":[]}");
    tree->top = record_new(&leaf_type);
    tree->height = NAN;
    g_autofree char *text = record_to_string(&tree_type, tree);
    g_assert_cmpstr(text, ==,
                    "{\"height\":null,\"top\":{\"size\":0,\"colour\":\"red\"},\"branches\":[]}");
}

static void
test_foreign_bytes_become_utf8(void)
{
    g_autoptr(Tree) tree = record_new(&tree_type);
    tree->top = record_new(&leaf_type);
    tree->top->name = g_strdup("disk\xff");
    g_autofree char *text = record_to_string(&tree_type, tree);
    g_autoptr(Tree) back = record_from_string(&tree_type, text, -1, NULL);
    g_assert_cmpstr(back->top->name, ==, "disk\xef\xbf\xbd");
}

static void
test_unknown_and_null_members(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tree) tree = record_from_string(
        &tree_type, "{\"later\":{\"x\":[1]},\"top\":null,\"branches\":null,\"height\":null}", -1,
        &error);
    g_assert_no_error(error);
    g_assert_null(tree->top);
    g_assert_null(tree->branches);
    g_assert_cmpfloat(tree->height, ==, 0);
}

static void
test_numbers(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tree) tree =
        record_from_string(&tree_type, "{\"height\":3,\"top\":{\"size\":1e3}}", -1, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(tree->height, ==, 3);
    g_assert_cmpint(tree->top->size, ==, 1000);
}

static void
test_errors_name_the_path(void)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "[]", "tree: expected an object, not a list" },
        { "{\"height\":\"1\"}", "height: expected a number, not a string" },
        { "{\"top\":3}", "top: expected an object, not an integer" },
        { "{\"top\":{\"name\":7}}", "top.name: expected a string, not an integer" },
        { "{\"top\":{\"size\":1.5}}", "top.size: expected an integer, not a fraction" },
        { "{\"top\":{\"size\":1e300}}", "top.size: expected an integer, not a fraction" },
        { "{\"top\":{\"size\":true}}", "top.size: expected an integer, not true or false" },
        { "{\"top\":{\"colour\":2}}", "top.colour: expected a string, not an integer" },
        { "{\"top\":{\"colour\":\"blue\"}}",
          "top.colour: “blue” is none of red, green, dark-blue" },
        { "{\"branches\":{}}", "branches: expected a list, not an object" },
        { "{\"branches\":[null]}", "branches[0]: expected an object, not null" },
        { "{\"branches\":[{},{\"alive\":1}]}",
          "branches[1].alive: expected true or false, not an integer" },
        { "{\"branches\":[{\"words\":\"a\"}]}",
          "branches[0].words: expected a list of strings, not a string" },
        { "{\"branches\":[{\"words\":[\"a\",null]}]}",
          "branches[0].words[1]: expected a string, not null" },
        { "{\"branches\":[{},{},{\"leaves\":[{},{\"name\":[]}]}]}",
          "branches[2].leaves[1].name: expected a string, not a list" },
        { "{\"top\"", "tree: Not valid JSON: byte 6: expected ':'" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(record_from_string(&tree_type, rows[i].text, -1, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, rows[i].message);
    }
}

static void
test_length_is_kept(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tree) tree = record_from_string(&tree_type, "{\"height\":2}garbage", 12, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(tree->height, ==, 2);
}

static void
test_lists_own_their_elements(void)
{
    g_autoptr(GPtrArray) list =
        record_list_new(&leaf_type); /* freed with its leaves: LeakSanitizer */
    Leaf *leaf = record_new(&leaf_type);
    leaf->name = g_strdup("a");
    g_ptr_array_add(list, leaf);
    g_autoptr(JsonNode) node = record_list_to_json(&leaf_type, list);
    g_autofree char *text = json_text(node, FALSE);
    g_assert_cmpstr(text, ==, "[{\"name\":\"a\",\"size\":0,\"colour\":\"red\"}]");
    g_autoptr(JsonNode) none = record_list_to_json(&leaf_type, NULL);
    g_autofree char *none_text = json_text(none, FALSE);
    g_assert_cmpstr(none_text, ==, "[]");
    record_free(&leaf_type, NULL);
    g_assert_null(record_copy(&leaf_type, NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/record/random-round-trips", test_random_round_trips);
    g_test_add_func("/record/equal-sees-each-field", test_equal_sees_each_field);
    g_test_add_func("/record/zeros-and-nulls", test_zeros_are_written_and_nulls_left_out);
    g_test_add_func("/record/foreign-bytes", test_foreign_bytes_become_utf8);
    g_test_add_func("/record/unknown-and-null-members", test_unknown_and_null_members);
    g_test_add_func("/record/numbers", test_numbers);
    g_test_add_func("/record/errors-name-the-path", test_errors_name_the_path);
    g_test_add_func("/record/length-is-kept", test_length_is_kept);
    g_test_add_func("/record/lists-own-their-elements", test_lists_own_their_elements);
    return g_test_run();
}
