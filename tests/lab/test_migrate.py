# SPDX-License-Identifier: Apache-2.0
"""VMs move by `godwit migrate`, their definitions with them, and reports tell how."""
import json

import pytest

from movekit import SLOW, STAGES, Guest, definitions, forget

KINDS = {"zero", "same", "recalled", "delta", "compressed", "raw"}


def check_report(report, guest, source, target):
    """The fields of a report, there and plausible."""
    assert (report["vm"], report["from"], report["to"], report["result"]) == (
        guest.name, source, target, "completed")
    assert "error" not in report and len(report["id"]) == 36
    assert report["memory_bytes"] == 256 << 20
    assert 0 < report["pause_ms"] <= report["blackout_ms"] < 1000 * report["total_s"]
    pages = report["pages"]
    assert set(pages) == KINDS and min(pages.values()) >= 0
    sent = sum(pages.values()) - pages["zero"]
    assert pages["zero"] + sent >= report["memory_bytes"] // 4096 > pages["zero"] > 0
    # A part may have gone as it is, the link being faster than packing; what it took is told.
    assert 4096 * pages["raw"] < report["wire_bytes"] < 1.1 * 4096 * sent
    assert [s["name"] for s in report["stages"]] == STAGES
    assert {s["result"] for s in report["stages"]} == {"ok"}
    starts = [s["start_s"] for s in report["stages"]]
    assert starts == sorted(starts)
    assert sum(s["took_s"] for s in report["stages"]) <= report["total_s"] + 0.1
    passes = report["passes"]
    numbers = [p["number"] for p in passes]
    assert len(passes) >= 2 and numbers == sorted(set(numbers))
    assert 0 <= passes[-1]["remaining_bytes"] < passes[0]["remaining_bytes"] <= 300 << 20


def test_there_and_back_with_reports(lab, guest):
    first, second = guest.here, guest.there
    for source, target in [(first, second), (second, first)]:
        report = guest.move(target)
        check_report(report, guest, source, target)
        assert "running" == lab.virsh(target, "domstate", guest.name).strip()
        assert "Persistent:     yes" in lab.virsh(target, "dominfo", guest.name)
        assert guest.name not in definitions(lab, source)
        assert lab.godwit_json("vm", "show", guest.name)["host_name"] == target
        kept = lab.godwit_json("task", "show", report["id"])
        assert kept["state"] == "succeeded" and kept["migration"] == report
        page = lab.godwit("task", "show", report["id"][:8]).stdout
        for word in [*STAGES, "Pause", "Blackout", "Wire", f"from {source} to {target}", "PASS"]:
            assert word in page
    moves = lab.witness(guest.name)["moves"]
    assert [(m["from"], m["to"]) for m in moves] == [(first, second), (second, first)]


def test_people_get_a_sentence_lines_of_progress_and_what_was_saved(lab, guest):
    forget(lab)
    lab.shape(SLOW)  # at full speed a pass may begin and end between two events
    done = guest.migrate()
    assert f"{guest.name} moved from {guest.here} to {guest.there} in " in done.stdout
    assert "pause" in done.stdout and "blackout" in done.stdout
    for word in ["copy", "copy, pass 1", "succeeded"]:  # others may still pass between two events
        assert f"{guest.name}: {word}" in done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    guest.assert_at(guest.there)

    # On a slow link pages were compressed, and people are told what it saved.
    told = next(line for line in done.stderr.splitlines() if "godwit task show" in line)
    report = lab.godwit_json("task", "show", told.split()[-1])["migration"]
    pages = report["pages"]
    assert pages["compressed"] > 2 * pages["raw"], pages
    assert report["wire_bytes"] < 0.8 * 4096 * (sum(pages.values()) - pages["zero"]), report
    page = lab.godwit("task", "show", report["id"]).stdout
    assert "times less than the pages that aren't zero" in page and "compressed" in page


def test_the_definition_moves_as_it_is(lab, guest):
    uuid = lab.virsh(guest.here, "domuuid", guest.name).strip()
    lab.virsh(guest.here, "desc", guest.name, "--config", "payroll, ask Ada first")
    lab.virsh(guest.here, "desc", guest.name, "--live", "until it is shut down")
    guest.move()
    xml = lab.virsh(guest.there, "dumpxml", "--inactive", guest.name)
    assert "payroll, ask Ada first" in xml and uuid in xml
    assert "until it is shut down" in lab.godwit("vm", "show", guest.name, "--xml").stdout


@pytest.mark.parametrize("policy", ["gentle", "urgent"])
def test_policies_are_taken(guest, policy):
    report = json.loads(guest.migrate("--policy", policy, "--output", "json").stdout)
    assert (report["policy"], report["result"]) == (policy, "completed")
    guest.assert_at(guest.there)


def test_a_cap_is_kept_and_told(lab, guest):
    rate = 5e6
    done = guest.migrate("--bandwidth", "5MB/s", "--output", "json")
    report = json.loads(done.stdout)
    took = {s["name"]: s["took_s"] for s in report["stages"]}
    # What is left when the VM stops isn't held back; the guest dirties little.
    assert report["wire_bytes"] > rate and took["copy"] > 0.7 * report["wire_bytes"] / rate
    assert (report["max_bps"], report["result"]) == (rate, "completed")
    assert report["pause_ms"] < 2000
    assert "at most 5 MB/s" in lab.godwit("task", "show", report["id"]).stdout
    guest.assert_at(guest.there)


def test_several_vms_in_one_command(lab, guest, vm):
    vm("second", memory=192, on=guest.here)
    second = Guest(lab, "second")
    done = lab.godwit("migrate", guest.name, second.name, "--to", guest.there, "--output", "json")
    reports = json.loads(done.stdout)["migrations"]
    assert [(r["vm"], r["result"]) for r in reports] == [(guest.name, "completed"),
                                                         ("second", "completed")]
    guest.assert_at(guest.there)
    second.assert_at(guest.there)

    # One of them can't: the other goes all the same, and the status tells.
    done = lab.godwit("migrate", guest.name, second.name, "--to", guest.here, "--quiet")
    assert done.stdout.count(" moved from ") == 2 and done.stderr == ""
    second.look()
    lab.virsh(second.here, "suspend", second.name)
    done = lab.godwit("migrate", guest.name, second.name, "--to", second.there, "--output", "json",
                      check=False)
    reports = {r["vm"]: r for r in json.loads(done.stdout)["migrations"]}
    assert done.returncode == 3 and reports[guest.name]["result"] == "completed"
    assert reports["second"]["error"]["code"] == "refused" and "paused" in done.stderr
    lab.virsh(second.here, "resume", second.name)
    guest.assert_at(second.there)
    second.assert_at(second.here)

    # A name that nobody knows: nothing is started for anyone.
    done = lab.godwit("migrate", guest.name, "secund", "--to", second.here, check=False)
    assert done.returncode == 1 and "nothing was started" in done.stderr and "second" in done.stderr
    guest.assert_at(second.there)
