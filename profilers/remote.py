"""Profiles a TFLite file on another machine: sends the profiler and the model, brings back the profile.

What is sent is kept there under the hash of its content until the profile is back, so that a broken
connection costs only what had not arrived yet; then everything is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import time
from pathlib import Path

from edgecut.ir import files
from edgecut.ir.errors import TargetError
from edgecut.profilers import application, reach
from edgecut.profilers.record import FileProfile
from edgecut.profilers.transport import Done, LostError, Transport

ATTEMPTS = 3
PAUSE_S = 2.0
COMMAND_S = 60.0
# The slowest link that we wait for.
LEAST_BYTES_PER_S = 10_000

MODEL = "model.tflite"
PROFILE = "profile.json"


def profile(device: Transport, model: Path, arguments: list[str], *, keep: bool = False) -> FileProfile:
    """Profile a file on a device.

    Args:
        device: The way there.
        model: The file.
        arguments: Of the profiler (`edgecut.profilers.ondevice`).
        keep: Leave what was sent on the device.

    Raises:
        ModelError: LiteRT refuses the file there.
        TargetError: The device cannot be reached, is full, lacks Python or LiteRT, or broke off.
    """
    contents = {
        application.APPLICATION: application.application(),
        application.SCRIPT: application.PROFILE_SH.encode(),
        MODEL: model.read_bytes(),
    }
    folder = f"{device.home}/{_key(contents, arguments)}"
    finished = False
    try:
        _check(device, _retry(device, f"mkdir -p {folder}"), "cannot make a folder there")
        for name, data in contents.items():
            _send(device, f"{folder}/{name}", data)
        done = _profile(device, folder, arguments)
        finished = True
    except TargetError as error:
        # A broken connection leaves what has arrived, for the next attempt; any other fault leaves nothing.
        finished = not isinstance(error.__cause__, LostError)
        raise
    finally:
        if finished and not keep:
            _remove(device, folder)
    found = reach.parse(done.status, done.stdout, done.stderr, device.where)
    if found.sha256 != files.sha256(model):
        raise TargetError("the model was damaged on its way there", where=device.where, hint="try again")
    return found


def _key(contents: dict[str, bytes], arguments: list[str]) -> str:
    digest = hashlib.sha256("\0".join(arguments).encode())
    for name, data in sorted(contents.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"profile-{digest.hexdigest()[:16]}"


def _send(device: Transport, path: str, data: bytes) -> None:
    """Send a file, from where an earlier attempt broke off."""
    for attempt in range(ATTEMPTS):
        have = _size(device, path)
        if have > len(data):
            _retry(device, f"rm -f {path}")
            have = 0
        if have == len(data):
            return
        rest = data[have:]
        try:
            done = device.run(
                f"cat >> {path}", stdin=rest, timeout_s=COMMAND_S + len(rest) / LEAST_BYTES_PER_S
            )
            _check(device, done, "cannot write there")
        except LostError as error:
            _pause(device, attempt, error)
    if _size(device, path) != len(data):
        raise TargetError("what was sent did not arrive whole", where=device.where, hint="try again")


def _size(device: Transport, path: str) -> int:
    done = _retry(device, f"if [ -f {path} ]; then wc -c < {path}; else echo 0; fi")
    _check(device, done, "cannot look at what is there")
    return int(done.stdout.strip() or 0)


def _profile(device: Transport, folder: str, arguments: list[str]) -> Done:
    """Run the profiler, or take the profile that an earlier attempt left behind finished."""
    quoted = " ".join(shlex.quote(a) for a in arguments)
    script = (
        f"cd {folder} || exit 3; "
        f"if [ ! -f {PROFILE} ]; then "
        f"sh {application.SCRIPT} {MODEL} {quoted} > {PROFILE}.part || exit $?; "
        f"mv {PROFILE}.part {PROFILE}; fi; "
        f"cat {PROFILE}"
    )
    try:
        return device.run(script, timeout_s=reach.TIMEOUT_S)
    except LostError as error:
        raise TargetError(
            f"the connection was lost while the model ran: {error}",
            where=device.where,
            hint="the same command goes on from what has arrived there",
        ) from error


def _retry(device: Transport, script: str) -> Done:
    """Run something that may be run twice."""
    for attempt in range(ATTEMPTS):
        try:
            return device.run(script, timeout_s=COMMAND_S)
        except LostError as error:
            _pause(device, attempt, error)
    raise AssertionError("the last attempt returns or raises")


def _pause(device: Transport, attempt: int, error: LostError) -> None:
    if attempt + 1 == ATTEMPTS:
        hint = "check the address, the key, and that the device is on"
        raise TargetError(f"cannot be reached: {error}", where=device.where, hint=hint) from error
    time.sleep(PAUSE_S * attempt)


def _check(device: Transport, done: Done, what: str) -> None:
    if done.status == 0:
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise TargetError(f"{what}: {lines[-1] if lines else f'status {done.status}'}", where=device.where)


def _remove(device: Transport, folder: str) -> None:
    """Remove our folder; a device that is gone by now keeps it."""
    with contextlib.suppress(LostError, TargetError):
        device.run(f"rm -rf {folder}; rmdir {device.home} 2>/dev/null || true", timeout_s=COMMAND_S)
