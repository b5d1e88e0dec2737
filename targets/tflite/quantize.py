"""DEQUANTIZE, float operator, QUANTIZE -> one operator on integers, where a kernel computes the same.

What has no such kernel stays in float between its DEQUANTIZE and QUANTIZE, which is always right. Operators
that only move or compare elements work on the integers as they are and keep their scale; where the program
wants another one, a product with one afterwards gives exactly what it would have given before.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edgecut.targets.tflite import fuse, interpolation, leaky, lir, pixels, relabel, stored, widths
from edgecut.targets.tflite.fuse import ACTIVATIONS, WEIGHTED, single
from edgecut.targets.tflite.lir import Array, Graph, Op, Quant, Tensor
from edgecut.targets.tflite.ops.window import VALID
from edgecut.targets.tflite.widths import INT8, INT16, Width

_ARITHMETIC = ("ADD", "SUB", "MUL")
# Where an operator has its data, weights and bias, and the axis of its weights that counts output channels.
_PLACES = {
    **dict.fromkeys(WEIGHTED, (0, 1, 2, 0)),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
_WEIGHT = np.dtype(np.int8)
# Where activations limit from above, and those that limit below only.
_BOUNDS = {
    ACTIVATIONS["RELU6"]: (6.0, ACTIVATIONS["RELU"]),
    ACTIVATIONS["RELU_N1_TO_1"]: (1.0, 0),
}


def run(graph: Graph) -> None:
    """Turn what can be turned, and let the rest of the program read plain numbers."""
    pixels.run(graph)
    for width in (INT8, INT16):
        lir.rewrite(graph, _Converter(width).rule)
    relabel.run(graph)
    lir.rewrite(graph, fuse.moves)
    numbers: dict[Tensor, Tensor] = {}
    for op in lir.order(graph.values.values()):
        _read_numbers(op, numbers)
    graph.values = {name: _number(t, numbers) for name, t in graph.values.items()}
    merge_dequantize(graph)


def merge_dequantize(graph: Graph) -> None:
    """One DEQUANTIZE of each tensor serves all."""
    first: dict[Tensor, Tensor] = {}

    def rule(op: Op, uses: Counter[Tensor]) -> Tensor | None:
        if op.kind != "DEQUANTIZE" or op.inputs[0] is None:
            return None
        return first.setdefault(op.inputs[0], op.output)

    lir.rewrite(graph, rule)


def _number(tensor: Tensor, numbers: dict[Tensor, Tensor]) -> Tensor:
    """A constant in float, if it is stored quantized."""
    if not tensor.is_constant or tensor.quant is None:
        return tensor
    if tensor not in numbers:
        numbers[tensor] = lir.constant(lir.real(tensor))
    return numbers[tensor]


def _read_numbers(op: Op, numbers: dict[Tensor, Tensor]) -> None:
    """Constants that a float operator reads must be floats."""
    if op.output.dtype.kind in "iu" and op.output.quant is not None:
        return
    op.inputs = [
        t if t is None or stored.is_weight(op, i) else _number(t, numbers) for i, t in enumerate(op.inputs)
    ]


class _Converter:
    def __init__(self, width: Width) -> None:
        self.width = width
        self.moved: dict[Tensor, Tensor | None] = {}
        """The integers that a float tensor was dequantized from, where there are some."""

    def rule(self, op: Op, uses: Counter[Tensor]) -> Tensor | None:
        """What replaces a QUANTIZE."""
        x = op.inputs[0]
        if op.kind != "QUANTIZE" or op.output.dtype != self.width.dtype or x is None or x.dtype != np.float32:
            return None
        before = single(x, uses)
        stored = self.integers(x)
        if stored is not None:
            return requantized(stored, op)
        if before is None:
            return None
        if before.kind in ("RESHAPE", "TRANSPOSE", "PADV2") or _is_crop(before, uses):
            return _rounded_first(before, op)
        if before.kind in ACTIVATIONS:
            return self.clamped(before, op)
        if before.kind in _PLACES:
            return self.weighted(before, op)
        if before.kind in _ARITHMETIC:
            return (
                self.scaled(before, op, uses) or self.nudged(before, op, uses) or self.arithmetic(before, op)
            )
        if before.kind == "CONCATENATION":
            return self.joined(before, op)
        if before.kind in ("MEAN", "AVERAGE_POOL_2D"):
            return self.mean(before, op)
        if before.kind == "LEAKY_RELU" or before.kind in self.width.fixed:
            return self.function(before, op)
        if before.kind == "RESIZE_BILINEAR":
            return self.resized(before, op)
        return None

    def integers(self, tensor: Tensor) -> Tensor | None:
        """The integers that stand for a float tensor: what was dequantized, or that moved likewise."""
        if tensor not in self.moved:
            self.moved[tensor] = self._integers(tensor)
        return self.moved[tensor]

    def _integers(self, tensor: Tensor) -> Tensor | None:
        op = tensor.op
        if tensor.is_constant:
            return self.constant(tensor)
        x = op.inputs[0] if op is not None and op.inputs else None
        if op is None or x is None:
            return None
        if op.kind == "DEQUANTIZE":
            return x if x.dtype == self.width.dtype else None
        if op.kind in ("SPLIT", "SPLIT_V"):
            return self.divided(op)[op.outputs.index(tensor)]
        if (
            op.kind not in self.width.moves
            or len(op.outputs) != 1
            or op.options.get("fusedActivationFunction")
        ):
            return None
        stored = self.integers(x)
        if stored is None and op.kind == "MAX_POOL_2D":
            stored = self.padded_for_maxima(x)
        if stored is None or stored.quant is None:
            return None
        inputs: list[Tensor | None] = [stored, *op.inputs[1:]]
        if op.kind == "PADV2":
            value = lir.real(_given(op, 2))
            inputs[2] = held = _constant(value, stored.quant, stored.dtype)
            if abs(float(value) - float(lir.real(held))) > 1e-3 * float(stored.quant.scale[0]):
                return None  # no number of this grid
        return _with(op, inputs, stored.quant, op.sources)

    def padded_for_maxima(self, x: Tensor) -> Tensor | None:
        """What is padded with a number below all others, in integers with the least of them."""
        pad = x.op
        if pad is None or pad.kind != "PADV2" or float(lir.real(_given(pad, 2))) > np.finfo(np.float32).min:
            return None
        stored = self.integers(_given(pad, 0))
        if stored is None or stored.quant is None:
            return None
        least = _constant(lir.real(_given(pad, 2)), stored.quant, stored.dtype)
        return _with(pad, [stored, pad.inputs[1], least], stored.quant, pad.sources)

    def divided(self, op: Op) -> list[Tensor | None]:
        """The parts of a tensor as integers."""
        place = 1 if op.kind == "SPLIT" else 0
        stored = self.integers(_given(op, place))
        if stored is None:
            return [None] * len(op.outputs)
        copy = lir.like(op, [stored if i == place else t for i, t in enumerate(op.inputs)])
        for old, new in zip(op.outputs, copy.outputs, strict=True):
            new.dtype, new.quant = stored.dtype, stored.quant
            self.moved[old] = new
        return list(copy.outputs)

    def clamped(self, before: Op, op: Op) -> Tensor | None:
        """An activation: a change of scale where its limits are those of the range anyway.

        Else it is applied by a product with one, since there is no fast kernel for it alone.
        """
        quant = _quant(op)
        stored, saturates = self.integers(_given(before, 0)), self.saturates(before, quant)
        if stored is None:
            # What is made in float may yet find its kernel, once the activation is out of the way.
            return (
                lir.like(op, [before.inputs[0]], sources=op.sources | before.sources).output
                if saturates
                else None
            )
        if saturates:
            return requantized(stored, op, before.sources)
        return relabel.product(stored, 1.0, quant, before.sources | op.sources, ACTIVATIONS[before.kind])

    def saturates(self, before: Op, quant: Quant) -> bool:
        """Whether integers saturate where an activation would limit."""
        low = float((-self.width.most - 1 - quant.zero[0]) * quant.scale[0])
        high = float((self.width.most - quant.zero[0]) * quant.scale[0])
        least = -1.0 if before.kind == "RELU_N1_TO_1" else 0.0
        most = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(before.kind, np.inf)
        half = float(quant.scale[0]) / 2
        return low > least - half and high < most + half

    def weighted(self, before: Op, op: Op) -> Tensor | None:
        """A convolution or fully connected layer: weights as they are, bias in 32 bits."""
        data, at, last, channel = _PLACES[before.kind]
        x, weights = self.integers(_given(before, data)), _given(before, at)
        if x is None or x.quant is None or weights.quant is None or weights.dtype != _WEIGHT or x.is_constant:
            return None
        per_tensor = weights.quant.per_tensor
        if weights.quant.zero.any() or not (per_tensor or weights.quant.axis == channel):
            return None
        bias = _bias(before.inputs[last], x.quant, weights)
        if bias is None:
            return None
        inputs, options = list(before.inputs), dict[str, Any]()
        if self.width is INT16:
            bias, options = widths.accumulator(before.kind, x, weights, bias)
        inputs[data], inputs[at], inputs[last] = x, weights, bias
        return _with(before, inputs, _quant(op), before.sources | op.sources, options)

    def arithmetic(self, before: Op, op: Op) -> Tensor | None:
        """Sums, differences and products."""
        operands = [self.operand(_given(before, i)) for i in (0, 1)]
        if any(t is None for t in operands):
            return None
        options = self.width.options(before.kind)
        return _with(before, list(operands), _quant(op), before.sources | op.sources, options)

    def scaled(self, before: Op, op: Op, uses: Counter[Tensor]) -> Tensor | None:
        """A sum or product times a constant: without the constant, at a scale divided by it."""
        left, right = before.inputs[:2]
        if before.kind != "MUL" or before.options.get("fusedActivationFunction"):
            return None
        if left is not None and left.is_constant:
            left, right = right, left
        inner = single(left, uses)
        if inner is None or inner.kind not in _ARITHMETIC or right is None or not _is_number(right):
            return None
        quant, factor = _quant(op), float(lir.real(right).ravel()[0])
        operands = [self.operand(_given(inner, i)) for i in (0, 1)]
        if factor <= 0 or before.output.shape != inner.output.shape or any(t is None for t in operands):
            return None
        sources = inner.sources | before.sources | op.sources
        held = Quant((quant.scale / np.float32(factor)).astype(np.float32), quant.zero)
        made = _with(inner, list(operands), held, sources, self.width.options(inner.kind))
        return relabel.relabel(made, quant, sources)

    def operand(self, tensor: Tensor) -> Tensor | None:
        """An operand as integers; a single number is quantized with a scale that makes it exact."""
        if not _is_number(tensor):
            return self.integers(tensor)
        assert tensor.data is not None
        number = float(tensor.data.ravel()[0])
        scale = np.float32(abs(number) / self.width.most or 1.0)
        data = np.full(tensor.shape, int(np.sign(number)) * self.width.most, self.width.dtype)
        return lir.constant(data, Quant(np.array([scale], np.float32), np.zeros(1, np.int64)))

    def joined(self, before: Op, op: Op) -> Tensor | None:
        """A concatenation: every part takes the scale of the result first."""
        if all(t is not None and t.op is not None and t.op.kind == "TRANSPOSE_CONV" for t in before.inputs):
            return _rounded_parts(before, op)
        parts = [self.integers(t) for t in before.inputs if t is not None]
        stored = [t for t in parts if t is not None and t.quant is not None]
        if len(stored) < len(before.inputs):
            return None
        quant = _quant(op)
        return _with(
            before, [_rescaled(t, quant, op.sources) for t in stored], quant, before.sources | op.sources
        )

    def mean(self, before: Op, op: Op) -> Tensor | None:
        """The mean over a whole image, or over windows: by the kernels that rescale."""
        x = _given(before, 0)
        stored = self.integers(x)
        if stored is None:
            return None
        sources = before.sources | op.sources
        if before.kind == "MEAN":
            return _with(before, [stored, before.inputs[1]], _quant(op), sources)
        options = before.options
        if options["padding"] != VALID or options["fusedActivationFunction"]:
            return None
        if (options["filterHeight"], options["filterWidth"]) != x.shape[1:3]:
            return self.averaged(before, stored, _quant(op), sources)
        inputs = [stored, lir.integers((1, 2))]
        (out,) = lir.emit("MEAN", inputs, [before.output.shape], [stored.dtype], sources, {"keepDims": True})
        out.quant = _quant(op)
        return out

    def averaged(self, pool: Op, x: Tensor, quant: Quant, sources: frozenset[str]) -> Tensor:
        """Windows: as a depthwise sum, whose kernel is fast on 8 bits and may change the scale."""
        if self.width is INT16 and quant.same(x.quant):
            return _with(pool, [x], quant, sources)
        made, inputs = _summing(pool, x)
        if self.width is INT16:
            weights, bias = inputs[1:]
            assert weights is not None
            assert bias is not None
            inputs[2], _ = widths.accumulator(made.kind, x, weights, bias)
        return _with(made, inputs, quant, sources)

    def function(self, before: Op, op: Op, more: frozenset[str] = frozenset()) -> Tensor | None:
        """Functions with an integer kernel, if the program's output scale is the kernel's."""
        stored, quant = self.integers(_given(before, 0)), _quant(op)
        fixed = self.width.fixed.get(before.kind)
        if fixed is not None and (abs(quant.scale[0] / fixed[0] - 1) > 1e-6 or quant.zero[0] != fixed[1]):
            return None
        if stored is None:
            return None
        return _with(before, [stored], quant, before.sources | op.sources | more)

    def nudged(self, before: Op, op: Op, uses: Counter[Tensor]) -> Tensor | None:
        """Kernels that round halves upwards, which the program says by adding less than a part of a step."""
        x, step = before.inputs[:2]
        inner = single(x, uses)
        if inner is None or before.kind != "ADD" or before.options.get("fusedActivationFunction"):
            return None
        if op.output.dtype != np.int8:
            return None
        count = self.parts(inner, _quant(op))
        if count is None or step is None or not _is_number(step):
            return None
        share = float(lir.real(step).ravel()[0]) / float(_quant(op).scale[0])
        if not 0 < share < 1 / count:
            return None
        make = self.resized if inner.kind == "RESIZE_BILINEAR" else self.function
        return make(inner, op, before.sources)

    def parts(self, op: Op, quant: Quant) -> int | None:
        """In which parts of a step a kernel computes, before it rounds halves upwards."""
        x = _given(op, 0)
        if op.kind == "RESIZE_BILINEAR":
            count = interpolation.parts(x.shape[1:3], op.output.shape[1:3], _coordinates(op.options))
            return count if interpolation.exact(count) else None
        stored = self.integers(x) if op.kind == "LEAKY_RELU" else None
        if stored is None or stored.quant is None:
            return None
        ratio = float(stored.quant.scale[0]) / float(quant.scale[0])
        return leaky.PARTS if leaky.exact(ratio, op.options["alpha"]) else None

    def resized(self, before: Op, op: Op, more: frozenset[str] = frozenset()) -> Tensor | None:
        """Interpolation keeps the scale; only where the program keeps it, since it rounds."""
        stored = self.integers(_given(before, 0))
        if stored is None or self.width is INT16 or not _quant(op).same(stored.quant):
            return None
        return _with(before, [stored, before.inputs[1]], _quant(op), before.sources | op.sources | more)

    def constant(self, tensor: Tensor) -> Tensor | None:
        """A constant that is stored on one grid of these integers."""
        fits = tensor.quant is not None and tensor.quant.per_tensor and tensor.dtype == self.width.dtype
        return tensor if fits else None


def requantized(stored: Tensor, op: Op, sources: frozenset[str] = frozenset()) -> Tensor:
    """Integers in the scale that a QUANTIZE asks for."""
    return _rescaled(stored, _quant(op), op.sources | sources)


def _constant(numbers: Array, quant: Quant, dtype: np.dtype[Any]) -> Tensor:
    """Numbers as integers, as ONNX rounds them."""
    limits = np.iinfo(dtype)
    steps = np.rint(numbers.astype(np.float64) / quant.scale[0]) + quant.zero[0]
    return lir.constant(np.clip(steps, limits.min, limits.max).astype(dtype), quant)


def _rounded_first(before: Op, op: Op) -> Tensor:
    """A QUANTIZE before the move that it follows."""
    x, more = _given(before, 0), list(before.inputs[1:])
    quantize = lir.like(op, [x])
    quantize.output.shape = x.shape
    if before.kind == "PADV2":
        more[1] = _constant(lir.real(_given(before, 2)), _quant(op), op.output.dtype)
    return _with(before, [quantize.output, *more], _quant(op), before.sources)


def _is_crop(op: Op, uses: Counter[Tensor]) -> bool:
    """Whether an operator only takes a part of what a transposed convolution makes."""
    inner = single(op.inputs[0], uses) if op.kind == "SLICE" else None
    return inner is not None and inner.kind == "TRANSPOSE_CONV"


def _coordinates(options: dict[str, Any]) -> str:
    """What RESIZE_BILINEAR does, as ONNX calls it."""
    if options["alignCorners"]:
        return "align_corners"
    return "half_pixel" if options["halfPixelCenters"] else "asymmetric"


def _summing(pool: Op, x: Tensor) -> tuple[Op, list[Tensor | None]]:
    """An average pool as a depthwise sum: the operator, and what it reads."""
    assert x.quant is not None
    options, channels = pool.options, x.shape[3]
    kernel = options["filterHeight"], options["filterWidth"]
    share = np.array([1 / (kernel[0] * kernel[1])], np.float32)
    zeros = np.zeros(1, np.int64)
    ones = lir.constant(np.ones((1, *kernel, channels), np.int8), Quant(share, zeros))
    bias = lir.constant(np.zeros(channels, np.int32), Quant(x.quant.scale * share, zeros))
    made = {
        "padding": options["padding"], "fusedActivationFunction": 0, "depthMultiplier": 1,
        "strideH": options["strideH"], "strideW": options["strideW"],
        "dilationHFactor": 1, "dilationWFactor": 1,
    }  # fmt: skip
    return Op("DEPTHWISE_CONV_2D", [], [pool.output], made, pool.sources), [x, ones, bias]


def _rounded_parts(before: Op, op: Op) -> Tensor:
    """A QUANTIZE of each part before they are joined."""
    parts: list[Tensor | None] = []
    for part in before.inputs:
        assert part is not None
        quantize = lir.like(op, [part])
        quantize.output.shape = part.shape
        parts.append(quantize.output)
    return _with(before, parts, _quant(op), before.sources)


def _rescaled(stored: Tensor, quant: Quant, sources: frozenset[str]) -> Tensor:
    if quant.same(stored.quant):
        return stored
    if stored.is_constant:
        return _constant(lir.real(stored), quant, stored.dtype)
    return relabel.product(stored, 1.0, quant, sources)


def _is_number(tensor: Tensor) -> bool:
    return tensor.data is not None and tensor.quant is None and tensor.data.size == 1


def _quant(op: Op) -> Quant:
    assert op.output.quant is not None
    return op.output.quant


def _given(op: Op, index: int) -> Tensor:
    tensor = op.inputs[index]
    assert tensor is not None
    return tensor


def _with(
    op: Op,
    inputs: list[Tensor | None],
    quant: Quant,
    sources: frozenset[str],
    options: dict[str, Any] | None = None,
) -> Tensor:
    """The operator on integers, of the type of its data."""
    copy = lir.like(op, inputs, sources=sources, options=options or {})
    data = inputs[_PLACES[op.kind][0] if op.kind in _PLACES else 0]
    assert data is not None
    copy.output.dtype = data.dtype
    copy.output.quant = quant
    bound, weaker = _BOUNDS.get(copy.options.get("fusedActivationFunction", 0), (0.0, 0))
    if bound > np.iinfo(np.int32).max * float(quant.scale[0]):
        # No integer reaches it, and runtimes refuse to count its steps.
        copy.options["fusedActivationFunction"] = weaker
    return copy.output


def _bias(bias: Tensor | None, x: Quant, weights: Tensor) -> Tensor | None:
    """The bias in units of input scale times weight scale; None where that overflows 32 bits."""
    assert weights.quant is not None
    if bias is None or not bias.is_constant:
        return None
    scale = (x.scale[0] * weights.quant.scale).astype(np.float32)
    zero = np.zeros(scale.shape, np.int64)
    own = bias.quant
    kept = own is not None and bias.dtype == np.int32 and not own.zero.any()
    if kept and own is not None and np.allclose(np.broadcast_to(own.scale, scale.shape), scale, rtol=1e-5):
        return Tensor(bias.shape, bias.dtype, data=bias.data, quant=Quant(scale, zero))
    steps = np.rint(lir.real(bias).astype(np.float64) / scale)
    if np.abs(steps).max(initial=0) > np.iinfo(np.int32).max:
        return None
    return lir.constant(steps.astype(np.int32), Quant(scale, zero))
