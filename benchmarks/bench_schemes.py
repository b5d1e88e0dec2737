"""Every quantization scheme on real labelled data: size of the file, accuracy, output error, time in LiteRT.

Figures of accuracy are of test samples that nothing was calibrated with; all files are compared with the
float model in ONNX Runtime.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from bench_quantize import _emit, _litert, _ratio, _run, _time, _times
from zoo_cases import ZOO, Case, cases, measure

from edgecut.passes.numerics import Runner

SCHEMES = ("int8", "int16x8", "int8-dynamic", "int8-weights", "int4-weights", "float16")
HEAD = """\
## Quantization schemes

`edgecut quantize --scheme`, then one TFLite file. Top-1, agreement and signal to noise of the outputs with
the float model, on test samples; time of one inference in LiteRT, one thread, in turns (median, quartiles).

| model | scheme | KB | top-1 % | agreement % | SQNR dB | LiteRT us | of float |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    if not ZOO.is_dir():
        print("## Quantization schemes\n\nThe model zoo is not on this machine.")
        return
    logging.disable(logging.WARNING)
    print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        os.environ["EDGECUT_CACHE"] = str(Path(name) / "store")
        for case in cases():
            _rows(case, Path(name))


def _rows(case: Case, folder: Path) -> None:
    path = folder / "calibration.npz"
    np.savez(path, allow_pickle=False, **{case.input: case.calibration})
    front = f"import{{model={case.model}}},simplify"
    texts = {"float": front}
    texts |= {s: f"{front},quantize{{scheme={s},calibration={path}}}" for s in SCHEMES}
    programs = {name: _run(text) for name, text in texts.items()}
    files = {name: _emit(program) for name, program in programs.items()}
    reference = Runner(programs["float"])
    times = _times(files)
    for name, file in files.items():
        found = measure(reference, _litert(file, reference.names), case)
        cells = [
            case.name, name, f"{len(file) / 1000:.0f}", f"{100 * found.accuracy:.1f}",
            f"{100 * found.agreement:.1f}", f"{found.sqnr_db:.1f}", _time(times[name]), _ratio(times, name),
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
