"""Attention with several heads, as Keras spells it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Layer
from edgecut.frontends.keras.layers.dense import dense


def _multi_head(layer: Layer) -> Value:
    """``softmax(q k' / sqrt(size)) v`` for each head; tensors are [batch, steps, channels]."""
    graph = layer.graph
    query, *others = [graph.floats(v) for v in layer.values]
    key, value = layer.take("key"), layer.take("value")
    others = others + [v for v in (value, key) if isinstance(v, Value)]
    layer.need(1 <= len(others) <= 2, f"of {1 + len(others)} tensors")
    value, key = others[0], others[-1]
    layer.need(query.rank == 3 and layer.get("attention_axes") in (None, [1], 1), "over several axes")
    layer.plain(use_gate=False, sliding_window=None)
    for option in ("use_causal_mask", "return_attention_scores"):
        layer.need(not layer.take(option), f"with {option}")
    has_bias = bool(layer.get("use_bias", True))
    parts = ("query_dense", "key_dense", "value_dense", "output_dense")
    found = layer.arrays(4 * (1 + has_bias), *parts)
    kernels, biases = (found[::2], found[1::2]) if has_bias else (found, [None] * 4)
    heads, size = int(layer.get("num_heads")), int(layer.get("key_dim"))

    def split(x: Value, i: int) -> str:
        """[batch, steps, channels] -> [batch, heads, steps, size]."""
        bias = biases[i]
        flat = dense(
            layer, x, kernels[i].reshape(len(kernels[i]), -1), None if bias is None else bias.reshape(-1)
        )
        tensor = graph.last(flat)
        if i == 0:
            tensor = graph.make("Mul", tensor, graph.constant(1 / math.sqrt(size)))
        apart = graph.make("Reshape", tensor, graph.integers(0, 0, heads, -1))
        return graph.make("Transpose", apart, perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3])

    scores = graph.make("Softmax", graph.make("MatMul", split(query, 0), split(key, 1)), axis=-1)
    mixed = graph.make("Transpose", graph.make("MatMul", scores, split(value, 2)), perm=[0, 2, 1, 3])
    joined = graph.make("Reshape", mixed, graph.integers(0, 0, -1))
    kernel = kernels[3]
    return dense(layer, Value(3, last=joined), kernel.reshape(-1, kernel.shape[-1]), biases[3])


LAYERS: dict[str, Callable[[Layer], Any]] = {"MultiHeadAttention": _multi_head}
