# SPDX-License-Identifier: Apache-2.0
"""Holds frames for a while: delay.py MICROSECONDS PORT:TAP…

Theory of operation. Kernels don't all have netem, so the lab delays by itself. A port is the
switch's end of a cable; while there is a delay it isn't a port of the bridge, a tap is in its
place, and this program carries frames between both, each MICROSECONDS later than it came. They are
carried as the kernel has them, up to 64 KiB with a virtio header in front, so that 1 Gbit/s is some
thousand frames a second. What the port's queue has no room for is dropped, as by a switch; so is
what comes while the cable is cut. A queue holds at most QUEUE_BYTES.

Prints "ready" when frames are carried. It runs until it is killed; then the taps are gone, too.
"""
import collections
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import time

FRAME_BYTES = 10 + 14 + 4 + 65536
QUEUE_BYTES = 256 << 20         # 2 s of 1 Gbit/s
ROUND_FRAMES = 64

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
OFFLOADS = 0x01 | 0x02 | 0x04 | 0x08        # checksums, TCP segments of IPv4 and IPv6, ECN
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL = 0x0003
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32


def _open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        port.setsockopt(socket.SOL_SOCKET, option, 32 << 20)
    port.bind((name, ETH_P_ALL))
    return port.detach()


def _open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF,
                struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETOFFLOAD, OFFLOADS)
    return tap


class Line:
    """One direction of a cable."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.frames = collections.deque()   # (when it goes, frame)
        self.held_bytes = 0

    def take(self, delay_s):
        """Takes what has come."""
        for _ in range(ROUND_FRAMES):
            try:
                frame = os.read(self.source, FRAME_BYTES)
            except OSError:     # nothing more; or the cable is cut, which is told once
                return
            if self.held_bytes + len(frame) <= QUEUE_BYTES:
                self.frames.append((time.monotonic() + delay_s, frame))
                self.held_bytes += len(frame)

    def give(self, now):
        """Gives what has been held for long enough."""
        while self.frames and self.frames[0][0] <= now:
            frame = self.frames.popleft()[1]
            self.held_bytes -= len(frame)
            with contextlib.suppress(OSError):
                os.write(self.target, frame)


def main(microseconds, *cables):
    """Runs until killed."""
    delay_s, lines = int(microseconds) / 1e6, {}
    poll = select.epoll()
    for cable in cables:
        port, tap = cable.split(":")
        ends = _open_port(port), _open_tap(tap)
        for source, target in (ends, ends[::-1]):
            lines[source] = Line(source, target)
            poll.register(source, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        due = [line.frames[0][0] for line in lines.values() if line.frames]
        wait = max(min(due) - time.monotonic(), 0) if due else -1
        for source, _ in poll.poll(wait):
            lines[source].take(delay_s)
        now = time.monotonic()
        for line in lines.values():
            line.give(now)


if __name__ == "__main__":
    main(*sys.argv[1:])
