# SPDX-License-Identifier: Apache-2.0
"""Godwit in the lab: the manager, a godwitd on each host, and how they get to know each other.

The programs are seen in the lab at /srv/godwit/bin, wherever they were built, so that an
unprivileged worker can be started from a checkout nobody else may enter.
"""
import json
import os
import re
import shutil
import time

from .base import LabError, build_dir, clean_env, enter, run, write_file
from .network import MANAGER_ADDRESS, MIG, host_address
from .places import Place

BIN = "/srv/godwit/bin"
PORT = 8443
CONTROL_PORT = 16570
URL = f"https://{MANAGER_ADDRESS}:{PORT}"
PROGRAMS = ["godwit", "godwitd", "godwit-manager", "godwit-flyway"]
MANAGER_CONFIG = "/etc/godwit/manager.conf"
HOST_CONFIG = "/etc/godwit/godwitd.conf"
UP_WITHIN_S = 60

_MANAGER = f"""\
[manager]
data_dir=/var/lib/godwit-manager

[http]
address={MANAGER_ADDRESS}
port={PORT}
"""

_HOST = f"""\
[control]
address={{address}}
port={CONTROL_PORT}

[migration]
addresses={{address}}
port=16571

[flyway]
user=nobody
program={BIN}/godwit-flyway
"""


def check_programs():
    """An early and clear error where Godwit is not built."""
    missing = [p for p in PROGRAMS if not os.access(os.path.join(build_dir(), p), os.X_OK)]
    if missing:
        raise LabError(f"{build_dir()} has no {', '.join(missing)}: build first with 'make' (or set"
                       " GODWIT_BUILD), or start hosts without Godwit by 'lab/lab up --bare'")


class Manager(Place):
    """The place `manager`, with godwit-manager in it unless the lab is bare."""

    def __init__(self, lab):
        super().__init__(lab, "manager")
        self.token = None
        self.daemon("godwit-manager", [f"{BIN}/godwit-manager", "--config", MANAGER_CONFIG])

    @property
    def ca_file(self):
        """A copy of the CA's certificate, readable from the machine."""
        return self.lab.path("ca.pem")

    def start(self):
        """Starts the manager; on the first start takes its admin token and CA."""
        daemon = self.find("godwit-manager")
        daemon.start()
        daemon.wait(self._healthy, "answering", UP_WITHIN_S)

    def first_start(self):
        """As start(), and takes the admin token and the CA."""
        write_file(self.lab.host_dir("manager", "etc-godwit", "manager.conf"), _MANAGER)
        self.start()
        daemon = self.find("godwit-manager")
        daemon.wait(self._find_token, "showing its admin token", UP_WITHIN_S)
        write_file(self.lab.path("token"), self.token, 0o600)

    def _find_token(self):
        with open(self.find("godwit-manager").log, encoding="utf-8", errors="replace") as log:
            found = re.search(r"admin token: (gwa_\S+)", log.read())
        self.token = found[1] if found else None
        return found

    def _healthy(self):
        """Listening with a CA in place: the certificate is made before the port is opened."""
        source = self.lab.host_dir("manager", "lib-godwit-manager", "ca.pem")
        if not os.path.exists(source) or not self.listens(PORT):
            return False
        shutil.copy(source, self.ca_file)
        os.chmod(self.ca_file, 0o644)
        return True

    def godwit(self, *words):
        """Runs the command line as the admin, in the manager's place; gives its JSON."""
        env = clean_env({"GODWIT_URL": URL, "GODWIT_TOKEN": self.token, "GODWIT_CA": self.ca_file})
        command = enter(self.pid, f"{BIN}/godwit", *words, "--output", "json")
        text = run(command, env=env)
        try:
            return json.loads(text)
        except ValueError:
            raise LabError(f"'godwit {' '.join(words)}' answered no JSON: {text[:300]!r}") from None


def add_daemon(host):
    """Gives a host its godwitd, not started yet."""
    address = host_address(MIG, host.number)
    write_file(host.lab.host_dir(host.name, "etc-godwit", "godwitd.conf"),
               _HOST.format(address=address))
    host.daemon("godwitd", [f"{BIN}/godwitd", "--config", HOST_CONFIG])


def start_daemon(host):
    """Starts a host's godwitd and waits until it can be reached."""
    daemon = host.find("godwitd")
    daemon.start()
    daemon.wait(lambda: host.listens(CONTROL_PORT), "listening", UP_WITHIN_S)


def join(manager, host):
    """Lets a host join the manager's cluster and starts its godwitd."""
    token = manager.godwit("host", "add").get("token")
    if not token:
        raise LabError("'godwit host add --output json' gave no \"token\"")
    host.run(f"{BIN}/godwitd", "--config", HOST_CONFIG, "join", URL, "--token", token)
    start_daemon(host)


def connected(manager):
    """Names of the hosts the manager is connected to."""
    answer = manager.godwit("host", "list")
    rows = answer["hosts"] if isinstance(answer, dict) else answer
    return {row["name"] for row in rows if row["state"] == "connected"}


def wait_connected(manager, hosts):
    """Waits until the manager is connected to all the hosts."""
    end = time.monotonic() + UP_WITHIN_S
    while True:
        missing = {host.name for host in hosts} - connected(manager)
        if not missing:
            return
        for host in hosts:
            daemon = host.find("godwitd")
            if not daemon.running():
                raise LabError(f"godwitd on {host.name} ended with status"
                               f" {daemon.process.returncode}: {daemon.tail()}")
        if time.monotonic() > end:
            raise LabError(f"the manager is not connected to {', '.join(sorted(missing))} within"
                           f" {UP_WITHIN_S} s: see 'lab/lab logs'")
        time.sleep(0.1)
