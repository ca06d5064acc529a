/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_nic.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/record.h"
#include "model/model.h"

typedef struct nl_sock NlSock;
typedef struct nl_cache NlCache;
typedef struct rtnl_link RtnlLink;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NlSock, nl_socket_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NlCache, nl_cache_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RtnlLink, rtnl_link_put)

#define SPEED_UNKNOWN_OLD 0xffff /* 16 bit -1 of some drivers */

/* ethtool's link settings: the number of words in the masks is asked first (answered negative). */
static gint64
speed_mbps(int socket_fd, const char *name)
{
    union {
        struct ethtool_link_settings settings;
        char room[sizeof(struct ethtool_link_settings) + 3 * 127 * sizeof(guint32)];
    } ask = { .settings.cmd = ETHTOOL_GLINKSETTINGS };
    struct ifreq request = { .ifr_data = (char *)&ask };

    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    if (ioctl(socket_fd, SIOCETHTOOL, &request) < 0 || ask.settings.link_mode_masks_nwords >= 0)
        return 0;
    ask.settings = (struct ethtool_link_settings){
        .cmd = ETHTOOL_GLINKSETTINGS,
        .link_mode_masks_nwords = (gint8)-ask.settings.link_mode_masks_nwords,
    };
    if (ioctl(socket_fd, SIOCETHTOOL, &request) < 0)
        return 0;
    guint32 speed = ask.settings.speed;
    return speed == (guint32)SPEED_UNKNOWN || speed == SPEED_UNKNOWN_OLD ? 0 : speed;
}

static gboolean
is_told(struct rtnl_link *link)
{
    const char *type = rtnl_link_get_type(link);

    return !(rtnl_link_get_flags(link) & IFF_LOOPBACK) && g_strcmp0(type, "tun") != 0;
}

static GStrv
addresses_of(struct nl_cache *addresses, int index)
{
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();

    for (struct nl_object *object = nl_cache_get_first(addresses); object;
         object = nl_cache_get_next(object)) {
        struct rtnl_addr *address = (struct rtnl_addr *)object;
        struct nl_addr *local = rtnl_addr_get_local(address);
        char text[64];
        if (!local || rtnl_addr_get_ifindex(address) != index)
            continue;
        nl_addr2str(local, text, sizeof text);
        if (!strchr(text, '/')) { /* libnl leaves the length out where it is that of a host */
            gsize length = strlen(text);
            g_snprintf(text + length, sizeof text - length, "/%u", nl_addr_get_prefixlen(local));
        }
        g_strv_builder_add(list, text);
    }
    return g_strv_builder_end(list);
}

static HostNic *
nic_of(struct rtnl_link *link, struct nl_cache *links, struct nl_cache *addresses, int socket_fd)
{
    HostNic *nic = record_new(&host_nic_type);
    struct nl_addr *mac = rtnl_link_get_addr(link);
    g_autoptr(RtnlLink) master = rtnl_link_get(links, rtnl_link_get_master(link));
    char text[64];

    nic->name = g_strdup(rtnl_link_get_name(link));
    nic->mac = mac ? g_strdup(nl_addr2str(mac, text, sizeof text)) : NULL;
    nic->mtu = rtnl_link_get_mtu(link);
    nic->up = (rtnl_link_get_flags(link) & IFF_RUNNING) != 0;
    nic->master = master ? g_strdup(rtnl_link_get_name(master)) : NULL;
    nic->speed_mbps = nic->up ? speed_mbps(socket_fd, nic->name) : 0;
    nic->addresses = addresses_of(addresses, rtnl_link_get_ifindex(link));
    return nic;
}

static GPtrArray *
fail(GError **error, const char *what, int code)
{
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNSUPPORTED,
                "can't read this host's network interfaces: %s: %s", what, nl_geterror(code));
    return NULL;
}

GPtrArray *
hv_nics_read(GError **error)
{
    g_autoptr(NlSock) netlink = nl_socket_alloc();
    g_autoptr(NlCache) links = NULL;
    g_autoptr(NlCache) addresses = NULL;
    fd_auto int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (!netlink)
        return fail(error, "socket", -NLE_NOMEM);
    int code = nl_connect(netlink, NETLINK_ROUTE);
    if (code < 0)
        return fail(error, "netlink", code);
    code = rtnl_link_alloc_cache(netlink, AF_UNSPEC, &links);
    if (code < 0)
        return fail(error, "links", code);
    code = rtnl_addr_alloc_cache(netlink, &addresses);
    if (code < 0)
        return fail(error, "addresses", code);
    GPtrArray *nics = record_list_new(&host_nic_type);
    for (struct nl_object *object = nl_cache_get_first(links); object;
         object = nl_cache_get_next(object)) {
        struct rtnl_link *link = (struct rtnl_link *)object;
        if (is_told(link))
            g_ptr_array_add(nics, nic_of(link, links, addresses, socket_fd));
    }
    return nics;
}
