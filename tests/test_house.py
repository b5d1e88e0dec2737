"""The layout: every folder of code is packaged, and the rooms are where the type checkers look."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOMS = ("cli", "frontends", "ir", "passes", "profilers", "runtime", "targets")


def test_every_folder_of_code_is_in_the_packages_list(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {"edgecut"}
    for room in ROOMS:
        folders = {path.parent for path in (root / room).rglob("*.py")}
        folders |= {path.parent for path in (root / room).rglob("*.toml")}
        found |= {"edgecut." + ".".join(f.relative_to(root).parts) for f in folders}
    assert found == listed


def test_every_room_has_its_link(root: Path) -> None:
    links = {path.name for path in (root / "src" / "edgecut").iterdir() if path.is_symlink()}
    assert links == set(ROOMS)
    assert all((root / "src" / "edgecut" / name).resolve() == root / name for name in links)
