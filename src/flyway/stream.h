/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

typedef enum { STREAM_PAGE, STREAM_ZERO } StreamSpanKind;
typedef struct { guint64 word; guint32 header; guint32 body; guint8 kind; guint16 block; } StreamSpan;  /* header: offset of the 8-byte big-endian word addr|flags; body: offset of the 4096 bytes (PAGE) or 1 fill byte (ZERO); both wholly inside the batch */
