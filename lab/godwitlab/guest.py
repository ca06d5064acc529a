# SPDX-License-Identifier: Apache-2.0
"""The tiny guest and the lab's C helpers: built once, kept in the cache.

Cache (build/lab-cache, or GODWIT_LAB_CACHE): everything is built beside its place and renamed
into it, under a lock, so that two labs may start at the same moment. Names carry a hash of what
went in.

    bin-HASH/witness, probe     static programs
    kernel-VERSION/             vmlinuz and the modules the tiny guest loads
    tiny-HASH.img               its initramfs
    kvm.json                    whether a guest reached user space in KVM here
"""
import glob
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time

from .base import LAB_DIR, LabError, cache_dir, clean_env, locked, read_json, run, write_file

MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net", "virtio_blk"]
KERNEL_PACKAGE = "linux-image-cloud-amd64"
QEMU = "qemu-system-x86_64"
KVM_TRY_S = 20
USER_SPACE = b"GODWIT-LAB-USER-SPACE"
KVM_FAILED = b"KVM internal error"


def _sources(*names):
    digest = hashlib.sha256()
    for name in names:
        with open(os.path.join(LAB_DIR, "guest", name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:12]


def build(path, make):
    """Makes path by make(temporary) unless it is there; atomic, once at a time."""
    if os.path.exists(path):
        return path
    with locked(os.path.join(cache_dir(), "lock")):
        if os.path.exists(path):
            return path
        work = tempfile.mkdtemp(dir=cache_dir())
        try:
            temporary = os.path.join(work, "made")
            make(temporary)
            os.rename(temporary, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return path


WITNESS = ["witness.c", "memory.c", "memory.h"]


def _programs(folder):
    os.mkdir(folder)
    for name, sources in {"witness": WITNESS, "probe": ["probe.c"]}.items():
        run(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o",
             os.path.join(folder, name),
             *[os.path.join(LAB_DIR, "guest", source) for source in sources if source[-2:] == ".c"]])


def programs():
    """Folder with the static programs `witness` and `probe`."""
    key = _sources(*WITNESS, "probe.c")
    return build(os.path.join(cache_dir(), f"bin-{key}"), _programs)


def _kernel_package():
    text = run(["apt-cache", "depends", KERNEL_PACKAGE], check=False)
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", text)
    if not found:
        run(["apt-get", "-q", "update"], timeout=300)
        found = re.search(r"Depends: (linux-image-[0-9]\S+)",
                          run(["apt-cache", "depends", KERNEL_PACKAGE], check=False))
    if not found:
        raise LabError(f"apt knows no {KERNEL_PACKAGE}: the guests' kernel comes from Debian 12's"
                       " main archive; check /etc/apt/sources.list*")
    return found[1]


def _download(package, folder):
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    for update in [False, True]:
        if update:      # the lists may be older than the archive
            run(["apt-get", "-q", "update"], timeout=300)
        done = subprocess.run(command, cwd=folder, env=clean_env(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return glob.glob(os.path.join(folder, "*.deb"))[0]
    raise LabError(f"can't download the guests' kernel ({package}): {done.stderr.strip()}")


def _kernel(folder):
    work = folder + ".work"
    os.mkdir(work)
    os.mkdir(folder)
    deb = _download(_kernel_package(), work)
    run(["dpkg-deb", "-x", deb, os.path.join(work, "x")])
    tree = os.path.join(work, "x")
    shutil.copy(glob.glob(f"{tree}/boot/vmlinuz-*")[0], os.path.join(folder, "vmlinuz"))
    for module in MODULES:
        found = glob.glob(f"{tree}/lib/modules/*/kernel/**/{module}.ko*", recursive=True)
        if not found:
            raise LabError(f"{os.path.basename(deb)} has no module {module}")
        shutil.copy(found[0], os.path.join(folder, module + ".ko"))


def kernel():
    """Folder with the guests' kernel and its modules; any cached version will do."""
    there = sorted(glob.glob(os.path.join(cache_dir(), "kernel-*")))
    if there:
        return there[-1]
    version = _kernel_package().removeprefix("linux-image-")
    return build(os.path.join(cache_dir(), f"kernel-{version}"), _kernel)


def _initramfs(path, modules):
    root = path + ".root"
    for folder in ["bin", "dev", "proc", "sys", "lib/modules", "tmp", "root"]:
        os.makedirs(os.path.join(root, folder))
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if not busybox:
        raise LabError("busybox-static is not installed: run tools/setup")
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    for applet in run([busybox, "--list"]).split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(root, "bin", applet))
    shutil.copy(os.path.join(programs(), "witness"), os.path.join(root, "bin/witness"))
    shutil.copy(os.path.join(LAB_DIR, "guest", "init"), os.path.join(root, "init"))
    os.chmod(os.path.join(root, "init"), 0o755)
    for module in MODULES:
        shutil.copy(os.path.join(modules, module + ".ko"), os.path.join(root, "lib/modules"))
    # Uncompressed: unpacking costs an emulated guest more time than the bytes do.
    subprocess.run(f"find . | cpio --quiet -o -H newc > '{path}'", shell=True, cwd=root, check=True)


def tiny():
    """(kernel, initramfs) of the tiny guest."""
    programs()          # takes the lock itself
    folder = kernel()
    key = _sources(*WITNESS, "init")
    image = os.path.join(cache_dir(), f"tiny-{key}-{os.path.basename(folder)}.img")
    build(image, lambda path: _initramfs(path, folder))
    return os.path.join(folder, "vmlinuz"), image


def qemu_version():
    """QEMU's version as a list of two numbers."""
    found = re.search(r"version (\d+)\.(\d+)", run([QEMU, "--version"]))
    return [int(found[1]), int(found[2])] if found else [0, 0]


# KVM: only where a guest really got to user space in it

def _machine():
    cpu = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith(("model name", "flags")):
                cpu += line
            if not line.strip():
                break
    qemu = run([QEMU, "--version"]).splitlines()[0]
    return hashlib.sha256(f"{os.uname().release} {cpu} {qemu}".encode()).hexdigest()[:16]


def _try_kvm():
    """Boots the tiny guest in KVM until it says it is there, or KVM gives up, or the time is up."""
    vmlinuz, image = tiny()
    heard = b""
    with subprocess.Popen(
            [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine",
             "pc,accel=kvm", "-cpu", "qemu64", "-m", "256", "-serial", "stdio", "-net", "none",
             "-kernel", vmlinuz, "-initrd", image, "-append",
             "console=ttyS0 quiet panic=-1 gw.probe"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:
        end = time.monotonic() + KVM_TRY_S
        while (left := end - time.monotonic()) > 0 and USER_SPACE not in heard:
            ready = select.select([qemu.stdout], [], [], left)[0]
            data = os.read(qemu.stdout.fileno(), 4096) if ready else b""
            heard += data
            if not data or KVM_FAILED in heard:     # the end, or a guest that KVM stopped for good
                break
        qemu.kill()
    return USER_SPACE in heard


def kvm_works(say):
    """True if a guest reached user space in KVM on this machine; tried once and remembered."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    tiny()              # takes the lock itself
    path, machine = os.path.join(cache_dir(), "kvm.json"), _machine()
    with locked(os.path.join(cache_dir(), "lock")):
        known = read_json(path, {})
        if machine not in known:
            say(f"trying whether a guest runs in KVM here (up to {KVM_TRY_S} s, once)")
            known = {**known, machine: _try_kvm()}
            write_file(path, json.dumps(known))
    return known[machine]
