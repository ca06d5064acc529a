/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once for each file of a corpus folder, as an ordinary test: no libFuzzer
 * needed. */
#include <glib.h>

int LLVMFuzzerTestOneInput(const guint8 *data, size_t size);

int
main(int argc, char **argv)
{
    g_autoptr(GDir) dir = argc == 2 ? g_dir_open(argv[1], 0, NULL) : NULL;
    const char *name;
    guint n = 0;

    if (dir == NULL) {
        g_printerr("usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(argv[1], name, NULL);
        g_autofree char *bytes = NULL;
        gsize length;

        if (!g_file_get_contents(path, &bytes, &length, NULL))
            continue;
        g_print("# %s\n", name);
        LLVMFuzzerTestOneInput((const guint8 *)bytes, length);
        n++;
    }
    g_print("%sok 1 corpus of %u inputs\n1..1\n", n > 0 ? "" : "not ", n);
    return n > 0 ? 0 : 1;
}
