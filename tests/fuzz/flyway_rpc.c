/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parsers of libvirt's RPC in both directions: what they see doesn't depend on how the bytes
 * are cut, and nothing is seen after what must not pass. The first two bytes choose the pieces, the
 * next two how much goes to the destination; the rest comes back.
 */
#include <stdint.h>
#include "flyway/finish.h"
#include "flyway/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    RpcParser parsers[2];
    Finish finish;
    guint events;
    guint64 last_end;
    gboolean broken;
} Run;

static void
feed(Run *run, RpcDirection direction, const guint8 *data, gsize size)
{
    RpcParser *parser = &run->parsers[direction];

    parser->direction = direction;
    while (size > 0 && !run->broken) {
        RpcEvent event;
        Fault fault = { 0 };
        gssize done = rpc_look(parser, data, size, &event);

        if (done < 0) {
            run->broken = TRUE;
            return;
        }
        g_assert_cmpint(done, >, 0);
        g_assert_cmpint(done, <=, (gssize)size);
        if (event.kind != RPC_NOTHING) {
            g_assert_cmpuint(event.end, >=, parser->offset);
            run->events++;
            run->last_end = event.end;
            if (event.kind == RPC_FORBIDDEN) {
                rpc_table_refuse(direction, &event.message, &fault);
                g_assert_true(g_utf8_validate(fault.text, -1, NULL));
                g_assert_cmpint(rpc_look(parser, data, 1, &event), ==, -EPROTO);
                run->broken = TRUE;
                return;
            }
            (void)finish_rpc(&run->finish, 1, &event, &fault);
        }
        data += done;
        size -= (gsize)done;
    }
}

static void
feed_pieces(Run *run, RpcDirection direction, const guint8 *data, gsize size, gsize step)
{
    for (gsize at = 0; at < size; at += step)
        feed(run, direction, data + at, MIN(step, size - at));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run whole = { 0 }, pieces = { 0 };
    gsize step, there;

    if (size < 4)
        return 0;
    step = 1 + (data[0] | (gsize)data[1] << 8) % 97;
    there = MIN((gsize)(data[2] | (gsize)data[3] << 8), size - 4);
    data += 4;
    size -= 4;
    feed(&whole, RPC_TO_DESTINATION, data, there);
    feed(&whole, RPC_TO_SOURCE, data + there, size - there);
    feed_pieces(&pieces, RPC_TO_DESTINATION, data, there, step);
    feed_pieces(&pieces, RPC_TO_SOURCE, data + there, size - there, step);
    g_assert_cmpint(whole.broken, ==, pieces.broken);
    g_assert_cmpuint(whole.events, ==, pieces.events);
    g_assert_cmpuint(whole.last_end, ==, pieces.last_end);
    g_assert_cmpint(whole.finish.state, ==, pieces.finish.state);
    if (!whole.broken)
        g_assert_cmpuint(whole.parsers[0].offset + whole.parsers[1].offset, ==, size);
    return 0;
}
