"""Matches the kernels that LiteRT timed with the operators of the TFLite file, and so with the program.

XNNPACK numbers its kernels after its own fusions, so they are matched by position and family: both
sequences are in topological order, and what one of them lacks is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

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
    "view": (("Static Reshape", "Copy", "Static Expand Dims"), "RESHAPE SQUEEZE EXPAND_DIMS"),
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
_BY_KIND = {kind: family for family, (_, kinds) in _FAMILIES.items() for kind in kinds.split()}
_BY_PREFIX = sorted(
    ((prefix, family) for family, (prefixes, _) in _FAMILIES.items() for prefix in prefixes),
    key=lambda item: -len(item[0]),
)


def match(operators: Sequence[Operator], kernels: Sequence[OperatorTime]) -> list[Operator | None]:
    """The operator that each kernel ran, or None for what the runtime added."""
    left = [_BY_KIND.get(o.kind, o.kind.lower()) for o in operators]
    right = [family(k) for k in kernels]
    found: list[Operator | None] = [None] * len(kernels)
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            found[block.b + i] = operators[block.a + i]
    return found


def family(kernel: OperatorTime) -> str:
    """What a kernel does, in words that operators of the file have too."""
    if not kernel.delegated:
        return _BY_KIND.get(kernel.name, kernel.name.lower())
    for prefix, name in _BY_PREFIX:
        if kernel.name.startswith(prefix):
            return name
    return kernel.name.split(" (")[0].replace(" ", "_").lower()
