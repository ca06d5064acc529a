/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *     cluster key (32 bytes, the manager's)
 *       └─ HKDF-SHA-256, "godwit recall group " + group ─▶ group key
 *            ├─ HKDF, "page hash" ─▶ hash key
 *            └─ HKDF, "index file" or "pages file", with the file's salt ─▶ key of one file
 *
 * AES-GCM breaks when a nonce is used twice under one key. A file's key comes from 16 random bytes
 * of its own, not from the set's id: both hosts of a session write under the same id, with other
 * content. Within a file the nonce is the offset of what is written, a file is only appended to, by
 * the one writer that made it, and no offset is written twice: after an error or a crash the file
 * is closed for good. So no (key, nonce) repeats unless two of 2^64 files draw the same salt.
 */
#include "flyway/recall_key.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>

struct RecallCipher {
    gnutls_aead_cipher_hd_t handle;
};

const RecallIo recall_io_real = { .pread = pread, .pwrite = pwrite };

static int
derive(const guint8 *key, const void *salt, gsize salt_size, const char *info, guint8 *out)
{
    gnutls_datum_t from = { (guint8 *)key, RECALL_KEY_SIZE };
    gnutls_datum_t with = { (guint8 *)salt, (guint)salt_size };
    gnutls_datum_t what = { (guint8 *)info, (guint)strlen(info) };
    guint8 extracted[RECALL_KEY_SIZE];
    gnutls_datum_t middle = { extracted, sizeof extracted };
    int result = gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &from, &with, extracted);

    if (result == 0)
        result = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &middle, &what, out, RECALL_KEY_SIZE);
    gnutls_memset(extracted, 0, sizeof extracted);
    return result == 0 ? 0 : -EINVAL;
}

int
recall_key_group(const guint8 cluster_key[RECALL_KEY_SIZE], const char *group,
                 guint8 out[RECALL_KEY_SIZE])
{
    g_autofree char *info = g_strconcat("godwit recall group ", group, NULL);

    return derive(cluster_key, NULL, 0, info, out);
}

int
recall_key_hash(const guint8 group_key[RECALL_KEY_SIZE], guint8 out[RECALL_KEY_SIZE])
{
    return derive(group_key, NULL, 0, "page hash", out);
}

RecallCipher *
recall_cipher_new(const guint8 group_key[RECALL_KEY_SIZE], RecallFileKind kind,
                  const guint8 salt[RECALL_SALT_SIZE])
{
    static const char *const infos[] = {
        [RECALL_FILE_INDEX] = "index file",
        [RECALL_FILE_PAGES] = "pages file",
    };
    g_autoptr(RecallCipher) cipher = g_new0(RecallCipher, 1);
    guint8 key[RECALL_KEY_SIZE];
    gnutls_datum_t datum = { key, sizeof key };
    int result = derive(group_key, salt, RECALL_SALT_SIZE, infos[kind], key);

    if (result == 0)
        result = gnutls_aead_cipher_init(&cipher->handle, GNUTLS_CIPHER_AES_256_GCM, &datum);
    gnutls_memset(key, 0, sizeof key);
    return result == 0 ? g_steal_pointer(&cipher) : NULL;
}

void
recall_cipher_free(RecallCipher *cipher)
{
    if (cipher == NULL)
        return;
    if (cipher->handle != NULL)
        gnutls_aead_cipher_deinit(cipher->handle);
    g_free(cipher);
}

static void
make_nonce(guint64 number, guint8 nonce[12])
{
    guint64 big = GUINT64_TO_BE(number);

    memset(nonce, 0, 4);
    memcpy(nonce + 4, &big, sizeof big);
}

int
recall_cipher_seal(RecallCipher *cipher, const RecallMessage *message, guint8 tag[RECALL_TAG_SIZE])
{
    gsize tag_size = RECALL_TAG_SIZE;
    guint8 nonce[12];

    make_nonce(message->nonce, nonce);
    return gnutls_aead_cipher_encryptv2(cipher->handle, nonce, sizeof nonce, &message->head,
                                        message->head.iov_len > 0, message->body,
                                        (int)message->n_body, tag, &tag_size) == 0
               ? 0
               : -EIO;
}

int
recall_cipher_open(RecallCipher *cipher, const RecallMessage *message,
                   const guint8 tag[RECALL_TAG_SIZE])
{
    guint8 nonce[12];

    make_nonce(message->nonce, nonce);
    return gnutls_aead_cipher_decryptv2(cipher->handle, nonce, sizeof nonce, &message->head,
                                        message->head.iov_len > 0, message->body,
                                        (int)message->n_body, (void *)tag, RECALL_TAG_SIZE) == 0
               ? 0
               : -EBADMSG;
}

int
recall_read_all(const RecallIo *io, int fd, void *buffer, gsize size, guint64 offset)
{
    for (gsize done = 0; done < size;) {
        ssize_t n = io->pread(fd, (guint8 *)buffer + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENODATA;
        done += (gsize)n;
    }
    return 0;
}

int
recall_write_all(const RecallIo *io, int fd, const void *buffer, gsize size, guint64 offset)
{
    for (gsize done = 0; done < size;) {
        ssize_t n =
            io->pwrite(fd, (const guint8 *)buffer + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (gsize)n;
    }
    return 0;
}
