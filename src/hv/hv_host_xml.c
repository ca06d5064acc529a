/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_xml.h"

#include <string.h>

#include "base/error.h"
#include "base/record.h"

/* Sockets, cores and threads from the list of logical CPUs; FALSE where libvirt gives no such list.
 */
static gboolean
topology_of_cells(HostCpu *cpu, xmlNode *cells)
{
    g_autoptr(GHashTable) sockets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) cores = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    guint cpus = 0;

    hv_xml_each(cell, cells, "cell") hv_xml_each(entry, hv_xml_child(cell, "cpus"), "cpu")
    {
        g_autofree char *socket = hv_xml_attribute(entry, "socket_id");
        g_autofree char *die = hv_xml_attribute(entry, "die_id");
        g_autofree char *core = hv_xml_attribute(entry, "core_id");
        if (!socket || !core)
            continue; /* offline */
        g_hash_table_add(cores, g_strjoin("/", socket, die ? die : "0", core, NULL));
        g_hash_table_add(sockets, g_steal_pointer(&socket));
        cpus++;
    }
    if (cpus == 0)
        return FALSE;
    cpu->sockets = g_hash_table_size(sockets);
    cpu->cores = g_hash_table_size(cores);
    cpu->threads = (cpus + cpu->cores - 1) / cpu->cores;
    return TRUE;
}

/* <topology> of <cpu> is per NUMA node where that divides evenly, so it is only the second choice.
 */
static void
topology_of_cpu(HostCpu *cpu, xmlNode *topology)
{
    gint64 dies = hv_xml_attribute_integer(topology, "dies", 1);

    cpu->sockets = hv_xml_attribute_integer(topology, "sockets", 0);
    cpu->cores = cpu->sockets * dies * hv_xml_attribute_integer(topology, "cores", 0);
    cpu->threads = hv_xml_attribute_integer(topology, "threads", 0);
}

static HostCpu *
cpu_parse(xmlNode *host)
{
    HostCpu *cpu = record_new(&host_cpu_type);
    xmlNode *node = hv_xml_child(host, "cpu");
    g_autoptr(GStrvBuilder) features = g_strv_builder_new();

    cpu->arch = hv_xml_text(hv_xml_child(node, "arch"));
    cpu->model = hv_xml_text(hv_xml_child(node, "model"));
    cpu->vendor = hv_xml_text(hv_xml_child(node, "vendor"));
    hv_xml_each(feature, node, "feature")
    {
        g_autofree char *name = hv_xml_attribute(feature, "name");
        if (name)
            g_strv_builder_add(features, name);
    }
    cpu->features = g_strv_builder_end(features);
    if (!topology_of_cells(cpu, hv_xml_child(hv_xml_child(host, "topology"), "cells")))
        topology_of_cpu(cpu, hv_xml_child(node, "topology"));
    return cpu;
}

/* "+64055:+109" (the + keeps libvirt from taking a number for a name) → "64055:109". */
static char *
dac_owner(xmlNode *secmodel)
{
    hv_xml_each(label, secmodel, "baselabel")
    {
        g_autofree char *text = hv_xml_text(label);
        g_auto(GStrv) parts = g_strsplit(text ? text : "", "+", -1);
        if (text && (hv_xml_attribute_is(label, "type", "kvm") || !hv_xml_next(label)))
            return g_strjoinv("", parts);
    }
    return NULL;
}

static void
security_parse(Host *host, xmlNode *node)
{
    hv_xml_each(secmodel, node, "secmodel")
    {
        g_autofree char *model = hv_xml_text(hv_xml_child(secmodel, "model"));
        if (g_strcmp0(model, "dac") == 0 && !host->qemu_owner)
            host->qemu_owner = dac_owner(secmodel);
        else if (model && strcmp(model, "dac") != 0 && !host->security_model)
            host->security_model = g_steal_pointer(&model);
    }
    if (!host->security_model)
        host->security_model = g_strdup("none");
}

/* Names and aliases of the machine types of arch, each once. */
static GStrv
machines_parse(xmlNode *capabilities, const char *arch)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GStrvBuilder) machines = g_strv_builder_new();

    hv_xml_each(guest, capabilities, "guest")
    {
        xmlNode *node = hv_xml_child(guest, "arch");
        if (!hv_xml_attribute_is(node, "name", arch))
            continue;
        hv_xml_each(machine, node, "machine")
        {
            g_autofree char *name = hv_xml_text(machine);
            if (name && g_hash_table_add(seen, g_strdup(name)))
                g_strv_builder_add(machines, name);
        }
    }
    return g_strv_builder_end(machines);
}

Host *
hv_host_xml_parse(const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = hv_xml_read(xml, "capabilities", error);
    if (!doc)
        return NULL;
    xmlNode *capabilities = xmlDocGetRootElement(doc);
    xmlNode *node = hv_xml_child(capabilities, "host");
    g_autoptr(Host) host = record_new(&host_type);
    g_autofree char *uuid = hv_xml_text(hv_xml_child(node, "uuid"));

    if (uuid)
        host->uuid = g_ascii_strdown(uuid, -1);
    host->cpu = cpu_parse(node);
    host->machine_types = machines_parse(capabilities, host->cpu->arch);
    security_parse(host, node);
    return g_steal_pointer(&host);
}
