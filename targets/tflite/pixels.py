"""Pixels into int8 by one exact operator.

An image comes as uint8; the program makes floats of it, scales and shifts them, and rounds the result to
int8. Where that gives ``pixel - 128`` for all 256 pixels, which is computed here and not guessed, a QUANTIZE
from uint8 to int8 does the same without any float.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Graph, Op, Quant, Tensor

_MOVES = ("RESHAPE", "TRANSPOSE")


def run(graph: Graph) -> None:
    """Replace every such chain."""
    lir.rewrite(graph, _rule)


def _rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    x = op.inputs[0] if op.kind == "QUANTIZE" else None
    if x is None or x.dtype != np.float32 or op.output.dtype != np.int8:
        return None
    steps = _steps(x)
    quant = op.output.quant
    if steps is None or quant is None or not np.array_equal(_rounded(steps, quant), np.arange(-128, 128)):
        return None
    pixels = steps[0].inputs[0]
    assert pixels is not None
    known = Quant(quant.scale, quant.zero + 128)
    if pixels.quant is not None and not known.same(pixels.quant):
        return None
    pixels.quant = known
    sources = op.sources.union(*(s.sources for s in steps))
    (out,) = lir.emit("QUANTIZE", [pixels], [pixels.shape], [np.int8], sources)
    out.quant = quant
    for step in steps:
        if step.kind in _MOVES:
            out = lir.like(step, [out, *step.inputs[1:]]).output
            out.dtype, out.quant = np.dtype(np.int8), quant
    return out


def _steps(tensor: Tensor) -> list[Op] | None:
    """From the CAST of uint8 to a tensor: moves, and arithmetic with single numbers; None where else."""
    found: list[Op] = []
    while tensor.op is not None:
        op = tensor.op
        found.append(op)
        data = [t for t in op.inputs if t is not None and not t.is_constant]
        if len(data) != 1:
            return None
        if op.kind == "CAST":
            return found[::-1] if data[0].dtype == np.uint8 else None
        if op.kind not in (*_MOVES, "ADD", "SUB", "MUL", "DIV"):
            return None
        if op.kind not in _MOVES and (_number(op) is None or op.options.get("fusedActivationFunction")):
            return None
        tensor = data[0]
    return None


def _rounded(steps: list[Op], quant: Quant) -> Array:
    """What becomes of each pixel, in float32 as the program computes it."""
    numbers = np.arange(256, dtype=np.float32)
    for op in steps[1:]:
        if op.kind not in _MOVES:
            number = _number(op)
            assert number is not None
            first = op.inputs[0] is not None and op.inputs[0].is_constant
            operands = (number, numbers) if first else (numbers, number)
            numbers = _FUNCTIONS[op.kind](*operands)
    rounded = np.rint(numbers / quant.scale[0]) + quant.zero[0]
    return np.asarray(np.clip(rounded, -128, 127), np.int64)


def _number(op: Op) -> np.float32 | None:
    """The number that all elements of the constant operand are."""
    constant = next((t for t in op.inputs if t is not None and t.is_constant), None)
    if constant is None or constant.quant is not None or constant.data is None or not constant.data.size:
        return None
    first = constant.data.ravel()[0]
    return np.float32(first) if (constant.data == first).all() else None


_FUNCTIONS = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}
