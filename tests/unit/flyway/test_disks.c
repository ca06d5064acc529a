/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks through two real workers: qemu-img as the source's QEMU, qemu-storage-daemon, whose NBD
 * server is QEMU's own, as the destination's. And what no QEMU would do.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include "base/fd.h"
#include "flyway/protocol.h"
#include "rig.h"

#define DISK_BYTES (40 << 20)
#define DISKS_MAX 3

/* ---- QEMU's parts ---------------------------------------------------------------------------- */

typedef struct {
    Rig *rig;
    guint n;
    char *here[DISKS_MAX], *there[DISKS_MAX], *uri[DISKS_MAX];
    GPid server;
} Disks;

static gboolean
have_qemu(void)
{
    static const char *const programs[] = { "qemu-img", "qemu-storage-daemon" };

    for (gsize i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *path = g_find_program_in_path(programs[i]);

        if (path != NULL)
            continue;
        g_test_skip_printf("%s isn't installed", programs[i]);
        return FALSE;
    }
    return TRUE;
}

/* Half of it differs in each sector, a quarter is one byte, the rest a hole. */
static void
make_disk(const char *path, guint32 seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autofree guint32 *bytes = g_malloc(DISK_BYTES / 4 * 3);
    fd_auto int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    for (gsize i = 0; i < DISK_BYTES / 2 / 4; i++)
        bytes[i] = g_rand_int(rand);
    memset(bytes + DISK_BYTES / 2 / 4, (int)seed, DISK_BYTES / 4);
    g_assert_cmpint(write(fd, bytes, DISK_BYTES / 4 * 3), ==, DISK_BYTES / 4 * 3);
    g_assert_no_errno(ftruncate(fd, DISK_BYTES));
}

/* Without GSubprocess, whose thread ThreadSanitizer can't follow. */
static GPid
start(char **argv, GSpawnFlags flags)
{
    g_autoptr(GError) error = NULL;
    GPid pid = 0;

    g_spawn_async(NULL, argv, NULL, flags | G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                  NULL, &pid, &error);
    g_assert_no_error(error);
    return pid;
}

static gboolean
is_there(const char *path)
{
    GStatBuf status;

    return g_stat(path, &status) == 0;
}

static void
serve(Disks *disks)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);

    disks->rig->nbd_server = g_build_filename(disks->rig->dir, "qemu.sock", NULL);
    g_ptr_array_add(argv, g_strdup("qemu-storage-daemon"));
    for (guint i = 0; i < disks->n; i++) {
        g_ptr_array_add(argv, g_strdup("--blockdev"));
        g_ptr_array_add(
            argv, g_strdup_printf("driver=file,node-name=d%u,filename=%s", i, disks->there[i]));
    }
    g_ptr_array_add(argv, g_strdup("--nbd-server"));
    g_ptr_array_add(argv, g_strdup_printf("addr.type=unix,addr.path=%s", disks->rig->nbd_server));
    for (guint i = 0; i < disks->n; i++) {
        g_ptr_array_add(argv, g_strdup("--export"));
        g_ptr_array_add(
            argv, g_strdup_printf("type=nbd,id=e%u,node-name=d%u,name=d%u,writable=on", i, i, i));
    }
    g_ptr_array_add(argv, NULL);
    disks->server = start((char **)argv->pdata, G_SPAWN_DEFAULT);
    RIG_UNTIL(is_there(disks->rig->nbd_server));
}

static void
disks_up(Disks *disks, Rig *rig, guint n)
{
    *disks = (Disks){ .rig = rig, .n = n };
    for (guint i = 0; i < n; i++) {
        fd_auto int fd = -1;

        disks->here[i] = g_strdup_printf("%s/here%u", rig->dir, i);
        disks->there[i] = g_strdup_printf("%s/there%u", rig->dir, i);
        disks->uri[i] = g_strdup_printf("nbd+unix:///d%u?socket=%s/nbd.sock", i, rig->dir);
        make_disk(disks->here[i], i + 1);
        fd = open(disks->there[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        g_assert_no_errno(ftruncate(fd, DISK_BYTES));
    }
    serve(disks);
}

static void
disks_down(Disks *disks)
{
    g_assert_no_errno(kill(disks->server, SIGTERM));
    g_assert_cmpint(waitpid(disks->server, NULL, 0), ==, disks->server);
    for (guint i = 0; i < disks->n; i++) {
        g_free(disks->here[i]);
        g_free(disks->there[i]);
        g_free(disks->uri[i]);
    }
}

static gboolean
ended(gint pidfd, GIOCondition condition, gpointer data)
{
    siginfo_t how = { 0 };

    g_assert_no_errno(waitid(P_PIDFD, (id_t)pidfd, &how, WEXITED));
    g_assert_cmpint(how.si_code, ==, CLD_EXITED);
    g_assert_cmpint(how.si_status, ==, 0);
    close(pidfd);
    (*(guint *)data)--;
    return G_SOURCE_REMOVE;
}

/* qemu-img; *left falls by one when it has ended well. */
static void
run(const char *verb, const Disks *disks, guint i, guint *left)
{
    char *compare[] = { "qemu-img", "compare",      "-f",          "raw", "-F",
                        "raw",      disks->here[i], disks->uri[i], NULL };
    char *convert[] = { "qemu-img", "convert", "-n",           "-f",          "raw", "-O",
                        "raw",      "-W",      disks->here[i], disks->uri[i], NULL };
    GPid pid = strcmp(verb, "compare") == 0 ? start(compare, G_SPAWN_STDOUT_TO_DEV_NULL)
                                            : start(convert, G_SPAWN_DEFAULT);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    g_assert_no_errno(pidfd);
    g_unix_fd_add(pidfd, G_IO_IN, ended, left);
}

/* All disks at once, and to its end. every: so often the connections are cut on the way, bytes; 0:
 * never. */
static void
run_all(const char *verb, const Disks *disks, gint64 every)
{
    guint left = disks->n;
    gint64 began = rig_refresh(&disks->rig->source)->nbd_bytes, next = began + every;

    for (guint i = 0; i < disks->n; i++)
        run(verb, disks, i, &left);
    while (left > 0) {
        if (every > 0 && rig_refresh(&disks->rig->source)->nbd_bytes >= next) {
            rig_cut(disks->rig);
            next += every;
        }
        g_main_context_iteration(NULL, TRUE);
    }
}

static void
assert_alike(const Disks *disks)
{
    for (guint i = 0; i < disks->n; i++) {
        g_autofree char *here = NULL;
        g_autofree char *there = NULL;
        gsize size, size_there;

        g_assert_true(g_file_get_contents(disks->here[i], &here, &size, NULL));
        g_assert_true(g_file_get_contents(disks->there[i], &there, &size_there, NULL));
        g_assert_cmpuint(size, ==, DISK_BYTES);
        g_assert_cmpmem(here, size, there, size_there);
    }
}

/* ---- disks are copied ------------------------------------------------------------------------ */

/* There over lanes, and read back over them. */
static void
test_copy(void)
{
    g_autoptr(Rig) rig = NULL;
    const WorkerStatus *status;
    gint64 copied;
    Disks disks;

    if (!have_qemu())
        return;
    rig = rig_open();
    disks_up(&disks, rig, 1);
    run_all("convert", &disks, 0);
    assert_alike(&disks);
    copied = rig_refresh(&rig->source)->nbd_bytes;
    g_assert_cmpint(copied, >, DISK_BYTES / 2);
    run_all("compare", &disks, 0);
    status = rig_refresh(&rig->source);
    g_assert_cmpint(status->nbd_bytes, >, copied + DISK_BYTES / 2);
    g_assert_cmpint(status->nbd_bytes, ==, rig_refresh(&rig->destination)->nbd_bytes);
    g_assert_cmpint(status->stream_bytes, ==, 0);
    g_assert_cmpint(rig->destination.seen[WORKER_EVENT_WANT_NBD], >=, 2);
    disks_down(&disks);
}

/* Several at once over several connections, all of which are lost again and again, in both
 * directions. */
static void
test_cuts(void)
{
    g_autoptr(Rig) rig = NULL;
    Disks disks;

    if (!have_qemu())
        return;
    rig = rig_open_with(0, 2);
    disks_up(&disks, rig, DISKS_MAX);
    run_all("convert", &disks, 9 << 20);
    assert_alike(&disks);
    g_assert_cmpint(rig_refresh(&rig->source)->resumes, >=, 3);
    run_all("compare", &disks, 20 << 20);
    g_test_message("%d resumes, %" G_GINT64_FORMAT " bytes sent twice",
                   rig_refresh(&rig->source)->resumes, rig_refresh(&rig->source)->resent_bytes);
    disks_down(&disks);
}

/* Beside QEMU's stream, which is as busy. */
static void
test_beside_stream(void)
{
    g_autoptr(Rig) rig = NULL;
    guint8 bytes[65536], back[65536];
    int stream[2];
    Disks disks;

    if (!have_qemu())
        return;
    rig = rig_open();
    disks_up(&disks, rig, 1);
    rig_lane(rig, RIG_STREAM, stream);
    memset(bytes, 5, sizeof bytes);
    for (int round = 0; round < 3; round++) {
        guint left = 1;

        run("convert", &disks, 0, &left);
        while (left > 0) {
            rig_write(stream[0], bytes, sizeof bytes);
            rig_read(stream[1], back, sizeof back);
            g_assert_cmpmem(bytes, sizeof bytes, back, sizeof back);
            g_main_context_iteration(NULL, FALSE);
        }
    }
    assert_alike(&disks);
    close(stream[0]);
    disks_down(&disks);
}

/* ---- ends and limits ------------------------------------------------------------------------- */

/* Each direction ends by itself, as with the stream. */
static void
test_half_close(void)
{
    g_autoptr(Rig) rig = rig_open();
    char text[8] = "";
    int disk[2];

    rig_lane(rig, RIG_NBD, disk);
    rig_write(disk[0], "request", 7);
    g_assert_no_errno(shutdown(disk[0], SHUT_WR));
    rig_read(disk[1], text, 7);
    g_assert_cmpstr(text, ==, "request");
    rig_read_end(disk[1]);
    rig_write(disk[1], "answer!", 7);
    rig_read(disk[0], text, 7);
    g_assert_cmpstr(text, ==, "answer!");
    close(rig->peers[RIG_NBD][--rig->n_peers[RIG_NBD]]);
    rig_read_end(disk[0]);
    close(disk[0]);
}

/* Nobody listens there, as in a migration that copies no disk. */
static void
test_no_server(void)
{
    g_autoptr(Rig) rig = rig_open();
    int fd;

    rig->refuse_lanes = TRUE;
    fd = rig_connect(rig, RIG_NBD);
    RIG_UNTIL(rig_readable(fd) == 0 && rig->destination.seen[WORKER_EVENT_WANT_NBD] == 1);
    rig_read_end(fd);
    close(fd);
    g_assert_cmpint(rig_refresh(&rig->source)->state, ==, WORKER_OPEN);
}

static gboolean
is_closed(int fd)
{
    struct pollfd entry = { .fd = fd, .events = POLLIN };

    return poll(&entry, 1, 0) == 1;
}

/* Connects again and again until there is a lane for it. */
static void
connect_at_last(Rig *rig, int fds[2])
{
    guint before = rig->n_peers[RIG_NBD];

    do {
        fds[0] = rig_connect(rig, RIG_NBD);
        RIG_UNTIL(rig->n_peers[RIG_NBD] > before || is_closed(fds[0]));
        if (rig->n_peers[RIG_NBD] == before)
            close(fds[0]);
    } while (rig->n_peers[RIG_NBD] == before);
    fds[1] = rig->peers[RIG_NBD][before];
}

/* One more than there are lanes for is told so at once; libvirt's RPC and the stream have theirs.
 */
static void
test_too_many(void)
{
    g_autoptr(Rig) rig = rig_open();
    int disks[FLYWAY_NBD_LANES][2], rpc[2], streams[3][2], more;
    char byte;

    for (guint i = 0; i < FLYWAY_NBD_LANES; i++)
        rig_lane(rig, RIG_NBD, disks[i]);
    more = rig_connect(rig, RIG_NBD);
    RIG_UNTIL(is_closed(more));
    rig_read_end(more);
    close(more);
    rig_lane(rig, RIG_RPC, rpc);
    for (guint i = 0; i < G_N_ELEMENTS(streams); i++)
        rig_lane(rig, RIG_STREAM, streams[i]);
    more = rig_connect(rig, RIG_NBD); /* now all 16 are in use */
    RIG_UNTIL(is_closed(more));
    rig_read_end(more);
    close(more);
    for (guint i = 0; i < FLYWAY_NBD_LANES; i++) {
        rig_write(disks[i][0], "d", 1);
        rig_read(disks[i][1], &byte, 1);
    }
    /* One has ended: its place is free again. */
    close(disks[0][0]);
    rig_read_end(disks[0][1]);
    rig->n_peers[RIG_NBD]--;
    for (guint i = 0; i < FLYWAY_NBD_LANES; i++)
        rig->peers[RIG_NBD][i] = i + 1 < FLYWAY_NBD_LANES ? disks[i + 1][1] : -1;
    close(disks[0][1]);
    connect_at_last(rig, disks[0]);
    rig_write(disks[0][0], "d", 1);
    rig_read(disks[0][1], &byte, 1);
    for (guint i = 0; i < FLYWAY_NBD_LANES; i++)
        close(disks[i][0]);
    for (guint i = 0; i < G_N_ELEMENTS(streams); i++)
        close(streams[i][0]);
    close(rpc[0]);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/disks/copy", test_copy);
    g_test_add_func("/flyway/disks/cuts", test_cuts);
    g_test_add_func("/flyway/disks/beside-stream", test_beside_stream);
    g_test_add_func("/flyway/disks/half-close", test_half_close);
    g_test_add_func("/flyway/disks/no-server", test_no_server);
    g_test_add_func("/flyway/disks/too-many", test_too_many);
    return g_test_run();
}
