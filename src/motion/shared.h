/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "model/model.h"

/**
 * Is the storage of a VM's disks the same on both hosts? Shown, not believed: the source writes a
 * nonce beside the disks, in FOLDER/.godwit-ID, the destination reads it at the same path. The file
 * lives for the second that a reservation takes.
 */

/** Writes one for each folder that holds a writable file disk of vm. Folders in which nothing can
 * be written (root squashed, read-only) are left out. (transfer full) of StorageProof. */
GPtrArray *shared_plant(const Vm *vm, const char *id);
/** Removes them, also what a crash left. */
void shared_remove(const Vm *vm, const char *id);
/** Are all proofs seen here? REFUSED names the folder and what to do. here, there: host names. */
gboolean shared_verify(const GPtrArray *proofs, const char *id, const char *here, const char *there,
                       GError **error);
/** Given that these proofs were verified: are all disks of vm shared and coherent, so that libvirt
 * needn't guess? Network disks are; file disks where their folder was proved and their cache is
 * `none` or `directsync`. */
gboolean shared_is_proved(const Vm *vm, const GPtrArray *proofs);
