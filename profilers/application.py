"""Writes the profiler as one zip application, with the shell script that starts it on a device.

Both need Python 3.9, NumPy and ai-edge-litert there, and nothing else. Their bytes depend on our sources
alone.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edgecut
from edgecut.ir import files

APPLICATION = "edgecut-profile.pyz"
SCRIPT = "profile.sh"
MODULES = (
    "ir/__init__.py",
    "ir/typed.py",
    "profilers/__init__.py",
    "profilers/clock.py",
    "profilers/litert_capi.py",
    "profilers/machine.py",
    "profilers/ondevice.py",
    "profilers/record.py",
    "profilers/stats.py",
)
_MAIN = "from edgecut.profilers.ondevice import run\n\nrun()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can name

PROFILE_SH = """#!/bin/sh
# Profiles a TFLite file on this device, as JSON:
#   sh profile.sh model.tflite [--threads N] [--runs N] [--seconds S] > profile.json
# PYTHON names the interpreter to use. Exit codes: 1 the model, 2 usage, 3 something is missing here.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}
application=$here/edgecut-profile.pyz

missing() {
    printf 'edgecut profile: %s\\n' "$1" >&2
    exit 3
}

command -v "$python" >/dev/null 2>&1 || missing "no $python here (install Python 3.9 or later)"
[ -f "$application" ] || missing "$application is not beside this script"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || missing "$python is older than Python 3.9"
"$python" -c 'import numpy, ai_edge_litert.interpreter' 2>/dev/null ||
    missing "NumPy or LiteRT is missing here (install them: $python -m pip install numpy ai-edge-litert)"
exec "$python" "$application" "$@"
"""


def write(folder: Path) -> list[Path]:
    """Write the application and its script.

    Raises:
        TargetError: The disk is full or the place cannot be written.
    """
    contents = {APPLICATION: application(), SCRIPT: PROFILE_SH.encode()}
    for name, data in contents.items():
        files.write(folder / name, data)
        (folder / name).chmod(0o755)
    return [folder / name for name in contents]


def application() -> bytes:
    """The zip application."""
    root = Path(edgecut.__file__).parent
    sources = {"__main__.py": _MAIN, "edgecut/__init__.py": f'__version__ = "{edgecut.__version__}"\n'}
    sources.update({f"edgecut/{m}": (root / m).read_text(encoding="utf-8") for m in MODULES})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sources.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # the same bytes wherever it is made
            archive.writestr(info, text)
    return buffer.getvalue()
