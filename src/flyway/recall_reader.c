/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The index is read with one read into memory, decrypted there, checked once (recall_format), and
 * used in place. The header is authenticated with the body, so an index of another set, of another
 * group (another key) or with one bit changed is no index. Content is read when it is asked for.
 *
 * A page passes three checks before it is given out: its chunk's tag (it is what this cluster wrote
 * at this offset of this file), the chunk's length after decompression, and its hash (it is the
 * page that both hosts agreed on). What fails any is -ENOENT, never an error of the session.
 */
#include "flyway/recall_reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "flyway/recall_chunk.h"

struct RecallReader {
    RecallContext context;
    RecallFiles files;
    RecallHeader header;
    RecallBody body;
    guint8 *map; /* what body points into */
    gsize map_size;
    RecallShelf *shelf;
};

static int
read_header(RecallReader *reader, const guint8 *id, guint8 raw[RECALL_INDEX_HEADER_SIZE])
{
    const char *why;
    struct stat status;
    guint64 expected;
    int result = recall_read_all(reader->context.io, reader->files.index_fd, raw,
                                 RECALL_INDEX_HEADER_SIZE, 0);

    if (result != 0)
        return result;
    if (recall_header_decode(raw, RECALL_INDEX_HEADER_SIZE, &reader->header, &why) != 0) {
        g_debug("recall: index: %s", why);
        return -EBADMSG;
    }
    if (memcmp(reader->header.id, id, RECALL_ID_SIZE) != 0)
        return -EBADMSG;
    expected = RECALL_INDEX_HEADER_SIZE + recall_body_size(&reader->header) + RECALL_TAG_SIZE;
    /* Nothing is allocated for what isn't there. */
    if (fstat(reader->files.index_fd, &status) != 0)
        return -errno;
    if ((guint64)status.st_size != expected)
        return (guint64)status.st_size < expected ? -ENODATA : -EFBIG;
    return 0;
}

static int
read_body(RecallReader *reader, guint8 raw[RECALL_INDEX_HEADER_SIZE])
{
    gsize size = recall_body_size(&reader->header);
    g_autoptr(RecallCipher) cipher =
        recall_cipher_new(reader->context.group_key, RECALL_FILE_INDEX, reader->header.salt);
    struct iovec body;
    RecallMessage message = { .head = { raw, RECALL_INDEX_HEADER_SIZE },
                              .body = &body,
                              .n_body = 1 };
    const char *why;
    int result;

    if (cipher == NULL)
        return -EIO;
    reader->map_size = size + RECALL_TAG_SIZE;
    reader->map = mmap(NULL, reader->map_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (reader->map == MAP_FAILED) {
        reader->map = NULL;
        return -ENOMEM;
    }
    result = recall_read_all(reader->context.io, reader->files.index_fd, reader->map,
                             reader->map_size, RECALL_INDEX_HEADER_SIZE);
    if (result != 0)
        return result;
    body = (struct iovec){ reader->map, size };
    result = recall_cipher_open(cipher, &message, reader->map + size);
    if (result == 0 && recall_body_decode(&reader->header, reader->map, &reader->body, &why) != 0) {
        g_debug("recall: index: %s", why);
        result = -EBADMSG;
    }
    return result;
}

int
recall_reader_new(const RecallContext *context, const guint8 id[RECALL_ID_SIZE], RecallFiles *files,
                  RecallReader **reader)
{
    g_autoptr(RecallReader) made = g_new0(RecallReader, 1);
    guint8 raw[RECALL_INDEX_HEADER_SIZE];
    int result;

    made->context = *context;
    made->files.index_fd = fd_steal(&files->index_fd);
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        made->files.segment_fds[i] = fd_steal(&files->segment_fds[i]);
    made->shelf = recall_shelf_new(context);
    result = read_header(made, id, raw);
    if (result == 0)
        result = read_body(made, raw);
    fd_close_p(&made->files.index_fd);
    if (result != 0)
        return result;
    for (guint i = 0; i < made->header.n_segments; i++)
        recall_shelf_set(made->shelf, i, made->files.segment_fds[i], made->header.segments[i].id);
    *reader = g_steal_pointer(&made);
    return 0;
}

void
recall_reader_free(RecallReader *reader)
{
    if (reader == NULL)
        return;
    recall_shelf_free(reader->shelf);
    if (reader->map != NULL)
        munmap(reader->map, reader->map_size);
    fd_close_p(&reader->files.index_fd);
    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        fd_close_p(&reader->files.segment_fds[i]);
    g_free(reader);
}

const RecallHeader *
recall_reader_header(const RecallReader *reader)
{
    return &reader->header;
}

const RecallBody *
recall_reader_body(const RecallReader *reader)
{
    return &reader->body;
}

int
recall_reader_segment_fd(const RecallReader *reader, guint segment)
{
    return reader->files.segment_fds[segment];
}

void
recall_reader_digest(const RecallReader *reader, guint32 n, guint8 out[RECALL_DIGEST_SIZE])
{
    if (n == reader->header.pages)
        memcpy(out, reader->header.digest, RECALL_DIGEST_SIZE);
    else
        recall_digest(reader->header.id, reader->body.hashes, n, out);
}

int
recall_fetch(RecallReader *reader, PageHasher *hasher, guint32 ordinal,
             guint8 out[RECALL_PAGE_SIZE])
{
    guint8 hash[RECALL_HASH_SIZE];
    guint32 locator;
    int result = -ENOENT;

    /* The peer says which page: a number, nothing to trust. */
    if (ordinal < reader->header.pages) {
        locator = reader->body.locators[ordinal];
        result =
            recall_shelf_page(reader->shelf, &reader->body.chunks[locator / RECALL_CHUNK_PAGES],
                              locator % RECALL_CHUNK_PAGES, out);
    }
    if (result == 0) {
        reader->context.hash(hasher, out, hash);
        if (memcmp(hash, reader->body.hashes + (gsize)ordinal * RECALL_HASH_SIZE, sizeof hash) != 0)
            result = -ENOENT;
    }
    if (result != 0)
        memset(out, 0, RECALL_PAGE_SIZE);
    return result;
}

void
recall_prefetch(RecallReader *reader, guint32 ordinal)
{
    if (ordinal < reader->header.pages)
        recall_shelf_advise(
            reader->shelf,
            &reader->body.chunks[reader->body.locators[ordinal] / RECALL_CHUNK_PAGES]);
}
