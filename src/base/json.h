/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#define JSON_DEPTH_MAX 32
#define JSON_BYTES_MAX (64 * 1024 * 1024) /* readers with smaller limits check before */

/** Parses JSON text, exactly RFC 8259: UTF-8, no comments, nothing after the value; at most
 * JSON_BYTES_MAX (GODWIT_ERROR_TOO_LARGE) and nested JSON_DEPTH_MAX deep. Integers must fit gint64,
 * other numbers be finite; a string with \u0000 and a member named twice are INVALID. Errors name
 * the byte. Any thread. (transfer full) */
JsonNode *json_parse_limited(const char *text, gsize length, GError **error);
/** How the API, and the command line's JSON, say an error: {"code", "message"}. (transfer full) */
JsonObject *json_error(const GError *error);
/** (transfer full) string of node, one line; pretty adds two-space indents. */
char *json_text(JsonNode *node, gboolean pretty);
