"""Runs in litert-torch's environment: ``torch_driver.py NAME MODELS OUT float|int8``.

Prints the seconds that making the torch model took, which a user of the converter would not spend.
"""

from __future__ import annotations

import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "networks"))


def main() -> None:
    name, models, out, kind = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    import litert_torch
    import numpy as np
    import torch

    start = time.perf_counter()
    from catalogue import NETWORKS
    from export import torch_model

    with np.load(models / f"{name}.npz") as stored:
        inputs = dict(stored)
    model = torch_model(NETWORKS[name], False, inputs, zlib.crc32(name.encode()))
    print(f"making the model: {time.perf_counter() - start}")
    sample = tuple(torch.from_numpy(v[:1].copy()) for v in inputs.values())
    path = out / ("model.tflite" if kind == "float" else "float.tflite")
    litert_torch.convert(model, sample).export(str(path))
    if kind == "int8":
        _quantize(path, out / "model.tflite", list(inputs.values()))


def _quantize(source: Path, target: Path, inputs: list) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    interpreter = Interpreter(str(source))
    (key,) = interpreter.get_signature_list()
    details = interpreter.get_signature_runner(key).get_input_details()
    names = sorted(details, key=lambda n: int(n.rpartition("_")[2]))
    typed = [v.astype(details[n]["dtype"]) for n, v in zip(names, inputs, strict=True)]
    data = [{n: v[i : i + 1] for n, v in zip(names, typed, strict=True)} for i in range(len(inputs[0]))]
    made = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    calibration = made.calibrate({"serving_default": data})
    made.quantize(calibration).export_model(str(target), overwrite=True)


if __name__ == "__main__":
    main()
