/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fake_agent.h"
#include "net/http_client.h"

/** A godwit-manager process with a data folder of its own, and a client that talks to it. */
typedef struct {
    char *dir, *data, *config;
    GSubprocess *process; /* NULL while it doesn't run */
    guint starts;
    char *url;
    char *token; /* the first admin token */
    char *ca_pem;
    HttpClient *client; /* of the present start */
} Rig;

/** Starts it the first time. */
Rig *rig_new(void);
void rig_free(Rig *rig);
void rig_start(Rig *rig);
/** Waits for its end, then returns its exit status (-1: killed). */
int rig_stop(Rig *rig, int signal_number);
/** All that this start has logged. (transfer full) */
char *rig_log(const Rig *rig);

/** Calls path below /api/v1 while the main context goes on; body: JSON text or NULL. */
JsonNode *rig_call(Rig *rig, const char *method, const char *path, const char *body,
                   GError **error);
/** Same, must succeed. */
JsonNode *rig_get(Rig *rig, const char *path);
/** Must fail with that code; contains: in its message. */
void rig_fails(Rig *rig, const char *method, const char *path, const char *body, GodwitError code,
               const char *contains);
/** Does as godwitd join does, then starts the agent; the manager's first try to connect has failed
 * by then. */
void rig_join(Rig *rig, FakeAgent *agent);
/** h1 and h2, which must have these names; until both are connected. */
void rig_join_both(Rig *rig, FakeAgent *h1, FakeAgent *h2);
char *rig_join_token(Rig *rig, const char *body);
/** The body of POST /join; csr NULL: a good one, whose key goes to *key. (transfer full) */
char *rig_join_body(const FakeAgent *agent, const char *token, const char *csr, char **key);

/** Runs the main context until the condition holds; fails the test after 30 s. */
typedef gboolean (*RigCondition)(gpointer data);
void rig_wait(RigCondition condition, gpointer data, const char *what);
void rig_wait_host(Rig *rig, const char *host, const char *state);
/** Until the task has that state; (transfer full) the task. */
JsonNode *rig_wait_task(Rig *rig, const char *id, const char *state);

/** A string in nested objects: "migration.result"; NULL where it isn't. */
const char *json_at(JsonNode *node, const char *path);
gint64 json_int_at(JsonNode *node, const char *path);
/** Length of a list member. */
guint json_length_of(JsonNode *node, const char *member);
