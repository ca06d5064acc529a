/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_xml.h"

#include <string.h>

#include "base/error.h"
#include "base/record.h"

static gboolean
identity_parse(xmlNode *root, char **name, char **uuid, GError **error)
{
    g_autofree char *text = hv_xml_text(hv_xml_child(root, "uuid"));

    *name = hv_xml_text(hv_xml_child(root, "name"));
    if (*name && text && g_uuid_string_is_valid(text)) {
        *uuid = g_ascii_strdown(text, -1);
        return TRUE;
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "<%s> XML of %s lacks a name or a valid UUID", (const char *)root->name,
                *name ? *name : "(unnamed)");
    return FALSE;
}

Network *
hv_network_xml_parse(const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = hv_xml_read(xml, "network", error);
    if (!doc)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *forward = hv_xml_child(root, "forward");
    g_autoptr(Network) network = record_new(&network_type);
    g_autoptr(GStrvBuilder) groups = g_strv_builder_new();

    if (!identity_parse(root, &network->name, &network->uuid, error))
        return NULL;
    network->bridge = hv_xml_attribute(hv_xml_child(root, "bridge"), "name");
    network->forward = hv_xml_attribute(forward, "mode");
    if (!network->forward)
        network->forward = g_strdup(forward ? "nat" : "none");
    hv_xml_each(group, root, "portgroup")
    {
        g_autofree char *name = hv_xml_attribute(group, "name");
        if (name)
            g_strv_builder_add(groups, name);
    }
    network->port_groups = g_strv_builder_end(groups);
    return g_steal_pointer(&network);
}

/* "host[:port],host2/what": portal/iqn, server:/dir, monitors/pool, or just the device. */
static char *
pool_source(xmlNode *source, const char *type)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *what = hv_xml_attribute(hv_xml_child(source, "dir"), "path");

    hv_xml_each(host, source, "host")
    {
        g_autofree char *name = hv_xml_attribute(host, "name");
        g_autofree char *port = hv_xml_attribute(host, "port");
        g_string_append_printf(text, "%s%s%s%s", text->len ? "," : "", name ? name : "?",
                               port ? ":" : "", port ? port : "");
    }
    if (!what)
        what = hv_xml_attribute(hv_xml_child(source, "device"), "path");
    if (!what)
        what = hv_xml_text(hv_xml_child(source, "name"));
    if (!what)
        what = hv_xml_attribute(hv_xml_child(source, "adapter"), "name");
    if (what && text->len) /* NFS writes "server:/dir" */
        g_string_append(text, g_strcmp0(type, "netfs") == 0 ? ":" : "/");
    if (what)
        g_string_append(text, what);
    return text->len ? g_strdup(text->str) : NULL;
}

Datastore *
hv_pool_xml_parse(const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = hv_xml_read(xml, "pool", error);
    if (!doc)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(doc);
    g_autoptr(Datastore) pool = record_new(&datastore_type);

    if (!identity_parse(root, &pool->name, &pool->uuid, error))
        return NULL;
    pool->type = hv_xml_attribute(root, "type");
    pool->path = hv_xml_text(hv_xml_child(hv_xml_child(root, "target"), "path"));
    pool->source = pool_source(hv_xml_child(root, "source"), pool->type);
    pool->capacity_bytes = hv_xml_bytes(hv_xml_child(root, "capacity"), 1);
    pool->available_bytes = hv_xml_bytes(hv_xml_child(root, "available"), 1);
    return g_steal_pointer(&pool);
}
