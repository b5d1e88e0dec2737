"""GELU spelled out in operators stays one float kernel between integer ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.quantize.static import Quantize
from edgecut.targets import tflite
from edgecut.targets.tflite import inspect

Build = Callable[..., Program]
Save = Callable[..., Path]

# As Keras, torch (tanh) and ONNX Runtime write it: the first two begin with a product of what was quantized.
SPELLINGS = {
    "erfc": "h = Mul(half, a)  n = Neg(a)  r = Mul(n, root)  e = Erf(r)  f = Sub(one, e)  g = Mul(h, f)",
    "tanh": """s = Mul(a, a)  c = Mul(s, a)  k = Mul(c, cubic)  i = Add(a, k)  j = Mul(i, twice)  t = Tanh(j)
        p = Add(t, one)  h = Mul(a, half)  g = Mul(h, p)""",
    "erf": "q = Mul(a, root)  e = Erf(q)  p = Add(e, one)  m = Mul(a, p)  g = Mul(m, half)",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_kernel_between_integers(build: Build, save: Save, spelling: str) -> None:
    rng = np.random.default_rng(0)
    numbers = {"half": 0.5, "root": 0.5**0.5, "one": 1.0, "cubic": 0.044715, "twice": (2 / np.pi) ** 0.5}
    used = {n: np.float32(v).reshape(()) for n, v in numbers.items() if n in SPELLINGS[spelling]}
    weights = {n: rng.standard_normal((8, 8)).astype(np.float32) / 3 for n in ("wa", "wb")}
    text = f"""net (float[4,8] x) => (float[4,8] y)
    {{ a = MatMul(x, wa)  {SPELLINGS[spelling]}  y = MatMul(g, wb) }}"""
    data = save(x=rng.standard_normal((8, 4, 8)).astype(np.float32))
    program = build(text, **weights, **used)
    found = Quantize(calibration=data).run(program, Context())
    kinds = inspect.operators(tflite.convert(found))
    assert kinds == Counter(FULLY_CONNECTED=2, GELU=1, QUANTIZE=2, DEQUANTIZE=2)
