"""Layer normalizations: plain, of a sum, of embeddings."""

from __future__ import annotations

from edgecut.frontends.contrib.writer import Expansion, Writer, used


def _layer_norm(w: Writer) -> bool:
    if int(w.get("axis", -1)) != -1 or w.output(1) or w.output(2):
        return False
    w.layer_norm(w.input(0), w.input(1), w.input(2), float(w.get("epsilon", 1e-5)), w.output(0))
    return True


def _rms_norm(w: Writer) -> bool:
    if int(w.get("axis", -1)) != -1 or w.output(1):
        return False
    normal = w.normalized(w.input(0), float(w.get("epsilon", 1e-5)))
    w.make("Mul", normal, w.input(1), out=w.output(0))
    return True


def _skip(*, centred: bool) -> Expansion:
    """The sum of two tensors (and a bias), normalized; the sum itself is the fourth result."""

    def expansion(w: Writer) -> bool:
        bias = w.input(4 if centred else 3)
        if w.output(1) or w.output(2):
            return False
        total = w.make("Add", w.input(0), w.input(1), out="" if bias else w.output(3))
        if bias:
            total = w.make("Add", total, bias, out=w.output(3))
        epsilon = float(w.get("epsilon", 1e-12))
        if centred:
            w.layer_norm(total, w.input(2), w.input(3), epsilon, w.output(0))
        else:
            w.make("Mul", w.normalized(total, epsilon), w.input(2), out=w.output(0))
        return True

    return expansion


def _embed(w: Writer) -> bool:
    ids, segments, words, places, kinds, gamma, beta, mask, at = (w.input(i) for i in range(9))
    if w.opset < 15:
        return False
    total = w.make("Gather", words, ids)
    if at:
        own = w.make("Gather", places, at)
    else:
        own = w.make("Slice", places, w.integers(0), w.make("Shape", ids, start=1, end=2), w.integers(0))
    total = w.make("Add", total, own, out="" if segments else w.output(2))
    if segments:
        total = w.make("Add", total, w.make("Gather", kinds, segments), out=w.output(2))
    w.layer_norm(total, gamma, beta, float(w.get("epsilon", 1e-12)), w.output(0))
    if w.output(1) and used(w.graph, w.output(1)):
        ones = w.make("Cast", mask, to=6) if mask else ""
        if not ones:
            return False
        w.make("ReduceSum", ones, w.integers(1), out=w.output(1), keepdims=0)
    return True


EXPANSIONS: dict[str, Expansion] = {
    "LayerNormalization": _layer_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "SkipLayerNormalization": _skip(centred=True),
    "SkipSimplifiedLayerNormalization": _skip(centred=False),
    "EmbedLayerNormalization": _embed,
}
