# SPDX-License-Identifier: Apache-2.0
"""The command line against a real manager: JSON of each verb, doctor, events, a manager away."""
import json
import signal
from pathlib import Path

import pytest

from labkit import wait_until
from movekit import Follower, put_right, wait_connected

BIN = "/srv/godwit/bin"


@pytest.mark.parametrize("words, key", [
    ("host list", "hosts"), ("host show h1", "uuid"), ("host add", "token"), ("vm list", "vms"),
    ("vm list --host h2", "vms"), ("vm show web", "uuid"), ("network list", "networks"),
    ("datastore list", "datastores"), ("task list", "tasks"), ("task list --all", "tasks"),
    ("alarm list", "alarms"), ("token list", "tokens"), ("version", "manager"),
    ("version --client", "client"), ("doctor", "findings"),
])
def test_json_of_every_verb(lab, guest, words, key):
    done = lab.godwit(*words.split(), "--output", "json")
    assert key in json.loads(done.stdout)
    table = lab.godwit(*words.split())
    assert table.stdout or table.stderr, words
    assert not table.stdout.startswith("{")


def test_doctor(lab, guest):
    done = lab.godwit("doctor")
    assert "0 errors" in done.stdout and "h2: agent and libvirt answer" in done.stdout
    lab.godwitd("stop", "h2")
    wait_connected(lab, ["h1"])
    done = lab.godwit("doctor", check=False)
    assert done.returncode == 1 and "systemctl" in done.stdout
    assert any(line.startswith("error") and "h2" in line for line in done.stdout.splitlines())
    told = json.loads(lab.godwit("doctor", "--output", "json", check=False).stdout)
    bad = [f for f in told["findings"] if f["level"] == "error"]
    assert told["errors"] == len(bad) >= 1 and all("h2" in f["about"] for f in bad)
    assert all(f["remedy"] for f in bad)
    lab.godwitd("start", "h2")
    wait_connected(lab)
    lab.libvirtd("kill", "h2")
    wait_until(lambda: "libvirt" in lab.godwit("doctor", check=False).stdout.split("error", 1)[-1]
               and lab.godwit("doctor", check=False).returncode == 1, "libvirt's end is told", 15)
    lab.libvirtd("start", "h2")
    wait_until(lambda: lab.godwit("doctor", check=False).returncode == 0, "all is well again", 40)


def test_doctor_on_a_host(lab):
    env = lab.env()
    script = (f"printf %s '{Path(env['GODWIT_CA']).read_text(encoding='utf-8')}' > /run/ca.pem;"
              f" export GODWIT_CA=/run/ca.pem GODWIT_TOKEN={env['GODWIT_TOKEN']}"
              f" GODWIT_URL=https://10.77.0.2:8443; {BIN}/godwit doctor")
    done = lab.on("h1", "sh", "-c", script, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16570" in done.stdout and "16571" in done.stdout and "libvirt-sock" in done.stdout


def test_events(lab, guest):
    follower = Follower(lab, "events", "--output", "json")

    def heard(event, name, state):
        for line in list(follower.printed):
            told = json.loads(line)
            about = told["data"].get("migration") or {}
            if (told["event"] == event and name in (told["data"].get("name"), about.get("vm"))
                    and told["data"]["state"] == state):
                return True
        return False

    def paused_and_heard():
        lab.virsh(guest.here, "suspend", guest.name)
        lab.virsh(guest.here, "resume", guest.name)
        return heard("vm", guest.name, "paused") and heard("vm", guest.name, "running")

    try:
        follower.collect()
        wait_until(paused_and_heard, "events of the VM arrive")
        report = guest.move()
        for state in ("running", "succeeded"):
            wait_until(lambda state=state: heard("task", guest.name, state), f"the task is {state}")
        follower.interrupt()
        assert follower.process.wait(20) == -signal.SIGINT
    finally:
        follower.kill()
    one = lab.godwit("events", "--task", report["id"], "--count", "1", "--output", "json").stdout
    assert json.loads(one)["data"]["id"] == report["id"]


def test_manager_down(lab):
    lab.godwitd("stop", "manager")
    try:
        for words in ("vm list", "migrate web --to h2", "host list", "events"):
            done = lab.godwit(*words.split(), "--output", "json", check=False)
            assert done.returncode == 4, done
            error = json.loads(done.stdout)["error"]
            assert error["code"] == "unreachable" and lab.env()["GODWIT_URL"] in error["message"]
        done = lab.godwit("doctor", check=False)
        assert done.returncode == 1 and "godwit-manager" in done.stdout
    finally:
        put_right(lab)


def test_a_host_with_vms_is_not_removed(lab, guest):
    done = lab.godwit("host", "remove", guest.here, "--output", "json", check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1 and error["code"] == "conflict"
    assert guest.here in error["message"] and "force" in error["message"]
    assert guest.here in lab.godwit("host", "list").stdout


def test_login_is_kept(lab, tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path), "GODWIT_TOKEN": "", "GODWIT_URL": "", "GODWIT_CA": ""}
    token = tmp_path / "token"
    token.write_text(lab.env()["GODWIT_TOKEN"])
    lab.godwit("login", lab.env()["GODWIT_URL"], "--token-file", token, env=env)
    assert "h1" in lab.godwit("host", "list", env=env).stdout
    kept = tmp_path / "godwit" / "cli.json"
    assert kept.stat().st_mode & 0o077 == 0
    lab.godwit("logout", env=env)
    done = lab.godwit("host", "list", env=env, check=False)
    assert done.returncode != 0 and "godwit login" in done.stderr


def test_godwitd_checks_its_configuration(lab):
    check = [f"{BIN}/godwitd", "--check", "--config"]
    good = lab.on("h1", *check, "/etc/godwit/godwitd.conf", check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    for line, says in [("memory_headrom = 1G", "memory_headrom"),
                       ("memory_headroom = lots", "lots"), ("[contrl]", "contrl")]:
        lab.on("h1", "sh", "-c", f"(cat /etc/godwit/godwitd.conf; echo '[godwitd]'; echo '{line}')"
               " > /run/wrong.conf")
        bad = lab.on("h1", *check, "/run/wrong.conf", check=False)
        assert bad.returncode != 0 and says in bad.stdout + bad.stderr
