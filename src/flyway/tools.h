/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "flyway/known.h"

/** What each thread of a session's crew has of its own, at either end. */
typedef struct {
    PageCodec *codec;
    PageHasher *hasher; /* NULL until tools_hasher() */
} Tools;

/** For crew_new(). */
gpointer tools_new(void);
void tools_free(gpointer tools);
/** The session's; known is the same at each call. NULL: GnuTLS refuses. */
PageHasher *tools_hasher(Tools *tools, const Known *known);
