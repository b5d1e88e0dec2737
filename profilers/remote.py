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
        _send(device, folder, contents)
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


def _send(device: Transport, folder: str, contents: dict[str, bytes]) -> None:
    """Send files, each from where an earlier attempt broke off."""
    for attempt in range(ATTEMPTS):
        try:
            have = _sizes(device, folder, list(contents))
            for name, data in contents.items():
                _append(device, f"{folder}/{name}", data, have[name])
            return
        except LostError as error:
            _pause(device, attempt, error)


def _sizes(device: Transport, folder: str, names: list[str]) -> dict[str, int]:
    """Bytes of each file that have arrived in our folder, which is made if it is not there."""
    each = f"for f in {' '.join(names)}; do if [ -f $f ]; then wc -c < $f; else echo 0; fi; done"
    done = device.run(f"mkdir -p {folder} && cd {folder} && {each}", timeout_s=COMMAND_S)
    _check(device, done, "cannot make a folder there")
    return dict(zip(names, map(int, done.stdout.split()), strict=True))


def _append(device: Transport, path: str, data: bytes, have: int) -> None:
    if have == len(data):
        return
    rest, sign = (data[have:], ">>") if have < len(data) else (data, ">")
    timeout = COMMAND_S + len(rest) / LEAST_BYTES_PER_S
    _check(device, device.run(f"cat {sign} {path}", stdin=rest, timeout_s=timeout), "cannot write there")


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
