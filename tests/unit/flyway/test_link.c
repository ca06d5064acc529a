/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TLS connection, both ends here: bytes arrive whatever sizes they are sent and taken in, only
 * the right host is believed, and each way to end is told for what it is. Calls of the system and
 * of GnuTLS can be made to fail (the linker puts the __wrap_ functions in their place).
 */
#include "flyway/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include "rig.h"

#define PATIENCE_MS 40000
#define CARRIED (3u * 1024 * 1024)

/* ---- failing calls --------------------------------------------------------------------------- */

static guint interrupts; /* so many receives and sends are interrupted first */
static enum { NOTHING, CREDENTIALS, INIT, PRIORITY, CHAIN, PEERS } broken;

ssize_t __real_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_gnutls_certificate_allocate_credentials(gnutls_certificate_credentials_t *out);
int __wrap_gnutls_certificate_allocate_credentials(gnutls_certificate_credentials_t *out);
int __real_gnutls_init(gnutls_session_t *out, unsigned flags);
int __wrap_gnutls_init(gnutls_session_t *out, unsigned flags);
int __real_gnutls_priority_set(gnutls_session_t tls, gnutls_priority_t priority);
int __wrap_gnutls_priority_set(gnutls_session_t tls, gnutls_priority_t priority);
int __real_gnutls_certificate_verify_peers3(gnutls_session_t tls, const char *name,
                                            unsigned *status);
int __wrap_gnutls_certificate_verify_peers3(gnutls_session_t tls, const char *name,
                                            unsigned *status);
const gnutls_datum_t *__real_gnutls_certificate_get_peers(gnutls_session_t tls, unsigned *n);
const gnutls_datum_t *__wrap_gnutls_certificate_get_peers(gnutls_session_t tls, unsigned *n);

static gboolean
interrupted(void)
{
    if (interrupts == 0 || --interrupts % 2 == 0)
        return FALSE;
    errno = EINTR;
    return TRUE;
}

ssize_t
__wrap_recv(int fd, void *bytes, size_t size, int flags)
{
    return interrupted() ? -1 : __real_recv(fd, bytes, size, flags);
}

ssize_t
__wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return interrupted() ? -1 : __real_sendmsg(fd, message, flags);
}

int
__wrap_gnutls_certificate_allocate_credentials(gnutls_certificate_credentials_t *out)
{
    return broken == CREDENTIALS ? GNUTLS_E_MEMORY_ERROR
                                 : __real_gnutls_certificate_allocate_credentials(out);
}

int
__wrap_gnutls_init(gnutls_session_t *out, unsigned flags)
{
    return broken == INIT ? GNUTLS_E_MEMORY_ERROR : __real_gnutls_init(out, flags);
}

int
__wrap_gnutls_priority_set(gnutls_session_t tls, gnutls_priority_t priority)
{
    return broken == PRIORITY ? GNUTLS_E_MEMORY_ERROR : __real_gnutls_priority_set(tls, priority);
}

int
__wrap_gnutls_certificate_verify_peers3(gnutls_session_t tls, const char *name, unsigned *status)
{
    return broken == CHAIN ? GNUTLS_E_MEMORY_ERROR
                           : __real_gnutls_certificate_verify_peers3(tls, name, status);
}

const gnutls_datum_t *
__wrap_gnutls_certificate_get_peers(gnutls_session_t tls, unsigned *n)
{
    return broken == PEERS ? NULL : __real_gnutls_certificate_get_peers(tls, n);
}

/* ---- two ends -------------------------------------------------------------------------------- */

typedef struct {
    Rig *rig; /* for its identities */
    LinkKeys *keys[2];
    Link *links[2]; /* by FlywaySide */
} Ends;

static void
ends_up(Ends *ends)
{
    *ends = (Ends){ .rig = rig_new() };
    for (int i = 0; i < 2; i++) {
        Fault fault = { 0 };

        ends->keys[i] = link_keys_new(ends->rig->identities[i], &fault);
        g_assert_nonnull(ends->keys[i]);
        g_assert_false(fault.set);
    }
}

static void
hang_up(Ends *ends)
{
    for (int i = 0; i < 2; i++)
        g_clear_pointer(&ends->links[i], link_free);
}

static void
ends_down(Ends *ends)
{
    hang_up(ends);
    for (int i = 0; i < 2; i++)
        link_keys_free(ends->keys[i]);
    rig_free(ends->rig);
}

static Link *
make_link(Ends *ends, FlywaySide side, int fd)
{
    Fault fault = { 0 };
    Link *link = link_new(ends->keys[side], side, ends->rig->hosts[!side], fd, &fault);

    g_assert_nonnull(link);
    g_assert_cmpint(link_fd(link), ==, fd);
    return link;
}

static void
connect_ends(Ends *ends)
{
    int fds[2], small = 16384;

    hang_up(ends);
    rig_tcp_pair(fds);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        ends->links[i] = make_link(ends, i, fds[i]);
    }
}

static void
wait_for(Link *link)
{
    struct pollfd entry = { .fd = link_fd(link), .events = link_events(link) };

    g_assert_cmpint(poll(&entry, 1, PATIENCE_MS), ==, 1);
}

/* Until each has a result. */
static void
shake_hands(Ends *ends, int results[2])
{
    results[0] = results[1] = -EAGAIN;
    while (results[0] == -EAGAIN || results[1] == -EAGAIN) {
        struct pollfd entries[2];
        int done = -1;

        for (int i = 0; i < 2; i++) {
            entries[i] = (struct pollfd){ link_fd(ends->links[i]), link_events(ends->links[i]), 0 };
            if (results[i] == -EAGAIN)
                results[i] = link_handshake(ends->links[i]);
            if (results[i] != -EAGAIN) {
                entries[i].fd = -1;
                done = i;
            }
        }
        if (done < 0)
            g_assert_cmpint(poll(entries, 2, PATIENCE_MS), >, 0);
        else if (results[!done] == -EAGAIN)
            wait_for(ends->links[!done]);
    }
}

static void
open_ends(Ends *ends)
{
    int results[2];

    connect_ends(ends);
    shake_hands(ends, results);
    g_assert_cmpint(results[0], ==, 0);
    g_assert_cmpint(results[1], ==, 0);
}

/* Receives until it ends. */
static int
receive_end(Link *link)
{
    int result;

    while ((result = link_receive(link)) == 0 || result == -EAGAIN) {
        gsize length;

        link_rx(link, &length);
        link_rx_drop(link, length);
        if (result == -EAGAIN)
            wait_for(link);
    }
    return result;
}

static void
assert_fault(const Link *link, GodwitError code, const char *part)
{
    g_assert_true(link_fault(link)->set);
    g_assert_nonnull(strstr(link_fault(link)->text, part));
    g_assert_cmpint(link_fault(link)->code, ==, code);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static guint8
byte_at(gsize at)
{
    return (guint8)(at ^ at >> 8 ^ at >> 16);
}

static gsize
send_some(Link *link, gsize sent, GRand *rand)
{
    gsize room, size, total = sent;

    for (int frames = g_rand_int_range(rand, 1, 4); frames > 0; frames--) {
        guint8 *out = link_tx_room(link, &room);

        if (room == 0 || total == CARRIED)
            break;
        size = (gsize)g_rand_int_range(rand, 1, FRAME_SIZE_MAX);
        size = MIN(size, MIN(room, CARRIED - total));
        for (gsize i = 0; i < size; i++)
            out[i] = byte_at(total + i);
        link_tx_add(link, size);
        total += size;
    }
    return total;
}

/* Leaves some of it there now and then. */
static gsize
take_some(Link *link, gsize taken, GRand *rand)
{
    gsize length;
    const guint8 *bytes = link_rx(link, &length);

    if (length < FRAME_SIZE_MAX && taken + length < CARRIED && g_rand_int_range(rand, 0, 3))
        return taken;
    if (length > 1 && length < FRAME_SIZE_MAX && taken + length < CARRIED)
        length = (gsize)g_rand_int_range(rand, 1, (gint32)length);
    for (gsize i = 0; i < length; i++)
        g_assert_cmpuint(bytes[i], ==, byte_at(taken + i));
    link_rx_drop(link, length);
    return taken + length;
}

static void
carry(Link *from, Link *to, guint32 seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    gsize sent = 0, taken = 0;
    guint blocked = 0;

    while (taken < CARRIED) {
        int result;

        if (link_flush(from) == 0) {
            sent = send_some(from, sent, rand);
            result = link_flush(from);
            g_assert_true(result == 0 || result == -EAGAIN);
        }
        if (link_events(from) & POLLOUT) {
            gsize room;

            blocked++;
            link_tx_room(from, &room);
            g_assert_cmpuint(room, ==, 0);
        }
        do {
            result = link_receive(to);
            taken = take_some(to, taken, rand);
        } while (result == 0 && (link_pending(to) || g_rand_boolean(rand)));
        g_assert_true(result == 0 || result == -EAGAIN);
        if (result == -EAGAIN && (link_events(from) & POLLOUT)) {
            struct pollfd entries[] = { { link_fd(from), POLLOUT, 0 }, { link_fd(to), POLLIN, 0 } };

            g_assert_cmpint(poll(entries, 2, PATIENCE_MS), >, 0);
        }
    }
    g_assert_cmpuint(blocked, >, 0);
    g_assert_cmpuint(sent, ==, CARRIED);
    g_assert_false(link_fault(to)->set);
    g_assert_cmpuint(link_wire_bytes(from), >, CARRIED);
    g_assert_cmpuint(link_wire_bytes(from), <, CARRIED * 11ull / 10);
}

static void
test_carries(void)
{
    Ends ends;

    ends_up(&ends);
    open_ends(&ends);
    g_assert_true(g_str_has_prefix(link_description(ends.links[0]), "TLS1.3 "));
    g_assert_cmpstr(link_description(ends.links[0]), ==, link_description(ends.links[1]));
    carry(ends.links[0], ends.links[1], 1);
    open_ends(&ends);
    carry(ends.links[1], ends.links[0], 2);
    interrupts = 20; /* signals change nothing */
    open_ends(&ends);
    interrupts = 2000;
    carry(ends.links[0], ends.links[1], 3);
    interrupts = 0;
    ends_down(&ends);
}

/* ---- who is there ---------------------------------------------------------------------------- */

/* Another identity at one end: both ends must see why it isn't believed. */
static void
assert_refused(Ends *ends, FlywaySide side, const Identity *identity, const char *part)
{
    int results[2];

    link_keys_free(ends->keys[side]);
    ends->keys[side] = link_keys_new(identity, NULL);
    g_assert_nonnull(ends->keys[side]);
    connect_ends(ends);
    shake_hands(ends, results);
    g_assert_cmpint(results[!side], ==, -EPROTO);
    assert_fault(ends->links[!side], GODWIT_ERROR_UNAUTHORIZED, part);
    if (results[side] == 0) /* the client's end learns of it later */
        results[side] = receive_end(ends->links[side]);
    g_assert_cmpint(results[side], ==, -EPIPE);
    assert_fault(ends->links[side], GODWIT_ERROR_UNAUTHORIZED, "refused this host's certificate");
}

static void
test_foreign(void)
{
    for (FlywaySide side = FLYWAY_SOURCE; side <= FLYWAY_DESTINATION; side++) {
        g_autoptr(Identity) identity = NULL;
        Ends ends;

        ends_up(&ends);
        identity = rig_foreign_identity(ends.rig);
        /* The refusing end's own certificate is refused as well: whoever looks first tells. */
        if (side == FLYWAY_SOURCE) {
            int results[2];

            link_keys_free(ends.keys[0]);
            ends.keys[0] = link_keys_new(identity, NULL);
            connect_ends(&ends);
            shake_hands(&ends, results);
            g_assert_cmpint(results[0], ==, -EPROTO);
            assert_fault(ends.links[0], GODWIT_ERROR_UNAUTHORIZED, "no good certificate");
            assert_fault(ends.links[1], GODWIT_ERROR_UNAUTHORIZED, "refused this host's");
        } else {
            assert_refused(&ends, side, identity, "no good certificate");
        }
        ends_down(&ends);
    }
}

static Identity *
identity_of(Rig *rig, const IdentityName *name)
{
    g_autofree char *dir = g_build_filename(rig->dir, "ca", NULL);
    g_autoptr(Ca) ca = ca_open(dir, NULL, NULL);
    Identity *identity = g_new0(Identity, 1);
    g_autofree char *request = NULL;

    g_assert_nonnull(ca);
    g_assert_true(identity_request(&identity->key, &request, NULL));
    identity->cert = ca_sign(ca, request, name, NULL, 30, NULL);
    g_assert_nonnull(identity->cert);
    identity->ca = g_strdup(ca->cert);
    return identity;
}

static void
test_other_host(void)
{
    for (FlywaySide side = FLYWAY_SOURCE; side <= FLYWAY_DESTINATION; side++) {
        IdentityName name = { .role = IDENTITY_HOST };
        g_autoptr(Identity) other = NULL;
        g_autoptr(Identity) manager = NULL;
        Ends ends;

        ends_up(&ends);
        g_strlcpy(name.uuid, "00000000-1111-4222-8333-444444444444", sizeof name.uuid);
        other = identity_of(ends.rig, &name);
        assert_refused(&ends, side, other, "is host 00000000-1111-4222-8333-444444444444");
        g_strlcpy(name.uuid, ends.rig->hosts[side], sizeof name.uuid);
        name.role = IDENTITY_MANAGER;
        manager = identity_of(ends.rig, &name);
        assert_refused(&ends, side, manager, "not a host");
        ends_down(&ends);
    }
}

/* Signed by the cluster's CA, but it names nobody. */
static void
test_nameless(void)
{
    gnutls_x509_crt_t ca, cert;
    gnutls_x509_privkey_t ca_key, key;
    gnutls_datum_t out = { 0 }, in;
    g_autofree char *path = NULL, *pem = NULL;
    Identity nameless;
    Ends ends;

    ends_up(&ends);
    nameless = *ends.rig->identities[0];
    path = g_build_filename(ends.rig->dir, "ca", "ca-key.pem", NULL);
    g_assert_true(g_file_get_contents(path, &pem, NULL, NULL));
    gnutls_x509_crt_init(&ca);
    gnutls_x509_crt_init(&cert);
    gnutls_x509_privkey_init(&ca_key);
    gnutls_x509_privkey_init(&key);
    in = (gnutls_datum_t){ (guint8 *)pem, (unsigned)strlen(pem) };
    g_assert_cmpint(gnutls_x509_privkey_import(ca_key, &in, GNUTLS_X509_FMT_PEM), ==, 0);
    in = (gnutls_datum_t){ (guint8 *)nameless.ca, (unsigned)strlen(nameless.ca) };
    g_assert_cmpint(gnutls_x509_crt_import(ca, &in, GNUTLS_X509_FMT_PEM), ==, 0);
    in = (gnutls_datum_t){ (guint8 *)nameless.key, (unsigned)strlen(nameless.key) };
    g_assert_cmpint(gnutls_x509_privkey_import(key, &in, GNUTLS_X509_FMT_PEM), ==, 0);
    gnutls_x509_crt_set_key(cert, key);
    gnutls_x509_crt_set_version(cert, 3);
    gnutls_x509_crt_set_serial(cert, "\1\2", 2);
    gnutls_x509_crt_set_activation_time(cert, time(NULL) - 100);
    gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 10000);
    g_assert_cmpint(gnutls_x509_crt_sign2(cert, ca, ca_key, GNUTLS_DIG_SHA256, 0), ==, 0);
    gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &out);
    nameless.cert = (char *)out.data;
    assert_refused(&ends, FLYWAY_SOURCE, &nameless, "names no Godwit host");
    gnutls_free(out.data);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(ca_key);
    gnutls_x509_privkey_deinit(key);
    ends_down(&ends);
}

/* A TLS client that shows nothing. */
static void
test_no_certificate(void)
{
    gnutls_certificate_credentials_t none;
    gnutls_session_t tls;
    int fds[2], result = GNUTLS_E_AGAIN, other = -EAGAIN;
    Ends ends;

    ends_up(&ends);
    rig_tcp_pair(fds);
    ends.links[1] = make_link(&ends, FLYWAY_DESTINATION, fds[1]);
    gnutls_certificate_allocate_credentials(&none);
    gnutls_init(&tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    gnutls_set_default_priority(tls);
    gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, none);
    g_assert_cmpint(fcntl(fds[0], F_SETFL, O_NONBLOCK), ==, 0);
    gnutls_transport_set_int(tls, fds[0]);
    while (other == -EAGAIN) {
        if (result == GNUTLS_E_AGAIN)
            result = gnutls_handshake(tls);
        wait_for(ends.links[1]);
        other = link_handshake(ends.links[1]);
    }
    g_assert_cmpint(other, ==, -EPROTO);
    assert_fault(ends.links[1], GODWIT_ERROR_UNAUTHORIZED, "showed no certificate");
    gnutls_deinit(tls);
    gnutls_certificate_free_credentials(none);
    close(fds[0]);
    ends_down(&ends);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Alerts of a peer, as it sends them in clear before there are keys. */
static void
test_alerts(void)
{
    static const struct {
        guint8 alert;
        GodwitError code;
    } rows[] = {
        { 40, GODWIT_ERROR_PROTOCOL },      /* handshake failure */
        { 42, GODWIT_ERROR_UNAUTHORIZED },  /* bad certificate */
        { 46, GODWIT_ERROR_UNAUTHORIZED },  /* certificate unknown */
        { 47, GODWIT_ERROR_PROTOCOL },      /* illegal parameter */
        { 48, GODWIT_ERROR_UNAUTHORIZED },  /* unknown CA */
        { 49, GODWIT_ERROR_UNAUTHORIZED },  /* access denied */
        { 50, GODWIT_ERROR_PROTOCOL },      /* decode error */
        { 70, GODWIT_ERROR_PROTOCOL },      /* protocol version */
        { 116, GODWIT_ERROR_UNAUTHORIZED }, /* certificate required */
    };
    Ends ends;

    ends_up(&ends);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint8 record[] = { 21, 3, 3, 0, 2, 2, rows[i].alert };
        int fds[2];

        rig_tcp_pair(fds);
        ends.links[0] = make_link(&ends, FLYWAY_SOURCE, fds[0]);
        g_assert_cmpint(link_handshake(ends.links[0]), ==, -EAGAIN);
        rig_write(fds[1], record, sizeof record);
        wait_for(ends.links[0]);
        g_assert_cmpint(link_handshake(ends.links[0]), ==, -EPIPE);
        assert_fault(ends.links[0], rows[i].code,
                     rows[i].code == GODWIT_ERROR_PROTOCOL ? "ended TLS" : "refused this host's");
        close(fds[1]);
        hang_up(&ends);
    }
    ends_down(&ends);
}

static void
test_garbage(void)
{
    static const char garbage[] = "\x17\x03\x03\x00\x20 not what this end can decrypt at all";
    int fds[2];
    Ends ends;

    ends_up(&ends);
    rig_tcp_pair(fds);
    ends.links[1] = make_link(&ends, FLYWAY_DESTINATION, fds[1]);
    rig_write(fds[0], "GET / HTTP/1.0\r\n\r\n", 18);
    wait_for(ends.links[1]);
    g_assert_cmpint(link_handshake(ends.links[1]), ==, -EPROTO);
    assert_fault(ends.links[1], GODWIT_ERROR_PROTOCOL, "TLS with host");
    close(fds[0]);

    open_ends(&ends);
    rig_write(link_fd(ends.links[0]), garbage, sizeof garbage);
    g_assert_cmpint(receive_end(ends.links[1]), ==, -EPROTO);
    assert_fault(ends.links[1], GODWIT_ERROR_PROTOCOL, "TLS with host");
    link_bye(ends.links[1]); /* says nothing any more */
    ends_down(&ends);
}

static void
test_lost(void)
{
    Ends ends;

    ends_up(&ends);
    open_ends(&ends); /* end of file without TLS's good-bye */
    g_clear_pointer(&ends.links[0], link_free);
    g_assert_cmpint(receive_end(ends.links[1]), ==, -EPIPE);
    assert_fault(ends.links[1], GODWIT_ERROR_UNREACHABLE, "was lost");

    open_ends(&ends); /* with it */
    link_bye(ends.links[0]);
    g_assert_cmpint(receive_end(ends.links[1]), ==, -EPIPE);
    assert_fault(ends.links[1], GODWIT_ERROR_UNREACHABLE, "closed the connection");

    open_ends(&ends); /* while sending */
    shutdown(link_fd(ends.links[0]), SHUT_RDWR);
    link_tx_add(ends.links[0], 1000);
    link_bye(ends.links[0]); /* not before what is in tx: nothing is sent */
    g_assert_cmpint(link_flush(ends.links[0]), ==, -EPIPE);
    assert_fault(ends.links[0], GODWIT_ERROR_UNREACHABLE, "was lost");
    ends_down(&ends);
}

/* ---- nothing to begin with ------------------------------------------------------------------- */

static void
assert_no_keys(const Identity *identity)
{
    Fault fault = { 0 };

    g_assert_null(link_keys_new(identity, &fault));
    g_assert_true(fault.set);
    g_assert_cmpint(fault.code, ==, GODWIT_ERROR_INVALID);
    g_assert_nonnull(strstr(fault.text, "`godwitd join`"));
}

static void
test_bad_keys(void)
{
    g_autoptr(Rig) rig = rig_new();
    Identity identity = *rig->identities[0];

    identity.key = rig->identities[1]->key; /* of another certificate */
    assert_no_keys(&identity);
    identity = *rig->identities[0];
    identity.cert = (char *)"no certificate";
    assert_no_keys(&identity);
    identity = *rig->identities[0];
    identity.ca = (char *)"no certificate";
    assert_no_keys(&identity);
    identity.ca = (char *)"";
    assert_no_keys(&identity);
    broken = CREDENTIALS;
    assert_no_keys(rig->identities[0]);
    broken = NOTHING;
    link_keys_free(NULL);
}

static void
test_no_tls(void)
{
    Ends ends;

    ends_up(&ends);
    for (broken = INIT; broken <= PRIORITY; broken++) {
        Fault fault = { 0 };
        int fds[2];

        rig_tcp_pair(fds);
        g_assert_null(link_new(ends.keys[0], FLYWAY_SOURCE, ends.rig->hosts[1], fds[0], &fault));
        g_assert_cmpint(fault.code, ==, GODWIT_ERROR_INTERNAL);
        rig_read_end(fds[1]); /* its socket was closed */
        close(fds[1]);
    }
    for (; broken <= PEERS; broken++) { /* what can't be looked at isn't believed */
        int results[2];

        connect_ends(&ends);
        shake_hands(&ends, results);
        g_assert_cmpint(results[0], ==, -EPROTO);
        g_assert_cmpint(link_fault(ends.links[0])->code, ==, GODWIT_ERROR_UNAUTHORIZED);
    }
    broken = NOTHING;
    link_free(NULL);
    ends_down(&ends);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/link/carries", test_carries);
    g_test_add_func("/flyway/link/foreign", test_foreign);
    g_test_add_func("/flyway/link/other-host", test_other_host);
    g_test_add_func("/flyway/link/nameless", test_nameless);
    g_test_add_func("/flyway/link/no-certificate", test_no_certificate);
    g_test_add_func("/flyway/link/alerts", test_alerts);
    g_test_add_func("/flyway/link/garbage", test_garbage);
    g_test_add_func("/flyway/link/lost", test_lost);
    g_test_add_func("/flyway/link/bad-keys", test_bad_keys);
    g_test_add_func("/flyway/link/no-tls", test_no_tls);
    return g_test_run();
}
