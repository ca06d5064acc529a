# SPDX-License-Identifier: Apache-2.0
"""lab/lab's verbs: a table of arguments, and a function for each."""
import argparse
import json
import os
import shlex
import subprocess
import sys
import time

from . import client, godwit, guest, holder, move, services, witness
from .base import HOLDER_WORD, Lab, LabError, Usage, build_dir, clean_env, read_file, write_file
from .network import HOSTS_MAX, parse_rate

EPILOG = """\
A first look:
  lab/lab up --bare                hosts h1 and h2, without Godwit
  lab/lab vm web                   a small Linux guest on h1, its witness heard
  lab/lab move web --to h2         moved by virsh
  lab/lab witness web              what the observer outside heard
  lab/lab down                     nothing is left
Results are JSON on standard output, progress goes to standard error. The name of the lab comes from
--name or GODWIT_LAB; labs of different names stand side by side. lab/README.md tells more.
"""


def show(result):
    """Prints a result."""
    print(json.dumps(result, indent=2))


def _between(low, high, kind=int):
    def check(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value
    return check


def _rate(text):
    try:
        parse_rate(text)
    except Usage as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def do_up(lab, args):
    """lab up"""
    began = time.monotonic()
    status = client.up(lab, {
        "hosts": [f"h{n}" for n in range(1, args.hosts + 1)], "link": args.link,
        "one_link": args.one_link, "storage": args.storage, "confined": args.confined,
        "bare": args.bare})
    client.say(f"ready after {time.monotonic() - began:.1f} s: {', '.join(status['hosts'])}"
               + ("" if args.bare else "; eval \"$(lab/lab env)\" lets godwit reach its manager"))
    return 0


def do_down(lab, _args):
    """lab down"""
    client.say("gone" if client.down(lab) else f"there is no lab '{lab.name}'")
    return 0


def do_vm(lab, args):
    """lab vm"""
    xml = None
    if args.xml:
        xml = read_file(args.xml)
        if xml is None:
            raise Usage(f"there is no file {args.xml}")
    root = services.prepare(lab, client.say) if args.image == "services" and not xml else None
    memory = args.memory or (2048 if args.image == "services" else 512)
    show(client.ask(lab, "vm", name=args.vm, on=args.on, image=args.image, memory=memory,
                    dirty=args.dirty, dirty_set=args.dirty_set, still=args.still, vcpus=args.vcpus,
                    xml=xml, no_start=args.no_start, root=root))
    return 0


def do_destroy(lab, args):
    """lab destroy"""
    show(client.ask(lab, "destroy", name=args.vm))
    return 0


def do_probe(lab, args):
    """lab probe"""
    address = args.address
    if not address:
        address = client.ask(lab, "where", name=args.vm).get("address")
    if not address:
        raise Usage(f"{args.vm} was made from XML: give its address by --address")
    command = client.on_command(lab, "switch", [
        os.path.join(guest.programs(), "probe"), address, str(args.seconds), str(args.interval)])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=clean_env(), check=False)
    if not done.stdout:
        raise LabError(f"the probe ended with status {done.returncode} and reported nothing")
    show({"vm": args.vm, "address": address, **json.loads(done.stdout)})
    return 0


def do_witness(lab, args):
    """lab witness"""
    vm = client.ask(lab, "where", name=args.vm)
    if args.reset:
        write_file(lab.path("witness", args.vm + ".since"), str(time.time_ns()))
        return 0
    disk = vm.get("witness_disk") if args.disk else None
    if args.disk and not disk:
        raise Usage(f"{args.vm} was made from XML: the lab knows no witness disk of it")
    result = witness.analyse(lab, args.vm, time.time_ns(), args.since_start, disk)
    show(result)
    return 0 if result["ok"] else 1


def do_shape(lab, args):
    """lab shape"""
    show(client.ask(lab, "shape", rate=args.rate, delay=args.delay))
    return 0


def do_cut(lab, args):
    """lab cut"""
    show(client.ask(lab, "cut", host=args.host, seconds=args.seconds, all=args.all))
    return 0


def do_on(lab, args):
    """lab on"""
    if not args.words:
        raise Usage(f"what is to be run on {args.place}? lab/lab on {args.place} COMMAND…")
    command = client.on_command(lab, args.place, args.words)
    sys.stdout.flush()
    os.execvpe(command[0], command, clean_env(_godwit_env(lab)))


def do_daemon(lab, args):
    """lab godwit|libvirtd stop|start|kill PLACE"""
    show(client.ask(lab, "daemon", daemon=args.verb, action=args.action, place=args.place))
    return 0


def do_move(lab, args):
    """lab move"""
    show(move.by_virsh(lab, args.vm, args.to, args.flags.split() if args.flags else None))
    return 0


def do_status(lab, _args):
    """lab status"""
    show(client.ask(lab, "status"))
    return 0


def do_logs(lab, args):
    """lab logs"""
    client.must_be_up(lab)
    folder = lab.path("logs")
    names = sorted(n for n in os.listdir(folder)
                   if not args.place or n.startswith(args.place + "-"))
    if not names:
        raise Usage(f"no logs of '{args.place}': there are {', '.join(sorted(os.listdir(folder)))}")
    for name in names:
        print(f"==> {os.path.join(folder, name)} <==")
        sys.stdout.write(read_file(os.path.join(folder, name), ""))
    return 0


def _godwit_env(lab):
    token = read_file(lab.path("token"))
    return {} if token is None else {
        "GODWIT_URL": godwit.URL, "GODWIT_TOKEN": token, "GODWIT_CA": lab.path("ca.pem"),
        "PATH": f"{godwit.BIN}:{clean_env()['PATH']}"}


def do_env(lab, _args):
    """lab env"""
    status = client.ask(lab, "status")
    values = {"GODWIT_LAB": lab.name}
    if not status["bare"]:
        values.update(GODWIT_URL=f"https://127.0.0.1:{status['port']}",
                      GODWIT_TOKEN=read_file(lab.path("token"), "").strip(),
                      GODWIT_CA=lab.path("ca.pem"))
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(build_dir())}:"$PATH"')
    return 0


def _arg(*names, **how):
    return names, how


VM = _arg("vm", metavar="NAME", help="the VM's name")
PLACE = "h1, h2, …, manager, san or switch"

# verb: (function, one line of help, arguments)
VERBS = {
    "up": (do_up, "build the lab and return when it is ready", [
        _arg("--hosts", type=_between(1, HOSTS_MAX), default=2, metavar="N", help="how many (2)"),
        _arg("--link", type=_rate, default="none", metavar="RATE",
             help="limit each host's migration uplink both ways, e.g. 1gbit (none)"),
        _arg("--one-link", action="store_true", help="one uplink for VMs, migration and storage"),
        _arg("--storage", choices=["dir", "iscsi"], default="dir",
             help="dir: one folder that all hosts see; iscsi: a LUN for each disk (dir)"),
        _arg("--confined", action="store_true",
             help="QEMU as its own user, with libvirt's default security settings"),
        _arg("--bare", action="store_true", help="hosts only, no Godwit"),
    ]),
    "vm": (do_vm, "make a VM, start it and wait until its witness is heard", [
        VM,
        _arg("--on", default="h1", metavar="HOST", help="where it starts (h1)"),
        _arg("--image", choices=["tiny", "services"], default="tiny",
             help="tiny: kernel and busybox; services: Debian with PostgreSQL and Redis (tiny)"),
        _arg("--memory", type=_between(160, 65536), metavar="MB", help="(512; services 2048)"),
        _arg("--vcpus", type=_between(1, 64), default=1, metavar="N", help="(1)"),
        _arg("--dirty", type=_between(0, 10000), default=0, metavar="MB/s",
             help="memory to dirty, half of it random (0)"),
        _arg("--dirty-set", type=_between(1, 65536), metavar="MB",
             help="memory that --dirty goes round in (two seconds' worth)"),
        _arg("--still", type=_between(0, 65536), default=0, metavar="MB",
             help="memory that nobody writes any more, half of it random, checked with the rest (0)"),
        _arg("--xml", metavar="FILE",
             help="this domain XML instead of an image; its name becomes NAME"),
        _arg("--no-start", action="store_true", help="define it only"),
    ]),
    "destroy": (do_destroy, "end a VM wherever it is and remove its disks", [VM]),
    "probe": (do_probe, "ping a VM from outside the hosts and report the gaps", [
        VM,
        _arg("--seconds", type=_between(0.1, 86400, float), required=True, metavar="N"),
        _arg("--interval", type=_between(0.2, 1000, float), default=1.0, metavar="MS",
             help="time between two probes (1)"),
        _arg("--address", help="the VM's address, if it was made from XML"),
    ]),
    "witness": (do_witness, "what the observer heard of a VM; fails if it ran twice, crashed, lost"
                " data or found its memory wrong", [
        VM,
        _arg("--since-start", action="store_true", help="also what was before the last --reset"),
        _arg("--reset", action="store_true", help="count from now on; prints nothing"),
        _arg("--disk", action="store_true",
             help="also look on the disk for what the guest had synced"),
    ]),
    "shape": (do_shape, "limit the migration uplinks from now on", [
        _arg("rate", type=_rate, metavar="RATE", help="such as 1gbit, or none"),
        _arg("--delay", type=_between(0.4, 2000, float), default=0, metavar="MS",
             help="add this to the round trip between hosts (0)")]),
    "cut": (do_cut, "take a host's migration uplink down for a while", [
        _arg("host", metavar="HOST"),
        _arg("--seconds", type=_between(0.05, 86400, float), required=True, metavar="N",
             help="then it comes back by itself"),
        _arg("--all", action="store_true", help="all uplinks of the host, storage too"),
    ]),
    "on": (do_on, "run a command in a place, with its status and streams", [
        _arg("place", metavar="PLACE", help=PLACE),
        _arg("words", metavar="COMMAND", nargs=argparse.REMAINDER)]),
    "godwit": (do_daemon, "stop, start or kill -9 godwitd on a host, or the manager", [
        _arg("action", choices=["stop", "start", "kill"]),
        _arg("place", metavar="HOST|manager")]),
    "libvirtd": (do_daemon, "stop, start or kill -9 a host's libvirtd", [
        _arg("action", choices=["stop", "start", "kill"]),
        _arg("place", metavar="HOST")]),
    "move": (do_move, "move a VM by virsh alone, for comparison", [
        VM,
        _arg("--to", required=True, metavar="HOST"),
        _arg("--with", choices=["virsh"], default="virsh", dest="tool", help="(virsh)"),
        _arg("--flags", metavar="'FLAGS'",
             help=f"flags of virsh migrate ({' '.join(move.FLAGS)})")]),
    "status": (do_status, "everything about the lab", []),
    "env": (do_env, "shell commands that let godwit reach the lab's manager", []),
    "logs": (do_logs, "print the logs of a place, or all", [
        _arg("place", metavar="PLACE", nargs="?", help=PLACE)]),
    "down": (do_down, "end the lab; nothing is left, also after a crash", []),
}


def parser():
    """The command line's description."""
    top = argparse.ArgumentParser(
        prog="lab/lab", description="Hosts on one machine, for trying and testing Godwit.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--name", default=os.environ.get("GODWIT_LAB") or "lab", metavar="NAME",
                     help="which lab (GODWIT_LAB, else 'lab')")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, (function, text, arguments) in VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
        for names, how in arguments:
            sub.add_argument(*names, **how)
        sub.set_defaults(function=function)
    return top


def main(argv):
    """Runs the command line; gives the exit status."""
    if len(argv) == 5 and argv[2] == HOLDER_WORD:
        holder.main(argv[1], argv[3], int(argv[4]))
    args = parser().parse_args(argv)
    try:
        lab = Lab(args.name)
        if os.geteuid() != 0:
            raise LabError("the lab makes namespaces and so needs root: try sudo")
        return args.function(lab, args)
    except Usage as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
