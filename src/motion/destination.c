/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: the destination side of a migration
 *
 * One thread (runner.c) goes through `destination_stages`: reserve (checks, worker), open, copy
 * (libvirt receives), switch (waits for proof, starts the VM: point of no return), announce,
 * verify, retire.
 *
 * libvirt leaves the VM paused after Finish. It is started only
 *   - when our worker says `proved`: the source's libvirtd has read the good reply of Finish and
 * can only kill its side; or
 *   - when the source's godwitd says "gone": its libvirt has ended the VM.
 * It is removed, and will never be started, when the source says "runs", or by our own decision as
 * long as Finish was never forwarded to our libvirt (the source can't have got a good reply then).
 * In between, when the worker's session is lost after Finish was forwarded, the source is asked
 * every 2 to 30 s. Until it answers the VM stays as it is, and after a while an alarm tells a
 * person.
 *
 * The proof isn't journalled before the VM is started: that would lengthen the blackout, and it can
 * be had again, from the worker (which outlives godwitd) or from the source.
 *
 * When godwitd dies: its successor finds the journal, and asks libvirt first whether the VM runs
 * here already: then it was started on proof, and that may not be forgotten. Else it attaches to
 * the worker if it lives, and enters at `switch`; before `copy` had begun it gives up, since
 * nothing of the VM can be here.
 */
#include "motion/destination_private.h"

#include <glib/gstdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

#define SETTLE_WAIT_S 10

/* Which states may follow which: row = from. RUNNING and ABORTED are final. */
static const gboolean moves[][INCOMING_STUCK + 1] = {
    [INCOMING_RESERVED] = { [INCOMING_OPEN] = 1,
                            [INCOMING_PROVED] = 1,
                            [INCOMING_ABORTED] = 1,
                            [INCOMING_STUCK] = 1 },
    [INCOMING_OPEN] = { [INCOMING_PROVED] = 1, [INCOMING_ABORTED] = 1, [INCOMING_STUCK] = 1 },
    [INCOMING_PROVED] = { [INCOMING_RUNNING] = 1, [INCOMING_ABORTED] = 1, [INCOMING_STUCK] = 1 },
    [INCOMING_STUCK] = { [INCOMING_PROVED] = 1,
                         [INCOMING_RUNNING] = 1,
                         [INCOMING_ABORTED] = 1,
                         [INCOMING_STUCK] = 1 },
    [INCOMING_RUNNING] = { 0 },
    [INCOMING_ABORTED] = { 0 },
};

void
destination_set_state(Destination *destination, IncomingState state, const char *reason)
{
    g_mutex_lock(&destination->lock);
    if (destination->state != state || state == INCOMING_STUCK) {
        g_assert(moves[destination->state][state]);
        g_debug("migration %s, incoming: %s -> %s", destination->request->id,
                incoming_state_nicks[destination->state], incoming_state_nicks[state]);
        destination->state = state;
        g_free(destination->reason);
        destination->reason = g_strdup(reason);
        g_cond_broadcast(&destination->changed);
    }
    g_mutex_unlock(&destination->lock);
}

SourceWord
destination_word(Destination *destination)
{
    SourceWord word;

    g_mutex_lock(&destination->lock);
    word = destination->word;
    g_mutex_unlock(&destination->lock);
    return word;
}

void
destination_note_warnings(Destination *destination)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (guint i = 0; i < destination->notes->len; i++)
        g_strv_builder_add(builder, destination->notes->pdata[i]);
    g_mutex_lock(&destination->lock);
    g_strfreev(destination->warnings);
    destination->warnings = g_strv_builder_end(builder);
    g_mutex_unlock(&destination->lock);
}

void
destination_alarm(Destination *destination, char *text)
{
    if (destination->alarmed) {
        g_free(text);
        return;
    }
    destination->alarmed = TRUE;
    motion_alarm(destination->motion, destination->request->id, destination->request->vm->name,
                 text);
}

/* ---- stages' watch ---- */

static void
stage_begun(gpointer self, const Stage *stage)
{
    g_debug("migration %s, incoming: stage %s", ((Destination *)self)->request->id, stage->name);
}

static void
stage_ended(gpointer self, const Stage *stage, const GError *error)
{
    if (error)
        g_debug("migration %s, incoming: stage %s: %s", ((Destination *)self)->request->id,
                stage->name, error->message);
}

static const StageWatch watch = { stage_begun, stage_ended, NULL };

/* ---- the thread ---- */

static void
log_end(Destination *destination, gboolean running, const GError *error)
{
    const char *vm = destination->request->vm->name, *from = destination->request->from->name;

    if (running)
        g_message("migration %s: VM %s from %s runs here", destination->request->id, vm, from);
    else
        g_message("migration %s: VM %s from %s did not come: %s", destination->request->id, vm,
                  from, error ? error->message : "unknown");
}

static gpointer
destination_main(gpointer self)
{
    Destination *destination = self;
    g_autofree char *journal = NULL;
    g_autoptr(GError) error = NULL;
    gboolean running;

    runner_run(&destination->runner, destination_stages, destination_n_stages,
               destination->first_stage, &error);
    g_clear_pointer(&destination->announcer, announcer_free);
    g_clear_pointer(&destination->worker, worker_free);
    g_clear_pointer(&destination->peer, http_client_free);
    if (runner_is_leaving(&destination->runner))
        return NULL;
    running = destination->state == INCOMING_RUNNING;
    recollect_end(destination->motion->config.recall, destination->request->id, running,
                  &destination->recalled);
    if (!running)
        destination_set_state(destination, INCOMING_ABORTED, error ? error->message : NULL);
    journal = motion_journal_path(destination->motion, destination->request->id, "destination");
    g_remove(journal);
    log_end(destination, running, error);
    g_mutex_lock(&destination->lock);
    if (error && !destination->refused)
        destination->refused = g_error_copy(error);
    g_atomic_int_set(&destination->ended, TRUE);
    g_cond_broadcast(&destination->changed);
    g_mutex_unlock(&destination->lock);
    motion_publish_vm(destination->motion, destination->request->vm->uuid);
    motion_destination_ended(destination->motion, destination->request->id);
    return NULL;
}

/* ---- life ---- */

static Destination *
destination_make(Motion *motion, const ReservationRequest *request)
{
    Destination *destination = g_new0(Destination, 1);

    g_atomic_ref_count_init(&destination->references);
    destination->motion = motion;
    destination->request = record_copy(&reservation_request_type, request);
    destination->folder = motion_folder(motion, request->id);
    destination->stream_socket = motion_stream_socket(motion, request->id);
    destination->disks_socket = motion_disks_socket(motion, request->id);
    destination->ticket = random_hex_256();
    destination->notes = g_ptr_array_new_with_free_func(g_free);
    destination->leaving = g_cancellable_new();
    g_mutex_init(&destination->lock);
    g_cond_init(&destination->changed);
    runner_init(&destination->runner, destination, &watch);
    return destination;
}

static gboolean
destination_begin(Destination *destination, GError **error)
{
    g_autofree char *path =
        motion_journal_path(destination->motion, destination->request->id, "destination");
    JsonNode *detail;

    destination->runner.journal = journal_open(path, error);
    if (!destination->runner.journal)
        return FALSE;
    detail = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(detail, json_object_new());
    json_object_set_member(json_node_get_object(detail), "request",
                           record_to_json(&reservation_request_type, destination->request));
    if (!journal_write(destination->runner.journal, destination->recovering ? "restart" : "accept",
                       "note", detail, error))
        return FALSE;
    runner_start(&destination->runner, "destination", destination_main);
    return TRUE;
}

Destination *
destination_new(Motion *motion, const ReservationRequest *request, GError **error)
{
    Destination *destination = destination_make(motion, request);

    if (destination_begin(destination, error))
        return destination;
    destination_unref(destination);
    return NULL;
}

Destination *
destination_recover(Motion *motion, const char *id, GPtrArray *lines, GError **error)
{
    JsonObject *accepted = journal_last(lines, "accept", "note");
    g_autoptr(ReservationRequest) request = NULL;
    Destination *destination;

    if (!accepted || !json_object_has_member(accepted, "request")) {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_INVALID, "it doesn't begin with a request");
        return NULL;
    }
    request = record_from_json(&reservation_request_type,
                               json_object_get_member(accepted, "request"), error);
    if (!request)
        return NULL;
    destination = destination_make(motion, request);
    destination->recovering = TRUE;
    destination->reserved = TRUE;
    destination->state = INCOMING_OPEN;
    destination->first_stage = DESTINATION_STAGE_SWITCH;
    for (gsize i = DESTINATION_STAGE_SWITCH; i < destination_n_stages; i++) {
        if (journal_last(lines, destination_stages[i].name, "begin"))
            destination->first_stage = i;
    }
    if (destination->first_stage > DESTINATION_STAGE_SWITCH)
        destination->state = INCOMING_RUNNING;
    if (destination_begin(destination, error))
        return destination;
    destination_unref(destination);
    return NULL;
}

Destination *
destination_ref(Destination *destination)
{
    g_atomic_ref_count_inc(&destination->references);
    return destination;
}

void
destination_unref(Destination *destination)
{
    if (!g_atomic_ref_count_dec(&destination->references))
        return;
    runner_clear(&destination->runner);
    g_clear_pointer(&destination->worker, worker_free);
    reservation_request_free(destination->request);
    g_free(destination->folder);
    g_free(destination->stream_socket);
    g_free(destination->disks_socket);
    g_free(destination->ticket);
    g_free(destination->reason);
    g_clear_error(&destination->refused);
    g_strfreev(destination->warnings);
    g_ptr_array_unref(destination->notes);
    g_object_unref(destination->leaving);
    g_cond_clear(&destination->changed);
    g_mutex_clear(&destination->lock);
    g_free(destination);
}

void
destination_release(Destination *destination)
{
    g_assert(g_atomic_int_get(&destination->ended));
    g_mutex_lock(&destination->lock);
    destination->released = TRUE; /* nothing is posted to it any more */
    g_mutex_unlock(&destination->lock);
    runner_clear(&destination->runner);
}

void
destination_leave(Destination *destination)
{
    if (!g_atomic_int_get(&destination->ended))
        runner_leave(&destination->runner);
    g_cancellable_cancel(destination->leaving);
    g_mutex_lock(&destination->lock);
    g_cond_broadcast(&destination->changed);
    g_mutex_unlock(&destination->lock);
}

/* ---- what others ask ---- */

Reservation *
destination_wait_reserved(Destination *destination, GError **error)
{
    gint64 until_us = g_get_monotonic_time() + RESERVATION_SECONDS * G_TIME_SPAN_SECOND;
    Reservation *reservation = NULL;
    gboolean in_time = TRUE;

    g_mutex_lock(&destination->lock);
    while (in_time && !destination->reserved && !g_atomic_int_get(&destination->ended) &&
           !runner_is_leaving(&destination->runner))
        in_time = g_cond_wait_until(&destination->changed, &destination->lock, until_us);
    if (destination->reserved) {
        reservation = record_new(&reservation_type);
        reservation->id = g_strdup(destination->request->id);
        reservation->ticket = g_strdup(destination->ticket);
        reservation->expires_s = RESERVATION_SECONDS;
        reservation->addresses =
            g_strdupv((char **)destination->motion->config.migration_addresses);
        reservation->port = destination->motion->config.migration_port;
    } else if (destination->refused) {
        g_propagate_error(error, g_error_copy(destination->refused));
    } else {
        g_set_error(error, GODWIT_ERROR, GODWIT_ERROR_TIMEOUT,
                    "host %s could not reserve within %d s", destination->motion->config.host_name,
                    RESERVATION_SECONDS);
    }
    g_mutex_unlock(&destination->lock);
    return reservation;
}

Incoming *
destination_tell(Destination *destination)
{
    Incoming *incoming = record_new(&incoming_type);

    g_mutex_lock(&destination->lock);
    incoming->id = g_strdup(destination->request->id);
    incoming->vm_uuid = g_strdup(destination->request->vm->uuid);
    incoming->vm = g_strdup(destination->request->vm->name);
    incoming->state = destination->state;
    incoming->reason = g_strdup(destination->reason);
    incoming->monotonic_us = clock_monotonic_us();
    incoming->resumed_us = destination->resumed_us;
    incoming->first_frame_us = destination->first_frame_us;
    incoming->announced = destination->announced;
    incoming->warnings = g_strdupv(destination->warnings);
    g_mutex_unlock(&destination->lock);
    return incoming;
}

static gboolean
wake(gpointer data)
{
    return G_SOURCE_REMOVE;
}

/** Under lock: has the source's word been acted upon? */
static gboolean
is_settled(Destination *destination)
{
    return g_atomic_int_get(&destination->ended) || destination->state == INCOMING_ABORTED ||
           (destination->state == INCOMING_RUNNING && destination->verified);
}

Incoming *
destination_settle(Destination *destination, gboolean source_gone)
{
    gint64 until_us = g_get_monotonic_time() + SETTLE_WAIT_S * G_TIME_SPAN_SECOND;
    gboolean in_time = TRUE;

    g_mutex_lock(&destination->lock);
    if (destination->word == WORD_NONE)
        destination->word = source_gone ? WORD_GONE : WORD_RUNS;
    if (!destination->released)
        runner_post(&destination->runner, wake, NULL, NULL);
    while (in_time && !is_settled(destination) && !runner_is_leaving(&destination->runner))
        in_time = g_cond_wait_until(&destination->changed, &destination->lock, until_us);
    g_mutex_unlock(&destination->lock);
    return destination_tell(destination);
}

const char *
destination_vm(Destination *destination)
{
    return destination->request->vm->uuid;
}

const char *
destination_peer(Destination *destination)
{
    return destination->request->from->uuid;
}

gboolean
destination_is_over(Destination *destination)
{
    return g_atomic_int_get(&destination->over) || g_atomic_int_get(&destination->ended);
}

gboolean
destination_is_ended(Destination *destination)
{
    return g_atomic_int_get(&destination->ended);
}

gint64
destination_reserved_bytes(Destination *destination)
{
    gboolean holds;

    g_mutex_lock(&destination->lock);
    holds = destination->reserved && destination->state != INCOMING_RUNNING &&
            !g_atomic_int_get(&destination->ended);
    g_mutex_unlock(&destination->lock);
    return holds ? destination->request->vm->memory_max_bytes : 0;
}

typedef struct {
    Destination *destination;
    int fd;
} Connection;

static gboolean
take_connection(gpointer data)
{
    Connection *connection = data;

    if (connection->destination->worker)
        worker_give_connection(connection->destination->worker, fd_steal(&connection->fd));
    return G_SOURCE_REMOVE;
}

static void
connection_free(gpointer data)
{
    Connection *connection = data;

    fd_close_p(&connection->fd);
    destination_unref(connection->destination);
    g_free(connection);
}

void
destination_give_connection(Destination *destination, int fd)
{
    Connection *connection = g_new0(Connection, 1);

    connection->destination = destination_ref(destination);
    connection->fd = fd;
    g_mutex_lock(&destination->lock);
    if (!destination->released)
        runner_post(&destination->runner, take_connection, g_steal_pointer(&connection),
                    connection_free);
    g_mutex_unlock(&destination->lock);
    if (connection)
        connection_free(connection);
}
