# SPDX-License-Identifier: Apache-2.0
"""The holder: first process of a lab's PID namespace, and the mounts all places share.

Theory of operation. `lab up` forks twice; between the forks new PID, mount, network and IPC
namespaces are made, so that the second child is the first process of its PID namespace: the
holder. It is executed afresh as `lab --name NAME _holder MARKER FD`, which gives it a command
line that proves who it is.

    lab up ──▶ helper ──▶ holder (pid 1: waits for children, nothing else)
                             └──▶ server (pid 2: builds the lab, answers requests; see server.py)
                                      └──▶ anchors, libvirtds, tgtd, observer, manager, godwitds
    QEMU and others that become daemons become children of the holder.

The holder ends when the server ends; then the kernel kills all that is left, and their network
namespaces and mounts go with them. Until the lab is ready, `lab up` holds the other end of the
server's standard input: if that closes early, the server ends. So whatever is killed, whenever:
all of it or none of it is there.
"""
import contextlib
import ctypes
import json
import os
import shutil
import stat
import sys

from .base import LabError, Lab, build_dir, write_file
from .network import hosts_file

_libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND = 1, 2, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
DEVICES = ["null", "zero", "full", "random", "urandom", "tty", "kvm", "net/tun", "vhost-net",
           "fuse", "userfaultfd", "hpet"]
# Made where Godwit's and libvirt's default paths need a folder that the machine may not have.
MOUNT_POINTS = {
    "/etc": ["godwit", "libvirt"],
    "/var/lib": ["godwit", "godwit-manager", "libvirt"],
    "/var/log": ["godwit", "libvirt"],
    "/var/cache": ["libvirt"],
}


def mount(source, target, kind=None, flags=0, data=None):
    """mount(2)."""
    words = [None if w is None else w.encode() for w in (source, target, kind)]
    if _libc.mount(*words, flags, None if data is None else data.encode()) != 0:
        error = os.strerror(ctypes.get_errno())
        raise LabError(f"can't mount {kind or source} on {target}: {error}")


def _overlay(private, target, folders):
    """A writable layer over a folder of the machine, which itself is never written to."""
    name = target.strip("/").replace("/", "-")
    upper, work = os.path.join(private, name), os.path.join(private, name + ".work")
    os.makedirs(upper)
    os.makedirs(work)
    os.chmod(upper, 0o755)
    mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={upper},workdir={work}")
    for folder in folders:
        os.makedirs(os.path.join(target, folder), mode=0o755, exist_ok=True)


def _devices():
    """A /dev of the lab's own: libvirt changes owners of device nodes."""
    nodes = {}
    for name in DEVICES:
        try:
            nodes[name] = os.stat(os.path.join("/dev", name))
        except OSError:
            continue
    mount("dev", "/dev", "tmpfs", MS_NOSUID, "mode=755")
    os.umask(0)
    for name, node in nodes.items():
        path = os.path.join("/dev", name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mknod(path, stat.S_IFCHR | stat.S_IMODE(node.st_mode), node.st_rdev)
    os.umask(0o022)
    if "kvm" in nodes:      # as udev leaves it: confined QEMU is in the group kvm
        os.chmod("/dev/kvm", 0o660)
        with contextlib.suppress(LookupError):
            shutil.chown("/dev/kvm", "root", "kvm")
    for name, kind, data in [("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
                             ("shm", "tmpfs", "mode=1777"), ("mqueue", "mqueue", None)]:
        os.mkdir(os.path.join("/dev", name))
        try:
            mount(kind, os.path.join("/dev", name), kind, 0, data)
        except LabError:
            if name != "mqueue":    # kernels without it do well without
                raise
    for name, target in [("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"),
                         ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2")]:
        os.symlink(target, os.path.join("/dev", name))


def prepare_mounts(lab, options):
    """The mounts common to all places; in the holder's own mount namespace."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID)
    private = lab.path("private")
    mount("private", private, "tmpfs", 0, "mode=755")
    for target, folders in MOUNT_POINTS.items():
        _overlay(private, target, folders)
    # In the layer over /etc: write_file can't be used, for a name there may be a link to elsewhere.
    for name, text in [("hosts", hosts_file(options["hosts"])), ("resolv.conf", "")]:
        path = os.path.join("/etc", name)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    mount("run", "/run", "tmpfs", 0, "mode=755")
    os.makedirs("/run/lock", mode=0o1777)
    mount("srv", "/srv", "tmpfs", 0, "mode=755")
    for inside, outside in [("shared", lab.path("shared")), ("boot", lab.path("boot")),
                            ("bin", build_dir())]:
        target = os.path.join("/srv/godwit", inside)
        os.makedirs(target, mode=0o755)
        if os.path.isdir(outside):
            mount(outside, target, None, MS_BIND)
    _devices()


def main(name, marker, socket_fd):
    """Body of the process that `lab up` executes; never returns."""
    lab = Lab(name)
    line = sys.stdin.readline()     # empty if `lab up` died before it had noted our pid
    if not line:
        os._exit(1)
    options = json.loads(line)
    os.umask(0o022)
    log = os.open(lab.log("lab.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    try:
        prepare_mounts(lab, options)
    except (LabError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        os._exit(1)
    server = os.fork()
    if server == 0:
        from .server import serve
        serve(lab, options, socket_fd)
        os._exit(0)
    for fd in [0, 1, socket_fd]:
        os.close(fd)
    while True:
        pid, _ = os.wait()
        if pid == server:
            os._exit(0)


def note(lab, pid, marker, start_time, boot):
    """Writes down who the holder is; by `lab up`, in its own PID namespace."""
    write_file(lab.path("holder.json"), json.dumps(
        {"pid": pid, "start_time": start_time, "marker": marker, "boot_id": boot}))
