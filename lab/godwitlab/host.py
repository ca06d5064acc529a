# SPDX-License-Identifier: Apache-2.0
"""A host: a place with a libvirtd, a bridge br0 as the network 'lan' and a datastore 'shared'."""
import os
import shutil
import uuid

from .base import LabError, cache_dir, write_file
from .places import TRAVERSABLE, Place, keep_capabilities, seed_capabilities

SHARED = "/srv/godwit/shared"

_LIBVIRTD = """\
# One machine, several hosts: each needs an identity of its own.
host_uuid = "{uuid}"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
# No polkit here; only root reaches the socket.
auth_unix_ro = "none"
auth_unix_rw = "none"
"""

# The relaxed lab: QEMU is root and nothing is confined.
_QEMU_RELAXED = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
"""

# --confined: libvirt's defaults (user libvirt-qemu, dynamic ownership, remembered owners, seccomp,
# a /dev of its own for each QEMU, virtlogd, and a security driver if the kernel has one), but:
_QEMU_CONFINED = """\
# Cgroups made here would be the machine's own and would stay when the lab is gone.
cgroup_controllers = []
"""

_NETWORK = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>"
_POOL = f"<pool type='dir'><name>shared</name><target><path>{SHARED}</path></target></pool>"


class Host(Place):
    """One host of the lab."""

    def __init__(self, lab, name, number, confined):
        super().__init__(lab, name)
        self.number, self.confined = number, confined
        self.uuid = str(uuid.uuid4())

    def configure(self):
        """Writes libvirt's configuration; before make()."""
        folder = self.lab.host_dir(self.name, "etc-libvirt")
        qemu = _QEMU_CONFINED if self.confined else _QEMU_RELAXED
        write_file(os.path.join(folder, "libvirtd.conf"), _LIBVIRTD.format(uuid=self.uuid))
        write_file(os.path.join(folder, "qemu.conf"), qemu, 0o600)
        cache = self.lab.host_dir(self.name, "cache-libvirt")
        os.makedirs(cache, mode=TRAVERSABLE, exist_ok=True)
        seed_capabilities(cache, cache_dir())
        lib = self.lab.host_dir(self.name, "lib-libvirt", "qemu")
        os.makedirs(lib, mode=0o750, exist_ok=True)
        if self.confined:   # as the package ships it
            shutil.chown(lib, "libvirt-qemu", "libvirt-qemu")
            self.daemon("virtlogd", ["virtlogd"])
        self.daemon("libvirtd", ["libvirtd"])

    def virsh(self, *words, **how):
        """virsh on this host's libvirtd."""
        return self.run("virsh", "-q", "-c", "qemu:///system", *words, **how)

    def start_libvirtd(self):
        """Starts libvirtd and waits until it answers."""
        daemon = self.find("libvirtd")
        daemon.start()
        daemon.wait(self._answers, "answering")

    def _answers(self):
        try:
            self.virsh("version", timeout=30)
            return True
        except LabError:
            return False

    def launch(self):
        """Starts libvirtd, without waiting, and what it needs."""
        if self.confined:
            self.find("virtlogd").start()
        self.find("libvirtd").start()

    def settle(self, pool):
        """Waits for libvirtd, then defines the network and, if asked for, the pool."""
        self.find("libvirtd").wait(self._answers, "answering")
        folder = self.lab.host_dir(self.name, "etc-libvirt")
        keep_capabilities(self.lab.host_dir(self.name, "cache-libvirt"), cache_dir())
        write_file(os.path.join(folder, "lan.xml"), _NETWORK)
        script = "net-define /etc/libvirt/lan.xml; net-autostart lan; net-start lan"
        if pool:
            write_file(os.path.join(folder, "shared.xml"), _POOL)
            script += ("; pool-define /etc/libvirt/shared.xml; pool-autostart shared;"
                       " pool-start shared")
        self.virsh(script)
