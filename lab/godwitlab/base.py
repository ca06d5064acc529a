# SPDX-License-Identifier: Apache-2.0
"""What every part of the lab needs: its error, its folders, running commands, namespaces.

A lab is one PID namespace; whatever runs in it descends from that namespace's first process, the
holder. The kernel kills all of them when the holder ends, and with the last of them go its network
namespaces and mounts, for none has a name outside. So a lab is gone when its holder and its state
folder are.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import subprocess
import tempfile
import zlib

LAB_DIR = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
CHECKOUT = os.path.dirname(LAB_DIR)
HOLDER_WORD = "_holder"     # the hidden verb that the holder is started with
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """What a person is told; never followed by a stack trace."""


class Usage(LabError):
    """The command line asks for something that can't be: exit status 2."""


class Lab:
    """The names and folders of one lab."""

    def __init__(self, name):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,15}", name):
            raise Usage(f"'{name}' is no name for a lab: up to 16 of a-z, 0-9 and '-'")
        self.name = name
        self.dir = f"/tmp/godwit-lab-{name}"

    def path(self, *parts):
        """A path in the state folder."""
        return os.path.join(self.dir, *parts)

    @property
    def socket(self):
        """Where the server takes requests."""
        return self.path("control")

    def host_dir(self, host, *parts):
        """A path in the folder that backs the private folders of one host."""
        return self.path("places", host, *parts)

    def log(self, name):
        """Path of a log file."""
        return self.path("logs", name)


def cache_dir():
    """Where built things are kept between labs."""
    path = os.environ.get("GODWIT_LAB_CACHE") or os.path.join(CHECKOUT, "build", "lab-cache")
    return os.path.abspath(path)


def build_dir():
    """Where the programs are."""
    return os.path.abspath(os.environ.get("GODWIT_BUILD") or os.path.join(CHECKOUT, "build"))


def clean_env(extra=None):
    """Environment of what runs in the lab: English messages, nothing of the user's shell."""
    env = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root",
           "TERM": os.environ.get("TERM", "dumb")}
    env.update(extra or {})
    return env


def run(argv, check=True, timeout=120, stdin=None, env=None):
    """Runs a command and gives its standard output; an error carries what it said."""
    try:
        done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=timeout, env=env or clean_env(),
                              stdin=subprocess.DEVNULL if stdin is None else None,
                              check=False)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed: run tools/setup") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"'{' '.join(argv)}' did not end within {timeout} s") from None
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing")[-1500:]
        raise LabError(f"'{' '.join(argv)}' failed with status {done.returncode}: {said}")
    return done.stdout


# Namespaces

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000


def unshare(flags):
    """unshare(2), which Python 3.11 lacks."""
    if _libc.unshare(flags) != 0:
        error = os.strerror(ctypes.get_errno())
        raise LabError(f"can't make namespaces: {error}: the lab needs root with CAP_SYS_ADMIN")


def die_with_parent():
    """PR_SET_PDEATHSIG: the calling process is killed when its parent ends."""
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)


def enter(pid, *argv):
    """The command that runs argv in the network, mount and UTS namespaces of a process."""
    return ["nsenter", "-t", str(pid), "-n", "-m", "-u", "--", *argv]


# Files

def write_file(path, text, mode=0o644):
    """Writes a file so that a reader sees all of it or nothing."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, path)


def read_file(path, default=None):
    """A text file's contents, or the default where it isn't there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return default


def read_json(path, default=None):
    """A JSON file's contents, or the default where it isn't there or is torn."""
    try:
        return json.loads(read_file(path, "null")) or default
    except ValueError:
        return default


@contextlib.contextmanager
def locked(path, key=""):
    """Holds an exclusive lock while the body runs: one byte of the file, chosen by the key."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, zlib.crc32(key.encode()))
        yield


# The holder, seen from outside

def start_time(pid):
    """When a process started, in clock ticks since boot; None where there is none (or a zombie)."""
    stat = read_file(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id():
    """Tells this boot of the machine from others."""
    return read_file("/proc/sys/kernel/random/boot_id", "").strip()


def holder_pid(lab):
    """The holder's pid in the caller's PID namespace, or None where the lab isn't up.

    A pid alone proves nothing: boot, start time and the marker in its command line must fit, too.
    """
    noted = read_json(lab.path("holder.json"))
    if not noted or noted["boot_id"] != boot_id():
        return None
    pid = noted["pid"]
    if start_time(pid) != noted["start_time"]:
        return None
    words = (read_file(f"/proc/{pid}/cmdline") or "").split("\0")
    return pid if HOLDER_WORD in words and noted["marker"] in words else None
