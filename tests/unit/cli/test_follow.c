/* SPDX-License-Identifier: Apache-2.0 */
/* Moves that are followed: to a good and a bad end, through lost streams and a manager that goes
 * away, until Ctrl-C. */
#include <signal.h>
#include <string.h>

#include "cli/text.h"
#include "runner.h"

#define ID "5e3f0000-0000-4000-8000-000000000001"
#define ID2 "5e3f0000-0000-4000-8000-000000000002"
#define TASK_OF(id, vm, state, result, more)                                                       \
    "{'id': '" id "', 'kind': 'migrate', 'summary': 'migrate " vm                                  \
    " from h1 to h2', 'state': '" state "', 'created_ms': 1795419800000,"                          \
    " 'migration': {'id': '" id "', 'vm': '" vm "', 'from': 'h1', 'to': 'h2', 'result': '" result  \
    "'" more "}}"
#define QUEUED TASK_OF(ID, "web1", "queued", "pending", "")
#define COPY(pass)                                                                                 \
    TASK_OF(ID, "web1", "running", "running",                                                      \
            ", 'stage': 'copy', 'progress': {'pass': " pass ", 'done_bytes': 1288490189,"          \
            " 'remaining_bytes': 356515840, 'rate_bps': 117000000, 'dirty_bps': 12000000, "        \
            "'eta_s': 3.4}")
#define SWITCH TASK_OF(ID, "web1", "running", "running", ", 'stage': 'switch'")
#define DONE                                                                                       \
    TASK_OF(ID, "web1", "succeeded", "completed",                                                  \
            ", 'total_s': 6.6, 'pause_ms': 43, 'blackout_ms': 80")
#define FAILED                                                                                     \
    TASK_OF(ID, "web1", "failed", "failed",                                                        \
            ", 'error': {'code': 'hypervisor', 'stage': 'copy', 'message': 'QEMU on h2 ended'}")
#define CANCELLED TASK_OF(ID, "web1", "cancelled", "cancelled", "")
#define UNSETTLED TASK_OF(ID, "web1", "unsettled", "unsettled", "")

typedef void (*Test)(FakeManager *fake);

static void
run_test(gconstpointer data)
{
    g_autoptr(FakeManager) fake = fake_manager_new();

    g_unsetenv("GODWIT_RECONNECT_S");
    fake_manager_answer(fake, "createMigration", QUEUED);
    fake_manager_answer(fake, "getTask", COPY("1"));
    fake_manager_greet(fake, "task", COPY("1"));
    ((Test)data)(fake);
}

static void
test_good(FakeManager *fake)
{
    Running *running =
        godwit_start(fake, "migrate web1 --to h2 --policy gentle --bandwidth 500mbit");
    g_autoptr(Run) run = NULL;
    g_autofree char *body = NULL;

    fake_manager_wait_streams(fake, 1);
    fake_manager_send(fake, "task", COPY("2"));
    fake_manager_send(fake, "task", COPY("2"));
    fake_manager_send(fake, "task", SWITCH);
    fake_manager_send(fake, "task", DONE);
    run = running_end(running);
    assert_status(run, 0);
    body = fake_manager_last(fake, "createMigration");
    g_assert_cmpstr(body, ==,
                    "{\"vm\":\"web1\",\"to\":\"h2\",\"policy\":\"gentle\",\"max_bps\":62500000}");
    g_assert_cmpstr(run->out, ==,
                    "web1 moved from h1 to h2 in 6.6 s; pause 43 ms, blackout 80 ms.\n");
    assert_contains(run->err, "web1: waiting to begin\n");
    assert_contains(run->err, "web1: copy, pass 1, ");
    assert_contains(
        run->err,
        "web1: copy, pass 2, 1.2 GiB done, 340 MiB left, 117 MB/s, dirtied 12 MB/s, 4 s to go\n");
    assert_contains(run->err, "web1: switch\n");
    assert_lacks(run->err, "\r");
    assert_lacks(run->err, "\033");
    g_assert_null(strstr(strstr(run->err, "pass 2") + 1, "pass 2")); /* said once */
}

/* A rate that can't be read starts nothing. */
static void
test_bad_rate(FakeManager *fake)
{
    g_autoptr(Run) run = godwit(fake, "migrate web1 --to h2 --bandwidth 500");

    assert_status(run, 2);
    assert_contains(run->err, "--bandwidth: \"500\" is no rate; write it with its unit");
    g_assert_null(fake_manager_last(fake, "createMigration"));
}

static void
test_good_json(FakeManager *fake)
{
    g_autoptr(Run) run = NULL;
    g_autofree char *result = NULL, *pause = NULL;

    fake_manager_greet(fake, "task", DONE);
    run = godwit(fake, "migrate web1 --to h2 --wait --quiet --output json");
    assert_status(run, 0);
    result = run_member(run, "result");
    pause = run_member(run, "pause_ms");
    g_assert_cmpstr(result, ==, "completed");
    g_assert_cmpstr(pause, ==, "43");
    g_assert_cmpstr(run->err, ==, "");
}

static void
test_bad_ends(FakeManager *fake)
{
    static const struct {
        const char *greeting, *says, *result;
    } cases[] = {
        { FAILED, "web1 was not moved: it stays on h1.", "failed" },
        { CANCELLED, "It goes on running on h1.", "cancelled" },
        { UNSETTLED, "whether it moved is not known", "unsettled" },
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Run) run = NULL, json = NULL;
        g_autofree char *result = NULL;

        fake_manager_greet(fake, "task", cases[i].greeting);
        run = godwit(fake, "migrate web1 --to h2");
        json = godwit(fake, "migrate web1 --to h2 -o json");
        assert_status(run, 1);
        assert_contains(run->err, cases[i].says);
        g_assert_cmpstr(run->out, ==, "");
        assert_status(json, 1);
        assert_contains(json->err, cases[i].says);
        result = run_member(json, "result");
        g_assert_cmpstr(result, ==, cases[i].result);
    }
}

static void
test_refused(FakeManager *fake)
{
    g_autoptr(Run) run = NULL, json = NULL,
                   both = godwit(fake, "migrate web1 --to h2 --wait --detach");
    g_autofree char *code = NULL;

    assert_status(both, 2);
    g_assert_cmpuint(fake_manager_calls(fake, "createMigration"), ==, 0);
    fake_manager_refuse(fake, "createMigration", NULL, GODWIT_ERROR_REFUSED,
                        "web1 is shut off: start it first");
    run = godwit(fake, "migrate web1 --to h2");
    json = godwit(fake, "migrate web1 --to h2 -o json");
    assert_status(run, 3);
    assert_contains(run->err, "web1 is shut off: start it first");
    assert_status(json, 3);
    code = run_member(json, "error.code");
    g_assert_cmpstr(code, ==, "refused");
}

static void
test_unknown_names(FakeManager *fake)
{
    g_autoptr(Run) vm = NULL, host = NULL, several = NULL;

    fake_manager_answer(fake, "listHosts", "{'hosts': [{'name': 'h1'}, {'name': 'h2'}]}");
    fake_manager_answer(fake, "listVms", "{'vms': [{'name': 'web1'}, {'name': 'web2'}]}");
    fake_manager_refuse(fake, "createMigration", NULL, GODWIT_ERROR_NOT_FOUND,
                        "no VM \"wbe1\" on any host");
    vm = godwit(fake, "migrate wbe1 --to h2");
    assert_status(vm, 1);
    assert_contains(vm->err, "did you mean \"web1\"?");
    fake_manager_refuse(fake, "createMigration", NULL, GODWIT_ERROR_NOT_FOUND, "no host \"hh2\"");
    host = godwit(fake, "migrate web1 --to hh2");
    assert_contains(host->err, "did you mean \"h2\"?");
    /* Several: one wrong name starts nothing. */
    fake_manager_answer(fake, "createMigration", QUEUED);
    fake_manager_answer(fake, "getHost", "{'name': 'h2'}");
    fake_manager_answer_for(fake, "getVm", "web1", "{'name': 'web1'}");
    several = godwit(fake, "migrate web1 wbe2 --to h2");
    assert_status(several, 1);
    assert_contains(several->err, "nothing was started");
    assert_contains(several->err, "did you mean \"web2\"?");
    g_assert_cmpuint(fake_manager_calls(fake, "createMigration"), ==, 2);
}

static void
test_several(FakeManager *fake)
{
    Running *running;
    g_autoptr(Run) run = NULL;
    g_autofree char *first = NULL, *second = NULL, *third = NULL;

    fake_manager_answer(fake, "getHost", "{'name': 'h2'}");
    fake_manager_answer(fake, "getVm", "{'name': 'any'}");
    fake_manager_answer_for(fake, "createMigration", "web1", QUEUED);
    fake_manager_answer_for(fake, "createMigration", "web2",
                            TASK_OF(ID2, "web2", "queued", "pending", ""));
    fake_manager_refuse(fake, "createMigration", "web3", GODWIT_ERROR_REFUSED, "web3 is shut off");
    fake_manager_answer_for(fake, "getTask", ID, DONE);
    fake_manager_answer_for(fake, "getTask", ID2,
                            TASK_OF(ID2, "web2", "running", "running", ", 'stage': 'copy'"));
    fake_manager_greet(fake, NULL, NULL);
    running = godwit_start(fake, "migrate web1 web2 web3 --to h2 -o json");
    fake_manager_wait_streams(fake, 1);
    running_wait_for(running, "web2: copy");
    fake_manager_send(fake, "task", TASK_OF(ID2, "web2", "succeeded", "completed", ""));
    run = running_end(running);
    assert_status(run, 3);
    assert_contains(run->err, "web3: web3 is shut off");
    first = run_member(run, "migrations.0.result");
    second = run_member(run, "migrations.1.result");
    third = run_member(run, "migrations.2.error.code");
    g_assert_cmpstr(first, ==, "completed");
    g_assert_cmpstr(second, ==, "completed");
    g_assert_cmpstr(third, ==, "refused");
}

static void
test_detach(FakeManager *fake)
{
    g_autoptr(Run) run = godwit(fake, "migrate web1 --to h2 --detach"),
                   json = godwit(fake, "migrate web1 --to h2 --detach -o json"), several = NULL;
    g_autofree char *id = run_member(json, "id"), *second = NULL;

    assert_status(run, 0);
    assert_contains(run->out, "godwit task watch " ID);
    g_assert_cmpstr(id, ==, ID);
    fake_manager_answer(fake, "getHost", "{'name': 'h2'}");
    fake_manager_answer(fake, "getVm", "{'name': 'any'}");
    several = godwit(fake, "migrate web1 web2 --to h2 --detach -o json");
    second = run_member(several, "tasks.1.id");
    g_assert_cmpstr(second, ==, ID);
}

/* ---- lost and found
 * ---------------------------------------------------------------------------------------- */

static void
test_cut(FakeManager *fake)
{
    Running *running = godwit_start(fake, "migrate web1 --to h2");
    g_autoptr(Run) run = NULL;

    fake_manager_wait_streams(fake, 1);
    fake_manager_cut(fake);
    running_wait_for(running, "lost the manager");
    fake_manager_wait_streams(fake, 2);
    running_wait_for(running, "the manager is back");
    fake_manager_send(fake, "task", DONE);
    run = running_end(running);
    assert_status(run, 0);
    assert_contains(run->out, "web1 moved");
}

/* The end came while nobody could hear it. */
static void
test_end_missed(FakeManager *fake)
{
    Running *running = godwit_start(fake, "migrate web1 --to h2 -o json");
    g_autoptr(Run) run = NULL;
    g_autofree char *result = NULL;

    fake_manager_wait_streams(fake, 1);
    fake_manager_answer(fake, "getTask", DONE);
    fake_manager_greet(fake, NULL, NULL);
    fake_manager_cut(fake);
    run = running_end(running);
    assert_status(run, 0);
    result = run_member(run, "result");
    g_assert_cmpstr(result, ==, "completed");
}

static void
test_restart(FakeManager *fake)
{
    Running *running = godwit_start(fake, "task watch 5e3f");
    g_autoptr(Run) run = NULL;

    fake_manager_wait_streams(fake, 1);
    fake_manager_stop(fake);
    running_wait_for(running, "lost the manager");
    fake_manager_greet(fake, "task", DONE);
    fake_manager_start(fake);
    run = running_end(running);
    assert_status(run, 0);
    assert_contains(run->err, "the manager is back");
    assert_contains(run->out, "web1 moved");
}

static void
test_gone(FakeManager *fake)
{
    Running *running;
    g_autoptr(Run) run = NULL;
    g_autofree char *code = NULL;

    g_setenv("GODWIT_RECONNECT_S", "1", TRUE);
    running = godwit_start(fake, "migrate web1 --to h2 -o json");
    fake_manager_wait_streams(fake, 1);
    fake_manager_stop(fake);
    run = running_end(running);
    assert_status(run, 4);
    assert_contains(run->err, "the migration goes on. Watch: godwit task watch " ID
                              ". Cancel: godwit task cancel " ID);
    code = run_member(run, "error.code");
    g_assert_cmpstr(code, ==, "unreachable");
    fake_manager_start(fake);
}

/* A manager that answers but drops every stream is given up, too. */
static void
test_streams_refused(FakeManager *fake)
{
    g_autoptr(Run) run = NULL;

    g_setenv("GODWIT_RECONNECT_S", "1", TRUE);
    fake_manager_refuse(fake, "streamEvents", NULL, GODWIT_ERROR_CONFLICT, "too many streams");
    run = godwit(fake, "migrate web1 --to h2");
    assert_status(run, 4);
    assert_contains(run->err, "too many streams");
}

static void
test_task_forgotten(FakeManager *fake)
{
    Running *running = godwit_start(fake, "migrate web1 --to h2");
    g_autoptr(Run) run = NULL;

    fake_manager_wait_streams(fake, 1);
    fake_manager_refuse(fake, "getTask", NULL, GODWIT_ERROR_NOT_FOUND, "no task " ID);
    fake_manager_greet(fake, NULL, NULL);
    fake_manager_cut(fake);
    run = running_end(running);
    assert_status(run, 1);
    assert_contains(run->err, "no task " ID);
}

/* ---- Ctrl-C, terminals
 * ---------------------------------------------------------------------------------------- */

static void
test_interrupt(FakeManager *fake)
{
    static const char *const commands[] = { "migrate web1 --to h2 -o json",
                                            "task watch 5e3f -o json" };

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        Running *running = godwit_start(fake, commands[i]);
        g_autoptr(Run) run = NULL;

        fake_manager_wait_streams(fake, i + 1);
        running_signal(running, SIGINT);
        run = running_end(running);
        assert_status(run, 130);
        assert_contains(run->err, "detached; the migration goes on. Watch: godwit task watch " ID
                                  ". Cancel: godwit task cancel " ID "\n");
        json_node_unref(run_json(run));
    }
    g_assert_cmpuint(fake_manager_calls(fake, "cancelTask"), ==, 0);
}

static void
test_live_line(FakeManager *fake)
{
    Running *running = godwit_start_on_terminal(fake, "migrate web1 --to h2", 60);
    g_autoptr(Run) run = NULL;
    g_auto(GStrv) draws = NULL;

    fake_manager_wait_streams(fake, 1);
    running_wait_for(running, "pass 1");
    for (int i = 0; i < 200; i++)
        fake_manager_send(fake, "task", COPY("2"));
    running_wait_for(running, "pass 2");
    fake_manager_send(fake, "task", DONE);
    run = running_end(running);
    assert_status(run, 0);
    assert_contains(run->out, "web1 moved");
    draws = g_strsplit(run->err, "\r\033[K", -1);
    /* Queued, pass 1, pass 2, the end, and a few more for a slow machine: not one for each of 200
     * events. */
    g_assert_cmpuint(g_strv_length(draws), <, 60);
    for (char **draw = draws; *draw && draw[1]; draw++)
        g_assert_cmpint(text_width(*draw), <, 60);
    assert_contains(run->err, "web1: copy, pass 2, 340 MiB left");
    g_assert_true(strstr(draws[g_strv_length(draws) - 1], "copy") ==
                  NULL); /* the line is gone at the end */
}

/* ---- watch, cancel, events
 * --------------------------------------------------------------------------------------- */

static void
test_watch_ended(FakeManager *fake)
{
    g_autoptr(Run) run = NULL;

    fake_manager_answer(fake, "getTask", FAILED);
    run = godwit(fake, "task watch 5e3f");
    assert_status(run, 1);
    assert_contains(run->err, "QEMU on h2 ended");
}

static void
test_cancel(FakeManager *fake)
{
    Running *running;
    g_autoptr(Run) run = NULL, detached = NULL, late = NULL, conflict = NULL;

    fake_manager_answer(fake, "cancelTask", COPY("1"));
    running = godwit_start(fake, "task cancel 5e3f");
    fake_manager_wait_streams(fake, 1);
    fake_manager_send(fake, "task", CANCELLED);
    run = running_end(running);
    assert_status(run, 0);
    detached = godwit(fake, "task cancel 5e3f --detach -o json");
    assert_status(detached, 0);
    json_node_unref(run_json(detached));
    fake_manager_greet(fake, "task", DONE);
    late = godwit(fake, "task cancel 5e3f");
    assert_status(late, 1);
    assert_contains(late->err, "too late");
    fake_manager_refuse(fake, "cancelTask", NULL, GODWIT_ERROR_CONFLICT,
                        "past its point of no return");
    conflict = godwit(fake, "task cancel 5e3f");
    assert_status(conflict, 1);
    assert_contains(conflict->err, "point of no return");
}

static void
test_events(FakeManager *fake)
{
    Running *running;
    g_autoptr(Run) run = NULL, json = NULL, bad = godwit(fake, "events --count none");

    assert_status(bad, 2);
    fake_manager_greet(fake, "vm-removed", "{'uuid': 'abc'}");
    running = godwit_start(fake, "events --count 3");
    fake_manager_wait_streams(fake, 1);
    fake_manager_send(fake, "host",
                      "{'name': 'h1', 'state': 'no-libvirt', 'state_reason': 'stopped'}");
    fake_manager_send(fake, "task", SWITCH);
    run = running_end(running);
    assert_status(run, 0);
    assert_contains(run->out, "vm-removed {\"uuid\":\"abc\"}\n");
    assert_contains(run->out, "host       h1 no-libvirt: stopped\n");
    assert_contains(run->out, "task       web1: switch\n");
    json = godwit(fake, "events --count 1 -o json");
    assert_status(json, 0);
    g_assert_cmpstr(json->out, ==, "{\"event\":\"vm-removed\",\"data\":{\"uuid\":\"abc\"}}\n");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Test test;
    } tests[] = {
        { "/cli/migrate/good", test_good },
        { "/cli/migrate/bad-rate", test_bad_rate },
        { "/cli/migrate/good-json", test_good_json },
        { "/cli/migrate/bad-ends", test_bad_ends },
        { "/cli/migrate/refused", test_refused },
        { "/cli/migrate/unknown-names", test_unknown_names },
        { "/cli/migrate/several", test_several },
        { "/cli/migrate/detach", test_detach },
        { "/cli/follow/cut", test_cut },
        { "/cli/follow/end-missed", test_end_missed },
        { "/cli/follow/restart", test_restart },
        { "/cli/follow/gone", test_gone },
        { "/cli/follow/streams-refused", test_streams_refused },
        { "/cli/follow/task-forgotten", test_task_forgotten },
        { "/cli/follow/interrupt", test_interrupt },
        { "/cli/follow/live-line", test_live_line },
        { "/cli/task/watch-ended", test_watch_ended },
        { "/cli/task/cancel", test_cancel },
        { "/cli/events", test_events },
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_data_func(tests[i].name, (gconstpointer)tests[i].test, run_test);
    return g_test_run();
}
