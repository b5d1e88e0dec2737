"""Runs the profiler where a device says it can be reached."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgecut.ir import files, typed
from edgecut.ir.errors import ModelError, TargetError
from edgecut.profilers.ondevice import BAD_MODEL, SECONDS
from edgecut.profilers.record import SCHEMA, FileProfile
from edgecut.targets.spec import FILE, Device

# Seconds after which a profile is given up: loading, and many times what timing is given.
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threads: int
    runs: int
    """Timed inferences at most; 0: as time allows."""
    keep: bool = False
    """Leave what was sent on a remote device."""


def run(
    device: Device, path: Path, settings: Settings, *, operators: bool = True, seconds: float = SECONDS
) -> FileProfile:
    """Profile a TFLite file on a device.

    Args:
        device: Where.
        path: The file.
        settings: How to measure.
        operators: Time operators too.
        seconds: Time each signature for this long (but a few times at least).

    Raises:
        ModelError: LiteRT refuses the file.
        TargetError: The device cannot be reached or lacks the runtime.
    """
    given = {"--threads": settings.threads, "--runs": settings.runs, "--seconds": round(seconds, 4)}
    arguments = [text for name, value in given.items() for text in (name, str(value))]
    if not operators:
        arguments.append("--no-operators")
    if device.is_local:
        return local(path, arguments)
    if device.reach.startswith(FILE):
        return recorded(Path(device.reach.removeprefix(FILE)), path)
    from edgecut.profilers import remote, transport

    return remote.profile(transport.open_transport(device.reach), path, arguments, keep=settings.keep)


def recorded(profile: Path, path: Path) -> FileProfile:
    """A profile that ``profile.sh`` printed on a device, of the very file that is asked about.

    Raises:
        ModelError: There is no such profile, or it is of another model.
    """
    if not profile.is_file():
        raise ModelError("no such file", where=str(profile), hint="profile.sh on the device prints it")
    found = parse(0, profile.read_text(encoding="utf-8", errors="replace"), "", str(profile))
    if found.sha256 != files.sha256(path):
        hint = "edgecut profile --device-files writes what to profile"
        raise ModelError(
            "is the profile of another model, or of another edgecut's", where=str(profile), hint=hint
        )
    return found


def local(path: Path, arguments: list[str]) -> FileProfile:
    """Profile a file on this machine, in a process of its own.

    Raises:
        ModelError: LiteRT refuses the file.
        TargetError: The process died, even when it did not use the C interface.
    """
    command = [sys.executable, "-m", "edgecut.profilers.ondevice", str(path), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"profiling took over {TIMEOUT_S:.0f} s", where="local") from error
    if done.returncode < 0 and "--no-operators" not in arguments:
        # The C interface crashed the process, which a changed library may do; the whole can be timed without.
        return local(path, [*arguments, "--no-operators"])
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise TargetError(f"LiteRT died of {name} while it ran the model", where="local")
    return parse(done.returncode, done.stdout, done.stderr, "local")


def parse(status: int, stdout: str, stderr: str, where: str) -> FileProfile:
    """Read what the profiler printed.

    Raises:
        ModelError: It refused the model.
        TargetError: It failed otherwise, or printed something else.
    """
    if status != 0:
        lines = [line for line in stderr.splitlines() if line.startswith("edgecut profile: ")]
        what = (
            lines[-1].removeprefix("edgecut profile: ") if lines else f"profiler ended with status {status}"
        )
        raise (ModelError if status == BAD_MODEL and lines else TargetError)(what, where=where)
    try:
        data = json.loads(stdout)
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')}, not {SCHEMA}")
        found: FileProfile = typed.decode(FileProfile, data)
    except (ValueError, AttributeError) as error:
        raise TargetError(f"the profiler printed no profile: {error}", where=where) from error
    return found
