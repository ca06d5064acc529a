# SPDX-License-Identifier: Apache-2.0
"""Moves where the storage, QEMU's rights or libvirt's daemons are others than in the standard lab."""
import pytest

from movekit import Guest, wait_connected


def there_and_back(lab, **options):
    """Two moves of a new VM; its witness is asked of its disk after each."""
    lab.vm("web", memory=256, dirty=5, **options)
    guest = Guest(lab, "web")
    guest.move(guest.there)
    guest.move(guest.here)
    return guest


def test_iscsi(make_lab):
    lab = make_lab(storage="iscsi")
    guest = there_and_back(lab)
    [disk] = lab.godwit_json("vm", "show", guest.name)["disks"]
    assert (disk["type"], disk["protocol"]) == ("network", "iscsi")
    lab.down()


def test_confined_and_over_one_link(make_lab):
    lab = make_lab(confined=True, one_link=True, link="1gbit")
    guest = there_and_back(lab)
    owner = lab.on(guest.here, "sh", "-c", "ps -o user= -p $(cat /run/libvirt/qemu/web.pid)").strip()
    assert owner == "libvirt-qemu"
    assert lab.godwit_json("host", "show", "h1")["qemu_owner"].split(":")[0].isdigit()
    lab.down()


@pytest.mark.parametrize("modular", ["h1", "h2"])
def test_modular_daemon(lab, guest, modular):
    """One host is found by virtqemud's socket: Debian 12 has no virtqemud, so its libvirtd answers there."""
    lab.on(modular, "ln", "-s", "libvirt-sock", "/run/libvirt/virtqemud-sock")
    try:
        lab.godwitd("stop", modular)
        lab.godwitd("start", modular)
        wait_connected(lab)
        there, here = guest.there, guest.here
        guest.move(there)
        guest.move(here)
    finally:
        lab.on(modular, "rm", "/run/libvirt/virtqemud-sock")
        lab.godwitd("stop", modular)
        lab.godwitd("start", modular)
