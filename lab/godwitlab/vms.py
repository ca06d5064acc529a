# SPDX-License-Identifier: Apache-2.0
"""VMs of the lab: disks, domain XML, start, and the wait for the witness."""
import os
import re
import threading
import time
import uuid
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from .base import LabError, Usage, run, write_file
from .host import SHARED
from .network import OBSERVER_ADDRESS, OBSERVER_MAC, SAN_ADDRESS, VM, ip
from .records import DISK_MB, PORT
from .san import PORT as SAN_PORT
from .witness import last_heard_ns

BOOT = "/srv/godwit/boot"       # kernels and initramfs, the same in all hosts
FIRST_ADDRESS = 100
HEARD_WITHIN_S = {"tiny": 90, "services": 420}
DIRTY_RESERVE_MB = 96           # what the guest's kernel and initramfs need
DIRTY_SET_LEAST_MB = 8

_DOMAIN = """\
<domain type='{type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{disks}
    <controller type='usb' model='none'/>
    <interface type='network'>
      <source network='lan'/>
      <mac address='{mac}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='pty'/>
    <console type='pty'/>
    <memballoon model='none'/>
  </devices>{emulated}
</domain>
"""

# QEMU before 9.0 loses writes of an emulated guest while it is migrated: its fast way to read the
# dirty bitmap, taken for memory whose size is a multiple of 256 KiB, forgets to make the CPU's TLB
# note further writes (mended upstream by "physmem: Fix migration dirty bitmap coherency with TCG
# memory access"). Guests crash then, whoever migrates them. libvirt rounds memory to whole MiB, so
# another memory, 8 KiB larger, is put in its place by hand. The price: the slow way stalls the
# guest for 0.2 s and more when a migration begins.
MENDED_IN = [9, 0]
_EMULATED = """
  <qemu:commandline>
    <qemu:arg value='-object'/>
    <qemu:arg value='memory-backend-ram,id=lab.ram,size={kib}k'/>
    <qemu:arg value='-machine'/>
    <qemu:arg value='memory-backend=lab.ram'/>
    <qemu:arg value='-m'/>
    <qemu:arg value='size={kib}k'/>
  </qemu:commandline>"""

_DISK_FILE = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file={source}/>
      <target dev='{target}' bus='virtio'/>
    </disk>"""

_DISK_ISCSI = f"""\
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source protocol='iscsi' name={{source}}>
        <host name='{SAN_ADDRESS}' port='{SAN_PORT}'/>
      </source>
      <target dev='{{target}}' bus='virtio'/>
    </disk>"""

_COMMON = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check"
COMMAND_LINE = {
    "tiny": f"{_COMMON} rcupdate.rcu_expedited=1",
    "services": f"{_COMMON} root=/dev/vda rw net.ifnames=0",
}


def working_set_mb(dirty, memory, wanted, still):
    """MB that --dirty goes round in: two seconds' worth if not said, and never more than fits
    beside --still."""
    spare, least = memory - DIRTY_RESERVE_MB, DIRTY_SET_LEAST_MB if dirty else 0
    most = spare - still
    if most < least:
        raise Usage(f"--still {still} does not fit: a guest with {memory} MB can spare"
                    f" {spare - least}")
    if not dirty:
        return 0
    if wanted is not None and wanted > most:
        raise Usage(f"--dirty-set {wanted} does not fit: a guest with {memory} MB can spare {most}")
    return wanted if wanted is not None else max(DIRTY_SET_LEAST_MB, min(2 * dirty, most))


class Vms:
    """Owned by the server; methods may be called from any of its threads."""

    def __init__(self, server):
        self.server, self.lab = server, server.lab
        self.known = {}
        self._lock = threading.Lock()

    def create(self, args, say):
        """Makes a VM as `lab vm` asks for; gives its description."""
        name = args["name"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", name):
            raise Usage(f"'{name}' is no name for a VM: up to 31 letters, digits, '-' and '_'")
        host = self.server.host(args["on"])
        with self._lock:
            if name in self.known:
                raise LabError(f"there is a VM '{name}' already; destroy it with"
                               f" 'lab/lab destroy {name}'")
            vm = self.known[name] = {"name": name, "index": self._free_index()}
        try:
            if args.get("xml"):
                self._from_xml(vm, args)
            else:
                self._from_image(vm, args)
            self._start(vm, host, args, say)
        except Exception:
            self._forget(vm)
            raise
        return vm

    def _free_index(self):
        used = {vm.get("index") for vm in self.known.values()}
        return next(i for i in range(150) if i not in used)

    def _from_xml(self, vm, args):
        try:
            domain = ElementTree.fromstring(args["xml"])
        except ElementTree.ParseError as error:
            raise Usage(f"the domain XML can't be read: {error}") from None
        if domain.tag != "domain":
            raise Usage(f"the XML is of a <{domain.tag}>, not of a <domain>")
        for element in domain.findall("name"):
            domain.remove(element)
        ElementTree.SubElement(domain, "name").text = vm["name"]
        vm.update(image=None, xml=ElementTree.tostring(domain, encoding="unicode"), disks=[])

    def _from_image(self, vm, args):
        image, memory, dirty = args["image"], args["memory"], args["dirty"]
        index = vm["index"]
        vm.update(
            uuid=str(uuid.uuid4()), image=image, memory_mb=memory, vcpus=args["vcpus"],
            address=f"{VM}.{FIRST_ADDRESS + index}", mac=f"52:54:00:47:57:{index:02x}",
            dirty_mb=dirty, still_mb=args["still"],
            dirty_set_mb=working_set_mb(dirty, memory, args["dirty_set"], args["still"]))
        disks, vm["disks"] = [], []
        if image == "services":
            disks.append(self._disk(vm, "vda", "root", lambda path: self._copy(args["root"], path)))
        disks.append(self._disk(vm, "vdb" if disks else "vda", "witness", self._blank))
        vm["witness_disk"] = vm["disks"][-1]["file"]
        words = {"name": vm["name"], "ip": vm["address"], "observer": OBSERVER_ADDRESS,
                 "mac": OBSERVER_MAC, "port": PORT, "dirty": dirty, "set": vm["dirty_set_mb"],
                 "still": vm["still_mb"]}
        mend = not self.server.kvm and self.server.options["qemu"] < MENDED_IN
        emulated = _EMULATED.format(kib=memory * 1024 + 8) if mend else ""
        vm["xml"] = _DOMAIN.format(
            emulated=emulated,
            type="kvm" if self.server.kvm else "qemu", kernel=f"{BOOT}/{image}/vmlinuz",
            initrd=f"{BOOT}/{image}/initrd", disks="\n".join(disks), name=vm["name"],
            uuid=vm["uuid"], memory=memory, vcpus=vm["vcpus"], mac=vm["mac"],
            cmdline=" ".join([COMMAND_LINE[image]] + [f"gw.{k}={v}" for k, v in words.items()]))

    def _disk(self, vm, target, purpose, fill):
        """Makes one disk on the datastore; gives its XML."""
        iscsi = self.server.san is not None
        file = f"{vm['name']}.img" if purpose == "witness" else f"{vm['name']}-{purpose}.img"
        path = self.lab.path("san" if iscsi else "shared", file)
        vm["disks"].append({"target": target, "file": path, "export": file[:-4] if iscsi else None})
        fill(path)
        if iscsi:
            source = self.server.san.add(file[:-4], path)
            return _DISK_ISCSI.format(source=quoteattr(source), target=target)
        return _DISK_FILE.format(source=quoteattr(f"{SHARED}/{file}"), target=target)

    @staticmethod
    def _blank(path):
        with open(path, "xb") as file:
            os.posix_fallocate(file.fileno(), 0, DISK_MB << 20)

    @staticmethod
    def _copy(source, path):
        run(["cp", "--sparse=always", source, path])

    def _start(self, vm, host, args, say):
        path = self.lab.path("vms", vm["name"] + ".xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(vm.pop("xml"))
        host.virsh("define", path)
        if vm.get("address"):
            ip("neigh", "replace", vm["address"], "lladdr", vm["mac"], "nud", "permanent",
               "dev", "vm")
        vm["started_on"] = None
        if args["no_start"]:
            return
        before = time.time_ns()
        write_file(self.lab.path("witness", vm["name"] + ".start"), str(before))
        try:
            host.virsh("start", vm["name"])
            vm["started_on"] = host.name
            if vm["image"]:
                self._wait_heard(vm, host, before, say)
        except LabError:
            host.virsh("destroy", vm["name"], check=False)
            host.virsh("undefine", vm["name"], check=False)
            raise

    def _wait_heard(self, vm, host, before, say):
        limit = HEARD_WITHIN_S[vm["image"]]
        say(f"{vm['name']} boots on {host.name}")
        end = time.monotonic() + limit
        while last_heard_ns(self.lab, vm["name"]) < before:
            if time.monotonic() > end:
                state = host.virsh("domstate", vm["name"], check=False).strip()
                raise LabError(
                    f"the witness of {vm['name']} was not heard within {limit} s; the domain was"
                    f" '{state}'; its log is {host.name}'s /var/log/libvirt/qemu/{vm['name']}.log;"
                    " try again with --no-start, start it by 'lab/lab on"
                    f" {host.name} virsh start {vm['name']} --console' and look")
            time.sleep(0.02)
        vm["heard_after_s"] = round((time.time_ns() - before) / 1e9, 2)

    def where(self, name):
        """The hosts on which a domain is known: {host: state}."""
        found = {}
        for host in self.server.hosts.values():
            try:
                state = host.virsh("domstate", name, check=False, timeout=20).strip()
            except LabError:
                state = "unknown (libvirtd does not answer)"
            if state:
                found[host.name] = state
        return found

    def get(self, name):
        """Description of one VM."""
        if name not in self.known:
            raise LabError(f"no VM '{name}' was made by this lab; there are:"
                           f" {', '.join(self.known) or 'none'}")
        return self.known[name]

    def destroy(self, name):
        """Ends a VM wherever it is and removes its disks."""
        vm = self.get(name)
        for host in self.server.hosts.values():
            host.virsh("destroy", name, check=False)
            host.virsh("undefine", name, check=False)
        self._forget(vm)
        return {"destroyed": name}

    def _forget(self, vm):
        with self._lock:
            self.known.pop(vm["name"], None)
        for disk in vm.get("disks", []):
            if disk["export"] and self.server.san:
                self.server.san.remove(disk["export"])
            if os.path.exists(disk["file"]):
                os.unlink(disk["file"])
