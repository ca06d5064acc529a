/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"
#include "net/http_server.h"

/**
 * An agent without libvirt: the real HTTP server with schema/agent.yaml and the certificate that
 * the host got when it joined, and behind it whatever the test wants it to say. Main context only.
 */
typedef enum {
    AGENT_ACCEPTS,   /* a start is accepted */
    AGENT_REFUSES,   /* "refused" */
    AGENT_NEVER_GOT, /* answers as if the way were broken, and has not begun */
    AGENT_LOST_WORD, /* the same, but it has begun */
    AGENT_SILENT,    /* the same for every question, and it has begun */
    AGENT_HANGS,     /* no answer until the agent stops; it has not begun */
} AgentMode;

typedef struct {
    char *uuid, *name;
    guint port;
    Identity *identity; /* NULL until it has joined */
    AgentMode mode;
    gboolean past_return;   /* a cancel is a conflict */
    Facts *facts;           /* what it tells at a connection */
    GPtrArray *alarms;      /* Alarm; told at each connection too */
    GHashTable *migrations; /* id → Migration: what it knows */
    guint starts, cancels;  /* requests that came */
    char *recall_key;       /* that it was given; NULL: none */
    guint keys;             /* how often */
    gboolean refuses_key;   /* the next key */
    char *cleared;          /* VM of the last clear, "" for all; NULL: none came */
    /* the server */
    Schema *schema;
    HttpServer *server; /* NULL while stopped */
    GPtrArray *streams;
    GMutex lock;
    GCond stopped;
    gboolean stopping; /* under lock */
    guint hanging;     /* under lock */
} FakeAgent;

/** Takes a free port; facts are those of a host without VMs. */
FakeAgent *fake_agent_new(const char *uuid, const char *name);
void fake_agent_free(FakeAgent *agent);
void fake_agent_start(FakeAgent *agent);
void fake_agent_stop(FakeAgent *agent);

/** To everybody who listens. */
void fake_agent_tell(FakeAgent *agent, const char *event, const char *text);
/** A VM of the facts is new or has changed (transfer full), or is gone; told too. */
void fake_agent_set_vm(FakeAgent *agent, Vm *vm);
void fake_agent_drop_vm(FakeAgent *agent, const char *vm_uuid);
/** The migration goes on; told. */
void fake_agent_move(FakeAgent *agent, const char *id, MigrationResult result, const char *stage);
