/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <gio/gio.h>

static const char *const nicks[GODWIT_N_ERRORS] = {
    [GODWIT_ERROR_INVALID] = "invalid",         [GODWIT_ERROR_NOT_FOUND] = "not-found",
    [GODWIT_ERROR_CONFLICT] = "conflict",       [GODWIT_ERROR_REFUSED] = "refused",
    [GODWIT_ERROR_UNREACHABLE] = "unreachable", [GODWIT_ERROR_UNAUTHORIZED] = "unauthorized",
    [GODWIT_ERROR_FORBIDDEN] = "forbidden",     [GODWIT_ERROR_EXPIRED] = "expired",
    [GODWIT_ERROR_UNSUPPORTED] = "unsupported", [GODWIT_ERROR_NO_SPACE] = "no-space",
    [GODWIT_ERROR_TOO_LARGE] = "too-large",     [GODWIT_ERROR_TIMEOUT] = "timeout",
    [GODWIT_ERROR_CANCELLED] = "cancelled",     [GODWIT_ERROR_PROTOCOL] = "protocol",
    [GODWIT_ERROR_HYPERVISOR] = "hypervisor",   [GODWIT_ERROR_UNSETTLED] = "unsettled",
    [GODWIT_ERROR_INTERNAL] = "internal",
};

/* What GIO's errors mean in our words; those not named here are "internal". */
static const struct {
    GIOErrorEnum io;
    GodwitError code;
} io_errors[] = {
    { G_IO_ERROR_CANCELLED, GODWIT_ERROR_CANCELLED },
    { G_IO_ERROR_TIMED_OUT, GODWIT_ERROR_TIMEOUT },
    { G_IO_ERROR_CONNECTION_REFUSED, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_CONNECTION_CLOSED,
      GODWIT_ERROR_UNREACHABLE }, /* and BROKEN_PIPE, the same number */
    { G_IO_ERROR_NOT_CONNECTED, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_HOST_UNREACHABLE, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_NETWORK_UNREACHABLE, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_HOST_NOT_FOUND, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_PROXY_FAILED, GODWIT_ERROR_UNREACHABLE },
    { G_IO_ERROR_NOT_FOUND, GODWIT_ERROR_NOT_FOUND },
    { G_IO_ERROR_EXISTS, GODWIT_ERROR_CONFLICT },
    { G_IO_ERROR_BUSY, GODWIT_ERROR_CONFLICT },
    { G_IO_ERROR_ADDRESS_IN_USE, GODWIT_ERROR_CONFLICT },
    { G_IO_ERROR_PERMISSION_DENIED, GODWIT_ERROR_FORBIDDEN },
    { G_IO_ERROR_NO_SPACE, GODWIT_ERROR_NO_SPACE },
    { G_IO_ERROR_NOT_SUPPORTED, GODWIT_ERROR_UNSUPPORTED },
    { G_IO_ERROR_MESSAGE_TOO_LARGE, GODWIT_ERROR_TOO_LARGE },
    { G_IO_ERROR_INVALID_ARGUMENT, GODWIT_ERROR_INVALID },
    { G_IO_ERROR_INVALID_FILENAME, GODWIT_ERROR_INVALID },
};

GQuark
godwit_error_quark(void)
{
    return g_quark_from_static_string("godwit-error-quark");
}

static GodwitError
code_of_io(int io)
{
    for (gsize i = 0; i < G_N_ELEMENTS(io_errors); i++)
        if ((int)io_errors[i].io == io)
            return io_errors[i].code;
    return GODWIT_ERROR_INTERNAL;
}

static GodwitError
code_of(const GError *error)
{
    if (error->domain == GODWIT_ERROR)
        return error->code >= 0 && error->code < GODWIT_N_ERRORS ? (GodwitError)error->code
                                                                 : GODWIT_ERROR_INTERNAL;
    if (error->domain == G_IO_ERROR)
        return code_of_io(error->code);
    if (error->domain == G_RESOLVER_ERROR)
        return GODWIT_ERROR_UNREACHABLE;
    if (error->domain == G_TLS_ERROR)
        return error->code == G_TLS_ERROR_BAD_CERTIFICATE ||
                       error->code == G_TLS_ERROR_CERTIFICATE_REQUIRED
                   ? GODWIT_ERROR_UNAUTHORIZED
                   : GODWIT_ERROR_UNREACHABLE;
    return GODWIT_ERROR_INTERNAL;
}

const char *
godwit_error_nick(const GError *error)
{
    return nicks[error != NULL ? code_of(error) : GODWIT_ERROR_INTERNAL];
}

GodwitError
godwit_error_from_nick(const char *nick)
{
    for (int i = 0; i < GODWIT_N_ERRORS; i++)
        if (g_strcmp0(nick, nicks[i]) == 0)
            return (GodwitError)i;
    return GODWIT_ERROR_INTERNAL;
}
