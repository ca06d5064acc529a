/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"
#include "cli/cli.h"

/* Talking with the manager. Whom to talk to: options, then environment, then the login. */

/** Finds address, token and CA and makes cli->client; does nothing where it is made. NOT_FOUND
 * where nobody is logged in. No request is sent, except one for the CA where only the token is
 * known. */
gboolean session_open(Cli *cli, guint timeout_s, GError **error);

/** The token of --token-file or else GODWIT_TOKEN, unchecked; INVALID where there is none.
 * (transfer full) */
char *session_given_token(Cli *cli, GError **error);

/** "/api/v1/hosts/h%201" of "hosts", "h 1". NULL-terminated. (transfer full) */
char *api_path(const char *segment, ...) G_GNUC_NULL_TERMINATED;
/** Appends ?name=value or &name=value, escaped. */
void api_query(char **path, const char *name, const char *value);

/** One call; opens the session where it isn't. body may be NULL (not consumed). (transfer full) */
JsonNode *session_call(Cli *cli, const char *method, const char *path, JsonNode *body,
                       GError **error);
/** GET of a list: the member `name` of the answer as records of type; *answer (may be NULL) gets
 * the whole. (transfer full) */
GPtrArray *session_list(Cli *cli, const char *path, const char *name, const RecordType *type,
                        JsonNode **answer, GError **error);
/** The member's array of an answer as records. PROTOCOL where it isn't there. (transfer full) */
GPtrArray *session_records(JsonNode *answer, const char *name, const RecordType *type,
                           GError **error);
/** One record of an answer; PROTOCOL where it isn't one. (transfer full) */
gpointer session_record(JsonNode *answer, const RecordType *type, GError **error);

/** Adds "; did you mean ...?" to a NOT_FOUND error from the names of that kind that the manager
 * knows. */
void session_suggest(Cli *cli, ArgKind kind, const char *word, GError **error);
/** Names of that kind, for completion and suggestions; NULL where the manager doesn't tell.
 * (transfer full) */
GStrv session_names(Cli *cli, ArgKind kind);
/** name of each host by UUID; empty on error. (transfer full) */
GHashTable *session_host_names(Cli *cli);
