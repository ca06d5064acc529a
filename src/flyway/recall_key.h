/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/uio.h>
#include "flyway/recall.h"

#define RECALL_TAG_SIZE 16u

/**
 * The keys of one group of VMs, from the cluster's recall key. godwitd gives a worker its group's
 * key only: a worker that was taken over reads no other group's pages. `group` is the text that the
 * library files sets under. 0 or -EINVAL (GnuTLS refused).
 */
int recall_key_group(const guint8 cluster_key[RECALL_KEY_SIZE], const char *group,
                     guint8 out[RECALL_KEY_SIZE]);

/** The key of the group's page hashes. The same on every host of the cluster. */
int recall_key_hash(const guint8 group_key[RECALL_KEY_SIZE], guint8 out[RECALL_KEY_SIZE]);

typedef enum {
    RECALL_FILE_INDEX,
    RECALL_FILE_PAGES,
} RecallFileKind;

/** AES-256-GCM with the key of one file. Not to be used by two threads at once. */
typedef struct RecallCipher RecallCipher;

/** `salt` is the file's own, random, and stands in its header. NULL if GnuTLS refuses. */
RecallCipher *recall_cipher_new(const guint8 group_key[RECALL_KEY_SIZE], RecallFileKind kind,
                                const guint8 salt[RECALL_SALT_SIZE]);
void recall_cipher_free(RecallCipher *cipher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RecallCipher, recall_cipher_free)

/** One message, encrypted and decrypted in place. */
typedef struct {
    guint64 nonce;      /* unique for the file */
    struct iovec head;  /* authenticated, not encrypted; may be empty */
    struct iovec *body; /* its parts, as if they were one */
    gsize n_body;
} RecallMessage;

/** Encrypts the body and gives the tag. 0 or -EIO. */
int recall_cipher_seal(RecallCipher *cipher, const RecallMessage *message,
                       guint8 tag[RECALL_TAG_SIZE]);

/** Decrypts the body; -EBADMSG if anything isn't as it was sealed, the body is garbage then. */
int recall_cipher_open(RecallCipher *cipher, const RecallMessage *message,
                       const guint8 tag[RECALL_TAG_SIZE]);
