/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "host/facts_feed.h"
#include "hv/hv_fake.h"
#include "motion_fake.h"

#define HOST_UUID "aaaaaaaa-0000-4000-8000-000000000001"
#define VM_A "bbbbbbbb-0000-4000-8000-00000000000a"
#define VM_B "bbbbbbbb-0000-4000-8000-00000000000b"

typedef struct {
    Hv *hv;
    AgentConfig *config;
    FactsSource source;
    FactsFeed *feed;
    GPtrArray *events; /* "event state-or-uuid" */
    gboolean ready;
    gboolean late;
} Fixture;

static void
on_hv_event(const HvEvent *event, gpointer data)
{
    Fixture *fixture = data;
    if (fixture->feed)
        facts_feed_event(fixture->feed, event);
}

static const char *
string_of(JsonObject *object, const char *name)
{
    return json_object_get_string_member_with_default(object, name, "-");
}

static void
on_changed(const char *event, JsonNode *data, gpointer user_data)
{
    Fixture *fixture = user_data;
    JsonObject *object = JSON_NODE_HOLDS_OBJECT(data) ? json_node_get_object(data) : NULL;
    char *line;
    if (strcmp(event, "vm") == 0)
        line = g_strdup_printf("vm %s %s %s", string_of(object, "name"), string_of(object, "state"),
                               string_of(object, "migration"));
    else if (strcmp(event, "host") == 0)
        line = g_strdup_printf("host %s", string_of(object, "state"));
    else
        line = g_strdup(event);
    g_ptr_array_add(fixture->events, line);
}

static void
on_ready(gpointer user_data)
{
    Fixture *fixture = user_data;
    g_assert_false(fixture->ready); /* once */
    fixture->ready = TRUE;
}

static void
set_up(Fixture *fixture, gconstpointer disconnected)
{
    static const FactsFeedNotify notify = { .changed = on_changed, .ready = on_ready };
    Config *file = config_load(NULL, agent_config_keys, FALSE, NULL);
    g_assert_true(config_set(file, "control", "address", "10.77.0.11", NULL));
    fixture->config = agent_config_of(file, NULL);
    fixture->events = g_ptr_array_new_with_free_func(g_free);
    fixture->hv = hv_fake_new(NULL, on_hv_event, fixture);
    hv_fake_add_vm(fixture->hv, VM_A, "a", VM_RUNNING);
    if (disconnected)
        hv_fake_set_connected(fixture->hv, FALSE);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    motion_fake_reset();
    fixture->source = (FactsSource){ .hv = fixture->hv,
                                     .motion = motion_new(&(MotionConfig){ 0 }, NULL),
                                     .config = fixture->config,
                                     .host_uuid = HOST_UUID };
    fixture->feed = facts_feed_new(&fixture->source, &notify, fixture);
    facts_feed_start(fixture->feed);
    while (!fixture->ready)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(fixture->events->len, ==, 0); /* before: the greeting tells it */
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    facts_feed_free(g_steal_pointer(&fixture->feed));
    motion_free(fixture->source.motion);
    hv_free(fixture->hv);
    agent_config_free(fixture->config);
    g_ptr_array_unref(fixture->events);
    motion_fake_reset();
}

static gboolean
on_late(gpointer data)
{
    ((Fixture *)data)->late = TRUE;
    return G_SOURCE_REMOVE;
}

static guint
count(const Fixture *fixture, const char *line)
{
    guint n = 0;
    for (guint i = 0; i < fixture->events->len; i++)
        n += strcmp(g_ptr_array_index(fixture->events, i), line) == 0;
    return n;
}

static void
wait_for(Fixture *fixture, const char *line)
{
    guint timer = g_timeout_add_seconds(10, on_late, fixture);
    while (!fixture->late && count(fixture, line) == 0)
        g_main_context_iteration(NULL, TRUE);
    if (fixture->late)
        g_test_message("waited for: %s", line);
    g_assert_false(fixture->late);
    g_source_remove(timer);
}

static void
test_greeting(Fixture *fixture, gconstpointer data)
{
    const Facts *facts = facts_feed_known(fixture->feed);
    g_assert_cmpstr(facts->host->uuid, ==, HOST_UUID); /* the certificate's, not libvirt's */
    g_assert_cmpint(facts->host->state, ==, HOST_CONNECTED);
    g_assert_cmpstr(facts->host->control_address, ==, "10.77.0.11");
    g_assert_cmpstr(facts->host->migration_addresses[0], ==, "10.77.0.11");
    g_assert_cmpstr(facts->host->versions->godwit, ==, GODWIT_VERSION);
    g_assert_cmpuint(facts->vms->len, ==, 1);
    g_assert_cmpstr(((Vm *)g_ptr_array_index(facts->vms, 0))->host, ==, HOST_UUID);
}

static void
test_changes(Fixture *fixture, gconstpointer data)
{
    hv_fake_add_vm(fixture->hv, VM_B, "b", VM_SHUTOFF);
    wait_for(fixture, "vm b shutoff -");
    hv_fake_set_vm_state(fixture->hv, VM_B, VM_RUNNING);
    wait_for(fixture, "vm b running -");
    hv_fake_remove_vm(fixture->hv, VM_B);
    wait_for(fixture, "vm-removed");
    g_assert_null(facts_find_vm(facts_feed_known(fixture->feed), VM_B));
    g_assert_cmpuint(count(fixture, "vm a running -"), ==, 0); /* only what changed */
    hv_fake_emit(fixture->hv, HV_EVENT_VM, VM_A, 0);           /* an event without a change */
    hv_fake_add_vm(fixture->hv, VM_B, "b", VM_PAUSED);
    wait_for(fixture, "vm b paused -");
    g_assert_cmpuint(count(fixture, "vm a running -"), ==, 0);
}

static void
test_bursts_are_one_read(Fixture *fixture, gconstpointer data)
{
    guint before = hv_fake_calls(fixture->hv, "vm");
    for (guint i = 0; i < 200; i++)
        hv_fake_emit(fixture->hv, HV_EVENT_VM, VM_A, 0);
    hv_fake_set_vm_state(fixture->hv, VM_A, VM_PAUSED);
    wait_for(fixture, "vm a paused -");
    g_assert_cmpuint(hv_fake_calls(fixture->hv, "vm") - before, <=, 3);
    g_assert_cmpuint(count(fixture, "vm a paused -"), ==, 1);
}

static void
test_migration_is_told(Fixture *fixture, gconstpointer data)
{
    motion_fake.vm = g_strdup(VM_A);
    motion_fake.vm_migration = g_strdup("m1");
    facts_feed_touch_vm(fixture->feed, VM_A);
    wait_for(fixture, "vm a running m1");
    g_clear_pointer(&motion_fake.vm_migration, g_free);
    facts_feed_touch_vm(fixture->feed, VM_A);
    wait_for(fixture, "vm a running -");
}

static void
test_libvirt_goes_and_comes(Fixture *fixture, gconstpointer data)
{
    hv_fake_set_connected(fixture->hv, FALSE);
    wait_for(fixture, "host no-libvirt");
    g_assert_nonnull(facts_find_vm(facts_feed_known(fixture->feed), VM_A)); /* still known */
    g_assert_cmpuint(count(fixture, "vm-removed"), ==, 0);
    hv_fake_add_vm(fixture->hv, VM_B, "b", VM_RUNNING);
    hv_fake_set_connected(fixture->hv, TRUE);
    wait_for(fixture, "host connected");
    wait_for(fixture, "vm b running -");
}

static void
test_without_libvirt(Fixture *fixture, gconstpointer data)
{
    const Facts *facts = facts_feed_known(fixture->feed);
    g_assert_cmpint(facts->host->state, ==, HOST_NO_LIBVIRT);
    g_assert_cmpstr(facts->host->uuid, ==, HOST_UUID);
    g_assert_nonnull(facts->host->name);
    hv_fake_set_connected(fixture->hv, TRUE);
    wait_for(fixture, "host connected");
    wait_for(fixture, "vm a running -");
}

/* A read that fails is tried again; nothing is lost. */
static void
test_failed_read(Fixture *fixture, gconstpointer data)
{
    hv_fake_fail(fixture->hv, "vm", 1, GODWIT_ERROR_HYPERVISOR, "planted");
    hv_fake_set_vm_state(fixture->hv, VM_A, VM_PAUSED);
    wait_for(fixture, "host no-libvirt");
    wait_for(fixture, "vm a paused -");
    g_assert_cmpint(facts_feed_known(fixture->feed)->host->state, ==, HOST_CONNECTED);
}

static void
test_no_polling(Fixture *fixture, gconstpointer data)
{
    facts_feed_set_listeners(fixture->feed, 0);
    hv_fake_set_vm_state(fixture->hv, VM_A, VM_SHUTOFF);
    wait_for(fixture, "vm a shutoff -");
    guint quiet = 0;
    while (quiet <
           2) { /* nothing is armed: the loop has no timer of ours, so a second of silence */
        guint calls = hv_fake_calls(fixture->hv, NULL);
        guint timer = g_timeout_add(500, on_late, fixture);
        while (!fixture->late)
            g_main_context_iteration(NULL, TRUE);
        (void)timer;
        fixture->late = FALSE;
        quiet = hv_fake_calls(fixture->hv, NULL) == calls ? quiet + 1 : 0;
    }
}

static void
test_running(Fixture *fixture, gconstpointer data)
{
    hv_fake_add_vm(fixture->hv, VM_B, "b", VM_SHUTOFF);
    wait_for(fixture, "vm b shutoff -");
    g_autoptr(GPtrArray) running = facts_feed_running(fixture->feed);
    g_assert_cmpuint(running->len, ==, 1);
    g_assert_cmpstr(((Vm *)g_ptr_array_index(running, 0))->uuid, ==, VM_A);
}

static void
test_free_during_read(Fixture *fixture, gconstpointer data)
{
    hv_fake_set_vm_state(fixture->hv, VM_A, VM_PAUSED);
    guint calls = hv_fake_calls(fixture->hv, "vm");
    while (hv_fake_calls(fixture->hv, "vm") == calls) /* the thread is at it: freed in tear_down */
        g_main_context_iteration(NULL, TRUE);
}

#define ADD(path, data, func)                                                                      \
    g_test_add("/host/facts-feed/" path, Fixture, data, set_up, func, tear_down)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("greeting", NULL, test_greeting);
    ADD("changes", NULL, test_changes);
    ADD("bursts", NULL, test_bursts_are_one_read);
    ADD("migration", NULL, test_migration_is_told);
    ADD("libvirt-goes-and-comes", NULL, test_libvirt_goes_and_comes);
    ADD("without-libvirt", "disconnected", test_without_libvirt);
    ADD("failed-read", NULL, test_failed_read);
    ADD("no-polling", NULL, test_no_polling);
    ADD("running", NULL, test_running);
    ADD("free-during-read", NULL, test_free_during_read);
    return g_test_run();
}
