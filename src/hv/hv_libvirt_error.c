/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/hv_libvirt.h"

/* Codes that have a meaning of their own to callers; all others are HYPERVISOR. */
static const struct {
    int libvirt;
    GodwitError ours;
} codes[] = {
    { VIR_ERR_NO_DOMAIN, GODWIT_ERROR_NOT_FOUND },
    { VIR_ERR_NO_NETWORK, GODWIT_ERROR_NOT_FOUND },
    { VIR_ERR_NO_STORAGE_POOL, GODWIT_ERROR_NOT_FOUND },
    { VIR_ERR_OPERATION_ABORTED, GODWIT_ERROR_CANCELLED },
    { VIR_ERR_OPERATION_TIMEOUT, GODWIT_ERROR_TIMEOUT },
    { VIR_ERR_NO_SUPPORT, GODWIT_ERROR_UNSUPPORTED },
    { VIR_ERR_AUTH_FAILED, GODWIT_ERROR_FORBIDDEN },
    { VIR_ERR_ACCESS_DENIED, GODWIT_ERROR_FORBIDDEN },
};

/* With a connection only its own end is UNREACHABLE: what the daemon reports about connections of
 * *its* (to a migration's destination, to virtnetworkd) has the same libvirt codes and is an
 * answer. */
static gboolean
is_unreachable(const virError *last, virConnectPtr conn)
{
    if (conn)
        return virConnectIsAlive(conn) == 0;
    return last && (last->domain == VIR_FROM_RPC || last->code == VIR_ERR_NO_CONNECT ||
                    last->code == VIR_ERR_INVALID_CONN);
}

static GodwitError
code_of(const virError *last, virConnectPtr conn)
{
    if (is_unreachable(last, conn))
        return GODWIT_ERROR_UNREACHABLE;
    for (gsize i = 0; last && i < G_N_ELEMENTS(codes); i++) {
        if (last->code == codes[i].libvirt)
            return codes[i].ours;
    }
    return GODWIT_ERROR_HYPERVISOR;
}

/* What an administrator looks at. An RPC error on a connection that lives is one of libvirt's own
 * connection to another libvirt: the destination's. */
static const char *
hint_of(const virError *last, GodwitError code)
{
    if (code == GODWIT_ERROR_UNREACHABLE)
        return "; look at it with: systemctl status libvirtd (or virtqemud)";
    if (last && last->domain == VIR_FROM_RPC)
        return "; libvirt on the other host closed the connection, look at it there with: systemctl "
               "status libvirtd (or virtqemud)";
    return "";
}

/* Takes the saved error. */
static void
set_error(GError **error, virErrorPtr last, virConnectPtr conn, const char *tried)
{
    GodwitError code = code_of(last, conn);

    g_set_error(error, GODWIT_ERROR, (int)code, "%s: libvirt says: %s%s", tried,
                last && last->message ? last->message : "nothing", hint_of(last, code));
    if (last)
        virFreeError(last);
}

void
hv_libvirt_set_error(GError **error, virConnectPtr conn, const char *what, ...)
{
    virErrorPtr last = virSaveLastError();
    va_list args;

    va_start(args, what);
    g_autofree char *tried = g_strdup_vprintf(what, args);
    va_end(args);
    set_error(error, last, conn, tried);
}

void
hv_libvirt_set_vm_error(GError **error, virDomainPtr domain, const char *what)
{
    virErrorPtr last = virSaveLastError();
    g_autofree char *tried = g_strdup_printf("%s VM %s", what, virDomainGetName(domain));

    set_error(error, last, virDomainGetConnect(domain), tried);
}
