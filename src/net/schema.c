/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * A Schema is made once from the description: a list of paths, each split into segments (literal or
 * {parameter}) with its operations, each with the compiled rules of its parameters and body
 * (net/rule.c). Paths with literals are tried before those with a parameter in the same place, so
 * that "/tasks/new" would win over "/tasks/{task}". A path is split while it is still
 * percent-encoded and each segment decoded by itself: a name may contain an encoded slash. After
 * schema_new nothing changes any more: any thread may use it. */

#include "net/schema.h"

#include <string.h>
#include "base/json.h"
#include "net/rule.h"

typedef struct {
    char *name;
    gboolean in_path, required;
    const Rule *rule;
} Parameter;

typedef struct {
    GStrv segments;        /* "v1", "{id}" */
    char *text;            /* as in the description */
    GPtrArray *operations; /* SchemaOperation */
} Path;

struct SchemaOperation {
    char *method; /* upper case */
    char *id;
    GPtrArray *parameters; /* Parameter */
    const Rule *body;      /* NULL: takes none */
    gboolean body_required;
};

struct Schema {
    JsonNode *root;
    RuleSet *rules;
    GPtrArray *paths; /* Path, literals first */
};

static const char *const methods[] = { "get",   "put",  "post",    "delete",
                                       "patch", "head", "options", "trace" };

static void
parameter_free(gpointer data)
{
    Parameter *parameter = data;

    g_free(parameter->name);
    g_free(parameter);
}

static void
operation_free(gpointer data)
{
    SchemaOperation *operation = data;

    g_free(operation->method);
    g_free(operation->id);
    g_ptr_array_unref(operation->parameters);
    g_free(operation);
}

static void
path_free(gpointer data)
{
    Path *path = data;

    g_strfreev(path->segments);
    g_free(path->text);
    g_ptr_array_unref(path->operations);
    g_free(path);
}

void
schema_free(Schema *schema)
{
    if (!schema)
        return;
    g_clear_pointer(&schema->paths, g_ptr_array_unref);
    g_clear_pointer(&schema->rules, rule_set_free);
    g_clear_pointer(&schema->root, json_node_unref);
    g_free(schema);
}

/* ---- reading the description ------------------------------------------------------------------
 */

static gboolean
bad(GError **error, const char *where, const char *what)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "API description, %s: %s", where, what);
    return FALSE;
}

static JsonObject *
object_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static const char *
string_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node)
                                                                   : NULL;
}

static gboolean
true_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && json_node_get_value_type(node) == G_TYPE_BOOLEAN && json_node_get_boolean(node);
}

static gboolean
is_segment_of(const Path *path, const char *name)
{
    g_autofree char *segment = g_strdup_printf("{%s}", name);

    return g_strv_contains((const char *const *)path->segments, segment);
}

static gboolean
read_parameter(Schema *schema, const Path *path, SchemaOperation *operation, JsonNode *node,
               GError **error)
{
    JsonObject *root = json_node_get_object(schema->root);
    JsonNode *target = rule_follow(root, node, error);

    if (!target)
        return FALSE;
    JsonObject *object = JSON_NODE_HOLDS_OBJECT(target) ? json_node_get_object(target) : NULL;
    const char *name = object ? string_member(object, "name") : NULL;
    const char *in = object ? string_member(object, "in") : NULL;
    JsonNode *rule = object ? json_object_get_member(object, "schema") : NULL;
    if (!name || !in || !rule)
        return bad(error, path->text, "a parameter needs name, in and schema");
    gboolean in_path = strcmp(in, "path") == 0;
    if (!in_path && strcmp(in, "query") != 0)
        return bad(error, path->text, "a parameter must be in path or query");
    if (in_path && !is_segment_of(path, name))
        return bad(error, path->text, "a path parameter is not in the path");

    Parameter *parameter = g_new0(Parameter, 1);
    g_ptr_array_add(operation->parameters, parameter);
    parameter->name = g_strdup(name);
    parameter->in_path = in_path;
    parameter->required = in_path || true_member(object, "required");
    g_autofree char *where = g_strdup_printf("%s.%s", operation->id, name);
    parameter->rule = rule_compile(schema->rules, rule, where, error);
    return parameter->rule != NULL;
}

static gboolean
read_parameters(Schema *schema, const Path *path, SchemaOperation *operation, JsonObject *holder,
                GError **error)
{
    JsonNode *node = json_object_get_member(holder, "parameters");

    if (!node)
        return TRUE;
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return bad(error, path->text, "parameters must be a list");
    JsonArray *array = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        if (!read_parameter(schema, path, operation, json_array_get_element(array, i), error))
            return FALSE;
    }
    return TRUE;
}

static gboolean
read_body(Schema *schema, SchemaOperation *operation, JsonObject *object, GError **error)
{
    JsonNode *node = json_object_get_member(object, "requestBody");

    if (!node)
        return TRUE;
    JsonNode *target = rule_follow(json_node_get_object(schema->root), node, error);
    if (!target)
        return FALSE;
    JsonObject *body = JSON_NODE_HOLDS_OBJECT(target) ? json_node_get_object(target) : NULL;
    JsonObject *content = body ? object_member(body, "content") : NULL;
    JsonObject *json = content ? object_member(content, "application/json") : NULL;
    JsonNode *rule = json ? json_object_get_member(json, "schema") : NULL;
    if (!rule || json_object_get_size(content) != 1)
        return bad(error, operation->id,
                   "a request body must be application/json with a schema, and only that");
    operation->body_required = true_member(body, "required");
    operation->body = rule_compile(schema->rules, rule, operation->id, error);
    return operation->body != NULL;
}

/* Every {name} of the path must be described. */
static gboolean
check_segments(const Path *path, const SchemaOperation *operation, GError **error)
{
    for (guint i = 0; path->segments[i]; i++) {
        gboolean found = path->segments[i][0] != '{';
        for (guint j = 0; j < operation->parameters->len && !found; j++) {
            const Parameter *parameter = operation->parameters->pdata[j];
            gsize length = strlen(parameter->name);
            found = parameter->in_path &&
                    strncmp(path->segments[i] + 1, parameter->name, length) == 0 &&
                    strcmp(path->segments[i] + 1 + length, "}") == 0;
        }
        if (!found)
            return bad(error, path->text, "a parameter in the path is not described");
    }
    return TRUE;
}

static gboolean
read_operation(Schema *schema, Path *path, const char *method, JsonObject *item, GError **error)
{
    JsonObject *object = object_member(item, method);
    const char *id = object ? string_member(object, "operationId") : NULL;

    if (!id)
        return bad(error, path->text, "an operation has no operationId");
    SchemaOperation *operation = g_new0(SchemaOperation, 1);
    g_ptr_array_add(path->operations, operation);
    operation->method = g_ascii_strup(method, -1);
    operation->id = g_strdup(id);
    operation->parameters = g_ptr_array_new_with_free_func(parameter_free);
    return read_parameters(schema, path, operation, item, error) &&
           read_parameters(schema, path, operation, object, error) &&
           check_segments(path, operation, error) && read_body(schema, operation, object, error);
}

static gboolean
read_path(Schema *schema, const char *text, JsonNode *node, GError **error)
{
    JsonObject *item = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;

    if (!item || *text != '/')
        return bad(error, text, "a path begins with '/' and is an object");
    Path *path = g_new0(Path, 1);
    g_ptr_array_add(schema->paths, path);
    path->text = g_strdup(text);
    path->segments = g_strsplit(text + 1, "/", -1);
    path->operations = g_ptr_array_new_with_free_func(operation_free);
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (json_object_has_member(item, methods[i]) &&
            !read_operation(schema, path, methods[i], item, error))
            return FALSE;
    }
    return TRUE;
}

/* Literals before parameters, segment by segment. */
static int
path_compare(gconstpointer a, gconstpointer b)
{
    const Path *left = *(Path *const *)a, *right = *(Path *const *)b;

    for (guint i = 0; left->segments[i] && right->segments[i]; i++) {
        int difference = (left->segments[i][0] == '{') - (right->segments[i][0] == '{');
        if (difference)
            return difference;
    }
    return strcmp(left->text, right->text);
}

static gboolean
check_ids(const Schema *schema, GError **error)
{
    g_autoptr(GPtrArray) ids = schema_operation_ids(schema);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < ids->len; i++) {
        if (!g_hash_table_add(seen, ids->pdata[i]))
            return bad(error, ids->pdata[i], "two operations have this operationId");
    }
    return TRUE;
}

Schema *
schema_new(const char *json, gsize length, GError **error)
{
    g_autoptr(Schema) schema = g_new0(Schema, 1);
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    schema->root = json_parse_limited(json, length, error);
    if (!schema->root) {
        g_prefix_error(error, "API description: ");
        return NULL;
    }
    JsonObject *root =
        JSON_NODE_HOLDS_OBJECT(schema->root) ? json_node_get_object(schema->root) : NULL;
    JsonObject *paths = root ? object_member(root, "paths") : NULL;
    if (!paths) {
        bad(error, "whole", "it has no paths");
        return NULL;
    }
    schema->rules = rule_set_new(root);
    schema->paths = g_ptr_array_new_with_free_func(path_free);
    json_object_iter_init(&iter, paths);
    while (json_object_iter_next(&iter, &name, &node)) {
        if (!read_path(schema, name, node, error))
            return NULL;
    }
    g_ptr_array_sort(schema->paths, path_compare);
    return check_ids(schema, error) ? g_steal_pointer(&schema) : NULL;
}

GPtrArray *
schema_operation_ids(const Schema *schema)
{
    GPtrArray *ids = g_ptr_array_new();

    for (guint i = 0; i < schema->paths->len; i++) {
        const Path *path = schema->paths->pdata[i];
        for (guint j = 0; j < path->operations->len; j++)
            g_ptr_array_add(ids, ((SchemaOperation *)path->operations->pdata[j])->id);
    }
    return ids;
}

const char *
schema_operation_id(const SchemaOperation *operation)
{
    return operation->id;
}

/* ---- matching ---------------------------------------------------------------------------------
 */

/* Percent-decoded segments of a path; NULL where it is malformed. */
static GStrv
split_path(const char *path)
{
    g_auto(GStrv) parts = *path == '/' ? g_strsplit(path + 1, "/", -1) : NULL;

    for (guint i = 0; parts && parts[i]; i++) {
        char *decoded = g_uri_unescape_string(parts[i], NULL);
        if (!decoded || !g_utf8_validate(decoded, -1, NULL)) {
            g_free(decoded);
            return NULL;
        }
        g_free(parts[i]);
        parts[i] = decoded;
    }
    return g_steal_pointer(&parts);
}

static gboolean
path_matches(const Path *path, GStrv parts)
{
    guint i;

    for (i = 0; path->segments[i] && parts[i]; i++) {
        gboolean ok = path->segments[i][0] == '{' ? parts[i][0] != '\0'
                                                  : strcmp(path->segments[i], parts[i]) == 0;
        if (!ok)
            return FALSE;
    }
    return !path->segments[i] && !parts[i];
}

static const Path *
find_path(const Schema *schema, GStrv parts)
{
    for (guint i = 0; parts && i < schema->paths->len; i++) {
        if (path_matches(schema->paths->pdata[i], parts))
            return schema->paths->pdata[i];
    }
    return NULL;
}

static const SchemaOperation *
find_operation(const Path *path, const char *method)
{
    for (guint i = 0; i < path->operations->len; i++) {
        const SchemaOperation *operation = path->operations->pdata[i];
        if (strcmp(operation->method, method) == 0)
            return operation;
    }
    /* HEAD is GET without the body. */
    return strcmp(method, "HEAD") == 0 ? find_operation(path, "GET") : NULL;
}

static char *
methods_of(const Path *path)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < path->operations->len; i++) {
        const SchemaOperation *operation = path->operations->pdata[i];
        gboolean head = strcmp(operation->method, "GET") == 0;
        g_string_append_printf(text, "%s%s%s", i ? ", " : "", operation->method,
                               head ? ", HEAD" : "");
    }
    return g_string_free(text, FALSE);
}

char *
schema_methods(const Schema *schema, const char *path)
{
    g_auto(GStrv) parts = split_path(path);
    const Path *found = find_path(schema, parts);

    return found ? methods_of(found) : NULL;
}

const SchemaOperation *
schema_match(const Schema *schema, const char *method, const char *path, GHashTable *params,
             GError **error)
{
    g_auto(GStrv) parts = split_path(path);
    const Path *found = find_path(schema, parts);

    if (!found) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "there is nothing at '%.200s' in this API", path);
        return NULL;
    }
    const SchemaOperation *operation = find_operation(found, method);
    if (!operation) {
        g_autofree char *known = methods_of(found);
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED,
                    "%.20s is not possible at '%s'; possible are: %s", method, found->text, known);
        return NULL;
    }
    for (guint i = 0; found->segments[i]; i++) {
        const char *segment = found->segments[i];
        if (*segment == '{')
            g_hash_table_insert(params, g_strndup(segment + 1, strlen(segment) - 2),
                                g_strdup(parts[i]));
    }
    return operation;
}

/* ---- checking ---------------------------------------------------------------------------------
 */

gboolean
schema_check_body(const SchemaOperation *operation, JsonNode *body, GError **error)
{
    if (body && !operation->body) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "body: %s takes none; leave it out",
                    operation->id);
        return FALSE;
    }
    if (!body && operation->body && operation->body_required) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "body: required, but missing");
        return FALSE;
    }
    return !body || rule_check(operation->body, body, "body", error);
}

static const Parameter *
find_parameter(const SchemaOperation *operation, const char *name)
{
    for (guint i = 0; i < operation->parameters->len; i++) {
        const Parameter *parameter = operation->parameters->pdata[i];
        if (strcmp(parameter->name, name) == 0)
            return parameter;
    }
    return NULL;
}

static gboolean
unknown_parameter(const SchemaOperation *operation, const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (guint i = 0; i < operation->parameters->len; i++) {
        const Parameter *parameter = operation->parameters->pdata[i];
        if (!parameter->in_path)
            g_string_append_printf(known, "%s%s", known->len ? ", " : "", parameter->name);
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "unknown query parameter '%.64s'; known are: %s", name,
                known->len ? known->str : "none");
    return FALSE;
}

gboolean
schema_check_parameters(const SchemaOperation *operation, GHashTable *params, GError **error)
{
    GHashTableIter iter;
    gpointer name, value;

    g_hash_table_iter_init(&iter, params);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const Parameter *parameter = find_parameter(operation, name);
        if (!parameter)
            return unknown_parameter(operation, name, error);
        if (!rule_check_text(parameter->rule, value, name, error))
            return FALSE;
    }
    for (guint i = 0; i < operation->parameters->len; i++) {
        const Parameter *parameter = operation->parameters->pdata[i];
        if (parameter->required && !g_hash_table_contains(params, parameter->name)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: required, but missing",
                        parameter->name);
            return FALSE;
        }
    }
    return TRUE;
}
