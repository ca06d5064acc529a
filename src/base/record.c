/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A record is a plain struct; its RecordType is a const table that says of each field what it is
 * and at which offset. Everything here walks that table, so a field that is added to a table has at
 * once its JSON, its copy, its comparison and its end.
 *
 * Ownership: a record owns its strings, string lists, inner records and lists; record_free() frees
 * them all. A field that is NULL is absent; an empty list and NULL are the same list
 * (record_equal).
 *
 * In JSON: numbers, truth values and words of enums are always written, also when zero; lists are,
 * as
 * [] when empty; strings and inner records that are NULL are left out. A double that isn't finite
 * has no JSON and is written as null, which is read as 0. A string that isn't UTF-8 (libvirt and
 * the kernel promise nothing) is made so on writing.
 *
 * Reading carries the way from the root as a list on the stack, made into text only for an error.
 * Types contain no cycles, so the recursion is as deep as the types are.
 */
#include "base/record.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

#define FIELD(T, record, field) ((T *)(void *)((char *)(record) + (field)->offset))
#define CONST_FIELD(T, record, field)                                                              \
    ((const T *)(const void *)((const char *)(record) + (field)->offset))

/* A pointer field, whatever it points to. */
static gpointer
pointer_of(gconstpointer record, const RecordField *field)
{
    return *(gpointer const *)(gconstpointer)((const char *)record + field->offset);
}

/* ---- life ------------------------------------------------------------------------------------ */

gpointer
record_new(const RecordType *type)
{
    return g_malloc0(type->size);
}

static void
free_field(const RecordField *field, gpointer value)
{
    if (value == NULL)
        return;
    switch (field->kind) {
    case RECORD_STRING:
        g_free(value);
        break;
    case RECORD_STRINGS:
        g_strfreev(value);
        break;
    case RECORD_ONE:
        record_free(field->type, value);
        break;
    case RECORD_LIST:
        g_ptr_array_unref(value);
        break;
    default:
        g_assert_not_reached();
    }
}

static gboolean
is_pointer(RecordKind kind)
{
    return kind == RECORD_STRING || kind == RECORD_STRINGS || kind == RECORD_ONE ||
           kind == RECORD_LIST;
}

void
record_free(const RecordType *type, gpointer record)
{
    if (record == NULL)
        return;
    for (gsize i = 0; i < type->n_fields; i++)
        if (is_pointer(type->fields[i].kind))
            free_field(&type->fields[i], pointer_of(record, &type->fields[i]));
    g_free(record);
}

GPtrArray *
record_list_new(const RecordType *type)
{
    g_assert(type->destroy != NULL);
    return g_ptr_array_new_with_free_func(type->destroy);
}

static GPtrArray *
copy_list(const RecordType *type, const GPtrArray *list)
{
    GPtrArray *copy = record_list_new(type);
    for (guint i = 0; i < list->len; i++)
        g_ptr_array_add(copy, record_copy(type, g_ptr_array_index(list, i)));
    return copy;
}

static gpointer
copy_value(const RecordField *field, gpointer value)
{
    if (value == NULL)
        return NULL;
    switch (field->kind) {
    case RECORD_STRING:
        return g_strdup(value);
    case RECORD_STRINGS:
        return g_strdupv(value);
    case RECORD_ONE:
        return record_copy(field->type, value);
    case RECORD_LIST:
        return copy_list(field->type, value);
    default:
        g_assert_not_reached();
    }
}

gpointer
record_copy(const RecordType *type, gconstpointer record)
{
    if (record == NULL)
        return NULL;
    gpointer copy = g_memdup2(record, type->size);
    for (gsize i = 0; i < type->n_fields; i++) {
        const RecordField *field = &type->fields[i];
        if (is_pointer(field->kind))
            *FIELD(gpointer, copy, field) = copy_value(field, pointer_of(record, field));
    }
    return copy;
}

/* ---- comparison --------------------------------------------------------------------------------
 */

static gboolean
strings_equal(const char *const *a, const char *const *b)
{
    static const char *const none[] = { NULL };
    return g_strv_equal(a != NULL ? a : none, b != NULL ? b : none);
}

static gboolean
lists_equal(const RecordType *type, const GPtrArray *a, const GPtrArray *b)
{
    guint n_a = a != NULL ? a->len : 0, n_b = b != NULL ? b->len : 0;
    if (n_a != n_b)
        return FALSE;
    for (guint i = 0; i < n_a; i++)
        if (!record_equal(type, g_ptr_array_index(a, i), g_ptr_array_index(b, i)))
            return FALSE;
    return TRUE;
}

static gboolean
field_equal(const RecordField *field, gconstpointer a, gconstpointer b)
{
    switch (field->kind) {
    case RECORD_STRING:
        return g_strcmp0(pointer_of(a, field), pointer_of(b, field)) == 0;
    case RECORD_BOOL:
        return !*CONST_FIELD(gboolean, a, field) == !*CONST_FIELD(gboolean, b, field);
    case RECORD_INT:
        return *CONST_FIELD(gint64, a, field) == *CONST_FIELD(gint64, b, field);
    case RECORD_DOUBLE: /* the same number, not nearly the same: JSON keeps all of its digits */
        return !isgreater(*CONST_FIELD(double, a, field), *CONST_FIELD(double, b, field)) &&
               !isless(*CONST_FIELD(double, a, field), *CONST_FIELD(double, b, field));
    case RECORD_STRINGS:
        return strings_equal(pointer_of(a, field), pointer_of(b, field));
    case RECORD_ENUM:
        return *CONST_FIELD(int, a, field) == *CONST_FIELD(int, b, field);
    case RECORD_ONE:
        return record_equal(field->type, pointer_of(a, field), pointer_of(b, field));
    case RECORD_LIST:
        return lists_equal(field->type, pointer_of(a, field), pointer_of(b, field));
    }
    g_assert_not_reached();
}

gboolean
record_equal(const RecordType *type, gconstpointer a, gconstpointer b)
{
    if (a == NULL || b == NULL)
        return a == b;
    for (gsize i = 0; i < type->n_fields; i++)
        if (!field_equal(&type->fields[i], a, b))
            return FALSE;
    return TRUE;
}

/* ---- to JSON ------------------------------------------------------------------------------------
 */

static JsonNode *
string_node(const char *text)
{
    JsonNode *node = json_node_alloc();
    if (g_utf8_validate(text, -1, NULL))
        return json_node_init_string(node, text);
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_node_init_string(node, valid);
}

static JsonNode *
strings_node(const char *const *strings)
{
    g_autoptr(JsonArray) array = json_array_new();
    for (gsize i = 0; strings != NULL && strings[i] != NULL; i++)
        json_array_add_element(array, string_node(strings[i]));
    return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *
double_node(double value)
{
    return isfinite(value) ? json_node_init_double(json_node_alloc(), value)
                           : json_node_init_null(json_node_alloc());
}

static JsonNode *
enum_node(const RecordField *field, int value)
{
    g_assert(value >= 0 && value < (int)g_strv_length((GStrv)field->nicks));
    return json_node_init_string(json_node_alloc(), field->nicks[value]);
}

/* NULL where the member is left out. */
static JsonNode *
field_node(const RecordField *field, gconstpointer record)
{
    switch (field->kind) {
    case RECORD_STRING: {
        const char *text = pointer_of(record, field);
        return text != NULL ? string_node(text) : NULL;
    }
    case RECORD_BOOL:
        return json_node_init_boolean(json_node_alloc(),
                                      *CONST_FIELD(gboolean, record, field) != 0);
    case RECORD_INT:
        return json_node_init_int(json_node_alloc(), *CONST_FIELD(gint64, record, field));
    case RECORD_DOUBLE:
        return double_node(*CONST_FIELD(double, record, field));
    case RECORD_STRINGS:
        return strings_node(pointer_of(record, field));
    case RECORD_ENUM:
        return enum_node(field, *CONST_FIELD(int, record, field));
    case RECORD_ONE: {
        gconstpointer inner = pointer_of(record, field);
        return inner != NULL ? record_to_json(field->type, inner) : NULL;
    }
    case RECORD_LIST:
        return record_list_to_json(field->type, pointer_of(record, field));
    }
    g_assert_not_reached();
}

JsonNode *
record_to_json(const RecordType *type, gconstpointer record)
{
    g_autoptr(JsonObject) object = json_object_new();
    for (gsize i = 0; i < type->n_fields; i++) {
        JsonNode *node = field_node(&type->fields[i], record);
        if (node != NULL)
            json_object_set_member(object, type->fields[i].name, node);
    }
    return json_node_init_object(json_node_alloc(), object);
}

JsonNode *
record_list_to_json(const RecordType *type, GPtrArray *list)
{
    g_autoptr(JsonArray) array = json_array_new();
    for (guint i = 0; list != NULL && i < list->len; i++)
        json_array_add_element(array, record_to_json(type, g_ptr_array_index(list, i)));
    return json_node_init_array(json_node_alloc(), array);
}

char *
record_to_string(const RecordType *type, gconstpointer record)
{
    g_autoptr(JsonNode) node = record_to_json(type, record);
    return json_text(node, FALSE);
}

/* ---- from JSON
 * ------------------------------------------------------------------------------------ */

/* Where the reader is: a member's name, or an index (name NULL), and what it is in. */
typedef struct Path Path;
struct Path {
    const Path *up;
    const char *name;
    guint index;
};

static void
append_path(GString *text, const Path *path)
{
    if (path->up != NULL)
        append_path(text, path->up);
    if (path->name == NULL)
        g_string_append_printf(text, "[%u]", path->index);
    else
        g_string_append_printf(text, "%s%s", text->len > 0 ? "." : "", path->name);
}

static const char *
kind_of(JsonNode *node)
{
    switch (json_node_get_node_type(node)) {
    case JSON_NODE_OBJECT:
        return "an object";
    case JSON_NODE_ARRAY:
        return "a list";
    case JSON_NODE_NULL:
        return "null";
    case JSON_NODE_VALUE:
        break;
    }
    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING:
        return "a string";
    case G_TYPE_BOOLEAN:
        return "true or false";
    case G_TYPE_INT64:
        return "an integer";
    default:
        return "a fraction";
    }
}

static gboolean
fail_at(const Path *path, const char *expected, JsonNode *node, GError **error)
{
    g_autoptr(GString) where = g_string_new(NULL);
    append_path(where, path);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: expected %s, not %s", where->str,
                expected, kind_of(node));
    return FALSE;
}

static gboolean
holds(JsonNode *node, GType value_type)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == value_type;
}

static gboolean
read_int(JsonNode *node, gint64 *value)
{
    if (holds(node, G_TYPE_INT64)) {
        *value = json_node_get_int(node);
        return TRUE;
    }
    if (!holds(node, G_TYPE_DOUBLE))
        return FALSE;
    /* JSON has only numbers: 5.0 and 1e3 are integers, as far as a double holds all of them. */
    double number = json_node_get_double(node);
    if (fabs(number) > 9007199254740992.0 || trunc(number) < number || trunc(number) > number)
        return FALSE;
    *value = (gint64)number;
    return TRUE;
}

static gboolean
read_double(JsonNode *node, double *value)
{
    if (!holds(node, G_TYPE_DOUBLE) && !holds(node, G_TYPE_INT64))
        return FALSE;
    *value = json_node_get_double(node); /* json-glib converts integers */
    return isfinite(*value);
}

static gboolean
read_bool(JsonNode *node, gboolean *value)
{
    if (!holds(node, G_TYPE_BOOLEAN))
        return FALSE;
    *value = json_node_get_boolean(node);
    return TRUE;
}

static gboolean
read_string(JsonNode *node, char **value)
{
    if (!holds(node, G_TYPE_STRING))
        return FALSE;
    g_free(*value); /* a table may name a field twice only by mistake, but it shall not leak */
    *value = json_node_dup_string(node);
    return TRUE;
}

static gboolean
read_enum(const RecordField *field, JsonNode *node, int *value, const Path *path, GError **error)
{
    if (!holds(node, G_TYPE_STRING))
        return fail_at(path, "a string", node, error);
    const char *word = json_node_get_string(node);
    for (int i = 0; field->nicks[i] != NULL; i++)
        if (strcmp(word, field->nicks[i]) == 0) {
            *value = i;
            return TRUE;
        }
    g_autoptr(GString) where = g_string_new(NULL);
    append_path(where, path);
    g_autofree char *known = g_strjoinv(", ", (GStrv)field->nicks);
    g_autofree char *shown = g_utf8_substring(word, 0, MIN(g_utf8_strlen(word, -1), 40));
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: “%s” is none of %s", where->str,
                shown, known);
    return FALSE;
}

static gboolean
read_strings(JsonNode *node, GStrv *value, const Path *path, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return fail_at(path, "a list of strings", node, error);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    JsonArray *array = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        Path at = { .up = path, .index = i };
        if (!holds(element, G_TYPE_STRING))
            return fail_at(&at, "a string", element, error);
        g_strv_builder_add(builder, json_node_get_string(element));
    }
    *value = g_strv_builder_end(builder);
    return TRUE;
}

static gpointer read_record(const RecordType *type, JsonNode *node, const Path *path,
                            GError **error);

static gboolean
read_list(const RecordType *type, JsonNode *node, GPtrArray **value, const Path *path,
          GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return fail_at(path, "a list", node, error);
    g_autoptr(GPtrArray) list = record_list_new(type);
    JsonArray *array = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        Path at = { .up = path, .index = i };
        gpointer element = read_record(type, json_array_get_element(array, i), &at, error);
        if (element == NULL)
            return FALSE;
        g_ptr_array_add(list, element);
    }
    *value = g_steal_pointer(&list);
    return TRUE;
}

static gboolean
read_field(const RecordField *field, JsonNode *node, gpointer record, const Path *path,
           GError **error)
{
    switch (field->kind) {
    case RECORD_STRING:
        return read_string(node, FIELD(char *, record, field)) ||
               fail_at(path, "a string", node, error);
    case RECORD_BOOL:
        return read_bool(node, FIELD(gboolean, record, field)) ||
               fail_at(path, "true or false", node, error);
    case RECORD_INT:
        return read_int(node, FIELD(gint64, record, field)) ||
               fail_at(path, "an integer", node, error);
    case RECORD_DOUBLE:
        return read_double(node, FIELD(double, record, field)) ||
               fail_at(path, "a number", node, error);
    case RECORD_STRINGS:
        return read_strings(node, FIELD(GStrv, record, field), path, error);
    case RECORD_ENUM:
        return read_enum(field, node, FIELD(int, record, field), path, error);
    case RECORD_ONE:
        *FIELD(gpointer, record, field) = read_record(field->type, node, path, error);
        return *FIELD(gpointer, record, field) != NULL;
    case RECORD_LIST:
        return read_list(field->type, node, FIELD(GPtrArray *, record, field), path, error);
    }
    g_assert_not_reached();
}

static gpointer
read_record(const RecordType *type, JsonNode *node, const Path *path, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        Path root = { .name = type->name };
        fail_at(path != NULL ? path : &root, "an object", node, error);
        return NULL;
    }
    JsonObject *object = json_node_get_object(node);
    gpointer record = record_new(type);
    for (gsize i = 0; i < type->n_fields; i++) {
        const RecordField *field = &type->fields[i];
        Path at = { .up = path, .name = field->name };
        JsonNode *member = json_object_get_member(object, field->name);
        if (member == NULL || JSON_NODE_HOLDS_NULL(member))
            continue;
        if (!read_field(field, member, record, &at, error)) {
            record_free(type, record);
            return NULL;
        }
    }
    return record;
}

gpointer
record_from_json(const RecordType *type, JsonNode *node, GError **error)
{
    return read_record(type, node, NULL, error);
}

gpointer
record_from_string(const RecordType *type, const char *text, gssize length, GError **error)
{
    g_autoptr(JsonNode) node =
        json_parse_limited(text, length >= 0 ? (gsize)length : strlen(text), error);
    if (node == NULL) {
        g_prefix_error(error, "%s: ", type->name);
        return NULL;
    }
    return record_from_json(type, node, error);
}
