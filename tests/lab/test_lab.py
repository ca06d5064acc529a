# SPDX-License-Identifier: Apache-2.0
"""The lab's own promises: what tests and benchmarks stand on must itself be true."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from labkit import CHECKOUT, LAB, Lab, new_name, wait_until

sys.path.insert(0, os.path.join(CHECKOUT, "lab"))
from godwitlab import witness  # noqa: E402


def of_machine(*command):
    """Output of a command outside all labs."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def machine():
    """What a lab must not change: links, named namespaces, mounts, folders."""
    links = sorted(line.split()[0] for line in of_machine("ip", "-br", "link").splitlines())
    return {
        "links": links, "netns": of_machine("ip", "netns"), "mounts": open("/proc/mounts").read(),
        "godwit": [os.path.exists(p) for p in ["/etc/godwit", "/var/lib/godwit", "/srv/godwit"]],
        "libvirt": of_machine("find", "/var/lib/libvirt", "/etc/libvirt", "/run/libvirt", "-ls")
        if os.path.isdir("/run/libvirt") else "",
    }


def processes_of(lab):
    """Processes whose root or arguments tell that they belong to a lab."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if lab.folder in " ".join(words) or "_holder" in words and lab.name in words:
            found.append((pid, words))
    return found


def holder(lab):
    """The holder's pid."""
    with open(f"{lab.folder}/holder.json", encoding="utf-8") as file:
        return json.load(file)["pid"]


def pidns_members(pid):
    """Pids of all processes in the PID namespace of the given one."""
    wanted, found = os.readlink(f"/proc/{pid}/ns/pid"), []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{other}/ns/pid") == wanted:
                found.append(int(other))
        except OSError:     # it ended, or is not ours to look at
            continue
    return found


# The command line

@pytest.mark.parametrize("words", [
    ["fly"], [], ["up", "--link", "fast"], ["up", "--hosts", "0"], ["up", "--storage", "tape"],
    ["cut", "h1"], ["vm", "a", "--memory", "x"], ["--name", "no/name", "status"], ["shape", "1gb"],
])
def test_wrong_arguments_are_refused(words):
    done = subprocess.run([LAB, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.strip()


def test_help_names_every_verb():
    text = of_machine(LAB, "--help")
    for verb in ["up", "vm", "probe", "witness", "shape", "cut", "on", "env", "down", "move"]:
        assert f"\n    {verb} " in text
        assert "usage: lab/lab " + verb in of_machine(LAB, verb, "--help")


def test_without_a_lab_says_how_to_get_one():
    done = Lab("nothere").run("status", check=False)
    assert done.returncode == 1 and "lab/lab up" in done.stderr


# What the witness's log proves, on made-up logs

MS = 1_000_000


def judge(datagrams):
    """datagrams: (ms, place, boot, counter)"""
    analysis = witness.Analysis(["h1", "h2"])
    for at, place, boot, counter in datagrams:
        analysis.add((int(at * MS), place, boot, counter, 0, 0, 0, 0))
    return analysis.result(int(datagrams[-1][0] * MS))


def steady(start_ms, place, boot, counters):
    """Datagrams in the witness's rhythm."""
    return [(start_ms + 10 * n, place, boot, c) for n, c in enumerate(counters)]


def test_a_clean_move_is_clean():
    result = judge(steady(1, 0, 7, range(1, 50)) + steady(600, 1, 7, range(50, 90)))
    assert (result["doubled"], result["gone_back"], result["late"], result["lost"]) == (0, 0, 0, 0)
    assert result["longest_gap_ms"] == 119.0
    assert [(m["from"], m["to"]) for m in result["moves"]] == [("h1", "h2")]


@pytest.mark.parametrize("log, doubled, gone_back", [
    # both copies go on
    (steady(1, 0, 7, range(1, 20)) + [d for n in range(20, 40)
                                      for d in [(10 * n, 0, 7, n), (10 * n + 1, 1, 7, n)]], 20, 0),
    # the source is resumed long after
    (steady(1, 0, 7, range(1, 20)) + steady(200, 1, 7, range(20, 90)) +
     steady(1000, 0, 7, range(20, 30)), 10, 0),
    # rolled back over counters that were lost on the way, so none is heard twice
    (steady(1, 0, 7, range(1, 20)) + steady(1000, 0, 7, range(50, 60)) +
     steady(2000, 0, 7, range(30, 40)), 0, 10),
    # started a second time elsewhere while the first runs
    (steady(1, 0, 7, range(1, 20)) + steady(200, 1, 8, range(1, 5)) +
     steady(300, 0, 7, range(30, 32)), 2, 0),
])
def test_two_copies_are_found_out(log, doubled, gone_back):
    result = judge(log)
    assert (result["doubled"], result["gone_back"]) == (doubled, gone_back)


def test_a_reboot_is_no_second_copy():
    result = judge(steady(1, 0, 7, range(1, 20)) + steady(900, 0, 8, range(1, 20)))
    assert (result["doubled"], result["gone_back"], result["boots"]) == (0, 0, 2)


def test_datagrams_overtaken_at_the_switch_over_are_only_late():
    result = judge(steady(1, 0, 7, range(1, 20)) +
                   [(200, 1, 7, 21), (201, 0, 7, 20), (210, 1, 7, 22)])
    assert (result["doubled"], result["gone_back"], result["late"]) == (0, 0, 1)


# A lab of hosts

def test_the_machine_is_untouched_and_hosts_are_themselves():
    before = machine()
    lab = Lab(new_name())
    try:
        lab.up(bare=True, hosts=2)
        assert machine() == before
        uuids = {lab.on(h, "virsh", "capabilities").split("<uuid>")[1][:36] for h in ["h1", "h2"]}
        assert len(uuids) == 2
        assert lab.on("h2", "hostname").strip() == "h2"
        assert lab.on("h1", "ls", "-A", "/etc/godwit", "/var/lib/godwit").split() == [
            "/etc/godwit:", "/var/lib/godwit:"]
        assert lab.on("h1", "sh", "-c", "exit 7", check=False).returncode == 7
        assert "lan" in lab.virsh("h1", "net-list", "--name", "--autostart")
        assert "/srv/godwit/shared" in lab.virsh("h1", "pool-dumpxml", "shared")
    finally:
        lab.down()
    assert machine() == before and not os.path.exists(lab.folder)


@pytest.fixture(scope="module")
def web(bare_lab):
    """A guest with a load that several tests share; it may be on either host."""
    return bare_lab.vm("web", dirty=20)["name"]


def test_guest_moves_and_its_witness_is_heard(bare_lab, web):
    bare_lab.reset(web)
    here = bare_lab.running_on(web)[0]
    there = "h1" if here == "h2" else "h2"
    probe = bare_lab.probe_start(web, 6)
    moved = bare_lab.move(web, there)
    report = probe.result()
    assert (moved["from"], moved["to"]) == (here, there)
    assert 5500 <= report["sent"] <= 6000
    result = bare_lab.assert_intact(web, there)
    # Two ways to see the same thing: pings from outside, and the guest's own datagrams.
    gap = result["longest_gap_ms"]
    assert 0.6 * gap - 50 < report["longest_gap_ms"] < 1.5 * gap + 100
    assert set(result["places"]) == {"h1", "h2"} and len(result["moves"]) == 1
    assert result["lost"] == 0 and result["fsynced_reported"] > 10


def test_dirty_is_what_was_asked_for(bare_lab, web):
    host = bare_lab.running_on(web)[0]
    bare_lab.virsh(host, "domdirtyrate-calc", web, "--seconds", "1")

    def measured():
        stats = bare_lab.virsh(host, "domstats", web, "--dirtyrate")
        words = dict(line.strip().split("=") for line in stats.splitlines() if "=" in line)
        return int(words.get("dirtyrate.megabytes_per_second", -1)) + 1

    rate = wait_until(measured, "the dirty rate is measured")
    assert 8 <= rate - 1 <= 40     # QEMU looks at samples only


def test_killed_libvirtd_leaves_the_guest_running(bare_lab, web):
    host = bare_lab.running_on(web)[0]
    bare_lab.reset(web)
    bare_lab.libvirtd("kill", host)
    assert bare_lab.virsh(host, "list", check=False).returncode != 0
    bare_lab.libvirtd("start", host)
    assert bare_lab.running_on(web) == [host]
    result = bare_lab.witness(web, disk=True)
    assert result["ok"] and result["lost"] == 0 and result["boots"] == 1


def test_cut_takes_what_it_says_and_ends_by_itself(bare_lab, web):
    here = bare_lab.running_on(web)[0]
    far, number = ("h1", 12) if here == "h2" else ("h2", 11)
    mig, san = f"10.77.0.{number}", f"10.79.0.{number}"

    def reaches(address):
        return bare_lab.on(far, "ping", "-n", "-c", "1", "-W", "0.2", address,
                           check=False).returncode == 0

    bare_lab.reset(web)
    bare_lab.cut(here, 1.5)
    assert not reaches(mig) and reaches(san)
    wait_until(lambda: reaches(mig), "the migration uplink is back", 10)
    assert bare_lab.witness(web)["longest_gap_ms"] < 1000
    bare_lab.cut(here, 1.5, everything=True)
    assert not reaches(san)
    wait_until(lambda: reaches(san), "all uplinks are back", 10)
    result = wait_until(lambda: (r := bare_lab.witness(web))["longest_gap_ms"] > 1000 and r,
                        "the guest is heard again")
    assert 1300 < result["longest_gap_ms"] < 3500 and result["lost"] > 100 and result["ok"]


@pytest.mark.parametrize("source, target", [("h1", "10.77.0.12"), ("h2", "10.77.0.11")])
def test_shape_holds_and_reaches_its_rate(bare_lab, source, target):
    bare_lab.shape("100mbit")
    receive = ("import socket,time; s = socket.create_server(('%s', 5001))\n"
               "print('up', flush=True); c = s.accept()[0]; c.recv(1)\n"
               "t = time.monotonic(); n = 0\n"
               "while d := c.recv(1 << 20): n += len(d)\n"
               "print(n * 8 / (time.monotonic() - t))" % target)
    send = ("import socket,time; c = socket.create_connection(('%s', 5001))\n"
            "e = time.monotonic() + 1.5\n"
            "while time.monotonic() < e: c.sendall(bytes(65536))" % target)
    other = "h2" if source == "h1" else "h1"
    with subprocess.Popen(bare_lab.command("on", other, "python3", "-c", receive), text=True,
                          stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout.readline() == "up\n"
        bare_lab.on(source, "python3", "-c", send)
        rate = float(receiver.stdout.readline())
    bare_lab.shape("none")
    assert 85e6 < rate < 105e6


# The sum over 32 MiB of still memory: the same in every guest.
STILL_32_SUM = "43040326572c4d63"


def spoil(lab, made):
    """Lets a guest change a bit of its own memory that it checks."""
    lab.on("switch", "python3", "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
           f" s.settimeout(5); s.sendto(b'GWW-SPOIL', ('{made['address']}', 7)); s.recv(64)")


def test_a_guest_checks_its_memory(bare_lab):
    made = bare_lab.vm("mind", memory=192, dirty=5, dirty_set=8, still=32)
    assert (made["dirty_set_mb"], made["still_mb"]) == (8, 32)

    def rounds(count):
        more = bare_lab.witness("mind")["memory_rounds"] + count
        return wait_until(lambda: (r := bare_lab.witness("mind"))["memory_rounds"] >= more and r,
                          f"{count} rounds over its memory", 90, every=0.5)

    before = rounds(2)
    assert before["memory_pages"] == 40 * 256 and before["memory_wrong"] == 0 and before["ok"]
    assert before["memory_checked"] >= before["memory_rounds"] * before["memory_pages"]
    bare_lab.move("mind", "h2")
    after = rounds(2)
    assert after["memory_wrong"] == 0 and after["ok"] and after["boots"] == 1
    assert before["memory_sum"] == after["memory_sum"] == STILL_32_SUM
    spoil(bare_lab, made)
    spoilt = rounds(2)
    assert not spoilt["ok"] and 1 <= spoilt["memory_wrong"] <= 4, spoilt
    assert spoilt["memory_sum"] != STILL_32_SUM
    assert spoilt["memory_last_wrong"] == {"page": 32 * 128, "carries": 1, "expected": 1}
    bare_lab.reset("mind")
    assert not wait_until(lambda: (r := bare_lab.witness("mind"))["received"] and r, "it is heard")["ok"]
    bare_lab.destroy("mind")


def test_spoilt_memory_that_is_rewritten_is_found_out_too(bare_lab):
    made = bare_lab.vm("mend", memory=192, dirty=1, dirty_set=8)
    wait_until(lambda: bare_lab.witness("mend")["memory_rounds"] > 0, "it checks", 30, every=0.2)
    spoil(bare_lab, made)
    wait_until(lambda: bare_lab.witness("mend")["memory_wrong"], "it is found", 30, every=0.2)
    result = bare_lab.witness("mend")
    assert not result["ok"] and result["memory_sum"] is None
    assert result["memory_last_wrong"]["page"] == 0
    bare_lab.destroy("mend")


def test_a_guest_without_memory_to_check_says_so(bare_lab):
    done = bare_lab.run("vm", "small", "--memory", 192, "--still", 128, check=False)
    assert done.returncode == 2 and "can spare 96" in done.stderr
    bare_lab.vm("small", memory=192)
    result = bare_lab.witness("small")
    assert (result["memory_pages"], result["memory_rounds"], result["memory_sum"]) == (0, 0, None)
    assert result["ok"]
    bare_lab.destroy("small")


def test_a_delay_is_added_to_the_round_trip_and_taken_away(bare_lab):
    def least_trip_ms():
        told = bare_lab.on("h1", "ping", "-q", "-c", "5", "-i", "0.2", "10.77.0.12")
        return float(told.split(" = ")[1].split("/")[0])

    assert bare_lab.shape("none", 60) == {"link": "none", "delay_ms": 60}
    least_trip_ms()      # addresses are asked for before the first answer
    assert 60 <= least_trip_ms() < 120
    assert bare_lab.status()["delay_ms"] == 60
    bare_lab.run("cut", "h2", "--seconds", "0.5")
    wait_until(lambda: bare_lab.on("h1", "ping", "-c", "1", "-W", "1", "10.77.0.12",
                                   check=False).returncode == 0, "it is back after a cut", 10)
    bare_lab.shape("none")
    assert least_trip_ms() < 60


def test_a_guest_rolled_back_is_found_out(bare_lab):
    bare_lab.vm("twice", memory=192)
    bare_lab.virsh("h1", "save", "twice", "/srv/godwit/shared/twice.save")
    for _ in range(2):      # the second time it repeats what it did after the first
        heard = bare_lab.witness("twice")["received"]
        bare_lab.virsh("h1", "restore", "/srv/godwit/shared/twice.save")
        wait_until(lambda n=heard: bare_lab.witness("twice")["received"] > n + 50, "it is heard")
        bare_lab.virsh("h1", "destroy", "twice")
    result = bare_lab.witness("twice")
    assert not result["ok"] and result["doubled"] > 30
    bare_lab.destroy("twice")


def test_a_lost_write_is_found_out(bare_lab):
    made = bare_lab.vm("ledger", on="h1")
    wait_until(lambda: bare_lab.witness("ledger", disk=True)["fsynced_reported"] > 5, "it synced")
    bare_lab.virsh("h1", "destroy", "ledger")
    assert bare_lab.witness("ledger", disk=True)["fsynced_missing"] == 0
    with open(made["witness_disk"], "r+b") as disk:
        disk.seek(1024 * 1024 + 3 * 512)    # the slot of the third write
        disk.write(bytes(512))
    result = bare_lab.witness("ledger", disk=True)
    assert result["fsynced_missing"] == 1 and not result["ok"]
    bare_lab.destroy("ledger")
    assert not os.path.exists(made["witness_disk"])


def test_any_domain_xml_can_be_used(bare_lab, tmp_path):
    xml = tmp_path / "any.xml"
    xml.write_text("<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory>"
                   "<os><type machine='q35'>hvm</type></os>"
                   "<description>mine</description></domain>")
    bare_lab.vm("given", xml=xml, on="h2")
    assert "<description>mine" in bare_lab.virsh("h2", "dumpxml", "given")
    assert bare_lab.running_on("given") == ["h2"]
    bare_lab.destroy("given")
    assert "given" not in bare_lab.virsh("h2", "list", "--all", "--name")
    xml.write_text("<domain>")
    done = bare_lab.run("vm", "broken", "--xml", xml, check=False)
    assert done.returncode == 2 and "can't be read" in done.stderr


def test_clear_errors(bare_lab):
    bare_lab.vm("there", no_start=True)
    for words, says in [(["vm", "there"], "already"), (["vm", "new", "--on", "h7"], "no host 'h7'"),
                        (["probe", "ghost", "--seconds", "1"], "no VM 'ghost'"),
                        (["cut", "h9", "--seconds", "1"], "no host 'h9'"),
                        (["godwit", "kill", "h1"], "--bare"), (["up", "--bare"], "up already")]:
        done = bare_lab.run(*words, check=False)
        assert done.returncode in (1, 2) and says in done.stderr, words
        assert "Traceback" not in done.stderr
    bare_lab.destroy("there")


def test_iscsi_disk_moves_over_one_link(make_lab):
    lab = make_lab(bare=True, storage="iscsi", one_link=True, link="1gbit")
    lab.vm("db")
    assert "protocol='iscsi'" in lab.virsh("h1", "dumpxml", "db")
    lab.move("db", "h2")
    wait_until(lambda: lab.witness("db")["places"].get("h2", 0) > 50, "it is heard from h2")
    lab.assert_intact("db", "h2")
    # Nothing guards an iSCSI disk: a second copy can be started by hand, and must be noticed.
    lab.virsh("h1", "define", f"{lab.folder}/vms/db.xml")
    lab.virsh("h1", "start", "db")
    wait_until(lambda: not lab.witness("db")["ok"], "two copies are found out", 60, every=0.5)
    result = lab.witness("db", disk=True)
    assert result["doubled"] > 0 and {"h1", "h2"} == set(result["places"]), result
    lab.down()


def test_confined_guest_is_not_root(make_lab):
    lab = make_lab(bare=True, confined=True)
    lab.vm("jailed")
    lab.move("jailed", "h2")
    uid = lab.on("h2", "sh", "-c", "stat -c %u /proc/$(cat /run/libvirt/qemu/jailed.pid)").strip()
    assert uid == lab.on("h2", "id", "-u", "libvirt-qemu").strip() != "0"
    wait_until(lambda: lab.witness("jailed")["places"].get("h2", 0) > 20, "it is heard from h2")
    lab.assert_intact("jailed", "h2")
    lab.down()


# Endings

def test_down_after_kill_9_of_the_holder_leaves_nothing(make_lab):
    before = machine()
    lab = make_lab(bare=True)
    other = make_lab(bare=True)         # two labs side by side
    lab.vm("doomed", no_start=True)
    lab.virsh("h1", "start", "doomed")
    pid = holder(lab)
    members = pidns_members(pid)
    assert len(members) > 5
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(os.path.exists(f"/proc/{m}") for m in members), "all have ended")
    assert not processes_of(lab)
    assert "not up" in lab.run("status", check=False).stderr
    assert other.on("h1", "hostname").strip() == "h1"
    lab.down()
    assert not os.path.exists(lab.folder) and machine() == before
    assert "no lab" in lab.down().stderr        # again: nothing happens
    other.down()


@pytest.mark.parametrize("moment", ["holder.json", "logs/lab.log", "logs/h2-libvirtd.log"])
def test_up_killed_at_any_moment_takes_all_with_it(moment):
    lab = Lab(new_name())
    with subprocess.Popen(lab.command("up", "--bare"), stderr=subprocess.DEVNULL) as starting:
        wait_until(lambda: os.path.exists(f"{lab.folder}/{moment}"), f"{moment} is there",
                   every=0.001)
        starting.kill()
    wait_until(lambda: not processes_of(lab), "all have ended")
    lab.down()
    assert not os.path.exists(lab.folder)


def test_up_that_fails_takes_itself_down(tmp_path):
    lab = Lab(new_name())
    done = lab.run("up", check=False, env={**os.environ, "GODWIT_BUILD": str(tmp_path)})
    assert done.returncode == 1 and "--bare" in done.stderr
    for name in ["godwit", "godwitd", "godwit-manager", "godwit-flyway"]:
        (tmp_path / name).write_text("#!/bin/sh\necho no good >&2\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    done = lab.run("up", check=False, env={**os.environ, "GODWIT_BUILD": str(tmp_path)})
    assert done.returncode == 1 and "status 3" in done.stderr and "no good" in done.stderr
    assert not processes_of(lab) and not os.path.exists(lab.folder)


# The relay that leads to the manager

def test_relay_passes_both_ways():
    listener = socket.create_server(("127.0.0.1", 0))
    echo = socket.create_server(("127.0.0.1", 0))

    def serve():
        with echo.accept()[0] as peer:
            while data := peer.recv(65536):
                peer.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    relay = subprocess.Popen(
        [sys.executable, os.path.join(CHECKOUT, "lab/godwitlab/relay.py"), str(listener.fileno()),
         "127.0.0.1", str(echo.getsockname()[1])], pass_fds=[listener.fileno()])
    try:
        with socket.create_connection(listener.getsockname(), timeout=10) as client:
            client.sendall(b"x" * 300_000)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while data := client.recv(65536):
                received += data
        assert received == b"x" * 300_000
    finally:
        relay.kill()
        relay.wait()
