/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch-over of a migration: two hosts with libvirtd, QEMU, godwitd and flyway's worker each, and
 * the two links between them. At any moment a daemon or worker may be killed, either side may give the
 * session up, libvirt's keepalive its connection, and a message between the godwitds may be lost: CRASHES
 * of these in all. godwitds and libvirtds are started again.
 *
 * Held: never do both run; and when nothing moves any more, one does. What each rule stands for in the
 * code is in docs/failure-model.md. With FAULT set to a number a rule is broken, which must be found
 * (test_model.py).
 *
 * What a godwitd has journalled and what libvirt has saved outlives them; a worker's knowledge dies with
 * it.
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef FAULT
#define FAULT 0
#endif
#define IS(n) (FAULT == n)

mtype = { RUN, HELD, GONE, INCOMING };               /* QEMUs */
mtype = { PERFORM, PERFORM_DONE, CONFIRM, CANCELLED, FORGOTTEN }; /* source libvirtd's job */
mtype = { FINISH, GOOD, BAD, PROVED, REFUSED };      /* on the session */
mtype = { NONE, RUNS, LEFT };                        /* the source's word to the destination */
mtype = { OPEN, STARTING, RUNNING, ABORTED };        /* the migration at the destination, journalled */

mtype src = RUN, dst = INCOMING;
mtype job = PERFORM;          /* saved by the source's libvirtd */
bool finish_done;             /* saved by the destination's libvirtd: Finish has ended there, well */
byte crashes;

/* The session: in order, exactly once, as long as both workers live and neither has given it up. */
chan to_dst = [2] of { mtype };
chan to_src = [1] of { mtype };
bool src_worker = true, dst_worker = true; /* alive */
bool src_session = true, dst_session = true;
bool src_libvirtd = true, dst_libvirtd = true, src_godwitd = true, dst_godwitd = true;

/* The unix sockets between libvirtds and workers. */
bool called;           /* Finish lies in the source worker's socket */
mtype handed = NONE;   /* GOOD or BAD: written to the source's libvirtd */
bool was_read;         /* by it */
bool rpc_closed;       /* source libvirtd sees the end of its connection */
bool hung_up;          /* source libvirtd has closed it */
bool forwarded;        /* Finish was given to the destination's libvirtd */
mtype answer = NONE;   /* of the destination's libvirtd, in the destination worker's socket */
bool proof;            /* the destination worker's knowledge */
bool lane_ended;       /* destination's libvirtd sees the end of its connection */

/* The godwitds. */
mtype word = NONE;     /* what the destination's was told */
mtype state = OPEN;    /* journalled there */

/* ---- the source's libvirtd: qemuMigrationSrcPerformPeer2Peer3 and its recovery ------------------------------------------------- */
active proctype SourceLibvirtd()
{
    do
    :: atomic { src_libvirtd && job == PERFORM && src == RUN && !rpc_closed -> src = HELD }
    :: atomic { src_libvirtd && job == PERFORM && src == RUN && rpc_closed -> job = FORGOTTEN }
    :: atomic { src_libvirtd && job == PERFORM && src == HELD && !rpc_closed -> job = PERFORM_DONE; called = true }
    :: atomic { src_libvirtd && job == PERFORM && src == HELD && rpc_closed -> job = CANCELLED }
    /* A reply that lies in the socket is read, also after its writer has gone. */
    :: atomic { src_libvirtd && job == PERFORM_DONE && handed == GOOD && !was_read -> was_read = true }
    :: atomic { src_libvirtd && job == PERFORM_DONE && was_read -> job = CONFIRM }
    :: atomic { src_libvirtd && job == PERFORM_DONE && handed == BAD -> job = CANCELLED }
    :: atomic { src_libvirtd && job == PERFORM_DONE && handed == NONE && rpc_closed -> job = CANCELLED }
    /* Its keepalive gives the connection up, whatever lies unread in it. */
    :: atomic { src_libvirtd && job == PERFORM_DONE && !was_read && crashes < CRASHES -> crashes++; hung_up = true; job = CANCELLED }
    :: atomic { src_libvirtd && job == CONFIRM -> src = GONE; job = FORGOTTEN; hung_up = true }
    :: atomic { src_libvirtd && job == CANCELLED -> src = RUN; job = FORGOTTEN; hung_up = true }
    /* Killed, and started again: qemuProcessRecoverMigrationOut. Its connection is closed. */
    :: atomic { src_libvirtd && job != FORGOTTEN && crashes < CRASHES -> crashes++; src_libvirtd = false; hung_up = true }
    :: atomic { !src_libvirtd ->
            src_libvirtd = true; called = false; rpc_closed = true;
            if
            :: job == PERFORM || job == CANCELLED -> src = RUN
            :: job == CONFIRM -> src = GONE
            :: job == PERFORM_DONE -> skip       /* stays held: whose it is isn't known */
            :: else -> skip
            fi;
            job = FORGOTTEN }
    od
}

/* ---- the source's worker: flyway/finish.c ------------------------------------------------------------------------------------- */
active proctype SourceWorker()
{
    mtype said = NONE;

    do
    :: atomic { src_worker && called && src_session && nfull(to_dst) -> called = false; to_dst!FINISH }
    :: atomic { src_worker && src_session && handed == NONE && !rpc_closed && nempty(to_src) -> to_src?handed }
    /* Read, and then no hang-up: flyway/finish.c. */
    :: atomic { src_worker && src_session && handed == GOOD && (was_read || IS(1)) && said == NONE && !hung_up && nfull(to_dst) ->
            said = PROVED; to_dst!PROVED }
    /* The lane's end: only if the reply was not written. */
    :: atomic { src_worker && src_session && said == NONE && nfull(to_dst) && (handed == BAD || (handed == NONE && (rpc_closed || hung_up))) ->
            said = REFUSED; to_dst!REFUSED }
    /* The session is given up, or the worker is killed: libvirt's connection ends. */
    :: atomic { src_worker && src_session && crashes < CRASHES -> crashes++; src_session = false; rpc_closed = true }
    :: atomic { src_worker && crashes < CRASHES -> crashes++; src_worker = false; src_session = false; rpc_closed = true }
    :: atomic { src_session && (!dst_session || !dst_worker) -> src_session = false; rpc_closed = true }
    od
}

/* ---- the destination's worker -------------------------------------------------------------------------------------------------- */
active proctype DestinationWorker()
{
    do
    :: atomic { dst_worker && dst_session && to_dst?[FINISH] -> to_dst?FINISH; forwarded = true }
    :: atomic { dst_worker && dst_session && (answer == GOOD || answer == BAD) && nfull(to_src) -> to_src!answer; answer = FINISH }
    :: atomic { dst_worker && dst_session && to_dst?[PROVED] -> to_dst?PROVED; proof = true }
    :: atomic { dst_worker && dst_session && to_dst?[REFUSED] -> to_dst?REFUSED }
    :: atomic { dst_worker && dst_session && crashes < CRASHES -> crashes++; dst_session = false; lane_ended = true }
    :: atomic { dst_worker && crashes < CRASHES -> crashes++; dst_worker = false; dst_session = false; proof = false; lane_ended = true }
    /* The other side has gone; what it sent before is taken first. */
    :: atomic { dst_session && (!src_session || !src_worker) && empty(to_dst) -> dst_session = false; lane_ended = true }
    od
}

/* ---- the destination's libvirtd: qemuMigrationDstFinish and its recovery ------------------------------------------------------- */
active proctype DestinationLibvirtd()
{
    do
    :: atomic { dst_libvirtd && forwarded && !finish_done && dst == INCOMING && answer == NONE ->
            if
            :: dst = HELD; finish_done = true      /* started paused, its job has ended; the reply follows */
            :: dst = GONE; answer = BAD
            fi }
    :: atomic { dst_libvirtd && finish_done && answer == NONE -> answer = GOOD;
            if
            :: IS(2) && dst == HELD -> dst = RUN   /* as libvirt does by itself */
            :: else -> skip
            fi }
    /* The source's connection ended before Finish: it is killed. */
    :: atomic { dst_libvirtd && lane_ended && !forwarded && dst == INCOMING -> dst = GONE }
    :: atomic { dst_libvirtd && crashes < CRASHES -> crashes++; dst_libvirtd = false }
    :: atomic { !dst_libvirtd -> dst_libvirtd = true; lane_ended = true;
            if
            :: answer == NONE -> answer = BAD      /* to the worker: a closed connection, which ends the lane */
            :: else -> skip
            fi;
            if
            :: dst == INCOMING -> dst = GONE
            :: else -> skip
            fi }
    od
}

/* ---- the source's godwitd: motion/source_fate.c -------------------------------------------------------------------------------- */
active proctype SourceGodwitd()
{
    do
    /* libvirt has forgotten its job: its word is final. */
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == RUN && dst_godwitd && word == NONE ->
            if
            :: word = RUNS
            :: crashes < CRASHES -> crashes++      /* lost */
            fi }
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == GONE && dst_godwitd && word == NONE ->
            if
            :: word = LEFT
            :: crashes < CRASHES -> crashes++
            fi }
    /* Held: the destination decides, and says so before anything runs here. */
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == HELD && dst_godwitd && word == NONE -> word = RUNS }
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == HELD && dst_godwitd && (state == ABORTED || IS(3)) -> src = RUN }
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == HELD && dst_godwitd && state == STARTING && word != LEFT -> word = LEFT }
    :: atomic { src_godwitd && src_libvirtd && job == FORGOTTEN && src == HELD && dst_godwitd && state == RUNNING -> src = GONE }
    :: atomic { src_godwitd && crashes < CRASHES -> crashes++; src_godwitd = false }
    :: atomic { !src_godwitd -> src_godwitd = true }
    od
}

/* ---- the destination's godwitd: motion/destination_stages.c -------------------------------------------------------------------- */
#define WORKER_PROVES (dst_worker && proof)

active proctype DestinationGodwitd()
{
    do
    :: atomic { dst_godwitd && state == OPEN && WORKER_PROVES -> state = STARTING }
    :: atomic { dst_godwitd && state == OPEN && !WORKER_PROVES && word == LEFT -> state = STARTING }
    :: atomic { dst_godwitd && state == OPEN && !WORKER_PROVES && (word == RUNS || (IS(4) && !dst_session)) -> state = ABORTED }
    /* Its worker told the end itself, and Finish was never given to libvirt: the source can't have a good reply. */
    :: atomic { dst_godwitd && state == OPEN && dst_worker && !dst_session && !forwarded -> state = ABORTED }
    :: atomic { dst_godwitd && state == STARTING && dst == HELD && dst_libvirtd -> dst = RUN }
    :: atomic { dst_godwitd && state == STARTING && dst == RUN -> state = RUNNING /* journalled from here on */ }
    :: atomic { dst_godwitd && state == ABORTED && dst_libvirtd && (dst == HELD || dst == INCOMING) -> dst = GONE }
    :: atomic { dst_godwitd && crashes < CRASHES -> crashes++; dst_godwitd = false;
            if
            :: state == STARTING -> state = OPEN; word = NONE          /* the proof isn't journalled */
            :: state == OPEN -> word = NONE
            :: IS(5) && state == ABORTED -> state = OPEN; word = NONE
            :: else -> skip
            fi }
    /* Started again. It asks libvirt first: what runs here was started on proof. */
    :: atomic { !dst_godwitd && dst_libvirtd -> dst_godwitd = true;
            if
            :: state == OPEN && dst == RUN && !IS(6) -> state = RUNNING
            :: else -> skip
            fi }
    od
}

/* ---- what is held -------------------------------------------------------------------------------------------------------------- */
active proctype Judge()
{
end:
    do
    :: atomic { src == RUN && dst == RUN -> assert(false) /* twice */ }
    :: atomic { timeout -> assert(src == RUN || dst == RUN) /* none */; break }
    od
}
