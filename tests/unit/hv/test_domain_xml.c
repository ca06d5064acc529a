/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/record.h"
#include "hv/hv_xml.h"

/* domain/NAME.xml must become exactly domain/NAME.json. */

static char *
read_file(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "domain", name, NULL);
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static void
test_shape(gconstpointer data)
{
    g_autofree char *xml_name = g_strconcat(data, ".xml", NULL);
    g_autofree char *json_name = g_strconcat(data, ".json", NULL);
    g_autofree char *xml = read_file(xml_name);
    g_autoptr(GError) error = NULL;

    g_autoptr(Vm) vm = hv_domain_xml_parse(xml, &error);
    g_assert_no_error(error);
    g_autofree char *wanted = read_file(json_name);
    g_autoptr(JsonNode) node = record_to_json(&vm_type, vm);
    g_autofree char *got = json_text(node, TRUE);
    g_assert_cmpstr(g_strstrip(got), ==, g_strstrip(wanted));
}

static void
test_invalid(void)
{
    static const struct {
        const char *xml, *message;
    } rows[] = {
        { "", "isn't well-formed" },
        { "domain", "isn't well-formed" },
        { "<domain><name>a</name>", "isn't well-formed" },
        { "<domain type='kvm'><name>a</nam></domain>", "isn't well-formed" },
        { "<domain/>", "(unnamed) lacks a name or a valid UUID" },
        { "<domain><name>a</name></domain>", "VM a lacks" },
        { "<domain><name>a</name><uuid>4dea22b3</uuid></domain>", "VM a lacks" },
        { "<domain><uuid>4dea22b3-1d52-4d8f-8c3f-000000000001</uuid></domain>", "lacks a name" },
        { "<network><name>a</name></network>", "expected <domain> XML, got <network>" },
        /* an entity that grows, and one that reads a file: neither is replaced */
        { "<!DOCTYPE domain [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]>"
          "<domain><name>&b;</name><uuid>&b;</uuid></domain>",
          "lacks a name or a valid UUID" },
        { "<!DOCTYPE domain [<!ENTITY f SYSTEM 'file:///etc/hostname'>]>"
          "<domain><name>&f;</name>"
          "<uuid>4dea22b3-1d52-4d8f-8c3f-000000000001</uuid></domain>",
          "lacks a name" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Vm) vm = hv_domain_xml_parse(rows[i].xml, &error);
        g_test_message("%s", rows[i].xml);
        g_assert_null(vm);
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, rows[i].message));
    }
}

/* What isn't a plain word, ours and in our namespace is no group: the VM shares with nobody. */
static void
test_recall_group(void)
{
    static const struct {
        const char *metadata, *group;
    } rows[] = {
        { "<g:vm xmlns:g='godwit:vm'><g:recall group='a'/></g:vm>", "a" },
        { "<vm xmlns='godwit:vm'><recall group='A-1_b.c'/></vm>", "A-1_b.c" },
        { "<vm><recall group='a'/></vm>", NULL },
        { "<vm xmlns='godwit:host'><recall group='a'/></vm>", NULL },
        { "<vm xmlns='godwit:vm'/>", NULL },
        { "<vm xmlns='godwit:vm'><recall/></vm>", NULL },
        { "<vm xmlns='godwit:vm'><recall group=''/></vm>", NULL },
        { "<vm xmlns='godwit:vm'><recall group='a b'/></vm>", NULL },
        { "<vm xmlns='godwit:vm'><recall group='a/../b'/></vm>", NULL },
        { "<vm xmlns='godwit:vm'><recall "
          "group='0123456789012345678901234567890123456789012345678901234567890123'/></vm>",
          "0123456789012345678901234567890123456789012345678901234567890123" },
        { "<vm xmlns='godwit:vm'><recall "
          "group='01234567890123456789012345678901234567890123456789012345678901234'/></vm>",
          NULL },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *xml = g_strdup_printf(
            "<domain><name>a</name><uuid>4dea22b3-1d52-4d8f-8c3f-000000000001</uuid>"
            "<metadata>%s</metadata></domain>",
            rows[i].metadata);
        g_autoptr(Vm) vm = hv_domain_xml_parse(xml, NULL);

        g_test_message("%s", rows[i].metadata);
        g_assert_cmpstr(vm->recall_group, ==, rows[i].group);
    }
}

static void
test_too_large(void)
{
    g_autofree char *xml = g_strnfill(HV_XML_MAX_BYTES + 1, ' ');
    g_autoptr(GError) error = NULL;

    g_assert_null(hv_domain_xml_parse(xml, &error));
    g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "over the limit"));
}

/* Whatever is cut off or overwritten, there is an answer: a VM or an error. */
static void
test_mutilated(void)
{
    g_autofree char *xml = read_file("devices.xml");
    gsize length = strlen(xml);

    for (guint i = 0; i < 2000; i++) {
        g_autofree char *bad = g_strdup(xml);
        g_autoptr(GError) error = NULL;
        bad[g_test_rand_int_range(0, (gint32)length)] = (char)g_test_rand_int_range(1, 256);
        if (i % 4 == 0)
            bad[g_test_rand_int_range(1, (gint32)length)] = '\0';
        g_autoptr(Vm) vm = hv_domain_xml_parse(bad, &error);
        g_assert_true((vm == NULL) == (error != NULL));
        if (error)
            g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    static const char *const shapes[] = {
        "block",   "devices",     "empty-cdrom", "file", "hostdevs",     "interfaces", "iscsi",
        "minimal", "odd-numbers", "ppc64",       "rbd",  "recall-group", "volume"
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(shapes); i++) {
        g_autofree char *path = g_strconcat("/hv/domain-xml/", shapes[i], NULL);
        g_test_add_data_func(path, shapes[i], test_shape);
    }
    g_test_add_func("/hv/domain-xml/invalid", test_invalid);
    g_test_add_func("/hv/domain-xml/recall-group-names", test_recall_group);
    g_test_add_func("/hv/domain-xml/too-large", test_too_large);
    g_test_add_func("/hv/domain-xml/mutilated", test_mutilated);
    return g_test_run();
}
