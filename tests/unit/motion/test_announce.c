/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "motion/announce.h"

static void
test_frame(void)
{
    static const guint8 expected[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0xab, 0x80, 0x35, /* Ethernet: broadcast, RARP */
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x03,                                     /* Ethernet, IPv4, request reverse */
        0x52, 0x54, 0x00, 0x12, 0x34, 0xab, 0x00, 0x00, 0x00, 0x00, 0x52, 0x54, 0x00, 0x12, 0x34, 0xab,
    };
    guint8 frame[ANNOUNCE_FRAME_SIZE];
    g_autoptr(GError) error = NULL;

    g_assert_true(announce_rarp_frame("52:54:00:12:34:AB", frame, &error));
    g_assert_cmpmem(frame, sizeof expected, expected, sizeof expected);
    for (gsize i = sizeof expected; i < sizeof frame; i++)
        g_assert_cmpuint(frame[i], ==, 0);
}

static void
test_bad_mac(void)
{
    static const char *const bad[] = { NULL, "", "52:54:00:12:34", "52:54:00:12:34:zz", "52:54:00:12:34:ab:cd", "52:54:00:12:34:ab " };
    guint8 frame[ANNOUNCE_FRAME_SIZE];

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(announce_rarp_frame(bad[i], frame, &error));
        g_assert_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID);
    }
}

static void
test_guest_frame(void)
{
    static const guint8 mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0xab };
    guint8 frame[ANNOUNCE_FRAME_SIZE];

    announce_rarp_frame("52:54:00:12:34:ab", frame, NULL);
    g_assert_false(announce_is_guest_frame(frame, sizeof frame, mac)); /* QEMU's own */
    frame[12] = 0x08;
    frame[13] = 0x06;
    g_assert_true(announce_is_guest_frame(frame, sizeof frame, mac));
    g_assert_false(announce_is_guest_frame(frame, 13, mac)); /* cut short */
    frame[11]++;
    g_assert_false(announce_is_guest_frame(frame, sizeof frame, mac)); /* somebody else's */
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/announce/frame", test_frame);
    g_test_add_func("/announce/bad-mac", test_bad_mac);
    g_test_add_func("/announce/guest-frame", test_guest_frame);
    return g_test_run();
}
