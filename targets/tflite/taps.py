"""Large depthwise convolutions in parts that have fast kernels.

XNNPACK's depthwise kernels end at 25 taps; what is larger is computed as a grouped convolution of one
channel each, several times slower. A sum of convolutions over every m-th row and n-th column of the kernel,
spread by a dilation, is the same; with that choice of taps each part reads the whole image, padded.

In float only: sums of int8 would be rounded between the parts. So `quantize` leaves such convolutions as they
are.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.fuse import single
from edgecut.targets.tflite.lir import Graph, Op, Tensor
from edgecut.targets.tflite.ops.window import SAME, VALID

# Numbers of taps of XNNPACK's kernels for float32; fewer taps cost as much as the next larger kernel.
KERNELS = (3, 4, 9, 25)
# What adding a part's result costs, in taps: it moves three tensors where a tap moves one.
_SUM = 3
_MOST_PARTS = 64

Pads = tuple[tuple[int, int], tuple[int, int]]
Taken = tuple[range, range]


def run(graph: Graph) -> None:
    """Divide every depthwise convolution that is too large."""
    lir.rewrite(graph, _rule)


def _rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    weights = op.inputs[1] if op.kind == "DEPTHWISE_CONV_2D" else None
    if weights is None or weights.data is None or op.output.dtype != np.float32:
        return None
    height, width = weights.shape[1:3]
    plain = op.options["depthMultiplier"] == op.options["strideH"] == op.options["strideW"] == 1
    if height * width <= KERNELS[-1] or not plain:
        return None
    x, pads = _padded(op, weights, uses)
    chosen = _choose((height, width), pads, _dilation(op))
    if x is None or chosen is None:
        return None
    return _sum(op, [_part(op, x, weights, pads, *taken) for taken in chosen])


def _padded(op: Op, weights: Tensor, uses: Counter[Tensor]) -> tuple[Tensor | None, Pads]:
    """What the convolution reads, and by how much it is padded, a PAD before it included."""
    x = op.inputs[0]
    if op.options["padding"] == SAME:
        reach = [(k - 1) * d for k, d in zip(weights.shape[1:3], _dilation(op), strict=True)]
        return x, ((reach[0] // 2, reach[0] - reach[0] // 2), (reach[1] // 2, reach[1] - reach[1] // 2))
    pad = single(x, uses)
    if pad is None or pad.kind != "PAD":
        return x, ((0, 0), (0, 0))
    rows = [tuple(map(int, r)) for r in pad.constant(1)]
    if any(map(any, (rows[0], rows[3]))):
        return x, ((0, 0), (0, 0))
    return pad.inputs[0], ((rows[1][0], rows[1][1]), (rows[2][0], rows[2][1]))


def _choose(size: tuple[int, int], pads: Pads, dilation: tuple[int, int]) -> list[Taken] | None:
    """The rows and columns of every part, so that they cost the fewest taps; None where there is no way."""
    best: tuple[int, list[Taken]] | None = None
    for m, n in itertools.product(*(range(1, k + 1) for k in size)):
        parts = [(range(i, size[0], m), range(j, size[1], n)) for i in range(m) for j in range(n)]
        sizes = [len(rows) * len(columns) for rows, columns in parts]
        if max(sizes) > KERNELS[-1] or len(sizes) > _MOST_PARTS:
            continue
        if any(min(map(min, _own(t, size, pads, dilation))) < 0 for t in parts):
            continue
        cost = sum(next(k for k in KERNELS if k >= count) + _SUM for count in sizes)
        if best is None or cost < best[0]:
            best = cost, parts
    return None if best is None else best[1]


def _own(taken: Taken, size: tuple[int, int], pads: Pads, dilation: tuple[int, int]) -> list[tuple[int, int]]:
    """By how much a part's input is padded; negative where it would have to be cut."""
    return [
        (before - t[0] * d, after - (k - 1 - t[-1]) * d)
        for t, k, (before, after), d in zip(taken, size, pads, dilation, strict=True)
    ]


def _part(op: Op, x: Tensor, weights: Tensor, pads: Pads, rows: range, columns: range) -> Tensor:
    """The convolution over some rows and columns of the kernel."""
    taken, dilation = (rows, columns), _dilation(op)
    own = _own(taken, (weights.shape[1], weights.shape[2]), pads, dilation)
    assert weights.data is not None
    kernel = lir.constant(
        weights.data[:, rows.start :: rows.step, columns.start :: columns.step], weights.quant
    )
    first = rows.start == 0 and columns.start == 0
    bias = op.inputs[2] if first else lir.constant(np.zeros(weights.shape[3], np.float32))
    steps = [d * (r.step if len(r) > 1 else 1) for d, r in zip(dilation, taken, strict=True)]
    options = {"dilationHFactor": steps[0], "dilationWFactor": steps[1], "fusedActivationFunction": 0}
    reach = [(len(r) - 1) * s for r, s in zip(taken, steps, strict=True)]
    if all(pair == (n // 2, n - n // 2) for pair, n in zip(own, reach, strict=True)):
        return lir.like(op, [x, kernel, bias], options={**options, "padding": SAME}).output
    amounts = lir.constant(np.array([(0, 0), *own, (0, 0)], np.int32))
    shape = [x.shape[0], *(n + sum(pair) for n, pair in zip(x.shape[1:3], own, strict=True)), x.shape[3]]
    (padded,) = lir.emit("PAD", [x, amounts], [shape], [np.float32], op.sources)
    return lir.like(op, [padded, kernel, bias], options={**options, "padding": VALID}).output


def _sum(op: Op, parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        options = {"fusedActivationFunction": 0}
        (total,) = lir.emit("ADD", [total, part], [total.shape], [np.float32], op.sources, options)
    assert total.op is not None
    total.op.options["fusedActivationFunction"] = op.options["fusedActivationFunction"]
    return total


def _dilation(op: Op) -> tuple[int, int]:
    return op.options["dilationHFactor"], op.options["dilationWFactor"]
