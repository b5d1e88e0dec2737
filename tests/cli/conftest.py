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
def edgecut(tmp_path_factory: pytest.TempPathFactory) -> Edgecut:
    """Runs ``edgecut ARGUMENTS`` with a store of its own."""
    store = str(tmp_path_factory.mktemp("store"))

    def run(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EDGECUT_CACHE": store, "COLUMNS": "120", **more}
        command = [sys.executable, "-m", "edgecut", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)

    return run
