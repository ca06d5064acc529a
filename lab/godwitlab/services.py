# SPDX-License-Identifier: Apache-2.0
"""The services guest: Debian with systemd, PostgreSQL and Redis under load, and the witness.

Built by mmdebstrap when first asked for (about a minute), then kept in the cache as a folder with
the root disk's image, the kernel and the initramfs. Each VM gets a copy of the disk (vda) and a
disk of its own for the witness (vdb).
"""
import glob
import os
import shutil

from .base import LabError, cache_dir, run
from . import guest

SUITE = "bookworm"
ROOT_MB = 3072
PACKAGES = ["linux-image-cloud-amd64", "systemd-sysv", "udev", "iproute2", "postgresql",
            "redis-server", "redis-tools", "e2fsprogs"]
KEY = "1"       # to be raised when what follows changes the image

# Only what this guest needs to find its root: a big initramfs costs an emulated guest seconds.
_INITRAMFS_HOOK = """\
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk virtio_net ext4
"""

_WORDS = """\
for word in $(cat /proc/cmdline); do
    case $word in gw.*=*) word=${word#gw.}; export "${word%%=*}=${word#*=}" ;; esac
done
"""

_WITNESS = f"""\
#!/bin/sh
{_WORDS}
hostname "$name"
ip link set eth0 up
ip addr replace "$ip/24" dev eth0
set -- --name "$name" --observer "$observer" --observer-mac "$mac" --port "$port" --disk /dev/vdb
[ "${{dirty:-0}}" -gt 0 ] && set -- "$@" --dirty "$dirty" --set "$set"
[ "${{still:-0}}" -gt 0 ] && set -- "$@" --still "$still"
exec /usr/local/sbin/witness "$@"
"""

# Even load, not as much as the machine can: about 50 transactions and 200 Redis writes a second.
_LOAD = """\
#!/bin/sh
su postgres -c 'psql -qc "select 1 from pgbench_accounts limit 1"' 2>/dev/null ||
    su postgres -c '/usr/lib/postgresql/15/bin/pgbench -q -i -s 10'
su postgres -c 'while :; do /usr/lib/postgresql/15/bin/pgbench -n -c 2 -R 50 -T 3600; done' &
while :; do
    redis-benchmark -q -t set,get -n 2000 -r 100000 -d 512 -c 4 > /dev/null
    sleep 10
done
"""

_UNITS = {
    "lab-witness": ("Witness of the lab", "After=sysinit.target", "lab-witness"),
    "lab-load": ("Load of the lab", "After=postgresql.service redis-server.service", "lab-load"),
}
_UNIT = """\
[Unit]
Description={0}
{1}

[Service]
ExecStart=/usr/local/sbin/{2}
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def _overlay(root):
    """The files that go on top of the packages."""
    sbin = os.path.join(root, "usr/local/sbin")
    _write(os.path.join(sbin, "lab-witness"), _WITNESS, 0o755)
    _write(os.path.join(sbin, "lab-load"), _LOAD, 0o755)
    shutil.copy(os.path.join(guest.programs(), "witness"), os.path.join(sbin, "witness"))
    units = os.path.join(root, "etc/systemd/system")
    for name, words in _UNITS.items():
        _write(os.path.join(units, name + ".service"), _UNIT.format(*words))
        wants = os.path.join(units, "multi-user.target.wants")
        os.makedirs(wants, exist_ok=True)
        os.symlink(f"../{name}.service", os.path.join(wants, name + ".service"))
    _write(os.path.join(root, "etc/fstab"), "/dev/vda / ext4 rw 0 1\n")
    # A shell on the serial console, without a password: virsh console.
    _write(os.path.join(units, "serial-getty@ttyS0.service.d/lab.conf"),
           "[Service]\nExecStart=\nExecStart=-/sbin/agetty -a root -o '-p -f root' %I $TERM\n")


def _make(folder):
    os.mkdir(folder)
    work = folder + ".work"
    root, hooks = os.path.join(work, "root"), os.path.join(work, "hooks")
    _write(os.path.join(hooks, "lab"), _INITRAMFS_HOOK, 0o755)
    _write(os.path.join(hooks, "conf"), "MODULES=list\nCOMPRESS=lz4\n")
    run(["mmdebstrap", "--mode=root", "--variant=minbase", "--quiet",
         f"--include={','.join([*PACKAGES, 'lz4'])}",
         '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks"',
         f'--essential-hook=cp {hooks}/conf "$1/etc/initramfs-tools/conf.d/lab"',
         f'--essential-hook=cp {hooks}/lab "$1/etc/initramfs-tools/hooks/lab"',
         SUITE, root], timeout=900)
    boot = os.path.join(root, "boot")
    for name, prefix in [("vmlinuz", "vmlinuz-"), ("initrd", "initrd.img-")]:
        found = sorted(n for n in os.listdir(boot) if n.startswith(prefix))
        if not found:
            raise LabError(f"the services image has no {prefix}*")
        shutil.copy(os.path.join(boot, found[-1]), os.path.join(folder, name))
    _overlay(root)
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, os.path.join(folder, "root.img"), f"{ROOT_MB}M"],
        timeout=300)


def prepare(lab, say):
    """Builds the image if need be, puts its kernel where hosts find it; gives the root disk."""
    if not shutil.which("mmdebstrap"):
        raise LabError("the services image is made by mmdebstrap: apt-get install mmdebstrap")
    key = os.path.basename(guest.programs()).removeprefix("bin-")
    path = os.path.join(cache_dir(), f"services-{KEY}-{key}")
    if not os.path.exists(path):
        say("building the services image (some minutes, once)")
        guest.build(path, _make)
        for old in glob.glob(os.path.join(cache_dir(), "services-*")):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
    boot = lab.path("boot", "services")
    os.makedirs(boot, mode=0o755, exist_ok=True)
    for name in ["vmlinuz", "initrd"]:
        if not os.path.exists(os.path.join(boot, name)):
            shutil.copy(os.path.join(path, name), boot)
            os.chmod(os.path.join(boot, name), 0o644)
    return os.path.join(path, "root.img")
