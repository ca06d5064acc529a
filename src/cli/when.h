/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/* Points in time for people; wall-clock milliseconds, local time zone. 0 gives "-". All (transfer
 * full). */

/** "3 min ago", "in 59 min"; a day and more away "2026-11-23 07:44". */
char *when_short(gint64 ms, gint64 now_ms);
/** "2026-11-23 07:44:12 (3 min ago)" */
char *when_full(gint64 ms, gint64 now_ms);
/** "07:44:12" */
char *when_clock(gint64 ms);
/** "2 days 03 h", "3 h 05 min", "17 s": how long, from seconds. */
char *when_span(gint64 seconds);
