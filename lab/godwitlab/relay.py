# SPDX-License-Identifier: Apache-2.0
"""Relays TCP connections: relay.py LISTEN-FD|- ADDRESS PORT [SOCKET]

With a descriptor: accepts on it (a port of the machine's 127.0.0.1, opened before the lab had a
network of its own) and connects to ADDRESS:PORT from the namespace it runs in. With '-': listens
on ADDRESS:PORT and connects to the unix socket SOCKET.
"""
import asyncio
import contextlib
import socket
import sys

CHUNK_BYTES = 65536


async def _pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _relay(connect, reader, writer):
    with contextlib.closing(writer):
        try:
            far_reader, far_writer = await connect()
        except OSError:
            return      # the caller sees its connection closed
        with contextlib.closing(far_writer):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def main(listen, address, port, path=None):
    """Runs until killed."""
    def connect():
        if path:
            return asyncio.open_unix_connection(path)
        return asyncio.open_connection(address, int(port))

    async def accepted(reader, writer):
        await _relay(connect, reader, writer)

    if listen == "-":
        server = await asyncio.start_server(accepted, address, int(port))
    else:
        server = await asyncio.start_server(accepted, sock=socket.socket(fileno=int(listen)))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
