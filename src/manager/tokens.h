/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"
#include "manager/ledger.h"

/**
 * Admin tokens (who may use the API) and join tokens (one host may join once). Only hashes are
 * kept, so that who reads the data folder can't use them. Main context only.
 */
typedef struct Tokens Tokens;

typedef struct {
    char *id; /* first 16 hex digits of the hash */
    char *name;
    gint64 created_ms;
} TokenInfo;
extern const RecordType token_info_type;
void token_info_free(TokenInfo *info);

/** ca_fingerprint goes into new tokens. */
Tokens *tokens_open(Ledger *ledger, const char *ca_fingerprint, GError **error);
void tokens_free(Tokens *tokens);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tokens, tokens_free)

/* Admin tokens. */
/** (transfer full) the token, which is not kept; id (transfer full) may be NULL. */
char *tokens_create(Tokens *tokens, const char *name, char **id, GError **error);
gboolean tokens_is_admin(const Tokens *tokens, const char *token);
/** NOT_FOUND; CONFLICT for the last one. */
gboolean tokens_delete(Tokens *tokens, const char *id, GError **error);
/** Oldest first. (transfer container) of TokenInfo. */
GPtrArray *tokens_list(const Tokens *tokens);
guint tokens_count(const Tokens *tokens);

/* Join tokens. */
char *tokens_create_join(Tokens *tokens, gint64 valid_s, gint64 now_ms, gint64 *expires_ms,
                         GError **error);
/** Is it good? INVALID, UNAUTHORIZED (not of this cluster, not known), EXPIRED (used or too old).
 */
gboolean tokens_check_join(const Tokens *tokens, const char *token, gint64 now_ms, GError **error);
/** From now on it is used; name: by which host. */
gboolean tokens_use_join(Tokens *tokens, const char *token, const char *name, gint64 now_ms,
                         GError **error);
