/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/record.h"

/**
 * How a request that has to wait for a host is answered: its handler runs in a thread of the HTTP
 * server's pool and only waits; the work is done in the main context, where all state lives.
 */
typedef struct Errand Errand;         /* one such request */
typedef struct ErrandDesk ErrandDesk; /* all of them */

/** Runs in the main context. Sooner or later errand_answer() must be called, once; `order` is good
 * only until this function returns. */
typedef void (*ErrandFunc)(Errand *errand, gpointer order, gpointer service);

ErrandDesk *errand_desk_new(gpointer service);
/** From now on every errand, waiting or to come, is answered with UNREACHABLE ("is being stopped").
 * Call it before waiting for the server's threads. */
void errand_desk_close(ErrandDesk *desk);
/** Errands that are still referenced keep what they need. */
void errand_desk_unref(ErrandDesk *desk);

/** A pool thread: has func called with order in the main context and waits for the answer.
 * (transfer full) or NULL with error. */
JsonNode *errand_run(ErrandDesk *desk, ErrandFunc func, gpointer order, GError **error);

/** Main context: the answer, or the error (both transfer full). The errand is not used after. */
void errand_answer(Errand *errand, JsonNode *answer, GError *error);
