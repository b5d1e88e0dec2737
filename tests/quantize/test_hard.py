"""Hard swish in int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.ir.annotations import Origin, get
from edgecut.ir.program import Program
from edgecut.passes import numerics
from edgecut.passes.quantize import integers

TEXT = """
net (float[1,4,8,8] x) => (float[1,6,8,8] y) {
    c = Conv(x, wa)
    [swish] h = HardSwish(c)
    y = Conv(h, wb)
}"""


def test_hard_swish_becomes_two_integer_operators(
    build: Callable[..., Program], save: Callable[..., Path]
) -> None:
    random = np.random.default_rng(0)
    weights = {
        k: random.standard_normal(s).astype("f4") for k, s in (("wa", (5, 4, 1, 1)), ("wb", (6, 5, 1, 1)))
    }
    program = build(TEXT, **weights)
    before = program.copy()
    samples: list[dict[str, Any]] = [
        {"x": random.standard_normal((1, 4, 8, 8)).astype("f4")} for _ in range(4)
    ]
    found = integers.calibrated(program, samples).quantized()
    kinds = [n.op_type for n in found.nodes if "Linear" not in n.op_type]
    assert kinds == ["Conv", "HardSigmoid", "Mul", "Conv"]
    (gate,) = [n for n in found.nodes if n.op_type == "HardSigmoid"]
    assert get(gate, Origin) is not None
    values = found.values()
    (node,) = [u.node for u in gate.outputs[0].uses()]
    constants = [values[v.name or ""].const_value for v in node.inputs[1:] if v is not None]
    assert [c.numpy().item() for c in constants if c is not None] == [np.float32(1 / 255), -128]
    # Four roundings to 8 bits, each some 40 dB below what it rounds.
    assert numerics.compare(before, found, samples).sqnr_db > 30


def test_another_slope_stays_in_float(build: Callable[..., Program]) -> None:
    random = np.random.default_rng(0)
    text = "net (float[1,4] x) => (float[1,4] y) { h = MatMul(x, w)  y = HardSigmoid<alpha=0.2>(h) }"
    program = build(text, w=random.standard_normal((4, 4)).astype("f4"))
    found = integers.calibrated(program, [{"x": random.standard_normal((1, 4)).astype("f4")}]).quantized()
    assert [u.node.op_type for u in found.value("y").uses()] == []
    assert sum(n.op_type == "QuantizeLinear" for n in found.nodes) == 2
