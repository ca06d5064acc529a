# SPDX-License-Identifier: Apache-2.0
"""Moves for tests: a VM under test, what must hold for it, and what must not be left over."""
import contextlib
import json
import signal
import subprocess
import threading

from labkit import wait_until

FAST, SLOW, CRAWL = "none", "40mbit", "15mbit"
STAGES = ["admit", "reserve", "open", "copy", "switch", "announce", "verify", "retire"]
ENDED = ["succeeded", "failed", "cancelled", "unsettled"]
HOSTS = ["h1", "h2"]


def task(lab, task_id):
    """A task as the manager tells it."""
    return lab.godwit_json("task", "show", task_id)


def wait_task(lab, task_id, state=None, timeout=90):
    """Waits until a task has ended (as `state`, if given) and gives its migration's report."""
    ended = wait_until(lambda: (t := task(lab, task_id))["state"] in ENDED and t,
                       f"task {task_id} ends", timeout, every=0.3)
    assert state in (None, ended["state"]), ended
    return ended["migration"]


def left_over(lab):
    """What migrations have left on hosts h1 and h2: paths and processes."""
    look = ("ls -d /run/godwit/migration/* /var/lib/godwit/migrations/*.journal"
            " /srv/godwit/shared/.godwit-* 2>/dev/null; pgrep -a -x godwit-flyway; true")
    return [line for host in HOSTS for line in lab.on(host, "sh", "-c", look).splitlines()]


def assert_nothing_left(lab, timeout=40):
    """All workers have ended, their folders, journals and proofs are gone (or soon are)."""
    last = []

    def clean():
        last[:] = left_over(lab)
        return not last

    try:
        wait_until(clean, "nothing is left", timeout, every=0.3)
    except AssertionError:
        raise AssertionError(f"left over: {last}") from None


def definitions(lab, host):
    """Names of all domains that libvirt has on a host, running or not."""
    return lab.virsh(host, "list", "--all", "--name").split()


def forget(lab):
    """Nothing is left to be recalled: the next moves carry all pages."""
    lab.godwit("recall", "clear")


def crawl(lab):
    """Links so slow that a copy lasts until a test calls what this gives."""
    forget(lab)
    lab.shape(CRAWL)
    return lambda: lab.shape(FAST)


def put_right(lab):
    """Undoes what a test may have done: daemons run, links are up, hosts are connected."""
    status = wait_until(lambda: not (s := lab.status())["cuts"] and s, "no link is cut", 90,
                        every=0.3)
    if status["link_bps"] or status["delay_ms"]:
        lab.shape(FAST)
    for place, known in {**status["hosts"], "manager": status["manager"]}.items():
        for name, pid in known["daemons"].items():
            if pid is None and name in ("libvirtd", "godwitd", "godwit-manager"):
                (lab.libvirtd if name == "libvirtd" else lab.godwitd)("start", place)
    wait_connected(lab)


def domains(lab, name):
    """Where libvirt knows a VM of the lab, and in which state: {"h1": "running"}."""
    return lab.status()["vms"][name]["domains"]


def wait_connected(lab, hosts=tuple(HOSTS), timeout=60):
    """Waits until the manager hears these hosts and no others."""
    def ready():
        done = lab.godwit("host", "list", "--output", "json", check=False)
        return done.returncode == 0 and set(hosts) == {
            h["name"] for h in json.loads(done.stdout)["hosts"] if h["state"] == "connected"}

    wait_until(ready, f"the manager hears {', '.join(hosts)} alone", timeout, every=0.2)


def connections(lab, host):
    """The connections of the moves away from a host, by their local ports."""
    lines = lab.on(host, "ss", "-Htn", "state", "established", "( dport = :16571 )").splitlines()
    return sorted(int(line.split()[2].rpartition(":")[2]) for line in lines)


def reset(lab, host, port=None):
    """Ends the data connections of a host, or the one with that local port, as by a reset: both
    ends learn of it at once."""
    which = f"( sport = :{port} )" if port else "( sport = :16571 or dport = :16571 )"
    ended = lab.on(host, "ss", "-HtnK", "state", "established", which).splitlines()
    assert ended, f"{host} had no data connection"


@contextlib.contextmanager
def configured(lab, host, group, key, value):
    """godwitd of a host runs with that setting meanwhile."""
    file = "/etc/godwit/godwitd.conf"

    def restart():
        lab.godwitd("stop", host)
        lab.godwitd("start", host)

    lab.on(host, "sed", "-i.before", f"/^\\[{group}\\]/a {key}={value}", file)
    restart()
    try:
        yield
    finally:
        lab.on(host, "mv", f"{file}.before", file)
        restart()


class Guest:
    """A VM under test. here and there are the hosts it was on and not on when this was made."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.look()

    def look(self):
        """Finds out anew where it runs."""
        known = domains(self.lab, self.name)
        assert list(known.values()) == ["running"], known
        self.here = next(iter(known))
        self.there = "h1" if self.here == "h2" else "h2"

    def migrate(self, *options, to=None, **how):
        """godwit migrate; gives the CompletedProcess."""
        return self.lab.godwit("migrate", self.name, "--to", to or self.there, *options, **how)

    def move(self, to=None):
        """Moves it, checks that all is well, gives the report."""
        to = to or self.there
        report = json.loads(self.migrate("--output", "json", to=to).stdout)
        assert report["result"] == "completed" and report["to"] == to, report
        self.assert_at(to)
        return report

    def start(self, stage="copy", **how):
        """Begins a move and waits until it is in that stage; gives the task's id."""
        started = json.loads(self.migrate("--detach", "--output", "json", **how).stdout)
        self.wait_stage(started["id"], stage)
        return started["id"]

    def wait_stage(self, task_id, stage):
        """Waits until the move is in a stage; in `copy`, until memory flows."""
        def there():
            told = task(self.lab, task_id)
            assert told["state"] not in ENDED, told
            migration = told["migration"]
            flows = migration.get("progress", {}).get("done_bytes", 0) > 1 << 20
            return migration.get("stage") == stage and (stage != "copy" or flows)

        wait_until(there, f"{self.name} is in stage {stage}", 60, every=0.1)

    def assert_at(self, place):
        """The invariant: one copy runs, at that place, lives, lost nothing; no more is left."""
        heard = self.lab.witness(self.name)["places"].get(place, 0)
        wait_until(lambda: self.lab.witness(self.name)["places"].get(place, 0) > heard + 10,
                   f"{self.name} is heard from {place}", 30, every=0.1)
        assert_nothing_left(self.lab)
        result = self.lab.witness(self.name, disk=True)
        assert result["ok"] and result["boots"] == 1, result
        known = domains(self.lab, self.name)
        assert known == {place: "running"}, known
        return result

    def assert_stays(self):
        """The invariant where it did not move."""
        return self.assert_at(self.here)

    def assert_refused(self, status, code, *says, name=None, to=None):
        """A move isn't begun or fails, with that exit status and code, and a message that says
        all of `says`; the VM stays. Gives the error."""
        done = self.lab.godwit("migrate", name or self.name, "--to", to or self.there, "--output",
                               "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (status, code), done
        for word in says:
            assert word in error["message"], f"no '{word}' in: {error['message']}"
            assert word in done.stderr
        self.assert_stays()
        return error


class Follower:
    """`godwit …` beside the test, whose errors can be waited for and who can be interrupted."""

    def __init__(self, lab, *words):
        self.lines, self.printed = [], []
        self.process = subprocess.Popen(
            ["godwit", *words], env=lab.env(), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_line(self, text):
        """Reads standard error until a line has that text."""
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no '{text}' in {self.lines}")

    def collect(self):
        """From now on what it prints is in `printed`, line by line."""
        def read():
            for line in self.process.stdout:
                self.printed.append(line)

        threading.Thread(target=read, daemon=True).start()

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, timeout=90):
        """Waits for its end; gives (status, stdout, all of stderr)."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, "".join(self.lines) + err

    def kill(self):
        """Ends it if it hasn't."""
        self.process.kill()
        self.process.wait()
