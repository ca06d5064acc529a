# SPDX-License-Identifier: Apache-2.0
"""The structure that docs/architecture.md promises: includes go only downwards, sizes stay readable, nothing is left over."""
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
SRC = TOP / "src"

# A layer may include its own headers and those of the layers named.
BASE = {"base"}
MODEL = BASE | {"model"}
LAYERS = {
    "base": set(),
    "model": BASE,
    "hv": MODEL,
    "net": BASE | {"schema"},
    "flyway": BASE | {"net"},
    "preflight": MODEL,
    "motion": MODEL | {"hv", "net", "flyway", "preflight"},
    "store": BASE,
    "host": MODEL | {"hv", "net", "flyway", "preflight", "motion", "schema"},
    "manager": MODEL | {"net", "preflight", "store", "schema"},
    "cli": MODEL | {"net", "schema"},
}
FUNCTION_LINES = 60
FILE_LINES = 1000
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
LIBVIRT = re.compile(r"^\s*#\s*include\s+<libvirt/", re.M)


def tracked(*patterns):
    out = subprocess.run(["git", "-c", f"safe.directory={TOP}", "ls-files", *patterns], cwd=TOP, capture_output=True, text=True, check=True).stdout
    return [TOP / line for line in out.splitlines() if (TOP / line).exists()]


C_FILES = tracked("src/*.c", "src/*.h")


def bad_includes(layer, text):
    """The quoted includes of a file of `layer` that go up or sideways."""
    allowed = LAYERS[layer] | {layer}
    return [name for name in INCLUDE.findall(text) if "/" not in name or name.split("/")[0] not in allowed]


def long_functions(text):
    """Names of functions whose body is longer than the house style allows."""
    found, start, lines = [], None, text.split("\n")
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start > FUNCTION_LINES:
                found.append(next((l for l in reversed(lines[max(0, start - 6):start]) if "(" in l), "?").strip())
            start = None
    return found


def test_every_layer_is_known():
    assert {path.relative_to(SRC).parts[0] for path in C_FILES} <= set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_includes_go_down(layer):
    wrong = {str(path.relative_to(TOP)): bad for path in C_FILES if path.relative_to(SRC).parts[0] == layer
             if (bad := bad_includes(layer, path.read_text()))}
    assert not wrong


def test_a_planted_upward_include_is_caught():
    assert bad_includes("base", '#include "motion/motion.h"\n') == ["motion/motion.h"]
    assert bad_includes("motion", '#include "hv/hv.h"\n') == []


def test_only_hv_knows_libvirt():
    assert [str(path) for path in C_FILES if LIBVIRT.search(path.read_text()) and path.relative_to(SRC).parts[0] != "hv"] == []


def test_sizes():
    wrong = [f"{path.relative_to(TOP)}: {name}" for path in C_FILES for name in long_functions(path.read_text())]
    wrong += [f"{path.relative_to(TOP)}: too long" for path in tracked("src/*.c", "src/*.h", "lab/*.py", "tests/*.py", "tests/*.c")
              if len(path.read_text().split("\n")) > FILE_LINES]
    assert not wrong


def test_a_planted_long_function_is_caught():
    assert long_functions("int\nf(void)\n{\n" + "    x();\n" * 61 + "}\n") == ["f(void)"]


def test_licence_lines():
    files = tracked("*.c", "*.h", "*.py", "*meson.build", "tools/*", "schema/*.yaml", "bench/*")
    wrong = [str(path.relative_to(TOP)) for path in files if path.suffix not in {".md", ".svg", ".json"} and not path.name.endswith("suppressions")
             and "SPDX-License-Identifier: Apache-2.0" not in path.read_text()[:300]]
    assert not wrong


def test_nothing_left_over():
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    me = Path(__file__).name
    wrong = [f"{path.relative_to(TOP)}:{n}" for path in tracked("src/*", "lab/*", "tests/*", "tools/*", "bench/*") if path.name != me and path.is_file()
             for n, line in enumerate(path.read_text(errors="replace").split("\n"), 1) if word.search(line)]
    assert not wrong


def test_tests_never_sleep():
    call = re.compile(r"\b(time\.sleep|g_usleep|usleep|sleep)\s*\(")
    # labkit.wait_for is the one loop that waits for conditions outside of our processes.
    wrong = [f"{path.relative_to(TOP)}:{n}" for path in tracked("tests/*.py", "tests/*.c") if path.name not in {Path(__file__).name, "labkit.py"}
             for n, line in enumerate(path.read_text().split("\n"), 1) if call.search(line)]
    assert not wrong
