"""Pruning MobileNetV2 on few images, without labels or training: time, memory, and the accuracy that is left.

ImageNet has 100 images in all: 40 calibrate, 60 test (see `zoo_cases`). Takes some four minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from zoo_cases import ZOO, Case, cases, measure

from edgecut.ir.program import Program
from edgecut.passes.effects import size
from edgecut.passes.numerics import Runner

SHARES = (0.2, 0.3)
# In a process of its own, so that its memory is that of pruning; the front is not counted.
SCRIPT = """
import re, sys, time
from pathlib import Path
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.prune.channels import Prune
program = Program.load(Path(sys.argv[1]))
start = time.process_time()
found = Prune(macs=float(sys.argv[3]), calibration=Path(sys.argv[2])).run(program, Context())
seconds = time.process_time() - start
found.save(Path(sys.argv[4]))
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(f"{seconds:.0f} {peak / 1024:.0f}")
"""


def main() -> None:
    print("## Pruning a large network\n")
    if not ZOO.is_dir():
        print("The model zoo is not on this machine.")
        return
    print("MobileNetV2, 40 calibration images without labels; top-1 on 60 others. Time of the processor, one")
    print("thread, and peak memory of the process.\n")
    print("| operations asked for | MACs | weights | top-1 % | agreement % | s | MB |")
    print("|---|---|---|---|---|---|---|")
    (case,) = (c for c in cases() if c.name == "MobileNetV2")
    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        _rows(case, Path(name))


def _rows(case: Case, folder: Path) -> None:
    from edgecut.passes import pipeline, recipes
    from edgecut.passes.base import Context

    data, model, pruned = (folder / name for name in ("data.npz", "model.onnx", "pruned.onnx"))
    np.savez(data, allow_pickle=False, **{case.input: case.calibration})
    whole = pipeline.run(recipes.Source(case.model).front(), Program.empty(), Context())
    whole.save(model)
    reference = Runner(whole)
    for share in (0.0, *SHARES):
        program, seconds, peak = whole, "", ""
        if share:
            command = [sys.executable, "-c", SCRIPT, model, data, str(share), pruned]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds, peak = done.stdout.split()
            program = Program.load(pruned)
        found, own = measure(reference, Runner(program), case), size(program)
        print(
            f"| {f'-{100 * share:.0f} %' if share else 'float'} | {own.macs / 1e6:.0f} M "
            f"| {own.weight_bytes / 1e6:.1f} MB | {100 * found.accuracy:.1f} | {100 * found.agreement:.1f} "
            f"| {seconds} | {peak} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
