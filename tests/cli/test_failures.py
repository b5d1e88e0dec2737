"""Bad input of each kind: one clear line, the documented exit code, and nothing half-written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

Edgecut = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = FIXTURES / "digits.onnx"
CALIBRATION = FIXTURES / "digits_calibration.npz"
TARGETS = ("--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi")


def refused(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("edgecut: error: ")]
    assert len(lines) == 1, done.stderr
    assert re.search(message, lines[0]), lines[0]


def bad_operator(path: Path) -> Path:
    model = onnx.load(MODEL)
    model.graph.node[2].op_type = "Convolve"
    onnx.save(model, path)
    return path


def truncated(path: Path) -> Path:
    data = MODEL.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def wrong_shape(path: Path) -> Path:
    np.savez(path, np.zeros((4, 7, 7, 5), np.float32))
    return path


def not_finite(path: Path) -> Path:
    shape = [d.dim_value for d in onnx.load(MODEL).graph.input[0].type.tensor_type.shape.dim]
    np.savez(path, np.full([4, *shape[1:]], np.nan, np.float32))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "no such file"),
        (truncated, r"m\.onnx"),
        (bad_operator, "Convolve"),
        (lambda path: path.write_text("hello") and path, r"m\.onnx"),
        (lambda path: path.mkdir() or path, r"m\.onnx"),
    ],
    ids=["missing", "truncated", "unknown operator", "text", "empty folder"],
)
def test_a_model_that_cannot_be_used(
    edgecut: Edgecut, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    done = edgecut("build", make(tmp_path / "m.onnx"), *TARGETS, "-o", tmp_path / "out")
    refused(done, 1, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_shape, r"is float32 \[4, 7, 7, 5\], but the input"),
        (not_finite, "NaN|finite"),
        (lambda path: path, "no such file"),
    ],
    ids=["shape", "nan", "missing"],
)
def test_calibration_data_that_cannot_be_used(
    edgecut: Edgecut, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    data = make(tmp_path / "d.npz")
    done = edgecut("build", MODEL, *TARGETS, "--calibration", data, "-o", tmp_path / "out")
    refused(done, 1, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--edge", "raspberrypi9"), "unknown device 'raspberrypi9'.*raspberrypi"),
        (("--cloud", "nowhere"), "unknown device 'nowhere'"),
        (("--network", "pigeon"), "unknown network 'pigeon'"),
        (("--network", "absent.toml"), "absent.toml: no such file"),
        (("-p", "simplify,quantise"), "unknown pass 'quantise'.*quantize"),
        (("-p", "simplify{fast=true}"), "pass simplify has no option 'fast'"),
        (("-p", "simplify,"), "column 10"),
        (("-p", "prune{ratio=lots}"), "ratio"),
        (("--cut", "nowhere"), "no tensor named 'nowhere'"),
        (("--mean", "0.5"), "need --image"),
        (("--quantize", "int8"), "needs --calibration"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_are_wrong(
    edgecut: Edgecut, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = edgecut("build", MODEL, *TARGETS, *arguments, "-o", tmp_path / "out")
    refused(done, 2, message)
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_of_the_command_is_usage(edgecut: Edgecut) -> None:
    done = edgecut("build", MODEL, "--fast")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_a_folder_of_the_users_is_never_replaced(edgecut: Edgecut, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    refused(edgecut("build", MODEL, *TARGETS, "-o", tmp_path / "out"), 3, "is no build directory")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(edgecut: Edgecut, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"\0" * 200_000)
    done = edgecut("build", MODEL, *TARGETS, "-o", small_disk / "out")
    refused(done, 3, "no space left on device")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_build_leaves_the_old_one_whole(
    edgecut: Edgecut, tmp_path: Path, how: signal.Signals
) -> None:
    """Kill builds at many moments; what stands at the output is always a whole build."""
    arguments = [str(MODEL), *TARGETS, "-o", str(tmp_path / "out")]
    assert edgecut("build", *arguments).returncode == 0
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    environment = {**os.environ, "EDGECUT_CACHE": str(tmp_path / "store")}
    for delay in (0.6, 1.0, 1.4, 1.8):  # before that it is Python that starts, not we
        command = [sys.executable, "-m", "edgecut", "build", "--no-cache", *arguments]
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.send_signal(how)
        _, errors = process.communicate()
        assert b"Traceback" not in errors
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert edgecut("build", *arguments).returncode == 0
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]
    assert left == []


@pytest.mark.parametrize(("raised", "code"), [("KeyboardInterrupt", 130), ("SystemExit(143)", 143)])
def test_an_interrupted_import_of_an_extension_module(raised: str, code: int) -> None:
    """Extension modules turn what a signal's handler raises during their import into an ImportError."""
    program = f"""
import edgecut.cli.app

def interrupted():
    try:
        raise {raised}
    except BaseException as error:
        raise ImportError("initialization failed") from error

edgecut.cli.app.main = interrupted
from edgecut.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_output_to_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m edgecut show {MODEL} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    assert done.stderr == b""


def test_a_command_ends_with_all_that_was_to_be_done_at_its_end() -> None:
    program = """
import atexit, sys, threading, time
from edgecut.__main__ import main

def last():
    time.sleep(0.2)
    print("thread")

sys.argv = ["edgecut", *sys.argv[1:]]
atexit.register(print, "cleaned")
if "--version" in sys.argv:
    threading.Thread(target=last).start()
main()
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["thread", "cleaned"]
    done = subprocess.run([*run, "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "cleaned\n"
    assert "nonsense" in done.stderr


def test_output_that_was_closed_from_the_start_is_no_error() -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m edgecut --version >&-"], check=False)
    assert done.returncode == 0
