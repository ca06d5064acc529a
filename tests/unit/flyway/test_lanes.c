/* SPDX-License-Identifier: Apache-2.0 */
/* Two real workers: what lanes carry, and what godwitd sees of it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"
#include "flyway/sandbox.h"
#include "rig.h"
#include "rpc_message.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    gsize length;
    guint32 seed;
    enum { PLAIN, CALLS, REPLIES } kind; /* the last two framed as libvirt's */
    GChecksum *sum;
    GThread *thread;
} Flow;

static GByteArray *
next_piece(Flow *flow, GRand *random)
{
    GByteArray *piece = g_byte_array_new();

    if (flow->kind != PLAIN) {
        RpcMessage message = { .program = RPC_REMOTE,
                               .procedure = RPC_PREPARE3,
                               .type = flow->kind == CALLS ? RPC_CALL : RPC_REPLY,
                               .serial = g_rand_int(random),
                               .body = (gsize)g_rand_int_range(random, 0, 40000) };

        rpc_append(piece, &message);
    } else {
        g_byte_array_set_size(piece, (guint)g_rand_int_range(random, 1, 200000));
        for (guint i = 0; i + 4 <= piece->len; i += 4)
            *(guint32 *)(void *)(piece->data + i) = g_rand_int(random);
    }
    return piece;
}

static gpointer
write_flow(gpointer data)
{
    Flow *flow = data;
    g_autoptr(GRand) random = g_rand_new_with_seed(flow->seed);
    gsize done = 0;

    while (done < flow->length) {
        g_autoptr(GByteArray) piece = next_piece(flow, random);

        g_checksum_update(flow->sum, piece->data, piece->len);
        rig_write(flow->fd, piece->data, piece->len);
        done += piece->len;
    }
    flow->length = done;
    shutdown(flow->fd, SHUT_WR);
    return NULL;
}

static gpointer
read_flow(gpointer data)
{
    Flow *flow = data;
    guint8 bytes[30000];

    for (;;) {
        struct pollfd entry = { .fd = flow->fd, .events = POLLIN };
        ssize_t got;

        g_assert_cmpint(poll(&entry, 1, 40000), ==, 1);
        got = recv(flow->fd, bytes, sizeof bytes, 0);
        g_assert_cmpint(got, >=, 0);
        if (got == 0)
            return NULL;
        g_checksum_update(flow->sum, bytes, got);
        flow->length += (gsize)got;
    }
}

static void
begin(Flow *flow, Flow what, GThreadFunc func)
{
    *flow = what;
    flow->sum = g_checksum_new(G_CHECKSUM_SHA256);
    flow->thread = g_thread_new("flow", func, flow);
}

static void
assert_equal(Flow *written, Flow *read)
{
    g_assert_cmpuint(written->length, ==, read->length);
    g_assert_cmpstr(g_checksum_get_string(written->sum), ==, g_checksum_get_string(read->sum));
    g_checksum_free(written->sum);
    g_checksum_free(read->sum);
}

/* Both ways at once on a stream and an rpc lane, each direction half closed by itself. */
static void
test_bytes(void)
{
    g_autoptr(Rig) rig = rig_open();
    int stream[2], rpc[2];
    gsize stream_bytes = 0, rpc_bytes = 0;
    Flow flows[8];

    rig_lane(rig, RIG_STREAM, stream);
    rig_lane(rig, RIG_RPC, rpc);
    begin(&flows[0], (Flow){ .fd = stream[0], .length = 64 << 20, .seed = 1 }, write_flow);
    begin(&flows[1], (Flow){ .fd = stream[1] }, read_flow);
    begin(&flows[2], (Flow){ .fd = stream[1], .length = 5 << 20, .seed = 2 }, write_flow);
    begin(&flows[3], (Flow){ .fd = stream[0] }, read_flow);
    begin(&flows[4], (Flow){ .fd = rpc[0], .length = 8 << 20, .seed = 3, .kind = CALLS },
          write_flow);
    begin(&flows[5], (Flow){ .fd = rpc[1] }, read_flow);
    begin(&flows[6], (Flow){ .fd = rpc[1], .length = 1 << 20, .seed = 4, .kind = REPLIES },
          write_flow);
    begin(&flows[7], (Flow){ .fd = rpc[0] }, read_flow);
    for (gsize i = 0; i < G_N_ELEMENTS(flows); i++)
        g_thread_join(flows[i].thread);
    for (gsize i = 0; i < G_N_ELEMENTS(flows); i += 2) {
        *(i < 4 ? &stream_bytes : &rpc_bytes) += flows[i].length;
        assert_equal(&flows[i], &flows[i + 1]);
    }
    for (RigEnd *end = &rig->source; end <= &rig->destination; end++) {
        const WorkerStatus *status = rig_refresh(end);

        g_assert_cmpint(status->state, ==, WORKER_OPEN);
        g_assert_cmpint(status->stream_bytes, ==, (gint64)stream_bytes);
        g_assert_cmpint(status->rpc_bytes, ==, (gint64)rpc_bytes);
        g_assert_cmpint(status->wire_bytes, >, (gint64)(stream_bytes + rpc_bytes));
        g_assert_cmpint(status->wire_bytes, <, (gint64)(stream_bytes + rpc_bytes) * 102 / 100);
    }
    close(stream[0]);
    close(rpc[0]);
}

/* QEMU closes altogether right after its last byte: everything still arrives, then the end. */
static void
test_close_after_last_byte(void)
{
    g_autoptr(Rig) rig = rig_open();

    for (int round = 0; round < 20; round++) {
        guint8 bytes[5000], back[5000];
        int stream[2];

        memset(bytes, round, sizeof bytes);
        rig->n_peers[RIG_STREAM] = 0;
        rig_lane(rig, RIG_STREAM, stream);
        rig_write(stream[0], bytes, sizeof bytes);
        close(stream[0]);
        rig_read(stream[1], back, sizeof back);
        g_assert_cmpmem(bytes, sizeof bytes, back, sizeof back);
        rig_read_end(stream[1]);
        close(stream[1]);
    }
    rig->n_peers[RIG_STREAM] = 0;
}

static void
fill_up(int fd)
{
    static guint8 bytes[65536];
    struct pollfd entry = { .fd = fd, .events = POLLOUT };

    /* Full means: nothing was taken for a while. */
    while (poll(&entry, 1, 300) == 1)
        (void)send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
test_blocked_stream_holds_up_nothing(void)
{
    g_autoptr(Rig) rig = rig_open();
    g_autoptr(GByteArray) message = g_byte_array_new();
    int blocked[2], other[2], rpc[2];
    guint8 back[128];
    gint64 carried;

    rpc_append(message, &(RpcMessage){ RPC_REMOTE, 1, RPC_CALL, 1, RPC_OK, 100 });
    rig_lane(rig, RIG_STREAM, blocked);
    rig_lane(rig, RIG_STREAM, other);
    rig_lane(rig, RIG_RPC, rpc);
    fill_up(blocked[0]);
    /* Little is taken ahead: the window, what is in tx, and the sockets. */
    carried = rig_refresh(&rig->source)->stream_bytes;
    g_assert_cmpint(carried, >=, 512 << 10);
    g_assert_cmpint(carried, <, 2 << 20);
    rig_write(rpc[0], message->data, message->len);
    rig_read(rpc[1], back, sizeof back);
    g_assert_cmpmem(back, sizeof back, message->data, message->len);
    message->data[19] = RPC_REPLY;
    rig_write(rpc[1], message->data, message->len);
    rig_read(rpc[0], back, sizeof back);
    rig_write(other[0], "x", 1);
    rig_read(other[1], back, 1);
    g_assert_cmpint(rig_readable(blocked[1]), >, 0);
    close(blocked[0]);
    close(other[0]);
    close(rpc[0]);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void
test_refused_lane(void)
{
    g_autoptr(Rig) rig = rig_open();
    int fd, lane[2];

    rig->refuse_lanes = TRUE;
    fd = rig_connect(rig, RIG_RPC);
    RIG_UNTIL(rig->destination.seen[WORKER_EVENT_WANT_RPC] == 1);
    rig_read_end(fd);
    close(fd);
    rig->refuse_lanes = FALSE;
    rig_lane(rig, RIG_RPC, lane);
    close(lane[0]);
    rig_read_end(lane[1]);
}

static void
test_client_leaves_before_answer(void)
{
    g_autoptr(Rig) rig = rig_open();
    int fds[2];

    rig->hold_lanes = TRUE;
    close(rig_connect(rig, RIG_STREAM));
    RIG_UNTIL(rig->destination.seen[WORKER_EVENT_WANT_STREAM] == 1);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    worker_give_lane(rig->destination.worker, WORKER_EVENT_WANT_STREAM, fds[1]);
    rig_read_end(fds[0]);
    close(fds[0]);
}

static void
test_more_than_all_lanes(void)
{
    g_autoptr(Rig) rig = rig_open();
    int fds[18];
    guint8 byte = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = rig_connect(rig, RIG_STREAM);
    RIG_UNTIL(rig->n_peers[RIG_STREAM] == 16);
    rig_refresh(&rig->destination);
    g_assert_cmpuint(rig->destination.seen[WORKER_EVENT_WANT_STREAM], ==, 16);
    /* The others' turn comes when one has ended. */
    rig->n_peers[RIG_STREAM] = 15;
    close(rig->peers[RIG_STREAM][15]);
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++) {
        /* The ended one's may be closed by now. */
        if (send(fds[i], &byte, 1, MSG_NOSIGNAL) < 0)
            g_assert_true(errno == EPIPE || errno == ECONNRESET);
    }
    RIG_UNTIL(rig->n_peers[RIG_STREAM] == 16);
    rig_read(rig->peers[RIG_STREAM][15], &byte, 1);
    rig->refuse_lanes = TRUE; /* the last one's turn may come now */
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
}

static void
test_not_libvirts_rpc(void)
{
    g_autoptr(Rig) rig = rig_open();
    int rpc[2];

    rig_lane(rig, RIG_RPC, rpc);
    rig_write(rpc[0], "\x16\x03\x01\x02\x00\x01", 6);
    RIG_UNTIL(rig_state(&rig->source) == WORKER_FAILED);
    g_assert_error(worker_status(rig->source.worker)->error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
    rig_read_end(rpc[0]);
    close(rpc[0]);
}

/* What no migration needs doesn't reach the other libvirt, from neither side; the error tells. */
static void
test_forbidden_rpc(void)
{
    static const struct {
        int from, to;
        RpcMessage message;
        const char *says;
    } rows[] = {
        { 0, 1, { RPC_REMOTE, 35, RPC_CALL, 3, RPC_OK, 16 }, "call of procedure 35," },
        { 0, 1, { RPC_REMOTE, 304, RPC_STREAM, 3, RPC_CONTINUE, 16 }, "stream packet of" },
        { 1, 0, { RPC_REMOTE, 318, RPC_MESSAGE, 3, RPC_OK, 16 }, "event of procedure 318," },
        { 1,
          0,
          { RPC_REMOTE, RPC_PREPARE3, RPC_CALL, 3, RPC_OK, 16 },
          "destination to the source" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_open();
        RigEnd *end = rows[i].from == 0 ? &rig->source : &rig->destination;
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        const GError *error;
        int rpc[2];

        rpc_append(bytes, &rows[i].message);
        rig_drop_tcp(rig);
        rig_lane(rig, RIG_RPC, rpc);
        rig_write(rpc[rows[i].from], bytes->data, bytes->len);
        RIG_UNTIL(rig_state(end) == WORKER_FAILED);
        error = worker_status(end->worker)->error;
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
        g_assert_nonnull(strstr(error->message, rows[i].says));
        rig_read_end(rpc[rows[i].to]); /* and before the end: nothing */
        close(rpc[0]);
    }
}

/* ---- godwitd's view -------------------------------------------------------------------------- */

static void
note_event(Worker *worker, WorkerEvent event, gpointer data)
{
    ((guint *)data)[event]++;
}

/* godwitd is restarted while lanes carry and a question is open. */
static void
test_attach_again(void)
{
    g_autoptr(Rig) rig = rig_open();
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_build_filename(rig->dir, "b", NULL);
    guint seen[WORKER_EVENT_GONE + 1] = { 0 };
    int stream[2], fd, fds[2], pid = worker_status(rig->destination.worker)->pid;
    Worker *again;
    char text[4];

    rig_lane(rig, RIG_STREAM, stream);
    rig->hold_lanes = TRUE;
    fd = rig_connect(rig, RIG_RPC);
    RIG_UNTIL(rig->destination.seen[WORKER_EVENT_WANT_RPC] == 1);
    worker_free(rig->destination.worker);
    rig->destination.worker = NULL;

    rig_write(stream[0], "more", 4);
    rig_read(stream[1], text, 4);
    again = worker_attach(WORKER_DESTINATION, folder, NULL, note_event, seen, &error);
    g_assert_no_error(error);
    g_assert_cmpint(worker_status(again)->state, ==, WORKER_OPEN);
    g_assert_cmpint(worker_status(again)->pid, ==, pid);
    g_assert_cmpint(worker_status(again)->stream_bytes, ==, 4);
    RIG_UNTIL(seen[WORKER_EVENT_WANT_RPC] == 1);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    worker_give_lane(again, WORKER_EVENT_WANT_RPC, fds[1]);
    rig_write(fds[0], "\0\0\0\x1c", 4);
    rig_read(fd, text, 4);

    worker_end(again);
    RIG_UNTIL(seen[WORKER_EVENT_GONE] == 1);
    g_assert_cmpint(worker_status(again)->state, ==, WORKER_ENDED);
    worker_free(again);
    g_assert_null(worker_attach(WORKER_DESTINATION, folder, NULL, note_event, seen, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
    RIG_UNTIL(rig_state(&rig->source) == WORKER_ENDED);
    close(fd);
    close(fds[0]);
    close(stream[0]);
}

static void
test_newest_controller_wins(void)
{
    g_autoptr(Rig) rig = rig_open();
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_build_filename(rig->dir, "a", NULL);
    guint seen[WORKER_EVENT_GONE + 1] = { 0 };
    Worker *again = worker_attach(WORKER_SOURCE, folder, NULL, note_event, seen, &error);

    g_assert_no_error(error);
    RIG_UNTIL(rig->source.seen[WORKER_EVENT_GONE] == 1);
    worker_refresh(again);
    RIG_UNTIL(seen[WORKER_EVENT_STATE] >= 2);
    g_assert_cmpint(worker_status(again)->state, ==, WORKER_OPEN);
    worker_kill(again);
    RIG_UNTIL(seen[WORKER_EVENT_GONE] == 1);
    g_assert_error(worker_status(again)->error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED);
    worker_free(again);
}

/* A controller that leaves with a report unread: what it said last is heard all the same. */
static void
test_end_is_heard(void)
{
    g_autoptr(Rig) rig = rig_open();
    static const char end[] = "{\"action\":\"end\"}";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct pollfd report = { .events = POLLIN };
    int pid = worker_status(rig->source.worker)->pid;

    g_snprintf(address.sun_path, sizeof address.sun_path, "%s/a/source.control", rig->dir);
    report.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    g_assert_no_errno(connect(report.fd, (struct sockaddr *)&address, sizeof address));
    g_assert_cmpint(poll(&report, 1, 20000), ==, 1);
    g_assert_cmpint(send(report.fd, end, strlen(end), 0), ==, (int)strlen(end));
    close(report.fd);
    RIG_UNTIL(kill(pid, 0) < 0);
    RIG_UNTIL(rig_state(&rig->destination) == WORKER_ENDED);
}

static void
test_no_worker(void)
{
    g_autoptr(GError) error = NULL;
    guint seen[WORKER_EVENT_GONE + 1];

    g_assert_null(worker_attach(WORKER_SOURCE, "/nowhere/at/all", NULL, note_event, seen, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

static void
expect_no_start(Rig *rig, const char *program, const char *user, GodwitError code)
{
    g_autoptr(GError) error = NULL;
    guint seen[WORKER_EVENT_GONE + 1];
    WorkerConfig config = { .side = WORKER_DESTINATION,
                            .program = program,
                            .user = user,
                            .folder = rig->dir,
                            .id = rig->id,
                            .vm_uuid = rig->vm,
                            .self_uuid = rig->hosts[1],
                            .peer_uuid = rig->hosts[0],
                            .ticket = rig->ticket,
                            .ticket_expires_s = 60,
                            .identity = rig->identities[1],
                            .rpc_listener = -1,
                            .stream_listener = -1 };

    g_assert_null(worker_start(&config, NULL, note_event, seen, &error));
    g_test_message("%s", error->message);
    g_assert_error(error, GODWIT_ERROR, (int)code);
}

static void
test_no_start(void)
{
    g_autoptr(Rig) rig = rig_new();
    const char *user = geteuid() == 0 ? "nobody" : NULL;

    expect_no_start(rig, "/nowhere/godwit-flyway", user, GODWIT_ERROR_NOT_FOUND);
    expect_no_start(rig, "/etc/passwd", user, GODWIT_ERROR_INTERNAL); /* can't be executed */
    expect_no_start(rig, g_getenv("GODWIT_FLYWAY"), "no-such-user-here", GODWIT_ERROR_NOT_FOUND);
    expect_no_start(rig, g_getenv("GODWIT_FLYWAY"), "root", GODWIT_ERROR_INVALID);
}

/* ---- rights ---------------------------------------------------------------------------------- */

static char *
line_of(const char *text, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (gsize i = 0; lines[i] != NULL; i++) {
        if (g_str_has_prefix(lines[i], name))
            return g_strstrip(g_strdup(lines[i] + strlen(name)));
    }
    return g_strdup("");
}

static void
test_rights(void)
{
    g_autoptr(Rig) rig = rig_open();
    int pid = worker_status(rig->source.worker)->pid;
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *status = NULL;
    static const struct {
        const char *name, *value;
    } rows[] = { { "NoNewPrivs:", "1" }, { "CapEff:", "0000000000000000" }, { "Threads:", "1" } };

    g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *value = line_of(status, rows[i].name);

        g_assert_cmpstr(value, ==, rows[i].value);
    }
    if (geteuid() == 0) {
        g_autofree char *groups = line_of(status, "Groups:");
        g_autofree char *uid = line_of(status, "Uid:");

        g_assert_cmpstr(groups, ==, "");
        g_assert_false(g_str_has_prefix(uid, "0"));
    }
    if (!SANDBOX_SANITIZED) {
        g_autofree char *seccomp = line_of(status, "Seccomp:");
        g_autofree char *limits_path = g_strdup_printf("/proc/%d/limits", pid);
        g_autofree char *limits = NULL;
        g_autofree char *memory = NULL;

        g_assert_cmpstr(seccomp, ==, "2"); /* a filter; test_sandbox.c tells what it lets through */
        g_assert_true(g_file_get_contents(limits_path, &limits, NULL, NULL));
        memory = line_of(limits, "Max data size");
        g_assert_true(g_str_has_prefix(memory, "4294967296 "));
    }
    g_assert_cmpint(getsid(pid), ==, pid); /* survives what is sent to godwitd's group */
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/lanes/bytes", test_bytes);
    g_test_add_func("/flyway/lanes/close-after-last-byte", test_close_after_last_byte);
    g_test_add_func("/flyway/lanes/blocked-stream", test_blocked_stream_holds_up_nothing);
    g_test_add_func("/flyway/lanes/refused", test_refused_lane);
    g_test_add_func("/flyway/lanes/client-leaves", test_client_leaves_before_answer);
    g_test_add_func("/flyway/lanes/more-than-all", test_more_than_all_lanes);
    g_test_add_func("/flyway/lanes/not-libvirts-rpc", test_not_libvirts_rpc);
    g_test_add_func("/flyway/lanes/forbidden-rpc", test_forbidden_rpc);
    g_test_add_func("/flyway/worker/attach-again", test_attach_again);
    g_test_add_func("/flyway/worker/newest-controller", test_newest_controller_wins);
    g_test_add_func("/flyway/worker/end-is-heard", test_end_is_heard);
    g_test_add_func("/flyway/worker/no-worker", test_no_worker);
    g_test_add_func("/flyway/worker/no-start", test_no_start);
    g_test_add_func("/flyway/worker/rights", test_rights);
    return g_test_run();
}
