/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * An OpenAPI 3.0 description, compiled into the program (schema/ NAME.yaml is turned into JSON at build time). From it come the
 * routes and the checks of what a client sends; there is no second list of either.
 *
 * Understood: paths with {parameters}, operationId, query and path parameters with schema, requestBody application/json,
 * $ref into components/schemas, and of JSON Schema: type, properties, required, additionalProperties (false by default),
 * enum, minLength, maxLength, pattern (GRegex), minimum, maximum, items, minItems, maxItems, format: uuid, nullable.
 * Anything else in a request schema makes schema_new fail (so that nothing is silently unchecked).
 */
typedef struct Schema Schema;
typedef struct SchemaOperation SchemaOperation;

Schema *schema_new(const char *json, gsize length, GError **error);
void schema_free(Schema *schema);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Schema, schema_free)

/** Operation for method and path (without query); path parameters go to params (name → decoded value). NOT_FOUND for an unknown path;
 * UNSUPPORTED where the path is known but the method isn't (message names the methods that are). */
const SchemaOperation *schema_match(const Schema *schema, const char *method, const char *path, GHashTable *params, GError **error);
/** "GET, HEAD, POST": the methods at path, for an Allow header; NULL for an unknown path. (transfer full) */
char *schema_methods(const Schema *schema, const char *path);
const char *schema_operation_id(const SchemaOperation *operation);
/** All operation ids, for the test that routes and description agree. (transfer container) */
GPtrArray *schema_operation_ids(const Schema *schema);
/** body NULL: none was sent. INVALID names the field: "to: required, but missing". */
gboolean schema_check_body(const SchemaOperation *operation, JsonNode *body, GError **error);
/** params: path and query together. Unknown query parameters are INVALID. */
gboolean schema_check_parameters(const SchemaOperation *operation, GHashTable *params, GError **error);
