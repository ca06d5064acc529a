/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <libxml/tree.h>

#include "model/model.h"

/**
 * Pure functions from libvirt's XML documents to our nouns: no I/O, no libvirt call. The XML is
 * written by users and libvirt: what isn't well-formed, is over HV_XML_MAX_BYTES, isn't the
 * expected document or lacks what identifies the object is GODWIT_ERROR_INVALID; elements that are
 * missing or unknown otherwise just leave their fields empty. Any thread.
 */
#define HV_XML_MAX_BYTES (4 * 1024 * 1024)

/* ---- documents (hv_domain_xml.c, hv_host_xml.c, hv_network_xml.c) -------------------------------
 */

/** <domain> → its shape. Not from XML, so left zero: host, state, persistent, autostart, stats. */
Vm *hv_domain_xml_parse(const char *xml, GError **error);

/** <capabilities> → Host: uuid, cpu (without cpus and mhz), machine_types, qemu_owner,
 * security_model. */
Host *hv_host_xml_parse(const char *xml, GError **error);

/** <network> → name, uuid, bridge, forward, port_groups. */
Network *hv_network_xml_parse(const char *xml, GError **error);

/** <pool> → name, uuid, type, path, source, capacity and available bytes. */
Datastore *hv_pool_xml_parse(const char *xml, GError **error);

/* ---- small tools over libxml2 (hv_xml.c)
 * ----------------------------------------------------------- */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/** Parses; root must be the document's element. No network, no files, no entities. */
xmlDoc *hv_xml_read(const char *xml, const char *root, GError **error);
/** First child element of that name, or NULL; node NULL gives NULL, so calls can be nested. */
xmlNode *hv_xml_child(xmlNode *node, const char *name);
/** Next sibling element of the same name, or NULL. */
xmlNode *hv_xml_next(xmlNode *node);
/** Attribute's value, or NULL. (transfer full) */
char *hv_xml_attribute(xmlNode *node, const char *name);
gboolean hv_xml_attribute_is(xmlNode *node, const char *name, const char *value);
/** Text of the element, stripped; NULL where there is none. (transfer full) */
char *hv_xml_text(xmlNode *node);
/** Decimal text; fallback where it is absent, malformed or negative. */
gint64 hv_xml_integer(xmlNode *node, gint64 fallback);
gint64 hv_xml_attribute_integer(xmlNode *node, const char *name, gint64 fallback);
/** A size with libvirt's unit= (default: default_unit's bytes), in bytes, clamped to G_MAXINT64. */
gint64 hv_xml_bytes(xmlNode *node, gint64 default_unit);

#define hv_xml_each(var, parent, name)                                                             \
    for (xmlNode *var = hv_xml_child(parent, name); var; var = hv_xml_next(var))
