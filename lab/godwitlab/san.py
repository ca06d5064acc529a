# SPDX-License-Identifier: Apache-2.0
"""The storage server: tgtd in a place of its own, a target with one LUN for each disk.

Everything is in user space: tgtd serves files of the state folder, QEMU's libiscsi is the
initiator.
"""
import threading

from .base import LabError
from .network import SAN_ADDRESS
from .places import Place

PORT = 3260
IQN = "iqn.2024-01.lab.godwit"


class San(Place):
    """Owned by the server; methods may be called from any of its threads."""

    def __init__(self, lab):
        super().__init__(lab, "san")
        self._lock = threading.Lock()
        self._targets = {}      # disk's name: target number
        self.daemon("tgtd", ["tgtd", "-f", "--iscsi", f"portal={SAN_ADDRESS}:{PORT}"])

    def start(self):
        """Starts tgtd and waits until it takes commands."""
        daemon = self.find("tgtd")
        daemon.start()
        daemon.wait(self._answers, "answering")

    def _admin(self, *words):
        return self.run("tgtadm", "--lld", "iscsi", *[str(w) for w in words])

    def _answers(self):
        try:
            self._admin("--op", "show", "--mode", "target")
            return True
        except LabError:
            return False

    def add(self, name, path):
        """Exports a file; gives the source's name for libvirt."""
        with self._lock:
            number = max(self._targets.values(), default=0) + 1
            self._admin("--op", "new", "--mode", "target", "--tid", number, "-T", f"{IQN}:{name}")
            self._targets[name] = number
            self._admin("--op", "new", "--mode", "logicalunit", "--tid", number, "--lun", 1,
                        "-b", path)
            self._admin("--op", "bind", "--mode", "target", "--tid", number, "-I", "ALL")
        return f"{IQN}:{name}/1"

    def remove(self, name):
        """Takes an export back; nothing happens if there is none."""
        with self._lock:
            number = self._targets.pop(name, None)
            if number:
                self._admin("--op", "delete", "--mode", "target", "--force", "--tid", number)
