# SPDX-License-Identifier: Apache-2.0
"""Whatever dies or is cut in the middle of a move: the VM runs on exactly one host, the task ends
and says why, nothing is left over, and the next move works."""
import json

import pytest

from labkit import wait_until
from movekit import Follower, crawl, domains, put_right, task, wait_connected, wait_task


@pytest.fixture
def slow(lab):
    """Links so slow that the copy lasts until a test lets it go on."""
    return crawl(lab)


def worker(lab, host):
    """The process of a host's flyway worker (process numbers are the lab's, namespaces tell)."""
    script = ("for p in $(pgrep -x godwit-flyway); do [ $(readlink /proc/$p/ns/net) ="
              " $(readlink /proc/self/ns/net) ] && echo $p; done; true")
    found = lab.on(host, "sh", "-c", script).split()
    assert len(found) == 1, found
    return found[0]


def wait_there(lab, guest, state):
    """Waits until the VM is in that state on the destination, and on no other host."""
    wait_until(lambda: domains(lab, guest.name) == {guest.there: state}, f"it is {state} there", 60,
               every=0.3)


def alarms(lab, vm):
    """What people are told about a VM."""
    return [a["message"] for a in lab.godwit_json("alarm", "list")["alarms"] if a.get("vm") == vm]


def assert_failed(lab, guest, task_id, *says):
    """The task failed and says why; the VM stays and can be moved."""
    report = wait_task(lab, task_id, "failed", 120)
    assert report["result"] == "failed" and "progress" not in report
    for word in says:
        assert word in report["error"]["message"], report
    assert guest.name in report["error"]["message"] or report["error"]["stage"]
    page = lab.godwit("task", "show", task_id).stdout
    assert report["error"]["code"] in page and "Error" in page
    put_right(lab)
    guest.assert_stays()
    guest.move()
    return report


# People

def test_cancel_in_the_copy(lab, guest, slow):
    moving = guest.start()
    done = lab.godwit("task", "cancel", moving, "--output", "json")
    assert json.loads(done.stdout)["state"] == "cancelled"
    report = task(lab, moving)["migration"]
    assert (report["result"], report["error"]["code"], report["error"]["stage"]) == (
        "cancelled", "cancelled", "copy")
    assert report["stages"][-1]["name"] == "copy" and report["stages"][-1]["result"] == "cancelled"
    guest.assert_stays()
    done = lab.godwit("task", "cancel", moving, "--output", "json", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "conflict"
    slow()
    guest.move()


def test_who_waits_hears_of_the_cancel(lab, guest, slow):
    follower = Follower(lab, "migrate", guest.name, "--to", guest.there)
    try:
        follower.wait_line("copy, pass")
        running = lab.godwit_json("task", "list", "--state", "running")["tasks"]
        lab.godwit("task", "cancel", running[0]["id"][:6])
        status, _, said = follower.end()
    finally:
        follower.kill()
    assert status == 1 and f"{guest.name} was not moved: cancelled" in said
    guest.assert_stays()


def test_ctrl_c_detaches(lab, guest, slow):
    follower = Follower(lab, "migrate", guest.name, "--to", guest.there)
    try:
        follower.wait_line("copy, pass")
        follower.interrupt()
        status, _, said = follower.end()
    finally:
        follower.kill()
    running = lab.godwit_json("task", "list", "--state", "running")["tasks"]
    assert [t["migration"]["vm"] for t in running] == [guest.name]
    assert status == 130 and f"godwit task cancel {running[0]['id'][:8]}" in said
    slow()
    assert wait_task(lab, running[0]["id"], "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


# The manager and godwitd

def test_manager_killed(lab, guest, slow):
    follower = Follower(lab, "migrate", guest.name, "--to", guest.there, "--output", "json")
    try:
        follower.wait_line("copy, pass")
        lab.godwitd("kill", "manager")
        assert lab.godwit("vm", "list", check=False).returncode == 4
        lab.godwitd("start", "manager")
        wait_connected(lab)
        slow()
        status, out, said = follower.end()
    finally:
        follower.kill()
    report = json.loads(out)
    assert status == 0 and report["result"] == "completed", said
    assert task(lab, report["id"])["state"] == "succeeded"
    guest.assert_at(guest.there)


def test_manager_away_until_the_end(lab, guest, slow):
    moving = guest.start()
    lab.godwitd("kill", "manager")
    slow()
    wait_there(lab, guest, "running")
    lab.godwitd("start", "manager")
    report = wait_task(lab, moving, "succeeded")
    assert [s["name"] for s in report["stages"]][-1] == "retire"
    guest.assert_at(guest.there)


def test_source_godwitd_killed(lab, guest, slow):
    moving = guest.start()
    lab.godwitd("kill", guest.here)
    lab.godwitd("start", guest.here)
    wait_connected(lab)
    assert task(lab, moving)["state"] == "running"
    slow()
    report = wait_task(lab, moving, "succeeded")
    assert report["result"] == "completed" and any("restarted" in w for w in report["warnings"])
    guest.assert_at(guest.there)


def test_destination_godwitd_killed(lab, guest, slow):
    moving = guest.start()
    lab.godwitd("kill", guest.there)
    lab.godwitd("start", guest.there)
    wait_connected(lab)
    slow()
    assert wait_task(lab, moving, "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


def test_destination_godwitd_away_in_the_switch(lab, guest, slow):
    """Nobody may start the VM but the one who has the proof: it waits, stopped, over there."""
    moving = guest.start()
    lab.godwitd("kill", guest.there)
    slow()
    wait_there(lab, guest, "paused")
    lab.godwitd("start", guest.there)
    assert wait_task(lab, moving, "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


def test_source_godwitd_away_in_the_switch(lab, guest, slow):
    moving = guest.start()
    lab.godwitd("kill", guest.here)
    slow()
    wait_there(lab, guest, "running")
    lab.godwitd("start", guest.here)
    assert wait_task(lab, moving, "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


def test_all_of_godwit_killed(lab, guest, slow):
    moving = guest.start()
    for place in ("manager", guest.here, guest.there):
        lab.godwitd("kill", place)
    slow()
    wait_there(lab, guest, "paused")
    for place in ("manager", guest.here, guest.there):
        lab.godwitd("start", place)
    assert wait_task(lab, moving, "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


# Workers and the link

@pytest.mark.parametrize("side", ["source", "destination"])
def test_worker_killed(lab, guest, slow, side):
    moving = guest.start()
    host = guest.here if side == "source" else guest.there
    lab.on(host, "kill", "-9", worker(lab, host))
    slow()
    report = assert_failed(lab, guest, moving, f"the data connection to {guest.there}")
    assert report["error"]["stage"] == "copy"


def test_link_cut_for_longer_than_is_waited(lab, guest, slow):
    moving = guest.start()
    lab.cut(guest.there, 25)
    report = assert_failed(lab, guest, moving, f"the data connection to {guest.there}",
                           "migration network")
    assert (report["error"]["code"], report["error"]["stage"]) == ("timeout", "copy")


# libvirt

def test_source_libvirtd_killed(lab, guest, slow):
    moving = guest.start()
    lab.libvirtd("kill", guest.here)
    lab.libvirtd("start", guest.here)
    slow()
    assert_failed(lab, guest, moving, guest.name, "libvirtd")


def test_destination_libvirtd_killed(lab, guest, slow):
    moving = guest.start()
    lab.libvirtd("kill", guest.there)
    wait_task(lab, moving, "failed")
    assert_failed(lab, guest, moving, guest.name, "libvirt on the other host")


def test_vm_shut_down_in_the_middle(lab, guest, slow):
    """A person ends the VM: that is what they get, on both hosts."""
    moving = guest.start()
    lab.virsh(guest.here, "destroy", guest.name)
    report = wait_task(lab, moving, "failed")
    assert "virsh start" in report["error"]["message"]
    assert domains(lab, guest.name) == {guest.here: "shut off"}
    assert any("shut down" in text for text in alarms(lab, guest.name))
    lab.destroy(guest.name)
