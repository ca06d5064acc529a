/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "base/error.h"
#include "base/json.h"
#include "net/schema.h"
#include "schema/agent.h"
#include "schema/openapi.h"

static char *
quoted(const char *text)
{
    return g_strdelimit(g_strdup(text), "'", '"');
}

/* A description with one operation whose body has this schema. NULL with error. */
static Schema *
schema_of(const char *body, GError **error)
{
    g_autofree char *json =
        g_strdup_printf("{'paths': {'/x': {'post': {'operationId': 'op', 'requestBody': "
                        "{'content': {'application/json': {'schema': %s}}}}}}, "
                        "'components': {'schemas': {'Uuid': {'type': 'string', 'format': 'uuid'}, "
                        "'Again': {'$ref': '#/components/schemas/Uuid'}, "
                        "'Tree': {'type': 'object', 'required': ['name'], 'properties': {'name': "
                        "{'type': 'string'}, 'children': "
                        "{'type': 'array', 'items': {'$ref': '#/components/schemas/Tree'}}}}}}}",
                        body);

    g_strdelimit(json, "'", '"');
    return schema_new(json, strlen(json), error);
}

static const SchemaOperation *
operation_of(const Schema *schema)
{
    g_autoptr(GHashTable) params = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    const SchemaOperation *operation = schema_match(schema, "POST", "/x", params, NULL);

    g_assert_nonnull(operation);
    return operation;
}

#define UUID "'11111111-2222-4333-8444-555555555555'"

static const struct {
    const char *schema, *body, *error; /* error NULL: good */
} bodies[] = {
    { "{'type': 'string'}", "'x'", NULL },
    { "{'type': 'string'}", "1", "body: expected a string" },
    { "{'type': 'string'}", "null", "body: expected a string" },
    { "{'type': 'string', 'nullable': true}", "null", NULL },
    { "{'type': 'string', 'nullable': true}", "true", "body: expected a string" },
    { "{'type': 'integer'}", "9223372036854775807", NULL },
    { "{'type': 'integer'}", "1.5", "body: expected an integer" },
    { "{'type': 'integer'}", "'1'", "body: expected an integer" },
    { "{'type': 'number'}", "1", NULL },
    { "{'type': 'number'}", "1.5e3", NULL },
    { "{'type': 'number'}", "true", "body: expected a number" },
    { "{'type': 'boolean'}", "false", NULL },
    { "{'type': 'boolean'}", "0", "body: expected true or false" },
    { "{'type': 'array'}", "[1, 'a', null]", NULL },
    { "{'type': 'array'}", "{}", "body: expected a list" },
    { "{'type': 'object'}", "{}", NULL },
    { "{'type': 'object'}", "[]", "body: expected an object" },
    { "{}", "[{'anything': null}]", NULL },

    { "{'type': 'integer', 'minimum': 3}", "3", NULL },
    { "{'type': 'integer', 'minimum': 3}", "2", "body: must be at least 3" },
    { "{'type': 'integer', 'maximum': 3}", "3", NULL },
    { "{'type': 'integer', 'maximum': 3}", "4", "body: must be at most 3" },
    { "{'type': 'integer', 'maximum': 9223372036854775806}", "9223372036854775807",
      "body: must be at most 9223372036854775806" },
    { "{'type': 'number', 'minimum': 0.5}", "0.4", "body: must be at least 0.5" },
    { "{'type': 'number', 'minimum': 0.5}", "1", NULL },

    { "{'type': 'string', 'minLength': 1}", "''", "body: must not be empty" },
    { "{'type': 'string', 'minLength': 2}", "'ä'", "body: needs at least 2 characters, has 1" },
    { "{'type': 'string', 'maxLength': 2}", "'ää'", NULL },
    { "{'type': 'string', 'maxLength': 2}", "'äää'", "body: may have at most 2 characters, has 3" },
    { "{'type': 'string', 'pattern': '^[a-z]+$'}", "'abc'", NULL },
    { "{'type': 'string', 'pattern': '^[a-z]+$'}", "'abc\\n'", "body: doesn't match '^[a-z]+$'" },
    { "{'type': 'string', 'pattern': 'b'}", "'abc'", NULL },
    { "{'type': 'string', 'format': 'uuid'}", UUID, NULL },
    { "{'type': 'string', 'format': 'uuid'}", "'11111111-2222-4333-8444-55555555555'",
      "body: expected a UUID" },
    { "{'type': 'string', 'enum': ['a', 'b']}", "'b'", NULL },
    { "{'type': 'string', 'enum': ['a', 'b']}", "'c'", "body: must be one of \"a\", \"b\"" },
    { "{'enum': [1, null]}", "null", NULL },
    { "{'enum': [1, null]}", "2", "body: must be one of 1, null" },

    { "{'type': 'array', 'minItems': 1}", "[]", "body: needs at least 1 elements, has 0" },
    { "{'type': 'array', 'maxItems': 1}", "[1, 2]", "body: may have at most 1 elements, has 2" },
    { "{'type': 'array', 'items': {'type': 'integer'}}", "[1, 2, 'x']",
      "body[2]: expected an integer" },

    { "{'type': 'object', 'properties': {'a': {'type': 'integer'}}}", "{'a': 1}", NULL },
    { "{'type': 'object', 'properties': {'a': {'type': 'integer'}}}", "{}", NULL },
    { "{'type': 'object', 'properties': {'a': {'type': 'integer'}}}", "{'a': 'x'}",
      "a: expected an integer" },
    { "{'type': 'object', 'properties': {'a': {'type': 'integer'}, 'b': {'type': 'integer'}}}",
      "{'c': 1}", "body: unknown field 'c'; known are: a, b" },
    { "{'type': 'object', 'additionalProperties': true}", "{'c': 1}", NULL },
    { "{'type': 'object', 'additionalProperties': false}", "{'c': 1}",
      "body: unknown field 'c'; known are: none" },
    { "{'type': 'object', 'required': ['to'], 'properties': {'to': {'type': 'string'}}}", "{}",
      "to: required, but missing" },
    { "{'type': 'object', 'required': ['to'], 'properties': {'to': {'type': 'string'}}}",
      "{'to': null}", "to: expected a string" },
    { "{'type': 'object', 'properties': {'a': {'type': 'object', 'properties': {'b': {'type': "
      "'array', 'items': "
      "{'type': 'object', 'required': ['c']}}}}}}",
      "{'a': {'b': [{}]}}", "a.b[0].c: required, but missing" },
    { "{'type': 'object', 'properties': {'a': {'type': 'array', 'items': {'type': 'string'}}, 'z': "
      "{'type': 'string'}}}",
      "{'a': ['x'], 'z': 1}", "z: expected a string" },

    { "{'$ref': '#/components/schemas/Uuid'}", "'x'", "body: expected a UUID" },
    { "{'$ref': '#/components/schemas/Tree'}",
      "{'name': 'a', 'children': [{'name': 'b'}, {'name': 'c', 'children': []}]}", NULL },
    { "{'$ref': '#/components/schemas/Tree'}",
      "{'name': 'a', 'children': [{'name': 'b'}, {'children': []}]}",
      "children[1].name: required, but missing" },
};

static void
test_bodies(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bodies); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Schema) schema = schema_of(bodies[i].schema, &error);
        g_assert_no_error(error);
        g_autofree char *text = quoted(bodies[i].body);
        g_autoptr(JsonNode) body = json_parse_limited(text, strlen(text), &error);
        g_assert_no_error(error);
        gboolean ok = schema_check_body(operation_of(schema), body, &error);
        g_test_message("%s ← %s: %s", bodies[i].schema, text, ok ? "good" : error->message);
        g_assert_cmpint(ok, ==, bodies[i].error == NULL);
        if (ok)
            continue;
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, bodies[i].error);
    }
}

/* What isn't understood is an error when the schema is made, not a check that silently doesn't
 * happen. */
static void
test_not_understood(void)
{
    static const char *const schemas[] = {
        "{'type': 'string', 'oneOf': []}",
        "{'type': 'string', 'minlength': 3}",
        "{'type': 'text'}",
        "{'type': ['string', 'null']}",
        "{'type': 'string', 'format': 'date'}",
        "{'type': 'string', 'pattern': '('}",
        "{'type': 'string', 'pattern': 1}",
        "{'type': 'string', 'minLength': -1}",
        "{'type': 'string', 'minLength': '1'}",
        "{'type': 'integer', 'minimum': '1'}",
        "{'type': 'integer', 'exclusiveMinimum': true}",
        "{'type': 'integer', 'multipleOf': 2}",
        "{'type': 'array', 'items': 1}",
        "{'type': 'array', 'items': {'type': 'array', 'uniqueItems': true}}",
        "{'type': 'object', 'additionalProperties': {'type': 'string'}}",
        "{'type': 'object', 'required': 'a'}",
        "{'type': 'object', 'required': [1]}",
        "{'type': 'object', 'properties': {'a': {'allOf': []}}}",
        "{'type': 'object', 'properties': []}",
        "{'type': 'string', 'enum': []}",
        "{'type': 'string', 'nullable': 'yes'}",
        "{'minLength': 3}",
        "{'$ref': '#/components/schemas/Missing'}",
        "{'$ref': '#/components/schemas/Again'}",
        "{'$ref': 'other.yaml'}",
        "1",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(schemas); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Schema) schema = schema_of(schemas[i], &error);
        g_test_message("%s: %s", schemas[i], error ? error->message : "taken");
        g_assert_null(schema);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

static void
test_broken_descriptions(void)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{'paths': []}",
        "{'paths': {'x': {}}}",
        "{'paths': {'/x': []}}",
        "{'paths': {'/x': {'get': {}}}}",
        "{'paths': {'/x': {'get': []}}}",
        "{'paths': {'/x': {'get': {'operationId': 'a'}, 'put': {'operationId': 'a'}}}}",
        "{'paths': {'/x/{id}': {'get': {'operationId': 'a'}}}}",
        "{'paths': {'/x': {'get': {'operationId': 'a', 'parameters': [{'name': 'id', 'in': 'path', "
        "'schema': {'type': 'string'}}]}}}}",
        "{'paths': {'/x': {'get': {'operationId': 'a', 'parameters': [{'name': 'id', 'in': "
        "'header', 'schema': {'type': 'string'}}]}}}}",
        "{'paths': {'/x': {'get': {'operationId': 'a', 'parameters': [{'name': 'id', 'in': "
        "'query'}]}}}}",
        "{'paths': {'/x': {'get': {'operationId': 'a', 'parameters': {}}}}}",
        "{'paths': {'/x': {'post': {'operationId': 'a', 'requestBody': {'content': {'text/plain': "
        "{'schema': {}}}}}}}}",
        "{'paths': {'/x': {'post': {'operationId': 'a', 'requestBody': {'content': {}}}}}}",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *json = quoted(texts[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(Schema) schema = schema_new(json, strlen(json), &error);
        g_test_message("%s: %s", texts[i], error ? error->message : "taken");
        g_assert_null(schema);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

/* ---- paths and parameters -----------------------------------------------------------------------
 */

static const char places[] =
    "{'paths': {"
    " '/tasks': {'get': {'operationId': 'list', 'parameters': ["
    "    {'name': 'limit', 'in': 'query', 'schema': {'type': 'integer', 'minimum': 1}},"
    "    {'name': 'state', 'in': 'query', 'required': true, 'schema': {'type': 'string', 'enum': "
    "['running', 'ended']}},"
    "    {'name': 'force', 'in': 'query', 'schema': {'type': 'boolean'}},"
    "    {'name': 'ratio', 'in': 'query', 'schema': {'type': 'number'}}]}},"
    " '/tasks/{task}': {'parameters': [{'$ref': '#/components/parameters/Task'}],"
    "    'get': {'operationId': 'show'}, 'delete': {'operationId': 'remove'}},"
    " '/tasks/new': {'get': {'operationId': 'fresh'}},"
    " '/tasks/{task}/steps/{step}': {'parameters': [{'$ref': '#/components/parameters/Task'},"
    "    {'name': 'step', 'in': 'path', 'required': true, 'schema': {'type': 'integer'}}],"
    "    'post': {'operationId': 'step'}}},"
    " 'components': {'parameters': {'Task': {'name': 'task', 'in': 'path', 'required': true, "
    "    'schema': {'type': 'string', 'minLength': 4}}}}}";

static Schema *
places_schema(void)
{
    g_autofree char *json = quoted(places);
    g_autoptr(GError) error = NULL;
    Schema *schema = schema_new(json, strlen(json), &error);

    g_assert_no_error(error);
    return schema;
}

static GHashTable *
params_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

static void
test_match(void)
{
    static const struct {
        const char *method, *path, *id, *task; /* id NULL: not found */
    } matches[] = {
        { "GET", "/tasks", "list", NULL },
        { "HEAD", "/tasks", "list", NULL },
        { "GET", "/tasks/", NULL, NULL },
        { "GET", "tasks", NULL, NULL },
        { "GET", "", NULL, NULL },
        { "GET", "/", NULL, NULL },
        { "GET", "//tasks", NULL, NULL },
        { "GET", "/Tasks", NULL, NULL },
        { "GET", "/tasks/new", "fresh", NULL },
        { "GET", "/tasks/n%65w", "fresh", NULL },
        { "GET", "/tasks/abc", "show", "abc" },
        { "DELETE", "/tasks/a%2Fb%20c", "remove", "a/b c" },
        { "GET", "/tasks/%C3%A4", "show", "\xc3\xa4" },
        { "GET", "/tasks/%C3", NULL, NULL },
        { "GET", "/tasks/%", NULL, NULL },
        { "GET", "/tasks/%00", NULL, NULL },
        { "GET", "/tasks/..", "show", ".." },
        { "POST", "/tasks/x/steps/7", "step", "x" },
        { "POST", "/tasks/x/steps", NULL, NULL },
        { "POST", "/tasks//steps/7", NULL, NULL },
    };
    g_autoptr(Schema) schema = places_schema();

    for (gsize i = 0; i < G_N_ELEMENTS(matches); i++) {
        g_autoptr(GHashTable) params = params_new();
        g_autoptr(GError) error = NULL;
        const SchemaOperation *operation =
            schema_match(schema, matches[i].method, matches[i].path, params, &error);
        g_test_message("%s: %s", matches[i].path,
                       operation ? schema_operation_id(operation) : error->message);
        g_assert_cmpstr(operation ? schema_operation_id(operation) : NULL, ==, matches[i].id);
        g_assert_cmpstr(g_hash_table_lookup(params, "task"), ==, matches[i].task);
        if (!operation)
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    }
}

static void
test_methods(void)
{
    g_autoptr(Schema) schema = places_schema();
    g_autoptr(GHashTable) params = params_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *methods = schema_methods(schema, "/tasks/x");

    g_assert_cmpstr(methods, ==, "GET, HEAD, DELETE");
    g_assert_null(schema_methods(schema, "/nothing"));
    g_assert_null(schema_match(schema, "PUT", "/tasks/x", params, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, methods));
    g_assert_null(schema_match(schema, "HEAD", "/tasks/x/steps/1", params, NULL));
    g_autoptr(GPtrArray) ids = schema_operation_ids(schema);
    g_assert_cmpuint(ids->len, ==, 5);
}

static void
test_parameters(void)
{
    static const struct {
        const char *path;
        const char *query[5]; /* name, value, … */
        const char *error;
    } cases[] = {
        { "/tasks", { "state", "ended" }, NULL },
        { "/tasks", { "state", "ended", "limit", "5" }, NULL },
        { "/tasks", { NULL }, "state: required, but missing" },
        { "/tasks", { "state", "asleep" }, "state: must be one of \"running\", \"ended\"" },
        { "/tasks", { "state", "ended", "limit", "0" }, "limit: must be at least 1" },
        { "/tasks", { "state", "ended", "limit", "5x" }, "limit: expected an integer" },
        { "/tasks", { "state", "ended", "limit", "" }, "limit: expected an integer" },
        { "/tasks",
          { "state", "ended", "limit", "99999999999999999999" },
          "limit: expected an integer" },
        { "/tasks", { "state", "ended", "force", "true" }, NULL },
        { "/tasks", { "state", "ended", "force", "yes" }, "force: expected true or false" },
        { "/tasks", { "state", "ended", "ratio", "0.5" }, NULL },
        { "/tasks", { "state", "ended", "ratio", "half" }, "ratio: expected a number" },
        { "/tasks", { "state", "ended", "ratio", "" }, "ratio: expected a number" },
        { "/tasks", { "state", "ended", "ratio", "nan" }, "ratio: expected a finite number" },
        { "/tasks",
          { "stat", "ended" },
          "unknown query parameter 'stat'; known are: limit, state, force, ratio" },
        { "/tasks/abcd", { NULL }, NULL },
        { "/tasks/abc", { NULL }, "task: needs at least 4 characters, has 3" },
        { "/tasks/abcd", { "x", "1" }, "unknown query parameter 'x'; known are: none" },
    };
    g_autoptr(Schema) schema = places_schema();

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GHashTable) params = params_new();
        g_autoptr(GError) error = NULL;
        const SchemaOperation *operation = schema_match(schema, "GET", cases[i].path, params, NULL);
        for (gsize j = 0; cases[i].query[j]; j += 2)
            g_hash_table_insert(params, g_strdup(cases[i].query[j]),
                                g_strdup(cases[i].query[j + 1]));
        schema_check_parameters(operation, params, &error);
        g_assert_cmpstr(error ? error->message : NULL, ==, cases[i].error);
    }
}

static void
test_no_body(void)
{
    g_autoptr(Schema) schema = places_schema();
    g_autoptr(GHashTable) params = params_new();
    g_autoptr(JsonNode) body = json_from_string("{}", NULL);
    const SchemaOperation *operation = schema_match(schema, "GET", "/tasks", params, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(schema_check_body(operation, NULL, &error));
    g_assert_false(schema_check_body(operation, body, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

/* ---- the real ones
 * -------------------------------------------------------------------------------- */

static void
test_our_own(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Schema) agent = schema_new(schema_agent_json, schema_agent_json_length, &error);

    g_assert_no_error(error);
    g_autoptr(Schema) manager = schema_new(schema_openapi_json, schema_openapi_json_length, &error);
    g_assert_no_error(error);
    g_autoptr(GHashTable) params = params_new();
    g_assert_nonnull(schema_match(agent, "POST", "/v1/outgoing", params, &error));
    g_assert_nonnull(schema_match(manager, "GET", "/api/v1/healthz", params, &error));
    g_assert_no_error(error);
}

/* ---- property: a value made after the rule is good, and one thing broken in it is found
 * ------------- */

typedef struct {
    const char *rule;
    const char *good[3];
    const char *bad[3];
} Piece;

static const Piece pieces[] = {
    { "{'type': 'string', 'maxLength': 3}", { "''", "'abc'", "'ä'" }, { "1", "'abcd'", "null" } },
    { "{'type': 'integer', 'minimum': -2, 'maximum': 5}",
      { "-2", "0", "5" },
      { "-3", "6", "1.5" } },
    { "{'type': 'boolean'}", { "true", "false", "true" }, { "0", "'true'", "[]" } },
    { "{'type': 'string', 'format': 'uuid'}", { UUID, UUID, UUID }, { "''", "'x'", "{}" } },
    { "{'type': 'string', 'enum': ['a', 'b']}", { "'a'", "'b'", "'a'" }, { "'A'", "''", "1" } },
    { "{'type': 'number', 'nullable': true}", { "null", "1", "0.25" }, { "'1'", "[]", "false" } },
};

typedef struct {
    GString *rule, *value;
    gint breaks; /* leaves until one is made wrong; < 0: none */
} Making;

static void
make_piece(Making *making)
{
    const Piece *piece = &pieces[g_test_rand_int_range(0, G_N_ELEMENTS(pieces))];
    gint which = g_test_rand_int_range(0, 3);

    g_string_append(making->rule, piece->rule);
    g_string_append(making->value, making->breaks-- == 0 ? piece->bad[which] : piece->good[which]);
}

static void make(Making *making, int depth);

static void
make_object(Making *making, int depth)
{
    gint members = g_test_rand_int_range(1, 4);

    g_string_append(making->rule, "{'type': 'object', 'required': ['m0'], 'properties': {");
    g_string_append(making->value, "{");
    for (gint i = 0; i < members; i++) {
        g_string_append_printf(making->rule, "%s'm%d': ", i ? ", " : "", i);
        g_string_append_printf(making->value, "%s'm%d': ", i ? ", " : "", i);
        make(making, depth - 1);
    }
    g_string_append(making->rule, "}}");
    g_string_append(making->value, "}");
}

static void
make(Making *making, int depth)
{
    if (depth == 0 || g_test_rand_int_range(0, 3) == 0) {
        make_piece(making);
    } else if (g_test_rand_int_range(0, 3) == 0) {
        g_string_append(making->rule, "{'type': 'array', 'minItems': 1, 'maxItems': 1, 'items': ");
        g_string_append(making->value, "[");
        make(making, depth - 1);
        g_string_append(making->rule, "}");
        g_string_append(making->value, "]");
    } else {
        make_object(making, depth);
    }
}

static void
test_property(void)
{
    for (int round = 0; round < 2000; round++) {
        Making making = { g_string_new(NULL), g_string_new(NULL), g_test_rand_int_range(-1, 6) };
        gboolean may_break = making.breaks >= 0;
        make(&making, g_test_rand_int_range(0, 4));
        gboolean broken = may_break && making.breaks < 0;
        g_autoptr(GError) error = NULL;
        g_autoptr(Schema) schema = schema_of(making.rule->str, &error);
        g_assert_no_error(error);
        g_strdelimit(making.value->str, "'", '"');
        g_autoptr(JsonNode) body = json_parse_limited(making.value->str, making.value->len, &error);
        g_assert_no_error(error);
        gboolean ok = schema_check_body(operation_of(schema), body, &error);
        if (ok == broken)
            g_error("%s ← %s: %s", making.rule->str, making.value->str,
                    ok ? "good" : error->message);
        g_string_free(making.rule, TRUE);
        g_string_free(making.value, TRUE);
    }
}

/* Damaged descriptions: taken or refused, no crash. */
static void
test_fuzz(void)
{
    g_autofree char *json = quoted(places);
    gsize length = strlen(json);

    for (int round = 0; round < 5000; round++) {
        g_autofree char *copy = g_strdup(json);
        for (int n = g_test_rand_int_range(1, 4); n > 0; n--)
            copy[g_test_rand_int_range(0, (gint32)length)] =
                json[g_test_rand_int_range(0, (gint32)length)];
        g_autoptr(Schema) schema = schema_new(copy, length, NULL);
        g_autoptr(GHashTable) params = params_new();
        if (schema)
            schema_match(schema, "GET", "/tasks/x", params, NULL);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/schema/bodies", test_bodies);
    g_test_add_func("/schema/not-understood", test_not_understood);
    g_test_add_func("/schema/broken-descriptions", test_broken_descriptions);
    g_test_add_func("/schema/match", test_match);
    g_test_add_func("/schema/methods", test_methods);
    g_test_add_func("/schema/parameters", test_parameters);
    g_test_add_func("/schema/no-body", test_no_body);
    g_test_add_func("/schema/our-own", test_our_own);
    g_test_add_func("/schema/property", test_property);
    g_test_add_func("/schema/fuzz", test_fuzz);
    return g_test_run();
}
