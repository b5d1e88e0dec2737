"""Shell commands on another machine: over ``ssh`` (OpenSSH's own client) or ``adb``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import ClassVar, Protocol

from edgecut.ir.errors import TargetError, UsageError

# An address never begins with a hyphen: it would be an option.
_SSH = re.compile(
    r"ssh://((?P<user>[\w.][\w.\-]*)@)?(?P<host>[\w.][\w.\-]*|\[[0-9a-fA-F:]+\])(:(?P<port>\d{1,5}))?/?"
)
_ADB = re.compile(r"adb://(?P<serial>[\w.][\w.:\-]*)/?")
CONNECT_S = 10
# A connection that carries nothing for ALIVE_S * ALIVE_COUNT seconds is dead (the device was switched off).
ALIVE_S = 5
ALIVE_COUNT = 3


@dataclass(frozen=True)
class Done:
    """What a remote command left."""

    status: int
    stdout: str
    stderr: str


class LostError(Exception):
    """The connection broke, or could not be made; the message says why."""


class Transport(Protocol):
    """A way to a device."""

    @property
    def where(self) -> str:
        """For messages."""
        ...

    @property
    def home(self) -> str:
        """Shell expression of a folder that we may write to."""
        ...

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float) -> Done:
        """Run a POSIX shell script there.

        Raises:
            LostError: The connection broke or could not be made.
            TargetError: It took longer than allowed, or the client is not installed here.
        """
        ...


@dataclass(frozen=True)
class Ssh:
    """OpenSSH, with the user's own configuration, keys and agent; unknown host keys are refused."""

    where: str
    destination: str
    port: int | None = None
    home: str = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgecut"'
    LOST: ClassVar[int] = 255

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float) -> Done:
        """Run a POSIX shell script there, whatever the user's login shell is."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
        }
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        port = ["-p", str(self.port)] if self.port else []
        command = ["ssh", "-T", *flags, *port, "--", self.destination, f"sh -c {shlex.quote(script)}"]
        done = _run(command, stdin, timeout_s, self.where)
        if done.status == self.LOST:
            raise LostError(_ssh_reason(done.stderr))
        return done


@dataclass(frozen=True)
class Adb:
    """Android's debug bridge; the device's Python has to be on its shell's PATH (Termux, say)."""

    where: str
    serial: str
    home: str = "/data/local/tmp/edgecut"

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float) -> Done:
        """Run a POSIX shell script there."""
        done = _run(["adb", "-s", self.serial, "shell", "-T", script], stdin, timeout_s, self.where)
        reason = next(
            (line for line in done.stderr.splitlines() if line.startswith(("adb: ", "error: "))), ""
        )
        if done.status != 0 and reason:
            raise LostError(reason.partition(": ")[2])
        return done


def open_transport(url: str) -> Transport:
    """The way to a device.

    Args:
        url: ``ssh://[user@]host[:port]`` or ``adb://SERIAL``.

    Raises:
        UsageError: It is none of these.
    """
    ssh = re.fullmatch(_SSH, url)
    if ssh:
        host = ssh["host"].strip("[]")
        destination = f"{ssh['user']}@{host}" if ssh["user"] else host
        return Ssh(url, destination, int(ssh["port"]) if ssh["port"] else None)
    adb = re.fullmatch(_ADB, url)
    if adb:
        return Adb(url, adb["serial"])
    raise UsageError("is no address of a device", where=url, hint="ssh://user@host[:port] or adb://SERIAL")


def _run(command: list[str], stdin: bytes, timeout_s: float, where: str) -> Done:
    if shutil.which(command[0]) is None:
        raise TargetError(f"{command[0]} is not installed on this machine", where=where)
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"did not answer within {timeout_s:.0f} s", where=where) from error
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _ssh_reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("Host key verification failed" in line for line in lines):
        return "its host key is unknown or has changed; connect once with ssh and check the key"
    return lines[-1] if lines else "the connection broke"
