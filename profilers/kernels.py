"""Matches the kernels that LiteRT timed with the operators of the TFLite file, and so with the program.

XNNPACK numbers its kernels after its own fusions, so they are matched by order and family: both
sequences are in topological order, and what one of them lacks is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecut.profilers.record import OperatorTime


@dataclass(frozen=True)
class Operator:
    """An operator of the TFLite file, and the nodes of the program that it came from."""

    kind: str
    """Name in the schema, such as ``CONV_2D``."""
    sources: tuple[str, ...]


# The first words of XNNPACK's names, and the TFLite operators that become such a kernel. A convolution may
# run as a fully connected layer, a reshape as a copy, an activation as a clamp.
_FAMILIES = {
    "product": (
        (
            "Convolution",
            "Deconvolution",
            "Fully Connected",
            "Batch Matrix Multiply",
            "Dynamic Fully Connected",
        ),
        "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL",
    ),
    "view": (("Static Reshape", "Static Expand Dims"), "RESHAPE SQUEEZE EXPAND_DIMS"),
    "convert": (("Convert",), "QUANTIZE DEQUANTIZE CAST"),
    "transpose": (("Transpose",), "TRANSPOSE"),
    "mean": (("Mean", "Sum", "Reduce", "Global Average", "Global Sum"), "MEAN SUM REDUCE_MAX REDUCE_MIN"),
    "pool": (("Max Pooling", "Average Pooling", "ArgMax"), "MAX_POOL_2D AVERAGE_POOL_2D"),
    "pad": (("Constant Pad", "Static Constant Pad"), "PAD PADV2"),
    "join": (("Concatenate",), "CONCATENATION PACK"),
    "split": (("Even Split", "Split"), "SPLIT SPLIT_V UNPACK"),
    "slice": (("Static Slice", "Slice", "Strided Slice"), "SLICE STRIDED_SLICE"),
    "resize": (("Static Resize", "Resize"), "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR"),
    "softmax": (("Softmax",), "SOFTMAX"),
    "clamp": (
        ("Clamp", "ReLU", "Leaky ReLU", "PReLU"),
        "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU",
    ),
    "sigmoid": (("Sigmoid",), "LOGISTIC"),
    "multiply": (("Multiply",), "MUL"),
    "subtract": (("Subtract",), "SUB"),
    "maximum": (("Maximum",), "MAXIMUM"),
    "minimum": (("Minimum",), "MINIMUM"),
    "divide": (("Divide",), "DIV"),
    "root": (("Square Root", "Reciprocal Square Root"), "SQRT RSQRT"),
    "hardswish": (("HardSwish",), "HARD_SWISH"),
}
# Kernels whose name does not tell which of several operators they run, the likeliest first. A copy moves
# values as they are; an int8 activation is a table of 256 values that XNNPACK has no name for, and so is an
# activation with the multiplication that follows it.
_AMBIGUOUS = {
    "Copy": ("view", "join", "split", "slice"),
    "Invalid Unary Op": (
        "sigmoid",
        "tanh",
        "gelu",
        "elu",
        "hardswish",
        "exp",
        "log",
        "abs",
        "neg",
        "multiply",
    ),
}
# A certain pair, one of several possibilities, and what an operator or a kernel without the other costs.
SURE, LIKELY, SKIP = 3.0, 2.0, 0.5
_BY_KIND = {kind: family for family, (_, kinds) in _FAMILIES.items() for kind in kinds.split()}
_BY_PREFIX = sorted(
    ((prefix, family) for family, (prefixes, _) in _FAMILIES.items() for prefix in prefixes),
    key=lambda item: -len(item[0]),
)


def match(operators: Sequence[Operator], kernels: Sequence[OperatorTime]) -> list[Operator | None]:
    """The operator that each kernel ran, or None for what the runtime added.

    Both are aligned as wholes (Needleman and Wunsch, 1970): the most kernels find an operator of their
    family, in order, and what was fused away or added is skipped at a small cost.
    """
    found: list[Operator | None] = [None] * len(kernels)
    for row, column in _alignment(_scores(operators, kernels)):
        found[column] = operators[row]
    return found


def families(kernel: OperatorTime) -> tuple[str, ...]:
    """What a kernel may do, the likeliest first, in words that operators of the file have too."""
    if not kernel.delegated:
        return (_BY_KIND.get(kernel.name, kernel.name.lower()),)
    for prefix, names in _AMBIGUOUS.items():
        if kernel.name.startswith(prefix):
            return names
    for prefix, name in _BY_PREFIX:
        if kernel.name.startswith(prefix):
            return (name,)
    return (kernel.name.split(" (")[0].replace(" ", "_").lower(),)


def _scores(operators: Sequence[Operator], kernels: Sequence[OperatorTime]) -> np.ndarray:
    """How well each operator (row) fits each kernel (column); minus infinity where not at all."""
    able = [families(k) for k in kernels]
    by_family = {
        name: np.array([_score(name, names) for names in able])
        for name in {_BY_KIND.get(o.kind, o.kind.lower()) for o in operators}
    }
    rows = [by_family[_BY_KIND.get(o.kind, o.kind.lower())] for o in operators]
    return np.array(rows, np.float32).reshape(len(operators), len(kernels))


def _score(name: str, families: Sequence[str]) -> float:
    if name not in families:
        return -np.inf
    return SURE if name == families[0] else LIKELY


def _alignment(scores: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of row and column that add up to the most, both rising, each skipped one costing `SKIP`."""
    rows, columns = scores.shape
    skipped = SKIP * np.arange(columns + 1, dtype=np.float32)
    best = -skipped
    pairs = np.zeros((rows, columns + 1), bool)
    downs = np.zeros((rows, columns + 1), bool)
    for i in range(rows):
        paired = np.concatenate([[-np.inf], best[:-1] + scores[i]])
        down = best - SKIP
        entered = np.maximum(paired, down)
        # A run of skipped columns: the best place to have begun it, all at once.
        best = np.maximum.accumulate(entered + skipped) - skipped
        pairs[i] = (paired >= down) & (paired >= best)
        downs[i] = (down > paired) & (down >= best)
    found = []
    i, j = rows - 1, columns
    while i >= 0 and j >= 0:
        if pairs[i, j]:
            found.append((i, j - 1))
        i, j = (i - 1, j - 1) if pairs[i, j] else (i - 1, j) if downs[i, j] else (i, j - 1)
    return found[::-1]
