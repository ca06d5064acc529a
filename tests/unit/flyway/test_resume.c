/* SPDX-License-Identifier: Apache-2.0 */
/* Two real workers whose connections come and go: the lanes carry every byte, once, in order. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"
#include "rig.h"

#define CHUNK 65536

/* One direction of a lane: a pattern is written at one end and checked at the other. */
typedef struct {
    int from, to;
    guint64 written, read, total;
    guint32 seed;
} Flow;

static guint8
pattern(guint64 at, guint32 seed)
{
    return (guint8)((at * 2654435761u + seed) >> 13);
}

static void
write_some(Flow *flow)
{
    guint8 bytes[CHUNK];
    gsize length = MIN(CHUNK, flow->total - flow->written);
    ssize_t done;

    for (gsize i = 0; i < length; i++)
        bytes[i] = pattern(flow->written + i, flow->seed);
    done = length > 0 ? send(flow->from, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (done < 0)
        g_assert_cmpint(errno, ==, EAGAIN);
    else
        flow->written += (guint64)done;
}

static void
read_some(Flow *flow)
{
    guint8 bytes[CHUNK];
    ssize_t done = recv(flow->to, bytes, sizeof bytes, MSG_DONTWAIT);

    if (done < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        return;
    }
    g_assert_cmpint(done, >, 0); /* no end is seen while there is more to come */
    for (ssize_t i = 0; i < done; i++)
        g_assert_cmpuint(bytes[i], ==, pattern(flow->read + (guint64)i, flow->seed));
    flow->read += (guint64)done;
}

/* Carries all, and calls for mischief each time so many bytes have arrived. */
static void
carry(Rig *rig, Flow *flows, gsize n, guint64 every, void (*mischief)(Rig *rig))
{
    guint64 next = every;

    for (;;) {
        guint64 read = 0, total = 0;

        for (gsize i = 0; i < n; i++) {
            write_some(&flows[i]);
            read_some(&flows[i]);
            read += flows[i].read;
            total += flows[i].total;
        }
        if (read == total)
            return;
        if (mischief != NULL && read >= next) {
            next = read + every;
            mischief(rig);
        }
        while (g_main_context_iteration(NULL, FALSE))
            ;
        if (worker_status(rig->source.worker)->state == WORKER_FAILED)
            g_error("%s", worker_status(rig->source.worker)->error->message);
    }
}

static Flow
flow(int from, int to, guint64 total)
{
    return (Flow){ .from = from, .to = to, .total = total, .seed = g_test_rand_int() };
}

/* Both lanes, both directions. */
static void
run_flows(Rig *rig, guint64 bytes, guint64 every, void (*mischief)(Rig *rig))
{
    int rpc[2], stream[2];
    Flow flows[3];

    rig_lane(rig, RIG_STREAM, stream);
    rig_lane(rig, RIG_STREAM, rpc);
    flows[0] = flow(stream[0], stream[1], bytes);
    flows[1] = flow(stream[1], stream[0], bytes / 4);
    flows[2] = flow(rpc[0], rpc[1], bytes / 8);
    carry(rig, flows, G_N_ELEMENTS(flows), every, mischief);
    close(stream[0]);
    close(rpc[0]);
}

static void
test_cuts(void)
{
    g_autoptr(Rig) rig = rig_open();
    const WorkerStatus *status;

    run_flows(rig, 48 << 20, 5 << 20, rig_cut);
    status = rig_refresh(&rig->source);
    g_assert_cmpint(status->resumes, >=, 5);
    g_assert_cmpint(status->resent_bytes, <=, status->resumes * (gint64)(32 << 20));
    g_test_message("%d resumes, %" G_GINT64_FORMAT " bytes sent twice", status->resumes,
                   status->resent_bytes);
}

static void
test_connections_at_once(void)
{
    g_autoptr(Rig) rig = rig_open_with(0, 4);

    RIG_UNTIL(rig_refresh(&rig->source)->connections == 4);
    RIG_UNTIL(rig_refresh(&rig->destination)->connections == 4);
    run_flows(rig, 48 << 20, 0, NULL);
    g_assert_cmpint(rig_refresh(&rig->source)->resumes, ==, 0);
    g_assert_cmpint(rig_refresh(&rig->source)->resent_bytes, ==, 0);
}

static void
cut_one(Rig *rig)
{
    int *link = &rig->links[g_test_rand_int_range(0, RIG_LINKS)];

    if (*link >= 0)
        shutdown(*link, SHUT_RDWR);
    fd_close_p(link);
}

static void
test_one_of_several(void)
{
    g_autoptr(Rig) rig = rig_open_with(0, 3);

    RIG_UNTIL(rig_refresh(&rig->source)->connections == 3);
    run_flows(rig, 48 << 20, 1 << 20, cut_one);
    RIG_UNTIL(rig_refresh(&rig->source)->connections == 3);
    g_assert_cmpuint(rig->n_connections, >, 3);
}

/* An idle session, lost and found again at each moment of its life. */
static void
test_idle(void)
{
    g_autoptr(Rig) rig = rig_open();

    for (int i = 1; i <= 5; i++) {
        rig_cut(rig);
        RIG_UNTIL(rig_refresh(&rig->source)->resumes == i);
        RIG_UNTIL(rig_refresh(&rig->destination)->resumes == i);
    }
    run_flows(rig, 1 << 20, 0, NULL);
    worker_end(rig->source.worker);
    RIG_UNTIL(rig->source.seen[WORKER_EVENT_GONE] == 1);
    g_assert_cmpint(rig_state(&rig->source), ==, WORKER_ENDED);
    RIG_UNTIL(rig_state(&rig->destination) == WORKER_ENDED);
}

/* Nothing is read of local sockets while no connection lives: what they see is a pause. */
static void
test_pause(void)
{
    g_autoptr(Rig) rig = rig_open();
    Flow one;
    int stream[2];

    rig_lane(rig, RIG_STREAM, stream);
    rig_lose(rig);
    RIG_UNTIL(rig_refresh(&rig->source)->connections == 0);
    one = flow(stream[0], stream[1], 8 << 20);
    for (int i = 0; i < 100; i++)
        write_some(&one);
    g_assert_cmpuint(one.written, <, 4 << 20); /* the socket's own buffer */
    g_assert_cmpint(rig_readable(stream[1]), ==, 0);
    rig->hold_connection = FALSE;
    carry(rig, &one, 1, 0, NULL);
    close(stream[0]);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/resume/cuts", test_cuts);
    g_test_add_func("/flyway/resume/connections-at-once", test_connections_at_once);
    g_test_add_func("/flyway/resume/one-of-several", test_one_of_several);
    g_test_add_func("/flyway/resume/idle", test_idle);
    g_test_add_func("/flyway/resume/pause", test_pause);
    return g_test_run();
}
