/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of libvirt's RPC: what it sees doesn't depend on how the bytes are cut. The first two
 * bytes choose the pieces.
 */
#include <stdint.h>
#include "flyway/finish.h"
#include "flyway/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    RpcParser parser;
    Finish finish;
    guint events;
    guint64 last_end;
    gboolean broken;
} Run;

static void
feed(Run *run, const guint8 *data, gsize size)
{
    while (size > 0 && !run->broken) {
        RpcEvent event;
        Fault fault = { 0 };
        gssize done = rpc_look(&run->parser, data, size, &event);

        if (done < 0) {
            run->broken = TRUE;
            return;
        }
        g_assert_cmpint(done, >, 0);
        g_assert_cmpint(done, <=, (gssize)size);
        if (event.kind != RPC_NOTHING) {
            g_assert_cmpuint(event.end, >=, run->parser.offset);
            run->events++;
            run->last_end = event.end;
            (void)finish_rpc(&run->finish, 1, &event, &fault);
        }
        data += done;
        size -= (gsize)done;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run whole = { 0 }, pieces = { 0 };
    guint step, at = 0;

    if (size < 2)
        return 0;
    step = 1 + (data[0] | (guint)data[1] << 8) % 97;
    data += 2;
    size -= 2;
    feed(&whole, data, size);
    for (at = 0; at < size; at += step)
        feed(&pieces, data + at, MIN(step, size - at));
    g_assert_cmpint(whole.broken, ==, pieces.broken);
    g_assert_cmpuint(whole.events, ==, pieces.events);
    g_assert_cmpuint(whole.last_end, ==, pieces.last_end);
    g_assert_cmpint(whole.finish.state, ==, pieces.finish.state);
    if (!whole.broken)
        g_assert_cmpuint(whole.parser.offset, ==, size);
    return 0;
}
