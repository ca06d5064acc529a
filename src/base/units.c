/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/error.h"

/* Three digits at most: "1.5", "17", "117"; ".0" is left out. */
static char *
scaled(double value, double step, const char *const *names)
{
    gsize i = 0;
    while (names[i + 1] != NULL && value >= step) {
        value /= step;
        i++;
    }
    double rounded = i == 0 || value >= 100 ? round(value) : round(value * 10) / 10;
    if (rounded >= step && names[i + 1] != NULL) {
        rounded = 1;
        i++;
    }
    gboolean whole = floor(rounded) >= rounded;
    return g_strdup_printf("%.*f %s", whole ? 0 : 1, rounded, names[i]);
}

char *
units_bytes(guint64 bytes)
{
    static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL };
    return scaled((double)bytes, 1024, names);
}

char *
units_rate(double bytes_per_second)
{
    static const char *const names[] = { "B/s", "kB/s", "MB/s", "GB/s", "TB/s", NULL };
    if (!isfinite(bytes_per_second) || bytes_per_second < 0)
        return g_strdup("unknown");
    return scaled(bytes_per_second, 1000, names);
}

static char *
duration_of(guint64 us)
{
    guint64 seconds = (us + 500000) / 1000000;
    if (us < 1000)
        return g_strdup_printf("%d µs", (int)us);
    if (us < 9950)
        return g_strdup_printf("%.1f ms", (double)us / 1e3);
    if (us < 999500)
        return g_strdup_printf("%d ms", (int)((us + 500) / 1000));
    if (us < 59950000)
        return g_strdup_printf("%.1f s", (double)us / 1e6);
    if (seconds < 3600)
        return g_strdup_printf("%d min %02d s", (int)(seconds / 60), (int)(seconds % 60));
    guint64 minutes = (us + 30000000) / 60000000;
    return g_strdup_printf("%" G_GUINT64_FORMAT " h %02d min", minutes / 60, (int)(minutes % 60));
}

char *
units_duration(gint64 microseconds)
{
    if (microseconds >= 0)
        return duration_of((guint64)microseconds);
    g_autofree char *text = duration_of(0 - (guint64)microseconds);
    return g_strdup_printf("-%s", text);
}

static gboolean
multiple_of(const char *unit, double *multiple)
{
    static const struct {
        const char *letter, *whole;
        double multiple;
    } units[] = {
        { "", "B", 1 },
        { "K", "KiB", 1024.0 },
        { "M", "MiB", 1024.0 * 1024 },
        { "G", "GiB", 1024.0 * 1024 * 1024 },
        { "T", "TiB", 1024.0 * 1024 * 1024 * 1024 },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++)
        if (g_ascii_strcasecmp(unit, units[i].letter) == 0 ||
            g_ascii_strcasecmp(unit, units[i].whole) == 0) {
            *multiple = units[i].multiple;
            return TRUE;
        }
    return FALSE;
}

gboolean
units_parse_bytes(const char *text, guint64 *bytes, GError **error)
{
    g_autofree char *trimmed = g_strstrip(g_strdup(text));
    gsize digits = strspn(trimmed, "0123456789.");
    const char *unit = trimmed + digits;
    while (*unit == ' ')
        unit++;

    double multiple = 0;
    char *end = NULL;
    g_autofree char *number = g_strndup(trimmed, digits);
    double value = digits > 0 && digits < 64 ? g_ascii_strtod(number, &end) : 0;
    if (end == NULL || end == number || *end != '\0' || !multiple_of(unit, &multiple)) {
        g_set_error(
            error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
            "“%.40s” is no size: write a number and B, K, M, G or T (or KiB, MiB, …), as in 512M",
            text);
        return FALSE;
    }
    /* Whole bytes are read as an integer: a double has only 53 bits. */
    guint64 whole = 0;
    if (multiple <= 1 && g_ascii_string_to_unsigned(number, 10, 0, G_MAXUINT64, &whole, NULL)) {
        *bytes = whole;
        return TRUE;
    }
    if (value * multiple >= 18446744073709551615.0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "“%.40s” is too large a size", text);
        return FALSE;
    }
    *bytes = (guint64)(value * multiple);
    return TRUE;
}

gboolean
units_parse_seconds(const char *text, gint64 *seconds, GError **error)
{
    static const struct {
        const char *unit;
        gint64 seconds;
    } units[] = {
        { "", 1 }, { "s", 1 }, { "m", 60 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 }
    };
    char *end = NULL;
    gint64 number;

    errno = 0;
    number = g_ascii_strtoll(text, &end, 10);
    if (g_ascii_isdigit(text[0]) && errno == 0 && number > 0 && number < G_MAXINT32) {
        for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
            if (strcmp(end, units[i].unit) != 0)
                continue;
            *seconds = number * units[i].seconds;
            return TRUE;
        }
    }
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                "\"%s\" is not a duration; write it as 90s, 15m, 2h or 1d", text);
    return FALSE;
}

/* What one of the unit is in bytes per second; 0: no such unit. b is never read as byte or bit:
 * people mean either by it. */
static double
rate_unit(const char *unit)
{
    static const struct {
        const char *name;
        double bytes;
        gboolean any_case;
    } units[] = {
        { "kbit", 1e3 / 8, TRUE },     { "mbit", 1e6 / 8, TRUE },
        { "gbit", 1e9 / 8, TRUE },     { "kB", 1e3, FALSE },
        { "KB", 1e3, FALSE },          { "MB", 1e6, FALSE },
        { "GB", 1e9, FALSE },          { "KiB", 1024, FALSE },
        { "MiB", 1024 * 1024, FALSE }, { "GiB", 1024.0 * 1024 * 1024, FALSE },
    };
    g_autofree char *name = g_strdup(unit);

    if (g_str_has_suffix(name, "/s"))
        name[strlen(name) - 2] = '\0';
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        if (strcmp(name, units[i].name) == 0 ||
            (units[i].any_case && g_ascii_strcasecmp(name, units[i].name) == 0))
            return units[i].bytes;
    }
    return 0;
}

gboolean
units_parse_rate(const char *text, gint64 *bytes_per_second, GError **error)
{
    g_autofree char *trimmed = g_strstrip(g_strdup(text));
    gsize digits = strspn(trimmed, "0123456789.");
    g_autofree char *number = g_strndup(trimmed, digits);
    const char *unit = trimmed + digits + strspn(trimmed + digits, " ");
    char *end = number;
    double value = digits > 0 && digits < 32 ? g_ascii_strtod(number, &end) : 0;
    double rate = value * rate_unit(unit);

    if (end == number || *end != '\0' || rate_unit(unit) <= 0) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "\"%.40s\" is no rate; write it with its unit, as 500mbit, 1gbit or 60MB/s",
                    text);
        return FALSE;
    }
    if (rate < (double)UNITS_RATE_LEAST || rate > (double)UNITS_RATE_MOST) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID,
                    "the rate \"%.40s\" can't be had; it may be 1mbit (125kB/s) to 1000gbit", text);
        return FALSE;
    }
    *bytes_per_second = (gint64)rate;
    return TRUE;
}
