"""Files and directories appear whole or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgecut.ir import files
from edgecut.ir.errors import TargetError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    files.write(tmp_path / "new" / "f", b"1")
    files.write(tmp_path / "new" / "f", b"2")
    assert (tmp_path / "new" / "f").read_bytes() == b"2"
    assert names(tmp_path / "new") == ["f"]


def test_a_staged_directory_appears_when_its_block_succeeds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with files.staged_directory(out, "marker") as stage:
        (stage / "marker").write_text("")
        (stage / "old").write_text("")
        assert not out.exists()
    with files.staged_directory(out, "marker") as stage:
        (stage / "marker").write_text("")
        assert names(out) == ["marker", "old"]
    assert names(out) == ["marker"]
    assert names(tmp_path) == ["out"]


def test_a_failed_block_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "marker").write_text("before")

    def fail() -> None:
        with files.staged_directory(out, "marker") as stage:
            (stage / "marker").write_text("after")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (out / "marker").read_text() == "before"
    assert names(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".out.{dead.pid}-abc").mkdir()
    (tmp_path / ".out.1-abc").mkdir()  # process 1 is always alive
    with files.staged_directory(tmp_path / "out", "marker") as stage:
        (stage / "marker").write_text("")
    assert names(tmp_path) == [".out.1-abc", "out"]


@pytest.mark.parametrize("content", ["file", "folder"])
def test_what_is_no_build_is_never_replaced(tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    if content == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("")

    def stage() -> None:
        with files.staged_directory(out, "marker"):
            pass

    with pytest.raises(TargetError, match="is no build directory"):
        stage()
    assert out.exists()
