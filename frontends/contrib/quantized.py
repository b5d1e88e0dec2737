"""Operators on integers, as their QDQ form."""

from __future__ import annotations

from edgecut.frontends.contrib.writer import Expansion, Writer


def _same(w: Writer) -> bool:
    """An operator that standard ONNX has by now."""
    w.make(w.node.op_type, *w.node.input, out=list(w.node.output), **w.attributes)
    return True


def _between(kind: str, operands: int) -> Expansion:
    """Dequantized (each: numbers, scale, zero point), computed, and quantized again."""

    def expansion(w: Writer) -> bool:
        if w.get("channels_last", 0):
            return False
        plain = [w.make("DequantizeLinear", *(w.input(3 * i + j) for j in range(3))) for i in range(operands)]
        own = {k: v for k, v in w.attributes.items() if k != "channels_last"}
        made = w.make(kind, *plain, **own)
        last = (w.input(3 * operands), w.input(3 * operands + 1))
        w.make("QuantizeLinear", made, *filter(None, last), out=w.output(0))
        return True

    return expansion


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
    return _product(w, numbers, w.input(1), [zero, w.input(3)], [scale, w.input(2)], w.input(4))


def _to_float(w: Writer) -> bool:
    zeros, scales = [w.input(4), w.input(5)], [w.input(2), w.input(3)]
    return _product(w, w.input(0), w.input(1), zeros, scales, w.input(6))


def _product(w: Writer, a: str, b: str, zeros: list[str], scales: list[str], bias: str) -> bool:
    """(a - zero) (b - zero), each times its scale, plus a bias."""
    while zeros and not zeros[-1]:
        zeros.pop()
    whole = w.make("Cast", w.make("MatMulInteger", a, b, *zeros), to=1)
    scale = w.make("Mul", *scales)
    made = w.make("Mul", whole, scale, out="" if bias else w.output(0))
    if bias:
        w.make("Add", made, bias, out=w.output(0))
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
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulIntegerToFloat": _to_float,
}
