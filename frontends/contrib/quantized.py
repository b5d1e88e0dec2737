"""Operators on integers, as their QDQ form."""

from __future__ import annotations

import numpy as np

from edgecut.frontends.contrib.writer import Expansion, Writer, rank


def _same(w: Writer) -> bool:
    """An operator that standard ONNX has by now."""
    w.make(w.node.op_type, *w.node.input, out=list(w.node.output), **w.attributes)
    return True


def _between(kind: str, operands: int) -> Expansion:
    """Dequantized (each: numbers, scale, zero point), computed, and quantized again."""

    def expansion(w: Writer) -> bool:
        plain = [w.make("DequantizeLinear", *(w.input(3 * i + j) for j in range(3))) for i in range(operands)]
        own = {k: v for k, v in w.attributes.items() if k != "channels_last"}
        last = tuple(filter(None, (w.input(3 * operands), w.input(3 * operands + 1))))
        if not w.get("channels_last", 0):
            w.make("QuantizeLinear", w.make(kind, *plain, **own), *last, out=w.output(0))
            return True
        dims = _dims(w)
        made = w.make(kind, *(w.channels_first(x, dims) for x in plain), **own)
        w.channels_last(w.make("QuantizeLinear", made, *last), dims, w.output(0))
        return True

    return expansion


def _dims(w: Writer) -> int:
    """Number of dimensions of an image, by its window, its shape or its neighbours; else two are of space."""
    window = w.get("kernel_shape", None)
    known = len(window) + 2 if window else rank(w.graph, w.input(0))
    for node in w.graph.node:
        if known is None and (w.output(0) in node.input or w.input(0) in node.output):
            sizes = {a.name: len(a.ints) for a in node.attribute}
            known = sizes.get("perm") or (sizes["kernel_shape"] + 2 if "kernel_shape" in sizes else None)
    return known or 4


def _convolution(w: Writer) -> bool:
    if not w.get("channels_last", 0):
        own = {k: v for k, v in w.attributes.items() if k != "channels_last"}
        w.make("QLinearConv", *w.node.input, out=w.output(0), **own)
        return True
    return _around("QLinearConv")(w)


def _around(kind: str) -> Expansion:
    """An operator with its channels last, as the one that has them first between two Transposes."""

    def expansion(w: Writer) -> bool:
        weights = rank(w.graph, w.input(3)) if kind == "QLinearConv" else None
        dims = weights or _dims(w)
        own = {k: v for k, v in w.attributes.items() if k != "channels_last"}
        made = w.make(kind, w.channels_first(w.input(0), dims), *w.node.input[1:], **own)
        w.channels_last(made, dims, w.output(0))
        return True

    return expansion


def _matrix(w: Writer) -> bool:
    """Alpha A' B' + C on integers; C has the scale of the products. Without a scale of its own: float."""
    scales = [w.known(w.input(i)) for i in (1, 4)]
    if any(s is None for s in scales) or scales[0].size != 1:
        return False
    alpha, turned = float(w.get("alpha", 1.0)), int(w.get("transB", 0))
    a = w.make("DequantizeLinear", *(w.input(i) for i in range(3)))
    b = w.make("DequantizeLinear", *(w.input(i) for i in range(3, 6)), axis=0 if turned else 1)
    operands = [a, b]
    if w.input(6):
        step = (scales[0].reshape(()) * scales[1] * np.float32(alpha)).astype(np.float32)
        dims = rank(w.graph, w.input(6)) or 1
        operands.append(w.make("DequantizeLinear", w.input(6), w.constant(step), axis=dims - 1))
    last = w.input(7)
    more = {"alpha": alpha, "beta": 1.0, "transA": int(w.get("transA", 0)), "transB": turned}
    made = w.make("Gemm", *operands, out="" if last else w.output(0), **more)
    if last:
        w.make("QuantizeLinear", made, *filter(None, (last, w.input(8))), out=w.output(0))
    return True


def _softmax(w: Writer) -> bool:
    x, axis = w.make("DequantizeLinear", *(w.input(i) for i in range(3))), int(w.get("axis", -1))
    if int(w.get("opset", 13)) >= 13 <= w.opset:
        made = w.make("Softmax", x, axis=axis)
    else:  # over all dimensions from the axis on
        rows = w.make("Softmax", w.make("Flatten", x, axis=axis), axis=1)
        made = w.make("Reshape", rows, w.make("Shape", x))
    w.make("QuantizeLinear", made, *filter(None, (w.input(3), w.input(4))), out=w.output(0))
    return True


def _joined(w: Writer) -> bool:
    groups = range(2, len(w.node.input), 3)
    plain = [w.make("DequantizeLinear", *(w.input(i + j) for j in range(3))) for i in groups]
    made = w.make("Concat", *plain, axis=int(w.get("axis", 0)))
    w.make("QuantizeLinear", made, w.input(0), w.input(1), out=w.output(0))
    return True


def _dynamic(w: Writer) -> bool:
    """Floats, rounded by what they are, times integers."""
    numbers, scale, zero = (f"{w.base}/{part}" for part in ("numbers", "scale", "zero"))
    w.make("DynamicQuantizeLinear", w.input(0), out=[numbers, scale, zero])
    return product(w, numbers, w.input(1), [zero, w.input(3)], [scale, w.input(2)], w.input(4))


def _to_float(w: Writer) -> bool:
    zeros, scales = [w.input(4), w.input(5)], [w.input(2), w.input(3)]
    return product(w, w.input(0), w.input(1), zeros, scales, w.input(6))


def product(w: Writer, a: str, b: str, zeros: list[str], scales: list[str], bias: str, out: str = "") -> bool:
    """(a - zero) (b - zero), each times its scale, plus a bias; the node's result if ``out`` is not named."""
    out = out or w.output(0)
    while zeros and not zeros[-1]:
        zeros.pop()
    whole = w.make("Cast", w.make("MatMulInteger", a, b, *zeros), to=1)
    scale = w.make("Mul", *scales)
    made = w.make("Mul", whole, scale, out="" if bias else out)
    if bias:
        w.make("Add", made, bias, out=out)
    return True


EXPANSIONS: dict[str, Expansion] = {
    "QuantizeLinear": _same,
    "DequantizeLinear": _same,
    "QLinearAdd": _between("Add", 2),
    "QLinearMul": _between("Mul", 2),
    "QLinearSigmoid": _between("Sigmoid", 1),
    "QLinearLeakyRelu": _between("LeakyRelu", 1),
    "QLinearGlobalAveragePool": _between("GlobalAveragePool", 1),
    "QLinearAveragePool": _between("AveragePool", 1),
    "QLinearConcat": _joined,
    "QLinearConv": _convolution,
    "QLinearSoftmax": _softmax,
    "QGemm": _matrix,
    "NhwcMaxPool": _around("MaxPool"),
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulIntegerToFloat": _to_float,
}
