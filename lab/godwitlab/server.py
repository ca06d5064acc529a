# SPDX-License-Identifier: Apache-2.0
"""The server: builds the lab, then answers requests on the socket `control` of the state folder.

Theory of operation. One thread accepts, one thread per request. A request is a line of JSON
{"verb", …}; the answer is lines {"say": text} as things go on and at last {"ok": result} or
{"error": text, "usage": bool}. A caller that goes away changes nothing: what it asked for is done
all the same. Requests that change a daemon take that place's lock.
"""
import json
import os
import signal
import socket
import sys
import threading
import traceback

from . import godwit
from .base import LAB_DIR, LabError, Usage, write_file
from .host import Host
from .network import MANAGER_ADDRESS, MIG, Network, SAN_ADDRESS, SAN, host_address, parse_rate
from .places import Daemon
from .san import San
from .vms import Vms

SIGNALS = {"stop": signal.SIGTERM, "kill": signal.SIGKILL}
DELAY = os.path.join(LAB_DIR, "godwitlab", "delay.py")
RELAY = os.path.join(LAB_DIR, "godwitlab", "relay.py")


class Server:
    """Everything the lab consists of."""

    def __init__(self, lab, options, socket_fd):
        self.lab, self.options, self.listen_fd = lab, options, socket_fd
        self.kvm = options["kvm"]
        self.network = Network(options["one_link"])
        self.hosts = {name: Host(lab, name, n, options["confined"])
                      for n, name in enumerate(options["hosts"], 1)}
        self.manager = godwit.Manager(lab)
        self.san = San(lab) if options["storage"] == "iscsi" else None
        self.vms = Vms(self)
        self._lock = threading.Lock()       # daemons are started and stopped one at a time
        self._relays = []
        self._delay, self.delay_ms = None, 0

    # Building

    def build(self, say):
        """Makes all places and starts all daemons."""
        say(f"{len(self.hosts)} hosts, storage {self.options['storage']}, "
            + ("KVM" if self.kvm else "emulation (no guest runs in KVM here)"))
        self.network.make_switch()
        for host in self.hosts.values():
            host.configure()
            host.make()
            self.network.add_host(host.number, host.name, host.pid)
            host.launch()
        self.manager.make()
        self.network.add_place("manager", self.manager.pid, "mig", MANAGER_ADDRESS)
        if self.san:
            self.san.make()
            self.network.add_place("san", self.san.pid, "san", SAN_ADDRESS)
            self.san.start()
        self.network.shape(parse_rate(self.options["link"]))
        self._start_observer()
        for host in self.hosts.values():
            host.settle(pool=self.san is None)
        if self.options["bare"]:
            os.close(self.listen_fd)
        else:
            self._start_godwit(say)

    def _start_observer(self):
        write_file(self.lab.path("witness", "places.json"), json.dumps(list(self.hosts)))
        ports = [p["vm"] for p in self.network.ports.values()]
        observer = Daemon(self.switch, "observer", [
            sys.executable, "-c", f"import sys; sys.dont_write_bytecode = True;"
            f" sys.path.insert(0, {LAB_DIR!r}); from godwitlab.observer import main;"
            f" main(sys.argv[1], sys.argv[2:])", self.lab.path("witness"), *ports],
            self.lab.log("observer.log"))
        observer.start()
        observer.wait(lambda: os.path.exists(self.lab.path("witness", "drops.json")), "listening")
        self.observer = observer

    @property
    def switch(self):
        """The server's own namespaces, as if they were a place."""
        class Switch:
            name, pid = "switch", os.getpid()
        return Switch

    def _start_godwit(self, say):
        say("godwit-manager and godwitd start")
        self.manager.first_start()
        relay = Daemon(self.manager, "relay", [
            sys.executable, "-B", RELAY, str(self.listen_fd), MANAGER_ADDRESS, str(godwit.PORT)],
            self.lab.log("relay.log"))
        relay.start(pass_fds=[self.listen_fd])
        self._relays.append(relay)
        os.close(self.listen_fd)
        for host in self.hosts.values():
            godwit.add_daemon(host)
            godwit.join(self.manager, host)
        godwit.wait_connected(self.manager, self.hosts.values())

    # Requests

    def host(self, name):
        """A host by name, or an error that lists them."""
        if name not in self.hosts:
            raise Usage(f"no host '{name}': there are {', '.join(self.hosts)}")
        return self.hosts[name]

    def place(self, name):
        """A place by name, or an error that lists them."""
        places = self.places()
        if name not in places:
            raise Usage(f"no place '{name}': there are {', '.join(places)}")
        return places[name]

    def places(self):
        """All places by name."""
        found = {**self.hosts, "manager": self.manager, "switch": self.switch}
        if self.san:
            found["san"] = self.san
        return found

    def do_vm(self, request, say):
        """lab vm"""
        return self.vms.create(request, say)

    def do_destroy(self, request, _say):
        """lab destroy"""
        return self.vms.destroy(request["name"])

    def do_where(self, request, _say):
        """Description of a VM with where it is now."""
        if not self.observer.running():
            raise LabError(f"the observer ended by itself: {self.observer.tail()}")
        return {**self.vms.get(request["name"]), "domains": self.vms.where(request["name"])}

    def do_shape(self, request, _say):
        """lab shape"""
        with self._lock:
            self.network.shape(parse_rate(request["rate"]), request["delay"] > 0)
            self._hold_up(request["delay"])
        return {"link": request["rate"], "delay_ms": self.delay_ms}

    def _hold_up(self, delay_ms):
        """Round trip between hosts; 0: none is added."""
        if self._delay:
            if self._delay.running():
                self._delay.stop()
            self.network.join()
            self._delay, self.delay_ms = None, 0
        if not delay_ms:
            return
        log = self.lab.log("delay.log")
        cables = self.network.cables()
        with open(log, "wb"):
            pass
        self._delay = Daemon(self.switch, "delay", [
            sys.executable, "-B", DELAY, str(round(delay_ms * 1000 / 4)),
            *(f"{port}:{tap}" for port, tap in cables)], log)
        self._delay.start()
        self._delay.wait(lambda: "ready" in self._delay.tail(), "carrying frames")
        self.network.part()
        self.delay_ms = delay_ms

    def do_cut(self, request, _say):
        """lab cut"""
        self.host(request["host"])
        return {"cut": self.network.cut(request["host"], request["seconds"], request["all"])}

    def do_daemon(self, request, _say):
        """lab godwit|libvirtd stop|start|kill PLACE"""
        place = self.place(request["place"])
        name, action = request["daemon"], request["action"]
        if name == "godwit":
            name = "godwit-manager" if place is self.manager else "godwitd"
        if self.options["bare"] and name.startswith("godwit"):
            raise LabError("this lab was started with --bare: it has no Godwit")
        with self._lock:
            if not hasattr(place, "daemons"):
                raise Usage("the switch has no daemons")
            daemon = place.find(name)
            if action in SIGNALS:
                daemon.stop(SIGNALS[action])
            elif name == "libvirtd":
                place.start_libvirtd()
            elif place is self.manager:
                place.start()
            else:
                godwit.start_daemon(place)
            return {"place": place.name, "daemon": name,
                    "pid": daemon.process.pid if daemon.running() else None}

    def do_enter(self, request, _say):
        """What `lab on` needs to get there: a process as the lab counts."""
        return {"pid": self.place(request["place"]).pid}

    def do_relay(self, request, _say):
        """Opens a libvirt TCP port on a host until the lab or the relay ends; see move.py."""
        host = self.host(request["host"])
        relay = Daemon(host, "relay", [
            sys.executable, "-B", RELAY, "-", host_address(MIG, host.number), str(request["port"]),
            "/run/libvirt/libvirt-sock"], self.lab.log(f"{host.name}-relay.log"))
        relay.start()
        relay.wait(lambda: host.listens(request["port"]), "listening")
        self._relays.append(relay)
        return {"relay": len(self._relays) - 1}

    def do_unrelay(self, request, _say):
        """Ends what do_relay began."""
        self._relays[request["relay"]].stop(signal.SIGKILL)
        return {}

    def do_status(self, _request, _say):
        """lab status"""
        hosts = {}
        for name, host in self.hosts.items():
            hosts[name] = {
                "uuid": host.uuid, "address": host_address(MIG, host.number),
                "san_address": host_address(SAN, host.number), **host.describe()}
        return {
            "lab": self.lab.name, "folder": self.lab.dir, "bare": self.options["bare"],
            "confined": self.options["confined"], "one_link": self.options["one_link"],
            "storage": self.options["storage"], "kvm": self.kvm, "link_bps": self.network.rate,
            "delay_ms": self.delay_ms,
            "cuts": self.network.cuts(), "port": self.options["port"], "hosts": hosts,
            "manager": {"address": MANAGER_ADDRESS, **self.manager.describe()},
            "san": {"address": SAN_ADDRESS, **self.san.describe()} if self.san else None,
            "observer": self.observer.process.pid if self.observer.running() else None,
            "vms": {name: {**vm, "domains": self.vms.where(name)}
                    for name, vm in dict(self.vms.known).items()},
        }

    def answer(self, request, say):
        """Dispatches one request."""
        handler = getattr(self, "do_" + str(request.get("verb")), None)
        if handler is None:
            raise Usage(f"the lab knows no request '{request.get('verb')}'")
        return handler(request, say)


def _converse(server, connection):
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        def send(message):
            try:
                stream.write(json.dumps(message) + "\n")
                stream.flush()
            except OSError:
                pass        # the caller went away

        try:
            request = json.loads(stream.readline() or "{}")
            send({"ok": server.answer(request, lambda text: send({"say": text}))})
        except LabError as error:
            send({"error": str(error), "usage": isinstance(error, Usage)})
        except Exception as error:      # pylint: disable=broad-except
            traceback.print_exc()       # to lab.log; the caller gets a sentence
            send({"error": f"the lab's server failed ({error}): see logs/lab.log in its folder"})


def serve(lab, options, socket_fd):
    """Body of the server process."""
    os.setsid()
    ready = threading.Event()

    def watch():
        os.read(0, 1)
        if not ready.is_set():
            os._exit(1)

    def tell(message):
        print(json.dumps(message), flush=True)

    threading.Thread(target=watch, daemon=True).start()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server = Server(lab, options, socket_fd)
        server.build(lambda text: tell({"say": text}))
        os.umask(0o077)
        listener.bind(lab.socket)
        os.umask(0o022)
        listener.listen(16)
    except LabError as error:
        tell({"error": str(error)})
        os._exit(1)
    except Exception as error:          # pylint: disable=broad-except
        traceback.print_exc()
        tell({"error": f"the lab could not be built: {type(error).__name__}: {error}"})
        os._exit(1)
    ready.set()
    tell({"ok": server.do_status({}, None)})
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_converse, args=(server, connection), daemon=True).start()
