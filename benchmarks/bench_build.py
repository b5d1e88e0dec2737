"""How long the command takes: its start, and whole builds from model to directory, as processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"
FIXTURES = ROOT / "fixtures"
IMAGE = ["--image", "input", "--mean", "127.5", "--std", "127.5"]
TARGETS = ["--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi"]
RUNS = 7


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by name; the first is the baseline that every ratio refers to."""
    edgecut = [sys.executable, "-m", "edgecut"]
    out = ["-o", str(folder / "out")]
    digits = [*edgecut, "build", str(FIXTURES / "digits.onnx"), *IMAGE, *TARGETS, *out]
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "edgecut --help": [*edgecut, "--help"],
        "build digits, float": [*digits, "--no-cache"],
        "build digits, int8": [
            *digits,
            "--calibration",
            str(FIXTURES / "digits_calibration.npz"),
            "--no-cache",
        ],
        "build digits, float, nothing changed": digits,
    }
    if ZOO.is_dir():
        model = str(ZOO / "models" / "mobilenetv2_imagenet.onnx")
        found["build MobileNetV2, float"] = [*edgecut, "build", model, *IMAGE, *TARGETS, *out, "--no-cache"]
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "EDGECUT_CACHE": str(folder / "store")}
        timed = commands(folder)
        seconds: dict[str, list[float]] = {key: [] for key in timed}
        for run in range(RUNS + 1):
            for key, command in timed.items():
                start = time.perf_counter()
                subprocess.run(command, env=environment, check=True, capture_output=True)
                if run:  # the first round warms the disk
                    seconds[key].append(time.perf_counter() - start)
    print(f"## Start and whole builds\n\nWall seconds of the process, {RUNS} interleaved runs.\n")
    print("| command | median | min | max |\n|---|---|---|---|")
    for key, times in seconds.items():
        print(f"| {key} | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
