# SPDX-License-Identifier: Apache-2.0
"""The lanes for disks of a migration that godwitd runs: no verb copies disks yet, so qemu-img and
qemu-nbd stand where the two QEMUs will, at the sockets that both will be told of."""
import filecmp
import os

import pytest

from movekit import connections, crawl, reset, wait_task
from labkit import wait_until

DISK_BYTES = 1 << 20


@pytest.fixture
def slow(lab):
    """Links so slow that the copy lasts until a test lets it go on."""
    return crawl(lab)


@pytest.fixture
def files(lab):
    """A disk that is full, and one to be filled."""
    here, there = f"{lab.folder}/disk.here", f"{lab.folder}/disk.there"
    with open(here, "wb") as file:
        file.write(os.urandom(DISK_BYTES))
    with open(there, "wb") as file:
        file.truncate(DISK_BYTES)
    yield here, there
    os.unlink(here)
    os.unlink(there)


def socket_of(lab, guest):
    """Where both QEMUs will find NBD in the migration that runs."""
    running = lab.on(guest.here, "ls", "/run/godwit/migration").split()
    assert len(running) == 1
    return f"/run/godwit/migration/{running[0]}/qemu/disks.sock"


def test_a_disk_beside_the_stream(lab, guest, slow, files):
    here, there = files
    moving = guest.start()
    socket = socket_of(lab, guest)
    uri = f"nbd+unix:///vda?socket={socket}"
    # Nobody listens at the destination: refused, and nothing else comes of it.
    refused = lab.on(guest.here, "qemu-img", "info", uri, check=False)
    assert refused.returncode != 0 and "Failed" in refused.stderr, refused
    lab.on(guest.there, "qemu-nbd", "--fork", "--persistent", "-f", "raw", "-x", "vda", "-k",
           socket, "--pid-file", f"{lab.folder}/nbd.pid", there)
    try:
        # As slow as the link is, memory takes most of it and not all.
        lab.on(guest.here, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", here, uri)
        assert filecmp.cmp(here, there, shallow=False)
        reset(lab, guest.here)
        wait_until(lambda: connections(lab, guest.here), "there is a connection again")
        lab.on(guest.here, "qemu-img", "compare", "-f", "raw", "-F", "raw", here, uri)
    finally:
        lab.on(guest.there, "sh", "-c", f"kill $(cat {lab.folder}/nbd.pid)")
    slow()
    report = wait_task(lab, moving, "succeeded")
    assert report["result"] == "completed" and report["resumes"] >= 1, report
    guest.assert_at(guest.there)
