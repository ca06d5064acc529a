/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/when.h"

static char *
when_format(gint64 ms, const char *format)
{
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(ms / 1000);
    g_autoptr(GDateTime) local = utc ? g_date_time_to_local(utc) : NULL;

    return local ? g_date_time_format(local, format) : g_strdup("-");
}

/* "3 min"; seconds >= 0, less than a day. */
static char *
when_rough(gint64 seconds)
{
    if (seconds < 60)
        return g_strdup_printf("%" G_GINT64_FORMAT " s", seconds);
    if (seconds < 3600)
        return g_strdup_printf("%" G_GINT64_FORMAT " min", seconds / 60);
    return g_strdup_printf("%" G_GINT64_FORMAT " h", seconds / 3600);
}

char *
when_short(gint64 ms, gint64 now_ms)
{
    gint64 ago = (now_ms - ms) / 1000;
    g_autofree char *span = NULL;

    if (ms <= 0)
        return g_strdup("-");
    if (ABS(ago) >= 24 * 3600)
        return when_format(ms, "%Y-%m-%d %H:%M");
    span = when_rough(ABS(ago));
    return ago >= 0 ? g_strdup_printf("%s ago", span) : g_strdup_printf("in %s", span);
}

char *
when_full(gint64 ms, gint64 now_ms)
{
    g_autofree char *date = NULL, *rough = NULL;

    if (ms <= 0)
        return g_strdup("-");
    date = when_format(ms, "%Y-%m-%d %H:%M:%S");
    if (ABS(now_ms - ms) / 1000 >= 24 * 3600)
        return g_steal_pointer(&date);
    rough = when_short(ms, now_ms);
    return g_strdup_printf("%s (%s)", date, rough);
}

char *
when_clock(gint64 ms)
{
    return ms > 0 ? when_format(ms, "%H:%M:%S") : g_strdup("-");
}

char *
when_span(gint64 seconds)
{
    gint64 minutes = seconds / 60, hours = minutes / 60, days = hours / 24;

    if (days > 0)
        return g_strdup_printf("%d day%s %02d h", (int)days, days == 1 ? "" : "s",
                               (int)(hours % 24));
    if (hours > 0)
        return g_strdup_printf("%d h %02d min", (int)hours, (int)(minutes % 60));
    if (minutes > 0)
        return g_strdup_printf("%d min %02d s", (int)minutes, (int)(seconds % 60));
    return g_strdup_printf("%d s", (int)seconds);
}
