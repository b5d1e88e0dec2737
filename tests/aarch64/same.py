"""Compares two answers of ``run --json``: same.py CUT HERE THERE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def logits(path: str) -> np.ndarray:
    return np.array(json.loads(Path(path).read_text())["outputs"]["logits"]["data"])


cut, here, there = sys.argv[1], logits(sys.argv[2]), logits(sys.argv[3])
largest = float(np.abs(here - there).max() / np.abs(here).max())
print(f"{cut}: largest difference {largest:.2g} of the largest value")
# Float kernels add in another order on another processor; int8 ones may round a value to the other side.
if largest > 0.02 or here.argmax() != there.argmax():
    sys.exit(f"{cut}: the answers differ: {here} and {there}")
