"""A device and a server in two network namespaces, joined by a link whose rate the kernel limits.

Needs root, ``ip`` and ``tc`` (Linux, iproute2). Nothing leaves the machine: the two only know each other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROXY = Path(__file__).resolve().parent / "fault_proxy.py"
SERVER_ADDRESS = "10.77.0.2"
BURST = 4000
"""Bytes that tbf lets through at once: little, since a burst hides the rate from a short transfer."""


def missing() -> str:
    """Why there can be no lab here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if absent:
        return f"{absent[0]} is not installed (iproute2)"
    try:
        with lab() as made:
            made.limit(10)
    except subprocess.CalledProcessError as error:
        return f"the kernel refuses {' '.join(map(str, error.cmd))}: {error.stderr.strip()}"
    return ""


@dataclass(frozen=True)
class Lab:
    """Two namespaces: the device's, and the server's with address `SERVER_ADDRESS`."""

    device: str
    server: str

    def limit(self, up_mbps: float, down_mbps: float | None = None) -> None:
        """Limit the rate from the device to the server, and back (by default the same)."""
        _limit(self.device, "up0", up_mbps)
        _limit(self.server, "down0", down_mbps or up_mbps)

    def open(self, where: str, *command: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a namespace."""
        return subprocess.Popen(["ip", "netns", "exec", where, *map(str, command)], text=True, **options)

    @contextlib.contextmanager
    def running(self, where: str, *command: object) -> Iterator[subprocess.Popen[str]]:
        """A command in a namespace that says on stderr, in one line, that it listens; killed at the end."""
        process = self.open(where, *command, stderr=subprocess.PIPE, stdin=subprocess.PIPE)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            if "listening" not in line:
                raise RuntimeError(line + process.stderr.read())
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextlib.contextmanager
    def service(self, build: Path, *, delay_s: float = 0.0) -> Iterator[str]:
        """``edgecut serve`` in the server's namespace, behind a proxy that delays both ways."""
        serve = (sys.executable, "-m", "edgecut", "serve", build, "--port", 8000)
        proxy = (sys.executable, PROXY, "--listen", f"{SERVER_ADDRESS}:8001", "--to", "127.0.0.1:8000")
        with self.running(self.server, *serve), self.running(self.server, *proxy, "--delay", delay_s):
            yield f"http://{SERVER_ADDRESS}:8001"


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Make the namespaces, and remove them at the end."""
    name = uuid.uuid4().hex[:8]
    device, server = f"ec-d-{name}", f"ec-s-{name}"
    try:
        _ip("netns", "add", device)
        _ip("netns", "add", server)
        _ip("link", "add", "up0", "netns", device, "type", "veth", "peer", "name", "down0", "netns", server)
        for where, link, address in ((device, "up0", "10.77.0.1"), (server, "down0", SERVER_ADDRESS)):
            _ip("-n", where, "addr", "add", f"{address}/24", "dev", link)
            _ip("-n", where, "link", "set", link, "up")
            _ip("-n", where, "link", "set", "lo", "up")
        yield Lab(device, server)
    finally:
        for where in (device, server):
            subprocess.run(["ip", "netns", "delete", where], capture_output=True, check=False)


def _limit(where: str, link: str, mbps: float) -> None:
    rate = max(int(mbps * 1e6), 8)
    queue = ("burst", str(BURST), "limit", "2000000")
    command = ["tc", "-n", where, "qdisc", "replace", "dev", link, "root", "tbf", "rate", str(rate), *queue]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
