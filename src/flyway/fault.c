/* SPDX-License-Identifier: Apache-2.0 */
#include "flyway/fault.h"

#include <stdarg.h>

void
fault_set(Fault *fault, GodwitError code, const char *format, ...)
{
    va_list args;

    if (fault == NULL || fault->set)
        return;
    fault->set = TRUE;
    fault->code = code;
    va_start(args, format);
    g_vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
}
