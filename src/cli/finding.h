/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-glib/json-glib.h>

/** What "godwit doctor" found. A list of findings is a GPtrArray of Finding, in the order in which
 * a person reads them. */
typedef enum { FINDING_OK, FINDING_WARN, FINDING_ERROR } FindingLevel;

typedef struct {
    FindingLevel level;
    const char *check; /* id, "manager-clock"; static */
    char *about;       /* what was looked at: an address, a host's name */
    char *message;
    char *remedy; /* NULL for what is in order */
} Finding;

GPtrArray *findings_new(void);
/** Adds one. remedy may be NULL; strings are copied. */
void findings_add(GPtrArray *findings, const Finding *finding);
guint findings_count(GPtrArray *findings, FindingLevel level);
/** {"findings": [{level, check, about, message, remedy}], "errors", "warnings"} (transfer full) */
JsonNode *findings_json(GPtrArray *findings);
/** For people: what is wrong with its remedy; a sum at the end. (transfer full) */
char *findings_text(GPtrArray *findings, int width, gboolean colour);

/* Adds one in a line; printf-like message. */
void found_ok(GPtrArray *findings, const char *check, const char *about, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void found_warn(GPtrArray *findings, const char *check, const char *about, const char *remedy,
                const char *format, ...) G_GNUC_PRINTF(5, 6);
void found_error(GPtrArray *findings, const char *check, const char *about, const char *remedy,
                 const char *format, ...) G_GNUC_PRINTF(5, 6);
