/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster's recall key, and clearing, over the whole program with hosts whose agents are
 * played. */
#include <signal.h>
#include <string.h>

#include "base/json.h"
#include "nouns.h"
#include "rig.h"

typedef struct {
    Rig *rig;
    FakeAgent *h1, *h2;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->rig = rig_new();
    fixture->h1 = fake_agent_new(UUID_H1, "h1");
    fixture->h2 = fake_agent_new(UUID_H2, "h2");
    fake_agent_set_vm(fixture->h1, noun_vm(UUID_WEB, "web", VM_RUNNING));
    rig_join_both(fixture->rig, fixture->h1, fixture->h2);
}

static void
tear_down(Fixture *fixture, gconstpointer unused)
{
    fake_agent_free(fixture->h1);
    fake_agent_free(fixture->h2);
    rig_free(fixture->rig);
}

static gboolean
has_alarm(gpointer data)
{
    g_autoptr(JsonNode) alarms = rig_get(data, "/alarms");

    return json_length_of(alarms, "alarms") == 1;
}

/** The agent is restarted as one that knows recall, and has no key. */
static void
restart_with_recall(Fixture *fixture, FakeAgent *agent)
{
    fake_agent_stop(agent);
    rig_wait_host(fixture->rig, agent->name, "disconnected");
    host_recall_free(agent->facts->host->recall);
    agent->facts->host->recall = record_new(&host_recall_type);
    g_clear_pointer(&agent->recall_key, g_free);
    fake_agent_start(agent);
}

static gboolean
has_key(gpointer data)
{
    return ((FakeAgent *)data)->recall_key != NULL;
}

static gboolean
was_asked_to_take_key(gpointer data)
{
    return ((FakeAgent *)data)->keys > 0;
}

/** One key for all hosts, told again after each restart of either side, and nowhere else. */
static void
test_key(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    g_autofree char *key = NULL, *log = NULL, *first_log = NULL, *hosts_text = NULL;
    g_autoptr(JsonNode) hosts = NULL;

    g_assert_cmpuint(fixture->h1->keys, ==, 0); /* agents that know no recall */
    restart_with_recall(fixture, fixture->h1);
    rig_wait(has_key, fixture->h1, "the recall key on h1");
    key = g_strdup(fixture->h1->recall_key);
    restart_with_recall(fixture, fixture->h2);
    rig_wait(has_key, fixture->h2, "the recall key on h2");
    g_assert_cmpstr(fixture->h2->recall_key, ==, key);

    first_log = rig_log(rig);
    g_assert_cmpint(rig_stop(rig, SIGTERM), ==, 0);
    g_clear_pointer(&fixture->h1->recall_key, g_free);
    rig_start(rig);
    rig_wait(has_key, fixture->h1, "the recall key of the restarted manager");
    g_assert_cmpstr(fixture->h1->recall_key, ==, key);

    log = rig_log(rig);
    hosts = rig_get(rig, "/hosts");
    hosts_text = json_to_string(hosts, FALSE);
    g_assert_null(strstr(first_log, key));
    g_assert_null(strstr(log, key));
    g_assert_null(strstr(hosts_text, key));
}

/** What couldn't be handed over is, when the agent's next word shows that it still has none. */
static void
test_key_again(Fixture *fixture, gconstpointer unused)
{
    FakeAgent *h1 = fixture->h1;
    g_autofree char *without = NULL, *with = NULL;
    guint keys;

    h1->refuses_key = TRUE;
    restart_with_recall(fixture, h1);
    rig_wait(was_asked_to_take_key, h1, "the recall key to be offered");
    g_assert_null(h1->recall_key);
    without = record_to_string(&host_type, h1->facts->host);
    fake_agent_tell(h1, "host", without);
    rig_wait(has_key, h1, "the recall key, once more");
    keys = h1->keys;
    h1->facts->host->recall->keyed = TRUE;
    with = record_to_string(&host_type, h1->facts->host);
    fake_agent_tell(h1, "host", with);
    fake_agent_tell(h1, "alarm", "{\"id\":\"later\",\"message\":\"heard after it\"}");
    rig_wait(has_alarm, fixture->rig, "what was told after it");
    g_assert_cmpuint(h1->keys, ==, keys);
}

static void
test_clear(Fixture *fixture, gconstpointer unused)
{
    Rig *rig = fixture->rig;
    FakeAgent *h1 = fixture->h1;
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) all = rig_call(rig, "DELETE", "/hosts/h1/recall", NULL, &error);
    g_autoptr(JsonNode) by_name = NULL, by_uuid = NULL;

    g_assert_no_error(error);
    g_assert_cmpstr(json_at(all, "host"), ==, "h1");
    g_assert_cmpint(json_int_at(all, "sets"), ==, 3);
    g_assert_cmpstr(h1->cleared, ==, "");
    by_name = rig_call(rig, "DELETE", "/hosts/" UUID_H1 "/recall?vm=web", NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_at(by_name, "host"), ==, "h1");
    g_assert_cmpstr(h1->cleared, ==, UUID_WEB);
    /* One that isn't known any more. */
    by_uuid = rig_call(rig, "DELETE", "/hosts/h1/recall?vm=99999999-AAAA-4999-8999-999999999999",
                       NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_int_at(by_uuid, "sets"), ==, 3);
    g_assert_cmpstr(h1->cleared, ==, "99999999-aaaa-4999-8999-999999999999");

    rig_fails(rig, "DELETE", "/hosts/h3/recall", NULL, GODWIT_ERROR_NOT_FOUND, "h3");
    rig_fails(rig, "DELETE", "/hosts/h1/recall?vm=wob", NULL, GODWIT_ERROR_NOT_FOUND, "wob");
    rig_fails(rig, "DELETE", "/hosts/h1/recall?vm=", NULL, GODWIT_ERROR_INVALID, "vm");
    fake_agent_stop(h1);
    rig_wait_host(rig, "h1", "disconnected");
    rig_fails(rig, "DELETE", "/hosts/h1/recall", NULL, GODWIT_ERROR_UNREACHABLE, "h1");
}

#define ADD(name, func) g_test_add("/recall/" name, Fixture, NULL, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("key", test_key);
    ADD("key-again", test_key_again);
    ADD("clear", test_clear);
    return g_test_run();
}
