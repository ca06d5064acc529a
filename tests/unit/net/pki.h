/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <glib/gstdio.h>
#include "net/identity.h"

/** Certificates for tests: a CA in a folder that goes with it, and identities signed by it. */
#define MANAGER_UUID "0f0e0d0c-0b0a-4908-8706-050403020100"
#define HOST_UUID "11111111-2222-4333-8444-555555555555"
#define OTHER_UUID "99999999-2222-4333-8444-555555555555"

typedef struct {
    char *dir;
    Ca *ca;
} Pki;

static inline void
pki_remove(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        pki_remove(inner);
    }
    g_remove(path);
}

static inline void
pki_free(Pki *pki)
{
    pki_remove(pki->dir);
    g_free(pki->dir);
    ca_free(pki->ca);
    g_free(pki);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pki, pki_free)

static inline Pki *
pki_new(void)
{
    Pki *pki = g_new0(Pki, 1);
    g_autoptr(GError) error = NULL;

    pki->dir = g_dir_make_tmp("godwit-pki-XXXXXX", &error);
    g_assert_no_error(error);
    pki->ca = ca_open(pki->dir, NULL, &error);
    g_assert_no_error(error);
    return pki;
}

static inline Identity *
pki_identity(Pki *pki, IdentityRole role, const char *uuid, gint days)
{
    g_autoptr(Identity) identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;
    g_autoptr(GError) error = NULL;
    const char *alt_names[] = { "127.0.0.1", "::1", "localhost", NULL };

    identity->name.role = role;
    g_strlcpy(identity->name.uuid, uuid, sizeof(identity->name.uuid));
    identity_request(&identity->key, &request, &error);
    g_assert_no_error(error);
    identity->cert = ca_sign(pki->ca, request, &identity->name, alt_names, days, &error);
    g_assert_no_error(error);
    identity->ca = g_strdup(pki->ca->cert);
    return g_steal_pointer(&identity);
}
