# SPDX-License-Identifier: Apache-2.0
"""The lab for tests: a class around lab/lab, one method per verb.

Nothing here sleeps a fixed time: wait_until() waits for conditions.
"""
import itertools
import json
import os
import re
import shlex
import subprocess
import time

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
LAB = os.path.join(CHECKOUT, "lab", "lab")
BUILD = os.environ.get("GODWIT_BUILD") or os.path.join(CHECKOUT, "build")


_numbers = itertools.count(1)


def new_name():
    """A name for a lab, unique here; GODWIT_LAB_PREFIX lets the caller find leftovers."""
    return f"{os.environ.get('GODWIT_LAB_PREFIX') or f't{os.getpid()}'}-{next(_numbers)}"


def wait_until(condition, what, timeout=20, every=0.05):
    """Waits until condition() is true and gives its value; fails with what was waited for."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(every)


class Background:
    """A command that runs beside the test; result() waits for its JSON."""

    def __init__(self, argv):
        self.argv = argv
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def result(self, timeout=120):
        """What it printed, as JSON."""
        out, err = self.process.communicate(timeout=timeout)
        assert out, f"{self.argv} said nothing: {err}"
        return json.loads(out)


class Lab:
    """One lab. `bare` is known after up()."""

    def __init__(self, name):
        self.name = name
        self.folder = f"/tmp/godwit-lab-{name}"
        self.bare = True
        self._env = None

    # Running

    def command(self, *words):
        """The command line of a verb."""
        return [LAB, "--name", self.name, *[str(w) for w in words]]

    def run(self, *words, check=True, timeout=180, **how):
        """Runs a verb; gives the CompletedProcess."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, check=False, **how)
        if check:
            assert done.returncode == 0, f"{shlex.join(self.command(*words))}: {done.stderr}"
        return done

    def json(self, *words, **how):
        """Runs a verb; gives the JSON it prints."""
        return json.loads(self.run(*words, **how).stdout)

    @staticmethod
    def _options(options):
        words = []
        for key, value in options.items():
            option = "--" + key.replace("_", "-")
            if value is True:
                words.append(option)
            elif value is not False and value is not None:
                words += [option, value]
        return words

    # Verbs

    def up(self, **options):
        """up(hosts=2, link='1gbit', storage='iscsi', one_link=True, confined=True, bare=True)"""
        self.run("up", *self._options(options), timeout=300)
        self.bare = bool(options.get("bare"))
        return self

    def down(self):
        """Ends the lab."""
        return self.run("down")

    def status(self):
        """Everything about the lab."""
        return self.json("status")

    def vm(self, name, **options):
        """vm('web', on='h1', memory=512, dirty=20, xml=FILE, …); gives its description."""
        return self.json("vm", name, *self._options(options), timeout=500)

    def destroy(self, name):
        """Ends a VM and removes its disks."""
        return self.json("destroy", name)

    def on(self, place, *command, check=True, timeout=60):
        """Runs a command in a place; gives its output, or the CompletedProcess if not check."""
        done = self.run("on", place, *command, check=check, timeout=timeout)
        return done.stdout if check else done

    def virsh(self, host, *words, check=True):
        """virsh on a host; as on()."""
        return self.on(host, "virsh", "-q", "-c", "qemu:///system", *words, check=check)

    def cut(self, host, seconds, everything=False):
        """Cuts the migration uplink of a host, or all of them; returns at once."""
        return self.json("cut", host, "--seconds", seconds, *["--all"] * everything)

    def shape(self, rate, delay_ms=None):
        """Limits the migration uplinks, and makes the round trip between hosts longer."""
        return self.json("shape", rate, *(["--delay", delay_ms] if delay_ms else []))

    def witness(self, name, disk=False, since_start=False):
        """What the observer heard, whether good or bad (see "ok")."""
        words = ["--disk"] * disk + ["--since-start"] * since_start
        done = self.run("witness", name, *words, check=False)
        assert done.stdout, done.stderr
        result = json.loads(done.stdout)
        assert (done.returncode == 0) == result["ok"]
        return result

    def reset(self, name):
        """Lets witness() count from now on."""
        self.run("witness", name, "--reset")

    def probe(self, name, seconds):
        """Pings for so long; gives the report."""
        return self.json("probe", name, "--seconds", seconds)

    def probe_start(self, name, seconds):
        """As probe(), beside the test: call result() on what it gives."""
        return Background(self.command("probe", name, "--seconds", seconds))

    def move(self, name, to):
        """Moves a VM by virsh alone."""
        return self.json("move", name, "--to", to)

    def godwitd(self, action, place):
        """stop, start or kill godwitd on a host, or the manager."""
        return self.json("godwit", action, place)

    def libvirtd(self, action, host):
        """stop, start or kill libvirtd on a host."""
        return self.json("libvirtd", action, host)

    # Godwit

    def env(self):
        """Environment in which `godwit` reaches the lab's manager."""
        if self._env is None:
            text = self.run("env").stdout
            values = dict(re.findall(r"^export (GODWIT_\w+)=(\S+)$", text, re.M))
            self._env = {**os.environ, **values, "PATH": f"{BUILD}:{os.environ['PATH']}"}
        return self._env

    def godwit(self, *words, check=True, timeout=180, env=None):
        """Runs build/godwit on the machine; gives the CompletedProcess."""
        done = subprocess.run([os.path.join(BUILD, "godwit"), *[str(w) for w in words]],
                              env={**self.env(), **(env or {})}, capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL, check=False)
        if check:
            assert done.returncode == 0, f"godwit {shlex.join(map(str, words))}: {done.stderr}"
        return done

    def godwit_json(self, *words, **how):
        """As godwit(), with --output json; gives the JSON."""
        return json.loads(self.godwit(*words, "--output", "json", **how).stdout)

    # Questions

    def running_on(self, name):
        """The hosts whose libvirt says that the domain runs."""
        return [host for host in self.status()["hosts"]
                if self.virsh(host, "domstate", name, check=False).stdout.strip() == "running"]

    def assert_intact(self, name, place=None):
        """The invariant: it ran once, did not crash, lost no data, runs on exactly one host."""
        result = self.witness(name, disk=True)
        assert result["ok"], result
        running = self.running_on(name)
        assert len(running) == 1, f"{name} runs on {running}"
        assert place is None or running == [place], f"{name} runs on {running}, not on {place}"
        return result
