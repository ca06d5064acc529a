# SPDX-License-Identifier: Apache-2.0
"""The part that the user's process runs: starting and ending a lab, asking its server."""
import json
import os
import secrets
import select
import shutil
import signal
import socket
import sys

from . import guest, holder
from .base import (CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, HOLDER_WORD, LAB_DIR,
                   LabError, Usage, boot_id, build_dir, cache_dir, clean_env, holder_pid,
                   locked, read_file, start_time, unshare)
from .godwit import check_programs

DOWN_WITHIN_MS = 30_000
# Those that others than root must get into are seen in the lab by their mounts under /srv/godwit.
FOLDERS = {"logs": 0o700, "places": 0o700, "shared": 0o755, "san": 0o700, "boot": 0o755,
           "vms": 0o700, "witness": 0o700, "private": 0o700}


def say(text):
    """Progress goes to standard error: standard output is the result."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def must_be_up(lab):
    """The holder's pid, or an error that says how to get one."""
    pid = holder_pid(lab)
    if pid is None:
        raise LabError(f"the lab '{lab.name}' is not up: start it by 'lab/lab up'"
                       + (" (what it left is removed by then)" if os.path.exists(lab.dir) else ""))
    return pid


# Up

def up(lab, options):
    """Builds the lab; returns its status when it is ready."""
    if holder_pid(lab) is not None:
        raise LabError(f"the lab '{lab.name}' is up already: 'lab/lab down' ends it;"
                       " another one beside it: 'lab/lab --name NAME up'")
    if not options["bare"]:
        check_programs()
    os.makedirs(cache_dir(), exist_ok=True)
    guest.tiny()
    options.update(kvm=guest.kvm_works(say), qemu=guest.qemu_version())
    with locked(os.path.join(cache_dir(), "up.lock"), lab.name):
        if holder_pid(lab) is not None:
            raise LabError(f"the lab '{lab.name}' has just been started by somebody else")
        down(lab)           # what a crash may have left
        _make_folders(lab)
        try:
            return _start(lab, options)
        except BaseException:
            if os.environ.get("GODWIT_LAB_KEEP_LOGS"):
                shutil.copytree(lab.path("logs"), os.environ["GODWIT_LAB_KEEP_LOGS"],
                                dirs_exist_ok=True)
            down(lab)
            raise


def _make_folders(lab):
    os.mkdir(lab.dir, 0o711)
    os.chmod(lab.dir, 0o711)        # the CA's certificate is for any user
    for name, mode in FOLDERS.items():
        os.mkdir(lab.path(name))
        os.chmod(lab.path(name), mode)
    boot = lab.path("boot", "tiny")
    os.mkdir(boot, 0o755)
    for source, name in zip(guest.tiny(), ["vmlinuz", "initrd"]):
        shutil.copy(source, os.path.join(boot, name))


def _start(lab, options):
    marker = secrets.token_hex(8)
    listener = socket.create_server(("127.0.0.1", 0))
    options["port"] = listener.getsockname()[1] if not options["bare"] else None
    hold_read, hold_write = os.pipe()
    tell_read, tell_write = os.pipe()
    pid_read, pid_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        _become_holder(lab, marker, listener, hold_read, tell_write, pid_write)
    for fd in [hold_read, tell_write, pid_write]:
        os.close(fd)
    listener.close()
    with os.fdopen(pid_read) as answer:
        words = answer.read().split(maxsplit=1)
    os.waitpid(helper, 0)
    if not words or words[0] != "pid":
        raise LabError(words[1].strip() if words
                       else "the lab's first process could not be started")
    pid = int(words[1])
    holder.note(lab, pid, marker, start_time(pid), boot_id())
    with os.fdopen(hold_write, "w") as hold, os.fdopen(tell_read) as tell:
        hold.write(json.dumps(options) + "\n")
        hold.flush()
        return _listen(lab, tell)


def _listen(lab, stream):
    """Follows the server's messages up to the last one."""
    for line in stream:
        message = json.loads(line)
        if "say" in message:
            say(message["say"])
        elif "error" in message:
            raise (Usage if message.get("usage") else LabError)(message["error"])
        else:
            return message["ok"]
    raise LabError("the lab ended before it was done: "
                   + ((read_file(lab.log("lab.log")) or "").strip()[-1500:] or "it said nothing"))


def _become_holder(lab, marker, listener, stdin, stdout, answer):
    """In the helper: makes the namespaces and executes the holder. Never returns."""
    try:
        os.setsid()
        unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)
        pid = os.fork()
        if pid:
            os.write(answer, f"pid {pid}".encode())
            os._exit(0)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        listener.set_inheritable(True)
        os.chdir("/")
        env = clean_env({"GODWIT_BUILD": build_dir(), "GODWIT_LAB_CACHE": cache_dir()})
        os.execve(sys.executable, [sys.executable, os.path.join(LAB_DIR, "lab"), "--name", lab.name,
                                   HOLDER_WORD, marker, str(listener.fileno())], env)
    except BaseException as error:      # pylint: disable=broad-except
        os.write(answer, f"error {error}".encode())
    finally:
        os._exit(1)


# Down

def down(lab):
    """Ends the lab, whatever state it is in, and removes what it left. True if there was one."""
    pid = holder_pid(lab)
    if pid is not None:
        _kill(pid, lab)
    if not os.path.lexists(lab.dir):
        return pid is not None
    if os.path.islink(lab.dir) or os.lstat(lab.dir).st_uid != os.geteuid():
        raise LabError(f"{lab.dir} is not of this lab's making: remove it by hand")
    shutil.rmtree(lab.dir)
    return True


def _kill(pid, lab):
    """Kills the holder: its whole PID namespace has ended when the descriptor says so."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if holder_pid(lab) != pid:      # it ended, and the number is another's now
            return
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if not poller.poll(DOWN_WITHIN_MS):
            raise LabError(f"the lab's processes (under {pid}) do not end; perhaps one waits for a"
                           " disk: see 'ps -eo pid,stat,wchan,args'")
    finally:
        os.close(fd)


# Requests

def ask(lab, verb, **fields):
    """Sends one request to the server and gives its result."""
    must_be_up(lab)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(lab.socket)
        except OSError as error:
            raise LabError(f"the lab '{lab.name}' is up but not ready ({error.strerror}): is"
                           " another 'lab/lab up' still at work?") from None
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps({"verb": verb, **fields}) + "\n")
            stream.flush()
            return _listen(lab, stream)


def on_command(lab, place, command):
    """The command line that runs a command in a place, from the machine."""
    pid = ask(lab, "enter", place=place)["pid"]
    return ["nsenter", "-t", str(must_be_up(lab)), "-p", "-m", "-n", "-i", "--",
            "nsenter", "-t", str(pid), "-m", "-n", "-u", "--", *command]
