# SPDX-License-Identifier: Apache-2.0
"""The lab's networks: a switch, and cables to every place.

Theory of operation. The server's own network namespace is the switch. It has a bridge per network:

    vm   10.78.0.0/24  the VMs; the switch itself is 10.78.0.1, where the observer sits
    mig  10.77.0.0/24  management and migration: hosts 10.77.0.1N, the manager 10.77.0.2
    san  10.79.0.0/24  storage: hosts 10.79.0.1N, the storage server 10.79.0.3

A host has a veth to each: `uplink` (a port of its bridge br0), `mig0` and `san0`; the other ends
are the switch's ports vm-hN, mig-hN, san-hN. With one link there is only `uplink`; br0 carries
all addresses.

Shaping is a token bucket on both ends of the migration cable, so both ways, each with a queue of
5 ms at most: a longer one would measure itself. A cut takes down the switch's end; the server's
timer, not the caller, ends it. Cuts of one port add up to the latest end.

With a delay the migration ports are taken off the bridge, and delay.py carries frames between them
and taps that stand in their place, each a quarter of the round trip later: from host to host and
back a frame passes four times. So what is between a host and the manager takes half of it. That
program gives frames in gusts, which the queue of 5 ms would drop in part: with a delay it is 50 ms.
"""
import ipaddress
import re
import threading
import time

from .base import LabError, Usage, run

MIG, VM, SAN = "10.77.0", "10.78.0", "10.79.0"
OBSERVER_ADDRESS = f"{VM}.1"
OBSERVER_MAC = "02:47:57:00:00:01"
MANAGER_ADDRESS = f"{MIG}.2"
SAN_ADDRESS = f"{SAN}.3"
QUEUE_MS, QUEUE_WITH_DELAY_MS = 5, 50
HOSTS_MAX = 40

_UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def parse_rate(text):
    """'1gbit' as bits per second; None for 'none'."""
    if text == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", text.lower())
    if not match or not 1e5 <= float(match[1]) * _UNITS[match[2]] <= 1e11:
        raise Usage(f"'{text}' is no rate: 'none', or a number with kbit, mbit or gbit,"
                    " such as 1gbit (from 100kbit to 100gbit)")
    return int(float(match[1]) * _UNITS[match[2]])


def host_address(net, number):
    """Address of host number N in one of the networks."""
    return f"{net}.{10 + number}"


def hosts_file(hosts):
    """Contents of /etc/hosts, the same in all places."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{MANAGER_ADDRESS} manager",
             f"{SAN_ADDRESS} san", f"{OBSERVER_ADDRESS} switch"]
    lines += [f"{host_address(MIG, n)} {name}" for n, name in enumerate(hosts, 1)]
    return "\n".join(lines) + "\n"


def ip(*words, pid=None):
    """Runs ip, in the network namespace of a process if one is given."""
    command = ["ip", *[str(w) for w in words]]
    return run(["nsenter", "-t", str(pid), "-n", "--", *command] if pid else command)


class Network:
    """Owned by the server; methods may be called from any of its threads."""

    def __init__(self, one_link):
        self.one_link = one_link
        self.rate = None
        self.ports = {}         # host: {"vm": port, "mig": port, "san": port}
        self.pids = {}          # host: a process in its network namespace
        self._lock = threading.Lock()
        self._cut_until = {}    # port: moment of time.monotonic() at which it comes up again

    def make_switch(self):
        """Bridges of the switch; with one link a single one has all the networks."""
        ip("link", "set", "lo", "up")
        for name in ["vm"] if self.one_link else ["vm", "mig", "san"]:
            ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0",
               "mcast_snooping", "0")
        ip("link", "set", "vm", "address", OBSERVER_MAC)
        for name in ["vm"] if self.one_link else ["vm", "mig", "san"]:
            ip("link", "set", name, "up")
        ip("address", "add", f"{OBSERVER_ADDRESS}/24", "dev", "vm")
        ip("address", "add", f"{MIG}.1/24", "dev", "vm" if self.one_link else "mig")

    def _cable(self, net, place, pid, device):
        port = f"{net}-{place}"
        bridge = "vm" if self.one_link else net
        ip("link", "add", port, "type", "veth", "peer", "name", device, "netns", pid)
        ip("link", "set", port, "master", bridge, "up")
        return port

    def add_host(self, number, name, pid):
        """Cables and addresses of a host whose namespace a process holds."""
        ip("link", "set", "lo", "up", pid=pid)
        ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0",
           "mcast_snooping", "0", pid=pid)
        ports = {"vm": self._cable("vm", name, pid, "uplink")}
        ip("link", "set", "uplink", "master", "br0", "up", pid=pid)
        if self.one_link:
            ip("link", "set", "br0", "address", f"02:47:57:00:01:{number:02x}", pid=pid)
            ports["mig"] = ports["san"] = ports["vm"]
        ip("link", "set", "br0", "up", pid=pid)
        for net, prefix, device in [("mig", MIG, "mig0"), ("san", SAN, "san0")]:
            if self.one_link:
                device = "br0"
            else:
                ports[net] = self._cable(net, name, pid, device)
                ip("link", "set", device, "up", pid=pid)
            ip("address", "add", f"{host_address(prefix, number)}/24", "dev", device, pid=pid)
        self.ports[name] = ports
        self.pids[name] = pid

    def add_place(self, name, pid, net, address):
        """One cable for a place that is no host: the manager, the storage server."""
        ip("link", "set", "lo", "up", pid=pid)
        self._cable(net, name, pid, "eth0")
        ip("link", "set", "eth0", "up", pid=pid)
        ip("address", "add", f"{ipaddress.ip_address(address)}/24", "dev", "eth0", pid=pid)

    def shape(self, rate, delayed=False):
        """Limits each host's migration cable both ways; None takes the limit away."""
        queue_ms = QUEUE_WITH_DELAY_MS if delayed else QUEUE_MS
        with self._lock:
            for host, ports in self.ports.items():
                device = "uplink" if self.one_link else "mig0"
                self._shape_end(rate, queue_ms, ports["mig"], None)
                self._shape_end(rate, queue_ms, device, self.pids[host])
            self.rate = rate

    @staticmethod
    def _shape_end(rate, queue_ms, device, pid):
        prefix = ["nsenter", "-t", str(pid), "-n", "--"] if pid else []
        if rate is None:
            run([*prefix, "tc", "qdisc", "del", "dev", device, "root"], check=False)
            return
        burst = max(16 * 1024, rate // 8 // 1000)           # a millisecond's worth
        limit = burst + rate // 8 * queue_ms // 1000
        run([*prefix, "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{rate}bit",
             "burst", str(burst), "limit", str(max(limit, burst + 8 * 1024))])

    def cables(self):
        """What delay.py is to carry: each host's migration port, and the tap in its place."""
        return [(ports["mig"], f"d-{ports['mig']}") for ports in self.ports.values()]

    def part(self):
        """The taps of delay.py, which are there, take the ports' places on the bridge."""
        with self._lock:
            for port, tap in self.cables():
                ip("link", "set", port, "nomaster", "arp", "off", "addrgenmode", "none")
                ip("link", "set", tap, "txqueuelen", "10000", "master", self._bridge, "up")

    def join(self):
        """The ports are on the bridge again; the taps went with delay.py."""
        with self._lock:
            for port, _tap in self.cables():
                ip("link", "set", port, "master", self._bridge, "arp", "on")

    @property
    def _bridge(self):
        return "vm" if self.one_link else "mig"

    def cut(self, host, seconds, everything):
        """Takes the cables of a host down, and up again after so many seconds."""
        if host not in self.ports:
            raise LabError(f"no host '{host}': there are {', '.join(self.ports)}")
        ports = self.ports[host]
        chosen = set(ports.values()) if everything else {ports["mig"]}
        until = time.monotonic() + seconds
        with self._lock:
            for port in chosen:
                self._cut_until[port] = max(until, self._cut_until.get(port, 0))
                ip("link", "set", port, "down")
        timer = threading.Timer(seconds, self._uncut, [chosen])
        timer.daemon = True
        timer.start()
        return sorted(chosen)

    def _uncut(self, ports):
        with self._lock:
            for port in ports:
                if self._cut_until.get(port, 0) <= time.monotonic() + 0.001:
                    self._cut_until.pop(port, None)
                    ip("link", "set", port, "up")

    def cuts(self):
        """Which ports are cut now, and for how long yet (seconds)."""
        with self._lock:
            now = time.monotonic()
            return {port: round(until - now, 1) for port, until in self._cut_until.items()}
