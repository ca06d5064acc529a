/* SPDX-License-Identifier: Apache-2.0 */

/* Theory of operation
 *
 * Compiling walks the members of a schema object through the table `keywords`: each either fills a
 * field of the Rule, or is an annotation that says nothing about right and wrong, or the
 * compilation fails, so that nothing in a description is silently unchecked. A "$ref" is compiled
 * once and remembered before its inside is, which makes circles possible.
 *
 * Checking recurses along the value, whose depth the JSON parser has limited. The path to the value
 * being looked at is one GString that grows and shrinks on the way. */

#include "net/rule.h"

#include <math.h>
#include <string.h>

typedef enum {
    RULE_ANY,
    RULE_STRING,
    RULE_INTEGER,
    RULE_NUMBER,
    RULE_BOOLEAN,
    RULE_ARRAY,
    RULE_OBJECT
} RuleKind;

static const char *const kind_words[] = { "any",     "string", "integer", "number",
                                          "boolean", "array",  "object",  NULL };
static const char *const kind_expected[] = { "a value",       "a string", "an integer", "a number",
                                             "true or false", "a list",   "an object" };

struct Rule {
    RuleKind kind;
    gboolean nullable;
    /* object */
    GHashTable *properties; /* name → Rule, borrowed */
    GPtrArray *required;    /* names, owned */
    gboolean additional;    /* unknown members are let through */
    /* array */
    const Rule *items;
    gint64 min_items, max_items;
    /* string */
    gint64 min_length, max_length; /* characters */
    GRegex *pattern;
    gboolean uuid;
    /* numbers */
    JsonNode *minimum, *maximum; /* NULL = none */
    /* any */
    JsonArray *choices; /* enum, NULL = all */
};

struct RuleSet {
    JsonObject *root;
    GPtrArray *rules;       /* owns them */
    GHashTable *references; /* "#/…" → Rule, borrowed */
};

/* ---- compiling ------------------------------------------------------------------------------ */

typedef struct {
    RuleSet *set;
    const char *where;
} Compile;

static void
rule_free(gpointer data)
{
    Rule *rule = data;

    g_clear_pointer(&rule->properties, g_hash_table_unref);
    g_clear_pointer(&rule->required, g_ptr_array_unref);
    g_clear_pointer(&rule->pattern, g_regex_unref);
    g_clear_pointer(&rule->minimum, json_node_unref);
    g_clear_pointer(&rule->maximum, json_node_unref);
    g_clear_pointer(&rule->choices, json_array_unref);
    g_free(rule);
}

static Rule *
rule_new(RuleSet *set)
{
    Rule *rule = g_new0(Rule, 1);

    rule->max_items = rule->max_length = G_MAXINT64;
    g_ptr_array_add(set->rules, rule);
    return rule;
}

RuleSet *
rule_set_new(JsonObject *root)
{
    RuleSet *set = g_new0(RuleSet, 1);

    set->root = root;
    set->rules = g_ptr_array_new_with_free_func(rule_free);
    set->references = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return set;
}

void
rule_set_free(RuleSet *set)
{
    if (!set)
        return;
    g_hash_table_unref(set->references);
    g_ptr_array_unref(set->rules);
    g_free(set);
}

JsonNode *
rule_resolve(JsonObject *root, const char *reference, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(reference, "/", -1);
    JsonObject *at = root;

    if (g_strcmp0(parts[0], "#") == 0 && parts[1]) {
        for (guint i = 1; at; i++) {
            JsonNode *node = json_object_get_member(at, parts[i]);
            if (node && !parts[i + 1])
                return node;
            at = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
            if (!parts[i + 1])
                break;
        }
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "the reference '%s' leads nowhere",
                reference);
    return NULL;
}

/* The text of a "$ref", or NULL. */
static const char *
reference_of(JsonNode *node)
{
    JsonNode *member = JSON_NODE_HOLDS_OBJECT(node)
                           ? json_object_get_member(json_node_get_object(node), "$ref")
                           : NULL;

    return member && json_node_get_value_type(member) == G_TYPE_STRING
               ? json_node_get_string(member)
               : NULL;
}

JsonNode *
rule_follow(JsonObject *root, JsonNode *node, GError **error)
{
    const char *reference = reference_of(node);

    return reference ? rule_resolve(root, reference, error) : node;
}

static gboolean
wrong_keyword(const Compile *compile, const char *keyword, GError **error)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "%s: the value of '%s' is not what it should be", compile->where, keyword);
    return FALSE;
}

static gboolean
is_integer(JsonNode *node)
{
    return json_node_get_value_type(node) == G_TYPE_INT64;
}

static gboolean
is_number(JsonNode *node)
{
    return is_integer(node) || json_node_get_value_type(node) == G_TYPE_DOUBLE;
}

static gboolean
take_type(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    const char *word =
        json_node_get_value_type(value) == G_TYPE_STRING ? json_node_get_string(value) : "";

    for (int kind = RULE_STRING; kind <= RULE_OBJECT; kind++) {
        if (strcmp(word, kind_words[kind]) == 0) {
            rule->kind = kind;
            return TRUE;
        }
    }
    return wrong_keyword(compile, "type", error);
}

static gboolean
take_properties(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    if (!JSON_NODE_HOLDS_OBJECT(value))
        return wrong_keyword(compile, "properties", error);
    json_object_iter_init(&iter, json_node_get_object(value));
    while (json_object_iter_next(&iter, &name, &node)) {
        g_autofree char *where = g_strdup_printf("%s.%s", compile->where, name);
        const Rule *inner = rule_compile(compile->set, node, where, error);
        if (!inner)
            return FALSE;
        g_hash_table_insert(rule->properties, g_strdup(name), (gpointer)inner);
    }
    return TRUE;
}

static gboolean
take_required(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    JsonArray *names = JSON_NODE_HOLDS_ARRAY(value) ? json_node_get_array(value) : NULL;

    for (guint i = 0; names && i < json_array_get_length(names); i++) {
        JsonNode *name = json_array_get_element(names, i);
        if (json_node_get_value_type(name) != G_TYPE_STRING)
            return wrong_keyword(compile, "required", error);
        g_ptr_array_add(rule->required, json_node_dup_string(name));
    }
    return names || wrong_keyword(compile, "required", error);
}

static gboolean
take_bool(const Compile *compile, gboolean *to, const char *keyword, JsonNode *value,
          GError **error)
{
    if (json_node_get_value_type(value) != G_TYPE_BOOLEAN)
        return wrong_keyword(compile, keyword, error);
    *to = json_node_get_boolean(value);
    return TRUE;
}

static gboolean
take_additional(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_bool(compile, &rule->additional, "additionalProperties", value, error);
}

static gboolean
take_nullable(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_bool(compile, &rule->nullable, "nullable", value, error);
}

static gboolean
take_items(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s[]", compile->where);

    rule->items = rule_compile(compile->set, value, where, error);
    return rule->items != NULL;
}

static gboolean
take_enum(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(value) || json_array_get_length(json_node_get_array(value)) == 0)
        return wrong_keyword(compile, "enum", error);
    g_clear_pointer(&rule->choices, json_array_unref);
    rule->choices = json_array_ref(json_node_get_array(value));
    return TRUE;
}

static gboolean
take_count(const Compile *compile, gint64 *to, const char *keyword, JsonNode *value, GError **error)
{
    if (!is_integer(value) || json_node_get_int(value) < 0)
        return wrong_keyword(compile, keyword, error);
    *to = json_node_get_int(value);
    return TRUE;
}

static gboolean
take_min_length(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_count(compile, &rule->min_length, "minLength", value, error);
}

static gboolean
take_max_length(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_count(compile, &rule->max_length, "maxLength", value, error);
}

static gboolean
take_min_items(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_count(compile, &rule->min_items, "minItems", value, error);
}

static gboolean
take_max_items(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_count(compile, &rule->max_items, "maxItems", value, error);
}

static gboolean
take_limit(const Compile *compile, JsonNode **to, const char *keyword, JsonNode *value,
           GError **error)
{
    if (!is_number(value))
        return wrong_keyword(compile, keyword, error);
    g_clear_pointer(to, json_node_unref);
    *to = json_node_copy(value);
    return TRUE;
}

static gboolean
take_minimum(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_limit(compile, &rule->minimum, "minimum", value, error);
}

static gboolean
take_maximum(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return take_limit(compile, &rule->maximum, "maximum", value, error);
}

static gboolean
take_pattern(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (json_node_get_value_type(value) != G_TYPE_STRING)
        return wrong_keyword(compile, "pattern", error);
    g_clear_pointer(&rule->pattern, g_regex_unref);
    /* '$' is the very end: "abc\n" must not match '^abc$'. */
    rule->pattern = g_regex_new(json_node_get_string(value), G_REGEX_DOLLAR_ENDONLY, 0, &local);
    if (rule->pattern)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: %s", compile->where,
                local->message);
    return FALSE;
}

static gboolean
take_format(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    const char *word =
        json_node_get_value_type(value) == G_TYPE_STRING ? json_node_get_string(value) : "";

    rule->uuid = strcmp(word, "uuid") == 0;
    /* int64 is what every integer is. */
    if (rule->uuid || strcmp(word, "int64") == 0)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: the format '%s' is not understood",
                compile->where, word);
    return FALSE;
}

static gboolean
take_nothing(const Compile *compile, Rule *rule, JsonNode *value, GError **error)
{
    return TRUE;
}

static const struct {
    const char *keyword;
    gboolean (*take)(const Compile *compile, Rule *rule, JsonNode *value, GError **error);
} keywords[] = {
    { "type", take_type },
    { "properties", take_properties },
    { "required", take_required },
    { "additionalProperties", take_additional },
    { "nullable", take_nullable },
    { "items", take_items },
    { "minItems", take_min_items },
    { "maxItems", take_max_items },
    { "enum", take_enum },
    { "minLength", take_min_length },
    { "maxLength", take_max_length },
    { "pattern", take_pattern },
    { "format", take_format },
    { "minimum", take_minimum },
    { "maximum", take_maximum },
    /* annotations */
    { "title", take_nothing },
    { "description", take_nothing },
    { "default", take_nothing },
    { "example", take_nothing },
    { "deprecated", take_nothing },
};

static gboolean
take_keyword(const Compile *compile, Rule *rule, const char *name, JsonNode *value, GError **error)
{
    if (g_str_has_prefix(name, "x-"))
        return TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(keywords); i++) {
        if (strcmp(name, keywords[i].keyword) == 0)
            return keywords[i].take(compile, rule, value, error);
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "%s: the schema keyword '%s' is not understood, so requests could not be checked",
                compile->where, name);
    return FALSE;
}

static gboolean
rule_fill(const Compile *compile, Rule *rule, JsonNode *schema, GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *value;

    if (!JSON_NODE_HOLDS_OBJECT(schema)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: a schema must be an object",
                    compile->where);
        return FALSE;
    }
    rule->properties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    rule->required = g_ptr_array_new_with_free_func(g_free);
    json_object_iter_init(&iter, json_node_get_object(schema));
    while (json_object_iter_next(&iter, &name, &value)) {
        if (!take_keyword(compile, rule, name, value, error))
            return FALSE;
    }
    /* Without a type the keywords above would have nothing to hold on to. */
    if (rule->kind == RULE_ANY && json_object_get_size(json_node_get_object(schema)) > 0 &&
        !rule->choices) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: the schema has no type",
                    compile->where);
        return FALSE;
    }
    return TRUE;
}

const Rule *
rule_compile(RuleSet *set, JsonNode *schema, const char *where, GError **error)
{
    const char *reference = reference_of(schema);

    if (!reference) {
        Compile compile = { set, where };
        Rule *rule = rule_new(set);
        return rule_fill(&compile, rule, schema, error) ? rule : NULL;
    }
    Rule *known = g_hash_table_lookup(set->references, reference);
    if (known)
        return known;
    JsonNode *target = rule_resolve(set->root, reference, error);
    if (!target)
        return NULL;
    if (reference_of(target)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "%s: '%s' is itself only a reference", where, reference);
        return NULL;
    }
    Rule *rule = rule_new(set);
    g_hash_table_insert(set->references, g_strdup(reference), rule);
    Compile compile = { set, strrchr(reference, '/') + 1 };
    return rule_fill(&compile, rule, target, error) ? rule : NULL;
}

/* ---- checking ------------------------------------------------------------------------------- */

G_GNUC_PRINTF(3, 4)
static gboolean
wrong(const GString *path, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "%s: %s", path->str, text);
    return FALSE;
}

static gboolean check(const Rule *rule, JsonNode *value, GString *path, GError **error);

/* Sorted and joined, at most about a line of them. */
static char *
list_names(GHashTable *table)
{
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(table), (GCompareFunc)strcmp);
    GString *text = g_string_new(NULL);

    for (GList *at = names; at; at = at->next) {
        if (text->len > 160) {
            g_string_append(text, ", …");
            break;
        }
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", (const char *)at->data);
    }
    return g_string_free(text, FALSE);
}

static gboolean
check_unknown(const Rule *rule, const char *name, const GString *path, GError **error)
{
    if (rule->additional)
        return TRUE;
    g_autofree char *known = list_names(rule->properties);
    g_autofree char *shown = g_utf8_substring(name, 0, MIN(g_utf8_strlen(name, -1), 64));
    return wrong(path, error, "unknown field '%s'; known are: %s", shown, *known ? known : "none");
}

/* "body" + "to" → "to", "to" + "uuid" → "to.uuid": the body itself isn't named where a field is. */
static void
path_add(GString *path, const char *name)
{
    if (strcmp(path->str, "body") == 0)
        g_string_truncate(path, 0);
    g_string_append_printf(path, "%s%s", path->len ? "." : "", name);
}

static void
path_restore(GString *path, const char *before)
{
    g_string_assign(path, before);
}

static gboolean
check_object(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    JsonObject *object = json_node_get_object(value);
    g_autofree char *before = g_strdup(path->str);
    JsonObjectIter iter;
    const char *name;
    JsonNode *member;

    for (guint i = 0; i < rule->required->len; i++) {
        const char *needed = rule->required->pdata[i];
        if (json_object_has_member(object, needed))
            continue;
        path_add(path, needed);
        return wrong(path, error, "required, but missing");
    }
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &name, &member)) {
        const Rule *inner = g_hash_table_lookup(rule->properties, name);
        if (!inner && !check_unknown(rule, name, path, error))
            return FALSE;
        if (!inner)
            continue;
        path_add(path, name);
        if (!check(inner, member, path, error))
            return FALSE;
        path_restore(path, before);
    }
    return TRUE;
}

static gboolean
check_array(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    JsonArray *array = json_node_get_array(value);
    gint64 length = json_array_get_length(array);
    gsize before = path->len;

    if (length < rule->min_items)
        return wrong(path, error,
                     "needs at least %" G_GINT64_FORMAT " elements, has %" G_GINT64_FORMAT,
                     rule->min_items, length);
    if (length > rule->max_items)
        return wrong(path, error,
                     "may have at most %" G_GINT64_FORMAT " elements, has %" G_GINT64_FORMAT,
                     rule->max_items, length);
    for (guint i = 0; rule->items && i < length; i++) {
        g_string_append_printf(path, "[%u]", i);
        if (!check(rule->items, json_array_get_element(array, i), path, error))
            return FALSE;
        g_string_truncate(path, before);
    }
    return TRUE;
}

static gboolean
check_string(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    const char *text = json_node_get_string(value);
    gint64 length = g_utf8_strlen(text, -1);

    if (length < rule->min_length)
        return length == 0
                   ? wrong(path, error, "must not be empty")
                   : wrong(path, error,
                           "needs at least %" G_GINT64_FORMAT " characters, has %" G_GINT64_FORMAT,
                           rule->min_length, length);
    if (length > rule->max_length)
        return wrong(path, error,
                     "may have at most %" G_GINT64_FORMAT " characters, has %" G_GINT64_FORMAT,
                     rule->max_length, length);
    if (rule->uuid && !g_uuid_string_is_valid(text))
        return wrong(path, error, "expected a UUID");
    if (rule->pattern && !g_regex_match(rule->pattern, text, 0, NULL))
        return wrong(path, error, "doesn't match '%s'", g_regex_get_pattern(rule->pattern));
    return TRUE;
}

/* -1, 0, 1 like strcmp; exact where both are integers. */
static int
number_compare(JsonNode *a, JsonNode *b)
{
    if (is_integer(a) && is_integer(b)) {
        gint64 left = json_node_get_int(a), right = json_node_get_int(b);
        return (left > right) - (left < right);
    }
    double left = json_node_get_double(a), right = json_node_get_double(b);
    return (left > right) - (left < right);
}

static gboolean
check_number(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    if (!is_integer(value) && !isfinite(json_node_get_double(value)))
        return wrong(path, error, "expected a finite number");
    if (rule->minimum && number_compare(value, rule->minimum) < 0) {
        g_autofree char *limit = json_to_string(rule->minimum, FALSE);
        return wrong(path, error, "must be at least %s", limit);
    }
    if (rule->maximum && number_compare(value, rule->maximum) > 0) {
        g_autofree char *limit = json_to_string(rule->maximum, FALSE);
        return wrong(path, error, "must be at most %s", limit);
    }
    return TRUE;
}

static gboolean
check_choice(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (guint i = 0; i < json_array_get_length(rule->choices); i++) {
        JsonNode *choice = json_array_get_element(rule->choices, i);
        if (json_node_equal(choice, value))
            return TRUE;
        g_autofree char *text = json_to_string(choice, FALSE);
        g_string_append_printf(known, "%s%s", i ? ", " : "", text);
    }
    return wrong(path, error, "must be one of %s", known->str);
}

static gboolean
is_kind(RuleKind kind, JsonNode *value)
{
    switch (kind) {
    case RULE_ANY:
        return TRUE;
    case RULE_STRING:
        return json_node_get_value_type(value) == G_TYPE_STRING;
    case RULE_INTEGER:
        return is_integer(value);
    case RULE_NUMBER:
        return is_number(value);
    case RULE_BOOLEAN:
        return json_node_get_value_type(value) == G_TYPE_BOOLEAN;
    case RULE_ARRAY:
        return JSON_NODE_HOLDS_ARRAY(value);
    case RULE_OBJECT:
        return JSON_NODE_HOLDS_OBJECT(value);
    }
    g_assert_not_reached();
}

static gboolean
check(const Rule *rule, JsonNode *value, GString *path, GError **error)
{
    static gboolean (*const checks[])(const Rule *, JsonNode *, GString *, GError **) = {
        [RULE_STRING] = check_string, [RULE_INTEGER] = check_number, [RULE_NUMBER] = check_number,
        [RULE_BOOLEAN] = NULL,        [RULE_ARRAY] = check_array,    [RULE_OBJECT] = check_object,
    };

    if (JSON_NODE_HOLDS_NULL(value) && rule->nullable)
        return TRUE;
    if (!is_kind(rule->kind, value))
        return wrong(path, error, "expected %s", kind_expected[rule->kind]);
    if (rule->choices && !check_choice(rule, value, path, error))
        return FALSE;
    return !checks[rule->kind] || checks[rule->kind](rule, value, path, error);
}

gboolean
rule_check(const Rule *rule, JsonNode *value, const char *name, GError **error)
{
    g_autoptr(GString) path = g_string_new(name);

    return check(rule, value, path, error);
}

/* NULL where text can't be read as kind. */
static JsonNode *
node_of_text(RuleKind kind, const char *text)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
    gint64 integer;
    char *end = NULL;

    switch (kind) {
    case RULE_STRING:
    case RULE_ANY:
        json_node_set_string(node, text);
        return g_steal_pointer(&node);
    case RULE_INTEGER:
        if (!g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &integer, NULL))
            return NULL;
        json_node_set_int(node, integer);
        return g_steal_pointer(&node);
    case RULE_NUMBER:
        json_node_set_double(node, g_ascii_strtod(text, &end));
        return *text && !g_ascii_isspace(*text) && *end == '\0' ? g_steal_pointer(&node) : NULL;
    case RULE_BOOLEAN:
        json_node_set_boolean(node, strcmp(text, "true") == 0);
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ? g_steal_pointer(&node)
                                                                       : NULL;
    case RULE_ARRAY:
    case RULE_OBJECT:
        return NULL;
    }
    g_assert_not_reached();
}

gboolean
rule_check_text(const Rule *rule, const char *text, const char *name, GError **error)
{
    g_autoptr(GString) path = g_string_new(name);
    g_autoptr(JsonNode) value = node_of_text(rule->kind, text);

    return value ? check(rule, value, path, error)
                 : wrong(path, error, "expected %s", kind_expected[rule->kind]);
}
