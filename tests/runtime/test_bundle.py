"""The device's files: one zip application and its scripts, as they run where edgecut is not installed."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.runtime import bundle

ALLOWED = {"numpy", "ai_edge_litert", "edgecut", *sys.stdlib_module_names}


@pytest.fixture
def device(cloud_build: Path, tmp_path: Path) -> Path:
    """A device's copy of a build: its manifest and its ``edge`` folder, no more."""
    (tmp_path / "edge").mkdir()
    shutil.copy(cloud_build / "manifest.json", tmp_path)
    bundle.write(tmp_path / "edge")
    return tmp_path


def bare(*command: object) -> subprocess.CompletedProcess[str]:
    """Run without the site's edgecut: an empty PYTHONPATH, and only NumPy and LiteRT visible."""
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, env=environment)


def test_application_answers_through_its_script(
    device: Path, cloud_url: str, digits: Any, truth: np.ndarray
) -> None:
    np.save(device / "x.npy", digits.images[0])
    script = device / "edge" / "run.sh"
    found = bare("sh", script, "--input", device / "x.npy", "--server", cloud_url, "--json")
    assert found.returncode == 0, found.stderr
    logits = json.loads(found.stdout)["outputs"]["logits"]["data"]
    # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
    np.testing.assert_allclose(logits, truth[0], rtol=1e-5, atol=1e-5)


def test_profile_of_a_build_without_edge_work_is_empty(device: Path) -> None:
    found = bare("sh", device / "edge" / "profile.sh", "--runs", "2")
    assert json.loads(found.stdout) == {"cuts": []}


def test_application_reports_errors_in_one_line(device: Path) -> None:
    found = bare("sh", device / "edge" / "run.sh", "--input", "absent.npy")
    assert found.returncode == 1
    assert found.stderr == "edgecut: error: absent.npy: no such file\n"


def test_every_module_is_python_3_9_and_imports_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.application())) as archive:
        sources = {n: archive.read(n).decode() for n in archive.namelist()}
    inside = {n.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for n in sources}
    for name, text in sources.items():
        tree = ast.parse(text, name, feature_version=(3, 9))
        for node in ast.walk(tree):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert module.split(".")[0] in ALLOWED, f"{name} imports {module}"
                optional = name.endswith("describe.py") and module.endswith("compare")  # for types only
                assert not module.startswith("edgecut.") or module in inside or optional, f"{name}: {module}"


def test_bytes_depend_on_the_sources_alone(tmp_path: Path) -> None:
    first = bundle.application()
    for path in bundle.write(tmp_path):
        os.utime(path, (0, 0))
    assert (tmp_path / bundle.NAME).read_bytes() == first


def test_scripts_are_posix_sh(tmp_path: Path, root: Path, stepwise_build: Path) -> None:
    shell = shutil.which("dash") or shutil.which("sh") or "sh"
    written = [path for path in bundle.write(tmp_path) if path.suffix == ".sh"]
    scripts = [*written, stepwise_build / "cloud" / "tensorrt.sh", *root.glob("tests/*/run.sh")]
    assert len(scripts) == 5
    for path in scripts:
        assert subprocess.run([shell, "-n", path], check=False).returncode == 0
        assert os.access(path, os.X_OK)


def test_shellcheck_finds_nothing(tmp_path: Path, root: Path, stepwise_build: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    written = [path for path in bundle.write(tmp_path) if path.suffix == ".sh"]
    scripts = [*written, stepwise_build / "cloud" / "tensorrt.sh", *root.glob("tests/*/run.sh")]
    found = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    bundle.write(tmp_path)
    # What it starts need not be on this machine.
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / bundle.UNIT)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    about_us = [line for line in found.stderr.splitlines() if bundle.UNIT in line]
    assert [line for line in about_us if "not executable" not in line] == []
    # The options that the unit starts it with are ones that it has.
    unit = (tmp_path / bundle.UNIT).read_text().replace("\\\n", " ")
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    arguments = line.split("edgecut-runtime.pyz ")[1].split()
    from edgecut.runtime import main

    assert main._parser().parse_args(arguments).command is main._watch
