/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The connections of a session, each in a slot. The source wants `connections` of them: godwitd is
 * asked for each that is missing, one question at a time for a slot, again RETRY_US after one that
 * failed. The first opens the session; the others carry beside it, and replace what was lost. The
 * destination takes what comes.
 *
 * A connection ends when its socket says so, when the source has heard nothing on it for
 * FLYWAY_STALL_US (TCP itself would try again ever more rarely, and come back long after the
 * network), or when a further one comes for its slot. What it carried unacknowledged is sent again
 * over another (line.c). Without any the session is CUT: nothing is read from local sockets, but
 * for what a packer's free batches hold, so that libvirt and QEMU see only a pause. After the time
 * to resume, counted from the last byte heard, the session fails. It fails sooner where the other
 * host's godwitd answers and has no worker for us (AWAY_MAX times each): that one is gone, not the
 * network.
 */
#include "flyway/session.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define RETRY_US (300 * 1000)
#define AWAY_MAX 8 /* a godwitd that was restarted finds its worker again within this time */

gboolean
session_is_open(const Session *session)
{
    return session->state == SESSION_OPEN || session->state == SESSION_CUT;
}

void
strand_drop(Session *session, Strand *strand, const Fault *fault)
{
    if (strand->link == NULL)
        return;
    session->wire_bytes_before += link_wire_bytes(strand->link);
    g_clear_pointer(&strand->link, link_free);
    line_lost(session->line, (int)(strand - session->strands));
    session->n_links--;
    session->acked_below = 0; /* our last ACK may be lost: say it anew */
    if (fault != NULL) {
        g_message("Connection %d was lost: %s", (int)(strand - session->strands), fault->text);
        session->lost = *fault;
    }
    if (session->n_links == 0 && session->state == SESSION_OPEN)
        session_cut(session);
}

void
strand_attach(Session *session, Hello *hello, gint64 now_us)
{
    Strand *strand = &session->strands[hello->slot];

    strand_drop(session, strand, NULL);
    *strand = (Strand){ .link = hello_take(hello),
                        .poll_index = -1,
                        .due = STRAND_DUE_PING | STRAND_DUE_ACK,
                        .waits = hello->further,
                        .heard_us = now_us,
                        .pinged_us = now_us };
    session->n_links++;
    session->away = 0;
    session->heard_us = now_us;
    g_strlcpy(session->tls, link_description(strand->link), sizeof session->tls);
}

/* Is a connection for it being made? */
static gboolean
is_coming(const Session *session, guint slot)
{
    for (guint i = 0; i < SESSION_HELLOS; i++) {
        if (session->hellos[i].link != NULL && session->hellos[i].slot == slot)
            return TRUE;
    }
    return session->strands[slot].want != 0;
}

static gboolean
is_wanted(const Session *session, guint slot)
{
    guint n = session->state == SESSION_READY ? 1 : session->connections;

    if (session->terms.side != FLYWAY_SOURCE ||
        (session->state != SESSION_READY && !session_is_open(session)))
        return FALSE;
    return slot < n && session->strands[slot].link == NULL && !is_coming(session, slot);
}

static void
ask(Session *session, gint64 now_us)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];

        if (!is_wanted(session, i) || now_us < strand->retry_us)
            continue;
        strand->want = ++session->wants;
        session->changed = TRUE;
    }
}

void
session_no_connection(Session *session, guint32 want)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];

        if (want == 0 || strand->want != want)
            continue;
        strand->want = 0;
        strand->retry_us = clock_monotonic_us() + RETRY_US;
        session->changed = TRUE;
    }
}

void
strand_refused(Session *session, guint slot, const Fault *fault)
{
    session->strands[slot].retry_us = clock_monotonic_us() + RETRY_US;
    session->lost = *fault;
    if (fault->code == GODWIT_ERROR_TIMEOUT || session->n_links > 0 ||
        ++session->away < AWAY_MAX * session->connections)
        return;
    session_fail_lost(session, "the other host has no worker for this migration any more");
}

/* Is a silent connection given up here? */
static gboolean
may_stall(const Session *session)
{
    return session->terms.side == FLYWAY_SOURCE && session->state == SESSION_OPEN;
}

gint64
strands_wake_us(const Session *session)
{
    gint64 wake_us = G_MAXINT64;

    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        const Strand *strand = &session->strands[i];

        if (strand->link != NULL && link_pending(strand->link))
            return 0;
        /* What takes nothing takes no ping: poll tells when it does. */
        if (strand->link != NULL && !(link_events(strand->link) & POLLOUT))
            wake_us = MIN(wake_us, strand->pinged_us + FLYWAY_PING_US);
        if (strand->link != NULL && may_stall(session))
            wake_us = MIN(wake_us, strand->heard_us + FLYWAY_STALL_US);
        if (strand->link == NULL && is_wanted(session, i))
            wake_us = MIN(wake_us, strand->retry_us);
    }
    return session_is_open(session) ? MIN(wake_us, session->heard_us + session->resume_us)
                                    : wake_us;
}

static struct tcp_info
tcp_of(const Strand *strand)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof info;

    if (getsockopt(link_fd(strand->link), IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        info = (struct tcp_info){ .tcpi_min_rtt = G_MAXUINT32 };
    return info;
}

/* TCP's own minimum of the round trip, which what we have queued doesn't lengthen; 0: unknown. */
static gint64
trip_us(const Strand *strand)
{
    guint32 trip = tcp_of(strand).tcpi_min_rtt;

    return trip == G_MAXUINT32 ? 0 : trip;
}

gboolean
strands_are_busy(const Session *session)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        const Strand *strand = &session->strands[i];

        if (strand->link != NULL &&
            ((link_events(strand->link) & POLLOUT) || tcp_of(strand).tcpi_notsent_bytes > 0))
            return TRUE;
    }
    return FALSE;
}

void
strands_pace(Session *session)
{
    gint64 longest_us = 0;

    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        if (session->strands[i].link != NULL)
            longest_us = MAX(longest_us, trip_us(&session->strands[i]));
    }
    for (guint i = 0; i < FLYWAY_LANES; i++)
        pace_trip(&session->lanes[i].pace, longest_us);
}

void
strands_run_time(Session *session, gint64 now_us)
{
    for (guint i = 0; i < FLYWAY_LINKS; i++) {
        Strand *strand = &session->strands[i];
        Fault fault = { 0 };

        if (strand->link != NULL && now_us >= strand->pinged_us + FLYWAY_PING_US) {
            strand->due |= STRAND_DUE_PING;
            strands_pace(session);
        }
        if (strand->link == NULL || now_us < strand->heard_us + FLYWAY_STALL_US ||
            !may_stall(session))
            continue;
        fault_set(&fault, GODWIT_ERROR_TIMEOUT, "nothing was heard for %d seconds",
                  (int)(FLYWAY_STALL_US / G_USEC_PER_SEC));
        strand_drop(session, strand, &fault);
    }
    if (session_is_open(session) && now_us >= session->heard_us + session->resume_us)
        session_fail_lost(session, "check the migration network and that host");
    ask(session, now_us);
}
