/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-glib/json-glib.h>
#include "base/error.h"

/**
 * A rule says which JSON values are right: one schema object of an OpenAPI 3.0 description,
 * compiled. Rules may refer to each other in circles, so a RuleSet owns all of them. Pure; a
 * RuleSet may be used by several threads once it is made.
 */
typedef struct Rule Rule;
typedef struct RuleSet RuleSet;

/** root: the description, in which "$ref" looks; must outlive the set. */
RuleSet *rule_set_new(JsonObject *root);
void rule_set_free(RuleSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RuleSet, rule_set_free)

/** Compiles the schema object; `where` names it in messages. INVALID for a keyword that isn't
 * understood. (owned by set) */
const Rule *rule_compile(RuleSet *set, JsonNode *schema, const char *where, GError **error);

/** Is value right? INVALID "a.b[2]: what is expected"; `name` is what the value itself is called.
 */
gboolean rule_check(const Rule *rule, JsonNode *value, const char *name, GError **error);
/** Same for text from a URL, which is read as the rule's type. */
gboolean rule_check_text(const Rule *rule, const char *text, const char *name, GError **error);

/** What "#/a/b" refers to in root; NULL with INVALID. (borrowed) */
JsonNode *rule_resolve(JsonObject *root, const char *reference, GError **error);
/** Follows {"$ref": …} if node is one. (borrowed) */
JsonNode *rule_follow(JsonObject *root, JsonNode *node, GError **error);
