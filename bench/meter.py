# SPDX-License-Identifier: Apache-2.0
"""The meter: bytes on the wire and CPU seconds of the lab's hosts, whoever moves a VM.

Theory of operation. A host of the lab is a network namespace, so a process belongs to the host in
whose namespace it is. Between start() and stop() a thread looks every INTERVAL_S at all processes
of the machine, and notes user and system time of those in a host. A process that ends in between
counts with what was seen last (what it used in its last INTERVAL_S is missed); one that begins in
between counts from zero. Children that have ended are never added by way of their parent: they were
seen themselves.

The threads in which QEMU runs the guest's own CPUs are told apart by their names: a guest works as
long as it is looked at, so its work isn't the migration's, and a longer move would be charged for
it. Bytes are those that the migration uplink of a host counted, in both directions.
"""
import os
import re
import threading
import time

INTERVAL_S = 0.05
UPLINK = "mig0"
TICKS = os.sysconf("SC_CLK_TCK")
GUEST_CPU = re.compile(r"CPU \d+/(TCG|KVM)")


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _ticks(path):
    """(start time, CPU used), in ticks, of a process or thread; None where it is gone."""
    fields = _read(path).rpartition(")")[2].split()
    return (int(fields[19]), int(fields[11]) + int(fields[12])) if fields else None


class _Process:
    """One process of a host."""

    def __init__(self, pid, host, existed):
        self.pid, self.host, self.existed = pid, host, existed
        self.started = self.first = None
        self.last = 0
        self.qemu = False
        self.others = set()     # threads that don't run a guest
        self.guest = {}         # thread: [first, last]

    def look(self):
        """Notes what it used; False once it has ended."""
        # Asked until it is one: libvirt's child gets the name when it executes QEMU.
        self.qemu = self.qemu or _read(f"/proc/{self.pid}/comm").startswith("qemu")
        if self.qemu:
            self._look_at_guest()
        now = _ticks(f"/proc/{self.pid}/stat")
        if now is None or self.started not in (None, now[0]):
            return False
        self.started, self.last = now
        if self.first is None:
            self.first = self.last if self.existed else 0
        return True

    def _look_at_guest(self):
        folder = f"/proc/{self.pid}/task"
        try:
            threads = set(os.listdir(folder)) - self.others
        except (FileNotFoundError, ProcessLookupError):
            return
        for thread in threads:
            if thread not in self.guest and not GUEST_CPU.match(_read(f"{folder}/{thread}/comm")):
                # Threads get their names just after they begin: only old ones are told for good.
                if self.existed:
                    self.others.add(thread)
                continue
            now = _ticks(f"{folder}/{thread}/stat")
            if now:
                seen = self.guest.setdefault(thread, [now[1] if self.existed else 0, 0])
                seen[1] = now[1]

    def used(self):
        """(CPU seconds without the guest's, CPU seconds of the guest)"""
        guest = sum(last - first for first, last in self.guest.values())
        return (self.last - (self.first or 0) - guest) / TICKS, guest / TICKS


class Meter:
    """For one lab. start() and stop() in turn, from one thread."""

    def __init__(self, lab, hosts):
        self.hosts = {lab.on(host, "readlink", "/proc/self/ns/net").strip(): host for host in hosts}
        self._end = threading.Event()
        self._thread = None
        self._alive, self._gone, self._strangers = {}, [], set()
        self._wire = {}

    def _look(self, first=False):
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= pids
        for pid in pids - self._strangers - self._alive.keys():
            try:
                host = self.hosts.get(os.readlink(f"/proc/{pid}/ns/net"))
            except OSError:
                continue
            if host:
                self._alive[pid] = _Process(pid, host, first)
            elif first:         # one that is new may be on its way into a host
                self._strangers.add(pid)
        for pid in list(self._alive):
            if not self._alive[pid].look():
                self._gone.append(self._alive.pop(pid))

    def _watch(self):
        while not self._end.wait(INTERVAL_S):
            self._look()

    def _bytes(self):
        """Bytes over the uplink of each host, as its own kernel interface tells."""
        found = {}
        for process in list(self._alive.values()):
            for line in _read(f"/proc/{process.pid}/net/dev").splitlines():
                name, _, fields = line.partition(":")
                if name.strip() == UPLINK:
                    numbers = fields.split()
                    found[process.host] = int(numbers[0]) + int(numbers[8])
        return found

    def start(self):
        """Counts from now on."""
        self._alive, self._gone, self._strangers = {}, [], set()
        self._look(first=True)
        self._wire = self._bytes()
        self._end.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._began = time.monotonic()

    def stop(self):
        """{host: {"cpu_s", "guest_cpu_s", "wire_bytes"}} since start()."""
        self._end.set()
        self._thread.join()
        self._look()
        wire = self._bytes()
        result = {host: {"cpu_s": 0.0, "guest_cpu_s": 0.0,
                         "wire_bytes": wire[host] - self._wire[host]}
                  for host in self.hosts.values()}
        for process in [*self._alive.values(), *self._gone]:
            own, guest = process.used()
            result[process.host]["cpu_s"] += own
            result[process.host]["guest_cpu_s"] += guest
        return result
