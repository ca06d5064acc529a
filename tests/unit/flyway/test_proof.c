/* SPDX-License-Identifier: Apache-2.0 */
/* Two real workers: the proof that the source's libvirt can only kill its VM, and its absence. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/fd.h"
#include "rig.h"
#include "rpc_message.h"

#define BODY 3000

typedef struct {
    Rig *rig;
    int libvirt[2]; /* the source's libvirtd, the destination's */
    GByteArray *call, *good, *bad;
} Scene;

/* A Finish call has gone across, after others. */
static Scene
scene_called(void)
{
    Scene scene = { .rig = rig_open_with(5, 1),
                    .call = g_byte_array_new(),
                    .good = g_byte_array_new(),
                    .bad = g_byte_array_new() };
    g_autoptr(GByteArray) prepare = g_byte_array_new();
    guint8 bytes[BODY + 28];

    rpc_append(prepare, &(RpcMessage){ RPC_REMOTE, RPC_PREPARE3, RPC_CALL, 4, RPC_OK, BODY });
    rpc_append(scene.call,
               &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_CALL, 5, RPC_OK, BODY });
    rpc_append(scene.good,
               &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 5, RPC_OK, BODY });
    rpc_append(scene.bad,
               &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 5, RPC_ERROR, BODY });
    rig_lane(scene.rig, RIG_RPC, scene.libvirt);
    rig_write(scene.libvirt[0], prepare->data, prepare->len);
    rig_read(scene.libvirt[1], bytes, prepare->len);
    g_assert_false(rig_refresh(&scene.rig->source)->finish_forwarded);
    rig_write(scene.libvirt[0], scene.call->data, scene.call->len);
    rig_read(scene.libvirt[1], bytes, scene.call->len);
    g_assert_cmpmem(bytes, sizeof bytes, scene.call->data, scene.call->len);
    g_assert_true(rig_refresh(&scene.rig->source)->finish_forwarded);
    g_assert_true(rig_refresh(&scene.rig->destination)->finish_forwarded);
    return scene;
}

static void
scene_end(Scene *scene)
{
    fd_close_p(&scene->libvirt[0]);
    g_byte_array_unref(scene->call);
    g_byte_array_unref(scene->good);
    g_byte_array_unref(scene->bad);
    rig_free(scene->rig);
}

static const WorkerStatus *
source_status(Scene *scene)
{
    return worker_status(scene->rig->source.worker);
}

static const WorkerStatus *
destination_status(Scene *scene)
{
    return worker_status(scene->rig->destination.worker);
}

/* Nothing is concluded at either end, however often one asks. */
static void
assert_open_question(Scene *scene)
{
    for (int i = 0; i < 20; i++) {
        for (RigEnd *end = &scene->rig->source; end <= &scene->rig->destination; end++) {
            const WorkerStatus *status = rig_refresh(end);

            g_assert_false(status->proved);
            g_assert_false(status->finish_refused);
            g_assert_false(status->finish_unsettled);
        }
    }
    g_assert_cmpuint(scene->rig->source.seen[WORKER_EVENT_PROVED], ==, 0);
    g_assert_cmpuint(scene->rig->destination.seen[WORKER_EVENT_PROVED], ==, 0);
}

static void
assert_refused_at_both(Scene *scene)
{
    RIG_UNTIL(source_status(scene)->finish_refused && destination_status(scene)->finish_refused);
    g_assert_false(source_status(scene)->proved);
    g_assert_false(destination_status(scene)->proved);
    g_assert_cmpuint(scene->rig->destination.seen[WORKER_EVENT_PROVED], ==, 0);
}

/* The destination's libvirt answers, and the answer is all in the source's libvirt's socket. */
static void
answer(Scene *scene, const GByteArray *reply)
{
    rig_write(scene->libvirt[1], reply->data, reply->len);
    RIG_UNTIL(rig_readable(scene->libvirt[0]) == (int)reply->len);
}

static void
test_proved_when_read(void)
{
    Scene scene = scene_called();
    guint8 bytes[BODY + 28];
    gint64 before_us;

    assert_open_question(&scene);
    answer(&scene, scene.good);
    assert_open_question(&scene); /* it is there, and not read */
    rig_read(scene.libvirt[0], bytes, 4);
    assert_open_question(&scene);
    rig_read(scene.libvirt[0], bytes, BODY + 28 - 4 - 1);
    assert_open_question(&scene); /* all but the last byte */
    before_us = g_get_monotonic_time();
    rig_read(scene.libvirt[0], bytes, 1);
    RIG_UNTIL(source_status(&scene)->proved && destination_status(&scene)->proved);
    g_test_message("proved at the destination after %d us",
                   (int)(destination_status(&scene)->proved_us - before_us));
    g_assert_cmpint(source_status(&scene)->proved_us, >=, before_us);
    g_assert_cmpint(destination_status(&scene)->proved_us, >=, source_status(&scene)->proved_us);
    g_assert_cmpuint(scene.rig->source.seen[WORKER_EVENT_PROVED], ==, 1);
    g_assert_cmpuint(scene.rig->destination.seen[WORKER_EVENT_PROVED], ==, 1);
    g_assert_false(destination_status(&scene)->finish_refused);
    /* The end of the lane takes nothing back. */
    fd_close_p(&scene.libvirt[0]);
    rig_read_end(scene.libvirt[1]);
    g_assert_true(rig_refresh(&scene.rig->source)->proved);
    g_assert_false(rig_refresh(&scene.rig->destination)->finish_refused);
    scene_end(&scene);
}

/* What follows the reply waits for the proof, and then comes. */
static void
test_bytes_after_the_reply(void)
{
    Scene scene = scene_called();
    g_autoptr(GByteArray) both = g_byte_array_new();
    guint8 bytes[BODY + 28 + 28];

    g_byte_array_append(both, scene.good->data, scene.good->len);
    rpc_append(both, &(RpcMessage){ RPC_KEEPALIVE, 1, RPC_MESSAGE, 0, RPC_OK, 0 });
    rig_write(scene.libvirt[1], both->data, both->len);
    RIG_UNTIL(rig_readable(scene.libvirt[0]) == BODY + 28);
    assert_open_question(&scene);
    g_assert_cmpint(rig_readable(scene.libvirt[0]), ==, BODY + 28);
    rig_read(scene.libvirt[0], bytes, sizeof bytes);
    g_assert_cmpmem(bytes, sizeof bytes, both->data, both->len);
    RIG_UNTIL(destination_status(&scene)->proved);
    scene_end(&scene);
}

static void
test_closed_unread(void)
{
    Scene scene = scene_called();

    answer(&scene, scene.good);
    assert_open_question(&scene);
    fd_close_p(&scene.libvirt[0]);
    assert_refused_at_both(&scene);
    scene_end(&scene);
}

static void
test_closed_half_read(void)
{
    Scene scene = scene_called();
    guint8 bytes[BODY + 28];

    answer(&scene, scene.good);
    rig_read(scene.libvirt[0], bytes, BODY + 27);
    fd_close_p(&scene.libvirt[0]);
    assert_refused_at_both(&scene);
    scene_end(&scene);
}

/* Read and closed in one go: it may be too late to see it, but nobody may say that it was refused.
 */
static void
test_closed_after_reading(void)
{
    for (int round = 0; round < 10; round++) {
        Scene scene = scene_called();
        guint8 bytes[BODY + 28];

        answer(&scene, scene.good);
        kill(source_status(&scene)->pid, SIGSTOP); /* so that it is too late in any case */
        rig_read(scene.libvirt[0], bytes, sizeof bytes);
        if (round % 2 == 0)
            fd_close_p(&scene.libvirt[0]);
        kill(source_status(&scene)->pid, SIGCONT);
        if (round % 2 == 0)
            RIG_UNTIL(source_status(&scene)->finish_unsettled || source_status(&scene)->proved);
        else
            RIG_UNTIL(source_status(&scene)->proved && destination_status(&scene)->proved);
        g_assert_false(source_status(&scene)->finish_refused);
        g_assert_false(rig_refresh(&scene.rig->destination)->finish_refused);
        g_assert_cmpint(destination_status(&scene)->proved, ==, source_status(&scene)->proved);
        scene_end(&scene);
    }
}

static void
test_error_reply(void)
{
    Scene scene = scene_called();
    guint8 bytes[BODY + 28];

    answer(&scene, scene.bad);
    assert_refused_at_both(&scene);
    rig_read(scene.libvirt[0], bytes, sizeof bytes); /* and it is passed on */
    g_assert_cmpmem(bytes, sizeof bytes, scene.bad->data, scene.bad->len);
    g_assert_false(rig_refresh(&scene.rig->source)->proved);
    scene_end(&scene);
}

static void
test_wrong_serial(void)
{
    Scene scene = scene_called();
    g_autoptr(GByteArray) other = g_byte_array_new();
    guint8 bytes[BODY + 28];

    rpc_append(other, &(RpcMessage){ RPC_REMOTE, RPC_FINISH3_PARAMS, RPC_REPLY, 6, RPC_OK, BODY });
    answer(&scene, other);
    rig_read(scene.libvirt[0], bytes, sizeof bytes);
    assert_open_question(&scene);
    scene_end(&scene);
}

static void
test_source_libvirt_leaves(void)
{
    Scene scene = scene_called();

    fd_close_p(&scene.libvirt[0]);
    assert_refused_at_both(&scene);
    scene_end(&scene);
}

static void
test_destination_libvirt_leaves(void)
{
    Scene scene = scene_called();

    shutdown(scene.libvirt[1], SHUT_RDWR);
    rig_read_end(scene.libvirt[0]);
    fd_close_p(&scene.libvirt[0]); /* as libvirt does then */
    assert_refused_at_both(&scene);
    scene_end(&scene);
}

static void
test_reply_in_part(void)
{
    Scene scene = scene_called();

    rig_write(scene.libvirt[1], scene.good->data, scene.good->len - 1);
    RIG_UNTIL(rig_readable(scene.libvirt[0]) == (int)scene.good->len - 1);
    assert_open_question(&scene);
    shutdown(scene.libvirt[1], SHUT_RDWR);
    fd_close_p(&scene.libvirt[0]);
    assert_refused_at_both(&scene);
    scene_end(&scene);
}

/* The session dies in between: only the source knows, and it knows exactly. */
static void
test_session_lost_after_call(void)
{
    Scene scene = scene_called();

    rig_lose(scene.rig);
    RIG_UNTIL(rig_state(&scene.rig->source) == WORKER_FAILED &&
              rig_state(&scene.rig->destination) == WORKER_FAILED);
    g_assert_true(rig_refresh(&scene.rig->source)->finish_refused);
    rig_read_end(scene.libvirt[0]); /* so libvirt resumes */
    g_assert_false(rig_refresh(&scene.rig->destination)->finish_refused);
    g_assert_false(destination_status(&scene)->proved);
    scene_end(&scene);
}

static void
test_session_lost_after_reply(void)
{
    Scene scene = scene_called();
    guint8 bytes[BODY + 28];

    answer(&scene, scene.good);
    rig_lose(scene.rig);
    RIG_UNTIL(rig_state(&scene.rig->source) == WORKER_FAILED);
    assert_open_question(&scene);
    rig_read(scene.libvirt[0], bytes, sizeof bytes);
    RIG_UNTIL(source_status(&scene)->proved);
    rig_read_end(scene.libvirt[0]);
    g_assert_false(rig_refresh(&scene.rig->destination)->proved);
    scene_end(&scene);
}

static void
test_second_call(void)
{
    Scene scene = scene_called();

    rig_write(scene.libvirt[0], scene.call->data, scene.call->len);
    RIG_UNTIL(rig_state(&scene.rig->source) == WORKER_FAILED);
    g_assert_error(source_status(&scene)->error, GODWIT_ERROR, GODWIT_ERROR_PROTOCOL);
    g_assert_true(source_status(&scene)->finish_refused);
    scene_end(&scene);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/proof/when-read", test_proved_when_read);
    g_test_add_func("/flyway/proof/bytes-after-the-reply", test_bytes_after_the_reply);
    g_test_add_func("/flyway/proof/closed-unread", test_closed_unread);
    g_test_add_func("/flyway/proof/closed-half-read", test_closed_half_read);
    g_test_add_func("/flyway/proof/closed-after-reading", test_closed_after_reading);
    g_test_add_func("/flyway/proof/error-reply", test_error_reply);
    g_test_add_func("/flyway/proof/wrong-serial", test_wrong_serial);
    g_test_add_func("/flyway/proof/source-libvirt-leaves", test_source_libvirt_leaves);
    g_test_add_func("/flyway/proof/destination-libvirt-leaves", test_destination_libvirt_leaves);
    g_test_add_func("/flyway/proof/reply-in-part", test_reply_in_part);
    g_test_add_func("/flyway/proof/session-lost-after-call", test_session_lost_after_call);
    g_test_add_func("/flyway/proof/session-lost-after-reply", test_session_lost_after_reply);
    g_test_add_func("/flyway/proof/second-call", test_second_call);
    return g_test_run();
}
