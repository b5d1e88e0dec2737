"""A TCP proxy that delays what passes, and does harm to connections when told to.

    fault_proxy.py --listen HOST:PORT --to HOST:PORT [--delay S]

It says on stderr that it listens. Lines on its standard input set what becomes of connections from then
on; each is answered by the same line on stdout:

    pass             hand everything on
    refuse           stop listening
    reset            close with RST when the first bytes come
    cut N            hand on N bytes of the answer, then close
    hang             accept, read, and never answer
    drop             stop handing on, on open connections too, without closing any
    trickle S        hand the answer on one byte each S seconds
    garbage          answer with bytes that are no HTTP
    status N         answer N to every request
    corrupt          change a byte in the head of the answer's JSON
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import sys

_CHUNK = 65536
_LINGER_0 = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Proxy:
    """One listening port and the mode of its connections."""

    def __init__(self, listen: str, to: str, delay_s: float) -> None:
        self._listen, self._to, self._delay_s = _address(listen), _address(to), delay_s
        self._mode: list[str] = ["pass"]
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if self._server is None:
            host, port = self._listen
            self._server = await asyncio.start_server(self._accept, host, port)

    async def set(self, mode: list[str]) -> None:
        self._mode = mode
        if mode[0] != "refuse":
            await self.start()
        elif self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One failing side ends the connection, as the other would see it without a proxy.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode = self._mode
        if mode[0] == "reset":
            await reader.read(_CHUNK)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            writer.transport.abort()
            return
        if mode[0] in ("hang", "drop"):
            while await reader.read(_CHUNK):
                pass
            return
        if mode[0] == "garbage":
            await reader.read(_CHUNK)
            writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            await writer.drain()
            return
        if mode[0] == "status":
            await self._status(reader, writer, int(mode[1]))
            return
        there, back = await asyncio.open_connection(*self._to)
        _no_delay(writer)
        _no_delay(back)
        try:
            await asyncio.gather(self._copy(reader, back, ["pass"]), self._copy(there, writer, mode))
        finally:
            back.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mode: list[str]
    ) -> None:
        """Hand bytes on, each after the delay."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            data = b"-"
            while data:
                data = await reader.read(_CHUNK)
                queue.put_nowait((loop.time() + self._delay_s, data))

        reading = asyncio.ensure_future(read())
        left = int(mode[1]) if mode[0] == "cut" else -1
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - loop.time())
                while self._mode[0] == "drop":
                    await asyncio.sleep(0.05)
                if mode[0] == "corrupt":
                    data = data.replace(b'"shape"', b'"shapf"', 1)
                if left >= 0:
                    data, left = data[:left], left - len(data)
                if mode[0] == "trickle":
                    await _trickle(writer, data, float(mode[1]))
                elif data:
                    writer.write(data)
                    await writer.drain()
                if not data or (mode[0] == "cut" and left <= 0):
                    writer.close()
                    return
        finally:
            reading.cancel()

    async def _status(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, code: int) -> None:
        await reader.read(_CHUNK)
        body = b'{"error": "the proxy says so"}'
        head = f"HTTP/1.1 {code} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()


async def _trickle(writer: asyncio.StreamWriter, data: bytes, seconds: float) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(seconds)


def _no_delay(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def run(arguments: argparse.Namespace) -> None:
    proxy = Proxy(arguments.listen, arguments.to, arguments.delay)
    await proxy.start()
    print(f"listening on {arguments.listen}", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await proxy.set(line.split())
        print(line.strip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
