/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "flyway/protocol.h"
#include "flyway/worker.h"

static const char payload[] = "bytes of a lane";

/* One good frame of each type. */
static gsize
samples(Frame *frames)
{
    gsize n = 0;

    frames[n] = (Frame){ .type = FRAME_HELLO };
    frames[n].hello = (FrameHello){ .major = 1,
                                    .minor = 7,
                                    .side = FLYWAY_DESTINATION,
                                    .slot = 7,
                                    .further = TRUE,
                                    .abilities = 0x0102030405060708 };
    memset(frames[n].hello.id, 1, 16);
    memset(frames[n].hello.vm, 2, 16);
    memset(frames[n].hello.self, 3, 16);
    memset(frames[n].hello.peer, 4, 16);
    memset(frames[n++].hello.ticket, 5, 32);
    frames[n] = (Frame){ .type = FRAME_HELLO_REPLY };
    frames[n].reply = (FrameReply){
        .major = 1, .code = FLYWAY_EXPIRED, .abilities = 3, .text = "zu alt für heute"
    };
    n++;
    frames[n++] = (Frame){ .type = FRAME_HELLO_REPLY, .reply = { .major = 1 } };
    frames[n++] = (Frame){ .type = FRAME_LANE_OPEN,
                           .lane = 1,
                           .open = { .kind = LANE_STREAM, .window = 1024 } };
    frames[n++] = (Frame){ .type = FRAME_LANE_ACCEPT, .lane = 16, .window = FRAME_WINDOW_MAX };
    frames[n++] = (Frame){ .type = FRAME_LANE_REFUSE, .lane = 2, .text = "no such socket" };
    frames[n++] = (Frame){ .type = FRAME_DATA,
                           .lane = 3,
                           .data = { (const guint8 *)payload, sizeof payload } };
    frames[n++] = (Frame){ .type = FRAME_BATCH,
                           .lane = 3,
                           .data = { (const guint8 *)payload, sizeof payload } };
    frames[n++] = (Frame){ .type = FRAME_AGAIN,
                           .lane = 3,
                           .data = { (const guint8 *)payload, sizeof payload, 0x01020304 } };
    frames[n++] = (Frame){ .type = FRAME_MISSING, .lane = 3, .missing = { 5, 0xfffffffe } };
    frames[n++] = (Frame){ .type = FRAME_SETS, .sets = { .keeps = TRUE, .check = { 1, 2 } } };
    frames[n++] =
        (Frame){ .type = FRAME_SETS_REPLY,
                 .sets = { .n = 2, .sets = { { { 1 }, 7, { 2 } }, { { 3 }, 0, { 4 } } } } };
    frames[n++] = (Frame){ .type = FRAME_SETS_END, .ordinal = 0xfffffffe };
    frames[n++] = (Frame){ .type = FRAME_CREDIT, .lane = 3, .credit = 77 };
    frames[n++] = (Frame){ .type = FRAME_EOF, .lane = 3 };
    frames[n++] = (Frame){ .type = FRAME_CLOSE, .lane = 3 };
    frames[n++] = (Frame){ .type = FRAME_PROVED, .clock = { .sent_us = 42 } };
    frames[n++] = (Frame){ .type = FRAME_REFUSED };
    frames[n++] = (Frame){ .type = FRAME_STOPPED };
    frames[n++] = (Frame){ .type = FRAME_PING, .clock = { .sent_us = G_MAXUINT64 } };
    frames[n++] = (Frame){ .type = FRAME_PONG, .clock = { .sent_us = 1, .answered_us = 2 } };
    frames[n++] = (Frame){ .type = FRAME_ABORT, .text = "it isn't libvirt" };
    frames[n++] = (Frame){ .type = FRAME_ACK, .below = 0x0102030405 };
    frames[n++] = (Frame){ .type = FRAME_BYE };
    for (gsize i = 0; i < n; i++)
        frames[i].number = frame_is_numbered(frames[i].type) ? 0x0908070605040302 + i : 0;
    return n;
}

static void
assert_same(const Frame *a, const Frame *b)
{
    guint8 first[FRAME_SIZE_MAX], second[FRAME_SIZE_MAX];
    gsize n = frame_encode(a, first, sizeof first);

    g_assert_cmpmem(first, n, second, frame_encode(b, second, sizeof second));
}

static void
test_round_trip_at_every_split(void)
{
    Frame frames[32];
    gsize n = samples(frames);

    for (gsize i = 0; i < n; i++) {
        guint8 bytes[FRAME_SIZE_MAX] = { 0 };
        gsize size = frame_encode(&frames[i], bytes, sizeof bytes), used = 0;
        const char *why = NULL;
        Frame back = { 0 };

        g_assert_cmpuint(size, >=, FRAME_HEADER_SIZE);
        for (gsize part = 0; part < size; part++)
            g_assert_cmpint(frame_decode(bytes, part, &back, &used, &why), ==, -EAGAIN);
        g_assert_cmpint(frame_decode(bytes, size, &back, &used, &why), ==, 0);
        g_assert_cmpuint(used, ==, size);
        assert_same(&frames[i], &back);
        /* What follows doesn't matter. */
        g_assert_cmpint(frame_decode(bytes, sizeof bytes, &back, &used, &why), ==, 0);
        g_assert_cmpuint(used, ==, size);
        /* Without room nothing is encoded. */
        g_assert_cmpuint(frame_encode(&frames[i], bytes, size - 1), ==, 0);
    }
}

static void
test_layout(void)
{
    static const guint8 expected[] = { 20, 3, 0, 0, 0, 0,    0,    4,    0,    0,
                                       0,  0, 0, 0, 9, 0x0a, 0x00, 0x01, 0x02, 0x03 };
    Frame frame = { .type = FRAME_CREDIT, .lane = 3, .number = 0x090a, .credit = 0x010203 };
    guint8 out[64];

    g_assert_cmpmem(out, frame_encode(&frame, out, sizeof out), expected, sizeof expected);
}

typedef struct {
    const char *what;
    guint8 bytes[48];
    gsize length;
} Bad;

static void
test_bad_frames(void)
{
    static const Bad bads[] = {
        { "unknown type", { 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16 },
        { "type 0", { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16 },
        { "flags", { 63, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "session frame on a lane", { 63, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "lane frame on the session", { 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "lane too large", { 22, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "empty DATA", { 19, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "DATA over the limit", { 19, 1, 0, 0, 0, 0, 0xff, 0xf1, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "DATA of 4 GiB", { 19, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
        { "BYE with payload", { 63, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0 }, 17 },
        { "short PING",
          { 48, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
          23 },
        { "CREDIT of 0", { 20, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 }, 20 },
        { "CREDIT too large",
          { 20, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0, 0, 0 },
          20 },
        { "window of 0", { 17, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 }, 20 },
        { "unknown kind",
          { 16, 1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 1, 0 },
          24 },
        { "kind's padding",
          { 16, 1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0 },
          24 },
        { "LANE_OPEN's window of 0",
          { 16, 1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0 },
          24 },
        { "text not UTF-8", { 18, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff }, 17 },
        { "text with a NUL", { 18, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 'b' }, 19 },
        { "text with an escape",
          { 18, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0x1b, '[' },
          18 },
        { "reply's unknown code",
          { 2, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 99, 0, 0 },
          32 },
        { "reply's padding",
          { 2, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1 },
          32 },
        { "numbered without", { 22, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16 },
        { "number on a PING", { 48, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0 }, 16 },
        { "ACK of nothing", { 50, 0, 0, 0, 0, 0, 0, 8 }, 24 },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bads); i++) {
        const char *why = NULL;
        gsize used;
        Frame frame;
        int result = frame_decode(bads[i].bytes, bads[i].length, &frame, &used, &why);

        g_test_message("%s: %s", bads[i].what, why != NULL ? why : "");
        g_assert_cmpint(result, ==, -EPROTO);
        g_assert_nonnull(why);
    }
}

static void
test_hello_without_side(void)
{
    guint8 bytes[FRAME_HEADER_SIZE + FRAME_HELLO_SIZE];
    Frame frames[32], back;
    const char *why;
    gsize used;

    samples(frames);
    frame_encode(&frames[0], bytes, sizeof bytes);
    for (gsize i = 4; i < 8; i++) { /* side, slot, further, 0 */
        static const guint8 wrong[] = { 2, FLYWAY_LINKS, 2, 1 };
        guint8 right = bytes[FRAME_HEADER_SIZE + i];

        bytes[FRAME_HEADER_SIZE + i] = wrong[i - 4];
        g_assert_cmpint(frame_decode(bytes, sizeof bytes, &back, &used, &why), ==, -EPROTO);
        bytes[FRAME_HEADER_SIZE + i] = right;
    }
    g_assert_cmpint(frame_decode(bytes, sizeof bytes, &back, &used, &why), ==, 0);
}

static void
test_texts_are_cut_at_a_character(void)
{
    Frame frame = { .type = FRAME_LANE_REFUSE, .lane = 1, .number = 1 }, back;
    guint8 out[FRAME_HEADER_SIZE + FRAME_REFUSE_TEXT_MAX];
    const char *why;
    gsize used;

    memset(frame.text, 'x', FRAME_REFUSE_TEXT_MAX);
    frame.text[FRAME_REFUSE_TEXT_MAX - 1] = '\xc3'; /* half an 'ä' */
    g_assert_cmpuint(frame_encode(&frame, out, sizeof out), ==, sizeof out - 1);
    g_assert_cmpint(frame_decode(out, sizeof out, &back, &used, &why), ==, 0);
    g_assert_cmpuint(strlen(back.text), ==, FRAME_REFUSE_TEXT_MAX - 1);
}

/* Whatever comes, decoding ends with a verdict, and what it takes it encodes to the same. */
static void
test_random(void)
{
    guint8 *bytes = g_malloc(FRAME_SIZE_MAX), *again = g_malloc(FRAME_SIZE_MAX);
    Frame frames[32];
    gsize n = samples(frames), good = 0;

    for (int round = 0; round < 200000; round++) {
        gsize size = frame_encode(&frames[g_test_rand_int_range(0, (gint32)n)], bytes, 256);
        const char *why = NULL;
        gsize used = 0;
        Frame frame;

        for (int i = g_test_rand_int_range(0, 3); i > 0; i--)
            bytes[g_test_rand_int_range(0, (gint32)size)] = (guint8)g_test_rand_int();
        if (frame_decode(bytes, size, &frame, &used, &why) != 0)
            continue;
        good++;
        g_assert_cmpmem(bytes, used, again, frame_encode(&frame, again, FRAME_SIZE_MAX));
    }
    g_assert_cmpuint(good, >, 1000);
    g_free(bytes);
    g_free(again);
}

static void
test_uuid(void)
{
    static const char text[] = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    guint8 bytes[16];
    char back[37];

    g_assert_true(flyway_uuid_parse(text, bytes));
    g_assert_cmphex(bytes[0], ==, 0x0a);
    g_assert_cmphex(bytes[15], ==, 0xf9);
    flyway_uuid_format(bytes, back);
    g_assert_cmpstr(back, ==, text);
    g_assert_false(flyway_uuid_parse("0a1b2c3d", bytes));
    g_assert_false(flyway_uuid_parse(NULL, bytes));
}

static void
test_preamble(void)
{
    static const char id[] = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    g_autoptr(GError) error = NULL;
    guint8 bytes[FLYWAY_PREAMBLE_SIZE];
    char back[37];

    flyway_preamble_make(bytes, id);
    g_assert_cmpmem(bytes, 8, "GWFLY\0\0\1", 8);
    g_assert_true(flyway_preamble_parse(bytes, back, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(back, ==, id);
    bytes[7] = 2;
    g_assert_false(flyway_preamble_parse(bytes, back, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
}

static void
test_codes(void)
{
    g_assert_cmpint(flyway_code_error(FLYWAY_BAD_VERSION), ==, GODWIT_ERROR_UNSUPPORTED);
    g_assert_cmpint(flyway_code_error(FLYWAY_EXPIRED), ==, GODWIT_ERROR_EXPIRED);
    g_assert_cmpint(flyway_code_error(FLYWAY_BAD_TICKET), ==, GODWIT_ERROR_UNAUTHORIZED);
    g_assert_cmpint(flyway_code_error(FLYWAY_WRONG), ==, GODWIT_ERROR_FORBIDDEN);
    g_assert_cmpint(flyway_code_error(FLYWAY_BUSY), ==, GODWIT_ERROR_CONFLICT);
    g_assert_cmpstr(frame_name(FRAME_DATA), ==, "DATA");
    g_assert_cmpstr(frame_name(200), ==, "?");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/protocol/round-trip-at-every-split", test_round_trip_at_every_split);
    g_test_add_func("/flyway/protocol/layout", test_layout);
    g_test_add_func("/flyway/protocol/bad-frames", test_bad_frames);
    g_test_add_func("/flyway/protocol/hello-without-side", test_hello_without_side);
    g_test_add_func("/flyway/protocol/texts-are-cut", test_texts_are_cut_at_a_character);
    g_test_add_func("/flyway/protocol/random", test_random);
    g_test_add_func("/flyway/protocol/uuid", test_uuid);
    g_test_add_func("/flyway/protocol/preamble", test_preamble);
    g_test_add_func("/flyway/protocol/codes", test_codes);
    return g_test_run();
}
