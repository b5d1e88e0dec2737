"""A real third-party package, installed by pip, adds a pass on the same path as ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgecut.ir.program import Program


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder with the plugin installed in it."""
    folder = tmp_path_factory.mktemp("site")
    package = tmp_path_factory.mktemp("package") / "plugin"
    shutil.copytree(root / "tests" / "plugin", package)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(folder), str(package)], check=True, capture_output=True)
    return folder


def edgecut(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "edgecut", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_is_listed_with_its_options(site: Path) -> None:
    found = edgecut(site, "passes", "shout", "--json")
    assert found.returncode == 0, found.stderr
    (entry,) = json.loads(found.stdout)
    assert entry["package"] == "edgecut-shout"
    assert entry["options"] == [
        {"name": "marks", "type": "int", "default": "1", "help": "exclamation marks to add"}
    ]


def test_it_runs_in_a_pipeline(site: Path, tmp_path: Path, residual: Program) -> None:
    residual.save(tmp_path / "m.onnx")
    arguments = [str(tmp_path / "m.onnx"), "-p", "simplify,shout{marks=3}", "-o", str(tmp_path / "o.onnx")]
    found = edgecut(site, "opt", *arguments)
    assert found.returncode == 0, found.stderr
    assert Program.load(tmp_path / "o.onnx").graph.name == "RESIDUAL!!!"


def test_two_packages_with_one_name_are_an_error(site: Path, tmp_path: Path) -> None:
    rival = tmp_path / "rival-1.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (rival / "entry_points.txt").write_text("[edgecut.passes]\nshout = rival:Shout\n")
    found = edgecut(site, "passes")
    assert found.returncode == 0, found.stderr
    environment = f"{site}{os.pathsep}{tmp_path}"
    clash = edgecut(Path(environment), "passes")
    assert clash.returncode == 2
    assert "offered by" in clash.stderr
    assert "rival" in clash.stderr


def test_a_package_that_does_not_load_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[edgecut.passes]\nlost = no_such_module:Lost\n")
    found = edgecut(tmp_path, "passes", "lost")
    assert found.returncode == 2
    assert "package broken does not load" in found.stderr
    assert "Traceback" not in found.stderr
