/* SPDX-License-Identifier: Apache-2.0 */
#include "duo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"

static gint64 skew_us; /* atomic: codec threads read the clock, too */

gint64 __real_clock_monotonic_us(void);
gint64 __wrap_clock_monotonic_us(void);

gint64
__wrap_clock_monotonic_us(void)
{
    return __real_clock_monotonic_us() + __atomic_load_n(&skew_us, __ATOMIC_RELAXED);
}

void
turn(gint64 by_us)
{
    __atomic_add_fetch(&skew_us, by_us, __ATOMIC_RELAXED);
}

HelloTerms
terms_of(const Rig *rig, FlywaySide side)
{
    HelloTerms terms = { .side = side,
                         .ticket = "ticket",
                         .expires_us = clock_monotonic_us() + 60 * SECOND };

    g_assert_true(flyway_uuid_parse(rig->id, terms.id));
    g_assert_true(flyway_uuid_parse(rig->vm, terms.vm));
    g_assert_true(flyway_uuid_parse(rig->hosts[side], terms.self));
    g_assert_true(flyway_uuid_parse(rig->hosts[!side], terms.peer));
    return terms;
}

Session *
make_session(const Rig *rig, FlywaySide side, guint connections)
{
    gboolean is_source = side == FLYWAY_SOURCE;
    SessionConfig config = { .terms = terms_of(rig, side),
                             .identity = rig->identities[side],
                             .rpc_listener = is_source ? dup(rig->listeners[RIG_RPC]) : -1,
                             .stream_listener = is_source ? dup(rig->listeners[RIG_STREAM]) : -1,
                             .nbd_listener = is_source ? dup(rig->listeners[RIG_NBD]) : -1,
                             .resume_us = 20 * SECOND,
                             .connections = connections,
                             .threads = 1 };
    Session *session = g_new0(Session, 1);

    session_init(session);
    session_start(session, &config);
    g_assert_cmpint(session->state, ==, SESSION_READY);
    return session;
}

/* connections 0: only the destination; its source is the test. */
void
duo_up(Duo *duo, guint connections)
{
    *duo = (Duo){ .rig = rig_new(), .give = -1, .wait_us = 20000 };
    for (guint i = 0; i < FLYWAY_LINKS; i++)
        duo->cuts[i] = duo->ends[i] = -1;
    if (connections > 0)
        duo->sessions[FLYWAY_SOURCE] = make_session(duo->rig, FLYWAY_SOURCE, connections);
    duo->sessions[FLYWAY_DESTINATION] = make_session(duo->rig, FLYWAY_DESTINATION, 0);
}

void
drop_session(Duo *duo, FlywaySide side)
{
    if (duo->sessions[side] == NULL)
        return;
    session_clear(duo->sessions[side]);
    g_clear_pointer(&duo->sessions[side], g_free);
}

void
duo_down(Duo *duo)
{
    drop_session(duo, 0);
    drop_session(duo, 1);
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        fd_close_p(&duo->cuts[i]);
        fd_close_p(&duo->ends[i]);
    }
    for (guint which = 0; which < G_N_ELEMENTS(duo->peers); which++) {
        for (guint i = 0; i < duo->n_peers[which]; i++)
            fd_close_p(&duo->peers[which][i]);
    }
    rig_free(duo->rig);
}

static void
give_connection(Duo *duo, guint32 want)
{
    guint place = duo->n_connections++ % FLYWAY_LINKS;
    int fds[2];

    rig_tcp_pair(fds);
    fd_close_p(&duo->cuts[place]);
    fd_close_p(&duo->ends[place]);
    duo->cuts[place] = dup(fds[0]);
    duo->ends[place] = dup(fds[1]);
    session_give_connection(duo->sessions[0], want, fds[0]);
    session_give_connection(duo->sessions[1], 0, fds[1]);
}

static void
give_lane(Duo *duo, const SessionWant *want)
{
    guint which = (guint)want->what - WANT_RPC;
    int fds[2];

    g_assert_cmpuint(duo->n_peers[which], <, PEERS);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
    duo->peers[which][duo->n_peers[which]++] = fds[0];
    session_give_lane(duo->sessions[1], want->number, fds[1]);
}

/* What godwitd would do. */
static void
answer(Duo *duo, FlywaySide side)
{
    SessionWant wants[SESSION_WANTS_MAX];
    gsize n = session_wants(duo->sessions[side], wants);

    for (gsize i = 0; i < n; i++) {
        if (wants[i].what != WANT_CONNECTION && duo->refuse) {
            session_refuse_lane(duo->sessions[side], wants[i].number, "not today");
        } else if (wants[i].what != WANT_CONNECTION) {
            give_lane(duo, &wants[i]);
        } else if (duo->give >= 0) {
            session_give_connection(duo->sessions[side], wants[i].number, duo->give);
            duo->give = -1;
        } else if (duo->hold || duo->sessions[1] == NULL) {
            session_no_connection(duo->sessions[side], wants[i].number);
            duo->refused++;
        } else {
            give_connection(duo, wants[i].number);
        }
    }
}

/* What is on its way is lost. */
void
cut_all(Duo *duo)
{
    guint8 lost[65536];

    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        if (duo->cuts[i] < 0)
            continue;
        while (recv(duo->ends[i], lost, sizeof lost, MSG_DONTWAIT) > 0)
            ;
        while (recv(duo->cuts[i], lost, sizeof lost, MSG_DONTWAIT) > 0)
            ;
        shutdown(duo->cuts[i], SHUT_RDWR);
        fd_close_p(&duo->cuts[i]);
        fd_close_p(&duo->ends[i]);
    }
}

void
round_of(Duo *duo)
{
    struct pollfd entries[2 * SESSION_POLL_MAX];
    gsize n[3] = { 0 };
    gint64 now_us = clock_monotonic_us(), wake_us = now_us + duo->wait_us;

    for (int i = 0; i < 2; i++) {
        n[i + 1] = n[i];
        if (duo->sessions[i] == NULL)
            continue;
        n[i + 1] += session_poll(duo->sessions[i], entries + n[i], SESSION_POLL_MAX);
        wake_us = MIN(wake_us, session_wake_us(duo->sessions[i], now_us));
    }
    poll(entries, n[2], (int)(MAX(wake_us - now_us, 0) / 1000));
    if (duo->cut_now)
        cut_all(duo);
    duo->cut_now = FALSE;
    for (int i = 0; i < 2; i++) { /* what is given is first looked at by the next session_run */
        if (duo->sessions[i] != NULL)
            answer(duo, i);
    }
    for (int i = 0; i < 2; i++) {
        if (duo->sessions[i] != NULL)
            session_run(duo->sessions[i], entries + n[i]);
    }
}

void
duo_open(Duo *duo, guint connections)
{
    duo_up(duo, connections);
    UNTIL(duo,
          duo->sessions[0]->n_links == connections && duo->sessions[1]->n_links == connections);
    g_assert_cmpint(duo->sessions[0]->state, ==, SESSION_OPEN);
    g_assert_cmpint(duo->sessions[1]->state, ==, SESSION_OPEN);
}

int
open_lane(Duo *duo, guint which)
{
    guint before = duo->n_peers[which];
    int fd = rig_connect(duo->rig, which);

    g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
    UNTIL(duo, duo->n_peers[which] > before);
    return fd;
}

void
assert_failed(Duo *duo, FlywaySide side, GodwitError code, const char *part)
{
    UNTIL(duo, duo->sessions[side]->state == SESSION_FAILED);
    g_assert_cmpint(duo->sessions[side]->fault.code, ==, code);
    if (strstr(duo->sessions[side]->fault.text, part) == NULL)
        g_error("\"%s\" isn't in: %s", part, duo->sessions[side]->fault.text);
}
