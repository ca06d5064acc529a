/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_xml.h"

#include <libxml/parser.h>
#include <string.h>

#include "base/error.h"

xmlDoc *
hv_xml_read(const char *xml, const char *root, GError **error)
{
    gsize length = strlen(xml);
    static gsize initialized;

    if (g_once_init_enter(&initialized)) { /* libxml2's set-up isn't thread-safe */
        xmlInitParser();
        g_once_init_leave(&initialized, 1);
    }
    if (length > HV_XML_MAX_BYTES) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "<%s> XML of %zu bytes is over the limit of %d", root, length,
                    HV_XML_MAX_BYTES);
        return NULL;
    }
    /* Without XML_PARSE_NOENT and _DTDLOAD no entity is replaced and nothing is loaded. */
    g_autoptr(xmlDoc) doc = xmlReadMemory(
        xml, (int)length, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) {
        const xmlError *last = xmlGetLastError();
        g_autofree char *message =
            g_strdup(last && last->message ? last->message : "no reason given");
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "<%s> XML isn't well-formed, line %d: %s", root, last ? last->line : 0,
                    g_strstrip(message));
        return NULL;
    }
    xmlNode *top = xmlDocGetRootElement(doc);
    if (!top || strcmp((const char *)top->name, root) != 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "expected <%s> XML, got <%s>", root,
                    top ? (const char *)top->name : "");
        return NULL;
    }
    return g_steal_pointer(&doc);
}

static xmlNode *
find_element(xmlNode *node, const char *name)
{
    while (node && (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0))
        node = node->next;
    return node;
}

xmlNode *
hv_xml_child(xmlNode *node, const char *name)
{
    return node ? find_element(node->children, name) : NULL;
}

xmlNode *
hv_xml_next(xmlNode *node)
{
    return find_element(node->next, (const char *)node->name);
}

/* libxml2's strings come from its own allocator. */
static char *
take(xmlChar *text)
{
    char *copy = g_strdup((const char *)text);

    if (text)
        xmlFree(text);
    return copy;
}

char *
hv_xml_attribute(xmlNode *node, const char *name)
{
    return node ? take(xmlGetNoNsProp(node, (const xmlChar *)name)) : NULL;
}

gboolean
hv_xml_attribute_is(xmlNode *node, const char *name, const char *value)
{
    g_autofree char *actual = hv_xml_attribute(node, name);

    return g_strcmp0(actual, value) == 0;
}

char *
hv_xml_text(xmlNode *node)
{
    g_autofree char *text = node ? take(xmlNodeGetContent(node)) : NULL;

    if (!text || !*g_strstrip(text))
        return NULL;
    return g_steal_pointer(&text);
}

static gint64
integer_of(const char *text, gint64 fallback)
{
    gint64 value;

    return text && g_ascii_string_to_signed(text, 10, 0, G_MAXINT64, &value, NULL) ? value
                                                                                   : fallback;
}

gint64
hv_xml_integer(xmlNode *node, gint64 fallback)
{
    g_autofree char *text = hv_xml_text(node);

    return integer_of(text, fallback);
}

gint64
hv_xml_attribute_integer(xmlNode *node, const char *name, gint64 fallback)
{
    g_autofree char *text = hv_xml_attribute(node, name);

    return integer_of(text, fallback);
}

gint64
hv_xml_bytes(xmlNode *node, gint64 default_unit)
{
    static const struct {
        const char *name;
        gint64 bytes;
    } units[] = {
        { "b", 1 },
        { "bytes", 1 },
        { "KB", 1000 },
        { "k", 1024 },
        { "KiB", 1024 },
        { "MB", 1000 * 1000 },
        { "M", 1024 * 1024 },
        { "MiB", 1024 * 1024 },
        { "GB", 1000 * 1000 * 1000 },
        { "G", 1 << 30 },
        { "GiB", 1 << 30 },
        { "TB", G_GINT64_CONSTANT(1000000000000) },
        { "T", G_GINT64_CONSTANT(1) << 40 },
        { "TiB", G_GINT64_CONSTANT(1) << 40 },
    };
    g_autofree char *unit = hv_xml_attribute(node, "unit");
    gint64 value = hv_xml_integer(node, 0);
    gint64 factor = default_unit;

    for (gsize i = 0; unit && i < G_N_ELEMENTS(units); i++) {
        if (strcmp(unit, units[i].name) == 0)
            factor = units[i].bytes;
    }
    return value > G_MAXINT64 / factor ? G_MAXINT64 : value * factor;
}
