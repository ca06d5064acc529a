# SPDX-License-Identifier: Apache-2.0
"""The movers that are compared: who moves VMs from one host of the lab to the other, and how.

All but Godwit are `virsh migrate --live --p2p`, with QEMU's own connections over TCP, and what
libvirt and QEMU do by default unless told below. None of them encrypts; Godwit always does.

    virsh         nothing else
    parallel      --parallel: QEMU's multifd, two connections (QEMU's default)
    xbzrle        --compressed, with a cache of a quarter of the VM's memory (64 MiB at least,
                  QEMU's default)
    multifd-zstd  --parallel, and multifd compresses with zstd at level 1 (QEMU's default)

libvirt 9.0 doesn't know multifd's compression. So it is set by QMP in the source's QEMU, and the
destination's QEMU is started with it (-global): libvirt gives no moment at which QMP could set it
there. All else is as with `parallel`: VM, libvirt, connections, and so what libvirt itself costs.
Before each move over multifd both sides are told what it is to do, since a QEMU keeps it.
"""
import json
import os
import subprocess
import time
from xml.etree import ElementTree

from benchkit import TOP  # noqa: F401 (makes the imports below possible)
from godwitlab import base, client, move
from labkit import BUILD

QEMU_XML = "http://libvirt.org/schemas/domain/qemu/1.0"
MULTIFD = {"parallel": "none", "multifd-zstd": "zstd"}
KINDS = ["godwit", "virsh", "parallel", "xbzrle", "multifd-zstd"]
GLOBAL = "migration.multifd-compression="
MIB = 1 << 20


class NotMoved(Exception):
    """A mover failed, or didn't end in time; the VMs are where libvirt says."""


class Movers:
    """The movers of one lab."""

    def __init__(self, lab, memory_mb, limit_s):
        self.lab, self.memory_mb, self.limit_s = lab, memory_mb, limit_s
        self.place = base.Lab(lab.name)

    def open(self, hosts):
        """Opens libvirt's TCP port on the hosts, for as long as the lab is there."""
        for host in hosts:
            client.ask(self.place, "relay", host=host, port=move.LIBVIRT_PORT)

    def _multifd(self, kind, name, source):
        """Tells the source's QEMU what multifd does; gives the flags for the destination's."""
        method = MULTIFD[kind]
        self.lab.virsh(source, "qemu-monitor-command", name, json.dumps(
            {"execute": "migrate-set-parameters", "arguments": {"multifd-compression": method}}))
        ElementTree.register_namespace("qemu", QEMU_XML)
        domain = ElementTree.fromstring(self.lab.virsh(source, "dumpxml", "--migratable", name))
        line = domain.find(f"{{{QEMU_XML}}}commandline")
        if line is None:
            line = ElementTree.SubElement(domain, f"{{{QEMU_XML}}}commandline")
        words = []
        for word in [element.get("value") for element in line]:
            if word.startswith(GLOBAL):
                words.pop()     # the -global before it
            else:
                words.append(word)
        for element in list(line):
            line.remove(element)
        for word in [*words, "-global", GLOBAL + method]:
            ElementTree.SubElement(line, f"{{{QEMU_XML}}}arg", value=word)
        path = os.path.join(self.lab.folder, "vms", f"{name}.{kind}.xml")
        ElementTree.ElementTree(domain).write(path)
        return ["--parallel", "--xml", path]

    def _flags(self, kind, name, source):
        if kind in MULTIFD:
            return self._multifd(kind, name, source)
        if kind == "xbzrle":
            cache = max(64, 1 << ((self.memory_mb // 4).bit_length() - 1))
            return ["--compressed", "--comp-methods", "xbzrle",
                    "--comp-xbzrle-cache", str(cache * MIB)]
        return []

    def _commands(self, kind, names, source, to):
        if kind == "godwit":
            return [[os.path.join(BUILD, "godwit"), "migrate", *names, "--to", to, "--output",
                     "json"]]
        return [client.on_command(self.place, source, [
            "virsh", "-q", "-c", "qemu:///system", "migrate", *move.FLAGS, *move.FLAGS_DIR,
            *self._flags(kind, name, source), name, f"qemu+tcp://{to}/system",
            "--migrateuri", f"tcp://{to}"]) for name in names]

    def ready(self, kind, names, source, to):
        """Prepares a move; what it gives does it, all VMs at once, and tells seconds and output."""
        commands = self._commands(kind, names, source, to)
        env = self.lab.env() if kind == "godwit" else base.clean_env()

        def go():
            began = time.monotonic()
            running = [subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                       for command in commands]
            try:
                said = [process.communicate(timeout=max(0, began + self.limit_s - time.monotonic()))
                        for process in running]
            except subprocess.TimeoutExpired:
                self._give_up(kind, names, source, running)
                raise NotMoved(f"not done after {self.limit_s} s") from None
            took = time.monotonic() - began
            for process, (out, err) in zip(running, said):
                if process.returncode != 0:
                    raise NotMoved((err or out).strip())
            return took, said[0][0]
        return go

    def _give_up(self, kind, names, source, running):
        """Ends moves by virsh that go on; one by Godwit that does so is a fault to be looked at."""
        if kind == "godwit":
            raise base.LabError(f"godwit didn't end within {self.limit_s} s")
        for name in names:
            self.lab.virsh(source, "domjobabort", name, check=False)
        for process in running:
            process.communicate()

    def clear(self):
        """Lets all hosts' Godwit forget what it keeps of VMs that were there."""
        self.lab.godwit("recall", "clear")
