/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/suggest.h"

#include <string.h>

/* Longer words than this are never a typing mistake of ours; it also bounds the work. */
#define WORD_MAX 64

/* Optimal string alignment distance: insert, delete, replace, swap of neighbours, each 1. */
static guint
suggest_distance(const char *a, const char *b)
{
    gsize n = strlen(a), m = strlen(b);
    guint rows[3][WORD_MAX + 1];

    for (gsize j = 0; j <= m; j++)
        rows[0][j] = j;
    for (gsize i = 1; i <= n; i++) {
        guint *row = rows[i % 3];
        const guint *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (gsize j = 1; j <= m; j++) {
            guint replace = above[j - 1] + (a[i - 1] != b[j - 1]);

            row[j] = MIN(replace, MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = MIN(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *
suggest_nearest(const char *word, const char *const *known)
{
    const char *best = NULL;
    guint best_distance = G_MAXUINT;
    gsize length = strlen(word);
    g_autofree char *lower = g_ascii_strdown(word, -1);

    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (; *known; known++) {
        g_autofree char *other = g_ascii_strdown(*known, -1);
        gsize other_length = strlen(other);
        guint distance, limit = MAX(1, MIN(length, other_length) / 3);

        if (other_length > WORD_MAX)
            continue;
        distance = suggest_distance(lower, other);
        /* "datastores", "dest": an unfinished or overfull word is near, too. */
        if (length >= 3 && (g_str_has_prefix(other, lower) || g_str_has_prefix(lower, other)))
            distance = MIN(distance, 1);
        if (distance <= limit && distance < best_distance) {
            best = *known;
            best_distance = distance;
        }
    }
    return best;
}
