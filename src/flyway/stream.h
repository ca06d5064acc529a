/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * An incremental parser of QEMU's migration stream (source to destination) that finds the bodies of
 * RAM pages. It only looks: the bytes pass on as they are, whatever it makes of them. Pure, no
 * allocation, never fails. See stream.c.
 */
#define STREAM_PAGE_SIZE 4096u
#define STREAM_BLOCKS_MAX 256u    /* RAM blocks; each hot-plugged DIMM and option ROM is one */
#define STREAM_NAMES_BYTES 16384u /* of their names, each with a byte of length */
#define STREAM_FIELD_MAX 272u     /* the longest field read at once: a name and two numbers */
#define STREAM_NO_BLOCK G_MAXUINT16

typedef enum { STREAM_PAGE, STREAM_ZERO } StreamSpanKind;

/** One RAM page record that lies wholly, header and body, in the bytes just fed. Offsets into these
 * bytes. */
typedef struct {
    guint64 word;   /* address | flags, as on the wire */
    guint32 header; /* offset of that word */
    guint32 body;   /* of the page's 4096 bytes (PAGE) or the 1 fill byte (ZERO) */
    guint8 kind;    /* StreamSpanKind */
    guint16 block;  /* number of the RAM block, in order of the ram section's block list */
} StreamSpan;

/** Where the stream is. The moves between are in stream.c. */
typedef enum {
    STREAM_BEFORE_RAM,  /* header, configuration, commands. Leaves by the ram section's start */
    STREAM_SETUP,       /* block list. By the first part of ram, a package, the end mark */
    STREAM_PASSES,      /* memory while the VM runs, and the last pages. By DEVICE or POSTCOPY */
    STREAM_DEVICE,      /* device state of a pre-copy, without length: never left */
    STREAM_POSTCOPY,    /* device state was handed over in a package, pages follow. By ENDED */
    STREAM_ENDED,       /* end mark read; what follows is a description or nothing: never left */
    STREAM_PASSTHROUGH, /* something wasn't understood: never left */
    STREAM_N_PHASES
} StreamPhase;

/** What was met so far. Records count once their header is known. */
typedef struct {
    guint64 bytes;      /* fed */
    guint64 blind;      /* of these, fed in DEVICE, ENDED and PASSTHROUGH */
    guint64 pages;      /* whole, 4096 bytes each */
    guint64 zero_pages; /* of one byte's value */
    guint64 xbzrle_pages, compressed_pages;
    guint64 sections; /* of ram: start, parts, end */
    guint64 commands; /* packages among them */
    guint64 packaged; /* bytes of device state in packages */
    guint64 flushes;  /* of multifd */
    guint32 passes;   /* over the memory: how often addresses began anew. 0: none yet, or unknown */
} StreamCounts;

typedef struct StreamParser StreamParser;

/** The fields are the parser's own; read them by the functions below. */
struct StreamParser {
    StreamPhase phase;
    guint8 step;          /* what the field being read is, see stream.c */
    guint8 configuration; /* due, open (its subsections may follow), over */
    guint8 footers;       /* are there section footers? unknown, yes, no */
    guint8 section;       /* type of the part being begun */
    gboolean footer_due;  /* a section of ram has just ended */
    gboolean ended;       /* ram's end section began */
    gboolean shared;      /* capability x-ignore-shared: the block list has addresses */
    gboolean size_due;    /* the page size of the block just listed may follow */
    guint16 block;        /* the last one named by a page */
    guint16 n_blocks;
    guint32 need, have; /* bytes of field[] */
    guint32 left;       /* capabilities to be read */
    guint32 section_id; /* of ram */
    guint32 names_used; /* bytes */
    guint64 skip;       /* bytes to step over before the next field */
    guint64 page_sizes; /* of all blocks, as a mask, from post-copy's advice; else 0 */
    guint64 list_left;  /* bytes of memory that the block list still has to tell about */
    guint64 word;       /* of the record being read */
    guint64 last;       /* block and address of the last page, to see passes */
    StreamCounts counts;
    const char *reason; /* of PASSTHROUGH */
    guint64 reason_offset;
    guint8 field[STREAM_FIELD_MAX];
    guint8 names[STREAM_NAMES_BYTES]; /* length, name, length, name, … */
};

/** Readies a parser for the first byte of a stream. */
void stream_init(StreamParser *parser);
/**
 * Feeds bytes (at most G_MAXUINT32) and fills spans with the records that lie wholly in them;
 * returns their number. Room for length / 9 + 1 is always enough; with less, records are followed
 * but not told. What isn't understood makes the parser pass-through for good.
 */
gsize stream_feed(StreamParser *parser, const guint8 *bytes, gsize length, StreamSpan *spans,
                  gsize room);

StreamPhase stream_phase(const StreamParser *parser);
/** Has ram's last section begun? In a pre-copy the VM stands still from here on: the switch. */
gboolean stream_is_ending(const StreamParser *parser);
/** English, static: "setup", "passes", … */
const char *stream_phase_name(StreamPhase phase);
const StreamCounts *stream_counts(const StreamParser *parser);
/** Why it became pass-through: English, static; NULL where it didn't. */
const char *stream_reason(const StreamParser *parser);
/** Offset in the stream of the first byte of the field that wasn't understood; 0 where there is
 * none. */
guint64 stream_reason_offset(const StreamParser *parser);
/** Number of RAM blocks known. */
guint stream_blocks(const StreamParser *parser);
/** Name of a block, not terminated; NULL where there is no such block. */
const char *stream_block_name(const StreamParser *parser, guint block, gsize *length);
