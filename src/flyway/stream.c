/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * QEMU writes a migration as one stream of bytes. Most of it are pages of memory, each behind a
 * word of 8 bytes. This parser follows the stream and tells where the pages lie in the bytes just
 * fed, so that others may send less than these bytes. It changes nothing, and what it tells is only
 * a hint: the bytes that leave at the destination are those that came in, also where it is wrong
 * about them. So whatever it doesn't understand makes it pass-through for good, with the reason and
 * the place: slower, never wrong.
 *
 * The format (QEMU 7.2 to 10, migration/savevm.c and ram.c; numbers are big endian):
 *
 *   "QEVM" version32 = 3
 *   07 CONFIGURATION  len32 machine name, then subsections 05 len8 name version32 fields
 *   08 COMMAND        number16 len16 data; number 7, a package: its data is a length32, and that
 *                     many bytes follow
 *   01 START          id32 len8 name instance32 version32, then what the section's owner writes
 *   02 PART, 03 END   id32, then what the owner writes
 *   7e FOOTER         id32: after each section, or (old machine types) after none
 *   04 FULL           a device's state, its length is nowhere
 *   00 EOF, then perhaps 06 len32 and a description
 *
 * and in the sections of "ram", version 4, words: an address, a multiple of 4096, and flags:
 *
 *   04  the address is the sum of all blocks' sizes; their list follows: len8 name size64, then
 *       size64 of its pages (where post-copy may come and they aren't the host's usual ones), then
 *       address64 (with x-ignore-shared)
 *   02  a page of one byte's value, which follows       08  a page, 4096 bytes
 *   40  changes to a page: 01 len16 bytes (xbzrle)      100 a deflated page: len32 bytes (to 9.0)
 *   20  with one of these four: the same block as the last; without it len8 name come first
 *   10  end of the section                              200 multifd's flush (from 8.0)
 *   80  RDMA's hook, no data here
 *
 * Phases. A pre-copy: BEFORE_RAM, SETUP (ram's START), PASSES (PART …, END), DEVICE with the first
 * FULL: lengths are unknown from there on, so all is blind to the end, and that is as it should be.
 * A post-copy: device state comes in a package, POSTCOPY begins with it, pages go on in PARTs and
 * END, then ENDED. The package holds such a stream itself; it is stepped over whole. A FULL before
 * ram's end (virtio-mem, from 8.0) and sections other than ram's (block, dirty-bitmap, VFIO, …)
 * have no length either: PASSTHROUGH. So does what isn't a main channel at all: multifd's and
 * post-copy's own channels, and a post-copy that QEMU itself resumes, have no magic.
 *
 * Is there a page size behind a block? Only if post-copy's advice, a command before, told of
 * several page sizes, and then it can be seen: for a block but the last, a name of length 0
 * can't be, and the first byte of a page size is 0; after the last one, a word without flags
 * can't be, and a page size is one. Together with x-ignore-shared it can't be seen: PASSTHROUGH.
 *
 * How. Everything but pages is read as fields: step tells which one, need how long it is; its
 * bytes are gathered in field[] over as many feeds as it takes, and its function in steps[] says
 * what comes next. Bodies and other data of no interest are skipped. That alone follows any stream
 * at any split. In front of it stands the fast way: where a word is due, records that lie wholly in
 * the bytes are taken in a loop without copying anything (take_records), and told. Both ways count
 * the same at the same byte, and nothing but spans depends on how the stream was cut.
 *
 * Passes. QEMU walks the blocks in order, and begins anew at the first; where an address isn't
 * higher than the one before it, that is a new pass. It is a good guess and no more: QEMU looks for
 * changes (dirty-sync-count) at other moments. Threads that compress jumble the pages, and
 * post-copy sends first what is asked for: no passes are counted then.
 *
 * Limits. STREAM_BLOCKS_MAX blocks and STREAM_NAMES_BYTES of their names; machine names of 255
 * bytes; 64 capabilities; pages of 4096 bytes, others are PASSTHROUGH. Nothing is allocated.
 */
#include <string.h>
#include "flyway/stream.h"

#define MAGIC 0x5145564du
#define VERSION 3u
#define RAM_VERSION 4u
#define CAPABILITIES_MAX 64u
#define COMPRESSED_MAX 4110u /* zlib's compressBound of a page, QEMU's own limit */
#define ENCODING_XBZRLE 1u

/* Types of sections. */
enum {
    TYPE_EOF = 0x00,
    TYPE_START = 0x01,
    TYPE_PART = 0x02,
    TYPE_END = 0x03,
    TYPE_FULL = 0x04,
    TYPE_SUBSECTION = 0x05,
    TYPE_CONFIGURATION = 0x07,
    TYPE_COMMAND = 0x08,
    TYPE_FOOTER = 0x7e,
};

/* Commands whose data matters. */
enum { COMMAND_ADVICE = 3, COMMAND_PACKAGE = 7 };

/* Flags of a word. */
enum {
    FLAG_ZERO = 0x02,
    FLAG_LIST = 0x04,
    FLAG_PAGE = 0x08,
    FLAG_EOS = 0x10,
    FLAG_CONTINUE = 0x20,
    FLAG_XBZRLE = 0x40,
    FLAG_HOOK = 0x80,
    FLAG_COMPRESSED = 0x100,
    FLAG_FLUSH = 0x200,
    FLAGS = 0xfff,
};

enum { CONFIGURATION_DUE, CONFIGURATION_OPEN, CONFIGURATION_OVER };
enum { FOOTERS_UNKNOWN, FOOTERS_YES, FOOTERS_NO };

/* The field being read. Length in bytes, or where the field before tells it: "var". */
typedef enum {
    STEP_HEADER,          /* 8: magic, version */
    STEP_TYPE,            /* 1 */
    STEP_MACHINE,         /* 4: length of its name */
    STEP_SUBSECTION,      /* 1: length of its name */
    STEP_SUBSECTION_NAME, /* var: name, version */
    STEP_PAGE_BITS,       /* 4 */
    STEP_CAPABILITIES,    /* 4: number */
    STEP_CAPABILITY,      /* 1: length of its name */
    STEP_CAPABILITY_NAME, /* var */
    STEP_COMMAND,         /* 4: number, length */
    STEP_ADVICE,          /* 16: sizes of pages in use, page size of the target */
    STEP_PACKAGE,         /* 4: length */
    STEP_START,           /* 5: id, length of name */
    STEP_START_NAME,      /* var: name, instance, version */
    STEP_PART,            /* 4: id */
    STEP_FOOTER,          /* 4: id */
    STEP_WORD,            /* 8 */
    STEP_BLOCK,           /* 1: length of its name */
    STEP_BLOCK_NAME,      /* var: name, size, with x-ignore-shared its address */
    STEP_BLOCK_PAGES,     /* 7: the rest of its page size */
    STEP_NAME,            /* 1: length of the name in a record */
    STEP_NAME_TEXT,       /* var */
    STEP_XBZRLE,          /* 3: encoding, length */
    STEP_COMPRESSED,      /* 4: length */
    STEP_N
} Step;

#define M(phase) (1u << STREAM_##phase)

/* Legal moves, from -> set of to. */
static const guint moves[STREAM_N_PHASES] = {
    [STREAM_BEFORE_RAM] = M(SETUP) | M(ENDED) | M(PASSTHROUGH),
    [STREAM_SETUP] = M(PASSES) | M(POSTCOPY) | M(ENDED) | M(PASSTHROUGH),
    [STREAM_PASSES] = M(DEVICE) | M(POSTCOPY) | M(ENDED) | M(PASSTHROUGH),
    [STREAM_POSTCOPY] = M(ENDED) | M(PASSTHROUGH),
};

static const char *const phase_names[STREAM_N_PHASES] = {
    "before memory", "setup", "passes", "device state", "post-copy", "ended", "pass-through",
};

static void
move(StreamParser *p, StreamPhase to)
{
    g_assert(moves[p->phase] & 1u << to);
    p->phase = to;
}

static inline gboolean
is_blind(const StreamParser *p)
{
    return p->phase == STREAM_DEVICE || p->phase == STREAM_ENDED || p->phase == STREAM_PASSTHROUGH;
}

static guint16
get16(const guint8 *bytes)
{
    return (guint16)(bytes[0] << 8 | bytes[1]);
}

static guint32
get32(const guint8 *bytes)
{
    return (guint32)get16(bytes) << 16 | get16(bytes + 2);
}

static inline guint64
get64(const guint8 *bytes)
{
    guint64 value;

    memcpy(&value, bytes, sizeof value);
    return GUINT64_FROM_BE(value);
}

static void
expect(StreamParser *p, Step step, guint32 need)
{
    g_assert(need > 0 && need <= STREAM_FIELD_MAX);
    p->step = (guint8)step;
    p->need = need;
    p->have = 0;
}

/* The field just read isn't understood. */
static void
refuse(StreamParser *p, const char *reason)
{
    move(p, STREAM_PASSTHROUGH);
    p->reason = reason;
    p->reason_offset = p->counts.bytes - p->need;
    p->counts.blind += p->need;
}

static gboolean
is_text(const guint8 *bytes, gsize length, const char *text)
{
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* The number of a block, STREAM_NO_BLOCK if its name is new. */
static guint16
find_block(const StreamParser *p, const guint8 *name, gsize length)
{
    const guint8 *at = p->names;

    for (guint16 i = 0; i < p->n_blocks; i++, at += 1 + at[0])
        if (at[0] == length && memcmp(at + 1, name, length) == 0)
            return i;
    return STREAM_NO_BLOCK;
}

static gboolean
add_block(StreamParser *p, const guint8 *name, gsize length)
{
    if (find_block(p, name, length) != STREAM_NO_BLOCK)
        return TRUE;
    if (p->n_blocks == STREAM_BLOCKS_MAX || p->names_used + 1 + length > STREAM_NAMES_BYTES)
        return FALSE;
    p->names[p->names_used] = (guint8)length;
    memcpy(p->names + p->names_used + 1, name, length);
    p->names_used += 1 + (guint32)length;
    p->n_blocks++;
    return TRUE;
}

/* A record's header is known: the word, and the block it belongs to. */
static inline void
count_record(StreamParser *p, guint64 word, guint16 block)
{
    guint64 place = (guint64)block << 52 | word >> 12;

    if (p->phase != STREAM_POSTCOPY && p->counts.compressed_pages == 0) {
        p->counts.passes += p->counts.passes == 0 || place <= p->last;
        p->last = place;
    }
    p->block = block;
    p->size_due = FALSE;
    switch (word & FLAGS & ~FLAG_CONTINUE) {
    case FLAG_PAGE:
        p->counts.pages++;
        break;
    case FLAG_ZERO:
        p->counts.zero_pages++;
        break;
    case FLAG_XBZRLE:
        p->counts.xbzrle_pages++;
        break;
    default:
        p->counts.compressed_pages++;
        p->counts.passes = 0;
        break;
    }
}

/* The stream's head and its configuration. */

static void
on_header(StreamParser *p)
{
    if (get32(p->field) != MAGIC)
        refuse(p, "not the main channel of a migration");
    else if (get32(p->field + 4) != VERSION)
        refuse(p, "a version of the stream other than 3");
    else
        expect(p, STEP_TYPE, 1);
}

static void
on_machine(StreamParser *p)
{
    guint32 length = get32(p->field);

    if (length > G_MAXUINT8) {
        refuse(p, "a machine name that is too long");
        return;
    }
    p->skip = length;
    p->configuration = CONFIGURATION_OPEN;
    expect(p, STEP_TYPE, 1);
}

static void
on_subsection(StreamParser *p)
{
    expect(p, STEP_SUBSECTION_NAME, p->field[0] + 4u);
}

static void
on_subsection_name(StreamParser *p)
{
    gsize length = p->need - 4;

    if (get32(p->field + length) != 1) {
        refuse(p, "a configuration of an unknown version");
    } else if (is_text(p->field, length, "configuration/target-page-bits")) {
        expect(p, STEP_PAGE_BITS, 4);
    } else if (is_text(p->field, length, "configuration/capabilities")) {
        expect(p, STEP_CAPABILITIES, 4);
    } else if (is_text(p->field, length, "configuration/uuid")) {
        p->skip = 16;
        expect(p, STEP_TYPE, 1);
    } else {
        refuse(p, "an unknown configuration");
    }
}

static void
on_page_bits(StreamParser *p)
{
    if (1ull << MIN(get32(p->field), 63) != STREAM_PAGE_SIZE)
        refuse(p, "pages of a size other than 4096");
    else
        expect(p, STEP_TYPE, 1);
}

static void
next_capability(StreamParser *p)
{
    if (p->left > 0)
        expect(p, STEP_CAPABILITY, 1);
    else
        expect(p, STEP_TYPE, 1);
}

static void
on_capabilities(StreamParser *p)
{
    p->left = get32(p->field);
    if (p->left > CAPABILITIES_MAX)
        refuse(p, "too many capabilities");
    else
        next_capability(p);
}

static void
on_capability(StreamParser *p)
{
    if (p->field[0] == 0)
        refuse(p, "a capability without a name");
    else
        expect(p, STEP_CAPABILITY_NAME, p->field[0]);
}

static void
on_capability_name(StreamParser *p)
{
    if (!is_text(p->field, p->need, "x-ignore-shared")) {
        refuse(p, "an unknown capability, which may change what follows");
        return;
    }
    p->shared = TRUE;
    p->left--;
    next_capability(p);
}

/* Sections and commands. */

static void
on_type_known(StreamParser *p, guint8 type)
{
    switch (type) {
    case TYPE_EOF:
        move(p, STREAM_ENDED);
        break;
    case TYPE_START:
        expect(p, STEP_START, 5);
        break;
    case TYPE_PART:
    case TYPE_END:
        p->section = type;
        expect(p, STEP_PART, 4);
        break;
    case TYPE_FULL:
        if (p->phase == STREAM_PASSES && p->ended)
            move(p, STREAM_DEVICE);
        else
            refuse(p, "device state, whose length is unknown, before the end of memory");
        break;
    case TYPE_COMMAND:
        expect(p, STEP_COMMAND, 4);
        break;
    default:
        refuse(p, "an unknown type of section");
        break;
    }
}

static void
on_type(StreamParser *p)
{
    guint8 type = p->field[0];

    if (p->footer_due) {
        guint8 seen = type == TYPE_FOOTER ? FOOTERS_YES : FOOTERS_NO;

        p->footer_due = FALSE;
        if (p->footers != FOOTERS_UNKNOWN && p->footers != seen) {
            refuse(p, "footers after some sections and not after others");
            return;
        }
        p->footers = seen;
        if (seen == FOOTERS_YES) {
            expect(p, STEP_FOOTER, 4);
            return;
        }
    }
    if (type == TYPE_SUBSECTION && p->configuration == CONFIGURATION_OPEN) {
        expect(p, STEP_SUBSECTION, 1);
    } else if (type == TYPE_CONFIGURATION && p->configuration == CONFIGURATION_DUE) {
        expect(p, STEP_MACHINE, 4);
    } else {
        p->configuration = CONFIGURATION_OVER;
        on_type_known(p, type);
    }
}

static void
on_command(StreamParser *p)
{
    guint16 command = get16(p->field), length = get16(p->field + 2);

    p->counts.commands++;
    if (command == COMMAND_PACKAGE && length != 4) {
        refuse(p, "a package without a length");
    } else if (command == COMMAND_PACKAGE) {
        expect(p, STEP_PACKAGE, 4);
    } else if (command == COMMAND_ADVICE && length == 16) {
        expect(p, STEP_ADVICE, 16);
    } else {
        p->skip = length;
        expect(p, STEP_TYPE, 1);
    }
}

static void
on_advice(StreamParser *p)
{
    p->page_sizes = get64(p->field);
    if (get64(p->field + 8) != STREAM_PAGE_SIZE)
        refuse(p, "pages of a size other than 4096");
    else
        expect(p, STEP_TYPE, 1);
}

static void
on_package(StreamParser *p)
{
    p->skip = get32(p->field);
    p->counts.packaged += p->skip;
    if (p->phase == STREAM_SETUP || p->phase == STREAM_PASSES)
        move(p, STREAM_POSTCOPY);
    expect(p, STEP_TYPE, 1);
}

static void
on_start(StreamParser *p)
{
    p->section_id = get32(p->field);
    expect(p, STEP_START_NAME, p->field[4] + 8u);
}

static void
on_start_name(StreamParser *p)
{
    gsize length = p->need - 8;

    if (is_text(p->field, length, "block")) {
        refuse(p, "disks in the stream");
    } else if (is_text(p->field, length, "dirty-bitmap")) {
        refuse(p, "dirty bitmaps of disks in the stream");
    } else if (!is_text(p->field, length, "ram")) {
        refuse(p, "a section of a device, of unknown length");
    } else if (get32(p->field + length + 4) != RAM_VERSION) {
        refuse(p, "a version of the memory's sections other than 4");
    } else if (p->phase != STREAM_BEFORE_RAM) {
        refuse(p, "memory begins twice");
    } else {
        move(p, STREAM_SETUP);
        p->counts.sections++;
        expect(p, STEP_WORD, 8);
    }
}

static void
on_part(StreamParser *p)
{
    if (p->phase == STREAM_BEFORE_RAM || get32(p->field) != p->section_id) {
        refuse(p, "a part of a section that never began");
        return;
    }
    if (p->ended) {
        refuse(p, "memory goes on after its end");
        return;
    }
    if (p->phase == STREAM_SETUP)
        move(p, STREAM_PASSES);
    p->ended = p->section == TYPE_END;
    p->counts.sections++;
    expect(p, STEP_WORD, 8);
}

static void
on_footer(StreamParser *p)
{
    if (get32(p->field) != p->section_id)
        refuse(p, "the footer of another section");
    else
        expect(p, STEP_TYPE, 1);
}

/* Memory. */

/* May blocks have page sizes in the list? */
static gboolean
has_sizes(const StreamParser *p)
{
    return (p->page_sizes & (p->page_sizes - 1)) != 0;
}

/* Is it the page size of a block, other than the host's usual (smallest) one? */
static gboolean
is_page_size(const StreamParser *p, guint64 value)
{
    return (value & (value - 1)) == 0 && (value & p->page_sizes & (p->page_sizes - 1)) != 0;
}

static void
on_list(StreamParser *p)
{
    p->list_left = p->word & ~(guint64)FLAGS;
    p->size_due = FALSE;
    if (p->shared && has_sizes(p))
        refuse(p, "x-ignore-shared together with post-copy of large pages");
    else if (p->list_left > 0)
        expect(p, STEP_BLOCK, 1);
    else
        expect(p, STEP_WORD, 8);
}

static void
on_block(StreamParser *p)
{
    if (p->field[0] == 0 && p->size_due)
        expect(p, STEP_BLOCK_PAGES, 7);
    else if (p->field[0] == 0)
        refuse(p, "a memory block without a name");
    else
        expect(p, STEP_BLOCK_NAME, p->field[0] + (p->shared ? 16u : 8u));
}

static void
on_block_name(StreamParser *p)
{
    gsize length = p->need - (p->shared ? 16 : 8);
    guint64 size = get64(p->field + length);

    if (size > p->list_left) {
        refuse(p, "memory blocks that are larger than their sum");
    } else if (!add_block(p, p->field, length)) {
        refuse(p, "too many memory blocks");
    } else {
        p->size_due = has_sizes(p);
        p->list_left -= size;
        if (p->list_left > 0)
            expect(p, STEP_BLOCK, 1);
        else
            expect(p, STEP_WORD, 8);
    }
}

static void
on_block_pages(StreamParser *p)
{
    guint64 size = 0;

    for (guint i = 0; i < 7; i++)
        size = size << 8 | p->field[i];
    p->size_due = FALSE;
    if (!is_page_size(p, size))
        refuse(p, "a page size that wasn't told before");
    else
        expect(p, STEP_BLOCK, 1);
}

/* The word and the block are known, the body is next. */
static void
on_record(StreamParser *p, guint16 block)
{
    count_record(p, p->word, block);
    switch (p->word & FLAGS & ~FLAG_CONTINUE) {
    case FLAG_XBZRLE:
        expect(p, STEP_XBZRLE, 3);
        break;
    case FLAG_COMPRESSED:
        expect(p, STEP_COMPRESSED, 4);
        break;
    case FLAG_PAGE:
        p->skip = STREAM_PAGE_SIZE;
        expect(p, STEP_WORD, 8);
        break;
    default:
        p->skip = 1;
        expect(p, STEP_WORD, 8);
        break;
    }
}

static void
on_record_word(StreamParser *p)
{
    if (!(p->word & FLAG_CONTINUE))
        expect(p, STEP_NAME, 1);
    else if (p->block == STREAM_NO_BLOCK)
        refuse(p, "a page of the same block as none before");
    else
        on_record(p, p->block);
}

static void
on_word(StreamParser *p)
{
    p->word = get64(p->field);
    switch (p->word & FLAGS) {
    case FLAG_PAGE:
    case FLAG_PAGE | FLAG_CONTINUE:
    case FLAG_ZERO:
    case FLAG_ZERO | FLAG_CONTINUE:
    case FLAG_XBZRLE:
    case FLAG_XBZRLE | FLAG_CONTINUE:
    case FLAG_COMPRESSED:
    case FLAG_COMPRESSED | FLAG_CONTINUE:
        on_record_word(p);
        break;
    case FLAG_LIST:
        on_list(p);
        break;
    case FLAG_EOS:
        p->size_due = FALSE;
        p->footer_due = TRUE;
        expect(p, STEP_TYPE, 1);
        break;
    case FLAG_FLUSH:
        p->counts.flushes++;
        expect(p, STEP_WORD, 8);
        break;
    case FLAG_HOOK:
        expect(p, STEP_WORD, 8);
        break;
    default:
        if (!p->size_due || !is_page_size(p, p->word)) {
            refuse(p, "unknown flags of a page");
            break;
        }
        p->size_due = FALSE;
        expect(p, STEP_WORD, 8);
        break;
    }
}

static void
on_name(StreamParser *p)
{
    if (p->field[0] == 0)
        refuse(p, "a page of a memory block without a name");
    else
        expect(p, STEP_NAME_TEXT, p->field[0]);
}

static void
on_name_text(StreamParser *p)
{
    guint16 block = find_block(p, p->field, p->need);

    if (block == STREAM_NO_BLOCK)
        refuse(p, "a page of an unknown memory block");
    else
        on_record(p, block);
}

static void
on_xbzrle(StreamParser *p)
{
    p->skip = get16(p->field + 1);
    if (p->field[0] != ENCODING_XBZRLE || p->skip > STREAM_PAGE_SIZE) {
        p->skip = 0;
        refuse(p, "an unknown encoding of a page's changes");
    } else {
        expect(p, STEP_WORD, 8);
    }
}

static void
on_compressed(StreamParser *p)
{
    guint32 length = get32(p->field);

    if (length > COMPRESSED_MAX) {
        refuse(p, "a compressed page that is too long");
    } else {
        p->skip = length;
        expect(p, STEP_WORD, 8);
    }
}

static void (*const steps[STEP_N])(StreamParser *) = {
    [STEP_HEADER] = on_header,
    [STEP_TYPE] = on_type,
    [STEP_MACHINE] = on_machine,
    [STEP_SUBSECTION] = on_subsection,
    [STEP_SUBSECTION_NAME] = on_subsection_name,
    [STEP_PAGE_BITS] = on_page_bits,
    [STEP_CAPABILITIES] = on_capabilities,
    [STEP_CAPABILITY] = on_capability,
    [STEP_CAPABILITY_NAME] = on_capability_name,
    [STEP_COMMAND] = on_command,
    [STEP_ADVICE] = on_advice,
    [STEP_PACKAGE] = on_package,
    [STEP_START] = on_start,
    [STEP_START_NAME] = on_start_name,
    [STEP_PART] = on_part,
    [STEP_FOOTER] = on_footer,
    [STEP_WORD] = on_word,
    [STEP_BLOCK] = on_block,
    [STEP_BLOCK_NAME] = on_block_name,
    [STEP_BLOCK_PAGES] = on_block_pages,
    [STEP_NAME] = on_name,
    [STEP_NAME_TEXT] = on_name_text,
    [STEP_XBZRLE] = on_xbzrle,
    [STEP_COMPRESSED] = on_compressed,
};

/* The feed being worked on. */
typedef struct {
    const guint8 *bytes;
    gsize length, at;
    StreamSpan *spans;
    gsize n, room;
} Feed;

/* Gathers bytes of the present field, and lets its function work when it is whole. */
static void
gather(StreamParser *p, Feed *feed, guint64 base)
{
    gsize part = MIN(p->need - p->have, feed->length - feed->at);

    memcpy(p->field + p->have, feed->bytes + feed->at, part);
    p->have += (guint32)part;
    feed->at += part;
    if (p->have == p->need) {
        p->counts.bytes = base + feed->at;
        steps[p->step](p);
    }
}

/* Where the body of the record at feed->at begins, 0 if the name before it isn't all there; and its
 * block. The word and a byte behind it are there. */
static gsize
find_body(const StreamParser *p, const Feed *feed, guint16 *block)
{
    gsize name = feed->at + 9, length = feed->bytes[feed->at + 8];

    if (length == 0 || feed->length - name < length)
        return 0;
    *block = find_block(p, feed->bytes + name, length);
    return name + length;
}

/* A word is due: takes the pages that lie wholly in the bytes, up to the first that doesn't, or
 * that is something else. */
static void
take_records(StreamParser *p, Feed *feed)
{
    while (feed->length - feed->at > 8 && feed->n < feed->room) {
        guint64 word = get64(feed->bytes + feed->at);
        guint kind = word & FLAGS & ~FLAG_CONTINUE;
        gsize size = kind == FLAG_PAGE ? STREAM_PAGE_SIZE : 1, body = feed->at + 8;
        guint16 block = p->block;

        if (kind != FLAG_PAGE && kind != FLAG_ZERO)
            return;
        if (!(word & FLAG_CONTINUE))
            body = find_body(p, feed, &block);
        if (body == 0 || block == STREAM_NO_BLOCK || feed->length - body < size)
            return;
        count_record(p, word, block);
        feed->spans[feed->n++] = (StreamSpan){
            .word = word,
            .header = (guint32)feed->at,
            .body = (guint32)body,
            .kind = kind == FLAG_PAGE ? STREAM_PAGE : STREAM_ZERO,
            .block = block,
        };
        feed->at = body + size;
    }
}

void
stream_init(StreamParser *parser)
{
    memset(parser, 0, sizeof *parser);
    parser->block = STREAM_NO_BLOCK;
    expect(parser, STEP_HEADER, 8);
}

gsize
stream_feed(StreamParser *parser, const guint8 *bytes, gsize length, StreamSpan *spans, gsize room)
{
    guint64 base = parser->counts.bytes;
    Feed feed = { .bytes = bytes, .length = length, .spans = spans, .room = room };

    g_assert(length <= G_MAXUINT32);
    while (feed.at < length && !is_blind(parser)) {
        if (parser->skip > 0) {
            gsize part = MIN(parser->skip, length - feed.at);

            parser->skip -= part;
            feed.at += part;
            continue;
        }
        if (parser->step == STEP_WORD && parser->have == 0)
            take_records(parser, &feed);
        gather(parser, &feed, base);
    }
    if (is_blind(parser))
        parser->counts.blind += length - feed.at;
    parser->counts.bytes = base + length;
    return feed.n;
}

StreamPhase
stream_phase(const StreamParser *parser)
{
    return parser->phase;
}

gboolean
stream_is_ending(const StreamParser *parser)
{
    return parser->ended;
}

const char *
stream_phase_name(StreamPhase phase)
{
    return phase < STREAM_N_PHASES ? phase_names[phase] : "unknown";
}

const StreamCounts *
stream_counts(const StreamParser *parser)
{
    return &parser->counts;
}

const char *
stream_reason(const StreamParser *parser)
{
    return parser->reason;
}

guint64
stream_reason_offset(const StreamParser *parser)
{
    return parser->reason_offset;
}

guint
stream_blocks(const StreamParser *parser)
{
    return parser->n_blocks;
}

const char *
stream_block_name(const StreamParser *parser, guint block, gsize *length)
{
    const guint8 *at = parser->names;

    if (block >= parser->n_blocks)
        return NULL;
    while (block-- > 0)
        at += 1 + at[0];
    *length = at[0];
    return (const char *)at + 1;
}
