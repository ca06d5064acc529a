/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/worker.h"

#include <string.h>
#include "base/error.h"
#include "flyway/protocol.h"

static const guint8 magic[8] = { 'G', 'W', 'F', 'L', 'Y', 0, 0, 1 };

void
flyway_preamble_make(guint8 out[FLYWAY_PREAMBLE_SIZE], const char *id)
{
    gboolean good;

    memcpy(out, magic, sizeof magic);
    good = flyway_uuid_parse(id, out + sizeof magic);
    g_assert(good);
}

gboolean
flyway_preamble_parse(const guint8 in[FLYWAY_PREAMBLE_SIZE], char id[37], GError **error)
{
    if (memcmp(in, magic, sizeof magic) != 0) {
        g_set_error_literal(error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL,
                            "The connection to the flyway port doesn't begin with flyway's "
                            "preamble: only Godwit hosts may connect there");
        return FALSE;
    }
    flyway_uuid_format(in + sizeof magic, id);
    return TRUE;
}
