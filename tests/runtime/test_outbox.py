"""Requests on disk: complete or absent, in order, bounded, and never twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.errors import TargetError, UsageError
from edgecut.runtime.outbox import Outbox, OutboxFullError

X = {"x": np.arange(6, dtype=np.int8).reshape(2, 3)}


def test_requests_survive_and_keep_their_order(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    for name in ("b", "a", "c-1"):
        box.put(name, X)
    again = Outbox(tmp_path)
    assert again.ids() == ["b", "a", "c-1"]
    np.testing.assert_array_equal(again.get("c-1")["x"], X["x"])
    again.remove("b")
    assert Outbox(tmp_path).ids() == ["a", "c-1"]


def test_same_id_is_kept_once(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put("a", X)
    box.put("a", {"x": np.zeros(1)})
    assert len(box) == 1
    assert box.get("a")["x"].shape == (2, 3)


def test_bounds_hold(tmp_path: Path) -> None:
    box = Outbox(tmp_path, max_requests=2)
    box.put("a", X)
    box.put("b", X)
    with pytest.raises(OutboxFullError, match="2 requests are waiting"):
        box.put("c", X)
    with pytest.raises(OutboxFullError):
        Outbox(tmp_path, max_bytes=10).put("d", X)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 200, "a\0b"])
def test_ids_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no request id"):
        Outbox(tmp_path).put(name, X)
    assert list(tmp_path.iterdir()) == []


def test_half_written_file_is_removed_and_damaged_one_is_an_error(tmp_path: Path) -> None:
    Outbox(tmp_path).put("a", X)
    (tmp_path / ".00000000000000000001-b.npz.part").write_bytes(b"half")
    box = Outbox(tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".npz"]
    next(tmp_path.iterdir()).write_bytes(b"garbage")
    with pytest.raises(TargetError, match="cannot be read"):
        box.get("a")
    box.reject("a")
    assert [p.suffix for p in tmp_path.iterdir()] == [".rejected"]
    assert len(Outbox(tmp_path)) == 0


WRITER = """
import sys, numpy as np
from pathlib import Path
from edgecut.runtime.outbox import Outbox
box = Outbox(Path(sys.argv[1]))
for i in range(100000):
    box.put(f"r{i}", {"x": np.full(1000, i)})
    print(i, flush=True)
"""


def test_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    kept = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    kept += [int(line) for line in writer.communicate()[0].splitlines() if line.strip()]
    box = Outbox(tmp_path)
    assert {f"r{i}" for i in kept} <= set(box.ids())
    for name in box.ids():
        assert (box.get(name)["x"] == int(name[1:])).all()
