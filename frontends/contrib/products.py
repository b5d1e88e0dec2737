"""FusedMatMul, and Conv and Gemm with an activation behind them."""

from __future__ import annotations

from edgecut.frontends.contrib.writer import Expansion, Writer, rank


def _matmul(w: Writer) -> bool:
    if w.get("transBatchA", 0) or w.get("transBatchB", 0):
        return False
    alpha = float(w.get("alpha", 1.0))
    last = w.output(0) if alpha == 1.0 else ""
    operands = [_turned(w, i) if w.get(f"trans{letter}", 0) else w.input(i) for i, letter in enumerate("AB")]
    if None in operands:
        left, right = ("ji" if w.get("transA", 0) else "ij"), ("kj" if w.get("transB", 0) else "jk")
        equation = f"...{left},...{right}->...ik"
        made = w.make("Einsum", w.input(0), w.input(1), out=last, equation=equation)
    else:
        made = w.make("MatMul", *map(str, operands), out=last)
    if alpha != 1.0:
        w.make("Mul", made, w.constant(alpha), out=w.output(0))
    return True


def _turned(w: Writer, index: int) -> str | None:
    """An operand with its last two dimensions exchanged; None where its rank is not known."""
    dims = rank(w.graph, w.input(index))
    if dims is None:
        return None
    perm = [*range(dims - 2), dims - 1, dims - 2]
    return w.make("Transpose", w.input(index), perm=perm)


def _activated(kind: str, *extra: str) -> Expansion:
    """A Conv or Gemm with an activation behind it."""

    def expansion(w: Writer) -> bool:
        name = w.get("activation", "")
        keys = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"], "Clip": ["min", "max"]}.get(
            name, []
        )
        given = w.get("activation_params", []) or [w.get(f"activation_{k}", None) for k in keys]
        if name not in ("", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Clip"):
            return False
        own = {k: v for k, v in w.attributes.items() if not k.startswith("activation")}
        inputs = list(w.node.input[:3])
        out = w.make(kind, *inputs, out="" if name or w.input(3) else w.output(0), **own)
        if w.input(3):
            out = w.make("Add", out, w.input(3), out="" if name else w.output(0))
        numbers = {k: float(v) for k, v in zip(keys, given, strict=False) if v is not None}
        if name == "Clip":
            w.make("Clip", out, *(w.constant(numbers[k]) for k in keys), out=w.output(0))
        elif name:
            w.make(name, out, out=w.output(0), **numbers)
        return True

    return expansion


EXPANSIONS: dict[str, Expansion] = {
    "FusedMatMul": _matmul,
    "TransposeMatMul": _matmul,
    "FusedConv": _activated("Conv"),
    "FusedGemm": _activated("Gemm"),
}
