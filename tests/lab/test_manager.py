# SPDX-License-Identifier: Apache-2.0
"""Who may do what, and what the manager and the agents answer to everybody else."""
import json
import subprocess
import time

import pytest

from labkit import wait_until
from movekit import put_right, wait_connected

BIN = "/srv/godwit/bin"
JOIN_URL = "https://10.77.0.2:8443"
AGENT = "https://{}:16570/v1/facts"


def curl(lab, method, path, body=None, token="", headers=()):
    """One request to the manager's API from the machine; gives (status, JSON)."""
    env = lab.env()
    words = ["curl", "-sS", "--noproxy", "*", "--cacert", env["GODWIT_CA"], "-X", method,
             "-w", "\n%{http_code}", env["GODWIT_URL"] + path, "--data-binary", "@-"]
    if token is not None:
        words += ["-H", f"Authorization: Bearer {token or env['GODWIT_TOKEN']}"]
    for header in ["Content-Type: application/json", *headers]:
        words += ["-H", header]
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=True)
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(answer) if answer else None


# Requests

@pytest.mark.parametrize("body, status, code, says", [
    ({"vm": 7, "to": "h2"}, 400, "invalid", "vm"),
    ({"vm": "web"}, 400, "invalid", "to"),
    ({"vm": "web", "to": "h2", "speed": "fast"}, 400, "invalid", "speed"),
    ({"vm": "web", "to": "h2", "policy": "brutal"}, 400, "invalid", "policy"),
    ({"vm": "", "to": "h2"}, 400, "invalid", "vm"),
    ([1, 2], 400, "invalid", "object"),
    ("{\"vm\": ", 400, "invalid", "JSON"),
    ({"vm": "w" * 5_000_000, "to": "h2"}, 413, "too-large", ""),
    ({"vm": "nobody", "to": "h2"}, 404, "not-found", "nobody"),
])
def test_bad_orders(lab, body, status, code, says):
    got, answer = curl(lab, "POST", "/api/v1/migrations", body)
    assert (got, answer["error"]["code"]) == (status, code), answer
    assert says in answer["error"]["message"]
    assert not lab.godwit_json("task", "list", "--state", "running")["tasks"]


@pytest.mark.parametrize("method, path, status, code", [
    ("GET", "/api/v1/tasks/00000000-0000-0000-0000-000000000000", 404, "not-found"),
    ("GET", "/api/v1/vms/nobody", 404, "not-found"), ("GET", "/api/v1/hosts/h9", 404, "not-found"),
    ("GET", "/api/v1/tasks/nonsense!", 400, "invalid"),
    ("GET", "/api/v1/tasks?state=lost", 400, "invalid"),
    ("GET", "/api/v1/tasks?limit=many", 400, "invalid"),
    ("GET", "/api/v1/nothing", 404, "not-found"), ("DELETE", "/api/v1/vms", 405, None),
    ("POST", "/api/v1/alarms/none/acknowledge", 404, "not-found"),
])
def test_bad_paths(lab, method, path, status, code):
    got, answer = curl(lab, method, path)
    assert got == status, answer
    assert code is None or answer["error"]["code"] == code
    assert answer["error"]["message"]


def test_tokens(lab):
    right = lab.env()["GODWIT_TOKEN"]
    wrong = right[:-4] + ("aaaa" if right[-4:] != "aaaa" else "bbbb")
    for token in (None, wrong, "nonsense"):
        status, answer = curl(lab, "GET", "/api/v1/vms", token=token)
        assert (status, answer["error"]["code"]) == (401, "unauthorized")
    for path in ("healthz", "version", "ca"):
        assert curl(lab, "GET", f"/api/v1/{path}", token=None)[0] == 200
    done = lab.godwit("migrate", "web", "--to", "h2", "--output", "json", check=False,
                      env={"GODWIT_TOKEN": wrong})
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "unauthorized"
    assert "token" in done.stderr and "godwit login" in done.stderr

    made = lab.godwit_json("token", "create", "a test")
    mine = {"GODWIT_TOKEN": made["token"]}
    assert lab.godwit("vm", "list", env=mine).returncode == 0
    assert made["token"] not in lab.godwit("token", "list").stdout
    secret = made["token"].split("_")[2]
    stored = lab.on("manager", "grep", "-rla", secret, "/var/lib/godwit-manager", check=False)
    assert (stored.returncode, stored.stdout) == (1, "")
    lab.godwit("token", "revoke", made["id"])
    assert lab.godwit("vm", "list", env=mine, check=False).returncode == 1


# Joining

@pytest.fixture
def join(lab):
    """join(token): `godwitd join` with a state folder of its own on h1, as on a new machine."""
    made = []

    def run(token):
        state = f"/run/join-{len(made)}"
        made.append(state)
        lab.on("h1", "sh", "-ec", f"cp /etc/godwit/godwitd.conf {state}.conf;"
               f" sed -i '1i [godwitd]\\nstate_dir = {state}\\nrun_dir = {state}-run' {state}.conf")
        return lab.on("h1", f"{BIN}/godwitd", "--config", f"{state}.conf", "join", JOIN_URL,
                      "--token", token, check=False)

    yield run
    lab.on("h1", "sh", "-c", "rm -rf /run/join-*")


def test_join_token_works_once(lab, join):
    token = lab.godwit_json("host", "add")["token"]
    first = join(token)
    assert first.returncode == 0, first.stderr
    again = join(token)
    assert again.returncode == 1
    assert "was used already" in again.stderr and "godwit host add" in again.stderr
    wait_connected(lab)


def test_join_token_expires(lab, join):
    made = lab.godwit_json("host", "add", "--valid", "1s")
    wait_until(lambda: time.time() * 1000 > made["expires_ms"] + 100, "the token is too old", 10)
    done = join(made["token"])
    assert done.returncode == 1 and "godwit host add" in done.stderr
    assert "too old" in done.stderr or "expired" in done.stderr


def test_join_checks_the_manager(lab, join):
    """The token says which CA the manager must have: another one gets neither token nor request."""
    token = lab.godwit_json("host", "add")["token"]
    kind, fingerprint, secret = token.split("_", 2)
    done = join(f"{kind}_{fingerprint[::-1]}_{secret}")
    assert done.returncode == 1 and "fingerprint" in done.stderr
    assert join("gwj_nonsense").returncode == 1
    assert join(token).returncode == 0      # it wasn't used up


# The agents

def reach(lab, place, *options, address=None):
    """curl to h2's agent; gives (status, text), status 0 where TLS gave nothing."""
    address = address or lab.status()["hosts"]["h2"]["address"]
    done = lab.on(place, "curl", "-sS", "-k", "-m", "20", *options, "-w", "\n%{http_code}",
                  AGENT.format(address), check=False)
    text, _, status = done.stdout.rpartition("\n")
    return int(status or 0), text


def test_agents_answer_nobody_without_certificate(lab):
    assert reach(lab, "manager") == (0, "")
    assert reach(lab, "h1") == (0, "")


def test_agents_answer_no_foreign_certificate(lab):
    uuid = lab.status()["hosts"]["h1"]["uuid"]
    for name in (f"godwit:manager:{uuid}", f"godwit:host:{uuid}"):
        lab.on("manager", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=me", "-addext",
               f"subjectAltName=URI:{name}", "-keyout", "/run/key.pem", "-out", "/run/cert.pem")
        assert reach(lab, "manager", "--cert", "/run/cert.pem", "--key", "/run/key.pem") == (0, "")


def test_hosts_may_not_what_the_manager_may(lab):
    folder = "/var/lib/godwit/identity"
    files = lab.on("h1", "ls", folder).split()
    key = next(f for f in files if "key" in f)
    cert = next(f for f in files if "cert" in f)
    status, text = reach(lab, "h1", "--cert", f"{folder}/{cert}", "--key", f"{folder}/{key}")
    assert status == 403 and json.loads(text)["error"]["code"] == "forbidden"


# The manager's disk

def test_disk_of_the_manager_full(lab, guest):
    data = "/var/lib/godwit-manager"
    lab.godwitd("stop", "manager")
    lab.on("manager", "sh", "-ec", f"cp -a {data} /run/kept;"
           f" mount -t tmpfs -o size=8m,mode=700 t {data}; cp -a /run/kept/. {data}")
    try:
        lab.godwitd("start", "manager")
        wait_connected(lab)
        lab.on("manager", "sh", "-c", f"cat /dev/zero > {data}/filler", check=False)
        done = guest.migrate("--output", "json", check=False)
        error = json.loads(done.stdout)["error"]
        assert done.returncode == 1 and error["code"] == "no-space", done
        assert "nothing was started" in error["message"] and guest.name in error["message"]
        guest.assert_stays()
        assert lab.godwit("vm", "list").returncode == 0       # what needs no disk goes on
        assert curl(lab, "GET", "/api/v1/healthz")[1]["database"] != "ok"
        assert lab.godwit("doctor", check=False).returncode == 1
        lab.on("manager", "rm", f"{data}/filler")
        guest.move()
        assert curl(lab, "GET", "/api/v1/healthz")[1]["database"] == "ok"
    finally:
        lab.godwitd("stop", "manager")
        lab.on("manager", "umount", data)
        put_right(lab)
