/* SPDX-License-Identifier: Apache-2.0 */
/* schema/openapi.yaml, the nouns of src/model, the routes and the manuals say the same. */
#include <string.h>

#include "manager/api.h"
#include "manager/backoff.h"
#include "manager/settings.h"
#include "schema/openapi.h"

static JsonNode *root;

static JsonObject *
schema_of(const char *name)
{
    JsonObject *components =
        json_object_get_object_member(json_node_get_object(root), "components");
    JsonObject *schemas = json_object_get_object_member(components, "schemas");

    if (!json_object_has_member(schemas, name))
        g_error("no schema %s", name);
    return json_object_get_object_member(schemas, name);
}

static void
assert_reference(JsonObject *schema, const char *expected)
{
    g_autofree char *reference = g_strconcat("#/components/schemas/", expected, NULL);

    g_assert_cmpstr(json_object_get_string_member(schema, "$ref"), ==, reference);
}

/* The schema's name of a record type: "host cpu" or "host-cpu" → HostCpu is not assumed; a table
 * says it. */
static const struct {
    const RecordType *type;
    const char *schema;
} nouns[] = {
    { &host_type, "Host" },
    { &host_cpu_type, "HostCpu" },
    { &host_nic_type, "HostNic" },
    { &host_versions_type, "HostVersions" },
    { &host_recall_type, "HostRecall" },
    { &network_type, "Network" },
    { &datastore_type, "Datastore" },
    { &vm_type, "Vm" },
    { &vm_disk_type, "VmDisk" },
    { &vm_nic_type, "VmNic" },
    { &vm_device_type, "VmDevice" },
    { &vm_stats_type, "VmStats" },
    { &migration_type, "Migration" },
    { &migration_stage_type, "MigrationStage" },
    { &migration_pass_type, "MigrationPass" },
    { &migration_pages_type, "MigrationPages" },
    { &migration_error_type, "MigrationError" },
    { &migration_progress_type, "MigrationProgress" },
    { &task_type, "Task" },
    { &alarm_record_type, "Alarm" },
    { &token_info_type, "TokenInfo" },
};

static const char *
schema_name(const RecordType *type)
{
    for (gsize i = 0; i < G_N_ELEMENTS(nouns); i++)
        if (nouns[i].type == type)
            return nouns[i].schema;
    g_error("record type %s has no schema", type->name);
}

static void
check_enum(JsonObject *property, const RecordField *field)
{
    JsonArray *words = json_object_get_array_member(property, "enum");
    guint n = g_strv_length((GStrv)field->nicks);

    g_assert_cmpuint(json_array_get_length(words), ==, n);
    for (guint i = 0; i < n; i++)
        g_assert_cmpstr(json_array_get_string_element(words, i), ==, field->nicks[i]);
}

static void
check_field(JsonObject *property, const RecordField *field)
{
    static const char *const kinds[] = {
        [RECORD_STRING] = "string", [RECORD_BOOL] = "boolean",  [RECORD_INT] = "integer",
        [RECORD_DOUBLE] = "number", [RECORD_STRINGS] = "array", [RECORD_ENUM] = "string",
        [RECORD_ONE] = NULL,        [RECORD_LIST] = "array",
    };

    if (field->kind == RECORD_ONE) {
        assert_reference(property, schema_name(field->type));
        return;
    }
    g_assert_cmpstr(json_object_get_string_member(property, "type"), ==, kinds[field->kind]);
    if (field->kind == RECORD_LIST)
        assert_reference(json_object_get_object_member(property, "items"),
                         schema_name(field->type));
    if (field->kind == RECORD_ENUM)
        check_enum(property, field);
}

static void
test_nouns(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(nouns); i++) {
        const RecordType *type = nouns[i].type;
        JsonObject *properties =
            json_object_get_object_member(schema_of(nouns[i].schema), "properties");

        g_assert_cmpuint(json_object_get_size(properties), ==, type->n_fields);
        for (gsize f = 0; f < type->n_fields; f++) {
            g_test_message("%s.%s", nouns[i].schema, type->fields[f].name);
            g_assert_true(json_object_has_member(properties, type->fields[f].name));
            check_field(json_object_get_object_member(properties, type->fields[f].name),
                        &type->fields[f]);
        }
    }
}

static void
test_error_codes(void)
{
    JsonObject *error = json_object_get_object_member(
        json_object_get_object_member(schema_of("Error"), "properties"), "error");
    JsonObject *code =
        json_object_get_object_member(json_object_get_object_member(error, "properties"), "code");
    JsonArray *words = json_object_get_array_member(code, "enum");

    g_assert_cmpuint(json_array_get_length(words), ==, GODWIT_N_ERRORS);
    for (int i = 0; i < GODWIT_N_ERRORS; i++) {
        g_autoptr(GError) one = g_error_new_literal(GODWIT_ERROR, i, "");

        g_assert_cmpstr(json_array_get_string_element(words, (guint)i), ==, godwit_error_nick(one));
    }
}

static void
test_routes(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Schema) schema = schema_new(schema_openapi_json, schema_openapi_json_length, &error);
    g_autoptr(GPtrArray) ids = NULL;
    guint n = 0;

    g_assert_no_error(error);
    ids = schema_operation_ids(schema);
    for (const HttpRoute *route = api_routes; route->operation != NULL; route++, n++)
        g_assert_true(g_ptr_array_find_with_equal_func(ids, route->operation, g_str_equal, NULL));
    g_assert_cmpuint(n, ==, ids->len);
}

/* Whoever is not admin gets only what the description leaves open. */
static void
test_roles(void)
{
    JsonObject *paths = json_object_get_object_member(json_node_get_object(root), "paths");
    g_autoptr(GList) all = json_object_get_values(paths);

    for (const HttpRoute *route = api_routes; route->operation != NULL; route++) {
        gboolean open = FALSE, found = FALSE;

        for (GList *at = all; at != NULL; at = at->next) {
            g_autoptr(GList) methods = json_object_get_values(json_node_get_object(at->data));

            for (GList *m = methods; m != NULL; m = m->next) {
                JsonObject *operation =
                    JSON_NODE_HOLDS_OBJECT(m->data) ? json_node_get_object(m->data) : NULL;

                if (operation == NULL || g_strcmp0(json_object_get_string_member_with_default(
                                                       operation, "operationId", ""),
                                                   route->operation) != 0)
                    continue;
                found = TRUE;
                open = json_object_has_member(operation, "security");
            }
        }
        g_test_message("%s", route->operation);
        g_assert_true(found);
        g_assert_cmpint(route->roles, ==, open ? HTTP_ANYONE : HTTP_ADMIN);
    }
}

static char *
read_source(const char *path)
{
    g_autofree char *file = g_build_filename(SOURCE_ROOT, path, NULL);
    char *text = NULL;
    g_autoptr(GError) error = NULL;

    g_file_get_contents(file, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

/* Each key is in the manual, under its group and with its fallback. */
static void
test_manual_of_settings(void)
{
    g_autofree char *manual = read_source("man/manager.conf.5");
    g_auto(GStrv) sections = g_strsplit(manual, "\n.SS ", -1);

    for (const ConfigKey *key = settings_keys; key->group != NULL; key++) {
        g_autofree char *group = g_strdup_printf("[%s]\n", key->group);
        g_autofree char *entry =
            g_strdup_printf("\n.BR %s \" = \" \\fI%s\\fR\n", key->key, key->fallback);
        gboolean found = FALSE;

        for (gsize i = 0; sections[i] != NULL; i++)
            if (g_str_has_prefix(sections[i], group) && strstr(sections[i], entry) != NULL)
                found = TRUE;
        g_test_message("[%s] %s", key->group, key->key);
        g_assert_true(found);
    }
}

static void
test_fallbacks_are_good(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = config_load(NULL, settings_keys, FALSE, &error);

    g_assert_no_error(error);
    g_assert_true(settings_check(config, &error));
    g_assert_true(config_set(config, "http", "address", "localhost", &error));
    g_assert_false(settings_check(config, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
}

static void
test_backoff(void)
{
    static const guint full[] = { 1000, 2000, 4000, 8000, 16000, 30000, 30000 };

    for (guint n = 1; n < 1000; n++) {
        guint top = full[MIN(n, G_N_ELEMENTS(full)) - 1];

        g_assert_cmpuint(backoff_ms(n, 0), ==, top);
        for (guint i = 0; i < 20; i++) {
            guint ms = backoff_ms(n, g_random_int());

            g_assert_cmpuint(ms, <=, top);
            g_assert_cmpuint(ms, >, top * 3 / 4 - 1);
        }
    }
}

int
main(int argc, char **argv)
{
    int result;

    g_test_init(&argc, &argv, NULL);
    root = json_parse_limited(schema_openapi_json, schema_openapi_json_length, NULL);
    g_assert_nonnull(root);
    g_test_add_func("/schema/nouns", test_nouns);
    g_test_add_func("/schema/error-codes", test_error_codes);
    g_test_add_func("/schema/routes", test_routes);
    g_test_add_func("/schema/roles", test_roles);
    g_test_add_func("/settings/manual", test_manual_of_settings);
    g_test_add_func("/settings/fallbacks", test_fallbacks_are_good);
    g_test_add_func("/backoff", test_backoff);
    result = g_test_run();
    json_node_unref(root);
    return result;
}
