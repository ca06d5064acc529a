# SPDX-License-Identifier: Apache-2.0
"""The observer: notes every witness datagram with its time and the place it came from.

Theory of operation. One packet socket per host, bound to the switch's port towards that host:
what comes in there has left that host, whatever it claims. A filter in the kernel keeps all but
witness datagrams out, so the migration's own traffic (with one link) costs nothing. The receive
time is the kernel's: this process may be late. Datagrams of one guest are written in the order of
reception to a log of fixed-size records (records.py), those about its memory to one of their own,
NAME.memory.log; a full log becomes NAME.old, replacing the
one before. If the kernel had to drop something, the number is noted in drops.json: what is
missing then proves nothing.
"""
import ctypes
import errno
import os
import select
import socket
import struct
import sys

from .base import write_file
from .records import (DATAGRAM, DATAGRAM_MAGIC, LOG, LOG_BYTES_MAX, MEMORY_DATAGRAM, MEMORY_LOG,
                      MEMORY_MAGIC, PORT)

ETH_P_ALL = 3
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SO_RCVBUFFORCE = 26, 35, 33
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4

# By the datagram's magic: its layout, the log record's, and what the log's name has after the guest's
KINDS = {DATAGRAM_MAGIC: (DATAGRAM, LOG, ""), MEMORY_MAGIC: (MEMORY_DATAGRAM, MEMORY_LOG, ".memory")}

# ethertype IPv4, UDP, no later fragment, destination port PORT (tcpdump -dd has the same shape)
_FILTER = [
    (0x28, 0, 0, 12), (0x15, 0, 8, 0x0800), (0x30, 0, 0, 23), (0x15, 0, 6, 17),
    (0x28, 0, 0, 20), (0x45, 4, 0, 0x1fff), (0xb1, 0, 0, 14), (0x48, 0, 0, 16),
    (0x15, 0, 1, PORT), (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0),
]


def _attach_filter(sock):
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _FILTER)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(_FILTER), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def open_tap(device):
    """A socket that hears the witness datagrams coming in at a switch port."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    _attach_filter(sock)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 * 1024 * 1024)
    sock.setblocking(False)
    sock.bind((device, ETH_P_ALL))
    return sock


class Logs:
    """Log files by guest name, with ".memory" behind it for the second kind."""

    def __init__(self, folder):
        self.folder, self.files = folder, {}

    def add(self, name, record):
        """Appends a record to a guest's log."""
        fd, size = self.files.get(name) or self._open(name)
        if size >= LOG_BYTES_MAX:
            os.close(fd)
            path = os.path.join(self.folder, name + ".log")
            os.rename(path, os.path.join(self.folder, name + ".old"))
            fd, size = self._open(name)
        os.write(fd, record)
        self.files[name] = fd, size + len(record)

    def _open(self, name):
        path = os.path.join(self.folder, name + ".log")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.files[name] = fd, os.fstat(fd).st_size
        return self.files[name]


def _take(sock, place, logs):
    while True:
        try:
            frame, control, _, address = sock.recvmsg(512, 256)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            continue        # told once for each cut; the kernel attaches the tap again by itself
        start = 14 + (frame[14] & 15) * 4 + 8
        kind = KINDS.get(frame[start:start + 4])
        if address[2] == PACKET_OUTGOING or not kind or len(frame) < start + kind[0].size:
            continue
        fields = kind[0].unpack_from(frame, start)
        name = fields[1].rstrip(b"\0").decode("ascii", "replace")
        if not name.replace("-", "").replace("_", "").isalnum():
            continue
        seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
        logs.add(name + kind[2], kind[1].pack(seconds * 10**9 + nanoseconds, place, *fields[2:]))


def main(folder, devices):
    """Runs for ever. devices: the switch's ports, in the order of the hosts."""
    taps = [open_tap(device) for device in devices]
    # Somebody has to be there, or the switch's kernel answers each datagram with an ICMP error.
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("0.0.0.0", PORT))
    poller = select.epoll()
    places = {tap.fileno(): (tap, n) for n, tap in enumerate(taps)}
    for fd in places:
        poller.register(fd, select.EPOLLIN)
    logs, dropped = Logs(folder), [0] * len(taps)
    write_file(os.path.join(folder, "drops.json"), "{}")
    print("ready", flush=True)
    while True:
        for fd, _ in poller.poll():
            tap, place = places[fd]
            _take(tap, place, logs)
            lost = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            if lost:
                dropped[place] += lost
                write_file(os.path.join(folder, "drops.json"), f'{{"dropped": {sum(dropped)}}}')


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
