# SPDX-License-Identifier: Apache-2.0
"""A move by libvirt alone, peer to peer over TCP, to compare Godwit with.

libvirtd opens no TCP port in the lab. While such a move runs, a relay on the destination's
migration address passes a TCP port on to its libvirt socket; QEMU's own port is opened by
libvirt. All of it goes over the migration uplink.
"""
import subprocess
import time

from . import client
from .base import LabError, Usage, clean_env

LIBVIRT_PORT = 16509
FLAGS = ["--live", "--p2p", "--persistent", "--undefinesource"]
# libvirt takes only file systems that are shared by nature (NFS, Ceph, …) for shared; the lab's
# folder, which all hosts see and which disks are opened in with cache='none', is as good, but of
# the machine's own kind.
FLAGS_DIR = ["--unsafe"]


def by_virsh(lab, name, to, flags):
    """Moves a VM that runs on one host; gives what it took."""
    domains = client.ask(lab, "where", name=name)["domains"]
    running = [host for host, state in domains.items() if state == "running"]
    if len(running) != 1:
        raise LabError(f"{name} is to run on one host; its states are {domains or 'none'}")
    if to == running[0]:
        raise Usage(f"{name} is on {to} already")
    relay = client.ask(lab, "relay", host=to, port=LIBVIRT_PORT)["relay"]
    try:
        if flags is None:
            flags = FLAGS + (FLAGS_DIR if client.ask(lab, "status")["storage"] == "dir" else [])
        began = time.monotonic()
        command = client.on_command(lab, running[0], [
            "virsh", "-q", "-c", "qemu:///system", "migrate", *flags, name,
            f"qemu+tcp://{to}/system", "--migrateuri", f"tcp://{to}"])
        done = subprocess.run(command, capture_output=True, text=True, env=clean_env(),
                              stdin=subprocess.DEVNULL, check=False)
        took = time.monotonic() - began
    finally:
        client.ask(lab, "unrelay", relay=relay)
    if done.returncode != 0:
        raise LabError(f"virsh migrate of {name} to {to}: {done.stderr.strip()}")
    return {"vm": name, "from": running[0], "to": to, "total_s": round(took, 3)}
