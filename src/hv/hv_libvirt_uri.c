/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

#include <string.h>

/*
 * libvirt's client chooses between monolithic libvirtd and modular virtqemud by looking which
 * socket exists. We need the very same daemon for a raw RPC connection (connect_rpc), so we choose
 * by the same rule and open what we chose by its path, instead of hoping that both choices agree.
 */

static char *
system_socket(const char *run_dir)
{
    g_autofree char *modular = g_build_filename(run_dir, "virtqemud-sock", NULL);

    if (g_file_test(modular, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&modular);
    return g_build_filename(run_dir, "libvirt-sock", NULL);
}

/* The value of socket= in the URI's query, or NULL. (transfer full) */
static char *
socket_parameter(const char *uri)
{
    g_autoptr(GUri) parsed = g_uri_parse(uri, G_URI_FLAGS_ENCODED_QUERY, NULL);
    const char *query = parsed ? g_uri_get_query(parsed) : NULL;

    if (!query)
        return NULL;
    g_autoptr(GHashTable) params = g_uri_parse_params(query, -1, "&;", G_URI_PARAMS_NONE, NULL);
    return params ? g_strdup(g_hash_table_lookup(params, "socket")) : NULL;
}

void
hv_libvirt_place_find(HvLibvirtPlace *place, const char *uri, const char *run_dir)
{
    if (!uri || strcmp(uri, "qemu:///system") == 0) {
        place->socket = system_socket(run_dir);
        place->uri = hv_libvirt_uri_of_socket(place->socket);
        return;
    }
    place->uri = g_strdup(uri);
    place->socket = socket_parameter(uri);
    if (!place->socket && strcmp(uri, "qemu+unix:///system") == 0)
        place->socket = system_socket(run_dir);
}

void
hv_libvirt_place_clear(HvLibvirtPlace *place)
{
    g_clear_pointer(&place->uri, g_free);
    g_clear_pointer(&place->socket, g_free);
}

char *
hv_libvirt_uri_of_socket(const char *socket)
{
    g_autofree char *escaped = g_uri_escape_string(socket, "/", FALSE);

    return g_strconcat("qemu+unix:///system?socket=", escaped, NULL);
}
