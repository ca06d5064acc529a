# SPDX-License-Identifier: Apache-2.0
"""Moves that can't be made: each is refused in words that say what, why and what to do, and the VM
stays."""
import contextlib
import json

import pytest

from labkit import wait_until
from movekit import crawl, put_right, wait_connected, wait_task

REFUSED, UNREACHABLE, FAILED, USAGE = 3, 4, 1, 2


@contextlib.contextmanager
def broken(lab, host, break_it, mend_it):
    """A host with something broken, by commands of virsh."""
    lab.virsh(host, *break_it)
    try:
        yield
    finally:
        lab.virsh(host, *mend_it)


@contextlib.contextmanager
def configured(lab, host, group, line):
    """A host whose godwitd was restarted with one more line in its configuration."""
    def restart(script):
        lab.on(host, "sed", "-i", script, "/etc/godwit/godwitd.conf")
        lab.godwitd("stop", host)
        lab.godwitd("start", host)
        wait_connected(lab)

    restart(f"1i [{group}]\\n{line}\\n")
    try:
        yield
    finally:
        restart("1,3d")


# What is not there, or is there already

def test_unknown_vm(guest):
    guest.assert_refused(FAILED, "not-found", 'VM "wed"', 'mean "web"', name="wed")


def test_unknown_host(guest):
    guest.assert_refused(FAILED, "not-found", 'host "h22"', 'mean "h2"', to="h22")


def test_where_it_is_already(guest):
    guest.assert_refused(REFUSED, "refused", guest.name, f"is on {guest.here} already",
                         "choose another host", to=guest.here)


def test_vm_shut_off_and_vm_paused(lab, guest):
    with broken(lab, guest.here, ["suspend", guest.name], ["resume", guest.name]):
        wait_until(lambda: lab.godwit_json("vm", "show", guest.name)["state"] == "paused",
                   "it is known as paused", 5)
        done = guest.migrate(check=False)
        assert done.returncode == REFUSED and f"virsh resume {guest.name}" in done.stderr
    lab.vm("off", no_start=True, on=guest.here)
    try:
        wait_until(lambda: lab.godwit("vm", "show", "off", check=False).returncode == 0,
                   "it is known", 5)
        guest.assert_refused(REFUSED, "refused", "off is shutoff", "virsh start off", name="off")
        assert lab.virsh(guest.here, "domstate", "off").strip() == "shut off"
    finally:
        lab.destroy("off")


def test_name_is_taken_there(lab, guest):
    xml = f"{lab.folder}/other.xml"
    with open(xml, "w", encoding="utf-8") as file:
        file.write(f"<domain type='qemu'><name>{guest.name}</name><memory unit='MiB'>64</memory>"
                   "<os><type>hvm</type></os></domain>")
    lab.virsh(guest.there, "define", xml)
    try:
        uuid = lab.virsh(guest.here, "domuuid", guest.name).strip()
        wait_until(lambda: lab.godwit("vm", "show", guest.name, check=False).returncode == 1,
                   "two are known", 5)
        # By name it is not clear which is meant; by UUID it is, and the check speaks.
        done = guest.migrate("--output", "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (FAILED, "conflict") and uuid in error["message"]
        done = lab.godwit("migrate", uuid, "--to", guest.there, "--output", "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (REFUSED, "refused")
        assert "another VM named" in error["message"] and "virsh domrename" in error["message"]
    finally:
        lab.virsh(guest.there, "undefine", guest.name)
    guest.assert_stays()


def test_two_moves_of_one_vm(lab, guest):
    let_go = crawl(lab)
    first = guest.start()
    done = guest.migrate("--output", "json", check=False)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (FAILED, "conflict")
    assert f"godwit task cancel {first}" in error["message"] and "already" in error["message"]
    let_go()
    assert wait_task(lab, first, "succeeded")["result"] == "completed"
    guest.assert_at(guest.there)


# The destination

@pytest.mark.parametrize("how", ["stop", "kill"])
def test_destination_down(lab, guest, how):
    lab.godwitd(how, guest.there)
    wait_connected(lab, [guest.here])
    guest.assert_refused(REFUSED, "refused", f"host {guest.there} is ", "godwit doctor",
                         "destination-up")
    put_right(lab)
    guest.move()


def test_destination_killed_just_now(lab, guest):
    """The manager may not know it yet: whoever notices says so."""
    lab.godwitd("kill", guest.there)
    done = guest.migrate("--output", "json", check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode in (REFUSED, UNREACHABLE) and error["code"] in ("refused", "unreachable")
    assert guest.there in error["message"]
    put_right(lab)
    guest.assert_stays()


def test_destination_full(lab, guest):
    with configured(lab, guest.there, "godwitd", "memory_headroom = 900G"):
        guest.assert_refused(REFUSED, "refused", f"host {guest.there} has", "memory free",
                             f"VM {guest.name} needs 256 MiB", "choose another host")
    guest.move()


def test_datastore_not_there(lab, guest):
    with broken(lab, guest.there, ["pool-destroy", "shared"], ["pool-start", "shared"]):
        wait_until(lambda: "inactive" in lab.godwit("datastore", "list").stdout,
                   "the manager knows", 5)
        guest.assert_refused(REFUSED, "refused", "disk vda", "datastore shared", guest.there,
                             "virsh pool-start shared")


def test_datastore_of_that_path_is_another(lab, guest):
    """The same path, the same file name, and not the same folder."""
    there = guest.there
    lab.on(there, "sh", "-ec", "mkdir -p /run/impostor;"
           " mount --bind /run/impostor /srv/godwit/shared;"
           f" truncate -s 64M /srv/godwit/shared/{guest.name}.img")
    try:
        guest.assert_refused(REFUSED, "refused", "/srv/godwit/shared", there, "check datastore",
                             "mount the same datastore")
    finally:
        lab.on(there, "umount", "/srv/godwit/shared")


def test_disk_not_there(lab, guest):
    there = guest.there
    lab.on(there, "sh", "-ec", "mkdir -p /run/empty; mount --bind /run/empty /srv/godwit/shared")
    try:
        guest.assert_refused(REFUSED, "refused", f"/srv/godwit/shared/{guest.name}.img",
                             "is not there", there)
    finally:
        lab.on(there, "umount", "/srv/godwit/shared")


def test_network_not_there(lab, guest):
    def active():
        return all(n["active"] for n in lab.godwit_json("network", "list")["networks"])

    with broken(lab, guest.there, ["net-destroy", "lan"], ["net-start", "lan"]):
        wait_until(lambda: not active(), "the manager knows", 5)
        guest.assert_refused(REFUSED, "refused", "network lan", guest.there, "virsh net-start lan")
    wait_until(active, "the manager knows", 5)
    guest.move()


# libvirt

def test_libvirtd_down_on_the_destination(lab, guest):
    lab.libvirtd("kill", guest.there)
    try:
        done = guest.migrate("--output", "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert done.returncode in (REFUSED, UNREACHABLE) and guest.there in error["message"], done
        assert "libvirt" in error["message"] and error["code"] in ("refused", "unreachable"), done
    finally:
        put_right(lab)
    guest.move()


def test_libvirtd_down_on_the_source(lab, guest):
    lab.libvirtd("kill", guest.here)
    try:
        done = guest.migrate("--output", "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert done.returncode == UNREACHABLE and error["code"] == "unreachable", done
        assert guest.here in error["message"] and "libvirt" in error["message"], done
    finally:
        put_right(lab)
    guest.move()


# Usage

@pytest.mark.parametrize("words, says", [
    (["migrate", "web"], "--to"), (["migrate", "--to", "h2"], "VM"), (["migrat", "web"], "migrate"),
    (["migrate", "web", "--to", "h2", "--policy", "brutal"], "gentle"),
    (["migrate", "web", "--to", "h2", "--wait", "--detach"], "exclude"),
    (["migrate", "web", "--too", "h2"], "--too"), (["task", "show", "xyz"], "not a task's id"),
])
def test_wrong_usage(lab, words, says):
    done = lab.godwit(*words, "--output", "json", check=False)
    assert done.returncode == USAGE and says in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "invalid"


def test_unknown_task_host_token(lab):
    for words in (["task", "show", "0000"], ["task", "cancel", "0000"], ["host", "show", "h9"],
                  ["host", "remove", "h9"], ["vm", "show", "nobody"], ["token", "revoke", "nobody"],
                  ["alarm", "ack", "00000000"]):
        done = lab.godwit(*words, "--output", "json", check=False)
        assert done.returncode == FAILED, words
        assert json.loads(done.stdout)["error"]["code"] == "not-found", words
