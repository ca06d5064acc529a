# SPDX-License-Identifier: Apache-2.0
"""The data connections are lost in the middle of a move and come back: the VM notices a pause of
the copy at most, and the move goes on where it was. It isn't started anew."""
import pytest

from labkit import wait_until
from movekit import (STAGES, Follower, configured, connections, crawl, reset, task, wait_connected,
                     wait_task)

CUT_S = 5               # a connection is given up after 3 s without a word
WINDOW = 6 << 20        # at most so much is on its way without an acknowledgement


@pytest.fixture
def slow(lab):
    """Links so slow that the copy lasts until a test lets it go on."""
    return crawl(lab)


def wait_resumed(lab, task_id, times):
    """Waits until the move went on after its connections were lost so often, and memory flows;
    gives its progress then."""
    def resumed():
        told = task(lab, task_id)
        assert told["state"] == "running", told
        migration = told["migration"]
        progress = migration.get("progress", {})
        return migration["resumes"] >= times and not progress.get("cut_off", True) and progress

    return wait_until(resumed, f"it was resumed {times} times", 60, every=0.2)


def moves(lab):
    """All tasks that the manager knows."""
    return len(lab.godwit_json("task", "list", "--all")["tasks"])


def assert_went_on(lab, guest, task_id, resumes):
    """The move has succeeded as one, its report tells of the cuts, the VM is well."""
    report = wait_task(lab, task_id, "succeeded")
    assert report["result"] == "completed" and resumes <= report["resumes"] <= resumes + 2, report
    assert report["resent_bytes"] <= report["resumes"] * WINDOW, report
    assert [s["name"] for s in report["stages"]] == STAGES
    assert {s["result"] for s in report["stages"]} == {"ok"}
    numbers = [p["number"] for p in report["passes"]]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1
    lost = "once" if report["resumes"] == 1 else f"{report['resumes']} times"
    assert f"lost and resumed {lost}" in lab.godwit("task", "show", task_id).stdout
    guest.assert_at(guest.there)
    return report


def test_each_host_is_cut_off(lab, guest, slow):
    known = moves(lab)
    moving = guest.start()
    done = task(lab, moving)["migration"]["progress"]["done_bytes"]
    for times, host in enumerate([guest.there, guest.here], start=1):
        lab.cut(host, CUT_S)
        after = wait_resumed(lab, moving, times)["done_bytes"]
        assert after >= done
        done = after
    slow()
    assert_went_on(lab, guest, moving, 2)
    assert moves(lab) == known + 1


def test_a_short_cut(lab, guest, slow):
    """TCP outlives it, or the session does."""
    moving = guest.start()
    lab.cut(guest.there, 1)
    wait_until(lambda: not lab.status()["cuts"], "the link is back", 20)
    slow()
    report = wait_task(lab, moving, "succeeded")
    assert report["resumes"] <= 1 and report["resent_bytes"] <= WINDOW, report
    guest.assert_at(guest.there)


def test_connections_are_reset(lab, guest, slow):
    """As a firewall does that forgets, or a switch-over of one."""
    moving = guest.start()
    for times, host in enumerate([guest.here, guest.there, guest.here], start=1):
        reset(lab, host)
        wait_resumed(lab, moving, times)
    slow()
    assert_went_on(lab, guest, moving, 3)


def test_who_waits_is_told(lab, guest, slow):
    follower = Follower(lab, "migrate", guest.name, "--to", guest.there)
    try:
        follower.wait_line("copy, pass")
        lab.cut(guest.there, CUT_S + 3)
        follower.wait_line("copy, connection lost, resuming")
        slow()
        status, out, _ = follower.end()
    finally:
        follower.kill()
    assert status == 0 and f"{guest.name} moved from" in out
    guest.assert_at(guest.there)


def test_several_connections(lab, guest, slow):
    with configured(lab, guest.here, "flyway", "connections", 3):
        wait_connected(lab)
        moving = guest.start()
        wait_until(lambda: len(connections(lab, guest.here)) == 3, "there are three connections")
        # One is lost: nothing is held up, and another takes its place.
        lost = connections(lab, guest.here)[0]
        reset(lab, guest.here, lost)
        wait_until(lambda: lost not in (now := connections(lab, guest.here)) and len(now) == 3,
                   "there are three again")
        assert task(lab, moving)["migration"]["resumes"] == 0
        # All are lost.
        reset(lab, guest.there)
        wait_resumed(lab, moving, 1)
        wait_until(lambda: len(connections(lab, guest.here)) == 3, "there are three again")
        slow()
        report = assert_went_on(lab, guest, moving, 1)
    assert report["connections"] == 3
    wait_connected(lab)
