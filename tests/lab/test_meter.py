# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' meter tells what was used, of the right host: what is known otherwise is metered."""
import os
import re
import subprocess
import sys

import pytest

from labkit import CHECKOUT

sys.path.insert(0, os.path.join(CHECKOUT, "bench"))
from meter import Meter  # noqa: E402

BUSY = "n=0; while [ $n -lt 1000000 ]; do n=$((n+1)); done; times"
PINGS, PAYLOAD = 50, 1000
FRAME = PAYLOAD + 8 + 20 + 14       # ICMP, IP, Ethernet
OTHERS = 4096                       # neighbour discovery and the like


@pytest.fixture(name="meter", scope="module")
def fixture_meter(bare_lab):
    return Meter(bare_lab, ["h1", "h2"])


def shell_seconds(text):
    """User and system time that a shell's `times` tells of itself."""
    return sum(int(m) * 60 + float(s) for m, s in re.findall(r"(\d+)m([\d.]+)s", text.split("\n")[0]))


def test_cpu_is_that_of_the_host_that_used_it(bare_lab, meter):
    meter.start()
    told = shell_seconds(bare_lab.on("h1", "sh", "-c", BUSY))
    used = meter.stop()
    assert told > 0.2, "the work was too little to tell anything"
    assert told - 0.15 <= used["h1"]["cpu_s"] <= told + 0.4, f"the shell tells {told}: {used}"
    assert used["h2"]["cpu_s"] < 0.2


def test_what_a_process_used_before_does_not_count(bare_lab, meter):
    command = bare_lab.command("on", "h1", "sh", "-c", BUSY + "; read end")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell_seconds(shell.stdout.readline()) > 0.2, "the work was too little to tell anything"
        meter.start()
        used = meter.stop()
        shell.communicate("\n")
    assert used["h1"]["cpu_s"] < 0.1, used


def test_bytes_of_both_directions_count(bare_lab, meter):
    meter.start()
    bare_lab.on("h1", "ping", "-q", "-c", PINGS, "-i", "0.01", "-s", PAYLOAD, "h2")
    used = meter.stop()
    for host in ["h1", "h2"]:
        assert 2 * PINGS * FRAME <= used[host]["wire_bytes"] <= 2 * PINGS * FRAME + OTHERS, used
