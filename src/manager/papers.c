/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One certificate serves for both: clients see the machine's names in it, hosts see
 * godwit:manager:UUID. Key and certificate are made anew at every start and stay in memory: the
 * CA's key is at hand, nobody pins this one, and a machine that has changed its name or address
 * gets along. It is valid for long enough that no running manager outlives it.
 */
#include "manager/papers.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/error.h"

#define PAPERS_DAYS 3650

static void
add_once(GPtrArray *names, const char *name)
{
    if (!g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
        g_ptr_array_add(names, g_strdup(name));
}

/** All addresses of the machine, without those that only mean something on one link. */
static void
add_own_addresses(GPtrArray *names)
{
    struct ifaddrs *all = NULL;
    char text[INET6_ADDRSTRLEN];

    if (getifaddrs(&all) != 0)
        return;
    for (struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        int family = at->ifa_addr != NULL ? at->ifa_addr->sa_family : AF_UNSPEC;
        const void *address = family == AF_INET
                                  ? (void *)&((struct sockaddr_in *)at->ifa_addr)->sin_addr
                                  : (void *)&((struct sockaddr_in6 *)at->ifa_addr)->sin6_addr;

        if ((family == AF_INET ||
             (family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)address))) &&
            inet_ntop(family, address, text, sizeof(text)) != NULL)
            add_once(names, text);
    }
    freeifaddrs(all);
}

GStrv
papers_names(const char *const *addresses)
{
    GPtrArray *names = g_ptr_array_new();

    add_once(names, g_get_host_name());
    add_once(names, "localhost");
    add_once(names, "127.0.0.1");
    add_once(names, "::1");
    for (gsize i = 0; addresses[i] != NULL; i++) {
        if (strcmp(addresses[i], "0.0.0.0") == 0 || strcmp(addresses[i], "::") == 0)
            add_own_addresses(names);
        else
            add_once(names, addresses[i]);
    }
    g_ptr_array_add(names, NULL);
    return (GStrv)g_ptr_array_free(names, FALSE);
}

Identity *
papers_new(const Ca *ca, const char *uuid, const char *const *names, GError **error)
{
    g_autoptr(Identity) identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;

    identity->name.role = IDENTITY_MANAGER;
    g_strlcpy(identity->name.uuid, uuid, sizeof(identity->name.uuid));
    identity->ca = g_strdup(ca->cert);
    if (!identity_request(&identity->key, &request, error))
        return NULL;
    identity->cert = ca_sign(ca, request, &identity->name, names, PAPERS_DAYS, error);
    if (identity->cert == NULL) {
        g_prefix_error(error, "the manager's own certificate: ");
        return NULL;
    }
    return g_steal_pointer(&identity);
}
