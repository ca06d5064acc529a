/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One TCP connection with GnuTLS on top, never blocking. TLS 1.3 only, both certificates demanded
 * and verified against the cluster's CA, and the peer's must name, as godwit:host:UUID, the host
 * that godwitd expects: who is at the other end is decided here and nowhere else. No session
 * tickets and no early data, so every connection proves itself anew.
 *
 * Three buffers, all fixed: tx holds frames until GnuTLS has encrypted and the socket has taken
 * them (it is filled only when empty, so at most TX_SIZE plus one record waits in user space); raw
 * is what recv brought, so that GnuTLS's small reads are no system calls; rx is decrypted bytes,
 * with room for the largest frame and a record more. TCP_NOTSENT_LOWAT keeps what the kernel holds
 * unsent small: QEMU judges the link by what its socket takes, and what is buffered adds to the
 * blackout.
 *
 * When the peer dies, the socket tells: reset and end of file without TLS's good-bye are both
 * -EPIPE with a fault. Silence is noticed above (strand.c).
 */
#include "flyway/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#define TX_SIZE (FRAME_SIZE_MAX + 16 * 1024) /* one full frame and the small ones before it */
#define RAW_SIZE (64 * 1024)
#define RX_SIZE (2 * FRAME_SIZE_MAX)
#define RECORD_MAX 16384
#define NOTSENT_BYTES (128 * 1024)
#define PRIORITY                                                                                   \
    "NONE:+VERS-TLS1.3:+MAC-ALL:+SIGN-ALL:+GROUP-X25519:+GROUP-SECP256R1:+CTYPE-X509:"             \
    "+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+ECDHE-ECDSA:+ECDHE-RSA:+COMP-NULL"

struct LinkKeys {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
};

struct Link {
    /* read-only after start */
    int fd;
    gnutls_session_t tls;
    char peer_uuid[37];
    char description[96];

    Fault fault;
    gboolean write_blocked;
    gboolean more; /* another record follows at once: TCP may join them */
    guint64 wire_bytes;
    gsize tx_start, tx_end;
    gsize raw_start, raw_end;
    gsize rx_start, rx_end;
    guint8 tx[TX_SIZE], raw[RAW_SIZE], rx[RX_SIZE];
};

/* ---- GnuTLS's transport ---------------------------------------------------------------------- */

static ssize_t
push(gnutls_transport_ptr_t data, const giovec_t *parts, int n_parts)
{
    Link *link = data;
    struct msghdr message = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)n_parts };
    ssize_t sent =
        sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (link->more ? MSG_MORE : 0));

    if (sent > 0)
        link->wire_bytes += (guint64)sent;
    else if (sent < 0)
        gnutls_transport_set_errno(link->tls, errno);
    return sent;
}

static ssize_t
pull(gnutls_transport_ptr_t data, void *to, size_t size)
{
    Link *link = data;
    gsize part;

    if (link->raw_start == link->raw_end) {
        ssize_t got = recv(link->fd, link->raw, RAW_SIZE, MSG_DONTWAIT);

        if (got < 0)
            gnutls_transport_set_errno(link->tls, errno);
        if (got <= 0)
            return got;
        link->wire_bytes += (guint64)got;
        link->raw_start = 0;
        link->raw_end = (gsize)got;
    }
    part = MIN(size, link->raw_end - link->raw_start);
    memcpy(to, link->raw + link->raw_start, part);
    link->raw_start += part;
    return (ssize_t)part;
}

/* ---- who is there ---------------------------------------------------------------------------- */

static gboolean
check_chain(Link *link)
{
    unsigned status = 0;
    gnutls_datum_t text = { 0 };
    int result = gnutls_certificate_verify_peers3(link->tls, NULL, &status);

    if (result == GNUTLS_E_SUCCESS && status == 0)
        return TRUE;
    if (result == GNUTLS_E_SUCCESS)
        gnutls_certificate_verification_status_print(status, gnutls_certificate_type_get(link->tls),
                                                     &text, 0);
    fault_set(&link->fault, GODWIT_ERROR_UNAUTHORIZED,
              "The other end, that should be host %s, has no good certificate of this cluster: %s",
              link->peer_uuid,
              text.data != NULL ? (const char *)text.data : gnutls_strerror(result));
    gnutls_free(text.data);
    return FALSE;
}

static gboolean
check_name(Link *link)
{
    unsigned n_certs = 0;
    const gnutls_datum_t *certs = gnutls_certificate_get_peers(link->tls, &n_certs);
    IdentityName name = { 0 };

    if (certs == NULL || n_certs == 0 ||
        !identity_name_of_der(certs[0].data, certs[0].size, &name, NULL)) {
        fault_set(&link->fault, GODWIT_ERROR_UNAUTHORIZED,
                  "The other end's certificate names no Godwit host; expected host %s",
                  link->peer_uuid);
        return FALSE;
    }
    if (name.role == IDENTITY_HOST && g_ascii_strcasecmp(name.uuid, link->peer_uuid) == 0)
        return TRUE;
    fault_set(&link->fault, GODWIT_ERROR_UNAUTHORIZED,
              "The other end is %s %s; expected host %s: check the address of that host",
              name.role == IDENTITY_HOST ? "host" : "not a host but", name.uuid, link->peer_uuid);
    return FALSE;
}

static int
verify(gnutls_session_t tls)
{
    Link *link = gnutls_session_get_ptr(tls);

    return check_chain(link) && check_name(link) ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int
load_keys(LinkKeys *keys, const Identity *identity)
{
    gnutls_datum_t cert = { (void *)identity->cert, (unsigned)strlen(identity->cert) };
    gnutls_datum_t key = { (void *)identity->key, (unsigned)strlen(identity->key) };
    gnutls_datum_t ca = { (void *)identity->ca, (unsigned)strlen(identity->ca) };
    int result =
        gnutls_certificate_set_x509_key_mem(keys->credentials, &cert, &key, GNUTLS_X509_FMT_PEM);

    if (result < 0)
        return result;
    result = gnutls_certificate_set_x509_trust_mem(keys->credentials, &ca, GNUTLS_X509_FMT_PEM);
    if (result == 0)
        return GNUTLS_E_NO_CERTIFICATE_FOUND;
    return result < 0 ? result : gnutls_priority_init(&keys->priority, PRIORITY, NULL);
}

LinkKeys *
link_keys_new(const Identity *identity, Fault *fault)
{
    LinkKeys *keys = g_new0(LinkKeys, 1);
    int result = gnutls_certificate_allocate_credentials(&keys->credentials);

    if (result == 0)
        result = load_keys(keys, identity);
    if (result < 0) {
        fault_set(fault, GODWIT_ERROR_INVALID,
                  "Can't use this host's certificate and key: %s. `godwitd join` makes new ones",
                  gnutls_strerror(result));
        link_keys_free(keys);
        return NULL;
    }
    gnutls_certificate_set_verify_function(keys->credentials, verify);
    return keys;
}

void
link_keys_free(LinkKeys *keys)
{
    if (keys == NULL)
        return;
    if (keys->priority != NULL)
        gnutls_priority_deinit(keys->priority);
    if (keys->credentials != NULL)
        gnutls_certificate_free_credentials(keys->credentials);
    g_free(keys);
}

static void
tune_socket(int fd)
{
    const int on = 1, idle_s = 10, interval_s = 5, probes = 3, notsent = NOTSENT_BYTES;

    /* Best effort: tests may use other sockets than TCP. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &notsent, sizeof notsent);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static int
start_tls(Link *link, const LinkKeys *keys, FlywaySide side)
{
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS;
    int result;

    /* A foreign certificate is shown too, so that the refusal names the true reason. */
    flags |= side == FLYWAY_SOURCE ? GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT : GNUTLS_SERVER;
    result = gnutls_init(&link->tls, flags);
    if (result < 0)
        return result;
    gnutls_session_set_ptr(link->tls, link);
    gnutls_transport_set_ptr(link->tls, link);
    gnutls_transport_set_vec_push_function(link->tls, push);
    gnutls_transport_set_pull_function(link->tls, pull);
    gnutls_handshake_set_timeout(link->tls, GNUTLS_INDEFINITE_TIMEOUT); /* hello.c keeps time */
    if (side == FLYWAY_DESTINATION)
        gnutls_certificate_server_set_request(link->tls, GNUTLS_CERT_REQUIRE);
    result = gnutls_priority_set(link->tls, keys->priority);
    if (result < 0)
        return result;
    return gnutls_credentials_set(link->tls, GNUTLS_CRD_CERTIFICATE, keys->credentials);
}

Link *
link_new(const LinkKeys *keys, FlywaySide side, const char *peer_uuid, int fd, Fault *fault)
{
    Link *link = g_new0(Link, 1);
    int result;

    link->fd = fd;
    g_strlcpy(link->peer_uuid, peer_uuid, sizeof link->peer_uuid);
    tune_socket(fd);
    result = start_tls(link, keys, side);
    if (result < 0) {
        fault_set(fault, GODWIT_ERROR_INTERNAL, "Can't set up TLS: %s", gnutls_strerror(result));
        link_free(link);
        return NULL;
    }
    return link;
}

void
link_free(Link *link)
{
    if (link == NULL)
        return;
    if (link->tls != NULL)
        gnutls_deinit(link->tls);
    close(link->fd);
    g_free(link);
}

/* ---- what it shows --------------------------------------------------------------------------- */

int
link_fd(const Link *link)
{
    return link->fd;
}

short
link_events(const Link *link)
{
    return (short)(POLLIN | (link->write_blocked ? POLLOUT : 0));
}

gboolean
link_pending(const Link *link)
{
    return link->raw_start != link->raw_end || gnutls_record_check_pending(link->tls) > 0;
}

const Fault *
link_fault(const Link *link)
{
    return &link->fault;
}

guint64
link_wire_bytes(const Link *link)
{
    return link->wire_bytes;
}

const char *
link_description(const Link *link)
{
    return link->description;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static gboolean
alert_is_about_certificate(gnutls_alert_description_t alert)
{
    return (alert >= GNUTLS_A_BAD_CERTIFICATE && alert <= GNUTLS_A_CERTIFICATE_UNKNOWN) ||
           alert == GNUTLS_A_UNKNOWN_CA || alert == GNUTLS_A_ACCESS_DENIED ||
           alert == GNUTLS_A_CERTIFICATE_REQUIRED;
}

static void
fault_from_alert(Link *link)
{
    gnutls_alert_description_t alert = gnutls_alert_get(link->tls);

    if (alert_is_about_certificate(alert))
        fault_set(&link->fault, GODWIT_ERROR_UNAUTHORIZED,
                  "Host %s refused this host's certificate (%s): are both hosts in one cluster?",
                  link->peer_uuid, gnutls_alert_get_name(alert));
    else
        fault_set(&link->fault, GODWIT_ERROR_PROTOCOL, "Host %s ended TLS: %s", link->peer_uuid,
                  gnutls_alert_get_name(alert));
}

/* Ends the link for a GnuTLS error; 0 and -EAGAIN pass. */
static int
fail(Link *link, int result)
{
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    switch (result) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
        fault_from_alert(link);
        return -EPIPE;
    case GNUTLS_E_PREMATURE_TERMINATION:
    case GNUTLS_E_PULL_ERROR:
    case GNUTLS_E_PUSH_ERROR:
        fault_set(&link->fault, GODWIT_ERROR_UNREACHABLE,
                  "The connection to host %s was lost: check the migration network and that host",
                  link->peer_uuid);
        return -EPIPE;
    case GNUTLS_E_CERTIFICATE_REQUIRED:
    case GNUTLS_E_NO_CERTIFICATE_FOUND:
        fault_set(&link->fault, GODWIT_ERROR_UNAUTHORIZED,
                  "The other end, that should be host %s, showed no certificate", link->peer_uuid);
        break;
    default:
        fault_set(&link->fault, GODWIT_ERROR_PROTOCOL, "TLS with host %s failed: %s",
                  link->peer_uuid, gnutls_strerror(result));
    }
    return -EPROTO;
}

/* ---- running --------------------------------------------------------------------------------- */

static void
describe(Link *link)
{
    gnutls_group_t group = gnutls_group_get(link->tls);

    g_snprintf(link->description, sizeof link->description, "%s %s %s",
               gnutls_protocol_get_name(gnutls_protocol_get_version(link->tls)),
               gnutls_cipher_get_name(gnutls_cipher_get(link->tls)),
               group != GNUTLS_GROUP_INVALID ? gnutls_group_get_name(group) : "");
}

int
link_handshake(Link *link)
{
    int result;

    do {
        result = gnutls_handshake(link->tls);
    } while (result < 0 && !gnutls_error_is_fatal(result) && result != GNUTLS_E_AGAIN);
    link->write_blocked = result == GNUTLS_E_AGAIN && gnutls_record_get_direction(link->tls) == 1;
    if (result == GNUTLS_E_SUCCESS) {
        describe(link);
        return 0;
    }
    if (result != GNUTLS_E_AGAIN)
        gnutls_alert_send_appropriate(link->tls, result);
    return fail(link, result);
}

guint8 *
link_tx_room(Link *link, gsize *room)
{
    gboolean free_again = link->tx_start == link->tx_end || link->tx_start == 0;

    if (link->tx_start == link->tx_end && !link->write_blocked)
        link->tx_start = link->tx_end = 0;
    *room = free_again && !link->write_blocked ? TX_SIZE - link->tx_end : 0;
    return link->tx + link->tx_end;
}

void
link_tx_add(Link *link, gsize size)
{
    g_assert(size <= TX_SIZE - link->tx_end);
    link->tx_end += size;
}

int
link_flush(Link *link)
{
    link->write_blocked = FALSE;
    while (link->tx_start < link->tx_end) {
        /* After GNUTLS_E_AGAIN the same bytes must be given again: tx doesn't move meanwhile. */
        gsize left = link->tx_end - link->tx_start;
        ssize_t sent;

        link->more = left > RECORD_MAX;
        sent = gnutls_record_send(link->tls, link->tx + link->tx_start, MIN(RECORD_MAX, left));
        if (sent == GNUTLS_E_INTERRUPTED)
            continue;
        if (sent == GNUTLS_E_AGAIN) {
            link->write_blocked = TRUE;
            return -EAGAIN;
        }
        if (sent < 0)
            return fail(link, (int)sent);
        link->tx_start += (gsize)sent;
    }
    return 0;
}

void
link_bye(Link *link)
{
    if (link->tx_start == link->tx_end && !link->fault.set)
        (void)gnutls_bye(link->tls, GNUTLS_SHUT_WR);
}

int
link_receive(Link *link)
{
    ssize_t got;

    if (link->rx_start == link->rx_end) {
        link->rx_start = link->rx_end = 0;
    } else if (RX_SIZE - link->rx_end < RECORD_MAX) {
        memmove(link->rx, link->rx + link->rx_start, link->rx_end - link->rx_start);
        link->rx_end -= link->rx_start;
        link->rx_start = 0;
    }
    g_assert(link->rx_end < RX_SIZE);
    do {
        got = gnutls_record_recv(link->tls, link->rx + link->rx_end, RX_SIZE - link->rx_end);
    } while (got == GNUTLS_E_INTERRUPTED);
    if (got > 0) {
        link->rx_end += (gsize)got;
        return 0;
    }
    if (got < 0 && (got == GNUTLS_E_AGAIN || gnutls_error_is_fatal((int)got)))
        return fail(link, (int)got);
    if (got < 0)
        return -EAGAIN; /* a warning: the next call goes on */
    fault_set(&link->fault, GODWIT_ERROR_UNREACHABLE,
              "Host %s closed the connection without a good-bye: its worker was ended",
              link->peer_uuid);
    return -EPIPE;
}

const guint8 *
link_rx(const Link *link, gsize *length)
{
    *length = link->rx_end - link->rx_start;
    return link->rx + link->rx_start;
}

void
link_rx_drop(Link *link, gsize size)
{
    g_assert(size <= link->rx_end - link->rx_start);
    link->rx_start += size;
}
