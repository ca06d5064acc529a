/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include "base/fd.h"

#define PATIENCE_MS 40000

/* ---- making ---------------------------------------------------------------------------------- */

static Identity *
make_identity(const char *ca_dir, const char *uuid)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *request = NULL;
    g_autoptr(Ca) ca = ca_open(ca_dir, NULL, &error);
    Identity *identity = g_new0(Identity, 1);

    g_assert_no_error(error);
    identity->name.role = IDENTITY_HOST;
    g_strlcpy(identity->name.uuid, uuid, sizeof identity->name.uuid);
    identity_request(&identity->key, &request, &error);
    g_assert_no_error(error);
    identity->cert = ca_sign(ca, request, &identity->name, NULL, 30, &error);
    g_assert_no_error(error);
    identity->ca = g_strdup(ca->cert);
    return identity;
}

static int
listen_at(Rig *rig, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", rig->dir, name);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(fd, 16), ==, 0);
    return fd;
}

static const char *const socket_names[] = { "rpc.sock", "stream.sock", "nbd.sock" };

static gboolean
keep_ticking(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

static char *
subfolder(Rig *rig, const char *name)
{
    char *path = g_build_filename(rig->dir, name, NULL);

    g_mkdir_with_parents(path, 0700);
    return path;
}

Rig *
rig_new(void)
{
    Rig *rig = g_new0(Rig, 1);
    g_autofree char *ca = NULL;

    rig->dir = g_dir_make_tmp("godwit-flyway-XXXXXX", NULL);
    g_assert_nonnull(rig->dir);
    ca = subfolder(rig, "ca");
    rig->id = g_uuid_string_random();
    rig->vm = g_uuid_string_random();
    rig->ticket = random_hex_256();
    rig->expires_s = 60;
    for (int i = 0; i < 2; i++) {
        rig->hosts[i] = g_uuid_string_random();
        rig->identities[i] = make_identity(ca, rig->hosts[i]);
        rig->tcp[i] = -1;
    }
    for (guint i = 0; i < RIG_LINKS; i++)
        rig->links[i] = -1;
    for (guint i = 0; i < G_N_ELEMENTS(rig->listeners); i++)
        rig->listeners[i] = listen_at(rig, socket_names[i]);
    rig->source.rig = rig->destination.rig = rig->other.rig = rig;
    rig->tick = g_timeout_add(2, keep_ticking, NULL);
    return rig;
}

Identity *
rig_foreign_identity(Rig *rig)
{
    g_autofree char *ca = subfolder(rig, "foreign-ca");

    return make_identity(ca, rig->hosts[0]);
}

static void
remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);

        remove_tree(below);
    }
    g_remove(path);
}

static void
end_worker(RigEnd *end)
{
    if (end->worker == NULL)
        return;
    worker_kill(end->worker);
    RIG_UNTIL(end->seen[WORKER_EVENT_GONE] > 0);
    g_clear_pointer(&end->worker, worker_free);
}

void
rig_free(Rig *rig)
{
    rig_drop_tcp(rig);
    end_worker(&rig->source);
    end_worker(&rig->destination);
    end_worker(&rig->other);
    g_source_remove(rig->tick);
    for (int i = 0; i < 3; i++) {
        for (guint k = 0; k < rig->n_peers[i]; k++)
            fd_close_p(&rig->peers[i][k]);
        fd_close_p(&rig->listeners[i]);
    }
    for (int i = 0; i < 2; i++) {
        identity_free(rig->identities[i]);
        g_free(rig->hosts[i]);
    }
    remove_tree(rig->dir);
    g_free(rig->nbd_server);
    g_free(rig->dir);
    g_free(rig->id);
    g_free(rig->vm);
    g_free(rig->ticket);
    g_free(rig);
}

/* ---- what workers ask for -------------------------------------------------------------------- */

void
rig_tcp_pair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    fd_auto int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    g_assert_cmpint(getsockname(listener, (struct sockaddr *)&address, &size), ==, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fds[0], (struct sockaddr *)&address, sizeof address), ==, 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(fds[1], >=, 0);
}

void
rig_drop_tcp(Rig *rig)
{
    fd_close_p(&rig->tcp[0]);
    fd_close_p(&rig->tcp[1]);
    for (guint i = 0; i < RIG_LINKS; i++)
        fd_close_p(&rig->links[i]);
}

void
rig_cut(Rig *rig)
{
    for (guint i = 0; i < RIG_LINKS; i++) {
        if (rig->links[i] >= 0)
            shutdown(rig->links[i], SHUT_RDWR);
        fd_close_p(&rig->links[i]);
    }
}

void
rig_lose(Rig *rig)
{
    rig->hold_connection = TRUE;
    rig_cut(rig);
}

static void
remember(Rig *rig, const int fds[2])
{
    int *link = &rig->links[rig->n_connections % RIG_LINKS];

    for (int i = 0; i < 2 && rig->n_connections == 0; i++)
        rig->tcp[i] = dup(fds[i]);
    fd_close_p(link);
    *link = dup(fds[0]);
    rig->n_connections++;
}

static void
give_connection(Rig *rig, RigEnd *end)
{
    int fds[2];

    rig_tcp_pair(fds);
    if (end == &rig->source)
        remember(rig, fds);
    worker_give_connection(end->worker, fds[0]);
    worker_give_connection(rig->destination.worker, fds[1]);
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_assert_no_errno(connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static void
give_lane(Rig *rig, RigEnd *end, WorkerEvent event)
{
    int which = (int)event - WORKER_EVENT_WANT_RPC;
    int fds[2];

    if (rig->refuse_lanes) {
        worker_refuse_lane(end->worker, event, "this test has no socket");
        return;
    }
    if (event == WORKER_EVENT_WANT_NBD && rig->nbd_server != NULL) {
        worker_give_lane(end->worker, event, connect_to(rig->nbd_server));
        return;
    }
    g_assert_cmpuint(rig->n_peers[which], <, RIG_PEERS);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    rig->peers[which][rig->n_peers[which]++] = fds[0];
    worker_give_lane(end->worker, event, fds[1]);
}

static void
on_event(Worker *worker, WorkerEvent event, gpointer data)
{
    RigEnd *end = data;
    Rig *rig = end->rig;

    end->seen[event]++;
    if (event == WORKER_EVENT_WANT_CONNECTION && !rig->hold_connection)
        give_connection(rig, end);
    else if (event == WORKER_EVENT_WANT_CONNECTION && rig->n_connections > 0)
        worker_no_connection(worker);
    if (event >= WORKER_EVENT_WANT_RPC && event <= WORKER_EVENT_WANT_NBD && !rig->hold_lanes)
        give_lane(rig, end, event);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void
start(Rig *rig, RigEnd *end, WorkerConfig *config, const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = subfolder(rig, folder);

    config->program = g_getenv("GODWIT_FLYWAY");
    g_assert_nonnull(config->program);
    config->user = geteuid() == 0 ? "nobody" : NULL;
    config->folder = path;
    end->worker = worker_start(config, NULL, on_event, end, &error);
    g_assert_no_error(error);
    g_assert_nonnull(end->worker);
}

static WorkerConfig
source_config(Rig *rig)
{
    return (WorkerConfig){ .side = WORKER_SOURCE,
                           .id = rig->id,
                           .vm_uuid = rig->vm,
                           .self_uuid = rig->hosts[0],
                           .peer_uuid = rig->hosts[1],
                           .ticket = rig->ticket,
                           .ticket_expires_s = 60,
                           .resume_s = rig->resume_s,
                           .connections = rig->connections,
                           .identity = rig->identities[0],
                           .rpc_listener = rig->listeners[RIG_RPC],
                           .stream_listener = rig->listeners[RIG_STREAM],
                           .nbd_listener = rig->listeners[RIG_NBD] };
}

void
rig_start_source(Rig *rig)
{
    WorkerConfig config = source_config(rig);

    start(rig, &rig->source, &config, "a");
}

void
rig_start_destination(Rig *rig)
{
    WorkerConfig config = { .side = WORKER_DESTINATION,
                            .id = rig->id,
                            .vm_uuid = rig->vm,
                            .self_uuid = rig->hosts[1],
                            .peer_uuid = rig->hosts[0],
                            .ticket = rig->ticket,
                            .ticket_expires_s = rig->expires_s,
                            .resume_s = rig->resume_s,
                            .identity = rig->identities[1],
                            .rpc_listener = -1,
                            .stream_listener = -1 };

    start(rig, &rig->destination, &config, "b");
}

void
rig_start_other(Rig *rig, const RigOther *other)
{
    WorkerConfig config = source_config(rig);

    config.ticket = other->ticket != NULL ? other->ticket : config.ticket;
    config.vm_uuid = other->vm != NULL ? other->vm : config.vm_uuid;
    config.id = other->id != NULL ? other->id : config.id;
    config.identity = other->identity != NULL ? other->identity : config.identity;
    start(rig, &rig->other, &config, "c");
}

Rig *
rig_open(void)
{
    return rig_open_with(0, 1);
}

Rig *
rig_open_with(int resume_s, int connections)
{
    Rig *rig = rig_new();

    rig->resume_s = resume_s;
    rig->connections = connections;
    rig_start_destination(rig);
    rig_start_source(rig);
    RIG_UNTIL(rig_state(&rig->source) == WORKER_OPEN &&
              rig_state(&rig->destination) == WORKER_OPEN);
    return rig;
}

/* ---- using ----------------------------------------------------------------------------------- */

int
rig_connect(Rig *rig, int which)
{
    g_autofree char *path = g_build_filename(rig->dir, socket_names[which], NULL);

    return connect_to(path);
}

void
rig_lane(Rig *rig, int which, int fds[2])
{
    guint before = rig->n_peers[which];

    fds[0] = rig_connect(rig, which);
    RIG_UNTIL(rig->n_peers[which] > before);
    fds[1] = rig->peers[which][before];
}

const WorkerStatus *
rig_refresh(RigEnd *end)
{
    guint before = end->seen[WORKER_EVENT_STATE];

    worker_refresh(end->worker);
    RIG_UNTIL(end->seen[WORKER_EVENT_STATE] > before);
    return worker_status(end->worker);
}

WorkerState
rig_state(const RigEnd *end)
{
    return worker_status(end->worker)->state;
}

static void
await(int fd, short events)
{
    struct pollfd entry = { .fd = fd, .events = events };

    if (poll(&entry, 1, PATIENCE_MS) != 1)
        g_error("nothing happened at a socket");
}

void
rig_write(int fd, const void *bytes, gsize length)
{
    const guint8 *at = bytes;

    while (length > 0) {
        ssize_t done;

        await(fd, POLLOUT);
        done = send(fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EAGAIN)
            continue;
        g_assert_cmpint(done, >, 0);
        at += done;
        length -= (gsize)done;
    }
}

void
rig_read(int fd, void *bytes, gsize length)
{
    guint8 *at = bytes;

    while (length > 0) {
        ssize_t done;

        await(fd, POLLIN);
        done = recv(fd, at, length, 0);
        g_assert_cmpint(done, >, 0);
        at += done;
        length -= (gsize)done;
    }
}

void
rig_read_end(int fd)
{
    guint8 byte;

    await(fd, POLLIN);
    g_assert_cmpint(recv(fd, &byte, 1, 0), ==, 0);
}

int
rig_readable(int fd)
{
    int length = 0;

    g_assert_cmpint(ioctl(fd, FIONREAD, &length), ==, 0);
    return length;
}
