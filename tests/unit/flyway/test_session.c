/* SPDX-License-Identifier: Apache-2.0 */
/* Two real workers: how a session opens, or doesn't, and how it ends. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"
#include "rig.h"

static const GError *
error_of(const RigEnd *end)
{
    return worker_status(end->worker)->error;
}

static void
assert_failed(RigEnd *end, GodwitError code, const char *part)
{
    RIG_UNTIL(rig_state(end) == WORKER_FAILED);
    g_test_message("%s", error_of(end)->message);
    g_assert_error(error_of(end), GODWIT_ERROR, (int)code);
    g_assert_nonnull(strstr(error_of(end)->message, part));
}

static void
test_open(void)
{
    g_autoptr(Rig) rig = rig_open();

    g_assert_nonnull(strstr(worker_status(rig->source.worker)->tls, "TLS1.3"));
    g_assert_cmpuint(rig->source.seen[WORKER_EVENT_WANT_CONNECTION], ==, 1);
    g_assert_cmpint(rig_refresh(&rig->source)->wire_bytes, >, 1000);
    /* One machine has one monotonic clock. */
    RIG_UNTIL(rig_refresh(&rig->destination)->peer_clock_uncertainty_us >= 0);
    g_assert_cmpint(ABS(worker_status(rig->destination.worker)->peer_clock_offset_us), <=,
                    worker_status(rig->destination.worker)->peer_clock_uncertainty_us + 1);
}

/* ---- who may connect ------------------------------------------------------------------------- */

/* Somebody else comes first, is turned away for the right reason, and spoils nothing. */
static void
turned_away(const RigOther *other, GodwitError code, const char *part)
{
    g_autoptr(Rig) rig = rig_new();

    rig_start_destination(rig);
    rig_start_other(rig, other);
    assert_failed(&rig->other, code, part);
    g_assert_cmpint(rig_refresh(&rig->destination)->state, ==, WORKER_READY);
    rig_start_source(rig);
    RIG_UNTIL(rig_state(&rig->source) == WORKER_OPEN &&
              rig_state(&rig->destination) == WORKER_OPEN);
}

static void
test_wrong_ticket(void)
{
    g_autofree char *ticket = random_hex_256();

    turned_away(&(RigOther){ .ticket = ticket }, GODWIT_ERROR_UNAUTHORIZED, "ticket");
}

static void
test_wrong_vm(void)
{
    g_autofree char *vm = g_uuid_string_random();

    turned_away(&(RigOther){ .vm = vm }, GODWIT_ERROR_FORBIDDEN, "another VM");
}

static void
test_wrong_migration(void)
{
    g_autofree char *id = g_uuid_string_random();

    turned_away(&(RigOther){ .id = id }, GODWIT_ERROR_FORBIDDEN, "another migration");
}

static void
test_foreign_certificate(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_autoptr(Identity) foreign = rig_foreign_identity(rig);
    int garbage[2];

    /* It trusts the right CA, so that it isn't the one who refuses. */
    g_free(foreign->ca);
    foreign->ca = g_strdup(rig->identities[0]->ca);
    rig_start_destination(rig);
    rig_start_other(rig, &(RigOther){ .identity = foreign });
    assert_failed(&rig->other, GODWIT_ERROR_UNAUTHORIZED, "refused this host's certificate");
    g_assert_cmpint(rig_refresh(&rig->destination)->state, ==, WORKER_READY);

    /* Nor do those who don't speak TLS, or don't speak at all, spoil anything. */
    rig_tcp_pair(garbage);
    worker_give_connection(rig->destination.worker, garbage[1]);
    rig_write(garbage[0], "GET / HTTP/1.1\r\n\r\n", 18);
    for (int i = 0; i < 5; i++) {
        int silent[2];

        rig_tcp_pair(silent);
        worker_give_connection(rig->destination.worker, silent[1]);
    }
    rig_start_source(rig);
    RIG_UNTIL(rig_state(&rig->source) == WORKER_OPEN &&
              rig_state(&rig->destination) == WORKER_OPEN);
    close(garbage[0]);
}

static void
test_wrong_host(void)
{
    g_autoptr(Rig) rig = rig_new();

    /* A certificate of the cluster, but of another host than is expected. */
    rig_start_destination(rig);
    rig_start_other(rig, &(RigOther){ .identity = rig->identities[1] });
    assert_failed(&rig->other, GODWIT_ERROR_UNAUTHORIZED, "refused this host's certificate");
    g_assert_cmpint(rig_refresh(&rig->destination)->state, ==, WORKER_READY);
}

static void
test_source_checks_destination(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_autoptr(Identity) foreign = rig_foreign_identity(rig);

    identity_free(rig->identities[1]);
    rig->identities[1] = g_steal_pointer(&foreign);
    rig_start_destination(rig);
    rig_start_source(rig);
    assert_failed(&rig->source, GODWIT_ERROR_UNAUTHORIZED, "no good certificate of this cluster");
}

static void
test_reused_ticket(void)
{
    g_autoptr(Rig) rig = rig_open();

    rig_start_other(rig, &(RigOther){ .ticket = NULL });
    assert_failed(&rig->other, GODWIT_ERROR_EXPIRED, "used before");
    g_assert_cmpint(rig_refresh(&rig->source)->state, ==, WORKER_OPEN);
    g_assert_cmpint(rig_refresh(&rig->destination)->state, ==, WORKER_OPEN);
}

static void
test_nobody_comes(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig->expires_s = 1;
    rig_start_destination(rig);
    assert_failed(&rig->destination, GODWIT_ERROR_EXPIRED, "in time");
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void
test_end(void)
{
    g_autoptr(Rig) rig = rig_open();
    int stream[2], pid = worker_status(rig->source.worker)->pid;
    char text[5];

    rig_lane(rig, RIG_STREAM, stream);
    rig_write(stream[0], "hello", 5);
    rig_read(stream[1], text, 5);
    worker_end(rig->source.worker);
    worker_end(rig->source.worker);
    RIG_UNTIL(rig->source.seen[WORKER_EVENT_GONE] == 1);
    g_assert_no_error(error_of(&rig->source));
    g_assert_cmpint(rig_state(&rig->source), ==, WORKER_ENDED);
    RIG_UNTIL(rig_state(&rig->destination) == WORKER_ENDED);
    rig_read_end(stream[0]);
    rig_read_end(stream[1]);
    close(stream[0]);
    /* It was waited for: no zombie. */
    g_assert_cmpint(waitpid(pid, NULL, WNOHANG), ==, -1);
    g_assert_cmpint(errno, ==, ECHILD);
    /* The other one answers until it is told. */
    g_assert_cmpint(rig_refresh(&rig->destination)->state, ==, WORKER_ENDED);
    worker_end(rig->destination.worker);
    RIG_UNTIL(rig->destination.seen[WORKER_EVENT_GONE] == 1);
}

static void
test_killed(void)
{
    g_autoptr(Rig) rig = rig_open();
    int stream[2];

    rig_lane(rig, RIG_STREAM, stream);
    rig_drop_tcp(rig);
    kill(worker_status(rig->destination.worker)->pid, SIGKILL);
    RIG_UNTIL(rig->destination.seen[WORKER_EVENT_GONE] == 1);
    assert_failed(&rig->destination, GODWIT_ERROR_INTERNAL, "signal 9");
    assert_failed(&rig->source, GODWIT_ERROR_UNREACHABLE, "has no worker");
    rig_read_end(stream[0]); /* QEMU sees it too */
    rig_read_end(stream[1]);
    close(stream[0]);
    g_assert_cmpint(rig_refresh(&rig->source)->state, ==, WORKER_FAILED); /* and it still answers */
    g_assert_false(worker_status(rig->source.worker)->finish_refused);
    worker_end(rig->source.worker);
    RIG_UNTIL(rig->source.seen[WORKER_EVENT_GONE] == 1);
}

static void
test_lost(void)
{
    g_autoptr(Rig) rig = rig_open_with(2, 1);

    rig_lose(rig);
    RIG_UNTIL(rig_refresh(&rig->source)->connections == 0);
    g_assert_cmpint(rig_state(&rig->source), ==, WORKER_OPEN);
    assert_failed(&rig->source, GODWIT_ERROR_UNREACHABLE, "couldn't be made anew");
    assert_failed(&rig->destination, GODWIT_ERROR_UNREACHABLE, "couldn't be made anew");
}

static void
test_garbage_on_connection(void)
{
    g_autoptr(Rig) rig = rig_open();

    rig_write(rig->tcp[0], "\x17\x03\x03\x00\x20 not what the other end can decrypt", 40);
    rig_drop_tcp(rig);
    RIG_UNTIL(rig_refresh(&rig->destination)->resumes == 1); /* that connection is over, no more */
    RIG_UNTIL(rig_refresh(&rig->source)->resumes == 1);
    g_assert_cmpint(rig_state(&rig->source), ==, WORKER_OPEN);
}

static void
test_silence(void)
{
    g_autoptr(Rig) idle = rig_open_with(6, 1); /* quiet, but not dead: pings keep it */
    g_autoptr(Rig) rig = rig_open_with(6, 1);
    int pid = worker_status(rig->destination.worker)->pid;
    gint64 since_us = g_get_monotonic_time();

    rig_drop_tcp(rig);
    kill(pid, SIGSTOP);
    assert_failed(&rig->source, GODWIT_ERROR_TIMEOUT, "was lost");
    g_assert_cmpint(g_get_monotonic_time() - since_us, >, 4 * G_USEC_PER_SEC);
    kill(pid, SIGCONT);
    RIG_UNTIL(rig_state(&rig->destination) == WORKER_FAILED);
    RIG_UNTIL(g_get_monotonic_time() - since_us > 8 * G_USEC_PER_SEC);
    g_assert_cmpint(rig_refresh(&idle->source)->state, ==, WORKER_OPEN);
    g_assert_cmpint(rig_refresh(&idle->destination)->state, ==, WORKER_OPEN);
}

static void
test_terminated(void)
{
    g_autoptr(Rig) rig = rig_open();

    kill(worker_status(rig->source.worker)->pid, SIGTERM);
    RIG_UNTIL(rig->source.seen[WORKER_EVENT_GONE] == 1);
    g_assert_cmpint(rig_state(&rig->source), ==, WORKER_ENDED);
    RIG_UNTIL(rig_state(&rig->destination) == WORKER_ENDED);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (argc > 1 && strcmp(argv[1], "silence") == 0) { /* takes 10 s: on its own */
        g_test_add_func("/flyway/session/silence", test_silence);
        return g_test_run();
    }
    g_test_add_func("/flyway/session/open", test_open);
    g_test_add_func("/flyway/session/wrong-ticket", test_wrong_ticket);
    g_test_add_func("/flyway/session/wrong-vm", test_wrong_vm);
    g_test_add_func("/flyway/session/wrong-migration", test_wrong_migration);
    g_test_add_func("/flyway/session/foreign-certificate", test_foreign_certificate);
    g_test_add_func("/flyway/session/wrong-host", test_wrong_host);
    g_test_add_func("/flyway/session/source-checks-destination", test_source_checks_destination);
    g_test_add_func("/flyway/session/reused-ticket", test_reused_ticket);
    g_test_add_func("/flyway/session/nobody-comes", test_nobody_comes);
    g_test_add_func("/flyway/session/end", test_end);
    g_test_add_func("/flyway/session/killed", test_killed);
    g_test_add_func("/flyway/session/lost", test_lost);
    g_test_add_func("/flyway/session/garbage", test_garbage_on_connection);
    g_test_add_func("/flyway/session/terminated", test_terminated);
    return g_test_run();
}
