/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "flyway/finish.h"
#include "flyway/rpc.h"
#include "rpc_message.h"

/* The source's half of a migration as libvirt 9.0 writes it: what matters among what doesn't. */
static const RpcMessage calls[] = {
    { RPC_REMOTE, 66, RPC_CALL, 0, RPC_OK, 0 }, /* auth list */
    { RPC_REMOTE, 1, RPC_CALL, 1, RPC_OK, 20 }, /* open */
    { RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 },
    { RPC_REMOTE, 60, RPC_CALL, 2, RPC_OK, 4 },  /* supports feature */
    { RPC_REMOTE, 360, RPC_CALL, 3, RPC_OK, 0 }, /* register close callback */
    { RPC_REMOTE, RPC_PREPARE3, RPC_CALL, 4, RPC_OK, 9000 },
    { RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_CALL, 5, RPC_OK, 777 },
    { RPC_KEEPALIVE, 2, RPC_MESSAGE, 0, RPC_OK, 0 },
    { RPC_REMOTE, 2, RPC_CALL, 6, RPC_OK, 0 }, /* close */
};
#define FINISH_CALL_INDEX 6

typedef struct {
    RpcEvent events[8];
    gsize n;
} Seen;

/* Feeds a piece as the lane does. */
static int
feed(RpcParser *parser, const guint8 *bytes, gsize length, Seen *seen)
{
    while (length > 0) {
        RpcEvent event;
        gssize done = rpc_look(parser, bytes, length, &event);

        if (done < 0)
            return (int)done;
        g_assert_cmpint(done, >, 0);
        if (event.kind != RPC_NOTHING) {
            g_assert_cmpuint(seen->n, <, G_N_ELEMENTS(seen->events));
            seen->events[seen->n++] = event;
        }
        bytes += done;
        length -= (gsize)done;
    }
    return 0;
}

static GByteArray *
make_calls(guint64 *finish_end)
{
    GByteArray *bytes = g_byte_array_new();

    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        rpc_append(bytes, &calls[i]);
        if (i == FINISH_CALL_INDEX)
            *finish_end = bytes->len;
    }
    return bytes;
}

static void
assert_found(const Seen *seen, guint64 end)
{
    g_assert_cmpuint(seen->n, ==, 1);
    g_assert_cmpint(seen->events[0].kind, ==, RPC_FINISH_CALL);
    g_assert_cmpuint(seen->events[0].serial, ==, 5);
    g_assert_cmpuint(seen->events[0].procedure, ==, RPC_FINISH3_PARAMS);
    g_assert_cmpuint(seen->events[0].end, ==, end);
}

static void
test_two_pieces_at_every_split(void)
{
    guint64 end = 0;
    g_autoptr(GByteArray) bytes = make_calls(&end);

    for (gsize split = 0; split <= bytes->len; split++) {
        RpcParser parser = { 0 };
        Seen seen = { 0 };

        g_assert_cmpint(feed(&parser, bytes->data, split, &seen), ==, 0);
        g_assert_cmpint(feed(&parser, bytes->data + split, bytes->len - split, &seen), ==, 0);
        assert_found(&seen, end);
    }
}

static void
test_equal_pieces(void)
{
    guint64 end = 0;
    g_autoptr(GByteArray) bytes = make_calls(&end);

    for (gsize piece = 1; piece < 64; piece++) {
        RpcParser parser = { 0 };
        Seen seen = { 0 };

        for (gsize at = 0; at < bytes->len; at += piece)
            g_assert_cmpint(feed(&parser, bytes->data + at, MIN(piece, bytes->len - at), &seen), ==,
                            0);
        assert_found(&seen, end);
        g_assert_cmpuint(parser.offset, ==, bytes->len);
    }
}

static void
test_replies(void)
{
    static const RpcMessage replies[] = {
        { RPC_REMOTE, RPC_PREPARE3, RPC_REPLY, 4, RPC_OK, 100 },
        { RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 5, RPC_ERROR, 50 },
        { RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 },
        { RPC_REMOTE, 362, RPC_MESSAGE, 0, RPC_OK, 4 }, /* the destination's driver went */
        { RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 6, RPC_OK, 0 },
        { RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 7, RPC_CONTINUE, 0 }, /* not a good one */
    };
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    RpcParser parser = { .direction = RPC_TO_SOURCE };
    Seen seen = { 0 };

    for (gsize i = 0; i < G_N_ELEMENTS(replies); i++)
        rpc_append(bytes, &replies[i]);
    g_assert_cmpint(feed(&parser, bytes->data, bytes->len, &seen), ==, 0);
    g_assert_cmpuint(seen.n, ==, 3);
    g_assert_cmpint(seen.events[0].kind, ==, RPC_FINISH_ERROR);
    g_assert_cmpint(seen.events[1].kind, ==, RPC_FINISH_GOOD);
    g_assert_cmpuint(seen.events[1].serial, ==, 6);
    g_assert_cmpuint(seen.events[1].end, ==, 128 + 78 + 28 + 32 + 28);
    g_assert_cmpint(seen.events[2].kind, ==, RPC_FINISH_ERROR);
}

/* ---- what passes ----------------------------------------------------------------------------- */

static gboolean
passes(RpcDirection direction, guint32 program, guint32 version, guint32 procedure, guint32 type)
{
    RpcMessageKind message = { program, version, procedure, type };

    return rpc_table_find(direction, &message) != NULL;
}

/* Calls, replies and messages that pass, all of them, counted over every number there is. */
static void
test_table_is_whole(void)
{
    static const guint32 programs[] = { RPC_REMOTE,    0x20008087, 0x20008088,
                                        RPC_KEEPALIVE, 0,          0x06877686 /* admin */ };
    static const guint32 expected_calls[] = { 1, 2, 60, 66, 67, 68, 69, 70, 303, 306, 360, 361 };
    guint expected = 0, found[2][8] = { 0 };

    for (gsize i = 0; i < G_N_ELEMENTS(programs); i++) {
        for (guint32 procedure = 0; procedure < 1024; procedure++) {
            for (guint32 type = 0; type < 8; type++) {
                for (RpcDirection to = RPC_TO_DESTINATION; to <= RPC_TO_SOURCE; to++) {
                    g_assert_false(passes(to, programs[i], 0, procedure, type));
                    g_assert_false(passes(to, programs[i], 2, procedure, type));
                    found[to][type] += passes(to, programs[i], 1, procedure, type);
                }
            }
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(expected_calls); i++) {
        expected++;
        g_assert_true(passes(RPC_TO_DESTINATION, RPC_REMOTE, 1, expected_calls[i], RPC_TYPE_CALL));
        g_assert_true(passes(RPC_TO_SOURCE, RPC_REMOTE, 1, expected_calls[i], RPC_TYPE_REPLY));
    }
    g_assert_true(passes(RPC_TO_SOURCE, RPC_REMOTE, 1, 362, RPC_TYPE_MESSAGE));
    for (guint type = 0; type < 8; type++) {
        guint to_destination = type == RPC_TYPE_CALL ? expected : type == RPC_TYPE_MESSAGE ? 2 : 0;
        guint to_source = type == RPC_TYPE_REPLY ? expected : type == RPC_TYPE_MESSAGE ? 3 : 0;

        g_assert_cmpuint(found[RPC_TO_DESTINATION][type], ==, to_destination);
        g_assert_cmpuint(found[RPC_TO_SOURCE][type], ==, to_source);
    }
}

static void
test_table_has_reasons(void)
{
    for (const RpcProcedure *row = rpc_table; row->name != NULL; row++) {
        g_assert_cmpuint(strlen(row->name), >, 0);
        g_assert_cmpuint(strlen(row->why), >, 0);
        for (const RpcProcedure *other = row + 1; other->name != NULL; other++)
            g_assert_false(row->program == other->program && row->procedure == other->procedure);
    }
}

/* What a host could wish to send, what it is called, and that nothing goes on after it. */
static void
test_forbidden(void)
{
    static const struct {
        RpcDirection direction;
        RpcMessage message;
        const char *says[4];
    } rows[] = {
        { RPC_TO_DESTINATION,
          { RPC_REMOTE, 35, RPC_CALL, 9, RPC_OK, 8 }, /* undefine */
          { "a call of procedure 35,", "0x20008086 version 1", "source to the destination" } },
        { RPC_TO_DESTINATION,
          { 0x20008087, 1, RPC_CALL, 9, RPC_OK, 8 }, /* monitor command */
          { "procedure 1,", "0x20008087" } },
        { RPC_TO_DESTINATION,
          { RPC_REMOTE, 304, RPC_STREAM, 4, RPC_CONTINUE, 100 },
          { "stream packet of procedure 304" } },
        { RPC_TO_SOURCE, { RPC_REMOTE, 304, 6, 4, RPC_CONTINUE, 100 }, { "stream hole" } },
        { RPC_TO_DESTINATION,
          { RPC_REMOTE, RPC_FINISH3_PARAMS, 4, 5, RPC_OK, 8 },
          { "call with descriptors" } },
        { RPC_TO_SOURCE,
          { RPC_REMOTE, RPC_FINISH3_PARAMS, 5, 5, RPC_OK, 8 },
          { "reply with descriptors", "destination to the source" } },
        { RPC_TO_SOURCE,
          { RPC_REMOTE, RPC_PREPARE3, RPC_CALL, 4, RPC_OK, 8 }, /* wrong way */
          { "a call", "destination to the source" } },
        { RPC_TO_DESTINATION, { RPC_REMOTE, 303, RPC_REPLY, 4, RPC_OK, 8 }, { "a reply" } },
        { RPC_TO_DESTINATION, { RPC_REMOTE, 362, RPC_MESSAGE, 0, RPC_OK, 8 }, { "event" } },
        { RPC_TO_SOURCE, { RPC_REMOTE, 318, RPC_MESSAGE, 0, RPC_OK, 8 }, { "procedure 318" } },
        { RPC_TO_SOURCE,
          { RPC_KEEPALIVE, 3, RPC_MESSAGE, 0, RPC_OK, 0 },
          { "0x6b656570", "procedure 3" } },
        { RPC_TO_DESTINATION, { RPC_KEEPALIVE, 1, RPC_CALL, 0, RPC_OK, 0 }, { "procedure 1" } },
        { RPC_TO_DESTINATION,
          { RPC_REMOTE, RPC_FINISH3, RPC_CALL, 0, RPC_OK, 0 },
          { "procedure 217" } },
        { RPC_TO_SOURCE, { RPC_REMOTE, 1, 77, 0, RPC_OK, 0 }, { "message of unknown type" } },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        RpcParser parser = { .direction = rows[i].direction };
        Seen seen = { 0 };
        Fault fault = { 0 };

        rpc_append(bytes, &rows[i].message);
        rpc_append(bytes, &(RpcMessage){ RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 });
        g_assert_cmpint(feed(&parser, bytes->data, bytes->len, &seen), ==, -EPROTO);
        g_assert_cmpuint(seen.n, ==, 1);
        g_assert_cmpint(seen.events[0].kind, ==, RPC_FORBIDDEN);
        rpc_table_refuse(rows[i].direction, &seen.events[0].message, &fault);
        g_assert_cmpint(fault.code, ==, GODWIT_ERROR_PROTOCOL);
        g_assert_cmpuint(strlen(fault.text), <, sizeof fault.text - 40); /* not cut */
        for (gsize j = 0; j < G_N_ELEMENTS(rows[i].says) && rows[i].says[j] != NULL; j++)
            g_assert_nonnull(strstr(fault.text, rows[i].says[j]));
    }
}

static void
test_lengths(void)
{
    static const struct {
        guint32 length;
        gboolean good;
    } rows[] = {
        { 0, FALSE },
        { 4, FALSE },
        { 27, FALSE },
        { 28, TRUE },
        { RPC_MESSAGE_MAX, TRUE },
        { RPC_MESSAGE_MAX + 1, FALSE },
        { G_MAXUINT32, FALSE },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint32 word = GUINT32_TO_BE(rows[i].length);
        RpcParser parser = { 0 };
        Seen seen = { 0 };
        int result = feed(&parser, (const guint8 *)&word, 4, &seen);

        g_assert_cmpint(result, ==, rows[i].good ? 0 : -EPROTO);
        if (!rows[i].good) /* and ever after */
            g_assert_cmpint(feed(&parser, (const guint8 *)"x", 1, &seen), ==, -EPROTO);
    }
}

static void
test_random(void)
{
    for (int round = 0; round < 20000; round++) {
        guint8 bytes[128];
        RpcParser whole = { 0 }, pieces = { 0 };
        Seen seen_whole = { 0 }, seen_pieces = { 0 };
        int result = 0;

        for (gsize i = 0; i < sizeof bytes; i++)
            bytes[i] = g_test_rand_int_range(0, 3) == 0 ? (guint8)g_test_rand_int_range(0, 64) : 0;
        for (gsize i = 0; i < sizeof bytes && result == 0; i++)
            result = feed(&pieces, bytes + i, 1, &seen_pieces);
        g_assert_cmpint(feed(&whole, bytes, sizeof bytes, &seen_whole), ==, result);
        g_assert_cmpuint(seen_whole.n, ==, seen_pieces.n);
    }
}

/* ---- the state machine of Finish --------------------------------------------------------------
 */

static const RpcEvent call = { RPC_FINISH_CALL, RPC_FINISH3_PARAMS, 5, 100, { 0 } };
static const RpcEvent good = { RPC_FINISH_GOOD, RPC_FINISH3_PARAMS, 5, 300, { 0 } };

static Finish
handed(void)
{
    Finish finish = { .side = FLYWAY_SOURCE };
    Fault fault = { 0 };

    g_assert_true(finish_rpc(&finish, 1, &call, &fault));
    g_assert_cmpuint(finish_limit(&finish, 1), ==, G_MAXUINT64);
    g_assert_true(finish_rpc(&finish, 1, &good, &fault));
    g_assert_cmpuint(finish_limit(&finish, 1), ==, 300);
    g_assert_cmpuint(finish_limit(&finish, 2), ==, G_MAXUINT64);
    finish_written(&finish, 1, 299, 1);
    g_assert_cmpint(finish.state, ==, FINISH_ANSWERED);
    finish_written(&finish, 1, 300, 2);
    g_assert_true(finish_waits(&finish, 1));
    g_assert_false(finish_waits(&finish, 2));
    return finish;
}

static void
test_finish_proof(void)
{
    static const struct {
        FinishSocket seen;
        FinishState expected;
    } rows[] = {
        { { 1, FALSE, FALSE }, FINISH_HANDED },   /* not read yet */
        { { 0, FALSE, FALSE }, FINISH_PROVED },   /* read, and still open */
        { { 0, TRUE, FALSE }, FINISH_UNSETTLED }, /* 0 may only be because it was closed */
        { { 1, TRUE, FALSE }, FINISH_UNSETTLED },
        { { 0, TRUE, TRUE }, FINISH_REFUSED }, /* closed without reading */
        { { 1, TRUE, TRUE }, FINISH_REFUSED },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Finish finish = handed();

        finish_socket(&finish, rows[i].seen, 7);
        g_assert_cmpint(finish.state, ==, rows[i].expected);
        g_assert_cmpint(finish.proved_us, ==, rows[i].expected == FINISH_PROVED ? 7 : 0);
        g_assert_cmpuint(finish_limit(&finish, 1) == 300, ==, rows[i].expected == FINISH_HANDED);
    }
}

static void
test_finish_wrong_replies(void)
{
    static const struct {
        RpcEvent reply;
        guint8 lane;
        FinishState expected;
    } rows[] = {
        { { RPC_FINISH_GOOD, RPC_FINISH3_PARAMS, 6, 300 }, 1, FINISH_CALLED }, /* serial */
        { { RPC_FINISH_GOOD, RPC_PREPARE3, 5, 300 }, 1, FINISH_CALLED },       /* procedure */
        { { RPC_FINISH_GOOD, RPC_FINISH3_PARAMS, 5, 300 }, 2, FINISH_CALLED }, /* lane */
        { { RPC_FINISH_ERROR, RPC_FINISH3_PARAMS, 5, 300 }, 1, FINISH_REFUSED },
        { { RPC_FINISH_GOOD, RPC_FINISH3_PARAMS, 5, 300 }, 1, FINISH_ANSWERED },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Finish finish = { .side = FLYWAY_SOURCE };
        Fault fault = { 0 };

        g_assert_true(finish_rpc(&finish, 1, &call, &fault));
        g_assert_true(finish_rpc(&finish, rows[i].lane, &rows[i].reply, &fault));
        g_assert_cmpint(finish.state, ==, rows[i].expected);
    }
}

static void
test_finish_lane_gone(void)
{
    Finish finish = { .side = FLYWAY_SOURCE };
    Fault fault = { 0 };

    finish_lane_gone(&finish, 1);
    g_assert_cmpint(finish.state, ==, FINISH_NONE);
    finish_rpc(&finish, 1, &call, &fault);
    finish_lane_gone(&finish, 2);
    g_assert_cmpint(finish.state, ==, FINISH_CALLED);
    finish_lane_gone(&finish, 1); /* no answer can come any more */
    g_assert_cmpint(finish.state, ==, FINISH_REFUSED);

    finish = (Finish){ .side = FLYWAY_SOURCE };
    finish_rpc(&finish, 1, &call, &fault);
    finish_rpc(&finish, 1, &good, &fault);
    finish_lane_gone(&finish, 1); /* an answer in part is none */
    g_assert_cmpint(finish.state, ==, FINISH_REFUSED);

    finish = handed();
    finish_lane_gone(&finish, 1); /* who knows */
    g_assert_cmpint(finish.state, ==, FINISH_UNSETTLED);
}

static void
test_finish_twice(void)
{
    Finish finish = handed();
    Fault fault = { 0 };

    g_assert_false(finish_rpc(&finish, 1, &call, &fault));
    g_assert_cmpint(fault.code, ==, GODWIT_ERROR_PROTOCOL);
}

static void
test_finish_destination(void)
{
    Finish finish = { .side = FLYWAY_DESTINATION };
    Fault fault = { 0 };

    g_assert_false(finish_told(&finish, TRUE, 1, &fault)); /* before any call */
    finish_rpc(&finish, 1, &call, &fault);
    finish_rpc(&finish, 1, &good, &fault);
    finish_lane_gone(&finish, 1);
    g_assert_cmpint(finish.state, ==, FINISH_CALLED); /* concludes nothing by itself */
    g_assert_cmpuint(finish_limit(&finish, 1), ==, G_MAXUINT64);
    g_assert_true(finish_told(&finish, TRUE, 9, &fault));
    g_assert_cmpint(finish.state, ==, FINISH_PROVED);
    g_assert_cmpint(finish.proved_us, ==, 9);
    g_assert_false(finish_told(&finish, FALSE, 9, &fault)); /* and no taking back */
    g_assert_cmpint(finish.state, ==, FINISH_PROVED);
}

static void
test_finish_steps(void)
{
    Finish finish = handed();

    g_assert_cmpint(finish_step_us(&finish, 100), ==, 100);
    g_assert_cmpint(finish_step_us(&finish, 100 * 1000), ==, 1000);
    g_assert_cmpint(finish_step_us(&finish, 60 * G_USEC_PER_SEC), ==, 10 * 1000);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/rpc/two-pieces-at-every-split", test_two_pieces_at_every_split);
    g_test_add_func("/flyway/rpc/equal-pieces", test_equal_pieces);
    g_test_add_func("/flyway/rpc/replies", test_replies);
    g_test_add_func("/flyway/rpc/lengths", test_lengths);
    g_test_add_func("/flyway/rpc/table-is-whole", test_table_is_whole);
    g_test_add_func("/flyway/rpc/table-has-reasons", test_table_has_reasons);
    g_test_add_func("/flyway/rpc/forbidden", test_forbidden);
    g_test_add_func("/flyway/rpc/random", test_random);
    g_test_add_func("/flyway/finish/proof", test_finish_proof);
    g_test_add_func("/flyway/finish/wrong-replies", test_finish_wrong_replies);
    g_test_add_func("/flyway/finish/lane-gone", test_finish_lane_gone);
    g_test_add_func("/flyway/finish/twice", test_finish_twice);
    g_test_add_func("/flyway/finish/destination", test_finish_destination);
    g_test_add_func("/flyway/finish/steps", test_finish_steps);
    return g_test_run();
}
