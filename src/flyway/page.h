/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include "flyway/hash.h"
#include "flyway/page_cache.h"
#include "flyway/stream.h"

/**
 * The page codec, payload format 1: how a batch, up to 128 KiB of QEMU's stream, crosses to the
 * other host in few bytes. Pure: no I/O, no globals, nothing allocated after the *_new() functions.
 * What comes out is byte for byte what went in, whatever the spans said. The file page_pack.c holds
 * the source's side, page_unpack.c the destination's; this comment is the specification.
 *
 *     offset 0  coding    u8   PageCoding: how the body is packed
 *            1  flags     u8   bit 0: what DELTA writes is NEW, else PLAIN; others 0
 *            2  ops       u16  bytes of ops, at most PAGE_OPS_MAX
 *            4  raw       u32  bytes of the batch, 1 to PAGE_BATCH_RAW
 *            8  literals  u32  bytes of literals, at most raw
 *           12  body           packed: literals, then ops; up to the payload's end
 *
 * Integers of this header are big endian. A body unpacks to exactly literals + ops bytes: stored as
 * they are, one LZ4 block, or one zstd frame. The ops write the batch from its start to its end and
 * use up all literals in order. An op is a byte
 *
 *     bits 0-2 kind (PageOp), bits 3-4 form (PageForm), bits 5-7 count - 1, or 7: a varint follows
 *
 * then, in this order and where they apply: varint count - 8; varint jump; varint set and ordinal,
 * or varint index. A varint has 7 bits a byte, low ones first, bit 7 says that more follow, at most
 * 10 bytes. A signed number s is written as (s << 1) ^ (s >> 63).
 *
 * | op      | writes, for each of count                                                  | form |
 * |---------|----------------------------------------------------------------------------|------|
 * | LITERAL | one byte of the literals                                                   | NEXT |
 * | ZERO    | a word with flags 0x22, a byte 0                                           | N, J |
 * | NEW     | a page of the literals, which becomes the next ordinal of the session's set | all  |
 * | PLAIN   | a page of the literals                                                     | all  |
 * | COPY    | the page that the index-th NEW, PLAIN or DELTA of this batch wrote; count 1 | all  |
 * | REF     | a page that both hosts have; ordinals go on from the last reference        | all  |
 * | REF_AT  | the same; set, and ordinal as a signed difference, follow                   | all  |
 * | DELTA   | a page, given by its difference from the one remembered for its address    | N, J |
 *
 * Before each page, unless the form is BARE (count is 1, the word stood in the literals), comes
 * QEMU's header word, 8 bytes big endian: address | flags, the flags 0x28 (ZERO: 0x22). The address
 * is the one after the last such word's (0 at the start), after JUMP that plus so many pages; all
 * modulo 2^64. Only the first of count jumps.
 *
 * References: a set is named by 32 bits; set 0 is the session's own. The difference of REF_AT is
 * from the ordinal after the last one used of the set's slot (set mod 16; 0 at the start), modulo
 * 2^32. REF is of the set last used (0 at the start), and at its slot's next ordinal.
 *
 * Differences, only where both sides have the ability DELTA, and in the lane that may refer to
 * pages: both remember pages of batches by their addresses (flyway/page_cache.h has the rule). A
 * DELTA takes from the literals a word, 8 bytes big endian, and 64 bytes for each bit that is set
 * in it: bit i (value 1 << i) says that the 64 bytes of the page from offset 64 i on are these XOR
 * the remembered ones; the others are as remembered. What is remembered is what was before this
 * batch. Once a batch is whole, each of its pages but BARE ones, whatever its op, is given to the
 * rule, in the batch's order. A DELTA of an address that isn't remembered is an error.
 *
 * Anything else is a protocol error.
 */
#define PAGE_FORMAT 1
#define PAGE_BATCH_RAW (128 * 1024) /* most raw bytes of a batch */
#define PAGE_PAGES_MAX (PAGE_BATCH_RAW / PAGE_BYTES)
#define PAGE_RUNS_MAX 2048 /* pages and runs of zero pages; what is beyond stays literal */
#define PAGE_OPS_MAX (28 * 1024)
#define PAGE_HEADER_SIZE 12
/** A page costs at most 5 bytes more than it has, a run of zero pages less. */
#define PAGE_PAYLOAD_MAX (PAGE_BATCH_RAW + 256)

typedef enum { PAGE_STORED = 0, PAGE_CODED_LZ4 = 1, PAGE_CODED_ZSTD = 2 } PageCoding;

typedef enum {
    PAGE_OP_LITERAL = 0,
    PAGE_OP_ZERO = 1,
    PAGE_OP_NEW = 2,
    PAGE_OP_PLAIN = 3,
    PAGE_OP_COPY = 4,
    PAGE_OP_REF = 5,
    PAGE_OP_REF_AT = 6,
    PAGE_OP_DELTA = 7,
} PageOp;

typedef enum { PAGE_NEXT = 0, PAGE_JUMP = 1, PAGE_BARE = 2 } PageForm;

/** What to spend on a batch's literals. */
typedef enum {
    PAGE_LEVEL_RAW,
    PAGE_LEVEL_LZ4,
    PAGE_LEVEL_ZSTD_FAST, /* zstd's level 1 */
    PAGE_LEVEL_ZSTD_BEST, /* zstd's level 3 */
    PAGE_LEVELS,
} PagePackLevel;

/** A page that both hosts have. */
typedef struct {
    guint32 set; /* 0: the present session's */
    guint32 ordinal;
} PageReference;

/** What the source knows. Called in the order of batches, by one thread at a time. */
typedef struct {
    /** TRUE with *reference set where the destination has the page of this hash. */
    gboolean (*find)(gpointer data, const guint8 hash[PAGE_HASH_BYTES], PageReference *reference);
    /** The page becomes the next ordinal of set 0. */
    void (*added)(gpointer data, const guint8 hash[PAGE_HASH_BYTES]);
} PageKnown;

/** What the destination keeps. Called in the order of batches, by one thread at a time. */
typedef struct {
    /** 0, or -errno where the page can't be had or isn't what its hash says. */
    int (*fetch)(gpointer data, const PageReference *reference, guint8 out[PAGE_BYTES]);
    /** The next ordinal of set 0; hash is NULL unless page_prepare() was called after unpacking. */
    void (*added)(gpointer data, const guint8 page[PAGE_BYTES], const guint8 *hash);
} PageFetch;

typedef struct {
    /* pages, each in one of these */
    guint32 zero, same, recalled, delta, compressed, raw;
    guint32 raw_bytes;
    guint32 plain_bytes; /* literals and ops, before LZ4 or zstd */
    guint32 payload_bytes;
} PageCounts;

/** A page of a batch. */
typedef struct {
    guint32 header;  /* offset of its word; on the destination body, where BARE */
    guint32 body;    /* offset of its bytes */
    guint8 op;       /* PageOp: NEW, PLAIN, COPY or REF; what DELTA writes is NEW or PLAIN */
    guint8 original; /* COPY: which of pages[] */
    guint8 based;    /* source: has a base; destination: is a difference yet */
    PageReference reference; /* REF */
    guint8 hash[PAGE_HASH_BYTES];
} PageItem;

/** A page (count 0, the next of pages[]) or count zero pages in a row. */
typedef struct {
    guint32 header;
    guint32 count;
} PageRun;

/**
 * A batch on its way. 274 KiB, of which untouched parts cost no memory where the allocator maps
 * them. Belongs to one thread at a time.
 */
typedef struct {
    guint32 raw_length;     /* filled by the caller at the source, else by page_unpack() */
    guint32 payload_length; /* by page_pack() */
    guint32 n_runs, n_pages;
    guint32 covered;   /* end of the last span taken */
    gboolean hashed;   /* page_prepare() was here with a hasher */
    gboolean based;    /* some of pages[] are */
    PageCounts counts; /* of the last page_pack() or page_unpack() */
    PageItem pages[PAGE_PAGES_MAX];
    PageRun runs[PAGE_RUNS_MAX];
    guint8 raw[PAGE_BATCH_RAW];       /* filled by the caller at the source, else by page_unpack(),
                                         page_fill() */
    guint8 payload[PAGE_PAYLOAD_MAX]; /* source: before page_pack() the bases of pages lie here */
} PageBatch;

/**
 * A thread's tools: contexts of zstd and LZ4, room to unpack. 1.3 MiB with zstd 1.5; at most
 * PAGE_CODEC_MAX bytes. (zstd may give back and take again memory within that, nothing else does.)
 */
typedef struct PageCodec PageCodec;
#define PAGE_CODEC_MAX (2 * 1024 * 1024)

PageBatch *page_batch_new(void);
void page_batch_free(PageBatch *batch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageBatch, page_batch_free)
/** Empties it, to be filled again. */
void page_batch_clear(PageBatch *batch);

/** Never NULL (memory that can't be had ends the program, as everywhere with GLib). */
PageCodec *page_codec_new(void);
void page_codec_free(PageCodec *codec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageCodec, page_codec_free)
/** Bytes that it holds. */
gsize page_codec_size(const PageCodec *codec);

/** Does any of its pages have that op? */
gboolean page_batch_has(const PageBatch *batch, PageOp op);

/**
 * Tells where pages are in raw[0..raw_length). Call it as often as needed, in order. Spans that
 * overlap, go back, leave the batch or don't fit any more are left to be literal bytes.
 */
void page_spans(PageBatch *batch, const StreamSpan *spans, guint n);

/**
 * Source, before step 3, in the order of batches: the versions that both remember of pages.
 * Without it none goes as a difference. After it page_remember(), which is due for each batch.
 */
void page_bases(PageBatch *batch, const PageCache *cache);
/**
 * Both sides, in the order of batches: remembers its pages by page_cache_take(). Destination: once
 * page_fill() has succeeded, so that a batch that has to come again is remembered once.
 */
void page_remember(const PageBatch *batch, PageCache *cache);

/**
 * Source, step 1, any thread: names the pages. Without hasher none is looked up, and none becomes
 * part of the session's set. Destination: after page_rebuild(), names those that do.
 */
void page_prepare(PageBatch *batch, PageHasher *hasher);
/** Source, step 2, in the order of batches: which pages does the other have? ops NULL: none. */
void page_choose(PageBatch *batch, const PageKnown *ops, gpointer data);
/** Source, step 3, any thread: writes payload[0..payload_length), and counts. Bases are used up:
 * what is packed another time has no differences. */
void page_pack(PageBatch *batch, PageCodec *codec, PagePackLevel level);
/**
 * Again, without references and differences, after the destination missed a page. Pages keep the
 * ordinals that they got in page_choose(), and no others get one.
 */
void page_pack_plain(PageBatch *batch, PageCodec *codec, PagePackLevel level);

/** A payload's packed body: it unpacks to that many pages, and extra bytes of ops. */
typedef struct {
    const guint8 *bytes; /* in the payload */
    guint32 size;
    PageCoding coding; /* not PAGE_STORED */
    guint pages;
    guint16 extra;
} PageBody;

/** After page_pack() or page_unpack(): are the batch's new pages, in order, all literals of its
 * payload, and packed? Then *body. */
gboolean page_body(const PageBatch *batch, const guint8 *payload, gsize length, PageBody *body);

/** The raw bytes that a payload says to become, 1 to PAGE_BATCH_RAW; 0: impossible. */
guint32 page_payload_raw(const guint8 *payload, gsize length);
/**
 * Destination, step 1, any thread: everything but what is referred to, or differs. 0, or -EPROTO
 * with *why a static English phrase. The payload isn't needed after.
 */
int page_unpack(PageBatch *batch, PageCodec *codec, const guint8 *payload, gsize length,
                const char **why);
/**
 * Destination, next, in the order of batches: differences become pages. cache may be NULL: nothing
 * is remembered. 0, or -EPROTO with *why: a page's last version isn't there. Changes no cache.
 */
int page_rebuild(PageBatch *batch, const PageCache *cache, const char **why);
/**
 * Destination, step 2, in the order of batches: fetches what is referred to, then tells of each new
 * page. 0, and raw[0..raw_length) is the source's; -EPROTO where differences weren't rebuilt; or
 * the first error of fetch: then nothing was added, and the source may be asked for the batch
 * packed plain.
 */
int page_fill(PageBatch *batch, const PageFetch *ops, gpointer data);
