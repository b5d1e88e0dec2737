"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Edgecut = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = FIXTURES / "digits.onnx"
CALIBRATION = FIXTURES / "digits_calibration.npz"
TEST_DATA = FIXTURES / "digits_test.npz"


@pytest.fixture(scope="session")
def edgecut() -> Edgecut:
    """Runs ``edgecut ARGUMENTS``."""

    def run(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "120", **more}
        command = [sys.executable, "-m", "edgecut", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)

    return run
