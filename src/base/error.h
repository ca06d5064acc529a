/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * GODWIT_ERROR: the one error domain. A client may rely on the codes: their nicks (godwit_error_nick)
 * travel in JSON as "code", and every HTTP status follows from them (net/http_server.c).
 *
 * Messages say what was tried, with what, and what to do. Context is added on the way up with
 * g_prefix_error().
 */
#define GODWIT_ERROR godwit_error_quark()

typedef enum {
    GODWIT_ERROR_INVALID,      /* "invalid": a request, option, file or value is malformed */
    GODWIT_ERROR_NOT_FOUND,    /* "not-found": no such VM, host, task, … */
    GODWIT_ERROR_CONFLICT,     /* "conflict": exists already, or is busy with something else */
    GODWIT_ERROR_REFUSED,      /* "refused": a preflight check blocks, nothing was started */
    GODWIT_ERROR_UNREACHABLE,  /* "unreachable": host, manager or libvirt doesn't answer */
    GODWIT_ERROR_UNAUTHORIZED, /* "unauthorized": no or wrong token or certificate */
    GODWIT_ERROR_FORBIDDEN,    /* "forbidden": known, but may not do this */
    GODWIT_ERROR_EXPIRED,      /* "expired": ticket or token used before, or too old */
    GODWIT_ERROR_UNSUPPORTED,  /* "unsupported": this version or host can't */
    GODWIT_ERROR_NO_SPACE,     /* "no-space": disk or memory exhausted */
    GODWIT_ERROR_TOO_LARGE,    /* "too-large": over a stated limit */
    GODWIT_ERROR_TIMEOUT,      /* "timeout": a time limit passed */
    GODWIT_ERROR_CANCELLED,    /* "cancelled": a person asked for the end */
    GODWIT_ERROR_PROTOCOL,     /* "protocol": the peer broke the protocol */
    GODWIT_ERROR_HYPERVISOR,   /* "hypervisor": libvirt or QEMU said no */
    GODWIT_ERROR_UNSETTLED,    /* "unsettled": outcome can't be known; nothing was guessed, a person is told */
    GODWIT_ERROR_INTERNAL,     /* "internal": our own fault */
    GODWIT_N_ERRORS
} GodwitError;

GQuark godwit_error_quark(void);

/** The code's word in JSON; "internal" for other domains' errors (G_IO_ERROR_CANCELLED and
 * _TIMED_OUT, _CONNECTION_REFUSED and the like are mapped to their own words). Static string. */
const char *godwit_error_nick(const GError *error);

/** The code for a nick, GODWIT_ERROR_INTERNAL where unknown. */
GodwitError godwit_error_from_nick(const char *nick);
