/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/** Short ways to make nouns for tests. All (transfer full). */

#define UUID_H1 "11111111-1111-4111-8111-111111111111"
#define UUID_H2 "22222222-2222-4222-8222-222222222222"
#define UUID_H3 "33333333-3333-4333-8333-333333333333"
#define UUID_WEB "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define UUID_DB "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"

Host *noun_host(const char *uuid, const char *name, HostState state);
Vm *noun_vm(const char *uuid, const char *name, VmState state);
Migration *noun_migration(const char *id, const char *vm_uuid, const char *from_uuid,
                          const char *to_uuid, MigrationResult result);
/** Facts of a connected host with memory to spare, network "lan", and the VMs (NULL-terminated,
 * taken). */
Facts *noun_facts(const char *uuid, const char *name, ...) G_GNUC_NULL_TERMINATED;
