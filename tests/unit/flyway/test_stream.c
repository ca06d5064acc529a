/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams are written from lists of items, and the writer notes where each page record lies. Then:
 * the parser tells just these; however a stream is cut, it ends the same and tells of the records
 * that lie in one piece; what it doesn't understand makes it pass-through at the right byte.
 */
#include <string.h>
#include "flyway/stream.h"

typedef enum {
    END_OF_LIST,
    HEADER,     /* magic, version a */
    MACHINE,    /* configuration with machine name */
    SUBSECTION, /* its name, version a */
    NUMBER,     /* a, of b bytes */
    TEXT,       /* length, text */
    COMMAND,    /* number a with b bytes of data */
    ADVICE,     /* mask of page sizes a, the target's page size b */
    PACKAGE,    /* with a bytes */
    START,
    PART,
    END,
    FULL,  /* of section a, text */
    LIST,  /* the sum a */
    BLOCK, /* text, size a */
    PAGE,
    ZERO,
    XBZRLE,
    COMPRESSED, /* n of them from address a, in block text or the last one */
    WORD,       /* flags a, no body */
    EOS,        /* with footer of section a, or without (a = 0) */
    BYTES,      /* a times byte b */
} ItemKind;

typedef struct {
    ItemKind kind;
    guint64 a, b;
    const char *text;
    guint n;
} Item;

#define RAM 2u
#define MIB ((guint64)1 << 20)
#define GIB ((guint64)1 << 30)
#define DONE                                                                                       \
    {                                                                                              \
        .kind = END_OF_LIST                                                                        \
    }
#define BEGIN                                                                                      \
    { HEADER, 3 },                                                                                 \
    {                                                                                              \
        MACHINE, .text = "pc-i440fx-7.2"                                                           \
    }
#define SETUP                                                                                      \
    { START, RAM, .text = "ram" }, { LIST, 3 * MIB }, { BLOCK, 2 * MIB, .text = "pc.ram" },        \
        { BLOCK, MIB, .text = "vga.vram" },                                                        \
    {                                                                                              \
        EOS, RAM                                                                                   \
    }
#define DEVICES                                                                                    \
    { FULL, 3, .text = "timer" }, { BYTES, 3000, 0x7e }, { NUMBER, 0, 1 }, { NUMBER, 6, 1 },       \
        { NUMBER, 20, 4 },                                                                         \
    {                                                                                              \
        BYTES, 20, '{'                                                                             \
    }
#define FINISH { END, RAM }, { PAGE, 0x5000, .text = "pc.ram" }, { EOS, RAM }, DEVICES
#define ALL_IN BEGIN, SETUP

typedef struct {
    const char *name;
    StreamPhase phase;
    const char *reason; /* part of it */
    gsize before_end;   /* of the stream: where the field begins that is the reason */
    guint blocks, passes;
    guint64 packaged;
    Item items[40];
} Case;

/* A stream written, and what the parser should say of it. */
typedef struct {
    GByteArray *bytes;
    GArray *spans;
    guint64 pages, zero_pages, xbzrle_pages, compressed_pages, flushes, commands, sections;
    guint block;
    GPtrArray *names;
} Written;

static void
put(Written *w, guint64 value, guint size)
{
    guint8 bytes[8];

    for (guint i = 0; i < size; i++)
        bytes[i] = (guint8)(value >> 8 * (size - 1 - i));
    g_byte_array_append(w->bytes, bytes, size);
}

static void
put_text(Written *w, const char *text)
{
    put(w, strlen(text), 1);
    g_byte_array_append(w->bytes, (const guint8 *)text, (guint)strlen(text));
}

static void
put_bytes(Written *w, guint64 n, guint8 value)
{
    g_autofree guint8 *bytes = g_malloc(n + 1);

    memset(bytes, value, n);
    g_byte_array_append(w->bytes, bytes, (guint)n);
}

static guint
number_of(Written *w, const char *name)
{
    for (guint i = 0; i < w->names->len; i++)
        if (strcmp(w->names->pdata[i], name) == 0)
            return i;
    g_ptr_array_add(w->names, (gpointer)name);
    return w->names->len - 1;
}

/* Bodies, and fill bytes, hold what looks like words, so that losing the thread would show. */
static void
put_page(Written *w)
{
    put(w, 0x0022002200220022, 8);
    for (guint i = 1; i < STREAM_PAGE_SIZE / 8; i++)
        put(w, i % 3 ? 0x10 : 0x2028, 8);
}

static void
put_records(Written *w, const Item *item)
{
    for (guint i = 0; i < MAX(item->n, 1); i++) {
        static const guint64 flags[] = { 0x08, 0x02, 0x40, 0x100 };
        const char *name = i == 0 ? item->text : NULL;
        guint64 word = (item->a + i * 4096) | flags[item->kind - PAGE] | (name ? 0 : 0x20);
        StreamSpan span = { .word = word, .header = w->bytes->len };

        put(w, word, 8);
        if (name != NULL) {
            put_text(w, name);
            w->block = number_of(w, name);
        }
        span.body = w->bytes->len;
        span.block = (guint16)w->block;
        span.kind = item->kind == PAGE ? STREAM_PAGE : STREAM_ZERO;
        if (item->kind == PAGE) {
            put_page(w);
            w->pages++;
        } else if (item->kind == ZERO) {
            put(w, 0x22, 1);
            w->zero_pages++;
        } else if (item->kind == XBZRLE) {
            put(w, 1, 1);
            put(w, 100 + i, 2);
            put_bytes(w, 100 + i, 0x10);
            w->xbzrle_pages++;
        } else {
            put(w, 1000 + i, 4);
            put_bytes(w, 1000 + i, 0x10);
            w->compressed_pages++;
        }
        if (item->kind <= ZERO)
            g_array_append_val(w->spans, span);
    }
}

static void
put_section(Written *w, const Item *item)
{
    static const guint8 types[] = { 1, 2, 3, 4 };

    put(w, types[item->kind - START], 1);
    put(w, item->a, 4);
    w->sections += item->kind == FULL ? 0 : 1;
    if (item->kind == PART || item->kind == END)
        return;
    put_text(w, item->text);
    put(w, 0, 4);
    put(w, 4, 4);
}

static void
put_command(Written *w, guint number, guint size)
{
    put(w, 8, 1);
    put(w, number, 2);
    put(w, size, 2);
    w->commands++;
}

/* What belongs to memory's sections. */
static void
put_memory(Written *w, const Item *item)
{
    switch (item->kind) {
    case LIST:
        put(w, item->a | 0x04, 8);
        break;
    case BLOCK:
        put_text(w, item->text);
        put(w, item->a, 8);
        number_of(w, item->text);
        break;
    case WORD:
        put(w, item->a, 8);
        w->flushes += item->a == 0x200;
        break;
    case EOS:
        put(w, 0x10, 8);
        if (item->a != 0) {
            put(w, 0x7e, 1);
            put(w, item->a, 4);
        }
        break;
    default:
        put_records(w, item);
        break;
    }
}

static void
put_item(Written *w, const Item *item)
{
    switch (item->kind) {
    case HEADER:
        put(w, 0x5145564d, 4);
        put(w, item->a, 4);
        break;
    case MACHINE:
        put(w, 7, 1);
        put(w, strlen(item->text), 4);
        g_byte_array_append(w->bytes, (const guint8 *)item->text, (guint)strlen(item->text));
        break;
    case SUBSECTION:
        put(w, 5, 1);
        put_text(w, item->text);
        put(w, item->a, 4);
        break;
    case NUMBER:
        put(w, item->a, (guint)item->b);
        break;
    case TEXT:
        put_text(w, item->text);
        break;
    case BYTES:
        put_bytes(w, item->a, (guint8)item->b);
        break;
    case COMMAND:
        put_command(w, (guint)item->a, (guint)item->b);
        put_bytes(w, item->b, 2);
        break;
    case ADVICE:
        put_command(w, 3, 16);
        put(w, item->a, 8);
        put(w, item->b, 8);
        break;
    case PACKAGE:
        put_command(w, 7, 4);
        put(w, item->a, 4);
        put_bytes(w, item->a, 4);
        break;
    case START:
    case PART:
    case END:
    case FULL:
        put_section(w, item);
        break;
    default:
        put_memory(w, item);
        break;
    }
}

static Written
written(const Item *items)
{
    Written w = { .bytes = g_byte_array_new(),
                  .spans = g_array_new(FALSE, FALSE, sizeof(StreamSpan)),
                  .names = g_ptr_array_new() };

    for (; items->kind != END_OF_LIST; items++)
        put_item(&w, items);
    return w;
}

static void
written_clear(Written *w)
{
    g_byte_array_unref(w->bytes);
    g_array_unref(w->spans);
    g_ptr_array_unref(w->names);
}

/* Streams that QEMU writes. */
static const Case good[] = {
    { "precopy", STREAM_DEVICE, .blocks = 2, .passes = 3,
      .items = { ALL_IN,
                 { PART, RAM },
                 { PAGE, 0, .text = "pc.ram", .n = 4 },
                 { ZERO, 0x4000, .n = 30 },
                 { PAGE, 0x30000, .n = 2 },
                 { EOS, RAM },
                 { PART, RAM },
                 { ZERO, 0x40000, .n = 3 },
                 { PAGE, 0, .text = "vga.vram" },
                 { ZERO, 0x1000 },
                 { ZERO, 0x1000 },
                 { PAGE, 0, .text = "pc.ram" },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "old machine", STREAM_DEVICE, .blocks = 1, .passes = 1,
      .items = { { HEADER, 3 },
                 { START, RAM, .text = "ram" },
                 { LIST, MIB },
                 { BLOCK, MIB, .text = "pc.ram" },
                 { EOS },
                 { PART, RAM },
                 { PAGE, 0, .text = "pc.ram" },
                 { EOS },
                 { END, RAM },
                 { EOS },
                 DEVICES,
                 DONE } },
    { "xbzrle", STREAM_DEVICE, .blocks = 2, .passes = 2,
      .items = { ALL_IN,
                 { PART, RAM },
                 { PAGE, 0x7000, .text = "pc.ram", .n = 2 },
                 { XBZRLE, 0x9000 },
                 { XBZRLE, 0, .text = "vga.vram", .n = 4 },
                 { PAGE, 0x8000 },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "compress", STREAM_DEVICE, .blocks = 2,
      .items = { ALL_IN,
                 { PART, RAM },
                 { ZERO, 0x9000, .text = "pc.ram", .n = 2 },
                 { COMPRESSED, 0x7000, .text = "pc.ram", .n = 3 },
                 { ZERO, 0x5000 },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "return path, ping", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN, { COMMAND, 1, 0 }, { COMMAND, 2, 4 }, SETUP, FINISH, DONE } },
    { "8.0: multifd flush", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN,
                 { START, RAM, .text = "ram" },
                 { LIST, 3 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { BLOCK, MIB, .text = "vga.vram" },
                 { WORD, 0x200 },
                 { EOS, RAM },
                 { PART, RAM },
                 { WORD, 0x200 },
                 { ZERO, 0, .text = "pc.ram", .n = 3 },
                 { WORD, 0x200 },
                 { EOS, RAM },
                 { END, RAM },
                 { WORD, 0x200 },
                 { EOS, RAM },
                 DEVICES,
                 DONE } },
    { "10.0: switchover start", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN,
                 { COMMAND, 1, 0 },
                 SETUP,
                 { PART, RAM },
                 { ZERO, 0, .text = "pc.ram" },
                 { EOS, RAM },
                 { COMMAND, 11, 0 },
                 FINISH,
                 DONE } },
    { "configuration of an ARM host", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/target-page-bits" },
                 { NUMBER, 12, 4 },
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 0, 4 },
                 { SUBSECTION, 1, .text = "configuration/uuid" },
                 { BYTES, 16, 5 },
                 SETUP,
                 FINISH,
                 DONE } },
    { "shared memory", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 1, 4 },
                 { TEXT, .text = "x-ignore-shared" },
                 { ADVICE, 4096, 4096 },
                 { START, RAM, .text = "ram" },
                 { LIST, 3 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { NUMBER, GIB, 8 },
                 { BLOCK, MIB, .text = "vga.vram" },
                 { NUMBER, 0, 8 },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "postcopy", STREAM_ENDED, .blocks = 2, .passes = 1, .packaged = 5000,
      .items = { BEGIN,
                 { COMMAND, 1, 0 },
                 { ADVICE, 4096, 4096 },
                 SETUP,
                 { PART, RAM },
                 { PAGE, 0, .text = "pc.ram", .n = 3 },
                 { EOS, RAM },
                 { COMMAND, 2, 4 },
                 { COMMAND, 6, 300 },
                 { PACKAGE, 5000 },
                 { PART, RAM },
                 { PAGE, 0x2000, .text = "pc.ram" },
                 { PAGE, 0x1000 },
                 { ZERO, 0x3000, .n = 4 },
                 { EOS, RAM },
                 { END, RAM },
                 { EOS, RAM },
                 { NUMBER, 0, 1 },
                 DONE } },
    { "postcopy before the first page", STREAM_ENDED, .blocks = 2, .packaged = 10,
      .items = { BEGIN,
                 { COMMAND, 3, 0 },
                 SETUP,
                 { PACKAGE, 10 },
                 { PART, RAM },
                 { ZERO, 0, .text = "pc.ram" },
                 { EOS, RAM },
                 { END, RAM },
                 { EOS, RAM },
                 { NUMBER, 0, 1 },
                 { NUMBER, 6, 1 },
                 DONE } },
    { "postcopy, large pages", STREAM_DEVICE, .blocks = 3, .passes = 1,
      .items = { BEGIN,
                 { ADVICE, 2 * MIB | 4096, 4096 },
                 { START, RAM, .text = "ram" },
                 { LIST, 7 * MIB },
                 { BLOCK, 4 * MIB, .text = "pc.ram" },
                 { NUMBER, 2 * MIB, 8 },
                 { BLOCK, MIB, .text = "vga.vram" },
                 { BLOCK, 2 * MIB, .text = "/objects/m2" },
                 { NUMBER, 2 * MIB, 8 },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "postcopy, last block of usual pages", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { BEGIN,
                 { ADVICE, GIB | 2 * MIB | 4096, 4096 },
                 { START, RAM, .text = "ram" },
                 { LIST, 2 * GIB },
                 { BLOCK, 2 * GIB - MIB, .text = "pc.ram" },
                 { NUMBER, GIB, 8 },
                 { BLOCK, MIB, .text = "vga.vram" },
                 { WORD, 0x200 },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "RDMA's hooks", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { ALL_IN, { PART, RAM }, { WORD, 0x80 }, { EOS, RAM }, FINISH, DONE } },
    { "no memory", STREAM_DEVICE,
      .items = { BEGIN,
                 { START, RAM, .text = "ram" },
                 { LIST, 0 },
                 { EOS, RAM },
                 { END, RAM },
                 { EOS, RAM },
                 DEVICES,
                 DONE } },
    { "a list again", STREAM_DEVICE, .blocks = 2, .passes = 1,
      .items = { ALL_IN,
                 { PART, RAM },
                 { LIST, MIB },
                 { BLOCK, MIB, .text = "vga.vram" },
                 { EOS, RAM },
                 FINISH,
                 DONE } },
    { "cancelled at once", STREAM_ENDED, .items = { BEGIN, { NUMBER, 0, 1 }, DONE } },
};

#define BAD STREAM_PASSTHROUGH
#define IN_PART                                                                                    \
    ALL_IN, { PART, RAM },                                                                         \
    {                                                                                              \
        ZERO, 0, .text = "pc.ram"                                                                  \
    }
#define BIG                                                                                        \
    BEGIN, { ADVICE, 2 * MIB | 4096, 4096 },                                                       \
    {                                                                                              \
        START, RAM, .text = "ram"                                                                  \
    }

/* What isn't understood; .before_end is the length of the field refused and what follows it. */
static const Case bad[] = {
    { "multifd's channel", BAD, "main channel", 8, .items = { { NUMBER, 0x1122334400000001, 8 } } },
    { "version 2", BAD, "version", 8, .items = { { HEADER, 2 } } },
    { "long machine", BAD, "machine", 4 + 20,
      .items = { { HEADER, 3 }, { NUMBER, 7, 1 }, { NUMBER, 256, 4 }, { BYTES, 20, 'a' } } },
    { "configuration twice", BAD, "unknown type", 1, .items = { BEGIN, { NUMBER, 7, 1 } } },
    { "late subsection", BAD, "unknown type", 1,
      .items = { BEGIN, { COMMAND, 1, 0 }, { NUMBER, 5, 1 } } },
    { "unknown subsection", BAD, "unknown configuration", 21 + 4,
      .items = { BEGIN, { SUBSECTION, 1, .text = "configuration/unknown" } } },
    { "subsection's version", BAD, "unknown version", 18 + 4,
      .items = { BEGIN, { SUBSECTION, 2, .text = "configuration/uuid" } } },
    { "pages of 64 KiB", BAD, "other than 4096", 4,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/target-page-bits" },
                 { NUMBER, 16, 4 } } },
    { "pages of more", BAD, "other than 4096", 4,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/target-page-bits" },
                 { NUMBER, 64 + 12, 4 } } },
    { "mapped-ram", BAD, "capability", 10,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 1, 4 },
                 { TEXT, .text = "mapped-ram" } } },
    { "capability ''", BAD, "without a name", 1,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 1, 4 },
                 { NUMBER, 0, 1 } } },
    { "many capabilities", BAD, "too many cap", 4,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 65, 4 } } },
    { "advice of 16 KiB pages", BAD, "other than 4096", 16,
      .items = { BEGIN, { ADVICE, 16384, 16384 } } },
    { "package without length", BAD, "package", 4 + 5, .items = { BEGIN, { COMMAND, 7, 5 } } },
    { "block", BAD, "disks in the stream", 5 + 8,
      .items = { BEGIN, { START, 1, .text = "block" } } },
    { "dirty-bitmap", BAD, "dirty bitmaps", 12 + 8,
      .items = { BEGIN, { START, 1, .text = "dirty-bitmap" } } },
    { "vfio", BAD, "of a device", 17 + 8,
      .items = { BEGIN, { START, 1, .text = "0000:00:02.0/vfio" } } },
    { "nameless", BAD, "of a device", 8, .items = { BEGIN, { START, 1, .text = "" } } },
    { "ram's version", BAD, "other than 4", 3 + 8,
      .items = { BEGIN, { NUMBER, 0x0100000002, 5 }, { TEXT, .text = "ram" }, { NUMBER, 5, 8 } } },
    { "ram twice", BAD, "begins twice", 3 + 8, .blocks = 2,
      .items = { ALL_IN, { START, 9, .text = "ram" } } },
    { "part of nothing", BAD, "never began", 4, .items = { BEGIN, { PART, 0 } } },
    { "another's part", BAD, "never began", 4, .blocks = 2, .items = { ALL_IN, { PART, 9 } } },
    { "part after end", BAD, "after its end", 4, .blocks = 2,
      .items = { ALL_IN, { END, RAM }, { EOS, RAM }, { PART, RAM } } },
    { "virtio-mem", BAD, "before the end", 1 + 4 + 11 + 8,
      .items = { BEGIN, { FULL, 1, .text = "virtio-mem" } } },
    { "device in memory", BAD, "before the end", 1 + 4 + 6 + 8, .blocks = 2, .passes = 1,
      .items = { IN_PART, { EOS, RAM }, { FULL, 1, .text = "timer" } } },
    { "device after post-copy", BAD, "before the end", 1 + 4 + 6 + 8, .blocks = 2, .packaged = 9,
      .items = { ALL_IN,
                 { PACKAGE, 9 },
                 { END, RAM },
                 { EOS, RAM },
                 { FULL, 1, .text = "timer" } } },
    { "another's footer", BAD, "footer of another", 4, .blocks = 2, .passes = 1,
      .items = { IN_PART, { EOS, RAM + 1 } } },
    { "footer missing", BAD, "footers after some", 1, .blocks = 2, .passes = 1,
      .items = { IN_PART, { EOS }, { NUMBER, 2, 1 } } },
    { "footer late", BAD, "footers after some", 5, .blocks = 1,
      .items = { { HEADER, 3 },
                 { START, RAM, .text = "ram" },
                 { LIST, MIB },
                 { BLOCK, MIB, .text = "b" },
                 { EOS },
                 { PART, RAM },
                 { EOS, RAM } } },
    { "footer of nothing", BAD, "unknown type", 1, .items = { BEGIN, { NUMBER, 0x7e, 1 } } },
    { "flag 0x01", BAD, "unknown flags", 8, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x1001 } } },
    { "flag 0x400", BAD, "unknown flags", 8, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x408 } } },
    { "no flag", BAD, "unknown flags", 8, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x200000 } } },
    { "continues nothing", BAD, "as none before", 8, .blocks = 2,
      .items = { ALL_IN, { PART, RAM }, { WORD, 0x1028 } } },
    { "unknown block", BAD, "unknown memory block", 7, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x1008 }, { TEXT, .text = "pc.rom7" } } },
    { "page of ''", BAD, "without a name", 1, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x1002 }, { NUMBER, 0, 1 } } },
    { "block ''", BAD, "without a name", 1,
      .items = { BEGIN, { START, RAM, .text = "ram" }, { LIST, MIB }, { NUMBER, 0, 1 } } },
    { "blocks too large", BAD, "larger than their sum", 6 + 8,
      .items = { BEGIN,
                 { START, RAM, .text = "ram" },
                 { LIST, MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" } } },
    { "page size of nothing", BAD, "without a name", 1,
      .items = { BIG, { LIST, MIB }, { NUMBER, 0, 1 } } },
    { "odd page size", BAD, "page size", 7, .blocks = 1,
      .items = { BIG,
                 { LIST, 4 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { NUMBER, MIB, 8 } } },
    { "two page sizes", BAD, "without a name", 1, .blocks = 1,
      .items = { BIG,
                 { LIST, 4 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { NUMBER, 2 * MIB, 8 },
                 { NUMBER, 0, 1 } } },
    { "usual page size", BAD, "page size", 7, .blocks = 1,
      .items = { BIG,
                 { LIST, 4 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { NUMBER, 4096, 8 } } },
    { "odd last page size", BAD, "unknown flags", 8, .blocks = 1,
      .items = { BIG,
                 { LIST, 2 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { NUMBER, 3 * MIB, 8 } } },
    { "late page size", BAD, "unknown flags", 8, .blocks = 1, .passes = 1,
      .items = { BIG,
                 { LIST, 2 * MIB },
                 { BLOCK, 2 * MIB, .text = "pc.ram" },
                 { ZERO, 0, .text = "pc.ram" },
                 { NUMBER, 2 * MIB, 8 } } },
    { "shared and large", BAD, "x-ignore-shared", 8,
      .items = { BEGIN,
                 { SUBSECTION, 1, .text = "configuration/capabilities" },
                 { NUMBER, 1, 4 },
                 { TEXT, .text = "x-ignore-shared" },
                 { ADVICE, 2 * MIB | 4096, 4096 },
                 { START, RAM, .text = "ram" },
                 { LIST, 2 * MIB } } },
    { "xbzrle of another kind", BAD, "encoding", 3, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x1060 }, { NUMBER, 0x020010, 3 } } },
    { "xbzrle too long", BAD, "encoding", 3, .blocks = 2, .passes = 1,
      .items = { IN_PART, { WORD, 0x1060 }, { NUMBER, 0x011001, 3 } } },
    { "compressed too long", BAD, "compressed", 4, .blocks = 2,
      .items = { IN_PART, { WORD, 0x1120 }, { NUMBER, 4111, 4 } } },
};

static StreamParser parser, other;

/* Feeds all at once. */
static GArray *
feed_whole(StreamParser *p, const guint8 *bytes, gsize length)
{
    GArray *told = g_array_new(FALSE, FALSE, sizeof(StreamSpan));

    stream_init(p);
    g_array_set_size(told, (guint)(length / 9 + 1));
    g_array_set_size(
        told, (guint)stream_feed(p, bytes, length, (StreamSpan *)(void *)told->data, told->len));
    return told;
}

static void
assert_same_span(const StreamSpan *a, const StreamSpan *b)
{
    g_assert_cmphex(a->word, ==, b->word);
    g_assert_cmpuint(a->header, ==, b->header);
    g_assert_cmpuint(a->body, ==, b->body);
    g_assert_cmpuint(a->kind, ==, b->kind);
    g_assert_cmpuint(a->block, ==, b->block);
}

static void
assert_same_state(void)
{
    g_assert_cmpint(stream_phase(&other), ==, stream_phase(&parser));
    g_assert_cmpstr(stream_reason(&other), ==, stream_reason(&parser));
    g_assert_cmpuint(stream_reason_offset(&other), ==, stream_reason_offset(&parser));
    g_assert_cmpuint(stream_blocks(&other), ==, stream_blocks(&parser));
#define SAME(field)                                                                                \
    g_assert_cmpuint(stream_counts(&other)->field, ==, stream_counts(&parser)->field)
    SAME(bytes);
    SAME(blind);
    SAME(pages);
    SAME(zero_pages);
    SAME(xbzrle_pages);
    SAME(compressed_pages);
    SAME(sections);
    SAME(commands);
    SAME(packaged);
    SAME(flushes);
    SAME(passes);
}

/* Feeds pieces of up to `most` bytes; records that lie in one piece must be told, no others. */
static void
assert_cut_same(const guint8 *bytes, gsize length, const GArray *told, guint most)
{
    StreamSpan spans[512];
    guint next = 0;

    g_assert_cmpuint(most / 9 + 1, <=, G_N_ELEMENTS(spans));
    stream_init(&other);
    for (gsize at = 0, part; at < length; at += part) {
        gsize some = (gsize)g_test_rand_int_range(1, (gint32)most + 1), n, i = 0;

        part = MIN(some, length - at);
        n = stream_feed(&other, bytes + at, part, spans, part / 9 + 1);
        for (; next < told->len; next++) {
            StreamSpan want = g_array_index(told, StreamSpan, next);

            if (want.header >= at + part)
                break;
            if (want.header < at ||
                want.body + (want.kind == STREAM_PAGE ? STREAM_PAGE_SIZE : 1) > at + part)
                continue;
            g_assert_cmpuint(i, <, n);
            spans[i].header += (guint32)at;
            spans[i].body += (guint32)at;
            assert_same_span(&spans[i], &want);
            i++;
        }
        g_assert_cmpuint(i, ==, n);
    }
    assert_same_state();
}

static void
assert_cuts_same(const guint8 *bytes, gsize length, guint rounds)
{
    g_autoptr(GArray) told = feed_whole(&parser, bytes, length);

    assert_cut_same(bytes, length, told, 1);
    for (guint i = 0; i < rounds; i++)
        assert_cut_same(bytes, length, told, i % 2 ? 40 : 4500);
}

static void
assert_counts(const Case *c, const Written *w)
{
    const StreamCounts *counts = stream_counts(&parser);

    g_assert_cmpuint(counts->bytes, ==, w->bytes->len);
    g_assert_cmpuint(counts->zero_pages, ==, w->zero_pages);
    g_assert_cmpuint(counts->pages, ==, w->pages);
    g_assert_cmpuint(counts->passes, ==, c->passes);
    g_assert_cmpuint(counts->packaged, ==, c->packaged);
    g_assert_cmpuint(counts->flushes, ==, w->flushes);
    g_assert_cmpuint(counts->commands, ==, w->commands);
    g_assert_cmpuint(stream_blocks(&parser), ==, c->blocks);
}

static void
test_good(gconstpointer data)
{
    const Case *c = data;
    Written w = written(c->items);
    g_autoptr(GArray) told = feed_whole(&parser, w.bytes->data, w.bytes->len);

    g_assert_cmpstr(stream_reason(&parser), ==, NULL);
    g_assert_cmpint(stream_phase(&parser), ==, c->phase);
    assert_counts(c, &w);
    g_assert_cmpuint(stream_counts(&parser)->sections, ==, w.sections);
    g_assert_cmpuint(stream_counts(&parser)->xbzrle_pages, ==, w.xbzrle_pages);
    g_assert_cmpuint(stream_counts(&parser)->compressed_pages, ==, w.compressed_pages);
    g_assert_cmpuint(told->len, ==, w.spans->len);
    for (guint i = 0; i < told->len; i++)
        assert_same_span(&g_array_index(told, StreamSpan, i),
                         &g_array_index(w.spans, StreamSpan, i));
    for (guint i = 0; i < w.names->len; i++) {
        gsize length;
        const char *name = stream_block_name(&parser, i, &length);

        g_assert_cmpmem(name, length, w.names->pdata[i], strlen(w.names->pdata[i]));
    }
    assert_cuts_same(w.bytes->data, w.bytes->len, 60);
    written_clear(&w);
}

static void
test_bad(gconstpointer data)
{
    const Case *c = data;
    Written w = written(c->items);
    gsize refused = w.bytes->len - c->before_end;
    g_autoptr(GArray) told = feed_whole(&parser, w.bytes->data, w.bytes->len);

    g_assert_cmpint(stream_phase(&parser), ==, STREAM_PASSTHROUGH);
    g_assert_nonnull(strstr(stream_reason(&parser), c->reason));
    g_assert_cmpuint(stream_reason_offset(&parser), ==, refused);
    assert_counts(c, &w);
    g_assert_cmpuint(stream_counts(&parser)->blind, ==, c->before_end);
    g_assert_cmpuint(told->len, ==, w.spans->len);
    assert_cuts_same(w.bytes->data, w.bytes->len, 10);

    /* Never again: a good stream behind it is passed on. */
    g_assert_cmpuint(stream_feed(&parser, w.bytes->data, w.bytes->len, NULL, 0), ==, 0);
    g_assert_cmpuint(stream_counts(&parser)->blind, ==, c->before_end + w.bytes->len);
    g_assert_cmpuint(stream_reason_offset(&parser), ==, refused);
    written_clear(&w);
}

/* Each end that a good stream may come to: never pass-through, and the same for each cut. */
static void
test_truncated(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        Written w = written(good[i].items);

        for (gsize length = 0; length < w.bytes->len;
             length += (gsize)g_test_rand_int_range(1, 60)) {
            assert_cuts_same(w.bytes->data, length, 2);
            g_assert_null(stream_reason(&parser));
        }
        written_clear(&w);
    }
}

/* Bytes changed at random: it may lose the thread, but always in the same way. */
static void
test_damaged(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(good) * 40; i++) {
        Written w = written(good[i % G_N_ELEMENTS(good)].items);

        for (guint n = 1 + i % 3; n > 0; n--)
            w.bytes->data[g_test_rand_int_range(0, (gint32)w.bytes->len)] =
                (guint8)g_test_rand_int();
        assert_cuts_same(w.bytes->data, w.bytes->len, 2);
        written_clear(&w);
    }
}

/* Long streams of random records. */
static void
test_random(void)
{
    static const char *const names[] = { NULL, NULL, NULL, "pc.ram", "vga.vram" };
    static const Item head[] = { ALL_IN, { PART, RAM }, { ZERO, 0, .text = "pc.ram" }, DONE };

    for (guint round = 0; round < 10; round++) {
        Written w = written(head);
        g_autoptr(GArray) told = NULL;

        for (guint i = 0; i < 60; i++) {
            Item item = { PAGE + (guint)g_test_rand_int_range(0, round % 2 ? 2 : 4),
                          (guint64)g_test_rand_int_range(0, 500) << 12,
                          .text = names[g_test_rand_int_range(0, 5)],
                          .n = (guint)g_test_rand_int_range(1, 5) };

            put_item(&w, &item);
            if (g_test_rand_int_range(0, 8) == 0) {
                put_item(&w, &(Item){ WORD, 0x200 });
                put_item(&w, &(Item){ EOS, RAM });
                put_item(&w, &(Item){ PART, RAM });
            }
        }
        told = feed_whole(&parser, w.bytes->data, w.bytes->len);
        g_assert_cmpint(stream_phase(&parser), ==, STREAM_PASSES);
        g_assert_cmpuint(told->len, ==, w.spans->len);
        assert_cuts_same(w.bytes->data, w.bytes->len, 20);
        written_clear(&w);
    }
}

/* With too little room it follows all the same. */
static void
test_room(void)
{
    Written w = written(good[0].items);
    StreamSpan spans[5];

    g_array_unref(feed_whole(&parser, w.bytes->data, w.bytes->len));
    for (gsize room = 0; room < G_N_ELEMENTS(spans); room++) {
        stream_init(&other);
        g_assert_cmpuint(stream_feed(&other, w.bytes->data, w.bytes->len, spans, room), ==, room);
        assert_same_state();
        for (gsize i = 0; i < room; i++)
            assert_same_span(&spans[i], &g_array_index(w.spans, StreamSpan, i));
    }
    written_clear(&w);
}

/* As many blocks as there is room for, and one more. */
static void
test_limits(void)
{
    static const struct {
        guint blocks, length;
    } limits[] = { { STREAM_BLOCKS_MAX, 10 }, { STREAM_NAMES_BYTES / 256, 255 } };

    for (guint i = 0; i < 2 * G_N_ELEMENTS(limits); i++) {
        guint blocks = limits[i / 2].blocks + i % 2, length = limits[i / 2].length;
        Written w = written(
            (Item[]){ { HEADER, 3 }, { START, RAM, .text = "ram" }, { LIST, blocks * MIB }, DONE });

        for (guint b = 0; b < blocks; b++) {
            g_autofree char *name = g_strdup_printf("%0*u", (int)length, b);

            put_text(&w, name);
            put(&w, MIB, 8);
        }
        put(&w, 0x10, 8);
        assert_cuts_same(w.bytes->data, w.bytes->len, 2);
        g_assert_cmpint(stream_phase(&parser), ==, i % 2 ? STREAM_PASSTHROUGH : STREAM_SETUP);
        g_assert_cmpstr(stream_reason(&parser), ==, i % 2 ? "too many memory blocks" : NULL);
        g_assert_cmpuint(stream_blocks(&parser), ==, limits[i / 2].blocks);
        written_clear(&w);
    }
}

static void
test_names(void)
{
    gsize length;

    stream_init(&parser);
    g_assert_cmpint(stream_phase(&parser), ==, STREAM_BEFORE_RAM);
    g_assert_null(stream_block_name(&parser, 0, &length));
    for (guint i = 0; i < STREAM_N_PHASES; i++)
        g_assert_cmpstr(stream_phase_name(i), !=, "unknown");
    g_assert_cmpstr(stream_phase_name(STREAM_N_PHASES), ==, "unknown");
}

/* The phases in the order in which a stream goes through them, seen at each byte. */
static void
test_phases(void)
{
    static const StreamPhase ways[][5] = {
        { STREAM_BEFORE_RAM, STREAM_SETUP, STREAM_PASSES, STREAM_DEVICE, STREAM_DEVICE },
        { STREAM_BEFORE_RAM, STREAM_SETUP, STREAM_PASSES, STREAM_POSTCOPY, STREAM_ENDED },
    };

    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        const StreamPhase *way = ways[strcmp(good[i].name, "postcopy") == 0];
        Written w = written(good[i].items);

        if (i > 0 && way == ways[0]) {
            written_clear(&w);
            continue;
        }
        stream_init(&parser);
        for (guint at = 0; at < w.bytes->len; at++) {
            stream_feed(&parser, w.bytes->data + at, 1, NULL, 0);
            if (stream_phase(&parser) != *way)
                g_assert_cmpint(stream_phase(&parser), ==, *++way);
            if (*way < STREAM_PASSES)
                g_assert_false(stream_is_ending(&parser));
        }
        g_assert_cmpint(stream_phase(&parser), ==, good[i].phase);
        g_assert_true(stream_is_ending(&parser));
        written_clear(&w);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = g_strdup_printf("/flyway/stream/good/%s", good[i].name);

        g_test_add_data_func(path, &good[i], test_good);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *path = g_strdup_printf("/flyway/stream/bad/%s", bad[i].name);

        g_test_add_data_func(path, &bad[i], test_bad);
    }
    g_test_add_func("/flyway/stream/truncated", test_truncated);
    g_test_add_func("/flyway/stream/damaged", test_damaged);
    g_test_add_func("/flyway/stream/random", test_random);
    g_test_add_func("/flyway/stream/room", test_room);
    g_test_add_func("/flyway/stream/limits", test_limits);
    g_test_add_func("/flyway/stream/names", test_names);
    g_test_add_func("/flyway/stream/phases", test_phases);
    return g_test_run();
}
