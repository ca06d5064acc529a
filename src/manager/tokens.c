/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Admin tokens stand in the ledger under tokens/HASH and in memory, since every request asks for
 * one. Join tokens stand under join/HASH and are read when they are needed. A used or expired one
 * is kept for a week, so that whoever tries it again is told what is wrong with it; then it is
 * swept out when the next one is made. At most JOIN_TOKENS_MAX are kept.
 */
#include "manager/tokens.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/identity.h"

#define ADMIN "tokens/"
#define JOIN "join/"
#define ADMIN_PREFIX "gwa_"
#define JOIN_PREFIX "gwj_"
#define ID_LENGTH 16
#define ADMIN_TOKENS_MAX 1000
#define JOIN_TOKENS_MAX 1000
#define JOIN_KEPT_MS (G_GINT64_CONSTANT(7) * 24 * 3600 * 1000)

typedef struct {
    gint64 created_ms, expires_ms;
    gint64 used_ms; /* 0: not yet */
    char *used_by;  /* name of the host */
} JoinToken;

static const RecordField token_info_fields[] = {
    RECORD_FIELD(TokenInfo, id, STRING),
    RECORD_FIELD(TokenInfo, name, STRING),
    RECORD_FIELD(TokenInfo, created_ms, INT),
};
RECORD_DEFINE(TokenInfo, token_info, "token", token_info_fields);

static const RecordField join_token_fields[] = {
    RECORD_FIELD(JoinToken, created_ms, INT),
    RECORD_FIELD(JoinToken, expires_ms, INT),
    RECORD_FIELD(JoinToken, used_ms, INT),
    RECORD_FIELD(JoinToken, used_by, STRING),
};
static const RecordType join_token_type = RECORD_TYPE("join token", JoinToken, join_token_fields);

static void
join_token_free(JoinToken *token)
{
    record_free(&join_token_type, token);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JoinToken, join_token_free)

struct Tokens {
    Ledger *ledger; /* not owned */
    char *fingerprint;
    GHashTable *admins; /* hash → TokenInfo, both owned */
};

static gboolean
read_admins(Tokens *tokens, GError **error)
{
    g_autoptr(GPtrArray) entries = ledger_list(tokens->ledger, ADMIN, error);

    for (guint i = 0; entries != NULL && i < entries->len; i++) {
        const StoreEntry *entry = entries->pdata[i];
        TokenInfo *info = record_from_string(&token_info_type, entry->value, -1, error);

        if (info == NULL) {
            g_prefix_error(error, "the stored %s: ", entry->key);
            return FALSE;
        }
        g_hash_table_insert(tokens->admins, g_strdup(entry->key + strlen(ADMIN)), info);
    }
    return entries != NULL;
}

Tokens *
tokens_open(Ledger *ledger, const char *ca_fingerprint, GError **error)
{
    g_autoptr(Tokens) tokens = g_new0(Tokens, 1);

    tokens->ledger = ledger;
    tokens->fingerprint = g_strdup(ca_fingerprint);
    tokens->admins =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)token_info_free);
    return read_admins(tokens, error) ? g_steal_pointer(&tokens) : NULL;
}

void
tokens_free(Tokens *tokens)
{
    if (tokens == NULL)
        return;
    g_hash_table_unref(tokens->admins);
    g_free(tokens->fingerprint);
    g_free(tokens);
}

/* ---- admin tokens ------------------------------------------------------------------- */

char *
tokens_create(Tokens *tokens, const char *name, char **id, GError **error)
{
    g_autofree char *token = token_new(ADMIN_PREFIX, tokens->fingerprint);
    g_autofree char *hash = token_hash(token);
    g_autofree char *key = g_strconcat(ADMIN, hash, NULL);
    g_autofree char *value = NULL;
    TokenInfo *info;

    if (g_hash_table_size(tokens->admins) >= ADMIN_TOKENS_MAX) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "there are %d tokens already: delete those that nobody uses", ADMIN_TOKENS_MAX);
        return NULL;
    }
    info = record_new(&token_info_type);
    info->id = g_strndup(hash, ID_LENGTH);
    info->name = g_strdup(name);
    info->created_ms = clock_wall_ms();
    value = record_to_string(&token_info_type, info);
    if (!ledger_put(tokens->ledger, key, value, error)) {
        token_info_free(info);
        return NULL;
    }
    if (id != NULL)
        *id = g_strdup(info->id);
    g_hash_table_insert(tokens->admins, g_steal_pointer(&hash), info);
    return g_steal_pointer(&token);
}

gboolean
tokens_is_admin(const Tokens *tokens, const char *token)
{
    g_autofree char *hash = token_hash(token);

    return g_hash_table_contains(tokens->admins, hash);
}

gboolean
tokens_delete(Tokens *tokens, const char *id, GError **error)
{
    g_autofree char *key = NULL;
    const char *found = NULL;
    GHashTableIter iter;
    gpointer hash;

    g_hash_table_iter_init(&iter, tokens->admins);
    while (found == NULL && g_hash_table_iter_next(&iter, &hash, NULL))
        found = g_str_has_prefix(hash, id) ? hash : NULL;
    if (found == NULL) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND,
                    "no token \"%s\"; GET /api/v1/tokens lists those there are", id);
        return FALSE;
    }
    if (g_hash_table_size(tokens->admins) == 1) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "token %s is the last one: without it nobody could make another; make the new "
                    "one first",
                    id);
        return FALSE;
    }
    key = g_strconcat(ADMIN, found, NULL);
    if (!ledger_delete(tokens->ledger, key, error))
        return FALSE;
    g_hash_table_remove(tokens->admins, key + strlen(ADMIN));
    return TRUE;
}

static gint
by_time(gconstpointer a, gconstpointer b)
{
    const TokenInfo *x = *(TokenInfo *const *)a, *y = *(TokenInfo *const *)b;

    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

GPtrArray *
tokens_list(const Tokens *tokens)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer info;

    g_hash_table_iter_init(&iter, tokens->admins);
    while (g_hash_table_iter_next(&iter, NULL, &info))
        g_ptr_array_add(list, info);
    g_ptr_array_sort(list, by_time);
    return list;
}

guint
tokens_count(const Tokens *tokens)
{
    return g_hash_table_size(tokens->admins);
}

/* ---- join tokens -------------------------------------------------------------------- */

/** Forgets those that have long expired; TRUE where there is room for another. */
static gboolean
sweep_join(Tokens *tokens, gint64 now_ms, GError **error)
{
    g_autoptr(GPtrArray) entries = ledger_list(tokens->ledger, JOIN, error);
    guint left;

    if (entries == NULL)
        return FALSE;
    left = entries->len;
    for (guint i = 0; i < entries->len; i++) {
        const StoreEntry *entry = entries->pdata[i];
        g_autoptr(JoinToken) token = record_from_string(&join_token_type, entry->value, -1, NULL);

        if ((token == NULL || token->expires_ms + JOIN_KEPT_MS < now_ms) &&
            ledger_delete(tokens->ledger, entry->key, NULL))
            left--;
    }
    if (left < JOIN_TOKENS_MAX)
        return TRUE;
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                "%u join tokens were made within the last days; use those, or wait until they are "
                "forgotten a week after they have expired",
                left);
    return FALSE;
}

static gboolean
write_join(Tokens *tokens, const char *token, const JoinToken *join, GError **error)
{
    g_autofree char *hash = token_hash(token);
    g_autofree char *key = g_strconcat(JOIN, hash, NULL);
    g_autofree char *value = record_to_string(&join_token_type, join);

    return ledger_put(tokens->ledger, key, value, error);
}

char *
tokens_create_join(Tokens *tokens, gint64 valid_s, gint64 now_ms, gint64 *expires_ms,
                   GError **error)
{
    g_autofree char *token = token_new(JOIN_PREFIX, tokens->fingerprint);
    JoinToken join = { .created_ms = now_ms, .expires_ms = now_ms + valid_s * 1000 };

    if (!sweep_join(tokens, now_ms, error) || !write_join(tokens, token, &join, error))
        return NULL;
    *expires_ms = join.expires_ms;
    return g_steal_pointer(&token);
}

/** The stored token; NULL without error where it isn't known. */
static JoinToken *
read_join(const Tokens *tokens, const char *token, GError **error)
{
    g_autofree char *hash = token_hash(token);
    g_autofree char *key = g_strconcat(JOIN, hash, NULL);
    g_autofree char *value = ledger_get(tokens->ledger, key, error);

    return value != NULL ? record_from_string(&join_token_type, value, -1, error) : NULL;
}

static gboolean
is_of_this_cluster(const Tokens *tokens, const char *token, GError **error)
{
    g_autofree char *fingerprint = NULL;

    if (!token_parse(token, JOIN_PREFIX, &fingerprint, error))
        return FALSE;
    if (g_str_has_prefix(tokens->fingerprint, fingerprint))
        return TRUE;
    g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                        "the join token was made by another cluster's manager; make one here: "
                        "godwit host add");
    return FALSE;
}

gboolean
tokens_check_join(const Tokens *tokens, const char *token, gint64 now_ms, GError **error)
{
    g_autoptr(JoinToken) join = NULL;
    g_autoptr(GError) problem = NULL;

    if (!is_of_this_cluster(tokens, token, error))
        return FALSE;
    join = read_join(tokens, token, &problem);
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (join == NULL) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_UNAUTHORIZED,
                            "the join token is not known; make one: godwit host add");
    } else if (join->used_ms != 0) {
        g_autofree char *when = clock_format(join->used_ms);

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_EXPIRED,
                    "the join token was used already, by host %s at %s; each works once: make "
                    "another with godwit host add",
                    join->used_by, when);
    } else if (join->expires_ms <= now_ms) {
        g_autofree char *when = clock_format(join->expires_ms);

        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_EXPIRED,
                    "the join token expired at %s; make another with godwit host add", when);
    } else {
        return TRUE;
    }
    return FALSE;
}

gboolean
tokens_use_join(Tokens *tokens, const char *token, const char *name, gint64 now_ms, GError **error)
{
    g_autoptr(JoinToken) join = read_join(tokens, token, error);

    if (join == NULL)
        return FALSE;
    join->used_ms = now_ms;
    g_free(join->used_by);
    join->used_by = g_strdup(name);
    return write_join(tokens, token, join, error);
}
