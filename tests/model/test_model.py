# SPDX-License-Identifier: Apache-2.0
"""The model of the switch-over, checked whole by spin: as it is built nothing can be found, and each rule, broken on purpose, is missed at once."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "switch.pml"
CRASHES = 3

# By FAULT's number: the rule that is broken, and what must come of it.
FAULTS = {
    1: ("the source's worker says PROVED when the reply was written, not when it was read", "twice"),
    2: ("the destination's libvirtd starts the VM by itself, without waiting for proof", "twice"),
    3: ("the source's godwitd resumes a stopped VM without the destination's final word", "twice"),
    4: ("the destination's godwitd gives up because the session has ended", "none"),
    6: ("the destination's godwitd, started again, doesn't ask libvirt whether the VM runs already", "twice"),
    5: ("the destination's godwitd forgets with its restart that it has given up", "none"),
}


def check(folder, fault, crashes=CRASHES):
    """What spin finds: {"errors", "states", "text"}."""
    def run(*command):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("spin", f"-DCRASHES={crashes}", f"-DFAULT={fault}", "-a", str(MODEL))
    run("gcc", "-O2", "-DSAFETY", "-o", "pan", "pan.c")
    text = run("./pan", "-E", "-m1000000")
    assert "max search depth too small" not in text
    return {"errors": int(re.search(r"errors: (\d+)", text)[1]), "states": int(re.search(r"(\d+) states, stored", text)[1]), "text": text}


@pytest.fixture(scope="module", autouse=True)
def spin():
    assert shutil.which("spin"), "spin isn't installed: tools/setup check"


def test_nothing_is_found(tmp_path):
    found = check(tmp_path, 0)
    assert found["errors"] == 0, found["text"]
    assert found["states"] > 10000      # else something is blocked that shouldn't be
    print(f"{found['states']} states with {CRASHES} crashes")


def test_more_crashes_find_more_states(tmp_path):
    assert check(tmp_path, 0, 1)["states"] < check(tmp_path, 0, 2)["states"]


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_rule_is_missed(tmp_path, fault):
    found = check(tmp_path, fault)
    assert found["errors"] > 0, f"nothing was found where {FAULTS[fault][0]}"
    # The judge's two assertions, by their text.
    violated = re.search(r"assertion violated (.*) \(at depth", found["text"])[1]
    assert ("twice" if violated == "0" else "none") == FAULTS[fault][1]
