# SPDX-License-Identifier: Apache-2.0
"""Places: namespaces with a name. The hosts, the manager and the storage server are places.

Each is held by a `sleep` of its own (the anchor), so that any daemon in it may die and be started
again. In a place the default paths are private folders, bound over those of the machine, so
whatever runs there needs no paths of its own:

    /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/godwit /var/lib/godwit …
    /run is empty; /sys shows the place's own network; /srv/godwit is what all places share
"""
import glob
import os
import secrets
import shutil
import signal
import subprocess
import time

from .base import LabError, clean_env, enter, run

# Folder in the place: folder in the state folder's places/NAME.
PRIVATE = {
    "/etc/libvirt": "etc-libvirt",
    "/var/lib/libvirt": "lib-libvirt",
    "/var/log/libvirt": "log-libvirt",
    "/var/cache/libvirt": "cache-libvirt",
    "/etc/godwit": "etc-godwit",
    "/var/lib/godwit": "lib-godwit",
    "/var/lib/godwit-manager": "lib-godwit-manager",
    "/var/log/godwit": "log-godwit",
}
TRAVERSABLE = 0o755
# Keys are in there: 0700, as their programs demand.
SECRET = {"/var/lib/godwit", "/var/lib/godwit-manager"}

_ANCHOR = """
hostname "$1"; shift
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p -m 1777 /run/lock
while [ $# -gt 0 ]; do mount --bind "$2" "$1"; shift 2; done
echo ready
exec sleep infinity
"""


class Daemon:
    """A long-running program in a place; never restarted by itself, its output goes to a log."""

    def __init__(self, place, name, argv, log, env=None):
        self.place, self.name, self.argv, self.log, self.env = place, name, argv, log, env
        self.process = None

    def running(self):
        """True while the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, pass_fds=()):
        """Starts it; an error only if it runs already."""
        if self.running():
            raise LabError(f"{self.name} runs already on {self.place.name}")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                enter(self.place.pid, *self.argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_env(self.env), start_new_session=True, pass_fds=pass_fds, cwd="/")

    def stop(self, how=signal.SIGTERM, timeout=20):
        """Ends this one process, never those it started."""
        if not self.running():
            raise LabError(f"{self.name} does not run on {self.place.name}")
        self.process.send_signal(how)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} on {self.place.name} did not end within {timeout} s of"
                           f" signal {how}: see {self.log}") from None

    def tail(self, lines=15):
        """The end of its log, for error messages."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:]).strip() or "(its log is empty)"

    def wait(self, ready, what, timeout=60):
        """Waits until ready() is true; fails if the process ends or the time is up."""
        end = time.monotonic() + timeout
        while not ready():
            if not self.running():
                raise LabError(f"{self.name} on {self.place.name} ended with status"
                               f" {self.process.returncode} before {what}: {self.tail()}")
            if time.monotonic() > end:
                raise LabError(f"{self.name} on {self.place.name}: not {what} within {timeout} s:"
                               f" {self.tail()}")
            time.sleep(0.02)


class Place:
    """A set of namespaces and private folders, held by an anchor process."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.anchor = None
        self.daemons = {}

    @property
    def pid(self):
        """A process in the place's namespaces, as the lab counts."""
        return self.anchor.pid

    def make(self):
        """Makes the namespaces and mounts."""
        binds = []
        for inside, outside in PRIVATE.items():
            folder = self.lab.host_dir(self.name, outside)
            os.makedirs(folder, mode=0o700 if inside in SECRET else TRAVERSABLE, exist_ok=True)
            binds += [inside, folder]
        self.anchor = subprocess.Popen(
            ["unshare", "-n", "-m", "-u", "--propagation", "private", "--", "sh", "-ec", _ANCHOR,
             "sh", self.name, *binds], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=clean_env(), start_new_session=True)
        if self.anchor.stdout.readline() != "ready\n":
            raise LabError(f"can't make the place {self.name}: {self.anchor.stderr.read().strip()}")

    def run(self, *argv, **how):
        """Runs a command here and gives its output; see base.run."""
        return run(enter(self.pid, *argv), **how)

    def daemon(self, name, argv, env=None):
        """Adds a daemon, not started yet."""
        log = self.lab.log(f"{self.name}-{name}.log")
        self.daemons[name] = Daemon(self, name, argv, log, env)
        return self.daemons[name]

    def find(self, name):
        """The daemon of that name, or an error that lists those there are."""
        if name not in self.daemons:
            raise LabError(f"{self.name} has no {name}; it has"
                           f" {', '.join(self.daemons) or 'no daemons'}")
        return self.daemons[name]

    def listens(self, port):
        """True if somebody here listens on that TCP port."""
        lines = self.run("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
        return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A"
                   for fields in map(str.split, lines) if len(fields) > 3)

    def describe(self):
        """For `status`."""
        return {"anchor": self.pid, "daemons": {
            name: d.process.pid if d.running() else None for name, d in self.daemons.items()}}


def seed_capabilities(folder, cache):
    """Gives a new libvirtd what another learned of QEMU; it checks itself whether that holds."""
    target = os.path.join(folder, "qemu", "capabilities")
    os.makedirs(target, exist_ok=True)
    for path in glob.glob(os.path.join(cache, "capabilities", "*.xml")):
        shutil.copy(path, target)


def keep_capabilities(folder, cache):
    """The reverse of seed_capabilities."""
    target = os.path.join(cache, "capabilities")
    os.makedirs(target, exist_ok=True)
    for path in glob.glob(os.path.join(folder, "qemu", "capabilities", "*.xml")):
        # Two labs may do this at once, and pids are not unique across labs.
        temporary = os.path.join(target, f".{secrets.token_hex(8)}")
        shutil.copy(path, temporary)
        os.rename(temporary, os.path.join(target, os.path.basename(path)))
