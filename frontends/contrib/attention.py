"""Attention and MultiHeadAttention without a cache."""

from __future__ import annotations

from edgecut.frontends.contrib.writer import Expansion, Writer, rank


def _attention(w: Writer) -> bool:
    x, weights, bias, mask, past, added = (w.input(i) for i in range(6))
    sizes = list(w.get("qkv_hidden_sizes", []))
    unknown = (
        past or w.get("unidirectional", 0) or w.get("do_rotary", 0) or len(set(sizes)) > 1 or w.output(1)
    )
    if unknown or w.opset < 15 or (mask and rank(w.graph, mask) != 2):
        return False
    joined = w.make("MatMul", x, weights)
    joined = w.make("Add", joined, bias) if bias else joined
    names = (f"{w.base}/q", f"{w.base}/k", f"{w.base}/v")
    w.make("Split", joined, out=names, axis=-1, **({"num_outputs": 3} if w.opset >= 18 else {}))
    hidden = w.hidden(mask) if mask else ""
    hidden = w.make("Add", hidden, added) if hidden and added else hidden or added
    w.attend(*names, int(w.get("num_heads", 1)), hidden, w.get("scale", None))
    return True


def _multi_head(w: Writer) -> bool:
    q, k, v, bias, padding, added = (w.input(i) for i in range(6))
    unknown = any(map(w.input, range(6, 10))) or w.output(1) or w.get("unidirectional", 0)
    if unknown or not k or not v or bias or w.opset < 15 or (padding and rank(w.graph, padding) != 2):
        return False
    hidden = w.hidden(padding) if padding else ""
    hidden = w.make("Add", hidden, added) if hidden and added else hidden or added
    w.attend(q, k, v, int(w.get("num_heads", 1)), hidden, w.get("scale", None))
    return True


EXPANSIONS: dict[str, Expansion] = {
    "Attention": _attention,
    "MultiHeadAttention": _multi_head,
}
