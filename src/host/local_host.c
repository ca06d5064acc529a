/* SPDX-License-Identifier: Apache-2.0 */
#include "host/local_host.h"

#include "base/error.h"

static void
on_event(const HvEvent *event, gpointer data)
{
    /* only wakes the loop: is_connected tells */
}

static gboolean
on_timeout(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

static void
wait_connected(Hv *hv, GMainContext *context, guint timeout_s)
{
    gboolean late = FALSE;
    g_autoptr(GSource) timer = g_timeout_source_new_seconds(timeout_s);
    g_source_set_callback(timer, on_timeout, &late, NULL);
    g_source_attach(timer, context);
    while (!late && !hv->ops->is_connected(hv))
        g_main_context_iteration(context, TRUE);
    g_source_destroy(timer);
}

Host *
local_host_ask(const char *uri, guint timeout_s, GError **error)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    g_autoptr(Hv) hv = hv_libvirt_new(uri, context, on_event, NULL, error);
    if (!hv)
        return NULL;
    wait_connected(hv, context, timeout_s);
    if (hv->ops->is_connected(hv))
        return hv->ops->host(hv, error);
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_UNREACHABLE,
                "libvirt (%s) did not answer within %u s: start libvirtd or virtqemud (systemctl "
                "start libvirtd)",
                uri ? uri : "qemu:///system", timeout_s);
    return NULL;
}
