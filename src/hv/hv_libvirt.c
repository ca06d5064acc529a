/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"

/*
 * The Hv of a real libvirt: the table of its operations. How the connection is kept is told in
 * hv_libvirt_connection.c, where events come from in hv_libvirt_event.c and hv_libvirt_loop.c, what
 * is asked in hv_libvirt_facts.c and hv_libvirt_vm.c, how a VM moves in hv_libvirt_migrate.c.
 */

static gboolean
hv_libvirt_is_connected(Hv *hv)
{
    return hv_libvirt_connection_is_up(((HvLibvirt *)hv)->connection);
}

static int
hv_libvirt_connect_rpc(Hv *hv, GError **error)
{
    HvLibvirt *self = (HvLibvirt *)hv;
    g_auto(HvLibvirtPlace) place = { 0 };
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    hv_libvirt_connection_place(self->connection, &place);
    if (!place.socket) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED,
                    "%s names no local socket of libvirt: migrations need qemu:///system or "
                    "qemu+unix:///system?socket=PATH in the configuration",
                    place.uri);
        return -1;
    }
    if (g_strlcpy(address.sun_path, place.socket, sizeof address.sun_path) >=
        sizeof address.sun_path) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "the path of libvirt's socket is too long: %s", place.socket);
        return -1;
    }
    fd_auto int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int saved = errno;
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "libvirt doesn't answer at %s (%s); look at it with: systemctl status libvirtd "
                    "(or virtqemud)",
                    place.socket, g_strerror(saved));
        return -1;
    }
    return fd_steal(&fd);
}

static void
hv_libvirt_free(Hv *hv)
{
    HvLibvirt *self = (HvLibvirt *)hv;

    hv_libvirt_connection_close(self->connection);
    g_mutex_clear(&self->lock);
    g_free(self->host_uuid);
    g_free(self);
}

static const HvOps ops = {
    .free = hv_libvirt_free,
    .is_connected = hv_libvirt_is_connected,
    .facts = hv_libvirt_facts,
    .host = hv_libvirt_host,
    .networks = hv_libvirt_networks,
    .datastores = hv_libvirt_datastores,
    .vm = hv_libvirt_vm,
    .vm_by_name = hv_libvirt_vm_by_name,
    .vm_xml = hv_libvirt_vm_xml,
    .stats = hv_libvirt_stats,
    .migrate = hv_libvirt_migrate,
    .job = hv_libvirt_job,
    .job_abort = hv_libvirt_job_abort,
    .set_max_downtime = hv_libvirt_set_max_downtime,
    .resume = hv_libvirt_resume,
    .destroy = hv_libvirt_destroy,
    .connect_rpc = hv_libvirt_connect_rpc,
};

Hv *
hv_libvirt_new(const char *uri, GMainContext *context, HvEventFunc func, gpointer data,
               GError **error)
{
    /* A remote libvirt can't be adopted: facts, sockets and files are taken from this host. */
    if (uri && strstr(uri, "://") && !strstr(uri, ":///")) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "libvirt URI %s is of another host: use one like qemu:///system", uri);
        return NULL;
    }
    HvLibvirt *self = g_new0(HvLibvirt, 1);
    self->hv.ops = &ops;
    g_mutex_init(&self->lock);
    self->connection = hv_libvirt_connection_new(uri, context, func, data);
    return &self->hv;
}
