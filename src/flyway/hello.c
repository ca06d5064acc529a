/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Between a TCP connection and a session stand two proofs: a certificate of the cluster naming the
 * right host (link.c, in the handshake), and the one-time ticket that the destination's godwitd
 * gave to the source's for this migration, inside TLS. Both have to be done within FLYWAY_HELLO_US,
 * for a source's further connection within FLYWAY_STALL_US: then it tries another.
 *
 * The destination judges: version, ticket (compared in constant time), whether it was used or is
 * too old, then whether it is for this migration, VM, direction and pair of hosts. A no is told
 * with code and text and only ends that connection: the session goes on waiting for the right one
 * until the ticket is too old, so whoever connects first can't spoil a migration. Only an accepted
 * hello uses the ticket up: afterwards it is good only for further connections of that session,
 * which need the same host's certificate as well.
 *
 * The source sends HELLO at once and takes the reply for final.
 */
#include "flyway/hello.h"

#include <errno.h>
#include <string.h>

static void
fail(Hello *hello, const Fault *fault)
{
    hello->state = HELLO_FAILED;
    if (!hello->fault.set)
        hello->fault = *fault;
}

static void
fail_text(Hello *hello, GodwitError code, const char *text)
{
    Fault fault = { 0 };

    fault_set(&fault, code, "%s", text);
    fail(hello, &fault);
}

/* Takes as long whatever the difference. */
static gboolean
same_secret(const guint8 *a, const guint8 *b, gsize length)
{
    volatile guint8 difference = 0;

    for (gsize i = 0; i < length; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

FlywayCode
hello_judge(const HelloTerms *terms, const FrameHello *hello, gint64 now_us, char *text)
{
    FlywayCode code = FLYWAY_OK;
    const char *why = "";

    if (hello->major != FLYWAY_MAJOR) {
        code = FLYWAY_BAD_VERSION;
        why = "the flyway versions don't fit: update Godwit on both hosts to the same version";
    } else if (!same_secret(terms->ticket, hello->ticket, sizeof terms->ticket)) {
        code = FLYWAY_BAD_TICKET;
        why = "the ticket isn't the one that was given out for this migration";
    } else if (hello->further && !terms->used) {
        code = FLYWAY_WRONG;
        why = "the session that it would go on with isn't known here; start the migration anew";
    } else if (!hello->further && terms->used) {
        code = FLYWAY_EXPIRED;
        why = "the ticket was used before; start the migration anew";
    } else if (!hello->further && now_us > terms->expires_us) {
        code = FLYWAY_EXPIRED;
        why = "the ticket is too old; start the migration anew";
    } else if (hello->side == terms->side) {
        code = FLYWAY_WRONG;
        why = "the ticket is for the other direction";
    } else if (memcmp(hello->id, terms->id, 16) != 0) {
        code = FLYWAY_WRONG;
        why = "the ticket is for another migration";
    } else if (memcmp(hello->vm, terms->vm, 16) != 0) {
        code = FLYWAY_WRONG;
        why = "the ticket is for another VM";
    } else if (memcmp(hello->self, terms->peer, 16) != 0 ||
               memcmp(hello->peer, terms->self, 16) != 0) {
        code = FLYWAY_WRONG;
        why = "the ticket is for another pair of hosts";
    }
    g_strlcpy(text, why, FRAME_TEXT_MAX + 1);
    return code;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void
send_frame(Hello *hello, const Frame *frame)
{
    gsize room;
    guint8 *out = link_tx_room(hello->link, &room);
    gsize size = frame_encode(frame, out, room);

    g_assert(size > 0); /* first frame of a link */
    link_tx_add(hello->link, size);
}

static void
send_hello(Hello *hello, const HelloTerms *terms)
{
    Frame frame = { .type = FRAME_HELLO };

    frame.hello.major = FLYWAY_MAJOR;
    frame.hello.minor = FLYWAY_MINOR;
    frame.hello.side = terms->side;
    frame.hello.slot = hello->slot;
    frame.hello.further = hello->further;
    frame.hello.abilities = FLYWAY_ABILITIES;
    memcpy(frame.hello.id, terms->id, 16);
    memcpy(frame.hello.vm, terms->vm, 16);
    memcpy(frame.hello.self, terms->self, 16);
    memcpy(frame.hello.peer, terms->peer, 16);
    memcpy(frame.hello.ticket, terms->ticket, 32);
    send_frame(hello, &frame);
}

static void
got_hello(Hello *hello, HelloTerms *terms, const FrameHello *theirs, gint64 now_us)
{
    Frame frame = { .type = FRAME_HELLO_REPLY };
    FrameReply *reply = &frame.reply;

    reply->major = FLYWAY_MAJOR;
    reply->minor = MIN(FLYWAY_MINOR, theirs->minor);
    reply->abilities = FLYWAY_ABILITIES & theirs->abilities;
    reply->code = hello_judge(terms, theirs, now_us, reply->text);
    send_frame(hello, &frame);
    if (reply->code == FLYWAY_OK) {
        terms->used = TRUE;
        hello->abilities = reply->abilities;
        hello->slot = theirs->slot;
        hello->further = theirs->further;
        hello->state = HELLO_ACCEPTED;
    } else {
        fault_set(&hello->fault, flyway_code_error(reply->code), "Refused a connection: %s",
                  reply->text);
        hello->state = HELLO_REFUSING;
    }
}

static void
got_reply(Hello *hello, const FrameReply *reply)
{
    Fault fault = { 0 };

    if (reply->code == FLYWAY_OK && reply->major == FLYWAY_MAJOR) {
        hello->abilities = reply->abilities & FLYWAY_ABILITIES;
        hello->state = HELLO_ACCEPTED;
        return;
    }
    fault_set(&fault,
              reply->code == FLYWAY_OK ? GODWIT_ERROR_PROTOCOL : flyway_code_error(reply->code),
              "The destination's worker refused the connection: %s",
              reply->text[0] != '\0' ? reply->text : "it gave no reason");
    fail(hello, &fault);
}

/* TRUE: a frame was taken, or it failed. */
static gboolean
take_frame(Hello *hello, HelloTerms *terms, gint64 now_us)
{
    gsize length, used;
    const guint8 *bytes = link_rx(hello->link, &length);
    const char *why = NULL;
    Frame frame;
    int result = frame_decode(bytes, length, &frame, &used, &why);
    FrameType expected = terms->side == FLYWAY_SOURCE ? FRAME_HELLO_REPLY : FRAME_HELLO;

    if (length > 0 && bytes[0] != expected) {
        fail_text(hello, GODWIT_ERROR_PROTOCOL,
                  "The other worker didn't begin with a hello: are the versions alike?");
        return TRUE;
    }
    if (result == -EAGAIN)
        return FALSE;
    if (result < 0) {
        fail_text(hello, GODWIT_ERROR_PROTOCOL, why);
        return TRUE;
    }
    link_rx_drop(hello->link, used);
    if (terms->side == FLYWAY_SOURCE)
        got_reply(hello, &frame.reply);
    else
        got_hello(hello, terms, &frame.hello, now_us);
    return TRUE;
}

/* ---- running --------------------------------------------------------------------------------- */

void
hello_begin(Hello *hello, const HelloTerms *terms, const LinkKeys *keys, int fd, gint64 now_us)
{
    gint64 limit_us = hello->further ? FLYWAY_STALL_US : FLYWAY_HELLO_US;
    char peer[37];

    *hello = (Hello){ .state = HELLO_TLS,
                      .poll_index = -1,
                      .deadline_us = now_us + limit_us,
                      .slot = hello->slot,
                      .further = hello->further };
    flyway_uuid_format(terms->peer, peer);
    hello->link = link_new(keys, terms->side, peer, fd, &hello->fault);
    if (hello->link == NULL)
        hello->state = HELLO_FAILED;
}

static void
run_handshake(Hello *hello, const HelloTerms *terms)
{
    int result = link_handshake(hello->link);

    if (result == 0) {
        hello->state = HELLO_EXCHANGE;
        if (terms->side == FLYWAY_SOURCE)
            send_hello(hello, terms);
    } else if (result != -EAGAIN) {
        fail(hello, link_fault(hello->link));
    }
}

static void
run_exchange(Hello *hello, HelloTerms *terms, gint64 now_us)
{
    int result = link_flush(hello->link);

    while (result == 0 || result == -EAGAIN) {
        if (take_frame(hello, terms, now_us))
            return;
        result = link_receive(hello->link);
        if (result == -EAGAIN)
            return;
    }
    fail(hello, link_fault(hello->link));
}

void
hello_run(Hello *hello, HelloTerms *terms, gint64 now_us)
{
    if (hello->state == HELLO_TLS)
        run_handshake(hello, terms);
    if (hello->state == HELLO_EXCHANGE)
        run_exchange(hello, terms, now_us);
    if (hello->state == HELLO_REFUSING && link_flush(hello->link) != -EAGAIN) {
        link_bye(hello->link);
        hello->state = HELLO_FAILED;
    }
    if (hello->state < HELLO_ACCEPTED && now_us >= hello->deadline_us)
        fail_text(hello, GODWIT_ERROR_TIMEOUT, "The other worker didn't finish its hello in time");
}

Link *
hello_take(Hello *hello)
{
    g_assert(hello->state == HELLO_ACCEPTED);
    return g_steal_pointer(&hello->link);
}

void
hello_end(Hello *hello)
{
    g_clear_pointer(&hello->link, link_free);
    hello->poll_index = -1;
    hello->state = HELLO_FAILED;
}
