/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/http_server.h"

/**
 * A manager for tests: the real HTTP server with the real API description, in a thread of its own,
 * and answers that the test sets. Every function may be called from the test's thread.
 */
typedef struct FakeManager FakeManager;

FakeManager *fake_manager_new(void);
void fake_manager_free(FakeManager *fake);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeManager, fake_manager_free)

const char *fake_manager_url(const FakeManager *fake);
const char *fake_manager_token(const FakeManager *fake);
const char *fake_manager_ca(const FakeManager *fake); /* PEM */
const char *
fake_manager_dir(const FakeManager *fake); /* a folder for the test's files, removed at the end */

/** What an operation answers from now on; "" = 204. json may use ' for ". */
void fake_manager_answer(FakeManager *fake, const char *operation, const char *json);
/** Only for requests whose path parameter or query `who` (its value) is among them. */
void fake_manager_answer_for(FakeManager *fake, const char *operation, const char *who,
                             const char *json);
/** What an operation is refused with from now on. */
void fake_manager_refuse(FakeManager *fake, const char *operation, const char *who,
                         GodwitError code, const char *message);
/** How often it was called. */
guint fake_manager_calls(FakeManager *fake, const char *operation);
/** Body, or else the parameters, of its last call, as one line of JSON. (transfer full) or NULL */
char *fake_manager_last(FakeManager *fake, const char *operation);

/** Events that every new stream begins with: at most one set at a time; NULL: none. */
void fake_manager_greet(FakeManager *fake, const char *event, const char *json);
/** Sends to all streams. */
void fake_manager_send(FakeManager *fake, const char *event, const char *json);
/** Waits until at least so many streams were opened since the start. */
void fake_manager_wait_streams(FakeManager *fake, guint opened);
/** Ends all streams from the manager's side. */
void fake_manager_cut(FakeManager *fake);
/** Goes away, and comes back at the same address. */
void fake_manager_stop(FakeManager *fake);
void fake_manager_start(FakeManager *fake);
