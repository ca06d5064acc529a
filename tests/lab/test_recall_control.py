# SPDX-License-Identifier: Apache-2.0
"""Recall's control plane: the key comes from the manager and is nowhere else, the store is told and cleared."""
import json

import pytest

from labkit import wait_until
from movekit import wait_connected

STATE = "/var/lib/godwit"


def recall(lab, host):
    return lab.godwit_json("host", "show", host).get("recall") or {}


def wait_active(lab, host):
    wait_until(lambda: recall(lab, host).get("active"), f"recall is in use on {host}", 20)


def test_host_show_tells_the_store(lab):
    for host in ("h1", "h2"):
        wait_active(lab, host)
        told = recall(lab, host)
        assert told["keyed"] and not told.get("reason") and told["max_bytes"] > 0
        assert told["bytes"] <= told["max_bytes"]
        assert "Recall" in lab.godwit("host", "show", host).stdout
        assert lab.on(host, "stat", "-c", "%a", f"{STATE}/recall").strip() == "700"


def test_the_key_is_told_again_after_a_restart(lab):
    wait_active(lab, "h2")
    lab.godwitd("stop", "h2")
    wait_connected(lab, ["h1"])
    lab.godwitd("start", "h2")
    wait_connected(lab)
    wait_active(lab, "h2")


def test_clear(lab):
    done = lab.godwit_json("recall", "clear")
    assert {row["host"] for row in done["hosts"]} == {"h1", "h2"} and all("error" not in row for row in done["hosts"])
    for host in ("h1", "h2"):
        wait_until(lambda where=host: recall(lab, where)["sets"] == 0, f"nothing is kept on {host}", 5)
    one = lab.godwit_json("recall", "clear", "--host", "h1")
    assert one["hosts"] == [{"host": "h1", "sets": 0}]
    assert "SETS REMOVED" in lab.godwit("recall", "clear").stdout


@pytest.mark.parametrize("words, status, says", [
    ("recall clear --host h9", 1, "h9"), ("recall clear nosuchvm", 1, "nosuchvm"),
    ("recall clear a b", 2, ""), ("recall", 2, ""),
])
def test_wrong_words(lab, words, status, says):
    done = lab.godwit(*words.split(), check=False)
    assert done.returncode == status and says in done.stderr, done.stderr
    if status == 1:
        told = json.loads(lab.godwit(*words.split(), "--output", "json", check=False).stdout)
        assert told["error"]["code"] == "not-found"


def test_a_vms_group_is_shown(lab):
    xml = "<domain type='qemu'><name>grouped</name><memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os></domain>"
    path = f"{lab.folder}/grouped.xml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(xml)

    def group():
        vms = lab.godwit_json("vm", "list")["vms"]
        return next((vm.get("recall_group") for vm in vms if vm["name"] == "grouped"), None)

    lab.virsh("h1", "define", path)
    try:
        lab.virsh("h1", "metadata", "grouped", "--uri", "godwit:vm", "--key", "godwit", "--set",
                  '<vm><recall group="web"/></vm>', "--config")
        wait_until(lambda: group() == "web", "the group is shown", 5)
        assert "Group       web\n" in lab.godwit("vm", "show", "grouped").stdout
    finally:
        lab.virsh("h1", "undefine", "grouped")
