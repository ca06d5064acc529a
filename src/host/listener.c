/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Anybody who reaches the port can connect, and only the preamble (flyway/worker.h) and then TLS
 * tell who it is. So what a stranger can cost is bounded here:
 *
 *   - a connection waits in `pending` until its preamble's bytes have arrived (SO_RCVLOWAT lets
 * poll say so), at most preamble_wait_ms; only then it is handed on;
 *   - when max_pending wait, the one that waited longest is closed for the new one: a stranger who
 * opens many and sends nothing can't keep a worker, which sends its preamble at once, out;
 *   - a token bucket bounds how many are accepted in a second; with it empty, the sockets aren't
 * polled until it has refilled, and the kernel's backlog waits.
 *
 * Addresses that the host doesn't have yet (boot, before DHCP) can be bound all the same:
 * IP_FREEBIND.
 */
#include "host/listener.h"

#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "flyway/buffers.h"
#include "flyway/worker.h"

#define BACKLOG 64
#define REFILL_MS 100

typedef struct {
    Listener *listener;
    int fd;
    GSource *readable, *deadline;
} Pending;

struct Listener {
    ListenerLimits limits;
    ListenerFunc func;
    gpointer user_data;
    GMainContext *context;
    GArray *sockets;      /* int */
    GPtrArray *accepting; /* GSource, empty while the bucket is empty */
    GSource *refill;
    double tokens;
    gint64 filled_us;
    GPtrArray *pending; /* Pending, the longest waiting first */
};

static void
end_source(GSource **source)
{
    if (*source)
        g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void
pending_free(gpointer data)
{
    Pending *pending = data;
    end_source(&pending->readable);
    end_source(&pending->deadline);
    fd_close_p(&pending->fd);
    g_free(pending);
}

static GSource *
attach(Listener *self, GSource *source, GSourceFunc func, gpointer data)
{
    g_source_set_callback(source, func, data, NULL);
    g_source_attach(source, self->context);
    return source;
}

static gboolean
on_preamble(int fd, GIOCondition condition, gpointer data)
{
    Pending *pending = data;
    Listener *self = pending->listener;
    guint8 preamble[FLYWAY_PREAMBLE_SIZE];
    gssize got = recv(fd, preamble, sizeof preamble, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (got == sizeof preamble) {
        int whole = 1;
        setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof whole);
        buffers_open(fd);
        self->func(fd_steal(&pending->fd), self->user_data);
    }
    g_ptr_array_remove(self->pending, pending); /* frees it, and this source */
    return G_SOURCE_REMOVE;
}

static gboolean
on_deadline(gpointer data)
{
    Pending *pending = data;
    g_ptr_array_remove(pending->listener->pending, pending);
    return G_SOURCE_REMOVE;
}

/* Takes fd. */
static void
await_preamble(Listener *self, int fd)
{
    if (self->pending->len >= self->limits.max_pending)
        g_ptr_array_remove_index(self->pending, 0);
    int enough = FLYWAY_PREAMBLE_SIZE;
    buffers_await(fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &enough, sizeof enough);
    Pending *pending = g_new0(Pending, 1);
    pending->listener = self;
    pending->fd = fd;
    pending->readable =
        attach(self, g_unix_fd_source_new(fd, G_IO_IN), G_SOURCE_FUNC(on_preamble), pending);
    pending->deadline =
        attach(self, g_timeout_source_new(self->limits.preamble_wait_ms), on_deadline, pending);
    g_ptr_array_add(self->pending, pending);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void start_accepting(Listener *self);

static gboolean
on_refill(gpointer data)
{
    Listener *self = data;
    g_clear_pointer(&self->refill, g_source_unref);
    start_accepting(self);
    return G_SOURCE_REMOVE;
}

/* Takes one token; FALSE where there is none: accepting pauses. */
static gboolean
take_token(Listener *self)
{
    gint64 now_us = clock_monotonic_us();
    double gained = (now_us - self->filled_us) / 1e6 * self->limits.per_second;
    self->tokens = MIN(self->tokens + gained, self->limits.per_second);
    self->filled_us = now_us;
    if (self->tokens >= 1) {
        self->tokens -= 1;
        return TRUE;
    }
    g_ptr_array_set_size(self->accepting, 0);
    if (!self->refill)
        self->refill = attach(self, g_timeout_source_new(REFILL_MS), on_refill, self);
    return FALSE;
}

static gboolean
on_connection(int socket, GIOCondition condition, gpointer data)
{
    Listener *self = data;
    if (!take_token(self))
        return G_SOURCE_REMOVE;
    int fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        await_preamble(self, fd);
    else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
        g_debug("accept on the migration port: %s", g_strerror(errno));
    return G_SOURCE_CONTINUE;
}

static void
accepting_free(gpointer data)
{
    g_source_destroy(data);
    g_source_unref(data);
}

static void
start_accepting(Listener *self)
{
    for (guint i = 0; i < self->sockets->len; i++) {
        GSource *source = g_unix_fd_source_new(g_array_index(self->sockets, int, i), G_IO_IN);
        g_ptr_array_add(self->accepting, attach(self, source, G_SOURCE_FUNC(on_connection), self));
    }
}

/* ---- binding --------------------------------------------------------------------------------- */

static int
bind_error(const char *address, guint port, int code, GError **error)
{
    if (code == EADDRINUSE)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CONFLICT,
                    "%s port %u is used by another program (\"ss -ltnp sport = :%u\" tells which): "
                    "stop it, or choose "
                    "another port in godwitd.conf",
                    address, port, port);
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "%s port %u can't be listened on: %s: correct the address "
                    "in godwitd.conf",
                    address, port, g_strerror(code));
    return -1;
}

int
listener_bind(const char *address, guint port, GError **error)
{
    g_autoptr(GInetAddress) ip = g_inet_address_new_from_string(address);
    if (!ip)
        return bind_error(address, port, EINVAL, error);
    g_autoptr(GSocketAddress) name = g_inet_socket_address_new(ip, port);
    struct sockaddr_storage storage;
    gsize size = g_socket_address_get_native_size(name);
    if (!g_socket_address_to_native(name, &storage, sizeof storage, error))
        return -1;
    gboolean v6 = g_inet_address_get_family(ip) == G_SOCKET_FAMILY_IPV6;
    fd_auto int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bind_error(address, port, errno, error);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, &on,
               sizeof on);
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&storage, size) < 0)
        return bind_error(address, port, errno, error);
    return fd_steal(&fd);
}

static gboolean
listen_on(Listener *self, const char *address, guint port, GError **error)
{
    fd_auto int fd = listener_bind(address, port, error);
    if (fd < 0)
        return FALSE;
    buffers_listen(fd);
    if (listen(fd, BACKLOG) < 0) {
        bind_error(address, port, errno, error);
        return FALSE;
    }
    int taken = fd_steal(&fd);
    g_array_append_val(self->sockets, taken);
    return TRUE;
}

/* ---- public ---------------------------------------------------------------------------------- */

Listener *
listener_new(const char *const *addresses, guint port, const ListenerLimits *limits,
             ListenerFunc func, gpointer user_data, GError **error)
{
    g_autoptr(Listener) self = g_new0(Listener, 1);
    self->limits = limits ? *limits : (ListenerLimits){ 0 };
    self->limits.max_pending = self->limits.max_pending ?: 64;
    self->limits.per_second = self->limits.per_second ?: 50;
    self->limits.preamble_wait_ms = self->limits.preamble_wait_ms ?: 5000;
    self->func = func;
    self->user_data = user_data;
    self->context = g_main_context_ref_thread_default();
    self->sockets = g_array_new(FALSE, FALSE, sizeof(int));
    self->accepting = g_ptr_array_new_with_free_func(accepting_free);
    self->pending = g_ptr_array_new_with_free_func(pending_free);
    self->tokens = self->limits.per_second;
    self->filled_us = clock_monotonic_us();
    for (; *addresses; addresses++)
        if (!listen_on(self, *addresses, port, error))
            return NULL;
    start_accepting(self);
    return g_steal_pointer(&self);
}

guint
listener_port(const Listener *self)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (self->sockets->len == 0 ||
        getsockname(g_array_index(self->sockets, int, 0), (struct sockaddr *)&name, &size) < 0)
        return 0;
    return g_ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                              : ((struct sockaddr_in *)&name)->sin_port);
}

guint
listener_pending(const Listener *self)
{
    return self->pending->len;
}

void
listener_free(Listener *self)
{
    if (!self)
        return;
    g_ptr_array_unref(self->accepting);
    end_source(&self->refill);
    g_ptr_array_unref(self->pending);
    for (guint i = 0; i < self->sockets->len; i++)
        close(g_array_index(self->sockets, int, i));
    g_array_unref(self->sockets);
    g_main_context_unref(self->context);
    g_free(self);
}
