/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

gint64
clock_monotonic_us(void)
{
    return g_get_monotonic_time();
}

gint64
clock_wall_ms(void)
{
    return g_get_real_time() / 1000;
}

char *
clock_format(gint64 wall_ms)
{
    gint64 seconds = wall_ms / 1000, ms = wall_ms % 1000;
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    if (time == NULL)
        return g_strdup("(no such time)"); /* beyond the year 9999 */
    g_autofree char *text = g_date_time_format(time, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf("%s.%03dZ", text, (int)ms);
}

gint64
clock_offset_us(const ClockSample *samples, gsize n, gint64 *uncertainty_us)
{
    g_assert(n >= 1);
    const ClockSample *best = &samples[0];
    for (gsize i = 1; i < n; i++)
        if (samples[i].received_us - samples[i].sent_us < best->received_us - best->sent_us)
            best = &samples[i];
    /* The answer was read somewhere within the round trip: taken as its middle. */
    gint64 trip_us = best->received_us - best->sent_us;
    if (uncertainty_us != NULL)
        *uncertainty_us = (trip_us + 1) / 2;
    return best->sent_us + trip_us / 2 - best->peer_us;
}
