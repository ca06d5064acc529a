/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: whose is the VM?
 *
 * When libvirt's migrate call has ended, well or badly, or was lost because godwitd was restarted,
 * both sides are made to agree, by this table. What libvirt here says of the VM, in order of
 * asking:
 *
 *     job still active     libvirt isn't done: wait
 *     no answer            libvirt is down: wait, after 30 s with an alarm
 *     runs                 it stays here. The destination never had proof, so it can't have started
 * it: it is told to clean up gone                 libvirt ended it here: the destination is told
 * so, which is the slow proof, until it answers that it runs there. Where it has nothing of the VM,
 * the VM was shut down by itself or by a person meanwhile stopped by migration neither libvirt's
 * word nor the proof went through. The destination is asked: if it has proof, it runs there. Else
 * it gives up for good ("aborted" is final there), and only then the VM is resumed here paused
 * otherwise     by a person, or for a disk's error: it stays here, as it is
 *
 * While the destination can't be reached and its word is needed, nothing is done on either side:
 * the result is `unsettled`, an alarm says which commands a person would use, and it is asked again
 * every 2 to 30 s.
 */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "motion/source_private.h"

#define LIBVIRT_SILENT_MS 30000
#define STOPPED_ALARM_MS 30000
#define POLL_FIRST_MS 500
#define POLL_LAST_MS 30000
#define SESSION_WORD_MS 200
#define TELL_SECONDS 10 /* no call begins later; the VM runs, only the task's end waits for it */

typedef enum { FATE_BUSY, FATE_UNKNOWN, FATE_RUNS, FATE_GONE, FATE_HELD } Fate;

static gboolean
never(gpointer self, GError **error)
{
    return FALSE;
}

/** Serves events for a while. FALSE where godwitd leaves. */
static gboolean
wait_ms(Source *source, guint ms)
{
    g_autoptr(GError) error = NULL;

    source->runner.deadline_us = 0;
    runner_wait(&source->runner, never, ms, "", &error);
    return !runner_is_leaving(&source->runner);
}

static guint
longer(guint ms)
{
    return MIN(ms * 2, POLL_LAST_MS);
}

static void
say_unsettled(Source *source, const char *why)
{
    const char *vm = source->vm ? source->vm->name : source->request->vm_uuid;
    const char *here = source->motion->config.host_name, *there = source->request->to->name;
    g_autoptr(GError) error = NULL;

    g_set_error(&error, GODWIT_ERROR, GODWIT_ERROR_UNSETTLED, "%s", why);
    source_set_result(source, MIGRATION_UNSETTLED, error);
    source_publish(source);
    if (source->alarmed)
        return;
    source->alarmed = TRUE;
    motion_alarm(
        source->motion, source->request->id, vm,
        g_strdup_printf(
            "VM %s, on its way from %s to %s, may be stopped: %s. Nothing is guessed: this is "
            "tried again "
            "until both hosts can be asked. If one of them is known to be switched off: see "
            "virsh list --all on the other; to run it there, virsh resume %s",
            vm, here, there, why, vm));
}

static void
say_settled(Source *source)
{
    if (!source->alarmed)
        return;
    source_set_result(source, MIGRATION_RUNNING, NULL);
    source_publish(source);
}

/* ---- the destination ---- */

static Incoming *
ask_destination(Source *source, const char *word, GError **error)
{
    g_autofree char *path =
        g_strdup_printf("/v1/incoming/%s%s", source->request->id, word ? "/settle" : "");
    g_autoptr(JsonNode) answer = NULL;
    JsonNode *body = NULL;

    if (word) {
        body = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(body, json_object_new());
        json_object_set_string_member(json_node_get_object(body), "source", word);
    }
    answer = source_call_peer(source, word ? "POST" : "GET", path, body, error);
    return answer ? record_from_json(&incoming_type, answer, error) : NULL;
}

static gboolean
is_unknown_there(const GError *error)
{
    return g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND);
}

void
source_tell_runs(Source *source)
{
    gint64 until_us = clock_monotonic_us() + TELL_SECONDS * G_TIME_SPAN_SECOND;

    if (source->told_destination || source->gave_up_telling)
        return;
    for (guint ms = POLL_FIRST_MS; clock_monotonic_us() < until_us; ms = longer(ms)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Incoming) there = ask_destination(source, "runs", &error);

        source->told_destination = there || is_unknown_there(error);
        if (source->told_destination || !wait_ms(source, ms))
            return;
    }
    source->gave_up_telling = TRUE;
    source_warn(source, g_strdup_printf("%s could not be told that the VM stays here; it asks by "
                                        "itself, and never starts the VM meanwhile",
                                        source->request->to->name));
}

/** "gone" until the destination says what it has. NULL where godwitd leaves. */
static Incoming *
tell_gone(Source *source)
{
    for (guint ms = POLL_FIRST_MS;; ms = longer(ms)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Incoming) there = ask_destination(source, "gone", &error);

        if (there && (there->state == INCOMING_RUNNING || there->state == INCOMING_ABORTED))
            return g_steal_pointer(&there);
        if (is_unknown_there(error)) {
            there = record_new(&incoming_type);
            there->state = INCOMING_ABORTED;
            there->reason = g_strdup("it doesn't know this migration");
            return g_steal_pointer(&there);
        }
        if (ms > POLL_FIRST_MS * 4) {
            g_autofree char *why =
                g_strdup_printf("it is gone here, and %s %s%s", source->request->to->name,
                                there ? "has not started it yet: " : "doesn't answer: ",
                                there ? there->reason : error->message);

            say_unsettled(source, why);
        }
        if (!wait_ms(source, ms))
            return NULL;
    }
}

/* ---- what libvirt here says ---- */

static Fate
look(Source *source, GError **why)
{
    Hv *hv = source->motion->config.hv;
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) vm = hv->ops->vm(hv, source->request->vm_uuid, &error);
    HvJob job = { 0 };

    if (g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
        return FATE_GONE;
    if (!vm) {
        g_propagate_error(why, g_steal_pointer(&error));
        return FATE_UNKNOWN;
    }
    if (vm->state == VM_SHUTOFF || vm->state == VM_CRASHED)
        return FATE_GONE;
    if (!hv->ops->job(hv, vm->uuid, &job, &error)) {
        if (g_error_matches(error, GODWIT_ERROR, GODWIT_ERROR_NOT_FOUND))
            return FATE_GONE;
        g_propagate_error(why, g_steal_pointer(&error));
        return FATE_UNKNOWN;
    }
    if (job.active)
        return FATE_BUSY;
    /* libvirt has forgotten its job, so nothing of it can come any more. */
    if (vm->state == VM_PAUSED && g_strcmp0(vm->state_reason, HV_PAUSED_FOR_MIGRATION) == 0)
        return FATE_HELD;
    return FATE_RUNS;
}

static gboolean
call_ended(gpointer self, GError **error)
{
    return g_atomic_int_get(&((Source *)self)->call.done);
}

static gboolean
alarm_stopped(gpointer data)
{
    Source *source = data;

    say_unsettled(source,
                  "it has been stopped for the switch for half a minute, and libvirt is not done");
    return G_SOURCE_REMOVE;
}

static gboolean
wait_for_call(Source *source)
{
    GSource *timer;
    gboolean ended;

    if (!source->call.thread)
        return TRUE;
    timer = g_timeout_source_new(STOPPED_ALARM_MS);
    g_source_set_callback(timer, alarm_stopped, source, NULL);
    g_source_attach(timer, source->runner.context);
    ended = runner_wait(&source->runner, call_ended, 0, "", NULL);
    g_source_destroy(timer);
    g_source_unref(timer);
    return ended;
}

/** Waits until libvirt's word is final. FALSE where godwitd leaves. */
static gboolean
wait_for_fate(Source *source, Fate *fate)
{
    gint64 since_us = clock_monotonic_us();

    for (guint ms = POLL_FIRST_MS;; ms = MIN(longer(ms), 2000)) {
        g_autoptr(GError) why = NULL;

        *fate = look(source, &why);
        if (*fate != FATE_BUSY && *fate != FATE_UNKNOWN)
            return TRUE;
        if (*fate == FATE_UNKNOWN &&
            clock_monotonic_us() - since_us > LIBVIRT_SILENT_MS * G_TIME_SPAN_MILLISECOND)
            say_unsettled(source, why->message);
        if (!wait_ms(source, ms))
            return FALSE;
    }
}

/* ---- outcomes ---- */

static gboolean
session_failed(gpointer self, GError **error)
{
    Source *source = self;

    return !source->worker || worker_status(source->worker)->state == WORKER_FAILED;
}

static gboolean
stays(Source *source, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gboolean session_lost;

    /* Asked before the destination ends its side, which ends the session too; and libvirt, which
     * sees no more of a lost session than a closed socket, may have been quicker to tell. */
    runner_wait(&source->runner, session_failed, SESSION_WORD_MS, "the worker's word", NULL);
    session_lost = source_worker_failure(source, &cause);
    source_tell_runs(source);
    if (g_atomic_int_get(&source->cancel))
        return !source_cancelled(source, error);
    if (session_lost)
        g_propagate_error(error, g_steal_pointer(&cause));
    else if (source->call.error)
        g_propagate_error(error, g_error_copy(source->call.error));
    else
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR,
                    "the migration to %s ended before the VM had moved, while godwitd was "
                    "restarted; start it again",
                    source->request->to->name);
    return FALSE;
}

static gboolean
gone(Source *source, GError **error)
{
    const char *vm = source->vm ? source->vm->name : source->request->vm_uuid;

    g_clear_pointer(&source->incoming, incoming_free);
    source->incoming = tell_gone(source);
    if (!source->incoming) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
        return FALSE;
    }
    if (source->incoming->state == INCOMING_RUNNING)
        return TRUE;
    motion_alarm(
        source->motion, source->request->id, vm,
        g_strdup_printf(
            "VM %s ended on %s while it was being moved, and %s doesn't have it (%s): it was shut "
            "down from inside or by a person, or "
            "its QEMU died (see /var/log/libvirt/qemu/%s.log); to have it again: virsh start %s",
            vm, source->motion->config.host_name, source->request->to->name,
            source->incoming->reason ? source->incoming->reason : "nothing came", vm, vm));
    g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_HYPERVISOR,
                "VM %s was shut down, or its QEMU ended, while it was being moved; start it again: "
                "virsh start %s",
                vm, vm);
    return FALSE;
}

/** Stopped here, unknown there: the destination's word decides, and is final before anything runs
 * here. */
static gboolean
held(Source *source, GError **error)
{
    Hv *hv = source->motion->config.hv;

    for (guint ms = POLL_FIRST_MS;; ms = longer(ms)) {
        g_autoptr(GError) local = NULL;
        g_autoptr(Incoming) there = ask_destination(source, "runs", &local);

        if (there && (there->state == INCOMING_RUNNING || there->state == INCOMING_PROVED)) {
            say_settled(source);
            return gone(source, error);
        }
        if ((there && there->state == INCOMING_ABORTED) || is_unknown_there(local)) {
            g_clear_error(&local);
            source->told_destination = TRUE;
            if (hv->ops->resume(hv, source->request->vm_uuid, &local)) {
                say_settled(source);
                return stays(source, error);
            }
        }
        {
            g_autofree char *why =
                g_strdup_printf("it is stopped on %s, and %s", source->motion->config.host_name,
                                local ? local->message : "the destination has not given it up yet");

            say_unsettled(source, why);
        }
        if (!wait_ms(source, ms)) {
            g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
            return FALSE;
        }
    }
}

gboolean
source_settle(Source *source, GError **error)
{
    Fate fate = FATE_GONE;

    if (!wait_for_call(source) || (!source->call.ok && !wait_for_fate(source, &fate))) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_CANCELLED, "godwitd is stopping");
        return FALSE;
    }
    say_settled(source);
    switch (fate) {
    case FATE_RUNS:
        return stays(source, error);
    case FATE_HELD:
        return held(source, error);
    default:
        return gone(source, error);
    }
}
