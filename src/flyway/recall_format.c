/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/recall_format.h"

#include <errno.h>
#include <string.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include "flyway/recall_key.h"

#if G_BYTE_ORDER != G_LITTLE_ENDIAN
#error "the index file is used in place: little endian only"
#endif

static const guint8 index_magic[8] = { 'G', 'W', 'R', 'E', 'C', 'A', 'L', 'L' };
static const guint8 pages_magic[8] = { 'G', 'W', 'P', 'A', 'G', 'E', 'S', '1' };

#define VERSION 2u
#define AT_SEGMENTS 96u
#define SEGMENT_SIZE 28u

G_STATIC_ASSERT(AT_SEGMENTS + RECALL_SEGMENTS_MAX * SEGMENT_SIZE == RECALL_INDEX_HEADER_SIZE);

static void
put_u32(guint8 *at, guint32 value)
{
    memcpy(at, &value, sizeof value);
}

static guint32
get_u32(const guint8 *at)
{
    guint32 value;

    memcpy(&value, at, sizeof value);
    return value;
}

void
recall_header_encode(const RecallHeader *header, guint8 out[RECALL_INDEX_HEADER_SIZE])
{
    memset(out, 0, RECALL_INDEX_HEADER_SIZE);
    memcpy(out, index_magic, sizeof index_magic);
    put_u32(out + 8, VERSION);
    put_u32(out + 12, header->n_segments);
    memcpy(out + 16, header->id, RECALL_ID_SIZE);
    memcpy(out + 32, header->salt, RECALL_SALT_SIZE);
    put_u32(out + 48, header->pages);
    put_u32(out + 52, header->chunks);
    memcpy(out + 56, header->digest, RECALL_DIGEST_SIZE);
    for (guint i = 0; i < header->n_segments; i++) {
        guint8 *at = out + AT_SEGMENTS + i * SEGMENT_SIZE;

        memcpy(at, header->segments[i].id, RECALL_ID_SIZE);
        put_u32(at + 16, header->segments[i].live);
        put_u32(at + 20, header->segments[i].total);
    }
}

static const char *
fields_fault(const RecallHeader *header)
{
    guint64 live = 0;

    if (header->n_segments == 0 || header->n_segments > RECALL_SEGMENTS_MAX)
        return "number of segments";
    if (header->pages > RECALL_PAGES_MAX)
        return "too many pages";
    if (header->chunks > header->pages)
        return "more chunks than pages";
    for (guint i = 0; i < header->n_segments; i++) {
        if (header->segments[i].live > header->segments[i].total)
            return "more live pages than pages in a segment";
        live += header->segments[i].live;
    }
    if (live != header->pages)
        return "live pages of the segments aren't the set's";
    if (memcmp(header->segments[0].id, header->id, RECALL_ID_SIZE) != 0)
        return "segment 0 isn't the set's own";
    return NULL;
}

static int
refuse(const char **why, const char *text)
{
    *why = text;
    return -EBADMSG;
}

int
recall_header_decode(const guint8 *bytes, gsize size, RecallHeader *header, const char **why)
{
    guint8 again[RECALL_INDEX_HEADER_SIZE];
    const char *fault;

    if (size < RECALL_INDEX_HEADER_SIZE)
        return refuse(why, "shorter than a header");
    if (memcmp(bytes, index_magic, sizeof index_magic) != 0 || get_u32(bytes + 8) != VERSION)
        return refuse(why, "not an index of this version");
    memset(header, 0, sizeof *header);
    header->n_segments = get_u32(bytes + 12);
    memcpy(header->id, bytes + 16, RECALL_ID_SIZE);
    memcpy(header->salt, bytes + 32, RECALL_SALT_SIZE);
    header->pages = get_u32(bytes + 48);
    header->chunks = get_u32(bytes + 52);
    memcpy(header->digest, bytes + 56, RECALL_DIGEST_SIZE);
    for (guint i = 0; i < MIN(header->n_segments, RECALL_SEGMENTS_MAX); i++) {
        const guint8 *at = bytes + AT_SEGMENTS + i * SEGMENT_SIZE;

        memcpy(header->segments[i].id, at, RECALL_ID_SIZE);
        header->segments[i].live = get_u32(at + 16);
        header->segments[i].total = get_u32(at + 20);
    }
    fault = fields_fault(header);
    if (fault != NULL)
        return refuse(why, fault);
    recall_header_encode(header, again);
    if (memcmp(again, bytes, sizeof again) != 0)
        return refuse(why, "something where zeros belong");
    return 0;
}

guint64
recall_body_size(const RecallHeader *header)
{
    return (guint64)header->pages * (RECALL_HASH_SIZE + sizeof(guint32)) +
           /* The chunks' records are aligned to 8. */
           (header->pages & 1) * sizeof(guint32) +
           (guint64)header->chunks * RECALL_CHUNK_RECORD_SIZE;
}

static const char *
chunk_fault(const RecallHeader *header, const RecallChunk *chunk)
{
    guint64 offset = recall_chunk_offset(chunk);

    if (recall_chunk_segment(chunk) >= header->n_segments)
        return "chunk in no segment";
    if (offset < RECALL_PAGES_HEADER_SIZE || offset >= RECALL_OFFSET_MAX)
        return "chunk's offset";
    if (chunk->pages == 0 || chunk->pages > RECALL_CHUNK_PAGES)
        return "chunk's number of pages";
    if (chunk->coding > RECALL_CODING_ZSTD)
        return "chunk's coding";
    if (chunk->extra > (chunk->coding == RECALL_CODING_RAW ? 0 : RECALL_EXTRA_MAX))
        return "chunk's bytes behind its pages";
    if (chunk->size <= RECALL_TAG_SIZE ||
        chunk->size > chunk->pages * RECALL_PAGE_SIZE + RECALL_TAG_SIZE)
        return "chunk's size";
    if (chunk->coding == RECALL_CODING_RAW &&
        chunk->size != chunk->pages * RECALL_PAGE_SIZE + RECALL_TAG_SIZE)
        return "raw chunk's size";
    return NULL;
}

int
recall_body_decode(const RecallHeader *header, const guint8 *bytes, RecallBody *body,
                   const char **why)
{
    guint64 at = (guint64)header->pages * RECALL_HASH_SIZE;

    body->hashes = bytes;
    body->locators = (const guint32 *)(const void *)(bytes + at);
    at += ((guint64)header->pages + (header->pages & 1)) * sizeof(guint32);
    body->chunks = (const RecallChunk *)(const void *)(bytes + at);
    for (guint32 i = 0; i < header->chunks; i++) {
        const char *fault = chunk_fault(header, &body->chunks[i]);

        if (fault != NULL)
            return refuse(why, fault);
    }
    for (guint32 i = 0; i < header->pages; i++) {
        guint32 chunk = body->locators[i] / RECALL_CHUNK_PAGES;

        if (chunk >= header->chunks ||
            body->locators[i] % RECALL_CHUNK_PAGES >= body->chunks[chunk].pages)
            return refuse(why, "page in no chunk");
    }
    return 0;
}

void
recall_pages_encode(const guint8 id[RECALL_ID_SIZE], const guint8 salt[RECALL_SALT_SIZE],
                    guint8 out[RECALL_PAGES_HEADER_SIZE])
{
    memcpy(out, pages_magic, sizeof pages_magic);
    memcpy(out + 8, id, RECALL_ID_SIZE);
    memcpy(out + 24, salt, RECALL_SALT_SIZE);
}

int
recall_pages_decode(const guint8 bytes[RECALL_PAGES_HEADER_SIZE], const guint8 id[RECALL_ID_SIZE],
                    guint8 salt[RECALL_SALT_SIZE])
{
    if (memcmp(bytes, pages_magic, sizeof pages_magic) != 0 ||
        memcmp(bytes + 8, id, RECALL_ID_SIZE) != 0)
        return -EBADMSG;
    memcpy(salt, bytes + 24, RECALL_SALT_SIZE);
    return 0;
}

void
recall_digest(const guint8 id[RECALL_ID_SIZE], const guint8 *hashes, guint32 n,
              guint8 out[RECALL_DIGEST_SIZE])
{
    gnutls_hash_hd_t hash;
    guint8 head[RECALL_ID_SIZE + 4];
    int result = gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);

    /* SHA-256 is never missing, and nothing can be agreed without it. */
    g_assert(result == 0);
    memcpy(head, id, RECALL_ID_SIZE);
    put_u32(head + RECALL_ID_SIZE, n);
    gnutls_hash(hash, head, sizeof head);
    gnutls_hash(hash, hashes, (gsize)n * RECALL_HASH_SIZE);
    gnutls_hash_deinit(hash, out);
}
