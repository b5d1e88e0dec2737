"""Writes the device's files: the runtime as one zip application, and shell scripts to start it.

The zip application needs Python 3.9, NumPy and ai-edge-litert; everything else in it is ours and uses the
standard library. Its bytes depend on its sources alone.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edgecut
from edgecut.ir import files

NAME = "edgecut-runtime.pyz"
UNIT = "edgecut.service"
MODULES = (
    "ir/__init__.py",
    "ir/errors.py",
    "ir/files.py",
    "ir/manifest.py",
    "ir/typed.py",
    "runtime/__init__.py",
    "runtime/artifact.py",
    "runtime/bits.py",
    "runtime/boundary.py",
    "runtime/breaker.py",
    "runtime/cache.py",
    "runtime/client.py",
    "runtime/codec.py",
    "runtime/deadline.py",
    "runtime/describe.py",
    "runtime/device.py",
    "runtime/ed25519.py",
    "runtime/estimate.py",
    "runtime/inputs.py",
    "runtime/litert.py",
    "runtime/router.py",
    "runtime/sending.py",
    "runtime/quiet.py",
    "runtime/main.py",
    "runtime/objective.py",
    "runtime/outbox.py",
    "runtime/policy.py",
    "runtime/probe.py",
    "runtime/scout.py",
    "runtime/rans.py",
    "runtime/selftest.py",
    "runtime/session.py",
    "runtime/signature.py",
    "runtime/stream.py",
    "runtime/symbols.py",
    "runtime/tables.py",
    "runtime/timing.py",
    "runtime/tokens.py",
    "runtime/watch.py",
    "runtime/wire.py",
)
_MAIN = "from edgecut.runtime.main import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can name

_RUN = """#!/bin/sh
# Runs one request: run.sh --input x.npy [--server URL] [--cut NAME] [--output y.npz] [--json]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/edgecut-runtime.pyz" run "$here/../manifest.json" "$@"
"""
_PROFILE = """#!/bin/sh
# Times the edge half of every cut on this device, as JSON: profile.sh [--runs N] [--threads N]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/edgecut-runtime.pyz" profile "$here/../manifest.json" "$@"
"""
_UNIT = """# The device half as a service. Put the build in /opt/edgecut, then:
#   cp /opt/edgecut/edge/edgecut.service /etc/systemd/system/ && systemctl enable --now edgecut
# Requests are files that appear in /var/lib/edgecut/in; answers are lines of /var/lib/edgecut/answers.
[Unit]
Description=edgecut device runtime
After=network.target
StartLimitIntervalSec=0

[Service]
Environment=SERVER=http://127.0.0.1:8000
EnvironmentFile=-/etc/edgecut.env
DynamicUser=yes
StateDirectory=edgecut
ExecStartPre=/bin/mkdir -p /var/lib/edgecut/in
ExecStart=/usr/bin/python3 /opt/edgecut/edge/edgecut-runtime.pyz watch /opt/edgecut --server ${SERVER} \\
    --folder /var/lib/edgecut/in --answers /var/lib/edgecut/answers --queue /var/lib/edgecut/queue \\
    --status /var/lib/edgecut/status.json
Restart=always
RestartSec=1
# SIGTERM lets it finish the request under way.
TimeoutStopSec=60
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

[Install]
WantedBy=multi-user.target
"""


def write(folder: Path) -> list[Path]:
    """Write the device's files into a build's ``edge`` folder.

    Returns:
        The files written.

    Raises:
        TargetError: The disk is full or the place cannot be written.
    """
    programs = {NAME: application(), "run.sh": _RUN.encode(), "profile.sh": _PROFILE.encode()}
    for name, data in programs.items():
        files.write(folder / name, data)
        (folder / name).chmod(0o755)
    files.write(folder / UNIT, _UNIT.encode())
    return [folder / name for name in (*programs, UNIT)]


def application() -> bytes:
    """The zip application."""
    root = Path(edgecut.__file__).parent
    version = f'"""edgecut\'s device runtime."""\n\n__version__ = "{edgecut.__version__}"\n'
    sources = {"__main__.py": _MAIN, "edgecut/__init__.py": version}
    sources.update({f"edgecut/{m}": (root / m).read_text(encoding="utf-8") for m in MODULES})
    buffer = io.BytesIO(b"")
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sources.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # the same bytes wherever the build runs
            archive.writestr(info, text)
    return buffer.getvalue()
