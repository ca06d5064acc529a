/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The worker may not connect: godwitd does it for it, at the start and whenever a connection was
 * lost, which may be while the network is away. So nothing here blocks the migration's thread, and
 * an address that doesn't answer is given up after CONNECT_SECONDS: the worker asks again soon, and
 * the first attempt after the network is back succeeds, where TCP by itself would wait ever longer.
 */
#include "motion/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/error.h"
#include "flyway/buffers.h"
#include "flyway/worker.h"

#define CONNECT_SECONDS 2

typedef struct {
    GStrv addresses;
    guint n, next, left; /* how many; the one at work; how many are to be tried yet */
    guint16 port;
    char *id;
    GCancellable *cancel;
    GSocketClient *client;
    GString *tried;
    DialFunc func;
    gpointer data;
} Dial;

static void try_next(Dial *dial);

static void
end(Dial *dial, int fd)
{
    g_autoptr(GError) error = NULL;
    const char *address = fd >= 0 ? dial->addresses[dial->next] : NULL;

    if (fd < 0)
        g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                    "no migration address could be reached on port %u (%s): check that network and "
                    "its firewall",
                    dial->port, dial->tried->str);
    dial->func(fd, address, error, dial->data);
    g_strfreev(dial->addresses);
    g_free(dial->id);
    g_clear_object(&dial->cancel);
    g_object_unref(dial->client);
    g_string_free(dial->tried, TRUE);
    g_free(dial);
}

/* The preamble, which an empty socket takes at once; -1 with error. */
static int
take_socket(Dial *dial, GSocketConnection *connection, GError **error)
{
    GSocket *socket = g_socket_connection_get_socket(connection);
    guint8 preamble[FLYWAY_PREAMBLE_SIZE];
    int fd;

    flyway_preamble_make(preamble, dial->id);
    if (g_socket_send(socket, (const char *)preamble, sizeof preamble, NULL, error) !=
        sizeof preamble)
        return -1;
    fd = fcntl(g_socket_get_fd(socket), F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INTERNAL, "%s", g_strerror(errno));
    else
        buffers_open(fd);
    return fd;
}

static void
connected(GObject *client, GAsyncResult *result, gpointer data)
{
    Dial *dial = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host_finish(dial->client, result, &error);
    int fd = connection ? take_socket(dial, connection, &error) : -1;

    if (fd >= 0) {
        end(dial, fd);
        return;
    }
    g_string_append_printf(dial->tried, "%s%s: %s", dial->tried->len ? "; " : "",
                           dial->addresses[dial->next],
                           error ? error->message : "the connection took no bytes");
    dial->next = (dial->next + 1) % dial->n;
    if (--dial->left == 0 || g_cancellable_is_cancelled(dial->cancel))
        end(dial, -1);
    else
        try_next(dial);
}

static void
try_next(Dial *dial)
{
    const char *address = dial->addresses[dial->next];
    g_autofree char *v6 = strchr(address, ':') ? g_strdup_printf("[%s]", address) : NULL;

    g_socket_client_connect_to_host_async(dial->client, v6 ? v6 : address, dial->port, dial->cancel,
                                          connected, dial);
}

void
dial(const char *const *addresses, guint first, guint16 port, const char *id, GCancellable *cancel,
     DialFunc func, gpointer data)
{
    Dial *dial = g_new0(Dial, 1);

    dial->addresses = g_strdupv((char **)addresses);
    dial->n = dial->left = g_strv_length(dial->addresses);
    g_assert(dial->n > 0);
    dial->next = first % dial->n;
    dial->port = port;
    dial->id = g_strdup(id);
    dial->cancel = cancel ? g_object_ref(cancel) : NULL;
    dial->client = g_socket_client_new();
    dial->tried = g_string_new(NULL);
    dial->func = func;
    dial->data = data;
    g_socket_client_set_enable_proxy(dial->client, FALSE);
    g_socket_client_set_timeout(dial->client, CONNECT_SECONDS);
    try_next(dial);
}
