"""Attention and MultiHeadAttention without a cache."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from edgecut.frontends.contrib.quantized import product
from edgecut.frontends.contrib.writer import Expansion, Writer, rank


def _attention(w: Writer) -> bool:
    x, weights, bias, mask, past, added = (w.input(i) for i in range(6))
    if past or not _is_plain(w, mask):
        return False
    joined = w.make("MatMul", x, weights)
    joined = w.make("Add", joined, bias) if bias else joined
    _attend(w, x, joined, mask, added)
    return True


def _quantized(w: Writer) -> bool:
    """With a projection of integers."""
    x, weights, bias, mask, past = (w.input(i) for i in (0, 1, 2, 5, 8))
    if past or not _is_plain(w, mask):
        return False
    joined = f"{w.base}/joined"
    product(w, x, weights, [w.input(6), w.input(7)], [w.input(3), w.input(4)], bias, joined)
    _attend(w, x, joined, mask, "")
    return True


def _is_plain(w: Writer, mask: str) -> bool:
    """Without a cache or rotation, and with a mask of one number for each step, if any."""
    sizes = list(w.get("qkv_hidden_sizes", []))
    unknown = w.get("do_rotary", 0) or len(set(sizes)) > 1 or w.output(1)
    return not unknown and w.opset >= 15 and (not mask or rank(w.graph, mask) == 2)


def _attend(w: Writer, x: str, joined: str, mask: str, added: str) -> None:
    names = (f"{w.base}/q", f"{w.base}/k", f"{w.base}/v")
    w.make("Split", joined, out=names, axis=-1, **({"num_outputs": 3} if w.opset >= 18 else {}))
    hidden = [w.hidden(mask)] if mask else []
    hidden += [added] if added else []
    hidden += [_later(w, x)] if w.get("unidirectional", 0) else []
    total = hidden[0] if hidden else ""
    for other in hidden[1:]:
        total = w.make("Add", total, other)
    w.attend(*names, int(w.get("num_heads", 1)), total, w.get("scale", None))


def _later(w: Writer, x: str) -> str:
    """[steps, steps]: what is added to the scores of the steps that come later."""
    steps = w.make("Shape", x, start=1, end=2)
    low = numpy_helper.from_array(np.array([w.get("mask_filter_value", -10000.0)], np.float32))
    whole = w.make("ConstantOfShape", w.make("Concat", steps, steps, axis=0), value=low)
    return w.make("Trilu", whole, w.constant(1, np.int64), upper=1)


def _multi_head(w: Writer) -> bool:
    q, k, v, bias, padding, added = (w.input(i) for i in range(6))
    unknown = any(map(w.input, range(6, 10))) or w.output(1) or w.get("unidirectional", 0)
    numbers = w.known(bias) if bias else None
    unknown = unknown or (bias and numbers is None)
    if unknown or not k or not v or w.opset < 15 or (padding and rank(w.graph, padding) != 2):
        return False
    if numbers is not None:
        q, k, v = (
            w.make("Add", t, w.constant(part))
            for t, part in zip((q, k, v), np.split(numbers, 3), strict=True)
        )
    hidden = w.hidden(padding) if padding else ""
    hidden = w.make("Add", hidden, added) if hidden and added else hidden or added
    w.attend(q, k, v, int(w.get("num_heads", 1)), hidden, w.get("scale", None))
    return True


EXPANSIONS: dict[str, Expansion] = {
    "Attention": _attention,
    "QAttention": _quantized,
    "MultiHeadAttention": _multi_head,
}
