# SPDX-License-Identifier: Apache-2.0
"""What libvirt has is what Godwit shows, at once; and without Godwit libvirt is as it ever was."""
import pytest

from labkit import wait_until
from movekit import put_right, wait_connected

XML = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type></os><devices><interface type='network'><source network='lan'/>
<mac address='52:54:00:01:02:03'/><model type='virtio'/></interface></devices></domain>"""


def shown(lab, name):
    """The VM as `godwit vm list` shows it, or None."""
    return next((vm for vm in lab.godwit_json("vm", "list")["vms"] if vm["name"] == name), None)


@pytest.fixture
def define(lab):
    """define(host, name): virsh define, without start; undone after the test."""
    made = []

    def run(host, name):
        path = f"{lab.folder}/{name}.xml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(XML.format(name=name))
        lab.virsh(host, "define", path)
        made.append((host, name))

    yield run
    for host, name in made:
        lab.virsh(host, "destroy", name, check=False)
        lab.virsh(host, "undefine", name, check=False)


def test_what_virsh_does_is_seen_at_once(lab, define):
    define("h2", "plain")
    vm = wait_until(lambda: shown(lab, "plain"), "the VM is listed", 3)
    assert (vm["state"], vm["host_name"], vm["persistent"]) == ("shutoff", "h2", True)
    assert vm["uuid"] == lab.virsh("h2", "domuuid", "plain").strip()
    assert vm["nics"][0]["mac"] == "52:54:00:01:02:03"
    assert "plain" in lab.godwit("vm", "list", "--host", "h2").stdout
    assert "plain" not in lab.godwit("vm", "list", "--host", "h1").stdout
    lab.virsh("h2", "start", "plain", "--paused")
    wait_until(lambda: shown(lab, "plain")["state"] == "paused", "it is shown as paused", 3)
    lab.virsh("h2", "resume", "plain")
    wait_until(lambda: shown(lab, "plain")["state"] == "running", "it is shown as running", 3)
    lab.virsh("h2", "destroy", "plain")
    wait_until(lambda: shown(lab, "plain")["state"] == "shutoff", "it is shown as shut off", 3)
    lab.virsh("h2", "undefine", "plain")
    wait_until(lambda: shown(lab, "plain") is None, "it is gone", 3)


def test_networks_and_datastores_are_seen_at_once(lab):
    uuids = {host["uuid"]: name for name, host in lab.status()["hosts"].items()}

    def states(what):
        rows = lab.godwit_json(what, "list")[what + "s"]
        return {uuids[row["host"]]: row["active"] for row in rows}

    assert states("network") == states("datastore") == {"h1": True, "h2": True}
    lab.virsh("h2", "pool-destroy", "shared")
    wait_until(lambda: states("datastore")["h2"] is False, "the pool is shown as stopped", 3)
    lab.virsh("h2", "pool-start", "shared")
    wait_until(lambda: states("datastore")["h2"], "the pool is shown as active", 3)
    lab.virsh("h2", "net-destroy", "lan")
    wait_until(lambda: states("network")["h2"] is False, "the network is shown as stopped", 3)
    lab.virsh("h2", "net-start", "lan")
    wait_until(lambda: states("network")["h2"], "the network is shown as active", 3)


def test_without_godwitd_virsh_works_as_ever(lab, define):
    lab.godwitd("stop", "h2")
    try:
        wait_connected(lab, ["h1"])
        define("h2", "alone")
        lab.virsh("h2", "start", "alone")
        assert lab.virsh("h2", "domstate", "alone").strip() == "running"
        lab.virsh("h2", "destroy", "alone")
        assert shown(lab, "alone") is None
    finally:
        put_right(lab)
    wait_until(lambda: shown(lab, "alone"), "what happened meanwhile is known", 5)


def test_hosts_tell_their_facts(lab):
    host = lab.godwit_json("host", "show", "h1")
    status = lab.status()["hosts"]["h1"]
    assert (host["uuid"], host["state"]) == (status["uuid"], "connected")
    assert host["uuid"] in lab.on("h1", "virsh", "capabilities")
    assert host["migration_addresses"] == [status["address"]] and host["migration_port"] == 16571
    kernel = lab.on("h1", "uname", "-r").strip()
    versions, cpu = host["versions"], host["cpu"]
    assert versions["kernel"] == kernel and versions["qemu"] and versions["libvirt"]
    assert lab.godwit("version", "--client").stdout.strip() == f"godwit {versions['godwit']}"
    assert cpu["model"] and cpu["features"] and cpu["cpus"] >= 1
    assert cpu["sockets"] * cpu["cores"] * cpu["threads"] >= cpu["cpus"]
    assert 0 < host["memory_free_bytes"] < host["memory_total_bytes"]
    assert {"br0", "uplink", "mig0"} <= {nic["name"] for nic in host["nics"]}
    assert all(nic["speed_mbps"] > 0 for nic in host["nics"] if nic["name"] == "mig0")
    assert "q35" in host["machine_types"]
    page = lab.godwit("host", "show", "h1").stdout
    assert kernel in page and status["address"] in page


def test_vms_tell_their_shape(lab, guest):
    vm = lab.godwit_json("vm", "show", guest.name)
    made = lab.status()["vms"][guest.name]
    assert (vm["uuid"], vm["state"], vm["host_name"]) == (made["uuid"], "running", guest.here)
    assert vm["memory_bytes"] == 256 << 20 and vm["vcpus"] == 1 and vm["machine"]
    disk, nic = vm["disks"][0], vm["nics"][0]
    assert disk["source"] == f"/srv/godwit/shared/{guest.name}.img" and disk["cache"] == "none"
    assert (nic["mac"], nic["network"], nic["bridge"]) == (made["mac"], "lan", "br0")
    page = lab.godwit("vm", "show", guest.name).stdout
    assert disk["source"] in page and made["mac"] in page
    assert made["uuid"] in lab.godwit("vm", "show", guest.name, "--xml").stdout
