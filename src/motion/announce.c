/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One port per interface: a packet socket on the tap that only listens, and the bridge's index,
 * from which frames are sent through one packet socket. Frames sent from the bridge go out on every
 * port, so the uplink's switch learns the MAC; our own bridge learns it from the tap. Bursts follow
 * QEMU's pattern (self-announce, docs/announce): the first frames are easily lost while ports and
 * tables change.
 *
 * Listening stops at the first frame heard: a busy VM's traffic is not read on.
 */
#include "motion/announce.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

#define ETHERTYPE_OFFSET 12
#define RARP_REQUEST 3
/* Delay of each burst after the start, milliseconds. */
static const guint bursts_ms[] = { 0, 50, 150, 300, 500 };

typedef struct {
    Announcer *announcer; /* for the callbacks */
    char *mac;
    guint8 address[6];
    int bridge_index; /* 0 = not announced */
    int listener;     /* -1 = not listened on */
    GSource *heard;
} Port;

struct Announcer {
    GPtrArray *ports; /* Port */
    int sender;
    GMainContext *context;
    GSource *timer;
    guint burst; /* next one */
    gint64 sent, since_us, first_frame_us;
};

static gboolean
parse_mac(const char *mac, guint8 address[6])
{
    char rest;

    return mac && sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &address[0], &address[1],
                         &address[2], &address[3], &address[4], &address[5], &rest) == 6;
}

gboolean
announce_rarp_frame(const char *mac, guint8 frame[ANNOUNCE_FRAME_SIZE], GError **error)
{
    static const guint8 rarp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, RARP_REQUEST };
    guint8 address[6];

    if (!parse_mac(mac, address)) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "'%s' is not a MAC address",
                    mac ? mac : "");
        return FALSE;
    }
    memset(frame, 0, ANNOUNCE_FRAME_SIZE);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, address, 6);
    memcpy(frame + ETHERTYPE_OFFSET, rarp, sizeof rarp);
    memcpy(frame + 22, address, 6); /* sender hardware address; its protocol address stays 0 */
    memcpy(frame + 32, address, 6); /* target hardware address: the same */
    return TRUE;
}

gboolean
announce_is_guest_frame(const guint8 *frame, gsize length, const guint8 mac[6])
{
    if (length < ETH_HLEN || memcmp(frame + 6, mac, 6) != 0)
        return FALSE;
    return !(frame[ETHERTYPE_OFFSET] == 0x80 && frame[ETHERTYPE_OFFSET + 1] == 0x35);
}

static int
open_listener(const char *tap)
{
    struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
    fd_auto int fd = -1;
    int on = 1;

    address.sll_ifindex = (int)if_nametoindex(tap);
    if (address.sll_ifindex == 0)
        return -1;
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    return fd_steal(&fd);
}

static void
port_close_listener(Port *port)
{
    if (port->heard) {
        g_source_destroy(port->heard);
        g_clear_pointer(&port->heard, g_source_unref);
    }
    fd_close_p(&port->listener);
}

static void
port_free(Port *port)
{
    port_close_listener(port);
    g_free(port->mac);
    g_free(port);
}

static void
add_port(Announcer *announcer, const VmNic *nic, GPtrArray *warnings)
{
    Port *port = g_new0(Port, 1);

    port->announcer = announcer;
    port->listener = -1;
    port->mac = g_strdup(nic->mac);
    g_ptr_array_add(announcer->ports, port);
    if (!parse_mac(nic->mac, port->address))
        return;
    if (nic->bridge && announcer->sender >= 0)
        port->bridge_index = (int)if_nametoindex(nic->bridge);
    if (port->bridge_index == 0)
        g_ptr_array_add(
            warnings,
            g_strdup_printf("interface %s is not on a bridge of this host: only QEMU announced it",
                            nic->mac));
    if (nic->target)
        port->listener = open_listener(nic->target);
}

Announcer *
announcer_new(const Vm *vm, GPtrArray *warnings)
{
    Announcer *announcer = g_new0(Announcer, 1);

    announcer->ports = g_ptr_array_new_with_free_func((GDestroyNotify)port_free);
    announcer->sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (announcer->sender < 0)
        g_ptr_array_add(
            warnings, g_strdup_printf("cannot open a packet socket: %s; only QEMU announces the VM",
                                      g_strerror(errno)));
    for (guint i = 0; vm->nics && i < vm->nics->len; i++)
        add_port(announcer, vm->nics->pdata[i], warnings);
    return announcer;
}

static void
send_burst(Announcer *announcer)
{
    for (guint i = 0; i < announcer->ports->len; i++) {
        Port *port = announcer->ports->pdata[i];
        struct sockaddr_ll address = { .sll_family = AF_PACKET,
                                       .sll_ifindex = port->bridge_index,
                                       .sll_halen = 6 };
        guint8 frame[ANNOUNCE_FRAME_SIZE];

        if (port->bridge_index == 0 || !announce_rarp_frame(port->mac, frame, NULL))
            continue;
        if (sendto(announcer->sender, frame, sizeof frame, 0, (struct sockaddr *)&address,
                   sizeof address) > 0)
            announcer->sent++;
    }
    announcer->burst++;
}

static gboolean on_burst(gpointer data);

static void
schedule_burst(Announcer *announcer)
{
    guint n = announcer->burst;

    g_clear_pointer(&announcer->timer, g_source_unref);
    if (n >= G_N_ELEMENTS(bursts_ms))
        return;
    announcer->timer = g_timeout_source_new(bursts_ms[n] - bursts_ms[n - 1]);
    g_source_set_callback(announcer->timer, on_burst, announcer, NULL);
    g_source_attach(announcer->timer, announcer->context);
}

static gboolean
on_burst(gpointer data)
{
    Announcer *announcer = data;

    send_burst(announcer);
    schedule_burst(announcer);
    return G_SOURCE_REMOVE;
}

/** Monotonic time of a control message's kernel time stamp, or now. */
static gint64
frame_time_us(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        struct timespec stamp;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
        return clock_monotonic_us() -
               (g_get_real_time() - (stamp.tv_sec * G_USEC_PER_SEC + stamp.tv_nsec / 1000));
    }
    return clock_monotonic_us();
}

static gboolean
on_frame(int fd, GIOCondition condition, gpointer data)
{
    Port *port = data;
    guint8 frame[ETH_HLEN + 4];
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec buffer = { frame, sizeof frame };
    struct msghdr message = { .msg_iov = &buffer,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof control };
    struct sockaddr_ll from = { 0 };
    gssize length;

    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    length = recvmsg(fd, &message, 0);
    if (length > 0 && from.sll_pkttype != PACKET_OUTGOING &&
        announce_is_guest_frame(frame, (gsize)length, port->address)) {
        gint64 at_us = frame_time_us(&message);

        if (at_us >= port->announcer->since_us) {
            if (port->announcer->first_frame_us == 0 || at_us < port->announcer->first_frame_us)
                port->announcer->first_frame_us = at_us;
            port_close_listener(port);
            return G_SOURCE_REMOVE;
        }
    }
    if (length < 0 && errno != EAGAIN && errno != EINTR) {
        port_close_listener(port);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

void
announcer_start(Announcer *announcer, GMainContext *context, gint64 since_us)
{
    announcer->context = context;
    announcer->since_us = since_us;
    for (guint i = 0; i < announcer->ports->len; i++) {
        Port *port = announcer->ports->pdata[i];

        if (port->listener < 0)
            continue;
        port->heard = g_unix_fd_source_new(port->listener, G_IO_IN | G_IO_ERR);
        g_source_set_callback(port->heard, (GSourceFunc)(void (*)(void))on_frame, port, NULL);
        g_source_attach(port->heard, context);
    }
    send_burst(announcer);
    schedule_burst(announcer);
}

gint64
announcer_first_frame_us(const Announcer *announcer)
{
    return announcer->first_frame_us;
}

gint64
announcer_sent(const Announcer *announcer)
{
    return announcer->sent;
}

gboolean
announcer_is_done(const Announcer *announcer)
{
    return announcer->burst >= G_N_ELEMENTS(bursts_ms);
}

gboolean
announcer_can_listen(const Announcer *announcer)
{
    for (guint i = 0; i < announcer->ports->len; i++) {
        if (((Port *)announcer->ports->pdata[i])->listener >= 0)
            return TRUE;
    }
    return announcer->first_frame_us != 0;
}

void
announcer_free(Announcer *announcer)
{
    if (!announcer)
        return;
    if (announcer->timer) {
        g_source_destroy(announcer->timer);
        g_source_unref(announcer->timer);
    }
    g_ptr_array_unref(announcer->ports);
    fd_close_p(&announcer->sender);
    g_free(announcer);
}
